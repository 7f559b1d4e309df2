//! What the daemon counts and what its state is, for `status` and whoever else asks.
//!
//! Guarantees: numbers and short texts only; nothing of an alert. On failure to answer, `status` says that the daemon
//! does not run. An attacker can raise counters and do no more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::spool::{Room, Totals};

/// One number that only grows.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happened since the daemon started.
#[derive(Default, Debug)]
pub struct Counters {
    /// Mails answered with 250.
    pub accepted: Counter,
    /// Entries made from them.
    pub entries: Counter,
    /// Messages a relay host took.
    pub sent: Counter,
    /// Attempts after which a message waits on.
    pub deferred: Counter,
    /// Messages moved to `failed/`.
    pub undeliverable: Counter,
    /// Mails with a lone dot in their text.
    pub early_dots: Counter,
    /// Second mails in a HELO session.
    pub second_transactions: Counter,
    /// Mails over the size limit.
    pub oversize: Counter,
    /// Mails answered with 451, and banners with 421.
    pub not_taken: Counter,
    /// Sessions closed to make room.
    pub closed_for_room: Counter,
    /// Alerts that could not be sealed for a recipient.
    pub not_sealed: Counter,
}

/// The same as plain numbers.
#[derive(Serialize, Deserialize, Default, Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub entries: u64,
    pub sent: u64,
    pub deferred: u64,
    pub undeliverable: u64,
    pub early_dots: u64,
    pub second_transactions: u64,
    pub oversize: u64,
    pub not_taken: u64,
    pub closed_for_room: u64,
    pub not_sealed: u64,
}

impl Counters {
    /// The numbers now.
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.accepted.get(),
            entries: self.entries.get(),
            sent: self.sent.get(),
            deferred: self.deferred.get(),
            undeliverable: self.undeliverable.get(),
            early_dots: self.early_dots.get(),
            second_transactions: self.second_transactions.get(),
            oversize: self.oversize.get(),
            not_taken: self.not_taken.get(),
            closed_for_room: self.closed_for_room.get(),
            not_sealed: self.not_sealed.get(),
        }
    }

    /// What in these numbers an operator should know.
    fn warnings(&self) -> Vec<String> {
        let told = [
            (
                &self.early_dots,
                "mail(s) held a lone dot in their text: somebody may be writing log lines to cut alerts",
            ),
            (&self.second_transactions, "mail(s) were the second of a session that sends one: they may be forged"),
            (&self.oversize, "mail(s) were over the size limit and not taken: raise listen.message_size"),
            (&self.not_taken, "mail(s) or sessions were not taken: see the log for why"),
            (&self.closed_for_room, "silent session(s) were closed to make room: raise listen.sessions"),
            (&self.not_sealed, "alert(s) could not be sealed for a recipient: see the certificates"),
        ];
        told.iter()
            .filter(|(counter, _)| counter.get() > 0)
            .map(|(counter, text)| format!("{} {text}", counter.get()))
            .collect()
    }
}

/// How a relay host is doing.
#[derive(Serialize, Deserialize, Default, Debug, Clone)]
pub struct RelayStatus {
    /// Its name and port.
    pub relay: String,
    /// Seconds since 1970 of the last message it took.
    pub last_success: Option<u64>,
    /// What did not work last, if it has not worked since.
    pub trouble: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// Seconds since 1970 of the next attempt, while there is trouble.
    pub next_attempt: Option<u64>,
    /// Seconds since 1970 at which its certificate expires.
    pub certificate_expires: Option<u64>,
}

/// Well, or not.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing to do.
    Ok,
    /// It works, and an operator should look.
    Degraded,
    /// Alerts cannot be taken, or the daemon does not run.
    Broken,
}

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
    /// What lies in the spool.
    pub spool: Totals,
    /// Each relay host.
    pub relays: Vec<RelayStatus>,
    /// The fingerprint of the key that signs.
    pub signer: String,
    /// What an operator should know, each with what to do.
    pub warnings: Vec<String>,
}

impl Status {
    /// Derives state and warnings from everything else. `cannot_take`: alerts are refused.
    pub fn judge(&mut self, counters: &Counters, other: Vec<String>, cannot_take: bool) {
        self.warnings = other;
        self.warnings.extend(counters.warnings());
        for relay in &self.relays {
            if let Some(trouble) = &relay.trouble {
                let advice = relay.advice.as_deref().unwrap_or("");
                self.warnings.push(format!("relay host {}: {trouble}. {advice}", relay.relay));
            }
        }
        self.warnings.extend(spool_warnings(&self.spool));
        self.state = match (cannot_take, self.warnings.is_empty()) {
            (true, _) => State::Broken,
            (false, false) => State::Degraded,
            (false, true) => State::Ok,
        };
    }
}

/// An entry that waits longer than this, seconds, is worth a look, whatever the reason.
const LATE: u64 = 15 * 60;

/// What in the spool an operator should know.
pub fn spool_warnings(totals: &Totals) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let late = totals.oldest.map_or(0, |oldest| now.saturating_sub(oldest));
    let told = [
        (totals.failed, "message(s) lie in failed/: `sealrelay queue list` says why"),
        (totals.damaged, "entry(ies) lie in damaged/: the disk may be going bad"),
        (totals.unreadable, "file(s) in queue/ could not be read at the start: the disk may be going bad"),
        (totals.unremoved, "sent message(s) cannot be removed from the spool: is the disk full or read-only?"),
    ];
    let counted = told.iter().filter(|(count, _)| *count > 0).map(|(count, text)| format!("{count} {text}"));
    let waits = (late > LATE)
        .then(|| format!("the oldest message has waited for {} minutes: `sealrelay queue list` says why", late / 60));
    counted.chain(waits).chain(room_warnings(totals)).collect()
}

fn room_warnings(totals: &Totals) -> Option<String> {
    let usage = &totals.usage;
    let what_to_do = "let the relay host take what waits, make room on the disk, or raise spool.quota";
    match totals.room {
        _ if usage.is_filled_by_failed() => Some(format!(
            "failed/ takes {} MiB and fills the disk: `sealrelay queue retry` or `sealrelay queue remove` what lies there",
            usage.failed.div_ceil(1024 * 1024)
        )),
        Room::None => Some(format!("the spool has NO ROOM, alerts are refused and lost: {usage}; {what_to_do}")),
        Room::Scarce => Some(format!("the spool has little room left: {usage}; {what_to_do}")),
        Room::Enough => None,
    }
}
