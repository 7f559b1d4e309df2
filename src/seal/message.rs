//! One OpenPGP message (RFC 9580): signed with the relay's key, then encrypted to the recipient's keys, armored.
//!
//! Guarantees: the result is a complete message or an error, never a broken one; it is never compressed, so its size
//! says nothing about its text. Nothing is written anywhere but memory.

use std::io::{self, Write};

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::armor;
use openpgp::serialize::stream::{Encryptor, LiteralWriter, Message, Recipient};
use openpgp::types::Features;

use super::container;
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

/// Appends the armored message with `text` to `sink`, lines ending with CRLF. Returns its octets before armoring.
///
/// # Errors
/// What Sequoia says; `sink` then holds a fragment that must be thrown away.
pub fn write(sink: &mut Vec<u8>, to: &To<'_>, signer: &Signer, text: &[u8]) -> openpgp::Result<usize> {
    let mut armor = Counted { octets: 0, inner: armor::Writer::new(CrLf(sink), armor::Kind::Message)? };
    if to.seipd_v2 {
        stream(&mut armor, to, signer, text)?;
    } else {
        container::write(&mut armor, to, signer, text)?;
    }
    armor.inner.finalize()?;
    Ok(armor.octets)
}

/// A version 2 container, by Sequoia's streaming writers.
fn stream(sink: impl Write + Send + Sync, to: &To<'_>, signer: &Signer, text: &[u8]) -> openpgp::Result<()> {
    let recipients = to.keys.iter().map(|key| Recipient::new(Features::empty().set_seipdv2(), key.key_handle(), key));
    let message = Encryptor::for_recipients(Message::new(sink), recipients).build()?;
    let mut message = openpgp::serialize::stream::Signer::new(message, signer.key())?;
    for certificate in to.certificates {
        message = message.add_intended_recipient(certificate);
    }
    let mut message = LiteralWriter::new(message.build()?).build()?;
    // In pieces: the writers behind this one each make a buffer as large as what they are given at once.
    text.chunks(64 * 1024).try_for_each(|piece| message.write_all(piece))?;
    // Only this completes the message; a dropped one is broken.
    message.finalize()
}

/// Counts what goes through.
struct Counted<W> {
    octets: usize,
    inner: W,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(octets)?;
        self.octets += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The armorer ends lines with LF; mail needs CRLF.
struct CrLf<'a>(&'a mut Vec<u8>);

impl Write for CrLf<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        for &octet in octets {
            if octet == b'\n' {
                self.0.push(b'\r');
            }
            self.0.push(octet);
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
