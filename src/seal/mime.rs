//! The protected inside of a sealed message (RFC 9788): headers, what was noticed, the alert, the header block as
//! received, the manifest.
//!
//! Guarantees: the alert's octets come back exactly when the part is decoded; no control octet of the client's stands
//! here raw, so `gpg --decrypt` on a terminal is safe; a part cannot end early, because the boundary is random.
//!
//! lettre's builder is not used here: it keeps one value per header name and would re-encode the alert.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quoted_printable::{InputMode, Options};

use super::manifest::Manifest;
use super::original::{Original, has_controls};
use super::outside::Outside;
use crate::envelope::{hex, random};
use crate::mail::{Mail, Note};

/// The longest line sent as it is, without its end (RFC 5322 2.1.1).
const LINE_LIMIT: usize = 998;

/// Writes the entity that is signed and encrypted. A large alert is copied once, into the entity, and nowhere else.
pub fn inside(mail: &Mail, notes: &[Note], manifest: &Manifest, outside: &Outside) -> Vec<u8> {
    let original = Original::read(&mail.octets);
    let boundary = hex(&random::<16>());
    let mut entity = head(outside, mail.arrival, &original, &boundary);
    if !notes.is_empty() {
        begin_part(&mut entity, &boundary);
        text_part(&mut entity, "text/plain", &notice_text(notes));
    }
    let mime = original.mime_fields();
    // Rule text can inject MIME headers, and HTML can hide: then the octets themselves come first.
    if mime.is_none() || mail.greeting.is_helo() || original.mentions_html() {
        begin_part(&mut entity, &boundary);
        text_part(&mut entity, "text/plain", original.body);
    }
    if let Some(fields) = mime {
        begin_part(&mut entity, &boundary);
        entity.extend_from_slice(&fields);
        entity.extend_from_slice(b"\r\n");
        entity.extend_from_slice(original.body);
    }
    begin_part(&mut entity, &boundary);
    entity.extend_from_slice(b"Content-Disposition: inline; filename=\"header.txt\"\r\n");
    text_part(&mut entity, "text/plain", original.header_block);
    begin_part(&mut entity, &boundary);
    entity.extend_from_slice(b"Content-Disposition: attachment; filename=\"sealrelay.json\"\r\n");
    text_part(&mut entity, "application/json", manifest.to_json().as_bytes());
    entity.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    entity
}

/// The delimiter; its own CRLF in front, so that the part before it keeps its last octet (RFC 2046 5.1.1).
fn begin_part(entity: &mut Vec<u8>, boundary: &str) {
    entity.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
}

fn head(outside: &Outside, arrival: SystemTime, original: &Original<'_>, boundary: &str) -> Vec<u8> {
    let protected = outside.inside(arrival, &original.subject());
    format!(
        "{protected}MIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; protected-headers=\"v1\"; hp=\"cipher\";\r\n boundary=\"{boundary}\"\r\n"
    )
    .into_bytes()
}

fn notice_text(notes: &[Note]) -> Vec<u8> {
    let lines: String = notes.iter().map(|note| format!("* {note}\r\n")).collect();
    format!("The mail relay noticed:\r\n\r\n{lines}").into_bytes()
}

/// Content-Type, encoding and content of one part, whatever the octets.
fn text_part(entity: &mut Vec<u8>, kind: &str, octets: &[u8]) {
    let charset = match std::str::from_utf8(octets) {
        Ok(text) if text.is_ascii() => "us-ascii",
        Ok(_) => "utf-8",
        // Which one it was nobody said; this one shows every octet as something.
        Err(_) => "iso-8859-1",
    };
    let encoding = Encoding::of(octets);
    let head =
        format!("Content-Type: {kind}; charset={charset}\r\nContent-Transfer-Encoding: {}\r\n\r\n", encoding.name());
    entity.extend_from_slice(head.as_bytes());
    match encoding {
        Encoding::SevenBit => entity.extend_from_slice(octets),
        Encoding::QuotedPrintable => quoted(entity, octets),
        Encoding::Base64 => base64_lines(entity, octets),
    }
}

/// How a part's octets are written.
enum Encoding {
    SevenBit,
    QuotedPrintable,
    Base64,
}

impl Encoding {
    /// As they are where that is safe, else the shorter one of the two.
    fn of(octets: &[u8]) -> Self {
        if is_plain(octets) {
            return Self::SevenBit;
        }
        let special = octets.iter().filter(|octet| !matches!(octet, b' '..=b'~' | b'\r' | b'\n' | b'\t')).count();
        if special > octets.len() / 4 { Self::Base64 } else { Self::QuotedPrintable }
    }

    /// RFC 2045 6.1.
    fn name(&self) -> &'static str {
        match self {
            Self::SevenBit => "7bit",
            Self::QuotedPrintable => "quoted-printable",
            Self::Base64 => "base64",
        }
    }
}

/// ASCII without controls, in CRLF lines of bearable length, with nothing a mail program would strip or change.
fn is_plain(octets: &[u8]) -> bool {
    octets.is_ascii()
        && !has_controls(octets)
        && octets.split(|&octet| octet == b'\n').all(|line| line.len() <= LINE_LIMIT)
        && octets.iter().enumerate().all(|(at, &octet)| match octet {
            b'\n' => at > 0 && octets[at - 1] == b'\r',
            b'\r' => octets.get(at + 1) == Some(&b'\n'),
            _ => true,
        })
}

/// RFC 2045 6.7, each CRLF line by itself: a bare CR or LF is content and is encoded.
fn quoted(entity: &mut Vec<u8>, octets: &[u8]) {
    let mut rest = octets;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let options = Options::default().input_mode(InputMode::Binary);
        let line = quoted_printable::encode_with_options(&rest[..end.unwrap_or(rest.len())], options);
        entity.extend_from_slice(line.as_bytes());
        let Some(end) = end else { return };
        // A blank at the end of a line is lost on the way unless it is encoded.
        if let Some(blank @ (b' ' | b'\t')) = line.as_bytes().last() {
            entity.pop();
            entity.extend_from_slice(if *blank == b' ' { b"=20" } else { b"=09" });
        }
        entity.extend_from_slice(b"\r\n");
        rest = &rest[end + 2..];
    }
}

/// RFC 2045 6.8: 57 octets make a line of 76 characters.
pub fn base64_lines(entity: &mut Vec<u8>, octets: &[u8]) {
    // With room for what follows, so that a large entity is not doubled for it.
    entity.reserve_exact(octets.len() / 57 * 78 + 16 * 1024);
    let mut line = [0; 76];
    for piece in octets.chunks(57) {
        let length = STANDARD.encode_slice(piece, &mut line).expect("57 octets make 76 characters");
        entity.extend_from_slice(&line[..length]);
        entity.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;

    fn part(octets: &[u8]) -> Vec<u8> {
        let mut part = Vec::new();
        text_part(&mut part, "application/octet-stream", octets);
        part
    }

    /// What a reader's program makes of one part, by a parser that is not ours.
    fn decoded(octets: &[u8]) -> Vec<u8> {
        let head = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n";
        let entity = [head.as_slice(), &part(octets), b"\r\n--b--\r\n"].concat();
        let message = MessageParser::default().parse(&entity).expect("MIME");
        message.parts[1].contents().to_vec()
    }

    #[test]
    fn octets_come_back_exactly_whatever_they_are() {
        for octets in [
            b"".as_slice(),
            b"plain\r\n",
            b"\r\nOSSEC HIDS Notification.\r\n\r\n\r\n",
            b"bare\nlf and\rcr \r\n",
            b"\x1b[2J\0\r\n",
            b"caf\xe9\r\n",
            "caf\u{e9} \r\n\t\r\n".as_bytes(),
            b"=3D=\r\n..\r\n.",
            &b"x".repeat(20_000),
            &(0..=255).collect::<Vec<u8>>(),
        ] {
            assert_eq!(decoded(octets), octets, "{:?}", String::from_utf8_lossy(octets));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_octets_come_back_exactly(
            octets in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::prelude::Just(b'\r'), proptest::prelude::Just(b'\n'), proptest::prelude::Just(b' '),
                    proptest::prelude::Just(b'='), b'a'..=b'z', proptest::prelude::any::<u8>(),
                ], 0..400)
        ) {
            let part = part(&octets);
            proptest::prop_assert!(part.is_ascii() && !has_controls(&part));
            proptest::prop_assert_eq!(decoded(&octets), octets);
        }
    }
}
