//! The DATA reader against a slow and obvious one: the same ends, no octet lost, the limit kept.

use super::Choices;
use crate::smtp::data::{Complete, Data};

/// Pushes the text in pieces and lets the choices say of each candidate whether it is the end.
pub fn data(input: &[u8]) {
    let (mut choices, text) = Choices::split(input);
    let limit = match choices.next() {
        0 => 1 << 20,
        units => units * 4,
    };
    let mut run = Run { data: Data::new(limit), text, pushed: 0, from: 0, dots: 0, discarded: false, limit };
    while run.pushed < text.len() {
        let (piece, _) = choices.piece(&text[run.pushed..]);
        run.push(piece);
        while let Some(end) = run.candidate() {
            if choices.next() % 2 == 0 {
                return run.end(end);
            }
            run.go_on(end);
        }
        if run.data.is_oversize() && run.data.may_end_at_last_octet() {
            break;
        }
        run.discard_if_oversize();
    }
    run.end_without_an_end();
}

/// The reader, and what an observer knows.
struct Run<'a> {
    data: Data,
    text: &'a [u8],
    pushed: usize,
    /// Where the obvious search for an end goes on.
    from: usize,
    dots: usize,
    discarded: bool,
    limit: usize,
}

impl Run<'_> {
    fn push(&mut self, piece: &[u8]) {
        let before = self.data.len();
        self.data.push(piece);
        self.pushed += piece.len();
        assert_eq!(self.data.len(), before + piece.len());
    }

    /// The offset behind the candidate end, the same as the obvious search finds.
    fn candidate(&self) -> Option<usize> {
        let found = self.data.surplus().map(|surplus| {
            assert!(self.text[..self.pushed].ends_with(surplus), "the surplus is not what came last");
            self.pushed - surplus.len()
        });
        assert_eq!(found, first_end(&self.text[..self.pushed], self.from));
        let size = found.unwrap_or(self.pushed);
        assert_eq!(self.data.is_oversize(), self.discarded || size > self.limit);
        found
    }

    fn go_on(&mut self, end: usize) {
        self.data.dot_was_text();
        self.dots += 1;
        self.from = end - 2;
    }

    fn discard_if_oversize(&mut self) {
        if self.data.is_oversize() {
            self.data.discard();
            self.discarded = true;
            assert!(self.data.len() < 5, "an oversize message is kept");
            assert!(self.data.is_oversize());
        }
    }

    fn end(self, end: usize) {
        let complete = self.data.end_here();
        assert_eq!(complete.surplus, &self.text[end..self.pushed]);
        if !self.discarded {
            check(&complete, &self.text[..end - 3], self.dots);
        }
    }

    fn end_without_an_end(self) {
        let may = self.dots > 0 && !self.discarded;
        assert_eq!(self.data.may_end_at_last_octet(), may);
        let complete = self.data.end_at_last_octet();
        assert_eq!(complete.is_some(), may);
        if let Some(complete) = complete {
            check(&complete, &self.text[..self.pushed], self.dots);
        }
    }
}

fn check(complete: &Complete, sent: &[u8], dots: usize) {
    assert_eq!(complete.early_dots, dots);
    let expected = if dots == 0 { unstuffed(sent) } else { sent.to_vec() };
    assert_eq!(complete.octets, expected, "an octet of the alert was lost or changed");
}

/// The offset behind the first CRLF.CRLF that begins at or behind `from`; DATA's own CRLF counts at the beginning.
pub fn first_end(text: &[u8], from: usize) -> Option<usize> {
    if from == 0 && text.starts_with(b".\r\n") {
        return Some(3);
    }
    (from + 5..=text.len()).find(|&end| &text[end - 5..end] == b"\r\n.\r\n")
}

/// A message without its stuffing, if every line that begins with a dot begins with two.
pub fn unstuffed(message: &[u8]) -> Vec<u8> {
    let lines = lines(message);
    let stuffs = lines.iter().filter(|line| line.starts_with(b".")).all(|line| line.starts_with(b".."));
    lines.iter().flat_map(|line| if stuffs { line.strip_prefix(b".").unwrap_or(line) } else { line }).copied().collect()
}

/// A message as RFC 5321 4.5.2 wants it sent.
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let stuff = |line: &[u8]| [if line.starts_with(b".") { b".".as_slice() } else { b"" }, line].concat();
    lines(message).into_iter().flat_map(stuff).collect()
}

/// Lines with their CRLF. A bare CR or LF ends none.
fn lines(message: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = message;
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        let (line, behind) = rest.split_at(at + 2);
        lines.push(line);
        rest = behind;
    }
    lines.push(rest);
    lines
}
