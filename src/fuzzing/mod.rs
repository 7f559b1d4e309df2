//! What the fuzz targets in `fuzz/` run, and the replay of their seeds as ordinary tests. Not part of the program.
//!
//! Guarantees: nothing here waits on a real clock or touches a disk or a socket, so that a finding can be repeated. A
//! target panics when what it looks at breaks a promise its module makes, not only when it crashes.

mod blocks;
mod data;
mod json;
mod session;

pub use blocks::blocks;
pub use data::data;
pub use json::json;
pub use session::{alert, session};

use crate::seal::Original;
use crate::smtp::command::{self, Command};
use crate::smtp::line::{Line, Received};
use crate::smtp::reply::{LINE_LIMIT, LINES_LIMIT, ReplyReader};
use crate::spool;

/// The first octets of an input decide how the rest is handed over. Without any, every choice is 0: the plain way.
struct Choices<'a> {
    octets: &'a [u8],
    next: usize,
}

impl<'a> Choices<'a> {
    /// The first octet says how many choices follow it; what is behind them is the text.
    fn split(input: &'a [u8]) -> (Self, &'a [u8]) {
        let (&count, rest) = input.split_first().unwrap_or((&0, b""));
        let (octets, text) = rest.split_at(rest.len().min(usize::from(count)));
        (Self { octets, next: 0 }, text)
    }

    /// The next choice; they begin again when used up.
    fn next(&mut self) -> usize {
        let choice = self.octets.get(self.next).copied().unwrap_or_default();
        self.next = (self.next + 1) % self.octets.len().max(1);
        usize::from(choice)
    }

    /// The next piece of `text`, at least one octet; 0 chooses all of it.
    fn piece<'t>(&mut self, text: &'t [u8]) -> (&'t [u8], &'t [u8]) {
        let size = match self.next() {
            0 => text.len(),
            size => size.min(text.len()),
        };
        text.split_at(size)
    }
}

/// The line reader and the command parser: lines are the same however the stream is cut, within their limit, and every
/// one is a command or malformed.
pub fn command(input: &[u8]) {
    const LIMIT: usize = 300;
    let (mut choices, text) = Choices::split(input);
    let mut received = Received::default();
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, behind) = choices.piece(rest);
        received.push(piece);
        while let Some(line) = received.next_line(LIMIT) {
            lines.push(line);
        }
        assert!(received.as_slice().len() <= LIMIT);
        rest = behind;
    }
    let whole: Vec<&[u8]> = text.split_inclusive(|&o| o == b'\n').filter(|line| line.ends_with(b"\n")).collect();
    assert_eq!(lines.len(), whole.len(), "a line was lost or made up");
    for (line, whole) in lines.iter().zip(whole) {
        let bare = whole.strip_suffix(b"\n").unwrap_or(whole);
        let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
        match line {
            Line::Complete(line) => {
                assert_eq!(line, bare);
                parse(line);
            }
            Line::TooLong => assert!(whole.len() > LIMIT),
        }
    }
}

fn parse(line: &[u8]) {
    let Ok(command) = command::parse(line) else { return };
    let texts = match command {
        Command::Helo(name) | Command::Ehlo(name) => vec![name],
        Command::Mail { path, .. } => path.iter().map(|path| path.as_str().to_owned()).collect(),
        Command::Rcpt(path) => vec![path.as_str().to_owned()],
        _ => Vec::new(),
    };
    for text in texts {
        assert!(text.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{text:?} is not printable");
    }
}

/// The relay host's reply reader: bounded, printable, and the same however the stream is cut.
pub fn reply(input: &[u8]) {
    let (mut choices, text) = Choices::split(input);
    let once = replies(text, |rest| rest.split_at(rest.len()));
    let cut = replies(text, |rest| choices.piece(rest));
    assert_eq!(once, cut, "the replies depend on how the stream is cut");
}

fn replies<'t>(text: &'t [u8], mut piece: impl FnMut(&'t [u8]) -> (&'t [u8], &'t [u8])) -> Vec<String> {
    let mut received = Received::default();
    let mut reader = ReplyReader::default();
    let mut said = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (now, behind) = piece(rest);
        received.push(now);
        rest = behind;
        loop {
            match reader.read(&mut received) {
                Ok(None) => break,
                Ok(Some(reply)) => {
                    assert!((200..600).contains(&reply.code) && (1..=LINES_LIMIT).contains(&reply.lines.len()));
                    assert!(reply.lines.iter().all(|line| line.len() <= 4 * LINE_LIMIT));
                    assert!(reply.text().bytes().all(|octet| (b' '..=b'~').contains(&octet)));
                    let _ = reply.enhanced();
                    said.push(reply.to_string());
                }
                // The session with this relay host ends here.
                Err(error) => {
                    said.push(error.to_string());
                    return said;
                }
            }
        }
    }
    said
}

/// The spool entry reader: what is read was written by us, octet for octet.
pub fn entry(input: &[u8]) {
    let _ = spool::read_header(input);
    if let Ok((header, message)) = spool::read(input) {
        assert!(input.ends_with(&message));
        let again = [spool::encode(&header, &message), message.clone()].concat();
        let (header_again, message_again) = spool::read(again.as_slice()).expect("what was encoded now is read");
        assert_eq!((header_again, message_again), (header, message));
    }
    // Behind a header line of ours, every other octet must be noticed.
    let _ = spool::read([b"sealrelay-entry 1 ", input].concat().as_slice());
    let _ = spool::read_header([b"sealrelay-entry 1 ", input].concat().as_slice());
}

/// The header reader: no octet is lost between header block and body but the blank line, and what goes on into a
/// header of ours holds no control.
pub fn header(input: &[u8]) {
    let original = Original::read(input);
    let (head, body) = (original.header_block, original.body);
    let between = &input[head.len()..input.len() - body.len()];
    assert!(input.starts_with(head) && input.ends_with(body));
    assert!([b"".as_slice(), b"\n", b"\r\n"].contains(&between), "{between:?} was lost");
    assert!(!original.subject().chars().any(char::is_control));
    let _ = original.mentions_html();
    if let Some(fields) = original.mime_fields() {
        assert!(fields.is_ascii() && fields.ends_with(b"\r\n") && !fields.windows(4).any(|four| four == b"\r\n\r\n"));
        assert!(!crate::seal::has_controls(&fields) && !crate::seal::has_controls(body));
    }
}

/// What `import` makes of another program's file is TOML of ours and nothing else, whatever the file holds. The first octet
/// says whose file it is.
pub fn import(input: &[u8]) {
    let (&kind, text) = input.split_first().unwrap_or((&0, b""));
    let mut draft = crate::import::of_texts(usize::from(kind), &String::from_utf8_lossy(text));
    draft.fulfil(crate::import::Wishes::default());
    let written = draft.to_string();
    assert!(!written.chars().any(|c| c.is_control() && c != '\n'), "a control character came through");
    let parsed: toml::Table = written.parse().expect("TOML");
    assert_eq!(parsed, draft.as_table(), "something escaped from its value or comment");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Runs a target over its committed seeds.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
        let seeds: Vec<_> = fs::read_dir(&folder).expect("seeds").flatten().collect();
        assert!(seeds.len() >= 10, "seeds of {name} were lost");
        for seed in seeds {
            let input = fs::read(seed.path()).expect("read");
            let outcome = std::panic::catch_unwind(|| target(&input));
            assert!(outcome.is_ok(), "{name}: see the panic above; the seed is {}", seed.path().display());
        }
    }

    #[test]
    fn seeds_of_the_line_reader_and_command_parser_hold() {
        replay("command", command);
    }

    #[test]
    fn seeds_of_the_data_reader_hold() {
        replay("data", data);
    }

    #[test]
    fn seeds_of_the_reply_reader_hold() {
        replay("reply", reply);
    }

    #[test]
    fn seeds_of_the_spool_entry_reader_hold() {
        replay("entry", entry);
    }

    #[test]
    fn seeds_of_the_header_reader_hold() {
        replay("header", header);
    }

    #[test]
    fn seeds_of_the_reader_of_alerts_hold() {
        replay("blocks", blocks);
    }

    #[test]
    fn seeds_of_whole_sessions_hold() {
        replay("session", session);
    }

    #[test]
    fn seeds_of_the_json_log_hold() {
        replay("json", json);
    }

    #[test]
    fn seeds_of_honest_alerts_hold() {
        replay("alert", alert);
    }

    #[test]
    fn seeds_of_the_importers_hold() {
        replay("import", import);
    }

    #[test]
    fn every_capture_holds_as_a_session_and_as_a_message() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
        let captures: Vec<_> = fs::read_dir(folder).expect("captures").flatten().collect();
        assert!(captures.len() >= 14, "captures were lost");
        for capture in captures {
            let stream = fs::read(capture.path()).expect("read");
            let plain = [b"\0".as_slice(), &stream].concat();
            for target in [command, data, reply, session, alert] {
                target(&plain);
            }
            header(&stream);
            blocks(&stream);
        }
    }
}
