//! The head of a block, from its brand to `Portion of the log(s):`.
//!
//! A head counts only whole: a line that is missing, out of order or ended otherwise makes it text. An attacker whose log
//! text holds a whole head, line ends and all, has written one; nobody can tell it from the IDS's.

use std::borrow::Cow;

use super::{Block, Location};

/// Longer names than this are text.
const BRAND_LIMIT: usize = 100;
/// Lines between `Rule:` and `Portion of the log(s):`; there are five kinds.
const FIELDS_LIMIT: usize = 16;

/// A head, and what it says.
pub struct Head<'a> {
    /// The words before ` Notification.`
    pub brand: &'a [u8],
    /// Whether its date is in ISO 8601.
    pub iso_date: bool,
    /// Where the log text begins.
    pub end: usize,
    /// What it says; without octets and log.
    pub block: Block<'a>,
}

/// How the lines of a mail's heads end: those who write mail write CRLF, files often have LF.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LineEnd {
    CrLf,
    Lf,
}

impl LineEnd {
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::CrLf => b"\r\n",
            Self::Lf => b"\n",
        }
    }

    /// The line of `text` that begins at `at`, and where the next one begins. `None` if it ends otherwise.
    pub fn line(self, text: &[u8], at: usize) -> Option<(&[u8], usize)> {
        let rest = text.get(at..)?;
        let length = rest.iter().position(|&octet| octet == b'\n')? + 1;
        Some((rest[..length].strip_suffix(self.as_bytes())?, at + length))
    }
}

impl<'a> Head<'a> {
    /// Reads the head that begins at `at`, if one does.
    pub fn read(text: &'a [u8], at: usize, line_end: LineEnd) -> Option<Self> {
        let mut at = at;
        let mut next = || {
            let (line, behind) = line_end.line(text, at)?;
            at = behind;
            Some(line)
        };
        let brand = next()?.strip_suffix(b" Notification.").filter(|brand| is_brand(brand))?;
        let date = next()?;
        let iso_date = is_iso(date);
        if !(iso_date || is_log_date(date)) || !next()?.is_empty() {
            return None;
        }
        let location = next()?.strip_prefix(b"Received From: ")?;
        let mut block = Block {
            date: Cow::Borrowed(date),
            location: Location(Cow::Borrowed(location)),
            ..rule(next()?.strip_prefix(b"Rule: ")?)?
        };
        for _ in 0..FIELDS_LIMIT {
            let line = next()?;
            if line == b"Portion of the log(s):" {
                return next()?.is_empty().then_some(Self { brand, iso_date, end: at, block });
            }
            field(&mut block, line)?;
        }
        None
    }
}

/// `5710 fired (level 5) -> "text"`.
fn rule(text: &[u8]) -> Option<Block<'_>> {
    let (rule, rest) = number(text)?;
    let (level, rest) = number(rest.strip_prefix(b" fired (level ")?)?;
    let description = rest.strip_prefix(b") -> \"")?.strip_suffix(b"\"")?;
    Some(Block { rule, level, description: Cow::Borrowed(description), ..Block::default() })
}

/// Whether `line` looks as if it began with a rule that fired.
pub fn is_rule(line: &[u8]) -> bool {
    let rest = line.strip_prefix(b"Rule: ").and_then(number);
    rest.is_some_and(|(_, rest)| rest.starts_with(b" fired (level "))
}

/// Digits, as many as a number may have, and what is behind them.
pub fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let digits = text.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    Some((number, &text[digits..]))
}

/// One of the lines an alert may have. The first of a kind counts.
fn field<'a>(block: &mut Block<'a>, line: &'a [u8]) -> Option<()> {
    let Block { source_location, destination_location, source_ip, destination_ip, user, .. } = block;
    let fields: [(&[u8], _); 5] = [
        (b"Src Location: ", source_location),
        (b"Dst Location: ", destination_location),
        (b"Src IP: ", source_ip),
        (b"Dst IP: ", destination_ip),
        (b"User: ", user),
    ];
    let (value, place) = fields.into_iter().find_map(|(name, place)| Some((line.strip_prefix(name)?, place)))?;
    place.get_or_insert(Cow::Borrowed(value));
    Some(())
}

fn is_brand(brand: &[u8]) -> bool {
    (1..=BRAND_LIMIT).contains(&brand.len()) && brand[0] != b' '
}

/// `2026 Nov 20 19:26:45`
fn is_log_date(date: &[u8]) -> bool {
    has_form(date, b"0000 aaa 00 00:00:00") && date.len() == 20
}

/// `2026-11-20T19:30:02.000+0000`
fn is_iso(date: &[u8]) -> bool {
    has_form(date, b"0000-00-00T00:00:00") && date.len() <= 40
}

/// Whether `text` begins with digits for `0`, letters for `a`, and everything else as it is.
fn has_form(text: &[u8], form: &[u8]) -> bool {
    text.len() >= form.len()
        && text.iter().zip(form).all(|(octet, form)| match form {
            b'0' => octet.is_ascii_digit(),
            b'a' => octet.is_ascii_alphabetic(),
            form => octet == form,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "OSSEC HIDS Notification.\r\n2026 Nov 20 19:26:45\r\n\r\nReceived From: monitor->/var/log/a b\r\n\
        Rule: 5710 fired (level 5) -> \"said \"no\"\"\r\nSrc IP: 192.0.2.1\r\nUser: root\r\nUser: forged\r\n\
        Portion of the log(s):\r\n\r\n";

    fn read(text: &str) -> Option<Head<'_>> {
        Head::read(text.as_bytes(), 0, LineEnd::CrLf)
    }

    #[test]
    fn a_whole_head_is_read() {
        let head = read(HEAD).expect("a head");
        assert_eq!((head.brand, head.end), (&b"OSSEC HIDS"[..], HEAD.len()));
        assert_eq!((head.block.rule, head.block.level), (5710, 5));
        assert_eq!(*head.block.description, *b"said \"no\"");
        assert_eq!(head.block.user.as_deref(), Some(&b"root"[..]));
        assert_eq!(head.block.source_ip.as_deref(), Some(&b"192.0.2.1"[..]));
        assert!(read(&HEAD.replace("2026 Nov 20 19:26:45", "2026-11-20T19:30:02.000+0000")).expect("a head").iso_date);
    }

    #[test]
    fn nothing_less_than_a_whole_head_is_one() {
        for nth in 0..HEAD.lines().count() {
            let without: String =
                HEAD.split_inclusive("\r\n").enumerate().filter(|(at, _)| *at != nth).map(|(_, l)| l).collect();
            // The fields need not be there.
            assert_eq!(read(&without).is_some(), (5..8).contains(&nth), "without line {nth}");
        }
        (0..HEAD.len()).for_each(|end| assert!(read(&HEAD[..end]).is_none(), "cut at {end}"));
        for (good, wrong) in [
            ("OSSEC HIDS", ""),
            ("2026 Nov", "yesterday"),
            ("level 5", "level five"),
            ("5710", "99999999999"),
            ("-> \"", "-> "),
            ("User: root\r\n", "User: root\n"),
            ("User: root", "Root: root"),
        ] {
            assert!(read(&HEAD.replacen(good, wrong, 1)).is_none(), "{wrong:?} for {good:?}");
        }
        assert!(read(&HEAD.replace("User: root\r\n", &"User: root\r\n".repeat(100))).is_none());
    }
}
