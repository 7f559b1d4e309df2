//! Bounded lines out of a stream of octets, and dot-stuffing on the way out.
//!
//! Guarantees: no line grows beyond its limit in memory; an over-long one is reported once, is thrown away up to its
//! end, and the next line is read in step.

/// Octets received and not yet used.
#[derive(Default, Debug)]
pub struct Received {
    octets: Vec<u8>,
    skipping: bool,
}

/// What [`Received::next_line`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its end.
    Complete(Vec<u8>),
    /// A line over the limit, thrown away.
    TooLong,
}

impl Received {
    /// Appends what came from the peer.
    pub fn push(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// Whether nothing is waiting here.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// All that is waiting here.
    pub fn as_slice(&self) -> &[u8] {
        &self.octets
    }

    /// Takes all that is waiting here.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.octets)
    }

    /// The next line, or `None` if more octets are needed. A line ends with LF; a CR before it goes too. (RFC 5321
    /// 2.3.8 wants CRLF: for command lines a bare LF is taken as well, because a shell script's `echo` sends it and
    /// nothing can be smuggled through a command here. The end of data is strict, see `data`.)
    pub fn next_line(&mut self, limit: usize) -> Option<Line> {
        let Some(end) = self.octets.iter().position(|&octet| octet == b'\n') else {
            if self.octets.len() > limit {
                self.octets.clear();
                self.skipping = true;
            }
            return None;
        };
        let mut line: Vec<u8> = self.octets.drain(..=end).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if std::mem::take(&mut self.skipping) || line.len() > limit {
            return Some(Line::TooLong);
        }
        Some(Line::Complete(line))
    }
}

/// A message as it goes over the wire behind DATA: lines that begin with a dot get another one (RFC 5321 4.5.2), and
/// the end of data follows. `message` must end with CRLF. It is copied only if it has such a line; sealed ones have none.
pub fn dot_stuffed(mut message: Vec<u8>) -> Vec<u8> {
    let has_dots = message.starts_with(b".") || message.windows(2).any(|pair| pair == b"\n.");
    if has_dots {
        let lines = message.split_inclusive(|&octet| octet == b'\n');
        message = lines
            .flat_map(|line| [if line[0] == b'.' { b"." } else { b"".as_slice() }, line])
            .collect::<Vec<_>>()
            .concat();
    }
    message.extend_from_slice(b".\r\n");
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]], limit: usize) -> Vec<Line> {
        let mut received = Received::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            received.push(chunk);
            while let Some(line) = received.next_line(limit) {
                lines.push(line);
            }
        }
        lines
    }

    #[test]
    fn lines_are_found_wherever_the_stream_is_cut() {
        let stream = b"Helo a\r\nQUIT\n\r\n";
        for cut in 0..stream.len() {
            let (a, b) = stream.split_at(cut);
            let expected = [b"Helo a".as_slice(), b"QUIT", b""].map(|l| Line::Complete(l.to_vec()));
            assert_eq!(lines(&[a, b], 100), expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_over_long_line_is_reported_once_and_the_next_one_is_read() {
        let long = vec![b'x'; 5000];
        let found = lines(&[&long, &long, b"\r\nNOOP\r\n"], 1000);
        assert_eq!(found, [Line::TooLong, Line::Complete(b"NOOP".to_vec())]);
    }

    #[test]
    fn dots_are_stuffed_at_the_beginning_of_lines_only() {
        assert_eq!(dot_stuffed(b".a\r\nb.\r\n.\r\n".to_vec()), b"..a\r\nb.\r\n..\r\n.\r\n");
        assert_eq!(dot_stuffed(b"a.\r\n".to_vec()), b"a.\r\n.\r\n");
        assert_eq!(dot_stuffed(Vec::new()), b".\r\n");
    }
}
