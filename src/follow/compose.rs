//! The mail made of an alert: what maild would write, and behind it the line itself.
//!
//! Guarantees: Subject and every line before the log text hold one field each, whatever the field holds; the line stands
//! there octet for octet. An attacker who writes log lines controls the log text and can imitate a block in it: the line
//! behind it shows what is what.

use std::time::SystemTime;

use crate::alert::Block;
use crate::alert::json::Alert;
use crate::envelope::Envelope;
use crate::mail::{Greeting, Mail, Note};

/// The mail about `alert`, which stands in `line` of `log`.
pub fn alert(alert: &Alert, line: &[u8], log: &str, arrival: SystemTime) -> Mail {
    let (block, brand) = (&alert.block, alert.brand);
    let name = brand.split(' ').next().unwrap_or(brand);
    let word = if name == "Wazuh" { "alert" } else { "Alert" };
    let (location, text) = (one_line(block.location.as_bytes()), one_line(&block.description));
    let mut octets = Vec::with_capacity(line.len() * 2 + 512);
    let subject = format!("Subject: {name} {word} - {location} - Level {} - {text}\r\n\r\n", block.level);
    octets.extend_from_slice(subject.as_bytes());
    write_block(&mut octets, block, brand);
    octets.extend_from_slice(b"The same in JSON, as it stands in the log:\r\n\r\n");
    octets.extend_from_slice(line);
    octets.extend_from_slice(b"\r\n");
    Mail { block: Some(block.clone()), ..mail(octets, Vec::new(), log, arrival) }
}

/// The mail about `text`, `lines` lines of `log` that are no alerts, up to octet `end`.
pub fn no_alert(text: &[u8], lines: u64, log: &str, end: u64, arrival: SystemTime) -> Mail {
    let place = format!("{log}, up to octet {end}");
    let subject = format!("Subject: {lines} line(s) that are no alerts in {}\r\n\r\n", one_line(log.as_bytes()));
    mail([subject.as_bytes(), text, b"\r\n"].concat(), vec![Note::NoAlert(lines, place)], log, arrival)
}

/// Nobody is named, so it goes to the default recipients, and to whom the alert itself concerns.
fn mail(octets: Vec<u8>, notes: Vec<Note>, log: &str, arrival: SystemTime) -> Mail {
    let (envelope, client) = (Envelope::default(), log.to_owned());
    Mail { envelope, octets, arrival, client, greeting: Greeting::None, notes, source: None, block: None }
}

/// As `MAIL_BODY` in maild.
fn write_block(octets: &mut Vec<u8>, block: &Block<'_>, brand: &str) {
    let head = format!(
        "\r\n{brand} Notification.\r\n{}\r\n\r\nReceived From: {}\r\nRule: {} fired (level {}) -> \"{}\"\r\n",
        one_line(&block.date),
        one_line(block.location.as_bytes()),
        block.rule,
        block.level,
        one_line(&block.description),
    );
    octets.extend_from_slice(head.as_bytes());
    let fields = [
        ("Src Location", &block.source_location),
        ("Dst Location", &block.destination_location),
        ("Src IP", &block.source_ip),
        ("Dst IP", &block.destination_ip),
        ("User", &block.user),
    ];
    for (name, value) in fields.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        octets.extend_from_slice(format!("{name}: {}\r\n", one_line(value)).as_bytes());
    }
    octets.extend_from_slice(b"Portion of the log(s):\r\n\r\n");
    for line in block.log.split(|&octet| octet == b'\n') {
        octets.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        octets.extend_from_slice(b"\r\n");
    }
    octets.extend_from_slice(b"\r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\n");
}

/// Controls become blanks: a field that holds a line end would look like two.
fn one_line(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::json;

    const LINE: &str = r#"{"timestamp":"2026-11-20T19:30:02.123+0000","rule":{"level":10,"description":"a\r\nBcc: victim@x","id":"5712"},"agent":{"name":"app","ip":"10.20.2.2"},"full_log":"one\ntwo","data":{"srcip":"1.2.3.4"},"location":"/var/log/auth.log"}"#;

    #[test]
    fn a_mail_has_the_form_of_wazuhs_and_no_field_can_leave_its_line() {
        let mail = alert(&json::read(LINE.as_bytes()).expect("an alert"), LINE.as_bytes(), "/log", SystemTime::now());
        let expected = format!(
            "Subject: Wazuh alert - (app) 10.20.2.2->/var/log/auth.log - Level 10 - a  Bcc: victim@x\r\n\r\n\
             \r\nWazuh Notification.\r\n2026-11-20T19:30:02.123+0000\r\n\r\nReceived From: (app) 10.20.2.2->/var/log/auth.log\r\n\
             Rule: 5712 fired (level 10) -> \"a  Bcc: victim@x\"\r\nSrc IP: 1.2.3.4\r\nPortion of the log(s):\r\n\r\none\r\ntwo\r\n\
             \r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\nThe same in JSON, as it stands in the log:\r\n\r\n{LINE}\r\n"
        );
        assert_eq!(String::from_utf8_lossy(&mail.octets), expected);
    }
}
