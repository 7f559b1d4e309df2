//! The structures an alert can have, and what must come back of each.

use std::path::Path;

use sequoia_openpgp::Cert;

use crate::support::client::Client;
use crate::support::daemon::MARKER;
use crate::support::reader;

/// How a recipient wants its messages.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    PgpMime,
    Inline,
}

/// An alert.
pub struct Structure {
    pub name: &'static str,
    /// As a client sends it, dots unstuffed, the last line ended.
    message: Vec<u8>,
    /// What a mail program shows of it.
    pub displays: &'static str,
    /// What the inline text shows of it.
    pub shows: &'static [&'static str],
    greeting: &'static str,
}

const MULTIPART: &str = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=b\"\r\nSubject: s\r\n\r\n";
const PLAIN: &str = "--=b\r\nContent-Type: text/plain\r\n\r\nplain part\r\n";
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9";

/// All of them.
pub fn structures() -> Vec<Structure> {
    vec![
        one(
            "plain, as OSSEC's",
            b"Subject: s\r\n\r\nOSSEC HIDS Notification.\r\nC:\\xampp\\xff\r\n",
            "OSSEC HIDS Notification.",
            &["OSSEC HIDS Notification.\nC:\\xampp\\x5cxff\n"],
        ),
        multipart(
            "multipart",
            &format!("a preamble\r\n{PLAIN}--=b\r\n\r\nsecond part\r\n"),
            "second part",
            &["a preamble", "\n\nplain part\n", "\n\nsecond part\n"],
        ),
        multipart(
            "message/rfc822",
            "--=b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\naW5uZXIgY2Fmw6k=\r\n",
            "inner caf\u{e9}",
            &["Subject: inner", "\n\ninner caf\u{e9}\n"],
        ),
        one(
            "base64",
            b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\
              Subject: s\r\n\r\nYWxlcnQgY2Fmw6kgG1szMW0=\r\n",
            "alert caf\u{e9}",
            &["alert caf\u{e9} \\x1b[31m\n"],
        ),
        one(
            "quoted-printable",
            b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\nSubject: s\r\n\
              Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9 and a line that goes =\r\non, v1=3D48\r\n",
            "caf\u{e9} and a line that goes on, v1=48",
            &["caf\u{e9} and a line that goes on, v1=48\n"],
        ),
        multipart(
            "HTML, inline image",
            &format!(
                "--=b\r\nContent-Type: multipart/related; boundary=\"=r\"\r\n\r\n--=r\r\nContent-Type: text/html; \
                 charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPGltZyBzcmM9J2NpZDpsb2dvJz5hcHAgYm9i\r\n--=r\r\n\
                 Content-Type: image/png\r\nContent-ID: <logo>\r\nContent-Transfer-Encoding: base64\r\n\r\n{PNG}\r\n--=r--\r\n"
            ),
            // No mail program on a terminal shows HTML by itself; the octets as received are there.
            "PGltZyBzcmM9J2NpZDpsb2dvJz5hcHAgYm9i",
            &["<img src='cid:logo'>app bob", PNG],
        ),
        multipart(
            "attachment",
            &format!(
                "{PLAIN}--=b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; \
                 filename=\"core.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{PNG}\r\n"
            ),
            "Attachment #2: core.bin",
            &["plain part\n", "filename=\"core.bin\"", PNG],
        ),
        one(
            "non-UTF-8",
            b"Subject: s\r\nX-User: caf\xe9\r\n\r\nuser caf\xe9 \xff\xfe and caf\xc3\xa9\r\n",
            "user caf\u{e9} \u{ff}\u{fe}",
            &["user caf\\xe9 \\xff\\xfe and caf\u{e9}\n"],
        ),
        one(
            "ESC sequences",
            b"Subject: s\x1b\r\n\r\n\x1b[2J\x1b]0;t\x07 over\rwritten \xc2\x9b31m \0\x7f\r\n",
            "]0;t",
            &["\\x1b[2J\\x1b]0;t\\x07 over\\x0dwritten \\xc2\\x9b31m \\x00\\x7f\n"],
        ),
        one(
            "20,000-octet line",
            &[b"Subject: s\r\n\r\n", "long ".repeat(4000).as_bytes(), b"end\r\n"].concat(),
            "long long long end",
            &["long long long end\n"],
        ),
        one("empty body", b"Subject: s\r\nTo: root\r\n\r\n", "To: root", &[]),
        one(
            "no header at all",
            b"Nov 20 19:26:42 monitor sshd[1]: x\r\nsecond\r\n",
            "monitor sshd[1]: x",
            &["monitor sshd[1]: x\nsecond\n"],
        ),
        one("header only", b"Subject: s\r\nTo: <root@localhost>\r\n", "To: <root@localhost>", &[]),
        one(
            "lone dots, blanks",
            b"Subject: s\r\n\r\n.\r\n..\r\n \r\n  a \r\n\t\r\n\r\n\r\n",
            "\n.\n..\n \n  a \n",
            &[".\n..\n \n  a \n\t\n\n\n"],
        ),
        one(
            "a forged block",
            b"Subject: s\r\n\r\nSubject: t\r\nsealrelay: {}\r\nNoticed: nothing\r\n\r\n\
              --- header lines as received ---\r\nX-Forged: yes\r\n",
            "Noticed: nothing",
            &["Subject: t\nsealrelay: {}\nNoticed: nothing\n\n--- header lines as received ---\nX-Forged: yes\n"],
        ),
        by_rule_text(
            "HTML by rule text",
            b"To: <root>\r\nSubject: s\r\nBcc: evil@evil.example\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n\
              injected body\r\n<!--\r\n\r\nlog text\r\n",
            "<!--\n\nlog text",
            &["injected body\n<!--\n\nlog text\n--- the same, decoded"],
        ),
        by_rule_text(
            "MIME by rule text",
            b"To: <root>\r\nSubject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"x\"\r\n\r\n\
              log text\r\n--x\r\n\r\nshown\r\n--x--\r\n",
            "log text\n--x\n\nshown",
            &["log text\n--x\n\nshown\n--x--\n--- the same, decoded"],
        ),
    ]
}

fn one(name: &'static str, message: &[u8], displays: &'static str, shows: &'static [&'static str]) -> Structure {
    // Every alert holds the marker, so that it is looked for on disk: here in a header line.
    let marker = if message.starts_with(b"Nov") { String::new() } else { format!("X-Marker: {MARKER}\r\n") };
    let message = [marker.as_bytes(), message].concat();
    Structure { name, message, displays, shows, greeting: "EHLO monitor" }
}

fn multipart(name: &'static str, parts: &str, displays: &'static str, shows: &'static [&'static str]) -> Structure {
    one(name, format!("{MULTIPART}{parts}\r\n--=b--\r\n").as_bytes(), displays, shows)
}

/// From a client whose header lines whoever writes log lines can choose.
fn by_rule_text(
    name: &'static str,
    message: &[u8],
    displays: &'static str,
    shows: &'static [&'static str],
) -> Structure {
    Structure { greeting: "HELO notify.ossec.net", ..one(name, message, displays, shows) }
}

impl Structure {
    pub fn send(&self, address: &str) {
        let (mut client, _) = Client::connect(address);
        client.begin_data(self.greeting, &["root@localhost"]);
        let mut stuffed = Vec::new();
        for line in self.message.split_inclusive(|&octet| octet == b'\n') {
            stuffed.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
            stuffed.extend_from_slice(line);
        }
        client.send(&[&stuffed[..], b".\r\n"].concat());
        assert!(client.reply().starts_with("250"), "{}", self.name);
    }

    /// The protected Subject.
    pub fn subject(&self) -> &'static str {
        if self.message.starts_with(b"Nov") { "" } else { "s" }
    }

    /// Header block and body.
    fn parts(&self) -> (&[u8], &[u8]) {
        let message = &self.message[..];
        if message.starts_with(b"Nov") {
            return (b"", message);
        }
        match message.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(at) => (&message[..at + 2], &message[at + 4..]),
            None => (message, b""),
        }
    }

    /// What a program made of `message` is what is in it, and that is the alert.
    #[track_caller]
    pub fn assert_read(&self, read: &[u8], format: Format, message: &[u8], recipient: &Cert, signer: &Path) {
        match format {
            Format::PgpMime => {
                let opened = reader::open(message, recipient, signer);
                assert!(read == opened.entity, "{}: not the entity", self.name);
                self.assert_whole(&opened);
            }
            Format::Inline => {
                let opened = reader::open_inline(message, recipient, signer);
                assert!(read == opened.text.as_bytes(), "{}: not the text", self.name);
                self.assert_shown(&opened);
            }
        }
    }

    /// The alert came back: as the octets of a part, or, where it is MIME, as they stand in the entity.
    #[track_caller]
    fn assert_whole(&self, opened: &reader::Opened) {
        let (header_block, body) = self.parts();
        assert_eq!(opened.subject, self.subject(), "{}", self.name);
        assert_eq!(opened.part("header.txt"), header_block, "{}", self.name);
        let as_mime = opened.entity.windows(body.len().max(1)).any(|window| window == body);
        assert!(opened.alert() == body || as_mime, "{}: {:?}", self.name, String::from_utf8_lossy(opened.alert()));
        if self.greeting.starts_with("HELO") || self.name.contains("HTML") {
            assert_eq!(opened.alert(), body, "{}: the octets must come first", self.name);
        }
        assert_no_controls(&opened.entity, self.name);
    }

    #[track_caller]
    fn assert_shown(&self, opened: &reader::OpenedText) {
        let Self { name, shows, .. } = self;
        assert_eq!((opened.subject.as_str(), opened.noticed.len()), (self.subject(), 0), "{name}");
        shows.iter().for_each(|shown| assert!(opened.alert.contains(shown), "{name}: {:?}", opened.alert));
        let (header_block, body) = self.parts();
        if !String::from_utf8_lossy(header_block).contains("MIME-Version") {
            assert_eq!(unescaped(&opened.alert), without_cr(body), "{name}");
        }
        assert_eq!(unescaped(&opened.header_block), without_cr(header_block), "{name}");
        assert_no_controls(opened.text.as_bytes(), name);
    }
}

/// Nothing reaches a terminal raw.
#[track_caller]
fn assert_no_controls(octets: &[u8], name: &str) {
    let text = String::from_utf8_lossy(octets).replace("\r\n", "\n");
    assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{name}");
}

/// What `\xNN` stands for.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut octets, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, more @ ..] = rest {
        let digits = more.strip_prefix(b"x").and_then(|digits| std::str::from_utf8(digits.get(..2)?).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) if *first == b'\\' => {
                octets.push(octet);
                rest = &more[3..];
            }
            _ => {
                octets.push(*first);
                rest = more;
            }
        }
    }
    octets
}

/// CRLF as LF.
pub fn without_cr(octets: &[u8]) -> Vec<u8> {
    let is_crlf = |at: usize| octets[at] == b'\r' && octets.get(at + 1) == Some(&b'\n');
    (0..octets.len()).filter(|at| !is_crlf(*at)).map(|at| octets[at]).collect()
}
