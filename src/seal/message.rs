//! One OpenPGP message (RFC 9580): signed with the relay's key, then encrypted to the recipient's keys, armored.
//!
//! Guarantees: the result is a complete message or an error, never a broken one; inside are one one-pass signature, one
//! literal and one signature, never compressed, so its size says nothing about its text. Nothing is written anywhere
//! but memory.
//!
//! The signed part is written here packet by packet, because its size must be known: every length takes five octets
//! (section 4.2.1.3), so that an octet more of text or filler is an octet more in all.

use std::io::Write;
use std::ops::RangeInclusive;

use sequoia_openpgp as openpgp;

use openpgp::packet::signature::SignatureBuilder;
use openpgp::packet::signature::subpacket::{NotationData, Subpacket, SubpacketValue};
use openpgp::packet::{OnePassSig, Signature, Tag};
use openpgp::serialize::stream::{Encryptor, Message, Recipient};
use openpgp::serialize::{Marshal, MarshalInto};
use openpgp::types::{DataFormat, Features, SignatureType};
use openpgp::{Cert, Packet};

use super::armor::Armor;
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
    let mut one_pass = OnePassSig::try_from(&signature)?;
    one_pass.set_last(true);
    let signature = signature.to_vec()?;
    let features = if to.seipd_v2 { Features::empty().set_seipdv2() } else { Features::empty().set_seipdv1() };
    let recipients = to.keys.iter().map(|key| Recipient::new(features.clone(), key.key_handle(), key));
    // Room for armor, line ends, keys and signature at once: growing by doubling would hold a large message twice.
    sink.reserve_exact((text.len() + filler.map_or(0, |filler| filler.octets)) / 2 * 3 + 16 * 1024);
    let mut armor = Armor::message(sink, !to.seipd_v2);
    let mut message = Encryptor::for_recipients(Message::new(&mut armor), recipients).build()?;
    Packet::from(one_pass).serialize(&mut message)?;
    // Section 5.9: format, no file name, no date.
    let literal = [DataFormat::Binary.into(), 0, 0, 0, 0, 0];
    header(&mut message, Tag::Literal, literal.len() + text.len())?;
    message.write_all(&literal)?;
    // In pieces: the writers behind this one each make a buffer as large as what they are given at once.
    text.chunks(64 * 1024).try_for_each(|piece| message.write_all(piece))?;
    header(&mut message, Tag::Signature, signature.len())?;
    message.write_all(&signature)?;
    // Only this completes the message; a dropped one is broken.
    message.finalize()?;
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

/// A packet's header, its length in five octets (section 4.2.1.3).
fn header(sink: &mut impl Write, tag: Tag, length: usize) -> openpgp::Result<()> {
    let length = u32::try_from(length)?;
    sink.write_all(&[0xc0 | u8::from(tag), 0xff])?;
    Ok(sink.write_all(&length.to_be_bytes())?)
}
