//! The recipient: decrypts, verifies, and takes the MIME structure apart, with nothing of the code under test.

use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use mail_parser::{MessageParser, MimeHeaders};
use sequoia_openpgp as openpgp;

use openpgp::crypto::SessionKey;
use openpgp::packet::{PKESK, SKESK};
use openpgp::parse::stream::{DecryptionHelper, DecryptorBuilder, MessageLayer, MessageStructure, VerificationHelper};
use openpgp::parse::{PacketParser, PacketParserResult, Parse};
use openpgp::policy::StandardPolicy;
use openpgp::types::SymmetricAlgorithm;
use openpgp::{Cert, KeyHandle, KeyID, Packet};
use serde_json::Value;

/// An opened message.
#[derive(Debug)]
pub struct Opened {
    /// The decrypted entity.
    pub entity: Vec<u8>,
    /// The protected Subject.
    pub subject: String,
    /// Decoded parts in their order: name (if any) and octets.
    pub parts: Vec<(Option<String>, Vec<u8>)>,
    /// `sealrelay.json`.
    pub manifest: Value,
}

impl Opened {
    /// What the relay noticed, in its own words; empty if there is no such part.
    pub fn noticed(&self) -> String {
        let first = String::from_utf8_lossy(&self.parts[0].1).into_owned();
        if first.starts_with("The mail relay noticed:") { first } else { String::new() }
    }

    /// The alert: the first part that is not the notes.
    pub fn alert(&self) -> &[u8] {
        let nth = usize::from(!self.noticed().is_empty());
        &self.parts[nth].1
    }

    pub fn part(&self, name: &str) -> &[u8] {
        let found = self.parts.iter().find(|(own, _)| own.as_deref() == Some(name));
        &found.unwrap_or_else(|| panic!("no part {name}")).1
    }
}

/// Opens `message` for `recipient`; the signature must be that of the key in `signer`.
#[track_caller]
pub fn open(message: &[u8], recipient: &Cert, signer: &Path) -> Opened {
    open_at(message, recipient, signer, SystemTime::now())
}

/// The armored OpenPGP message in `message`.
#[track_caller]
pub fn armored_part(message: &[u8]) -> Vec<u8> {
    let outside = MessageParser::default().parse(message).expect("a mail");
    assert_eq!(outside.parts.len(), 3, "multipart/encrypted has two parts");
    outside.parts[2].contents().to_vec()
}

/// The ids of the keys that `message` is encrypted to, sorted.
pub fn encrypted_to(message: &[u8]) -> Vec<String> {
    let armored = armored_part(message);
    let mut packets = PacketParser::from_bytes(&armored).expect("OpenPGP");
    let mut ids = Vec::new();
    while let PacketParserResult::Some(parser) = packets {
        let Packet::PKESK(pkesk) = &parser.packet else { break };
        ids.extend(pkesk.recipient().map(|handle| KeyID::from(handle).to_hex()));
        packets = parser.next().expect("a packet").1;
    }
    ids.sort();
    ids
}

/// The same with the reader's clock at `now`.
#[track_caller]
pub fn open_at(message: &[u8], recipient: &Cert, signer: &Path, now: SystemTime) -> Opened {
    let armored = armored_part(message);
    let signer = Cert::from_file(signer).expect("the signer's certificate");
    let policy = StandardPolicy::new();
    let helper = Helper { recipient, signer: &signer, good: false };
    let mut decryptor = DecryptorBuilder::from_bytes(&armored)
        .expect("OpenPGP")
        .with_policy(&policy, now, helper)
        .expect("sealed for this recipient");
    let mut entity = Vec::new();
    decryptor.read_to_end(&mut entity).expect("decrypted");
    assert!(decryptor.helper_ref().good, "no good signature");
    taken_apart(entity)
}

fn taken_apart(entity: Vec<u8>) -> Opened {
    let mail = MessageParser::default().parse(&entity).expect("MIME inside");
    let parts: Vec<(Option<String>, Vec<u8>)> = mail
        .parts
        .iter()
        .skip(1)
        .filter(|part| !part.is_multipart())
        .map(|part| (part.attachment_name().map(str::to_owned), octets(part, &entity)))
        .collect();
    let subject = mail.subject().unwrap_or_default().to_owned();
    let manifest = parts.iter().find(|(name, _)| name.as_deref() == Some("sealrelay.json"));
    let manifest = serde_json::from_slice(&manifest.expect("a manifest").1).expect("JSON");
    Opened { subject, parts, manifest, entity }
}

/// A part's octets with its transfer encoding undone, and nothing else: charsets are a display's business.
fn octets(part: &mail_parser::MessagePart<'_>, entity: &[u8]) -> Vec<u8> {
    use mail_parser::Encoding;
    use mail_parser::decoders::{base64::base64_decode, quoted_printable::quoted_printable_decode};
    let raw = &entity[part.offset_body as usize..part.offset_end as usize];
    match part.encoding {
        Encoding::None => raw.to_vec(),
        Encoding::QuotedPrintable => quoted_printable_decode(raw).expect("quoted-printable"),
        Encoding::Base64 => base64_decode(raw).expect("base64"),
    }
}

struct Helper<'a> {
    recipient: &'a Cert,
    signer: &'a Cert,
    good: bool,
}

impl VerificationHelper for Helper<'_> {
    fn get_certs(&mut self, _ids: &[KeyHandle]) -> openpgp::Result<Vec<Cert>> {
        Ok(vec![self.signer.clone()])
    }

    fn check(&mut self, structure: MessageStructure<'_>) -> openpgp::Result<()> {
        for layer in structure {
            if let MessageLayer::SignatureGroup { results } = layer {
                self.good = results.iter().any(Result::is_ok);
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
        Err(openpgp::anyhow::anyhow!("not for this recipient"))
    }
}
