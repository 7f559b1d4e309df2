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

/// Ranges of numbers in one list. A heartbeat must stay in the size class of an ordinary alert.
const RANGES: usize = 150;

impl Facts {
    /// Cuts lists that are too long to their newest part, and says so in `from`.
    pub fn shorten(mut self) -> Self {
        let mut from = self.from;
        for ranges in self.never.values_mut().chain([&mut self.waiting]) {
            let (newest, cut) = ranges.newest(RANGES);
            if let Some((first, _)) = newest.iter().next().filter(|_| cut) {
                from = from.max(first);
            }
            *ranges = newest;
        }
        self.from = from;
        self
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
            line("  still in the spool", self.waiting.to_string()),
        ];
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

    #[test]
    fn lists_that_are_too_long_keep_their_newest_part_and_say_from_where() {
        let facts = Facts {
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
            never: [("unused".to_owned(), Ranges::of(1, 9_000))].into(),
            not_sealed: 0,
            spool: spool::Totals::default(),
            certificates: Vec::new(),
            relays: Vec::new(),
            warnings: Vec::new(),
        };
        let short = facts.clone().shorten();
        assert_eq!((short.from, short.waiting.iter().count()), (501, RANGES));
        assert_eq!(short.never, facts.never);
        assert!(short.in_words("h", "a@b", "F", "e").contains("within 1day"));
    }
}
