//! Checks the signature of a message that gpg has decrypted, against remembered signers and nothing else.
//!
//! Guarantees: what [`verify`] returns was signed, as one whole, by one of the certificates it was given. A structure that
//! the relay never makes (compressed, several layers) is not signed in this sense.

use std::io::Read;

use sequoia_openpgp as openpgp;

use openpgp::parse::Parse;
use openpgp::parse::stream::{MessageLayer, MessageStructure, VerificationError, VerificationHelper, VerifierBuilder};
use openpgp::policy::StandardPolicy;
use openpgp::{Cert, KeyHandle};

/// The longest text that is read, octets: whoever knows a recipient's certificate can seal something compressed to it that
/// grows without end.
const CONTENT: u64 = 128 * 1024 * 1024;

/// A message with a good signature.
pub struct Verified {
    /// What was signed.
    pub content: Vec<u8>,
    /// The full fingerprint of the certificate that signed it.
    pub signer: String,
    /// The full fingerprints of the certificates the signer meant it for (RFC 9580 5.2.3.36).
    intended: Vec<String>,
}

/// A message without one.
pub struct NotSigned {
    /// Why.
    pub why: String,
    /// Its text all the same, if there is one: only to see what it pretends to be.
    pub content: Option<Vec<u8>>,
}

impl Verified {
    /// Whether the signer meant it for `certificate`. The relay always says for whom.
    pub fn is_for(&self, certificate: &str) -> bool {
        self.intended.iter().any(|intended| intended.eq_ignore_ascii_case(certificate))
    }
}

/// Verifies `message`, which must be signed by one of `signers`.
///
/// # Errors
/// It is not.
pub fn verify(message: &[u8], signers: &[Cert]) -> Result<Verified, NotSigned> {
    let policy = StandardPolicy::new();
    let helper = Helper { signers, good: None, why: "it is not signed".to_owned() };
    let not_read = |error: openpgp::anyhow::Error| NotSigned { why: format!("{error:#}"), content: None };
    let mut verifier = VerifierBuilder::from_bytes(message)
        .and_then(|builder| builder.with_policy(&policy, None, helper))
        .map_err(not_read)?;
    let mut content = Vec::new();
    (&mut verifier).take(CONTENT + 1).read_to_end(&mut content).map_err(|error| not_read(error.into()))?;
    if content.len() as u64 > CONTENT {
        return Err(NotSigned { why: "its text is larger than anything the relay makes".to_owned(), content: None });
    }
    let helper = verifier.into_helper();
    match helper.good {
        Some((signer, intended)) => Ok(Verified { content, signer, intended }),
        None => Err(NotSigned { why: helper.why, content: Some(content) }),
    }
}

struct Helper<'a> {
    signers: &'a [Cert],
    good: Option<(String, Vec<String>)>,
    why: String,
}

impl VerificationHelper for Helper<'_> {
    fn get_certs(&mut self, _ids: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(self.signers.to_vec())
    }

    /// Never an error: the text of what is not signed is looked at too, to see what it pretends to be.
    fn check(&mut self, structure: MessageStructure<'_>) -> openpgp::Result<()> {
        let layers: Vec<MessageLayer<'_>> = structure.into_iter().collect();
        let [MessageLayer::SignatureGroup { results }] = layers.as_slice() else {
            if !layers.is_empty() {
                self.why = "it is signed in a way the relay never does".to_owned();
            }
            return Ok(());
        };
        for result in results {
            match result {
                Ok(good) => {
                    let intended = good.sig.intended_recipients().map(|fingerprint| fingerprint.to_hex()).collect();
                    self.good = Some((good.ka.cert().fingerprint().to_hex(), intended));
                }
                Err(VerificationError::MissingKey { sig }) => {
                    let by = sig.get_issuers().first().map_or_else(|| "nobody named".to_owned(), KeyHandle::to_hex);
                    self.why = format!("it is signed by {by}, which is no signer of the relay");
                }
                Err(error) => self.why = format!("its signature is not good: {error}"),
            }
        }
        Ok(())
    }
}
