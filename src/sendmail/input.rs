//! The message as it comes on standard input: a UNIX text, whose lines end with LF, up to its end or a lone dot.
//!
//! **Line ends.** LF is what ends a line for this program's callers, and CRLF for SMTP, so an LF without a CR before it
//! becomes CRLF; a CRLF stays (OSSEC and Wazuh write it into the pipe), and so does every other octet: bare CR, NUL,
//! 8-bit, lines of any length. Handing LF on as it is would be octet for octet too, but then every line of a cron mail
//! would arrive as one quoted-printable line with `=0A` in it, which nobody can read where `gpg --decrypt` is all there
//! is. A last line without its end gets one, because the end of data needs it.
//!
//! Guarantees: no more than [`LIMIT`] octets are kept; what is larger is an error, never a part of a mail. An attacker
//! who writes log lines controls every octet, and can cut a mail by a lone dot where the caller gives neither `-i` nor
//! `-oi`: sendmail(1) has it so, and the caller is told.

use std::io::{self, Read};

use super::flags::Dots;

/// The largest message, octets: the most that `listen.message_size` can be. The daemon's own limit may be smaller.
const LIMIT: usize = 64 * 1024 * 1024;
/// Octets read at once.
const CHUNK: usize = 64 * 1024;

/// A message, ready for DATA but for its dots.
#[derive(Debug)]
pub struct Input {
    /// Header block and body; every LF has its CR, and the last line its end.
    pub octets: Vec<u8>,
    /// Whether text followed the lone dot that ended it, as far as that was seen.
    pub goes_on: bool,
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Standard input broke off; what came is not the mail.
    #[error("cannot read the message: {0}")]
    Read(#[from] io::Error),
    /// Over the limit.
    #[error("the message is larger than {LIMIT} octets")]
    TooLarge,
}

impl InputError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read(_) => "Nothing was sent.",
            Self::TooLarge => "Nothing was sent. Send less, or a file's name instead of the file.",
        }
    }

    /// The sysexits code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Read(_) => 74,
            Self::TooLarge => 65,
        }
    }
}

impl Input {
    /// Reads from `source` up to the end.
    ///
    /// # Errors
    /// It breaks off, or is too large.
    pub fn read(mut source: impl Read, dots: Dots) -> Result<Self, InputError> {
        let mut text = Text { octets: Vec::new(), line: 0, dots };
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = match source.read(&mut chunk) {
                Ok(0) => return Ok(text.finish()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if let Pushed::Ended { goes_on } = text.push(&chunk[..count]) {
                return Ok(Self { octets: text.octets, goes_on });
            }
            if text.octets.len() > LIMIT {
                return Err(InputError::TooLarge);
            }
        }
    }
}

/// The lines read so far.
struct Text {
    octets: Vec<u8>,
    /// Where the line under way begins.
    line: usize,
    dots: Dots,
}

enum Pushed {
    GoesOn,
    /// A lone dot came; whether more stood behind it.
    Ended {
        goes_on: bool,
    },
}

impl Text {
    fn push(&mut self, chunk: &[u8]) -> Pushed {
        let mut used = 0;
        for piece in chunk.split_inclusive(|&octet| octet == b'\n') {
            used += piece.len();
            let (content, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |content| (content, true));
            self.octets.extend_from_slice(content);
            if !ends {
                return Pushed::GoesOn;
            }
            if self.octets.last() != Some(&b'\r') {
                self.octets.push(b'\r');
            }
            self.octets.push(b'\n');
            if self.is_end() {
                self.octets.truncate(self.line);
                return Pushed::Ended { goes_on: used < chunk.len() };
            }
            self.line = self.octets.len();
        }
        Pushed::GoesOn
    }

    /// Whether the line under way, whole, is a lone dot that counts.
    fn is_end(&self) -> bool {
        self.dots == Dots::End && &self.octets[self.line..] == b".\r\n"
    }

    fn finish(mut self) -> Input {
        if self.line < self.octets.len() {
            self.octets.extend_from_slice(b"\r\n");
            if self.is_end() {
                self.octets.truncate(self.line);
            }
        }
        Input { octets: self.octets, goes_on: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8], dots: Dots) -> Input {
        Input::read(text, dots).expect("read")
    }

    #[test]
    fn line_ends_become_crlf_and_everything_else_stays() {
        for (text, expected) in [
            ("", ""),
            ("a\nb\n", "a\r\nb\r\n"),
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("a\r\nb\n\nc", "a\r\nb\r\n\r\nc\r\n"),
            ("\n\r\n\n", "\r\n\r\n\r\n"),
            ("a\rb\r\r\nc\0\u{e9}\u{85}\n", "a\rb\r\r\nc\0\u{e9}\u{85}\r\n"),
            ("a\r", "a\r\r\n"),
        ] {
            assert_eq!(read(text.as_bytes(), Dots::End).octets, expected.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn a_lone_dot_ends_the_message_unless_dots_are_text() {
        for (text, ended, goes_on) in [
            ("a\n.\nb\n", "a\r\n", true),
            ("a\r\n.\r\n", "a\r\n", false),
            ("a\n.", "a\r\n", false),
            (".\n", "", false),
            (".", "", false),
            ("a\n..\n. \n .\n.\rb\n", "a\r\n..\r\n. \r\n .\r\n.\rb\r\n", false),
        ] {
            let input = read(text.as_bytes(), Dots::End);
            assert_eq!((input.octets.as_slice(), input.goes_on), (ended.as_bytes(), goes_on), "{text:?}");
            let literal = text.replace("\r\n", "\n");
            let literal =
                format!("{}{}", literal.replace('\n', "\r\n"), if text.ends_with('\n') { "" } else { "\r\n" });
            assert_eq!(read(text.as_bytes(), Dots::Text).octets, literal.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn a_message_over_the_limit_is_an_error_and_not_a_part() {
        let endless = io::repeat(b'x');
        assert!(matches!(Input::read(endless, Dots::Text), Err(InputError::TooLarge)));
    }

    /// Gives its octets in pieces of a fixed size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    proptest! {
        #[test]
        fn the_same_comes_out_however_the_input_is_cut(
            text in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..60),
            piece in 1_usize..8,
            literal in any::<bool>(),
        ) {
            let dots = if literal { Dots::Text } else { Dots::End };
            let whole = read(&text, dots).octets;
            prop_assert_eq!(&Input::read(Pieces(&text, piece), dots).expect("read").octets, &whole);
            prop_assert!(whole.is_empty() || whole.ends_with(b"\r\n"));
            if literal {
                let without = |octets: &[u8]| octets.iter().copied().filter(|o| !matches!(o, b'\r' | b'\n')).collect::<Vec<_>>();
                prop_assert_eq!(without(&whole), without(&text), "an octet was lost");
            }
        }

        #[test]
        fn what_is_handed_over_comes_out_of_the_listener_unchanged(
            text in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..100),
        ) {
            let message = read(&text, Dots::Text).octets;
            let mut data = crate::smtp::data::Data::new(1 << 20);
            data.push(&crate::smtp::line::dot_stuffed(message.clone()));
            prop_assert_eq!(data.surplus(), Some(b"".as_slice()));
            prop_assert_eq!(data.end_here().octets, message);
        }
    }
}
