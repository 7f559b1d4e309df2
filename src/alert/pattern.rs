//! Patterns as OSSEC's `event_location` and `group` take them (OSMatch).
//!
//! `|` separates alternatives; `^` binds one to the beginning, `$` to the end; all else, dots too, stands for itself
//! anywhere in the text. ASCII letters match in either case.

use std::fmt;

/// Longer patterns and more alternatives are a mistake, not a plan.
const LIMIT: usize = 2048;

/// A pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    text: String,
    alternatives: Vec<Alternative>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Alternative {
    text: Vec<u8>,
    at_start: bool,
    at_end: bool,
}

/// Why a text is no pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// An alternative is empty.
    #[error("{0:?} has an empty alternative, which would hold for everything")]
    Empty(String),
    /// It begins with an exclamation mark.
    #[error("{0:?} begins with \"!\", which some programs take for \"not\"")]
    Negated(String),
    /// It is too long.
    #[error("the pattern is longer than {LIMIT} octets")]
    TooLong,
}

impl PatternError {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty(_) => "Write the alternatives with a | between them, and none before, behind or beside it.",
            Self::Negated(_) => "Say what is wanted: a condition adds a recipient and takes a mail from nobody.",
            Self::TooLong => "Divide it: the tables of `accept` are alternatives.",
        }
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > LIMIT {
            return Err(PatternError::TooLong);
        }
        if text.starts_with('!') {
            return Err(PatternError::Negated(text.to_owned()));
        }
        let alternatives: Vec<Alternative> = text.split('|').map(Alternative::of).collect();
        if alternatives.iter().any(|alternative| alternative.text.is_empty()) {
            return Err(PatternError::Empty(text.to_owned()));
        }
        Ok(Self { text: text.to_owned(), alternatives })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    /// Whether it is found in `text`.
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.alternatives.iter().any(|alternative| alternative.is_in(text))
    }
}

impl Alternative {
    fn of(text: &str) -> Self {
        let (text, at_start) = text.strip_prefix('^').map_or((text, false), |text| (text, true));
        let (text, at_end) = text.strip_suffix('$').map_or((text, false), |text| (text, true));
        Self { text: text.as_bytes().to_vec(), at_start, at_end }
    }

    fn is_in(&self, text: &[u8]) -> bool {
        let size = self.text.len();
        let same = |part: &[u8]| part.eq_ignore_ascii_case(&self.text);
        match (self.at_start, self.at_end) {
            (true, true) => same(text),
            (true, false) => text.get(..size).is_some_and(same),
            (false, true) => text.len().checked_sub(size).is_some_and(|at| same(&text[at..])),
            (false, false) => text.windows(size).any(same),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(pattern: &str, text: &str) -> bool {
        pattern.parse::<Pattern>().expect("a pattern").is_in(text.as_bytes())
    }

    #[test]
    fn patterns_mean_what_they_mean_to_ossec() {
        for (pattern, text, expected) in [
            ("server1|server2", "(Server2) 10.0.0.1->/var/log/secure", true),
            ("server1|server2", "(server3) 10.0.0.1->/var/log/secure", false),
            ("/log/secure$", "(a) any->/var/log/secure", true),
            ("/log/secure$", "(a) any->/var/log/secure.1", false),
            ("192.168.", "(a) 192.168.7.1->/x", true),
            ("192.168.", "(a) 192x168x7.1->/x", false),
            ("^(web", "(WEB1) any->/x", true),
            ("^web", "(web1) any->/x", false),
            ("^a$|b", "ab", true),
            ("^a$", "ab", false),
            ("^a$", "A", true),
            ("longer than the text", "text", false),
        ] {
            assert_eq!(holds(pattern, text), expected, "{pattern} in {text}");
        }
    }

    #[test]
    fn what_would_hold_for_everything_is_no_pattern() {
        for wrong in ["", "a|", "|a", "a||b", "^", "$", "^$", "!a"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
        assert_eq!("x".repeat(LIMIT + 1).parse::<Pattern>(), Err(PatternError::TooLong));
    }
}
