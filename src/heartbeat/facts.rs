//! What a heartbeat tells: for programs as `heartbeat` in the manifest, for people as the text of the mail.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::ranges::Ranges;
use crate::spool;
use crate::status::{CertificateStatus, RelayStatus};

/// Counters by their names in `sealrelay status --json`.
pub type Totals = BTreeMap<String, u64>;

/// Why a heartbeat is sent.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is time.
    Regular,
    /// The configuration is another one than at the last heartbeat.
    NewConfiguration,
    /// The state directory is new: the run of numbers begins, and maybe the key that signs is another.
    NewState,
    /// An operator asked for it.
    Asked,
}

/// What the manifest of a heartbeat holds beside what every manifest holds. Times are seconds since 1970.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Facts {
    /// Why it is sent.
    pub reason: Reason,
    /// When it was made.
    pub made: u64,
    /// Seconds until the next one; `None` when none will follow.
    pub every: Option<u64>,
    /// What made it.
    pub version: String,
    /// The last heartbeat of this run of numbers.
    pub since: Option<u64>,
    /// What was counted since then, or since the state directory is there.
    pub totals: Totals,
    /// Whether nothing can have been left out of `totals`: false when the daemon ended without a farewell.
    pub complete: bool,
    /// The numbers this heartbeat accounts for: the lowest (1 unless the lists had to be cut),
    pub from: u64,
    /// and the highest that was given out. Its own number is above that.
    pub highest: u64,
    /// Those that still wait in the spool.
    pub waiting: Ranges,
    /// Those that will not come, by why.
    pub never: BTreeMap<String, Ranges>,
    /// Alerts for this recipient that could not be sealed since it was last told.
    pub not_sealed: u64,
    /// What lies in the spool, for all recipients.
    pub spool: spool::Totals,
    /// Until when this recipient's certificates hold; those without an end are left out.
    pub certificates: Vec<CertificateStatus>,
    /// The relay hosts, with the expiry of their certificates as last seen.
    pub relays: Vec<RelayStatus>,
    /// What `sealrelay status` says an operator should look at.
    pub warnings: Vec<String>,
}

/// How much of its lists a heartbeat tells.
struct Cut {
    /// Warnings, relay hosts, certificates: so many of each.
    items: usize,
    /// Characters of a warning, or of what is said of a relay host.
    text: usize,
    /// Ranges of numbers, all lists together.
    ranges: usize,
}

/// The first that fits is taken. The last one always does: what is left has bounds of its own.
const CUTS: [Cut; 5] = [
    Cut { items: 8, text: 400, ranges: 60 },
    Cut { items: 6, text: 300, ranges: 40 },
    Cut { items: 4, text: 200, ranges: 25 },
    Cut { items: 3, text: 120, ranges: 15 },
    Cut { items: 2, text: 80, ranges: 8 },
];

/// Octets of a heartbeat, about, with which it stays in the size class of an ordinary alert, in both formats.
const ROOM: usize = 7_000;

impl Facts {
    /// Cuts what is too long for the smallest size class: texts to their beginning, lists of numbers to their newest part,
    /// which `from` says, other lists to their beginning, which the last warning says.
    pub fn shorten(self) -> Self {
        let whole = self.clone();
        let mut cuts = CUTS.iter().map(|cut| whole.clone().cut(cut));
        cuts.find(|facts| facts.size() <= ROOM).unwrap_or_else(|| self.cut(&CUTS[CUTS.len() - 1]))
    }

    fn cut(mut self, cut: &Cut) -> Self {
        self.keep_newest(cut.ranges);
        let left_out = [
            (left_out(&mut self.warnings, cut.items), "warning(s)"),
            (left_out(&mut self.relays, cut.items), "relay host(s)"),
            (left_out(&mut self.certificates, cut.items), "certificate(s)"),
        ];
        let said = self.relays.iter_mut().flat_map(|relay| [&mut relay.trouble, &mut relay.advice]).flatten();
        said.chain(&mut self.warnings).for_each(|text| abridge(text, cut.text));
        let left_out: Vec<String> =
            left_out.iter().filter(|(count, _)| *count > 0).map(|(count, of)| format!("{count} {of}")).collect();
        if !left_out.is_empty() {
            self.warnings.push(format!("left out here: {}; `sealrelay status` has them", left_out.join(", ")));
        }
        self
    }

    /// Keeps the `limit` newest ranges of all lists together.
    fn keep_newest(&mut self, limit: usize) {
        let lists = self.never.values().chain([&self.waiting]);
        let mut starts: Vec<u64> = lists.flat_map(|ranges| ranges.iter().map(|(first, _)| first)).collect();
        if starts.len() <= limit {
            return;
        }
        starts.sort_unstable_by(|a, b| b.cmp(a));
        self.from = self.from.max(starts[limit - 1]);
        let kept = Ranges::of(self.from, u64::MAX);
        for ranges in self.never.values_mut().chain([&mut self.waiting]) {
            *ranges = std::mem::take(ranges).within(&kept);
        }
    }

    /// Octets it takes in a message, about: as JSON, indented, and in words, which may have to be encoded.
    fn size(&self) -> usize {
        let json = serde_json::to_string_pretty(self).map_or(0, |json| json.len() + 3 * json.lines().count());
        json + self.in_words("", "", "", "").len() * 4 / 3
    }

    /// The text for people. `signer` and `epoch` are named where the state is new.
    pub fn in_words(&self, instance: &str, recipient: &str, signer: &str, epoch: &str) -> String {
        let mut text = format!("The mail relay on {instance} runs, and its messages reach you.\r\n\r\n");
        if self.reason == Reason::NewState {
            let _ = write!(
                text,
                "THIS RELAY'S STATE IS NEW: signer {signer}, epoch {epoch}.\r\n\
                 If you did not expect that, its state directory was lost or replaced. Compare the signer's\r\n\
                 fingerprint with what its operator tells you before you trust anything it signs.\r\n\r\n"
            );
        }
        for (name, value) in self.lines(recipient, signer, epoch) {
            let _ = write!(text, "{:28} {value}\r\n", format!("{name}:"));
        }
        if !self.warnings.is_empty() {
            text.push_str("\r\nThe relay's operator should know:\r\n");
            self.warnings.iter().for_each(|warning| text.push_str(&format!("  ! {warning}\r\n")));
        }
        text
    }

    fn lines(&self, recipient: &str, signer: &str, epoch: &str) -> Vec<(String, String)> {
        let line = |name: &str, value: String| (name.to_owned(), value);
        let mut lines = vec![
            line("Why now", self.reason.in_words().to_owned()),
            line("Made", at(self.made)),
            line(
                "Next",
                self.every.map_or_else(|| "none: heartbeats are off".to_owned(), |s| format!("within {}", span(s))),
            ),
            line("Version", self.version.clone()),
            line("For", recipient.to_owned()),
            line("Signed by", signer.to_owned()),
            line("Epoch of numbers", epoch.to_owned()),
            line("Highest number before this", self.highest.to_string()),
        ];
        if self.from > 1 {
            lines.push(line("  listed here from", self.from.to_string()));
        }
        lines.push(line("  still in the spool", self.waiting.to_string()));
        lines.extend(
            self.never.iter().map(|(why, numbers)| line(&format!("  will not come, {why}"), numbers.to_string())),
        );
        let since =
            self.since.map_or_else(|| "since the state is there".to_owned(), |since| format!("since {}", at(since)));
        let complete = if self.complete { "" } else { "; some may be missing, the daemon was killed meanwhile" };
        lines.push(line("Counted, all recipients", format!("{since}{complete}")));
        lines.extend(
            self.totals.iter().map(|(name, count)| line(&format!("  {}", name.replace('_', " ")), count.to_string())),
        );
        lines.push(line("Not sealed for you", self.not_sealed.to_string()));
        let oldest = self.spool.oldest.map_or_else(|| "none".to_owned(), at);
        let spool = &self.spool;
        lines.push(line(
            "In the spool",
            format!(
                "{} waiting, {} held, {} failed, {} damaged; oldest: {oldest}",
                spool.queued, spool.held, spool.failed, spool.damaged
            ),
        ));
        lines.extend(self.certificates.iter().map(|certificate| {
            line("Your certificate", format!("{}, until {}", certificate.fingerprint, at(certificate.until)))
        }));
        lines.extend(self.relays.iter().map(|relay| {
            let last = relay
                .last_success
                .map_or_else(|| "nothing taken yet".to_owned(), |last| format!("last took a message {}", at(last)));
            line(
                "Relay host",
                format!("{}, {last}; certificate: {}", relay.relay, until(expires(relay), "not seen yet")),
            )
        }));
        lines
    }
}

/// Takes what is behind the first `limit` out of `list`; how many those are.
fn left_out<T>(list: &mut Vec<T>, limit: usize) -> usize {
    list.drain(limit.min(list.len())..).count()
}

/// Cuts `text` to `limit` characters, and shows that it was.
fn abridge(text: &mut String, limit: usize) {
    if let Some((end, _)) = text.char_indices().nth(limit) {
        text.truncate(end);
        text.push_str("...");
    }
}

fn expires(relay: &RelayStatus) -> Option<u64> {
    relay.certificate.as_ref()?.expires
}

impl Reason {
    fn in_words(self) -> &'static str {
        match self {
            Self::Regular => "it is time",
            Self::NewConfiguration => "the relay's configuration has changed",
            Self::NewState => "the relay's state directory is new",
            Self::Asked => "an operator asked for it",
        }
    }
}

fn until(expires: Option<u64>, never: &str) -> String {
    expires.map_or_else(|| never.to_owned(), |expires| format!("until {}", at(expires)))
}

/// `2026-11-20 19:26:58Z`.
fn at(seconds: u64) -> String {
    // Beyond the year 9999 nothing can be formatted; whatever says so is wrong anyway.
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string().replace('T', " ")
}

fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Seconds since 1970.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            reason: Reason::Regular,
            made: 0,
            every: Some(86400),
            version: String::new(),
            since: None,
            totals: Totals::new(),
            complete: true,
            from: 1,
            highest: 10_000,
            waiting: (0..400).map(|n| n * 2 + 1).collect(),
            never: [("unused".to_owned(), Ranges::of(1_000, 9_000))].into(),
            not_sealed: 0,
            spool: spool::Totals::default(),
            certificates: Vec::new(),
            relays: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn lists_that_are_too_long_keep_their_newest_part_together_and_say_from_where() {
        let short = facts().shorten();
        let ranges = short.waiting.iter().count();
        assert!((20..60).contains(&ranges), "{ranges}");
        // The other list's range is newer than all of these, and is one of those that are counted.
        assert_eq!(short.never, facts().never);
        assert!(CUTS.iter().any(|cut| cut.ranges == ranges + 1), "{ranges}");
        assert_eq!(short.from, 801 - 2 * ranges as u64);
        assert_eq!(short.waiting, facts().waiting.within(&Ranges::of(short.from, u64::MAX)));
        let words = short.in_words("h", "a@b", "F", "e");
        assert!(words.contains("within 1day") && words.contains("listed here from"), "{words}");
    }

    #[test]
    fn what_is_left_out_of_other_lists_is_counted() {
        let few = facts();
        let few = Facts { waiting: Ranges::default(), warnings: vec!["w".repeat(300); 2], ..few };
        assert_eq!(few.clone().shorten().warnings, few.warnings);
        let many = Facts { warnings: vec!["\u{e4}".repeat(500); 20], ..few }.shorten();
        let (last, others) = many.warnings.split_last().expect("some");
        assert_eq!(*last, format!("left out here: {} warning(s); `sealrelay status` has them", 20 - others.len()));
        assert!(others.iter().all(|text| text.ends_with("\u{e4}...")), "{others:?}");
    }
}
