//! One OpenPGP message (RFC 9580): signed with the relay's key, then encrypted to the recipient's keys, armored.
//!
//! Guarantees: the result is a complete message or an error, never a broken one; inside are one one-pass signature, one
//! literal and one signature, never compressed, so its size says nothing about its text. Nothing is written anywhere
//! but memory.
//!
//! The signed part is written here packet by packet, because its size must be known: every length takes five octets
//! (section 4.2.1.3), so that an octet more of text or filler is an octet more in all.

use std::ops::RangeInclusive;

use sequoia_openpgp as openpgp;

use openpgp::packet::signature::SignatureBuilder;
use openpgp::packet::signature::subpacket::{NotationData, Subpacket, SubpacketValue};
use openpgp::packet::{OnePassSig, Signature, Tag};
use openpgp::serialize::{Marshal, MarshalInto};
use openpgp::types::{DataFormat, SignatureType};
use openpgp::{Cert, Packet};

use super::armor::Armor;
use super::container::{self, header};
use super::keyring::EncryptionKey;
use super::signer::Signer;

/// Whom a message is encrypted to.
pub struct To<'a> {
    /// Named in the signature, so that a message cannot be passed off as meant for somebody else.
    pub certificates: &'a [&'a Cert],
    /// What is encrypted to.
    pub keys: &'a [EncryptionKey],
    /// SEIPDv2; every v4 reader takes v1, and gpg 2.2 takes nothing else.
    pub seipd_v2: bool,
}

/// Octets that stand in the signature and that no reader shows.
pub struct Filler {
    /// The notations' name (section 5.2.3.24): a tag at a domain of the sender's.
    pub notation: String,
    /// How many, within [`Filler::ROOM`].
    pub octets: usize,
}

impl Filler {
    /// gpg 2.2 refuses a subpacket area over 10,000 octets, so the filler is halved between the hashed and the unhashed
    /// one. So much, and no more, that the length of each subpacket takes two octets, as Sequoia writes it.
    pub const ROOM: RangeInclusive<usize> = 512..=16_000;
}

/// Appends the armored message with `text` to `sink`, lines ending with CRLF. Returns its octets before armoring.
///
/// # Errors
/// What Sequoia says; `sink` then holds a fragment that must be thrown away.
pub fn write(
    sink: &mut Vec<u8>,
    to: &To<'_>,
    signer: &Signer,
    text: &[u8],
    filler: Option<&Filler>,
) -> openpgp::Result<usize> {
    let signature = sign(to, signer, text, filler)?;
    let mut head = Vec::new();
    let mut one_pass = OnePassSig::try_from(&signature)?;
    one_pass.set_last(true);
    Packet::from(one_pass).serialize(&mut head)?;
    // Section 5.9: format, no file name, no date.
    let literal = [DataFormat::Binary.into(), 0, 0, 0, 0, 0];
    header(&mut head, Tag::Literal, literal.len() + text.len())?;
    head.extend_from_slice(&literal);
    let mut tail = Vec::new();
    header(&mut tail, Tag::Signature, signature.serialized_len())?;
    signature.serialize(&mut tail)?;

    // Room for armor, line ends, keys and signature at once: growing by doubling would hold a large message twice.
    sink.reserve_exact((text.len() + tail.len()) / 2 * 3 + 16 * 1024);
    let mut armor = Armor::message(sink, !to.seipd_v2);
    let encrypt = if to.seipd_v2 { container::version_2 } else { container::version_1 };
    encrypt(&mut armor, to.keys, &[&head, text, &tail])?;
    Ok(armor.finish())
}

fn sign(to: &To<'_>, signer: &Signer, text: &[u8], filler: Option<&Filler>) -> openpgp::Result<Signature> {
    let mut builder = SignatureBuilder::new(SignatureType::Binary);
    for certificate in to.certificates {
        builder = builder.add_intended_recipient(certificate.fingerprint())?;
    }
    if let Some(Filler { notation, octets }) = filler {
        let half = |octets| NotationData::new(notation, vec![b' '; octets], None);
        let subpacket = |octets| Subpacket::new(SubpacketValue::NotationData(half(octets)), false);
        builder.hashed_area_mut().add(subpacket(octets - octets / 2)?)?;
        builder.unhashed_area_mut().add(subpacket(octets / 2)?)?;
    }
    builder.sign_message(&mut signer.key(), text)
}
