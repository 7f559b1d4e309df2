//! What the daemon counts and what its state is, for `status` and whoever else asks.
//!
//! Guarantees: numbers and short texts only; nothing of an alert. On failure to answer, `status` says that the daemon
//! does not run. An attacker can raise counters, and who answers for a relay host chooses words of its trouble.
//!
//! **What degrades the state and what is only advice.** A warning degrades the state: somebody should look now. What has
//! weeks of time, such as a certificate that ends in 60 days, is advice: a state that is degraded for 60 days hides
//! everything else. Warnings about single events (a lone dot, a mail that was too large) end with the day they fell into.

mod counts;
mod follow;
mod relay;
mod spool;

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use counts::{Counted, Counter, Counters, Counts, Tally};
pub use follow::FollowStatus;
pub use relay::{Certificate, EXPIRES_SOON, RelayStatus};
pub use spool::{LATE, spool_warnings};

use crate::sandbox::Confinement;
use crate::spool::Totals;

/// The whole answer.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub struct Status {
    /// The version of this form.
    pub format: u32,
    /// Well, or not.
    pub state: State,
    /// Whether the daemon answered.
    pub running: bool,
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since 1970 at which it started.
    pub since: u64,
    /// Where it listens.
    pub listening: Vec<String>,
    /// What happened since then.
    pub counts: Counts,
    /// What happened in the last hour, to the minute, over restarts too.
    #[serde(default)]
    pub last_hour: Counts,
    /// The same for the last day, to five minutes.
    #[serde(default)]
    pub last_day: Counts,
    /// What waits for digests and slots.
    #[serde(default)]
    pub gathering: Vec<Gathering>,
    /// What lies in the spool.
    pub spool: Totals,
    /// Why that is not known, if it is not.
    #[serde(default)]
    pub spool_unknown: Option<String>,
    /// Each relay host.
    pub relays: Vec<RelayStatus>,
    /// Each followed log.
    #[serde(default)]
    pub follows: Vec<FollowStatus>,
    /// Each way to tell somebody beside mail.
    #[serde(default)]
    pub alarm: Vec<AlarmStatus>,
    /// Lines of log that could not be written.
    #[serde(default)]
    pub log_lines_dropped: u64,
    /// What confines the daemon.
    #[serde(default)]
    pub sandbox: Confinement,
    /// The fingerprint of the key that signs.
    pub signer: String,
    /// Recipients' certificates that have an end.
    pub certificates: Vec<CertificateStatus>,
    /// Each recipient.
    #[serde(default)]
    pub recipients: Vec<RecipientStatus>,
    /// What an operator should know, each with what to do.
    pub warnings: Vec<String>,
    /// What has time, and what an operator has chosen and could choose better; no reason for an alarm.
    #[serde(default)]
    pub advice: Vec<String>,
}

impl Status {
    /// Derives state and warnings from everything else. `cannot_take`: alerts are refused.
    pub fn judge(&mut self, other: Vec<String>, cannot_take: bool) {
        self.warnings = other;
        self.warnings.extend(self.last_day.warnings());
        for relay in &self.relays {
            self.warnings.extend(relay.in_trouble());
            self.warnings.extend(relay.expires_soon());
        }
        self.warnings.extend(self.follows.iter().flat_map(FollowStatus::warnings));
        if self.log_lines_dropped > 0 {
            let lines = self.log_lines_dropped;
            self.warnings
                .push(format!("{lines} lines of log could not be written: is the disk full, or its reader stuck?"));
        }
        self.warnings.extend(spool_warnings(&self.spool));
        self.warnings.extend(self.alarm.iter().flat_map(AlarmStatus::warnings));
        self.state = match (cannot_take, self.warnings.is_empty()) {
            (true, _) => State::Broken,
            (false, false) => State::Degraded,
            (false, true) => State::Ok,
        };
    }

    /// On one line, for systemd and whoever has no room for more.
    pub fn line(&self) -> String {
        let state = match self.state {
            State::Ok => "well",
            State::Degraded => "somebody should look",
            State::Broken => "BROKEN: no alert can be taken",
        };
        let relays = self.relays.iter().map(|relay| match (&relay.trouble, relay.waits_until) {
            (Some(_), _) => format!("{} in trouble", relay.relay),
            (None, Some(_)) => format!("{} at its cap", relay.relay),
            (None, None) => format!("{} well", relay.relay),
        });
        let relays = relays.collect::<Vec<_>>().join(", ");
        format!(
            "{state}; {} accepted, {} sent, {} queued; {relays}",
            self.counts.accepted, self.counts.sent, self.spool.queued
        )
    }
}

/// Well, or not.
#[derive(Serialize, Deserialize, Default, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing to do.
    #[default]
    Ok,
    /// It works, and an operator should look.
    Degraded,
    /// Alerts cannot be taken, or the daemon does not run.
    Broken,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Broken => "broken",
        })
    }
}

/// What waits for one recipient's digest or slot.
#[derive(Serialize, Deserialize, Default, Debug, Clone, PartialEq, Eq)]
pub struct Gathering {
    /// Whose.
    pub recipient: String,
    /// Messages that wait; they are among those in the queue.
    pub parked: usize,
    /// Seconds since 1970 of the next slot, if it has slots.
    pub next_slot: Option<u64>,
}

/// Until when a recipient's certificate holds.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub struct CertificateStatus {
    /// The recipient's address.
    pub recipient: String,
    /// The certificate's full fingerprint.
    pub fingerprint: String,
    /// Seconds since 1970.
    pub until: u64,
}

/// A certificate and its end.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its full fingerprint.
    pub fingerprint: String,
    /// Seconds since 1970; `None` for one without an end, and one that cannot be used.
    pub until: Option<u64>,
}

/// How it stands with a recipient.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipientStatus {
    /// Its address.
    pub recipient: String,
    /// Whether it gets what no other one claims.
    pub default: bool,
    /// Its certificates.
    pub certificates: Vec<End>,
    /// Why nothing can be sealed to it now.
    pub unusable: Option<String>,
    /// The highest sequence number that was given out for it.
    pub last_number: u64,
    /// Seconds since 1970 at which its last heartbeat was made.
    pub last_heartbeat: Option<u64>,
}

/// How a way to tell somebody beside mail is doing.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct AlarmStatus {
    /// `ping`, `webhook` or `syslog`.
    pub channel: String,
    /// Its host and port; the rest of an address is a secret.
    pub to: String,
    /// Seconds since 1970 of the last time it took something.
    pub last_success: Option<u64>,
    /// What did not work last, if it has not worked since.
    pub trouble: Option<String>,
    /// Why the ping is not sent, if it is not.
    pub withheld: Option<String>,
}

impl AlarmStatus {
    fn warnings(&self) -> impl Iterator<Item = String> {
        let (channel, to) = (&self.channel, &self.to);
        let trouble = self.trouble.as_ref().map(|trouble| {
            format!("{channel} {to}: {trouble}; `sealrelay alarm test` tries it, and its log says since when")
        });
        let withheld = self.withheld.as_ref().map(|why| format!("{channel} {to} is not called: {why}"));
        trouble.into_iter().chain(withheld)
    }
}

/// Seconds since 1970.
pub fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}
