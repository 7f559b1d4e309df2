//! The inside of an inline message: one UTF-8 text, for readers without PGP/MIME.
//!
//! ```text
//! Subject: OSSEC Notification - monitor - Alert level 5       always the first line
//! sealrelay: {"format":1,"instance":"monitor", ...}           always the second: the manifest, ASCII
//! Noticed: The text holds 1 line(s) that are ...              a line for each thing noticed, if any
//!                                                             the first empty line ends the block
//! OSSEC HIDS Notification. ...                                the alert
//! --- header lines as received ---                            the last line that reads so
//! From: OSSEC HIDS <ossec@ossec.server>
//! ```
//!
//! Lines end with LF. Control octets other than TAB, octets that are not UTF-8, and the characters that change the order
//! of a text, end a line unseen or do not show are written `\xNN`, octet by octet; a backslash that would read as such an
//! escape is `\x5c`. CRLF and LF both end a line.
//!
//! Guarantees: nothing of a client's can stand in the block but in its place, on its line, since line ends are escaped
//! there; every octet of the alert can be told from the text. A MIME body is shown as received, but with the texts in it
//! decoded in their places, so nothing of it is hidden, and what is no text stays as it was encoded. An attacker who
//! writes rule texts can inject MIME headers into the mail of a client that said HELO: there the body as received comes
//! before the decoded one.

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{MessageParser, MimeHeaders};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::manifest::Manifest;
use super::mime::base64_lines;
use super::original::Original;
use crate::envelope::misleads;
use crate::mail::{Mail, Note};

/// Before the decoded form of a body that stands above as received.
const DECODED: &[u8] = b"--- the same, decoded as its header lines say ---\n";
/// Before the header lines. None of them can read like it: it has no colon.
const HEADER_LINES: &[u8] = b"--- header lines as received ---\n";
/// Before a body in base64.
const NO_TEXT: &[u8] = b"--- no text, so in base64 ---\n";
/// Parts in parts and messages in messages are decoded to this depth.
const DEPTH: usize = 8;
/// A larger body of which more than an eighth needs escapes stands in base64: escapes would make it up to four times as
/// large.
const LARGE: usize = 64 * 1024;

/// Writes the text that is signed and encrypted.
pub fn inside(mail: &Mail, notes: &[Note], manifest: &Manifest) -> Vec<u8> {
    let original = Original::read(&mail.octets);
    let mut text = Vec::with_capacity(mail.octets.len() + 4096);
    field(&mut text, "Subject", &original.subject());
    field(&mut text, "sealrelay", &manifest.to_json_line());
    notes.iter().for_each(|note| field(&mut text, "Noticed", &note.to_string()));
    text.push(b'\n');
    let decoded = original.mime_fields().map(|fields| decoded_body(&fields, original.body));
    if decoded.is_none() || mail.greeting.is_helo() {
        body(&mut text, original.body);
    }
    if let Some(decoded) = decoded {
        if mail.greeting.is_helo() {
            text.extend_from_slice(DECODED);
        }
        body(&mut text, &decoded);
    }
    text.extend_from_slice(HEADER_LINES);
    escaped(&mut text, original.header_block);
    text
}

/// One line of the block.
fn field(text: &mut Vec<u8>, name: &str, value: &str) {
    text.extend_from_slice(format!("{name}: ").as_bytes());
    let mut line = Vec::new();
    escaped(&mut line, value.as_bytes());
    for octet in line {
        match octet {
            b'\n' => text.extend_from_slice(b"\\x0a"),
            octet => text.push(octet),
        }
    }
    text.push(b'\n');
}

/// A body, its last line ended.
fn body(text: &mut Vec<u8>, octets: &[u8]) {
    if octets.len() > LARGE && octets_to_escape(octets) > octets.len() / 8 {
        text.extend_from_slice(NO_TEXT);
        let mut lines = Vec::new();
        base64_lines(&mut lines, octets);
        escaped(text, &lines);
    } else {
        escaped(text, octets);
    }
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
}

/// What no text has much of.
fn octets_to_escape(octets: &[u8]) -> usize {
    let of = |character: char| match character {
        '\r' | '\n' | '\t' => 0,
        character if character.is_control() || misleads(character) => character.len_utf8(),
        _ => 0,
    };
    octets.utf8_chunks().map(|chunk| chunk.invalid().len() + chunk.valid().chars().map(of).sum::<usize>()).sum()
}

fn escaped(text: &mut Vec<u8>, octets: &[u8]) {
    for chunk in octets.utf8_chunks() {
        let valid = chunk.valid();
        for (at, character) in valid.char_indices() {
            let rest = &valid.as_bytes()[at + character.len_utf8()..];
            match character {
                '\n' | '\t' => text.push(character as u8),
                '\r' if rest.first() == Some(&b'\n') => {}
                '\\' if !reads_as_escape(rest) => text.push(b'\\'),
                _ if character == '\\' || character.is_control() || misleads(character) => {
                    escapes(text, character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        escapes(text, chunk.invalid());
    }
}

fn escapes(text: &mut Vec<u8>, octets: &[u8]) {
    octets.iter().for_each(|octet| text.extend_from_slice(format!("\\x{octet:02x}").as_bytes()));
}

/// What follows a backslash.
fn reads_as_escape(rest: &[u8]) -> bool {
    matches!(rest, [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

/// `body` under the `Content-*` fields `fields`, with the texts in it decoded.
pub fn decoded_body(fields: &[u8], body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(body.len());
    decode(&mut decoded, fields, body, DEPTH);
    decoded
}

/// Appends the body of a MIME entity with the texts in it decoded in their places. All else stays: boundaries, fields of
/// parts, what stands before, between and behind the parts, and what is no text.
///
/// Not mail-parser's work: it descends as deep as a mail asks for, until the stack is full.
fn decode(text: &mut Vec<u8>, header_block: &[u8], body: &[u8], depth: usize) {
    let head = MessageParser::default().parse_headers(header_block);
    let kind = head.as_ref().and_then(|head| head.content_type());
    let encoding = head.as_ref().and_then(|head| head.content_transfer_encoding());
    let attribute = |name| kind.and_then(|kind| kind.attribute(name));
    match (kind.map_or("text", |kind| kind.ctype()), attribute("boundary")) {
        ("text", _) => text.extend_from_slice(&text_of(encoding, attribute("charset"), body)),
        ("multipart", Some(boundary)) if depth > 0 => decode_parts(text, boundary, body, depth - 1),
        ("message", _) if depth > 0 => decode_entity(text, body, depth - 1),
        _ => text.extend_from_slice(body),
    }
}

/// A part or a message, header block and all.
fn decode_entity(text: &mut Vec<u8>, entity: &[u8], depth: usize) {
    let Original { header_block, body } = Original::read(entity);
    text.extend_from_slice(&entity[..entity.len() - body.len()]);
    decode(text, header_block, body, depth);
}

/// RFC 2046 5.1.1.
fn decode_parts(text: &mut Vec<u8>, boundary: &str, body: &[u8], depth: usize) {
    let (mut start, mut at, mut in_part) = (0, 0, false);
    let mut put = |piece: &[u8], in_part: bool| match in_part {
        true => decode_entity(text, piece, depth),
        false => text.extend_from_slice(piece),
    };
    for line in body.split_inclusive(|&octet| octet == b'\n') {
        if let Some(rest) = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes())) {
            // The line end before a delimiter belongs to it.
            let before = &body[start..at];
            let before = before.strip_suffix(b"\n").unwrap_or(before);
            let before = before.strip_suffix(b"\r").unwrap_or(before);
            put(before, in_part);
            put(&body[start + before.len()..at + line.len()], false);
            start = at + line.len();
            in_part = !rest.starts_with(b"--");
        }
        at += line.len();
    }
    put(&body[start..], in_part);
}

/// A text, in UTF-8 where its charset is known. What cannot be decoded stays as it is.
fn text_of(encoding: Option<&str>, charset: Option<&str>, raw: &[u8]) -> Vec<u8> {
    let octets = match encoding.map(str::to_ascii_lowercase).as_deref() {
        Some("quoted-printable") => quoted_printable_decode(raw),
        // Strictly, so that no plain text is lost under a wrong label.
        Some("base64") => {
            STANDARD.decode(raw.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect::<Vec<_>>()).ok()
        }
        _ => None,
    };
    let octets = octets.unwrap_or_else(|| raw.to_vec());
    // UTF-8 is hardly ever anything else, whatever the label says; and no label makes ASCII look like something else.
    if std::str::from_utf8(&octets).is_ok() {
        return octets;
    }
    match charset.and_then(|charset| charset_decoder(charset.as_bytes())).map(|decoder| decoder(&octets)) {
        Some(text) if !text.contains(char::REPLACEMENT_CHARACTER) => text.into_bytes(),
        _ => octets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn text(octets: &[u8]) -> String {
        let mut text = Vec::new();
        escaped(&mut text, octets);
        String::from_utf8(text).expect("UTF-8")
    }

    /// What a reader makes of the escapes.
    fn unescaped(text: &str) -> Vec<u8> {
        let (mut octets, mut rest) = (Vec::new(), text.as_bytes());
        while let Some((first, more)) = rest.split_first() {
            if *first == b'\\' && reads_as_escape(more) {
                let digits = std::str::from_utf8(&more[1..3]).expect("digits");
                octets.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
                rest = &more[3..];
            } else {
                octets.push(*first);
                rest = more;
            }
        }
        octets
    }

    #[test]
    fn controls_invalid_octets_and_what_misleads_are_escaped_and_nothing_else() {
        assert_eq!(text(b"a\tb\r\nc\nd\re\r"), "a\tb\nc\nd\\x0de\\x0d");
        assert_eq!(
            text("\u{1b}[31m caf\u{e9} \u{9b}2J \u{202e}x".as_bytes()),
            "\\x1b[31m caf\u{e9} \\xc2\\x9b2J \\xe2\\x80\\xaex"
        );
        assert_eq!(text(b"caf\xe9 \0\x7f"), "caf\\xe9 \\x00\\x7f");
        // What is put between letters and does not show, and a byte order mark wherever it stands.
        assert_eq!(
            text("\u{feff}ro\u{200b}ot \u{2066}1\u{2069} a\u{e0041}".as_bytes()),
            "\\xef\\xbb\\xbfro\\xe2\\x80\\x8bot \\xe2\\x81\\xa61\\xe2\\x81\\xa9 a\\xf3\\xa0\\x81\\x81"
        );
        assert_eq!(
            text("\u{434}\u{5d0}\u{627}\u{65e5}\u{1f600}\u{301}".as_bytes()),
            "\u{434}\u{5d0}\u{627}\u{65e5}\u{1f600}\u{301}"
        );
        assert_eq!(text(br"C:\xampp C:\new C:\xab"), r"C:\xampp C:\new C:\x5cxab");
    }

    proptest::proptest! {
        #[test]
        fn every_octet_can_be_told_from_the_text(
            octets in proptest::collection::vec(
                proptest::prop_oneof![
                    proptest::prelude::Just(b'\\'), proptest::prelude::Just(b'x'), proptest::prelude::Just(b'\r'),
                    proptest::prelude::Just(b'4'), proptest::prelude::any::<u8>(),
                ], 0..200)
        ) {
            let text = text(&octets);
            proptest::prop_assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
            // Only the CR of a CRLF is lost.
            let expected = octets.iter().enumerate().filter(|(at, octet)| **octet != b'\r' || octets.get(at + 1) != Some(&b'\n'));
            proptest::prop_assert_eq!(unescaped(&text), expected.map(|(_, octet)| *octet).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_large_body_of_what_does_not_show_stands_in_base64_and_not_four_times_as_large() {
        for unit in ["\u{202e}", "\u{200b}", "\u{e0041}", "\u{9b}"] {
            let mut large = Vec::new();
            body(&mut large, unit.repeat(LARGE).as_bytes());
            assert!(
                large.starts_with(NO_TEXT) && large.len() < unit.len() * LARGE * 3 / 2,
                "{unit:?}: {}",
                large.len()
            );
        }
    }

    #[test]
    fn no_value_can_add_a_line_to_the_block() {
        let mut block = Vec::new();
        field(&mut block, "Subject", "a\r\nsealrelay: {}\n\nb\u{2028}c\u{85}d");
        assert_eq!(
            String::from_utf8_lossy(&block),
            "Subject: a\\x0asealrelay: {}\\x0a\\x0ab\\xe2\\x80\\xa8c\\xc2\\x85d\n"
        );
    }

    #[test]
    fn texts_are_decoded_in_their_places_and_all_else_stays() {
        let fields = b"Content-Type: multipart/mixed; boundary=b\r\n";
        let body = b"before\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9 =1B[0m\r\n--b\r\n\
            Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+YjwvYj4=\r\n--b\r\n\
            Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw==\r\n--b--\r\nbehind\r\n";
        let decoded = decoded_body(fields, body);
        let expected = String::from_utf8_lossy(body)
            .replace("caf=E9 =1B[0m", "caf\u{e9} \u{1b}[0m")
            .replace("PGI+YjwvYj4=", "<b>b</b>");
        assert_eq!(String::from_utf8_lossy(&decoded), expected);
    }

    proptest::proptest! {
        #[test]
        fn without_an_encoding_a_mime_body_stays_as_it_is_whatever_its_structure(
            lines in proptest::collection::vec(
                proptest::sample::select(&[
                    "--b", "--b--", "--c", "--c--", "", "text", "Content-Type: text/plain", "Content-Type: text/html",
                    "Content-Type: multipart/mixed; boundary=c", "Content-Type: multipart/mixed; boundary=b",
                    "Content-Type: message/rfc822", "Content-Type: image/png", "Subject: s",
                ]), 0..40),
            encoding in proptest::sample::select(&["7bit", "base64", "quoted-printable"]),
        ) {
            let body = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
            let decoded = decoded_body(b"Content-Type: multipart/mixed; boundary=b\r\n", body.as_bytes());
            proptest::prop_assert_eq!(String::from_utf8_lossy(&decoded), body.as_str());
            // With one it is enough that nothing breaks.
            let encoded = body.replace("Subject: s", &format!("Content-Transfer-Encoding: {encoding}"));
            decoded_body(b"Content-Type: multipart/mixed; boundary=b\r\n", encoded.as_bytes());
        }
    }

    #[test]
    fn structures_without_end_fill_no_stack_and_take_no_time() {
        for unit in [
            "--b\r\n",
            "--b\r\nContent-Type: message/rfc822\r\n\r\n",
            "Content-Type: message/rfc822\r\n\r\n",
            "--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
            "--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        ] {
            let body = unit.repeat(1024 * 1024 / unit.len());
            let began = Instant::now();
            assert_eq!(
                decoded_body(b"Content-Type: multipart/mixed; boundary=b\r\n", body.as_bytes()),
                body.as_bytes()
            );
            assert!(began.elapsed() < Duration::from_secs(10), "{unit:?}: {:?}", began.elapsed());
        }
    }

    #[test]
    fn a_wrong_label_hides_no_text() {
        for fields in [
            "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n",
            "Content-Type: text/plain; charset=utf-16\r\n",
            "Content-Type: text/plain; charset=x-unknown\r\n",
            "Content-Type: multipart/mixed; boundary=nowhere\r\n",
            "Content-Type: message/rfc822\r\n",
            "Content-Type: application/octet-stream\r\n",
        ] {
            let body = b"Rule: 5710 fired (level 5)\r\n";
            assert_eq!(decoded_body(fields.as_bytes(), body), body, "{fields}");
        }
    }
}
