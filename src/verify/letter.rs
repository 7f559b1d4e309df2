//! One message as it lay in the mailbox: its place, its From, and the sealed text in it.
//!
//! Guarantees: everything is found by looking through octets once; nothing here trusts a header. A mail system may have
//! changed headers, line ends and transfer encodings: what counts is the armored text, whatever is around it.

use base64::Engine;

use crate::envelope::printable;
use crate::seal::NOTICE;

/// A message of a mailbox.
#[derive(Default)]
pub struct Letter {
    /// The file, and which message of it.
    pub place: String,
    /// All of it, unless it is too large.
    pub octets: Vec<u8>,
    /// Whether it is larger than what is looked at.
    pub too_large: bool,
}

const BEGIN: &[u8] = b"-----BEGIN PGP MESSAGE-----";
const END: &[u8] = b"-----END PGP MESSAGE-----";
/// How much of a header block is looked at, octets.
const HEADER_LIMIT: usize = 256 * 1024;

impl Letter {
    /// An empty one at `place`.
    pub fn at(place: String) -> Self {
        Self { place, ..Self::default() }
    }

    /// The From field, printable.
    pub fn from(&self) -> String {
        self.field("from:")
    }

    /// The first field `name`, with its colon and in lower case; printable and short.
    pub fn field(&self, name: &str) -> String {
        let block = &self.octets[..self.octets.len().min(HEADER_LIMIT)];
        let mut value: Option<Vec<u8>> = None;
        for line in block.split(|&octet| octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
            let folded = line.starts_with(b" ") || line.starts_with(b"\t");
            match &mut value {
                Some(value) if folded => value.extend_from_slice(line),
                Some(_) => break,
                None if line.is_empty() => break,
                None => {
                    let is_it = line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()));
                    value = is_it.then(|| line[name.len()..].to_vec());
                }
            }
        }
        let value = value.unwrap_or_default();
        printable(value.trim_ascii()).chars().take(200).collect()
    }

    /// The armored OpenPGP message in it, line ends and blanks at their ends put right.
    pub fn sealed(&self) -> Option<Vec<u8>> {
        // A gateway may have encoded the part once more; where it did, the armor between the lines is not the true one.
        decoded_parts(&self.octets).iter().find_map(|part| armor_in(part)).or_else(|| armor_in(&self.octets))
    }

    /// Whether its text is the fixed notice.
    pub fn is_notice(&self) -> bool {
        let separator = [b"\r\n\r\n".as_slice(), b"\n\n"];
        let body = separator.iter().find_map(|separator| {
            let at = self.octets.windows(separator.len()).position(|window| window == *separator)?;
            Some(&self.octets[at + separator.len()..])
        });
        body.is_some_and(|body| body.trim_ascii() == NOTICE.as_bytes())
    }
}

/// A transfer encoding (RFC 2045 6).
#[derive(Clone, Copy)]
enum Encoding {
    Base64,
    QuotedPrintable,
}

impl Encoding {
    fn of(line: &[u8]) -> Option<Self> {
        let value = line.to_ascii_lowercase();
        match value.strip_prefix(b"content-transfer-encoding:")?.trim_ascii() {
            b"base64" => Some(Self::Base64),
            b"quoted-printable" => Some(Self::QuotedPrintable),
            _ => None,
        }
    }

    fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Base64 => {
                let octets: Vec<u8> = text.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
                base64::engine::general_purpose::STANDARD.decode(octets).ok()
            }
            Self::QuotedPrintable => quoted_printable::decode(text, quoted_printable::ParseMode::Robust).ok(),
        }
    }
}

/// What stands encoded behind a line that says so, up to the next boundary: in one pass, however it is nested, because
/// nesting is what a sender who wants to break a parser writes.
fn decoded_parts(octets: &[u8]) -> Vec<Vec<u8>> {
    let (mut parts, mut encoding, mut text): (Vec<_>, _, Option<Vec<u8>>) = (Vec::new(), None, None);
    // A last boundary ends the last part.
    for line in octets.split(|&octet| octet == b'\n').chain([b"--".as_slice()]) {
        let line = line.trim_ascii_end();
        match &mut text {
            Some(part) if line.starts_with(b"--") && line != BEGIN && line != END => {
                parts.extend(encoding.take().and_then(|encoding: Encoding| encoding.decode(part)));
                text = None;
            }
            Some(part) => {
                part.extend_from_slice(line);
                part.extend_from_slice(b"\r\n");
            }
            None if line.is_empty() && encoding.is_some() => text = Some(Vec::new()),
            None => encoding = Encoding::of(line).or(encoding),
        }
    }
    parts
}

/// The first armored message among the lines.
fn armor_in(octets: &[u8]) -> Option<Vec<u8>> {
    let mut armor: Option<Vec<u8>> = None;
    for line in octets.split(|&octet| octet == b'\n') {
        let line = line.trim_ascii_end();
        if armor.is_none() && line == BEGIN {
            armor = Some(Vec::new());
        }
        if let Some(armor) = &mut armor {
            armor.extend_from_slice(line);
            armor.push(b'\n');
            if line == END {
                return Some(std::mem::take(armor));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(text: &str) -> Letter {
        Letter { octets: text.as_bytes().to_vec(), ..Letter::default() }
    }

    const ARMOR: &str = "-----BEGIN PGP MESSAGE-----\n\nwcFM\n=abcd\n-----END PGP MESSAGE-----\n";

    #[test]
    fn the_armored_text_is_found_whatever_the_line_ends_and_encodings() {
        for text in [ARMOR.to_owned(), ARMOR.replace('\n', "\r\n"), ARMOR.replace('\n', " \r\n")] {
            let found = letter(&format!("From: a\r\n\r\n--x\r\n\r\n{text}\r\n--x--\r\n")).sealed();
            assert_eq!(found.as_deref(), Some(ARMOR.as_bytes()), "{text:?}");
        }
        let encoded = base64::engine::general_purpose::STANDARD.encode(ARMOR);
        let mail = format!(
            "From: a\nMIME-Version: 1.0\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n{encoded}\n"
        );
        assert_eq!(letter(&mail).sealed().as_deref(), Some(ARMOR.as_bytes()));
        let mail = "From: a\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Transfer-Encoding: Quoted-Printable\n\n";
        let printable = ARMOR.replace('=', "=3D");
        assert_eq!(letter(&format!("{mail}{printable}--x--\n")).sealed().as_deref(), Some(ARMOR.as_bytes()));
        let nested = "Content-Type: message/rfc822\n\n".repeat(100_000);
        assert_eq!(letter(&format!("{nested}Content-Transfer-Encoding: base64\n\nAAAA")).sealed(), None);
        assert_eq!(letter("From: a\n\n-----BEGIN PGP MESSAGE-----\n\nwcFM\n").sealed(), None);
    }

    #[test]
    fn a_field_is_unfolded_printable_and_not_looked_for_in_the_body() {
        let one = letter("Received: x\nFROM: Ossec\n <ossec@example.org>\x1b[2J\nTo: b\n\nFrom: c\n");
        assert_eq!(one.from(), "Ossec <ossec@example.org>\\x1b[2J");
        assert_eq!(letter("To: b\n\nFrom: c\n").from(), "");
    }

    #[test]
    fn the_notice_is_its_text_and_nothing_else() {
        assert!(letter(&format!("From: a\r\n\r\n{NOTICE}\r\n")).is_notice());
        assert!(!letter(&format!("From: a\r\n\r\n{NOTICE} Or not.\r\n")).is_notice());
    }
}
