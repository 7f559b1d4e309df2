//! A signed text in the version 1 encrypted container (SEIPD, RFC 9580 5.13.1), the one every v4 reader takes.
//!
//! Sequoia does all cryptography and all packets; its streaming writers are not used, because each of the two that a
//! message needs makes a buffer of 4 MiB, however small the message is. Memory is overwritten when it is freed (see
//! `main.rs`), so those buffers were touched whole: most of the time of a sealing, and 8 MiB for each session. All
//! lengths are known beforehand here, so everything goes straight to the sink. The octets are the same.

use std::io::{self, Write};

use sequoia_openpgp as openpgp;

use openpgp::Packet;
use openpgp::cert::Cert;
use openpgp::crypto::hash::Context;
use openpgp::crypto::symmetric::{BlockCipherMode, Encryptor, PaddingMode};
use openpgp::crypto::{SessionKey, random};
use openpgp::packet::header::{BodyLength, CTB};
use openpgp::packet::one_pass_sig::OnePassSig3;
use openpgp::packet::pkesk::PKESK3;
use openpgp::packet::signature::SignatureBuilder;
use openpgp::packet::{Signature, Tag};
use openpgp::serialize::{Marshal, MarshalInto};
use openpgp::types::{HashAlgorithm, SignatureType, SymmetricAlgorithm};

use super::message::To;
use super::signer::Signer;

const CIPHER: SymmetricAlgorithm = SymmetricAlgorithm::AES256;
/// What the MDC packet (RFC 9580 5.13.1) begins with: its tag and its length.
const MDC: [u8; 2] = [0xD3, 20];
/// Binary text without a file name and without a date (RFC 9580 5.9).
const LITERAL: [u8; 6] = [b'b', 0, 0, 0, 0, 0];

/// Writes the message with `text`, not armored, to `sink`.
///
/// # Errors
/// What Sequoia or the sink says; a part may have been written.
pub fn write(mut sink: impl Write + Send + Sync, to: &To<'_>, signer: &Signer, text: &[u8]) -> openpgp::Result<()> {
    let session_key = SessionKey::new(CIPHER.key_size()?)?;
    for key in to.keys {
        Packet::PKESK(PKESK3::for_recipient(CIPHER, &session_key, key)?.into()).serialize(&mut sink)?;
    }
    let signed = Signed::new(to.certificates, signer, text)?;
    let block = CIPHER.block_size()?;
    CTB::new(Tag::SEIP).serialize(&mut sink)?;
    let length = 1 + block + 2 + signed.octets() + MDC.len() + 20;
    BodyLength::Full(u32::try_from(length)?).serialize(&mut sink)?;
    sink.write_all(&[1])?;
    let cipher = Encryptor::new(CIPHER, BlockCipherMode::CFB, PaddingMode::None, &session_key, None, sink)?;
    let mut inside = Hashed { cipher, hash: HashAlgorithm::SHA1.context()?.for_digest() };
    // Random octets, the last two repeated: what RFC 9580 5.13.1 has in place of an initialization vector.
    let mut prefix = vec![0; block];
    random(&mut prefix)?;
    prefix.extend_from_within(block - 2..);
    inside.write_all(&prefix)?;
    signed.write(&mut inside)?;
    inside.finalize()
}

/// One-pass signature, literal text, signature: what stands inside.
struct Signed<'a> {
    before: Vec<u8>,
    text: &'a [u8],
    after: Vec<u8>,
}

impl<'a> Signed<'a> {
    fn new(certificates: &[&Cert], signer: &Signer, text: &'a [u8]) -> openpgp::Result<Self> {
        let signature = sign(certificates, signer, text)?;
        let mut one_pass = OnePassSig3::try_from(&signature)?;
        one_pass.set_last(true);
        let mut before = Packet::from(one_pass).to_vec()?;
        CTB::new(Tag::Literal).serialize(&mut before)?;
        BodyLength::Full(u32::try_from(LITERAL.len() + text.len())?).serialize(&mut before)?;
        before.extend(LITERAL);
        Ok(Self { before, text, after: Packet::from(signature).to_vec()? })
    }

    fn octets(&self) -> usize {
        self.before.len() + self.text.len() + self.after.len()
    }

    fn write(&self, sink: &mut impl Write) -> io::Result<()> {
        [&self.before, self.text, &self.after].into_iter().try_for_each(|part| sink.write_all(part))
    }
}

/// The intended recipients keep the text from being passed off as meant for somebody else (RFC 9580 5.2.3.36).
fn sign(certificates: &[&Cert], signer: &Signer, text: &[u8]) -> openpgp::Result<Signature> {
    let recipients: Vec<_> = certificates.iter().map(|certificate| certificate.fingerprint()).collect();
    SignatureBuilder::new(SignatureType::Binary)
        .set_intended_recipients(recipients)?
        .sign_message(&mut signer.key(), text)
}

/// Encrypts what is written, and hashes it for the MDC.
struct Hashed<W: Write> {
    cipher: Encryptor<W>,
    hash: Context,
}

impl<W: Write> Hashed<W> {
    /// The MDC covers its own first two octets.
    fn finalize(mut self) -> openpgp::Result<()> {
        self.hash.update(&MDC);
        self.cipher.write_all(&MDC)?;
        self.cipher.write_all(&self.hash.into_digest()?)?;
        self.cipher.finalize()?;
        Ok(())
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.cipher.write(octets)?;
        self.hash.update(&octets[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.cipher.flush()
    }
}

#[cfg(test)]
mod tests {
    use openpgp::KeyHandle;
    use openpgp::cert::{CertBuilder, CipherSuite};
    use openpgp::packet::{PKESK, SKESK};
    use openpgp::parse::Parse;
    use openpgp::parse::stream::{
        DecryptionHelper, DecryptorBuilder, MessageLayer, MessageStructure, VerificationHelper,
    };
    use openpgp::policy::StandardPolicy;

    use super::*;

    /// The recipient, who knows the relay's certificate.
    struct Reader<'a> {
        own: &'a Cert,
        relay: Cert,
        /// What is to be seen outermost first, with how many good signatures.
        seen: Vec<String>,
    }

    impl VerificationHelper for &mut Reader<'_> {
        fn get_certs(&mut self, _: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
            Ok(vec![self.relay.clone()])
        }

        fn check(&mut self, structure: MessageStructure<'_>) -> openpgp::Result<()> {
            self.seen = structure
                .into_iter()
                .map(|layer| match layer {
                    MessageLayer::Encryption { sym_algo, aead_algo, .. } => format!("{sym_algo} {aead_algo:?}"),
                    MessageLayer::SignatureGroup { results } => {
                        format!("{} good of {}", results.iter().filter(|result| result.is_ok()).count(), results.len())
                    }
                    MessageLayer::Compression { .. } => "compressed".to_owned(),
                })
                .collect();
            Ok(())
        }
    }

    impl DecryptionHelper for &mut Reader<'_> {
        fn decrypt(
            &mut self,
            pkesks: &[PKESK],
            _: &[SKESK],
            algorithm: Option<SymmetricAlgorithm>,
            decrypt: &mut dyn FnMut(Option<SymmetricAlgorithm>, &SessionKey) -> bool,
        ) -> openpgp::Result<Option<Cert>> {
            let key = self.own.keys().secret().nth(1).expect("an encryption subkey").key().clone();
            let mut pair = key.into_keypair()?;
            let opened = pkesks.iter().find_map(|pkesk| pkesk.decrypt(&mut pair, algorithm));
            let (algorithm, session_key) = opened.expect("sealed to this key");
            decrypt(algorithm, &session_key);
            Ok(Some(self.own.clone()))
        }
    }

    fn recipient() -> Cert {
        let builder = CertBuilder::new().set_cipher_suite(CipherSuite::Cv25519);
        builder.add_userid("<admin@example.org>").add_transport_encryption_subkey().generate().expect("a certificate").0
    }

    fn seal(recipient: &Cert, signer: &Signer, text: &[u8]) -> Vec<u8> {
        let key = recipient.keys().nth(1).expect("an encryption subkey").key().clone().role_into_unspecified();
        let to = To { certificates: &[recipient], keys: &[key], seipd_v2: false };
        let mut sealed = Vec::new();
        write(&mut sealed, &to, signer, text).expect("sealed");
        sealed
    }

    fn open(sealed: &[u8], reader: &mut Reader<'_>) -> io::Result<Vec<u8>> {
        let policy = StandardPolicy::new();
        let decryptor = DecryptorBuilder::from_bytes(sealed).expect("a message");
        let mut text = Vec::new();
        io::Read::read_to_end(&mut decryptor.with_policy(&policy, None, reader).map_err(io::Error::other)?, &mut text)?;
        Ok(text)
    }

    fn with_reader(test: impl FnOnce(&Signer, &mut Reader<'_>)) {
        let state = tempfile::tempdir().expect("a folder");
        let signer = Signer::open(state.path(), &"ossec@example.org".parse().expect("an address")).expect("a signer");
        let relay = Cert::from_file(state.path().join("signer.asc")).expect("its certificate");
        let own = recipient();
        test(&signer, &mut Reader { own: &own, relay, seen: Vec::new() });
    }

    #[test]
    fn texts_of_any_size_come_back_encrypted_and_signed_once() {
        with_reader(|signer, reader| {
            // Around the sizes at which packet lengths take one, two and five octets.
            for size in [0, 1, 185, 186, 191, 192, 8383, 8384, 100_000, 5_000_000] {
                let text = vec![b'x'; size];
                let sealed = seal(reader.own, signer, &text);
                assert_eq!(open(&sealed, reader).expect("opened"), text);
                assert_eq!(reader.seen, ["AES-256 None", "1 good of 1"]);
            }
        });
    }

    #[test]
    fn a_single_changed_bit_is_noticed() {
        with_reader(|signer, reader| {
            let sealed = seal(reader.own, signer, b"text");
            // The last 200 octets lie behind the session key: literal text, signature, MDC.
            for position in (sealed.len() - 200..sealed.len()).step_by(7) {
                let mut changed = sealed.clone();
                changed[position] ^= 1;
                assert!(open(&changed, reader).is_err(), "octet {position}");
            }
        });
    }
}
