//! What the octets say that follow a lone dot before we have answered (see `smtp::data`, "Early dot").
//!
//! Guarantees: `QUIT` alone is no text; everything else is. An attacker who writes log lines controls these octets, but
//! not that nothing follows them: behind its `QUIT` comes the rest of the alert, and that makes it text.

/// What follows a candidate end.
#[derive(Debug, PartialEq, Eq)]
pub enum Surplus {
    /// An honest client that waits for the reply.
    Nothing,
    /// What may become `QUIT`.
    PartOfQuit,
    /// A script that does not read replies.
    Quit,
    /// The dot was text.
    Text,
}

impl Surplus {
    /// What `octets` behind a candidate end mean.
    pub fn of(octets: &[u8]) -> Self {
        // No more than decides: a megabyte of lone dots is looked at once for each.
        let upper = octets[..octets.len().min(b"QUIT\r\n".len() + 1)].to_ascii_uppercase();
        match upper.as_slice() {
            b"" => Self::Nothing,
            b"QUIT\r\n" | b"QUIT\n" => Self::Quit,
            part if b"QUIT\r\n".starts_with(part) => Self::PartOfQuit,
            _ => Self::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_quit_alone_is_harmless_behind_a_candidate_end() {
        assert_eq!(Surplus::of(b""), Surplus::Nothing);
        assert_eq!(Surplus::of(b"quit\r\n"), Surplus::Quit);
        for cut in 1..6 {
            let part = &b"QUIT\r\n"[..cut];
            assert_eq!(Surplus::of(part), Surplus::PartOfQuit, "{part:?}");
        }
        for text in [b"QUIT\r\n\r\n".as_slice(), b"\r\nQUIT\r\n", b"NOOP\r\n", b"QUITE", b"x"] {
            assert_eq!(Surplus::of(text), Surplus::Text, "{text:?}");
        }
    }
}
