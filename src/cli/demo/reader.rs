//! The recipient of the demo: decrypts with the secret key and verifies the signature, without any code that seals.

use std::io::{self, Read};

use mail_parser::{MessageParser, MimeHeaders};
use sequoia_openpgp as openpgp;

use openpgp::crypto::SessionKey;
use openpgp::packet::{PKESK, SKESK};
use openpgp::parse::Parse;
use openpgp::parse::stream::{DecryptionHelper, DecryptorBuilder, MessageLayer, MessageStructure, VerificationHelper};
use openpgp::policy::StandardPolicy;
use openpgp::types::SymmetricAlgorithm;
use openpgp::{Cert, KeyHandle};

use super::setup::Setup;

/// What the recipient sees.
pub struct ReadMail {
    /// Who signed, verified.
    pub signature: String,
    /// Protected headers and texts.
    pub text: String,
}

/// Reads `message` as the recipient of `setup`.
pub fn read(message: &[u8], setup: &Setup) -> io::Result<ReadMail> {
    let outside = MessageParser::default().parse(message).ok_or_else(|| io::Error::other("it is no mail"))?;
    let armored = outside.parts.last().map(|part| part.contents()).unwrap_or_default();
    let signer = Cert::from_file(&setup.signer).map_err(io::Error::other)?;
    let helper = Helper { recipient: &setup.recipient, signer: &signer, good: None };
    let policy = StandardPolicy::new();
    let builder = DecryptorBuilder::from_bytes(armored).map_err(io::Error::other)?;
    let mut decryptor = builder.with_policy(&policy, None, helper).map_err(io::Error::other)?;
    let mut entity = Vec::new();
    decryptor.read_to_end(&mut entity)?;
    let good = decryptor.into_helper().good.ok_or_else(|| io::Error::other("the signature is not good"))?;
    Ok(ReadMail { signature: format!("Good signature by {good}, the key in state/signer.asc"), text: texts(&entity)? })
}

/// Subject and Date, then every text part as its reader's program shows it.
fn texts(entity: &[u8]) -> io::Result<String> {
    let mail = MessageParser::default().parse(entity).ok_or_else(|| io::Error::other("there is no mail inside"))?;
    let date = mail.date().map(mail_parser::DateTime::to_rfc822).unwrap_or_default();
    let mut text = format!("Subject: {}\nDate: {date}\n\n", mail.subject().unwrap_or_default());
    for part in mail.parts.iter().filter(|part| part.is_text()) {
        let name = part.attachment_name().map(|name| format!("--- {name}\n")).unwrap_or_default();
        text.push_str(&format!("{name}{}\n", part.text_contents().unwrap_or_default().trim_matches(['\r', '\n'])));
    }
    Ok(text)
}

struct Helper<'a> {
    recipient: &'a Cert,
    signer: &'a Cert,
    good: Option<String>,
}

impl VerificationHelper for Helper<'_> {
    fn get_certs(&mut self, _ids: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(vec![self.signer.clone()])
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> openpgp::Result<()> {
        for layer in structure {
            if let MessageLayer::SignatureGroup { results } = layer {
                let good = results.into_iter().flatten().next();
                self.good = good.map(|good| good.ka.cert().fingerprint().to_hex());
            }
        }
        Ok(())
    }
}

impl DecryptionHelper for Helper<'_> {
    fn decrypt(
        &mut self,
        pkesks: &[PKESK],
        _skesks: &[SKESK],
        algorithm: Option<SymmetricAlgorithm>,
        decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
    ) -> openpgp::Result<Option<Cert>> {
        let policy = StandardPolicy::new();
        for key in self.recipient.keys().with_policy(&policy, None).for_transport_encryption().secret() {
            let mut pair = key.key().clone().into_keypair()?;
            for pkesk in pkesks {
                if pkesk.decrypt(&mut pair, algorithm).is_some_and(|(algorithm, key)| decrypt(algorithm, &key)) {
                    return Ok(Some(self.recipient.clone()));
                }
            }
        }
        Err(openpgp::anyhow::anyhow!("it is not for this recipient"))
    }
}
