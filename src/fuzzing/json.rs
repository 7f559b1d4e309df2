//! The reader of `alerts.json`, and the mail made of what it read.

use crate::alert::json;
use crate::follow;

/// A line is weighed and read alike; the mail holds it octet for octet, and above the log text each field on its line.
pub fn json(input: &[u8]) {
    let line = input.split(|&octet| octet == b'\n').next().unwrap_or_default();
    let (weight, alert) = (json::weigh(line), json::read(line));
    assert_eq!(weight.map(|weight| (weight.rule, weight.level)), alert.as_ref().map(|a| (a.block.rule, a.block.level)));
    let Some(alert) = alert else { return };
    let mail = follow::mail_about(&alert, line, "/log", std::time::UNIX_EPOCH);
    assert!(mail.octets.windows(line.len().max(1)).any(|window| window == line));
    let text = String::from_utf8_lossy(&mail.octets);
    let (head, _) = text.split_once("Portion of the log(s):\r\n").expect("a whole head");
    // Subject, two empty lines, brand, date, an empty line, location, rule, and five more at most.
    assert!(head.lines().count() <= 13, "{head:?}");
    assert!(!head.chars().any(|c| c.is_control() && !matches!(c, '\r' | '\n')));
}
