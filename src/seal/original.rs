//! What the client sent, taken apart no further than needed: header block, body, Subject, and whether it is MIME.
//!
//! Guarantees: header block and body together are all octets received but the blank line between them. A line that
//! cannot be a header field ends the header block, so that log text which stands where headers should (OSSEC's long
//! sms alerts have no blank line) is read as text. An attacker who writes log lines or rule texts controls everything
//! here; nothing of it reaches an outer header.

use mail_parser::{MessageParser, MimeHeaders};

use crate::envelope::misleads;

/// A client's mail.
pub struct Original<'a> {
    /// Everything up to the blank line, ends of lines included.
    pub header_block: &'a [u8],
    /// Everything behind it.
    pub body: &'a [u8],
}

impl<'a> Original<'a> {
    /// Divides `octets`. Header lines may end with CRLF or LF.
    pub fn read(octets: &'a [u8]) -> Self {
        let mut at = 0;
        for line in octets.split_inclusive(|&octet| octet == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            // A bare CR at the very end is an octet of the text, not a blank line.
            if text.is_empty() && line.ends_with(b"\n") {
                return Self { header_block: &octets[..at], body: &octets[at + line.len()..] };
            }
            let continues = at > 0 && matches!(text.first(), Some(b' ' | b'\t'));
            if !continues && field_name(text).is_none() {
                break;
            }
            at += line.len();
        }
        Self { header_block: &octets[..at], body: &octets[at..] }
    }

    /// The Subject, decoded, without controls and what turns a line of a list around. Empty if there is none.
    pub fn subject(&self) -> String {
        let subject = MessageParser::default()
            .parse_headers(self.header_block)
            .and_then(|message| message.subject().map(str::to_owned))
            .unwrap_or_default();
        subject.chars().filter(|c| !c.is_control() && !misleads(*c)).take(500).collect()
    }

    /// The `Content-*` fields, if the mail is MIME: it says so, its Content-Type can be read, and nothing in it could
    /// reach a terminal as a control sequence.
    pub fn mime_fields(&self) -> Option<Vec<u8>> {
        let says_so = self.fields().any(|(name, _)| name.eq_ignore_ascii_case(b"MIME-Version"));
        let mut types = self.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"Content-Type"));
        let single = types.next().is_some() && types.next().is_none();
        let reads = MessageParser::default()
            .parse_headers(self.header_block)
            .is_some_and(|message| message.content_type().is_some_and(|kind| kind.subtype().is_some()));
        if !(says_so && single && reads) || can_move_a_cursor(self.body) {
            return None;
        }
        let content: Vec<&[u8]> = self
            .fields()
            .filter(|(name, _)| name.len() > 8 && name[..8].eq_ignore_ascii_case(b"Content-"))
            .map(|(_, field)| field)
            .collect();
        let plain = content.iter().all(|field| field.is_ascii() && !can_move_a_cursor(field));
        plain.then(|| with_crlf(&content.concat()))
    }

    /// The body, its texts decoded, if the mail is MIME.
    pub fn decoded_body(&self) -> Option<Vec<u8>> {
        self.mime_fields().map(|fields| super::inline::decoded_body(&fields, self.body))
    }

    /// The header block up to its Subject, with `subject` in place of that and of all behind it: with OSSEC and Wazuh the
    /// Subject is the last field, and what seems to follow it is the rest of a description that holds line ends.
    pub fn header_block_with(&self, subject: &[u8]) -> Vec<u8> {
        let before = self.fields().take_while(|(name, _)| !name.eq_ignore_ascii_case(b"Subject"));
        let before: Vec<&[u8]> = before.map(|(_, field)| field).collect();
        [&before.concat(), b"Subject: ".as_slice(), subject, b"\r\n"].concat()
    }

    /// Whether HTML may be anywhere in it.
    pub fn mentions_html(&self) -> bool {
        [self.header_block, self.body]
            .iter()
            .any(|part| part.windows(9).any(|window| window.eq_ignore_ascii_case(b"text/html")))
    }

    /// Name and whole field, folded lines and line end included.
    fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let block = self.header_block;
        let mut starts: Vec<usize> = Vec::new();
        let mut at = 0;
        for line in block.split_inclusive(|&octet| octet == b'\n') {
            if !matches!(line.first(), Some(b' ' | b'\t')) {
                starts.push(at);
            }
            at += line.len();
        }
        let ends: Vec<usize> = starts.iter().skip(1).copied().chain([block.len()]).collect();
        starts.into_iter().zip(ends).filter_map(move |(start, end)| {
            let field = &block[start..end];
            field_name(field).map(|name| (name, field))
        })
    }
}

/// RFC 5322 2.2: printable ASCII without blanks and the colon. A blank before the colon is taken (section 4.5).
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|&octet| octet == b':')?;
    let name = line[..colon].trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// Octets that could move a cursor or end a text early: all controls but TAB, CR and LF, and DEL.
pub fn has_controls(octets: &[u8]) -> bool {
    octets.iter().any(|&octet| (octet < b' ' && !matches!(octet, b'\t' | b'\r' | b'\n')) || octet == 0x7f)
}

/// The same and more, for octets that are passed on as they are: bare CR, and the C1 controls in UTF-8 and in 8-bit text
/// that is not UTF-8.
fn can_move_a_cursor(octets: &[u8]) -> bool {
    let bare_cr = octets.iter().enumerate().any(|(at, octet)| *octet == b'\r' && octets.get(at + 1) != Some(&b'\n'));
    let c1 = match std::str::from_utf8(octets) {
        Ok(text) => text.chars().any(|c| ('\u{80}'..='\u{9f}').contains(&c)),
        Err(_) => octets.iter().any(|octet| (0x80..=0x9f).contains(octet)),
    };
    has_controls(octets) || bare_cr || c1
}

fn with_crlf(field: &[u8]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(field.len() + 8);
    for line in field.split(|&octet| octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        if !line.is_empty() {
            lines.extend_from_slice(line);
            lines.extend_from_slice(b"\r\n");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_mail_is_divided_at_the_blank_line() {
        for blank in ["\r\n", "\n"] {
            let text = format!("To: <root>{blank}Subject: a{blank} b{blank}{blank}body{blank}");
            let original = Original::read(text.as_bytes());
            assert_eq!(original.body, format!("body{blank}").as_bytes());
            assert!(original.header_block.ends_with(format!(" b{blank}").as_bytes()));
            assert_eq!(original.subject(), "a b");
        }
    }

    #[test]
    fn log_text_without_a_blank_line_before_it_is_body() {
        let original = Original::read(b"To: <root>\r\nNov 20 20:00:45 monitor sshd[1]: Failed password\r\n");
        assert_eq!(original.header_block, b"To: <root>\r\n");
        assert_eq!(original.body, b"Nov 20 20:00:45 monitor sshd[1]: Failed password\r\n");
        assert_eq!(Original::read(b"no header at all").body, b"no header at all");
        assert_eq!(Original::read(b"").body, b"");
        assert_eq!(Original::read(b"To: a\r\n\r").body, b"\r");
    }

    #[test]
    fn a_subject_is_decoded_and_loses_its_controls_and_what_turns_it_around() {
        let original = Original::read(b"Subject: =?utf-8?q?caf=C3=A9=1B[31m=E2=80=AEsdrawkcab?=\r\n\r\n");
        assert_eq!(original.subject(), "caf\u{e9}[31msdrawkcab");
    }

    #[test]
    fn mime_needs_a_version_and_a_type_that_reads() {
        let mime = |block: &str, body: &str| Original::read(format!("{block}\r\n{body}").as_bytes()).mime_fields();
        let good =
            "MIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n";
        let fields = mime(good, "YQ==\r\n").expect("MIME");
        assert_eq!(fields, b"Content-Type: text/plain;\r\n charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n");
        assert_eq!(mime("Content-Type: text/html\r\n", "x"), None);
        assert_eq!(mime("MIME-Version: 1.0\r\n", "x"), None);
        for escape in ["\x1b[2J", "\u{9b}2J", "over\rwritten"] {
            assert_eq!(mime(good, escape), None, "{escape:?}");
        }
        let twice = format!("{good}Content-Type: text/html\r\n");
        assert_eq!(mime(&twice, "x"), None);
    }

    #[test]
    fn another_subject_takes_the_place_of_the_old_one_and_of_all_that_it_may_have_made() {
        let original = Original::read(b"To: a\r\nX: y\n z\nsubject: old\r\n secret\r\nTo: secret\r\n\r\nbody");
        assert_eq!(original.header_block_with(b"new"), b"To: a\r\nX: y\n z\nSubject: new\r\n");
    }

    proptest::proptest! {
        #[test]
        fn no_octet_is_lost_between_header_block_and_body(text in "[a-zA-Z:. \r\n\t]{0,120}") {
            let original = Original::read(text.as_bytes());
            let lost = text.len() - original.header_block.len() - original.body.len();
            proptest::prop_assert!(lost <= 2);
            proptest::prop_assert!(text.as_bytes().starts_with(original.header_block));
            proptest::prop_assert!(text.as_bytes().ends_with(original.body));
            let _ = (original.subject(), original.mime_fields());
        }
    }
}
