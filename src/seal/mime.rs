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

/// Writes the entity that is signed and encrypted.
pub fn inside(mail: &Mail, notes: &[Note], manifest: &Manifest, outside: &Outside) -> Vec<u8> {
    let original = Original::read(&mail.octets);
    let boundary = hex(&random::<16>());
    let mut entity = head(outside, mail.arrival, &original, &boundary);
    let mut part = |headers: &str, content: &[u8]| {
        entity.extend_from_slice(format!("--{boundary}\r\n{headers}").as_bytes());
        entity.extend_from_slice(content);
        entity.extend_from_slice(b"\r\n");
    };
    if !notes.is_empty() {
        part("", &text_part("text/plain", &notice_text(notes)));
    }
    let mime = original.mime_fields();
    // Rule text can inject MIME headers, and HTML can hide: then the octets themselves come first.
    if mime.is_none() || mail.greeting.is_helo() || original.mentions_html() {
        part("", &text_part("text/plain", original.body));
    }
    if let Some(fields) = mime {
        part("", &[fields.as_slice(), b"\r\n", original.body].concat());
    }
    part("Content-Disposition: inline; filename=\"header.txt\"\r\n", &text_part("text/plain", original.header_block));
    part("Content-Disposition: attachment; filename=\"sealrelay.json\"\r\n", &json_part(manifest));
    entity.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    entity
}

fn head(outside: &Outside, arrival: SystemTime, original: &Original<'_>, boundary: &str) -> Vec<u8> {
    let protected = outside.inside(arrival, &original.subject());
    format!(
        "{protected}MIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; protected-headers=\"v1\"; hp=\"cipher\";\r\n boundary=\"{boundary}\"\r\n\r\n"
    )
    .into_bytes()
}

fn notice_text(notes: &[Note]) -> Vec<u8> {
    let lines: String = notes.iter().map(|note| format!("* {note}\r\n")).collect();
    format!("The mail relay noticed:\r\n\r\n{lines}").into_bytes()
}

fn json_part(manifest: &Manifest) -> Vec<u8> {
    text_part("application/json", manifest.to_json().as_bytes())
}

/// Content-Type, encoding and content of one part, whatever the octets.
fn text_part(kind: &str, octets: &[u8]) -> Vec<u8> {
    let (encoding, content) = encode(octets);
    let charset = match std::str::from_utf8(octets) {
        Ok(text) if text.is_ascii() => "us-ascii",
        Ok(_) => "utf-8",
        // Which one it was nobody said; this one shows every octet as something.
        Err(_) => "iso-8859-1",
    };
    let mut part =
        format!("Content-Type: {kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n").into_bytes();
    part.extend_from_slice(&content);
    part
}

/// As it is where that is safe, else the shorter of quoted-printable and base64.
fn encode(octets: &[u8]) -> (&'static str, Vec<u8>) {
    if is_plain(octets) {
        return ("7bit", octets.to_vec());
    }
    let special = octets.iter().filter(|octet| !matches!(octet, b' '..=b'~' | b'\r' | b'\n' | b'\t')).count();
    if special > octets.len() / 4 { ("base64", base64_lines(octets)) } else { ("quoted-printable", quoted(octets)) }
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
fn quoted(octets: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(octets.len() + octets.len() / 8);
    let mut rest = octets;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let line = quoted_printable::encode_with_options(&rest[..end.unwrap_or(rest.len())], options());
        lines.extend_from_slice(line.as_bytes());
        let Some(end) = end else { return lines };
        // A blank at the end of a line is lost on the way unless it is encoded.
        if let Some(blank @ (b' ' | b'\t')) = lines.last().copied() {
            lines.pop();
            lines.extend_from_slice(if blank == b' ' { b"=20" } else { b"=09" });
        }
        lines.extend_from_slice(b"\r\n");
        rest = &rest[end + 2..];
    }
}

fn options() -> Options {
    Options::default().input_mode(InputMode::Binary)
}

fn base64_lines(octets: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(octets);
    let mut lines = Vec::with_capacity(text.len() + text.len() / 30);
    for line in text.as_bytes().chunks(76) {
        lines.extend_from_slice(line);
        lines.extend_from_slice(b"\r\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;

    /// What a reader's program makes of one part, by a parser that is not ours.
    fn decoded(octets: &[u8]) -> Vec<u8> {
        let part = [b"--b\r\n".as_slice(), &text_part("application/octet-stream", octets), b"\r\n--b--\r\n"].concat();
        let entity = [b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n".as_slice(), &part].concat();
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
            let encoded = encode(&octets).1;
            proptest::prop_assert!(encoded.is_ascii() && !has_controls(&encoded));
            proptest::prop_assert_eq!(decoded(&octets), octets);
        }
    }
}
