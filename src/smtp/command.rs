//! A client's commands (RFC 5321 4.1), as loosely as real alert clients need it: any case, a blank after `FROM:`,
//! paths without a domain, unreadable paths.
//!
//! Guarantees: every line becomes a [`Command`] or a [`Malformed`]; parameters that are not known are passed over.

use crate::envelope::Path;

/// A command line that was understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// HELO with any argument.
    Helo(String),
    /// EHLO with any argument.
    Ehlo(String),
    /// MAIL FROM; `None` is the null reverse-path.
    Mail {
        /// The reverse-path.
        path: Option<Path>,
        /// The SIZE parameter (RFC 1870), octets.
        size: Option<u64>,
    },
    /// RCPT TO.
    Rcpt(Path),
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// QUIT.
    Quit,
}

/// A command line that was not understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The verb is none of ours.
    UnknownVerb,
    /// MAIL without `FROM:`, RCPT without `TO:`.
    MissingColon,
}

/// Reads one line without its end.
///
/// # Errors
/// The verb is unknown, or MAIL or RCPT lack their colon.
pub fn parse(line: &[u8]) -> Result<Command, Malformed> {
    let line = line.trim_ascii();
    let (verb, rest) = line.split_at(line.iter().position(|o| *o == b' ' || *o == b'\t').unwrap_or(line.len()));
    let argument = || crate::envelope::printable(rest.trim_ascii());
    match verb.to_ascii_uppercase().as_slice() {
        b"HELO" => Ok(Command::Helo(argument())),
        b"EHLO" => Ok(Command::Ehlo(argument())),
        b"MAIL" => mail(rest),
        b"RCPT" => rcpt(rest),
        b"DATA" => Ok(Command::Data),
        b"RSET" => Ok(Command::Rset),
        b"NOOP" => Ok(Command::Noop),
        b"VRFY" => Ok(Command::Vrfy),
        b"QUIT" => Ok(Command::Quit),
        _ => Err(Malformed::UnknownVerb),
    }
}

fn mail(rest: &[u8]) -> Result<Command, Malformed> {
    let (path, parameters) = split_path(after_keyword(rest, b"FROM")?);
    let size = parameters
        .split(|octet| *octet == b' ')
        .find(|word| word.len() > 5 && word[..5].eq_ignore_ascii_case(b"SIZE="))
        .and_then(|word| std::str::from_utf8(&word[5..]).ok()?.parse().ok());
    let path = if path == b"<>" { None } else { Some(read_path(path)) };
    Ok(Command::Mail { path, size })
}

fn rcpt(rest: &[u8]) -> Result<Command, Malformed> {
    let (path, _parameters) = split_path(after_keyword(rest, b"TO")?);
    Ok(Command::Rcpt(read_path(path)))
}

/// What follows `FROM:` or `TO:`, blanks around the colon allowed.
fn after_keyword<'a>(rest: &'a [u8], keyword: &[u8]) -> Result<&'a [u8], Malformed> {
    let rest = rest.trim_ascii_start();
    let colon = rest.iter().position(|octet| *octet == b':').ok_or(Malformed::MissingColon)?;
    let (before, after) = rest.split_at(colon);
    if !before.trim_ascii().eq_ignore_ascii_case(keyword) {
        return Err(Malformed::MissingColon);
    }
    Ok(after[1..].trim_ascii())
}

/// `<path>` and the parameters behind it. A `>` inside quotes does not end the path.
fn split_path(text: &[u8]) -> (&[u8], &[u8]) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, octet) in text.iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return (&text[..=at], text[at + 1..].trim_ascii()),
            // Without brackets the path ends at the first blank.
            b' ' if !quoted && text[0] != b'<' => return (&text[..at], text[at..].trim_ascii()),
            _ => {}
        }
    }
    (text, b"")
}

/// Takes the brackets off. A local name without a domain is a path; controls, blanks or nothing at all are not.
fn read_path(text: &[u8]) -> Path {
    let inner = text.strip_prefix(b"<").and_then(|t| t.strip_suffix(b">"));
    let readable = inner.is_some_and(|path| {
        !path.is_empty() && path.len() <= 512 && path.iter().all(|o| o.is_ascii_graphic() && *o != b'<' && *o != b'>')
    });
    Path::new(inner.unwrap_or(text), readable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::new(text.as_bytes(), true)
    }

    #[test]
    fn ossecs_own_spelling_is_read() {
        assert_eq!(parse(b"Helo notify.ossec.net"), Ok(Command::Helo("notify.ossec.net".into())));
        let mail = Command::Mail { path: Some(path("ossec@ossec.server")), size: None };
        assert_eq!(parse(b"Mail From: <ossec@ossec.server>"), Ok(mail));
        assert_eq!(parse(b"Rcpt To: <root@monitor.example>"), Ok(Command::Rcpt(path("root@monitor.example"))));
        assert_eq!(parse(b"DATA"), Ok(Command::Data));
    }

    #[test]
    fn parameters_are_taken_and_the_null_reverse_path_is_none() {
        assert_eq!(parse(b"mail FROM:<> size=342 BODY=8BITMIME"), Ok(Command::Mail { path: None, size: Some(342) }));
        assert_eq!(
            parse(b"MAIL FROM:<ElastAlert> SIZE=x"),
            Ok(Command::Mail { path: Some(path("ElastAlert")), size: None })
        );
    }

    #[test]
    fn an_unreadable_path_is_accepted_and_says_so() {
        for line in ["RCPT TO:<a b@c>", "RCPT TO:<>", "RCPT TO:root", "RCPT TO:", "RCPT TO:<\u{1}>"] {
            let Ok(Command::Rcpt(path)) = parse(line.as_bytes()) else { panic!("{line:?} was refused") };
            assert!(!path.is_readable(), "{line:?}");
        }
    }

    #[test]
    fn a_missing_colon_and_an_unknown_verb_are_malformed() {
        assert_eq!(parse(b"MAIL <a@b>"), Err(Malformed::MissingColon));
        assert_eq!(parse(b"RCPT FROM:<a@b>"), Err(Malformed::MissingColon));
        assert_eq!(parse(b" --END OF NOTIFICATION"), Err(Malformed::UnknownVerb));
        assert_eq!(parse(b""), Err(Malformed::UnknownVerb));
    }

    #[test]
    fn a_bracket_inside_quotes_does_not_end_the_path() {
        let Ok(Command::Rcpt(path)) = parse(br#"RCPT TO:<"a\">b"@c.example> NOTIFY=NEVER"#) else { panic!() };
        assert_eq!(path.as_str(), r#""a\x5c">b"@c.example"#);
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
            let _ = parse(&line);
            let _ = parse(&[b"RCPT TO:", line.as_slice()].concat());
            let _ = parse(&[b"MAIL FROM:", line.as_slice()].concat());
        }
    }
}
