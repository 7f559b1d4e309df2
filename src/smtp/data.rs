//! The octets behind DATA: where they end, and which dots belong to the alert.
//!
//! Guarantees: only CRLF.CRLF can be the end of data; bare LF, bare CR, NUL and 8-bit octets are content; no octet of
//! the content is lost or changed, but for the dots a client stuffed.
//!
//! **Early dot.** OSSEC and Wazuh do not stuff dots, so whoever writes a log line that is a lone dot can put
//! CRLF.CRLF inside an alert. Therefore CRLF.CRLF is only a *candidate*: whoever reads from the socket looks whether
//! more octets follow at once (an honest client has nothing to say before our reply) and then calls [`Data::end_here`]
//! or [`Data::dot_was_text`].
//!
//! **Dot-unstuffing is decided once, for the whole message, by what it shows.** RFC 5321 4.5.2 clients write every
//! line that begins with a dot with a second one in front. So a line that begins with exactly one dot proves a client
//! that does not stuff (as does an early dot), and then no dot is removed. If all such lines begin with two dots the
//! client is taken at the RFC's word. What remains is an unstuffed alert in which *every* dot line begins with two: it
//! loses one dot a line, which no receiver could tell.

/// One message being received.
#[derive(Debug)]
pub struct Data {
    octets: Vec<u8>,
    limit: usize,
    /// Where the search for an end goes on.
    next_search: usize,
    /// The offset behind the CRLF.CRLF that may be the end.
    candidate: Option<usize>,
    early_dots: usize,
    oversize: bool,
}

/// A message whose end was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Complete {
    /// The message without its end marker, dots unstuffed if the client stuffed them.
    pub octets: Vec<u8>,
    /// How many lone dots were text.
    pub early_dots: usize,
    /// What came behind the end.
    pub surplus: Vec<u8>,
}

const END: &[u8] = b"\r\n.\r\n";

impl Data {
    /// An empty message that may grow to `limit` octets.
    pub fn new(limit: usize) -> Self {
        Self { octets: Vec::new(), limit, next_search: 0, candidate: None, early_dots: 0, oversize: false }
    }

    /// Adds what came from the client and looks for a candidate end.
    pub fn push(&mut self, octets: &[u8]) {
        if self.octets.capacity() - self.octets.len() < octets.len() {
            // By an eighth: doubling would hold twice a large mail.
            self.octets.reserve_exact(octets.len().max(self.octets.len() / 8));
        }
        self.octets.extend_from_slice(octets);
        self.search();
    }

    /// Octets held in memory.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    /// Whether nothing has come yet.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// What came behind the candidate end, if there is a candidate.
    pub fn surplus(&self) -> Option<&[u8]> {
        self.candidate.map(|end| &self.octets[end..])
    }

    /// Whether a lone dot was already taken for text.
    pub fn has_early_dot(&self) -> bool {
        self.early_dots > 0
    }

    /// Whether the message has outgrown its limit.
    pub fn is_oversize(&self) -> bool {
        self.oversize || self.candidate.unwrap_or(self.octets.len()) > self.limit
    }

    /// Forgets the content of an oversize message, but not where a line stands, so that the dialog stays in step.
    pub fn discard(&mut self) {
        self.oversize = true;
        let unfinished_end = self.octets.len().saturating_sub(END.len() - 1);
        let cut = self.candidate.map_or(unfinished_end, |end| end.saturating_sub(END.len()));
        // A new allocation: the old one would stay as large as the message was.
        self.octets = self.octets[cut..].to_vec();
        self.candidate = self.candidate.map(|end| end - cut);
        self.next_search = self.next_search.saturating_sub(cut);
    }

    /// The candidate end was text: more followed at once. Searches on behind it.
    pub fn dot_was_text(&mut self) {
        if let Some(end) = self.candidate.take() {
            self.early_dots += 1;
            // The CRLF of this dot's line may begin the next end.
            self.next_search = end - 2;
            self.search();
        }
    }

    /// The candidate is the end of data.
    pub fn end_here(mut self) -> Complete {
        let end = self.candidate.unwrap_or(self.octets.len());
        let surplus = self.octets.split_off(end);
        // CRLF.CRLF: the first CRLF belongs to the message; a message that is only the dot line is empty.
        self.octets.truncate(end.saturating_sub(3));
        self.finish(surplus)
    }

    /// Whether all that came is the message, if no end of data comes any more: a lone dot was taken for text, and a
    /// candidate end is never taken back for nothing. Not if octets were discarded: a rest is no alert, and 250 for it
    /// would be a lie.
    pub fn may_end_at_last_octet(&self) -> bool {
        self.has_early_dot() && !self.oversize
    }

    /// The session ended, timed out or grew too large after a lone dot that had been taken for text: all that came is
    /// the message. `None` if that may not be: then what came is a fragment and is not ours.
    pub fn end_at_last_octet(mut self) -> Option<Complete> {
        if !self.may_end_at_last_octet() {
            return None;
        }
        self.candidate = None;
        Some(self.finish(Vec::new()))
    }

    fn finish(mut self, surplus: Vec<u8>) -> Complete {
        if self.early_dots == 0 && every_dot_is_doubled(&self.octets) {
            unstuff(&mut self.octets);
        }
        Complete { octets: self.octets, early_dots: self.early_dots, surplus }
    }

    fn search(&mut self) {
        if self.candidate.is_some() {
            return;
        }
        // The first line has DATA's own CRLF in front of it.
        if self.next_search == 0 && !self.oversize && self.octets.starts_with(&END[2..]) {
            self.candidate = Some(END.len() - 2);
            return;
        }
        self.candidate = find(&self.octets[self.next_search..], END).map(|at| self.next_search + at + END.len());
        // The last octets may be the beginning of an end.
        self.next_search = self.next_search.max(self.octets.len().saturating_sub(END.len() - 1));
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // Dots are rare: look for them first.
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|&octet| octet == b'.') {
        let dot = from + at;
        if dot >= 2 && haystack[dot - 2..].starts_with(needle) {
            return Some(dot - 2);
        }
        from = dot + 1;
    }
    None
}

/// The offsets at which a line of the message begins with a dot. Lines end with CRLF only, as the end of data does.
fn dot_lines(octets: &[u8]) -> impl Iterator<Item = usize> + '_ {
    (0..octets.len()).filter(|&at| octets[at] == b'.' && (at == 0 || octets[..at].ends_with(b"\r\n")))
}

fn every_dot_is_doubled(octets: &[u8]) -> bool {
    dot_lines(octets).all(|at| octets.get(at + 1) == Some(&b'.'))
}

fn unstuff(octets: &mut Vec<u8>) {
    let stuffed: Vec<usize> = dot_lines(octets).collect();
    let mut stuffed = stuffed.into_iter().peekable();
    let mut at = 0;
    octets.retain(|_| {
        let drop = stuffed.next_if_eq(&at).is_some();
        at += 1;
        !drop
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(stream: &[u8]) -> Option<Complete> {
        let mut data = Data::new(1 << 20);
        data.push(stream);
        data.surplus().is_some().then(|| data.end_here())
    }

    #[test]
    fn only_crlf_dot_crlf_ends_a_message() {
        for not_an_end in [
            "a\n.\n",
            "a\n.\r\n",
            "a\r\n.\n",
            "a\r.\r",
            "a\r\n.\r\r\n",
            "a\r\r\n.\r\r\n\n",
            "a\r\n.\0\r\n",
            "a\r\n. \r\n",
            "a\r\n\t.\r\n",
            "a\r\n.\u{85}\r\n",
            "a\r\n.\x0b\r\n",
            "a\r\n.\x0c\r\n",
            "a\u{2028}.\u{2028}",
            "a\r\n..\r\n",
            ".\n",
            ".\r\r\n",
            "..\r\n",
        ] {
            assert_eq!(whole(not_an_end.as_bytes()), None, "{not_an_end:?}");
            let ended = whole(format!("{not_an_end}\r\n.\r\n").as_bytes()).expect("the real end");
            let unstuffed = not_an_end.replace("a\r\n..\r\n", "a\r\n.\r\n");
            let unstuffed = if unstuffed == "..\r\n" { ".\r\n".to_owned() } else { unstuffed };
            assert_eq!(ended.octets, format!("{unstuffed}\r\n").as_bytes(), "{not_an_end:?}");
        }
    }

    #[test]
    fn the_end_is_found_wherever_the_stream_is_cut() {
        let stream = b"To: <root>\r\n\r\ntext\r\n\r\n.\r\nQUIT\r\n";
        for cut in 0..stream.len() {
            let mut data = Data::new(1000);
            data.push(&stream[..cut]);
            data.push(&stream[cut..]);
            let complete = data.end_here();
            assert_eq!(complete.octets, b"To: <root>\r\n\r\ntext\r\n\r\n", "cut at {cut}");
            assert_eq!(complete.surplus, b"QUIT\r\n");
        }
    }

    #[test]
    fn a_dot_as_the_first_line_is_an_empty_message_wherever_it_is_cut() {
        for cut in 0..3 {
            let mut data = Data::new(1000);
            data.push(&b".\r\n"[..cut]);
            data.push(&b".\r\n"[cut..]);
            assert_eq!(data.surplus(), Some(b"".as_slice()), "cut at {cut}");
            assert_eq!(data.end_here().octets, b"");
        }
    }

    #[test]
    fn a_client_that_stuffs_gets_its_dots_back_and_one_that_does_not_keeps_them() {
        assert_eq!(whole(b"..a\r\n...b\r\nc\r\n.\r\n").expect("end").octets, b".a\r\n..b\r\nc\r\n");
        let ossec = b"..two leading dots\r\n.one leading dot\r\nc\r\n";
        assert_eq!(whole(&[ossec.as_slice(), b".\r\n"].concat()).expect("end").octets, ossec);
    }

    #[test]
    fn an_early_dot_stays_in_the_text_and_the_next_end_is_found() {
        let mut data = Data::new(1000);
        data.push(b"log\r\n.\r\n.\r\n..x\r\nRSET\r\n.\r\n");
        assert_eq!(data.surplus(), Some(b".\r\n..x\r\nRSET\r\n.\r\n".as_slice()));
        data.dot_was_text();
        assert_eq!(data.surplus(), Some(b"..x\r\nRSET\r\n.\r\n".as_slice()));
        data.dot_was_text();
        assert_eq!(data.surplus(), Some(b"".as_slice()));
        let complete = data.end_here();
        assert_eq!(complete.octets, b"log\r\n.\r\n.\r\n..x\r\nRSET\r\n");
        assert_eq!(complete.early_dots, 2);
    }

    #[test]
    fn a_candidate_is_never_taken_back_for_nothing() {
        let mut data = Data::new(1000);
        data.push(b"log\r\n.\r\n\r\nQUIT\r\n");
        data.dot_was_text();
        assert_eq!(data.surplus(), None);
        assert_eq!(data.end_at_last_octet().expect("kept").octets, b"log\r\n.\r\n\r\nQUIT\r\n");
        let mut fragment = Data::new(1000);
        fragment.push(b"half an alert");
        assert_eq!(fragment.end_at_last_octet(), None);
    }

    #[test]
    fn a_discarded_message_keeps_no_memory() {
        let mut data = Data::new(1_000);
        data.push(&[b'x'; 100_000]);
        data.discard();
        assert!(data.octets.capacity() < 100, "{} octets", data.octets.capacity());
    }

    #[test]
    fn what_is_left_of_a_discarded_message_is_never_taken_for_an_alert() {
        let mut data = Data::new(10);
        data.push(b"0123456789 and more than that");
        data.discard();
        data.push(b"\r\n.\r\nRSET\r\n");
        data.dot_was_text();
        assert!(data.is_oversize() && data.has_early_dot());
        assert!(!data.may_end_at_last_octet());
        assert_eq!(data.end_at_last_octet(), None);
    }

    #[test]
    fn a_message_over_the_limit_is_dropped_but_its_end_is_still_found() {
        for cut in 1..20 {
            let mut data = Data::new(10);
            for chunk in b"0123456789 and more than that\r\n.not yet\r\n.\r\nQUIT\r\n".chunks(cut) {
                data.push(chunk);
                if data.is_oversize() {
                    data.discard();
                    assert!(data.len() < cut + 64);
                }
            }
            assert!(data.is_oversize());
            assert_eq!(data.surplus(), Some(b"QUIT\r\n".as_slice()), "chunks of {cut}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_stuffed_comes_back_however_it_is_cut(
            text in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200),
            chunk in 1_usize..50,
        ) {
            let message = [text.as_slice(), b"\r\n"].concat();
            let mut stuffed = Vec::new();
            for (at, octet) in message.iter().enumerate() {
                if *octet == b'.' && (at == 0 || message[..at].ends_with(b"\r\n")) {
                    stuffed.push(b'.');
                }
                stuffed.push(*octet);
            }
            stuffed.extend(b".\r\n");
            let mut data = Data::new(1 << 20);
            for octets in stuffed.chunks(chunk) {
                data.push(octets);
            }
            prop_assert_eq!(data.surplus(), Some(b"".as_slice()));
            prop_assert_eq!(data.end_here().octets, message);
        }
    }
}
