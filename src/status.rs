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
    /// Heartbeats made; they are entries too, and are sent like any.
    pub heartbeats: Counter,
    /// Digests made, each in the place of several messages.
    pub digests: Counter,
    /// Messages whose place digests took.
    pub gathered: Counter,
    /// Messages without news, made to fill a slot.
    pub fillers: Counter,
    /// Messages that were larger than the size of their slots.
    pub larger_than_slot: Counter,
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
    #[serde(default)]
    pub heartbeats: u64,
    #[serde(default)]
    pub digests: u64,
    #[serde(default)]
    pub gathered: u64,
    #[serde(default)]
    pub fillers: u64,
    #[serde(default)]
    pub larger_than_slot: u64,
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
            heartbeats: self.heartbeats.get(),
            digests: self.digests.get(),
            gathered: self.gathered.get(),
            fillers: self.fillers.get(),
            larger_than_slot: self.larger_than_slot.get(),
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
            (
                &self.larger_than_slot,
                "message(s) were larger than the size of their slots, which shows that there was news: raise release.size",
            ),
            (&self.not_sealed, "alert(s) could not be sealed for a recipient: see the certificates"),
        ];
        told.iter()
            .filter(|(counter, _)| counter.get() > 0)
            .map(|(counter, text)| format!("{} {text}", counter.get()))
            .collect()
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
    /// Seconds since 1970 until which messages wait because the cap for it is reached.
    #[serde(default)]
    pub waits_until: Option<u64>,
    /// The certificate it presented last.
    #[serde(default)]
    pub certificate: Option<Certificate>,
}

/// What a relay host presented.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// As a pin.
    pub own: String,
    /// Seconds since 1970 at which it expires.
    pub expires: Option<u64>,
    /// Seconds since 1970 at which it, and its chain, were seen first.
    pub since: u64,
    /// The one before it, as a pin; the same one if only its issuers changed.
    pub before: Option<String>,
    /// Whether its dates count; with pins they do not.
    pub dates_count: bool,
}

/// With so much time left, seconds, somebody should look: most certificates are renewed when 30 days are left.
pub const EXPIRES_SOON: u64 = 14 * 24 * 3600;

impl RelayStatus {
    fn expires_soon(&self) -> Option<String> {
        let certificate = self.certificate.as_ref().filter(|certificate| certificate.dates_count)?;
        let left = certificate.expires?.saturating_sub(seconds_now());
        let days = left / (24 * 3600);
        (left < EXPIRES_SOON).then(|| {
            format!("relay host {}: its certificate expires in {days} day(s); its operator should renew it", self.relay)
        })
    }
}

/// Seconds since 1970.
pub fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
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
    /// What waits for digests and slots.
    #[serde(default)]
    pub gathering: Vec<Gathering>,
    /// What lies in the spool.
    pub spool: Totals,
    /// Each relay host.
    pub relays: Vec<RelayStatus>,
    /// Lines of log that could not be written.
    #[serde(default)]
    pub log_lines_dropped: u64,
    /// The fingerprint of the key that signs.
    pub signer: String,
    /// Recipients' certificates that have an end.
    pub certificates: Vec<CertificateStatus>,
    /// What an operator should know, each with what to do.
    pub warnings: Vec<String>,
    /// What an operator has chosen and could choose better; no reason for an alarm.
    #[serde(default)]
    pub advice: Vec<String>,
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
            self.warnings.extend(relay.expires_soon());
        }
        if self.log_lines_dropped > 0 {
            let lines = self.log_lines_dropped;
            self.warnings
                .push(format!("{lines} lines of log could not be written: is the disk full, or its reader stuck?"));
        }
        self.warnings.extend(spool_warnings(&self.spool));
        self.state = match (cannot_take, self.warnings.is_empty()) {
            (true, _) => State::Broken,
            (false, false) => State::Degraded,
            (false, true) => State::Ok,
        };
    }
}

impl Status {
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

/// An entry that waits longer than this, seconds, is worth a look, whatever the reason.
const LATE: u64 = 15 * 60;

/// What in the spool an operator should know.
pub fn spool_warnings(totals: &Totals) -> Vec<String> {
    let late = totals.oldest.map_or(0, |oldest| seconds_now().saturating_sub(oldest));
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
