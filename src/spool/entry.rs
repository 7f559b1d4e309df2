//! The form of a spool entry: one header line, then the finished RFC 5322 message.
//!
//! `sealrelay-entry 1 CHECKSUM {json}` LF message. The checksum is SHA-256 over everything behind it, the JSON and the
//! message. An entry never changes after it is acknowledged.
//!
//! Guarantees: what [`read`] returns is what [`encode`] was given, or an error. A thief of the disk reads metadata here
//! and nothing of an alert; whoever can write here can only make entries that do not verify or that were sealed by him,
//! which the relay's signature tells apart.

use std::io::{self, BufRead, Read};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::envelope::hex;
use crate::position::Source;

/// The first words of every entry: the format and its version.
const MAGIC: &str = "sealrelay-entry 1 ";
/// A header line is metadata only; longer ones are not ours.
const HEADER_LIMIT: u64 = 64 * 1024;

/// What an entry says of itself.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Who gets it.
    pub recipient: String,
    /// MAIL FROM.
    pub reverse_path: String,
    /// Which run of numbers `sequence` belongs to.
    pub epoch: String,
    /// Its number for this recipient; a notice has none.
    pub sequence: Option<u64>,
    /// Full fingerprints it is sealed to; a notice has none.
    pub sealed_to: Vec<String>,
    /// The message's Message-ID, with its brackets.
    pub message_id: String,
    /// When the alert arrived.
    #[serde(with = "rfc3339")]
    pub arrival: SystemTime,
    /// Octets of the message.
    pub size: u64,
    /// Where in a followed log it came from, if it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// An entry that is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// It could not be read at all; it may be well.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// Its first line is not a header line of this format.
    #[error("its first line is no entry header")]
    NoHeader,
    /// Its checksum is wrong.
    #[error("its checksum does not match")]
    Checksum,
}

/// The header line of an entry with `message`.
pub fn encode(header: &Header, message: &[u8]) -> Vec<u8> {
    let json = serde_json::to_string(header).expect("a header of texts and numbers is always JSON");
    let checksum = checksum(json.as_bytes(), message);
    format!("{MAGIC}{checksum} {json}\n").into_bytes()
}

fn checksum(json: &[u8], message: &[u8]) -> String {
    let digest = Sha256::new_with_prefix(json).chain_update(b"\n").chain_update(message).finalize();
    hex(&digest)
}

/// Reads a whole entry and checks it.
///
/// # Errors
/// It is unreadable, or not what was written.
pub fn read(mut file: impl Read) -> Result<(Header, Vec<u8>), EntryError> {
    let mut octets = Vec::new();
    file.read_to_end(&mut octets)?;
    let end = octets.iter().position(|&octet| octet == b'\n').ok_or(EntryError::NoHeader)?;
    let (written, json) = split(&octets[..end])?;
    if written != checksum(json, &octets[end + 1..]) {
        return Err(EntryError::Checksum);
    }
    let header: Header = serde_json::from_slice(json).map_err(|_| EntryError::NoHeader)?;
    // In place: a large message is in memory once.
    octets.drain(..=end);
    Ok((header, octets))
}

/// Reads the header line alone, unchecked: for listing and for starting, where reading every message would take long.
///
/// # Errors
/// It is unreadable, or there is no header line.
pub fn read_header(file: impl BufRead) -> Result<Header, EntryError> {
    let mut line = Vec::new();
    file.take(HEADER_LIMIT).read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\n").ok_or(EntryError::NoHeader)?;
    let (_, json) = split(line)?;
    serde_json::from_slice(json).map_err(|_| EntryError::NoHeader)
}

fn split(line: &[u8]) -> Result<(&str, &[u8]), EntryError> {
    let rest = line.strip_prefix(MAGIC.as_bytes()).ok_or(EntryError::NoHeader)?;
    let (checksum, json) = rest.split_at_checked(64).ok_or(EntryError::NoHeader)?;
    let checksum = std::str::from_utf8(checksum).map_err(|_| EntryError::NoHeader)?;
    Ok((checksum, json.strip_prefix(b" ").ok_or(EntryError::NoHeader)?))
}

/// Times in the header: `2026-11-20T19:26:58.000000Z`.
mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::SystemTime;

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_micros(*time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        humantime::parse_rfc3339(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    pub(crate) fn sample(recipient: &str, sequence: u64, message: &[u8]) -> Header {
        Header {
            recipient: recipient.into(),
            reverse_path: "ossec@example.org".into(),
            epoch: "e1".into(),
            sequence: Some(sequence),
            sealed_to: vec!["65A1B5FF195B56353CC63DFFCC40EF1228271441".into()],
            message_id: "<1@example.org>".into(),
            arrival: UNIX_EPOCH + Duration::from_micros(1_795_000_000_123_456),
            size: message.len() as u64,
            source: None,
        }
    }

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        let message = b"Subject: [...]\r\n\r\nsealed\r\n";
        let source = Some(crate::position::tests::source(3, 900, 700));
        let header = Header { source, ..sample("admin@example.org", 7, message) };
        let file = [encode(&header, message).as_slice(), message].concat();
        let (read_back, text) = read(file.as_slice()).expect("well");
        assert_eq!((&read_back, text.as_slice()), (&header, message.as_slice()));
        assert_eq!(read_header(file.as_slice()).expect("well"), header);
    }

    #[test]
    fn one_changed_octet_anywhere_is_noticed() {
        let message = b"sealed\r\n";
        let good = [encode(&sample("admin@example.org", 7, message), message).as_slice(), message].concat();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(read(bad.as_slice()).is_err(), "octet {at}");
        }
        for cut in 0..good.len() {
            assert!(read(&good[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = read(octets.as_slice());
            let _ = read([MAGIC.as_bytes(), &octets].concat().as_slice());
            let _ = read_header([MAGIC.as_bytes(), &octets].concat().as_slice());
        }
    }
}
