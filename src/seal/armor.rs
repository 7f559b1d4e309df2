//! ASCII armor (RFC 9580 6) in CRLF lines, as mail wants them.
//!
//! Sequoia's armorer ends lines with LF and sums octet by octet; with it, armoring a padded message took a sixth of all
//! sealing. Guarantees: what was written comes out complete and in order, once [`Armor::finish`] was called.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crc::{CRC_24_OPENPGP, Crc, Digest, Table};

/// Octets of a line of 64 characters.
const LINE: usize = 48;

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_24_OPENPGP);

/// Appends what is written to it, armored.
pub struct Armor<'a> {
    sink: &'a mut Vec<u8>,
    /// The octets of the line that is not full.
    begun: Vec<u8>,
    octets: usize,
    checksum: Option<Digest<'static, u32, Table<16>>>,
}

impl<'a> Armor<'a> {
    /// Begins a message. Some version 4 readers want a checksum; for version 6 there must be none (section 6.1).
    pub fn message(sink: &'a mut Vec<u8>, checksum: bool) -> Self {
        sink.extend_from_slice(b"-----BEGIN PGP MESSAGE-----\r\n\r\n");
        Self { sink, begun: Vec::with_capacity(LINE), octets: 0, checksum: checksum.then(|| CRC.digest()) }
    }

    /// Ends the message. Returns the number of octets that were written to it.
    pub fn finish(mut self) -> usize {
        if !self.begun.is_empty() {
            line(self.sink, &self.begun);
        }
        if let Some(checksum) = self.checksum.take() {
            self.sink.push(b'=');
            line(self.sink, &checksum.finalize().to_be_bytes()[1..]);
        }
        self.sink.extend_from_slice(b"-----END PGP MESSAGE-----\r\n");
        self.octets
    }
}

impl Write for Armor<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.octets += octets.len();
        self.checksum.iter_mut().for_each(|checksum| checksum.update(octets));
        let mut rest = octets;
        if !self.begun.is_empty() {
            let (fits, more) = rest.split_at(rest.len().min(LINE - self.begun.len()));
            self.begun.extend_from_slice(fits);
            rest = more;
            if self.begun.len() < LINE {
                return Ok(octets.len());
            }
            line(self.sink, &self.begun);
            self.begun.clear();
        }
        let lines = rest.chunks_exact(LINE);
        self.begun.extend_from_slice(lines.remainder());
        lines.for_each(|octets| line(self.sink, octets));
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One line of at most 48 octets.
fn line(sink: &mut Vec<u8>, octets: &[u8]) {
    let mut characters = [0; LINE / 3 * 4];
    let length = STANDARD.encode_slice(octets, &mut characters).expect("48 octets make 64 characters");
    sink.extend_from_slice(&characters[..length]);
    sink.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use sequoia_openpgp::armor::{Kind, Writer};

    #[test]
    fn armor_is_as_sequoia_makes_it_but_for_the_line_ends() {
        for size in [1, 2, 3, 47, 48, 49, 96, 5000] {
            let octets: Vec<u8> = (0..size).map(|nth| (nth * 7 % 251) as u8).collect();
            for piece in [1, 5, 48, 100, 10_000] {
                let mut sink = Vec::new();
                let mut armor = Armor::message(&mut sink, true);
                octets.chunks(piece).for_each(|piece| armor.write_all(piece).expect("written"));
                assert_eq!(armor.finish(), size);
                let mut writer = Writer::new(Vec::new(), Kind::Message).expect("begun");
                writer.write_all(&octets).expect("written");
                let expected = String::from_utf8(writer.finalize().expect("ended")).expect("ASCII");
                assert_eq!(String::from_utf8_lossy(&sink), expected.replace('\n', "\r\n"), "{size} in {piece}");
            }
        }
    }
}
