//! What a Subject says: the highest level of a mail, or the whole of an sms.
//!
//! It is cut by the programs that write it, at 126 octets and some at more, and anything may be in it.

use std::borrow::Cow;

use super::Block;
use super::head::number;

/// A Subject of so many octets or more may have been cut: `Subject: `, this, and a line end are 126.
const CUT_FROM: usize = 115;

/// The level of the highest alert in the mail, if the Subject tells it.
///
/// `OSSEC Notification - LOCATION - Alert level 7`, `Wazuh alert - LOCATION - Level 7 - TEXT`, `7 - TEXT - LOCATION`.
pub fn level(subject: &str) -> Option<u32> {
    let behind = |mark: &str| subject.find(mark).and_then(|at| number(&subject.as_bytes()[at + mark.len()..]));
    if let Some((level, rest)) = number(subject.as_bytes()) {
        return rest.starts_with(b" - ").then_some(level);
    }
    // Digits at the very end may have been cut.
    let whole = |(level, rest): (u32, &[u8])| rest.starts_with(b" - ").then_some(level);
    match subject.rfind(" - Alert level ") {
        Some(at) => number(&subject.as_bytes()[at + " - Alert level ".len()..])
            // The 1 of 10 to 16.
            .filter(|(level, _)| *level != 1 || subject.len() < CUT_FROM)
            .map(|(level, _)| level),
        None => behind(" - Level ").and_then(whole),
    }
}

/// The alert in the Subject of an sms, `OSSEC 10 - 5712 - TEXT`, whose log is `body`.
pub fn sms<'a>(subject: &str, body: &'a [u8]) -> Option<Block<'a>> {
    let (brand, rest) = subject.split_once(' ')?;
    let (level, rest) = number(rest.as_bytes())?;
    let (rule, rest) = number(rest.strip_prefix(b" - ")?)?;
    let description = rest.strip_prefix(b" - ")?.to_vec();
    // A word: `Re: 10 - 5 - text` is no sms.
    let is_brand = brand.starts_with(|first: char| first.is_ascii_alphabetic()) && !brand.ends_with(':');
    is_brand.then(|| Block {
        octets: Cow::Borrowed(body),
        rule,
        level,
        description: description.into(),
        log: Cow::Borrowed(body.trim_ascii_end()),
        ..Block::default()
    })
}

/// The Subject of a part of the mail with `subject`, whose highest alert is `block`.
pub fn of_part(subject: &str, block: &Block<'_>) -> Vec<u8> {
    let brand =
        subject.split(" - ").next().filter(|brand| number(brand.as_bytes()).is_none()).unwrap_or("Notification");
    let place = block.location.as_bytes().iter().map(|&octet| if octet.is_ascii_control() { b' ' } else { octet });
    let mut text = format!("{brand} - ").into_bytes();
    text.extend(place);
    text.extend_from_slice(format!(" - Alert level {}", block.level).as_bytes());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Location;

    #[test]
    fn a_subject_tells_the_highest_level() {
        for (subject, expected) in [
            ("OSSEC Notification - (app) 10.20.2.2 - Alert level 7", Some(7)),
            ("OSSEC Alert - monitor - Level 5 - Attempt to login - Level 9 - no", Some(5)),
            ("Wazuh notification - (app) 10.20.2.2->/var/log/auth.log - Alert level 10", Some(10)),
            ("7 - Integrity checksum changed. - monitor", Some(7)),
            ("OSSEC Alert - monitor - Level 1", None),
            (&format!("OSSEC Notification - {} - Alert level 1", "x".repeat(CUT_FROM - 38)), Some(1)),
            (&format!("OSSEC Notification - {} - Alert level 1", "x".repeat(CUT_FROM - 37)), None),
            (&format!("OSSEC Notification - {} - Alert level 2", "x".repeat(CUT_FROM - 37)), Some(2)),
            ("OSSEC Alert - monit", None),
            ("Daily report: File changes", None),
            ("", None),
        ] {
            assert_eq!(level(subject), expected, "{subject}");
        }
    }

    #[test]
    fn an_sms_is_told_from_its_subject() {
        let block = sms("OSSEC 10 - 5712 - SSHD brute force", b"Nov 20 log\r\n").expect("an sms");
        assert_eq!((block.level, block.rule, &*block.log), (10, 5712, &b"Nov 20 log"[..]));
        assert!(block.location.as_bytes().is_empty());
        for other in [
            "OSSEC Alert - monitor - Level 5 - x",
            "5 - 6 - 7 - x",
            "Re: 10 - x",
            "Re: 10 - 5 - x",
            "OSSEC 10 - 5712",
            "",
        ] {
            assert_eq!(sms(other, b""), None, "{other}");
        }
    }

    #[test]
    fn a_part_has_a_subject_of_its_own() {
        let subject = "Wazuh notification - (secret) 10.0.0.9->/x - Alert level 12";
        let block =
            |location: &'static [u8]| Block { level: 5, location: Location(location.into()), ..Block::default() };
        let part = of_part(subject, &block(b"(app) any->/a\rb"));
        assert_eq!(part, b"Wazuh notification - (app) any->/a b - Alert level 5");
        assert_eq!(of_part("7 - secret - there", &block(b"here")), b"Notification - here - Alert level 5");
    }
}
