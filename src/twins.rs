//! Alerts that a followed log has brought, so as to know them again in the IDS's own mail (`secondary = true`).
//!
//! Guarantees: an alert counts as known to a recipient only if date, location, rule, level, description and the whole log
//! text are equal, and so is each further field that the mail names; and only after it was durable for that recipient.
//! Only digests are kept, of the last `KEPT`. They are in memory alone: after a restart nothing is known, and an alert
//! comes twice rather than not at all. Nobody can make an alert go missing by this but by making an equal one arrive.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::alert::{Block, Text};

/// Alerts that are remembered, each for each recipient. The IDS's mail follows within minutes, and holds 97 at most.
const KEPT: usize = 10_000;

/// The log mail says the second, the log of Wazuh's a thousandth of it; and only one of the two names a zone.
const TO_THE_SECOND: usize = "2026-11-20T19:30:02".len();

type Key = [u8; 32];
/// Digests of the fields that not every mail names.
type Further = [Option<Key>; 5];

/// What is remembered.
#[derive(Default)]
pub struct Twins(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    known: HashMap<Key, Further>,
    oldest_first: VecDeque<Key>,
}

impl Twins {
    /// A log has brought `block` to `recipient`, and it is durable.
    pub fn add(&self, recipient: &str, block: &Block<'_>) {
        let key = key(recipient, block);
        let mut kept = self.kept();
        if kept.known.insert(key, further(block)).is_none() {
            kept.oldest_first.push_back(key);
        }
        if kept.oldest_first.len() > KEPT
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.known.remove(&oldest);
        }
    }

    /// Whether `block`, read from a mail, is one that `recipient` has.
    pub fn knows(&self, recipient: &str, block: &Block<'_>) -> bool {
        let kept = self.kept();
        let Some(known) = kept.known.get(&key(recipient, block)) else { return false };
        further(block).iter().zip(known).all(|(named, known)| named.is_none() || named == known)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(recipient: &str, block: &Block<'_>) -> Key {
    let numbers = [block.rule.to_be_bytes(), block.level.to_be_bytes()].concat();
    let log = lines(&block.log);
    let fields = [
        recipient.as_bytes(),
        &seconds(&block.date),
        block.location.as_bytes(),
        &numbers,
        block.description.trim_ascii(),
        &log,
    ];
    // Each with its length, so that no text can pass from one field to the next.
    let digest = fields.iter().fold(Sha256::new(), |digest, field| {
        digest.chain_update((field.len() as u64).to_be_bytes()).chain_update(field)
    });
    digest.finalize().into()
}

fn further(block: &Block<'_>) -> Further {
    let fields =
        [&block.source_ip, &block.destination_ip, &block.source_location, &block.destination_location, &block.user];
    fields.map(|field| field.as_ref().map(|text: &Text<'_>| Sha256::digest(text.trim_ascii()).into()))
}

/// The same text with whatever line ends.
fn lines(log: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> =
        log.split(|&octet| octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    lines.join(&b'\n').trim_ascii_end().to_vec()
}

/// `2026 Nov 20 19:30:02` and `2026-11-20T19:30:02.123+0000` are the same time on the IDS's own clock. What is neither
/// is itself.
fn seconds(date: &[u8]) -> Vec<u8> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = String::from_utf8_lossy(date);
    let mut words = text.split_ascii_whitespace();
    let spelled = || {
        let [year, month, day, time] = std::array::from_fn(|_| words.next());
        let month = 1 + MONTHS.iter().position(|name| Some(*name) == month)?;
        Some(format!("{}-{month:02}-{:0>2}T{}", year?, day?, time?).into_bytes())
    };
    let iso = date.get(..TO_THE_SECOND).filter(|iso| iso[10] == b'T');
    iso.map(<[u8]>::to_vec).or_else(spelled).unwrap_or_else(|| date.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{Location, json};

    const LINE: &str = r#"{"timestamp":"2026-11-02T09:30:02.123+0000","rule":{"level":5,"description":"Attempt","id":"5710"},"agent":{"name":"app","ip":"10.20.2.2"},"full_log":"one\ntwo","data":{"srcip":"1.2.3.4"},"location":"/var/log/auth.log"}"#;

    fn mailed() -> Block<'static> {
        Block {
            date: b"2026 Nov  2 09:30:02".into(),
            location: Location(b"(app) 10.20.2.2->/var/log/auth.log".into()),
            rule: 5710,
            level: 5,
            description: b"Attempt".into(),
            log: b"one\r\ntwo".into(),
            ..Block::default()
        }
    }

    #[test]
    fn an_alert_is_known_only_if_every_field_is_equal_and_to_whom_it_was_brought() {
        let twins = Twins::default();
        twins.add("a@b", &json::read(LINE.as_bytes()).expect("an alert").block);
        assert!(twins.knows("a@b", &mailed()) && !twins.knows("c@d", &mailed()));
        let text = |text: &'static str| -> Text<'static> { text.as_bytes().into() };
        assert!(twins.knows("a@b", &Block { source_ip: Some(text("1.2.3.4")), ..mailed() }));
        assert!(twins.knows("a@b", &Block { date: text("2026-11-02T09:30:02.999+0100"), ..mailed() }));
        let others = [
            Block { date: text("2026 Nov  2 09:30:03"), ..mailed() },
            Block { location: Location(text("(app) 10.20.2.3->/var/log/auth.log")), ..mailed() },
            Block { rule: 5711, ..mailed() },
            Block { level: 6, ..mailed() },
            Block { description: text("Attempt."), ..mailed() },
            Block { log: text("one\r\ntwo\r\nthree"), ..mailed() },
            Block { log: text("one"), ..mailed() },
            Block { source_ip: Some(text("1.2.3.5")), ..mailed() },
            Block { user: Some(text("root")), ..mailed() },
        ];
        for other in others {
            assert!(!twins.knows("a@b", &other), "{other:?}");
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let twins = Twins::default();
        let nth = |rule| Block { rule, ..mailed() };
        (0..KEPT as u32 + 1).for_each(|rule| twins.add("a@b", &nth(rule)));
        assert!(!twins.knows("a@b", &nth(0)) && twins.knows("a@b", &nth(1)) && twins.knows("a@b", &nth(KEPT as u32)));
        assert_eq!(twins.kept().known.len(), KEPT);
    }
}
