//! Replies (RFC 5321 4.2): ours to a client, and a relay host's to us.
//!
//! Guarantees for ours: one short line, no digits of a positive reply inside a refusal (OSSEC looks for `250`
//! anywhere in what it reads). Guarantees for a relay host's: bounded, strictly one code, text kept as printable
//! octets. A relay host, or whoever sits before TLS, controls every octet that [`ReplyReader`] reads.

use std::fmt;

use super::line::{Line, Received};
use crate::envelope::printable;

/// The longest line of a relay host's reply, in octets. RFC 5321 4.5.3.1.5 says 512; real ones are longer.
pub const LINE_LIMIT: usize = 4096;
/// The most lines in a relay host's reply; an EHLO reply has about a dozen.
pub const LINES_LIMIT: usize = 128;

/// A complete reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The reply code, 200 to 599.
    pub code: u16,
    /// The text of each line, octets that are not printable ASCII written `\xNN`.
    pub lines: Vec<String>,
}

/// What cannot be a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line that is no reply line.
    #[error("the relay host sent a line that is no SMTP reply: {0:?}")]
    NotAReply(String),
    /// The lines of one reply carry different codes.
    #[error("the relay host mixed reply codes {0} and {1} in one reply")]
    MixedCodes(u16, u16),
    /// Over [`LINE_LIMIT`] or [`LINES_LIMIT`].
    #[error("the relay host sent a reply over the limit of {LINES_LIMIT} lines of {LINE_LIMIT} octets")]
    TooLong,
}

impl Reply {
    /// 2xx.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The enhanced status code (RFC 3463), if the text begins with one of the reply code's class.
    pub fn enhanced(&self) -> Option<[u16; 3]> {
        let word = self.lines.first()?.split(' ').next()?;
        let mut numbers = word.split('.').map(|number| number.parse::<u16>().ok());
        let code = [numbers.next()??, numbers.next()??, numbers.next()??];
        (numbers.next().is_none() && code[0] == self.code / 100).then_some(code)
    }

    /// All lines in one, as it is logged and shown.
    pub fn text(&self) -> String {
        self.lines.join(" ")
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text())
    }
}

/// Collects the lines of one reply.
#[derive(Default, Debug)]
pub struct ReplyReader {
    code: Option<u16>,
    lines: Vec<String>,
}

impl ReplyReader {
    /// Takes lines from `received` until the reply is complete; `None` if more octets are needed.
    ///
    /// # Errors
    /// What came is no reply, or over the limits.
    pub fn read(&mut self, received: &mut Received) -> Result<Option<Reply>, ReplyError> {
        while let Some(line) = received.next_line(LINE_LIMIT) {
            let Line::Complete(line) = line else { return Err(ReplyError::TooLong) };
            let (code, last, text) =
                split(&line).ok_or_else(|| ReplyError::NotAReply(printable(&line[..line.len().min(80)])))?;
            match self.code {
                Some(first) if first != code => return Err(ReplyError::MixedCodes(first, code)),
                _ => self.code = Some(code),
            }
            if self.lines.len() == LINES_LIMIT {
                return Err(ReplyError::TooLong);
            }
            self.lines.push(printable(text));
            if last {
                self.code = None;
                return Ok(Some(Reply { code, lines: std::mem::take(&mut self.lines) }));
            }
        }
        Ok(None)
    }
}

/// Code, whether it is the last line, text. `250` alone is a line too.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let code = std::str::from_utf8(digits).ok()?.parse::<u16>().ok()?;
    if !digits.iter().all(u8::is_ascii_digit) || !(200..600).contains(&code) {
        return None;
    }
    match rest.split_first() {
        None => Some((code, true, b"")),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let mut received = Received::default();
        received.push(stream);
        ReplyReader::default().read(&mut received)
    }

    #[test]
    fn a_reply_of_several_lines_has_one_code_and_all_texts() {
        let reply =
            read(b"250-mx.example.org\r\n250-SIZE 35882577\r\n250 AUTH PLAIN\r\n").expect("reply").expect("whole");
        assert_eq!((reply.code, reply.lines.len()), (250, 3));
        assert_eq!(reply.lines[1], "SIZE 35882577");
    }

    #[test]
    fn odd_but_valid_codes_and_a_code_alone_are_read() {
        assert_eq!(read(b"571 no\r\n").expect("reply").expect("whole").code, 571);
        assert_eq!(read(b"250\r\n").expect("reply").expect("whole").lines, [""]);
    }

    #[test]
    fn nonsense_is_an_error_and_an_unfinished_reply_is_none() {
        assert!(matches!(read(b"HTTP/1.1 400 Bad Request\r\n"), Err(ReplyError::NotAReply(_))));
        assert!(matches!(read(b"250-a\r\n550 b\r\n"), Err(ReplyError::MixedCodes(250, 550))));
        assert!(matches!(read(b"+50 a\r\n"), Err(ReplyError::NotAReply(_))));
        assert_eq!(read(b"250-a\r\n250 "), Ok(None));
    }

    #[test]
    fn an_endless_reply_and_an_endless_line_end_at_the_limit() {
        assert_eq!(read(&b"250-x\r\n".repeat(LINES_LIMIT + 1)), Err(ReplyError::TooLong));
        let mut received = Received::default();
        let mut reader = ReplyReader::default();
        for _ in 0..100 {
            received.push(&[b'x'; 1000]);
            let _ = reader.read(&mut received);
            assert!(received.as_slice().len() <= LINE_LIMIT + 1000);
        }
        received.push(b"\r\n");
        assert_eq!(reader.read(&mut received), Err(ReplyError::TooLong));
    }

    #[test]
    fn enhanced_status_codes_must_match_the_reply_code() {
        let reply = |text: &[u8]| read(text).expect("reply").expect("whole").enhanced();
        assert_eq!(reply(b"550 5.7.1 not you\r\n"), Some([5, 7, 1]));
        assert_eq!(reply(b"550 2.7.1 not you\r\n"), None);
        assert_eq!(reply(b"550 no such user\r\n"), None);
    }

    #[test]
    fn terminal_escapes_and_nul_in_a_reply_become_printable() {
        assert_eq!(read(b"550 \x1b[2J\0\r\n").expect("reply").expect("whole").lines, ["\\x1b[2J\\x00"]);
    }
}
