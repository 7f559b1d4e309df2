//! The encrypted part of an OpenPGP message: session keys, and a SEIPD packet around what they encrypt.
//!
//! Guarantees: what is written is whole, or there is an error. Version 1 is written here, with Sequoia's ciphers, for
//! speed: Sequoia's own writer reserves 4 MiB for each message, and sums with a SHA-1 that looks for collisions. Here
//! nobody could use one: the sum is over random octets first, and is encrypted with its text.

use std::io::Write;

use sequoia_openpgp as openpgp;

use openpgp::Packet;
use openpgp::crypto::SessionKey;
use openpgp::crypto::symmetric::{BlockCipherMode, Encryptor, PaddingMode};
use openpgp::packet::pkesk::PKESK3;
use openpgp::packet::{PKESK, Tag};
use openpgp::serialize::Marshal;
use openpgp::serialize::stream;
use openpgp::types::{Features, SymmetricAlgorithm};
use sha1::{Digest, Sha1};

use super::keyring::EncryptionKey;
use crate::envelope::random;

const CIPHER: SymmetricAlgorithm = SymmetricAlgorithm::AES256;
/// The cipher's block size.
const BLOCK: usize = 16;
/// An MDC packet's header; 20 octets of SHA-1 follow.
const MDC_HEADER: [u8; 2] = [0xd3, 0x14];
/// Larger pieces would make buffers as large on their way.
const PIECE: usize = 64 * 1024;

/// Writes `pieces`, one behind the other, encrypted to `keys` in a SEIPD packet of version 1 (RFC 9580 5.13.1).
///
/// # Errors
/// A key that cannot be encrypted to.
pub fn version_1(sink: &mut impl Write, keys: &[EncryptionKey], pieces: &[&[u8]]) -> openpgp::Result<()> {
    let session_key = SessionKey::new(CIPHER.key_size()?)?;
    for key in keys {
        Packet::from(PKESK::from(PKESK3::for_recipient(CIPHER, &session_key, key)?)).serialize(sink)?;
    }
    let random = random::<BLOCK>();
    let prefix = [&random[..], &random[BLOCK - 2..]].concat();
    let length = 1 + prefix.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>() + MDC_HEADER.len() + 20;
    header(sink, Tag::SEIP, length)?;
    sink.write_all(&[1])?;
    // The initialisation vector is zero: the random octets in front do its work.
    let mut encrypted = Encryptor::new(CIPHER, BlockCipherMode::CFB, PaddingMode::None, &session_key, None, sink)?;
    let mut sum = Sha1::new();
    for piece in [prefix.as_slice()].iter().chain(pieces).chain([&MDC_HEADER.as_slice()]) {
        for piece in piece.chunks(PIECE) {
            sum.update(piece);
            encrypted.write_all(piece)?;
        }
    }
    encrypted.write_all(&sum.finalize())?;
    encrypted.finalize()?;
    Ok(())
}

/// Writes `pieces`, one behind the other, encrypted to `keys` in a SEIPD packet of version 2 (RFC 9580 5.13.2).
///
/// # Errors
/// A key that cannot be encrypted to.
pub fn version_2(
    sink: &mut (impl Write + Send + Sync),
    keys: &[EncryptionKey],
    pieces: &[&[u8]],
) -> openpgp::Result<()> {
    let features = Features::empty().set_seipdv2();
    let recipients = keys.iter().map(|key| stream::Recipient::new(features.clone(), key.key_handle(), key));
    let mut encrypted = stream::Encryptor::for_recipients(stream::Message::new(sink), recipients).build()?;
    pieces.iter().flat_map(|piece| piece.chunks(PIECE)).try_for_each(|piece| encrypted.write_all(piece))?;
    // Only this completes the message; a dropped one is broken.
    encrypted.finalize()
}

/// A packet's header, its length in five octets (RFC 9580 4.2.1.3).
///
/// # Errors
/// The packet is too long to have a length.
pub fn header(sink: &mut impl Write, tag: Tag, length: usize) -> openpgp::Result<()> {
    let length = u32::try_from(length)?;
    sink.write_all(&[0xc0 | u8::from(tag), 0xff])?;
    Ok(sink.write_all(&length.to_be_bytes())?)
}
