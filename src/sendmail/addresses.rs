//! Addresses out of a header block or an argument, as leniently as callers write them: without a domain, with comments,
//! quotes and groups, separated by commas or blanks.
//!
//! Guarantees: whatever the octets, what comes out is printable ASCII without blanks, controls or angle brackets, does
//! not begin with a dash, and is short enough for a command line, so it can stand between `<` and `>` in RCPT. An
//! attacker controls every octet of a header block. What cannot be an address is passed over there: an alert does not
//! stay away because of its To.

use std::fmt;

use crate::envelope::printable;

/// The longest address handed on; RFC 5321 4.5.3.1.3 says 256.
const LENGTH: usize = 500;

/// What can stand in MAIL and RCPT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// `None` if nothing is left, or if it begins with a dash: whoever hands that to another program hands it an option.
    fn new(octets: &[u8]) -> Option<Self> {
        let text = printable(octets).replace(' ', "\\x20").replace('<', "\\x3c").replace('>', "\\x3e");
        let text: String = text.chars().take(LENGTH).collect();
        (!text.is_empty() && !text.starts_with('-')).then_some(Self(text))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The addresses in To, Cc, Bcc and their Resent- forms. Lines may end with LF; the block ends at the first line that
/// is no field.
pub fn of_header_block(message: &[u8]) -> Vec<Address> {
    const FIELDS: [&[u8]; 6] = [b"to", b"cc", b"bcc", b"resent-to", b"resent-cc", b"resent-bcc"];
    let mut found = Vec::new();
    let mut wanted = false;
    let mut value = Vec::new();
    for (nth, line) in message.split(|&octet| octet == b'\n').enumerate() {
        // RFC 5322 2.2.3: a line that begins with a blank goes on with the field before it.
        if nth > 0 && matches!(line.first(), Some(b' ' | b'\t')) && !line.trim_ascii().is_empty() {
            value.extend_from_slice(line);
            continue;
        }
        if wanted {
            found.extend(read(&value));
        }
        let Some((name, rest)) = field(line) else {
            // A mailbox's separator may stand in front of a mail that was kept in a file.
            if nth == 0 && line.starts_with(b"From ") {
                continue;
            }
            return found;
        };
        wanted = FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name));
        value = rest.to_vec();
    }
    if wanted {
        found.extend(read(&value));
    }
    found
}

/// Name and value of a field; RFC 5322 2.2.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&octet| octet == b':')?;
    let name = line[..colon].trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some((name, &line[colon + 1..]))
}

/// The addresses in a field's value or in an argument.
pub fn read(value: &[u8]) -> Vec<Address> {
    let mut reader = Reader::default();
    let mut octets = value.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            // A quoted pair: the octet behind it has no meaning of its own.
            b'\\' if reader.comments > 0 => drop(octets.next()),
            b'\\' if reader.quoted => reader.word.extend(octets.next()),
            octet => reader.take(octet),
        }
    }
    reader.end_of_address();
    reader.found
}

/// Without the second of two that differ in case only, and no more than `most`.
pub fn without_repetitions(addresses: Vec<Address>, most: usize) -> Vec<Address> {
    let mut seen = std::collections::HashSet::new();
    addresses.into_iter().filter(|address| seen.insert(address.0.to_ascii_lowercase())).take(most).collect()
}

/// Reads an address list (RFC 5322 3.4) octet by octet.
#[derive(Default)]
struct Reader {
    /// Words since the last separator: addresses, unless an angle bracket or a group's colon shows that they are names.
    words: Vec<Vec<u8>>,
    word: Vec<u8>,
    /// What stood between angle brackets.
    angle: Option<Vec<u8>>,
    quoted: bool,
    comments: usize,
    in_angle: bool,
    in_literal: bool,
    found: Vec<Address>,
}

impl Reader {
    fn take(&mut self, octet: u8) {
        match octet {
            b'"' if self.comments == 0 => {
                self.quoted = !self.quoted;
                self.word.push(octet);
            }
            _ if self.quoted => self.word.push(octet),
            b'(' => self.comments += 1,
            b')' if self.comments > 0 => self.comments -= 1,
            _ if self.comments > 0 => {}
            b'<' => {
                self.word.clear();
                self.words.clear();
                self.in_angle = true;
            }
            b'>' if self.in_angle => {
                self.angle = Some(std::mem::take(&mut self.word));
                self.in_angle = false;
            }
            b'>' => {}
            b'[' | b']' => {
                self.in_literal = octet == b'[';
                self.word.push(octet);
            }
            b':' if !self.in_angle && !self.in_literal => {
                self.word.clear();
                self.words.clear();
            }
            b',' | b';' => self.end_of_address(),
            b' ' | b'\t' | b'\r' | b'\n' if !self.in_angle => self.end_of_word(),
            _ => self.word.push(octet),
        }
    }

    fn end_of_word(&mut self) {
        let word = std::mem::take(&mut self.word);
        if !word.is_empty() {
            self.words.push(word);
        }
    }

    fn end_of_address(&mut self) {
        self.end_of_word();
        let words = std::mem::take(&mut self.words);
        match self.angle.take() {
            Some(angle) => self.found.extend(Address::new(&angle)),
            None => self.found.extend(words.iter().filter_map(|word| Address::new(word))),
        }
        (self.in_angle, self.in_literal) = (false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(addresses: Vec<Address>) -> Vec<String> {
        addresses.iter().map(Address::to_string).collect()
    }

    #[test]
    fn addresses_are_read_in_every_form_callers_write() {
        for (value, expected) in [
            ("root", vec!["root"]),
            (" <root@localhost>", vec!["root@localhost"]),
            ("root, admin@example.org", vec!["root", "admin@example.org"]),
            ("root admin", vec!["root", "admin"]),
            ("Alice Doe <alice@x>, \"Doe, Bob\" <bob@y> (comment, <c@c>)", vec!["alice@x", "bob@y"]),
            ("root (Cron Daemon)", vec!["root"]),
            ("\"a b\"@x", vec!["\"a\\x20b\"@x"]),
            ("\"a\\\" <no@x>\" <b@y>", vec!["b@y"]),
            ("undisclosed-recipients:;", vec![]),
            ("team: a@x, B <b@x>; c@x", vec!["a@x", "b@x", "c@x"]),
            ("root@[IPv6:::1]", vec!["root@[IPv6:::1]"]),
            ("<>", vec![]),
            (",, ,", vec![]),
            ("<a@x", vec!["a@x"]),
            ("a@x>", vec!["a@x"]),
            ("-oQ/tmp, a@x", vec!["a@x"]),
            ("caf\u{e9}@x", vec!["caf\\xc3\\xa9@x"]),
        ] {
            assert_eq!(texts(read(value.as_bytes())), expected, "{value:?}");
        }
    }

    #[test]
    fn the_header_block_ends_where_no_field_stands() {
        let of = |message: &str| texts(of_header_block(message.as_bytes()));
        assert_eq!(
            of("To: a@x,\r\n\tb@x\r\nCC : c@x\r\nbcc:d@x\r\nSubject: To: e@x\r\n\r\nTo: f@x\r\n"),
            ["a@x", "b@x", "c@x", "d@x"]
        );
        assert_eq!(of("From root Fri Nov 20\nTo: a\nResent-To: b\n\nTo: c\n"), ["a", "b"]);
        assert_eq!(of("To: a"), ["a"]);
        assert_eq!(of("To: a\nNov 20 sshd[1]: x\nCc: b\n"), ["a"]);
        assert_eq!(of("text\nTo: a\n"), Vec::<String>::new());
        assert_eq!(of(""), Vec::<String>::new());
        assert_eq!(of(" To: a\n"), Vec::<String>::new());
    }

    #[test]
    fn repetitions_go_and_the_number_is_bounded() {
        let many = read(b"a@x, A@X, b, a@x, c");
        assert_eq!(texts(without_repetitions(many, 2)), ["a@x", "b"]);
    }

    proptest! {
        #[test]
        fn whatever_a_header_block_holds_only_what_can_stand_in_rcpt_comes_out(
            block in proptest::collection::vec(prop_oneof![
                Just(b"To: ".to_vec()), Just(b"\n".to_vec()), Just(b"\r\n".to_vec()), Just(b"<".to_vec()),
                Just(b">".to_vec()), Just(b"\"".to_vec()), Just(b"\\".to_vec()), Just(b"(".to_vec()), Just(b":".to_vec()),
                Just(b",-".to_vec()), Just(b"a@x".to_vec()), proptest::collection::vec(any::<u8>(), 0..20),
                Just(vec![b'y'; 700]),
            ], 0..40),
        ) {
            let block = block.concat();
            for address in of_header_block(&block).iter().chain(&read(&block)) {
                let text = address.to_string();
                prop_assert!(!text.is_empty() && text.len() <= LENGTH && !text.starts_with('-'), "{:?}", text);
                prop_assert!(text.bytes().all(|o| o.is_ascii_graphic() && o != b'<' && o != b'>'), "{:?}", text);
            }
        }

        #[test]
        fn plain_addresses_come_out_in_their_order_however_they_are_separated_and_folded(
            names in proptest::collection::vec("[a-z]{1,8}(@[a-z]{1,8}\\.org)?", 1..10),
            separator in prop_oneof![Just(","), Just(", "), Just(",\n "), Just(",\r\n\t"), Just(" ")],
        ) {
            let message = format!("Subject: x\nTo: {}\n\nTo: not@this\n", names.join(separator));
            prop_assert_eq!(texts(of_header_block(message.as_bytes())), names);
        }
    }
}
