//! What the daemon counts and what its state is, for `status` and whoever else asks.
//!
//! Guarantees: numbers and short texts only; nothing of an alert. On failure to answer, `status` says that the daemon
//! does not run. An attacker can raise counters and do no more.
//!
//! **What degrades the state and what is only advice.** A warning degrades the state: somebody should look now. What has
//! weeks of time, such as a certificate that ends in 60 days, is advice: a state that is degraded for 60 days hides
//! everything else. Warnings about single events (a lone dot, a mail that was too large) end with the day they fell into.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::sandbox::Confinement;
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
    /// Alerts of followed logs that are stored.
    pub followed: Counter,
    /// Alerts left out of mail because a followed log had brought them.
    pub left_out: Counter,
    /// Entries made from both.
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
#[serde(default)]
pub struct Counts {
    pub accepted: u64,
    pub followed: u64,
    pub left_out: u64,
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
            followed: self.followed.get(),
            left_out: self.left_out.get(),
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
}

impl Counts {
    /// These and `more` together.
    pub fn plus(&self, more: &Self) -> Self {
        self.each(more, u64::saturating_add)
    }

    /// What was counted since they were `before`.
    pub fn since(&self, before: &Self) -> Self {
        self.each(before, u64::saturating_sub)
    }

    fn each(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            accepted: of(self.accepted, other.accepted),
            followed: of(self.followed, other.followed),
            left_out: of(self.left_out, other.left_out),
            entries: of(self.entries, other.entries),
            sent: of(self.sent, other.sent),
            deferred: of(self.deferred, other.deferred),
            undeliverable: of(self.undeliverable, other.undeliverable),
            early_dots: of(self.early_dots, other.early_dots),
            second_transactions: of(self.second_transactions, other.second_transactions),
            oversize: of(self.oversize, other.oversize),
            not_taken: of(self.not_taken, other.not_taken),
            closed_for_room: of(self.closed_for_room, other.closed_for_room),
            not_sealed: of(self.not_sealed, other.not_sealed),
            heartbeats: of(self.heartbeats, other.heartbeats),
            digests: of(self.digests, other.digests),
            gathered: of(self.gathered, other.gathered),
            fillers: of(self.fillers, other.fillers),
            larger_than_slot: of(self.larger_than_slot, other.larger_than_slot),
        }
    }

    /// What in the numbers of a day an operator should know.
    fn warnings(&self) -> Vec<String> {
        let told = [
            (
                self.early_dots,
                "mail(s) held a lone dot in their text: somebody may be writing log lines to cut alerts; read those, they say so",
            ),
            (
                self.second_transactions,
                "mail(s) were the second of a session that sends one: they may be forged; read those, they say so",
            ),
            (self.oversize, "mail(s) were over the size limit and not taken: raise listen.message_size"),
            (self.not_taken, "mail(s) or sessions were not taken: see the log for why"),
            (self.closed_for_room, "silent session(s) were closed to make room: raise listen.sessions"),
            (
                self.larger_than_slot,
                "message(s) were larger than the size of their slots, which shows that there was news: raise release.size",
            ),
            (self.not_sealed, "alert(s) could not be sealed for a recipient: see the certificates"),
        ];
        let told = told.iter().filter(|(count, _)| *count > 0);
        told.map(|(count, text)| format!("in the last day {count} {text}")).collect()
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

/// Whatever is counted from the start of the daemon and is a reason to warn.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// What became of mails and sessions.
    pub counts: Counts,
    /// Lines of log that could not be written.
    pub log_lines_dropped: u64,
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
    /// Seconds since 1970 since when nothing has worked.
    #[serde(default)]
    pub trouble_since: Option<u64>,
    /// Seconds since 1970 of the next attempt, while there is trouble.
    pub next_attempt: Option<u64>,
    /// How many messages it may get in an hour, and in a day.
    #[serde(default)]
    pub per_hour: Option<u32>,
    #[serde(default)]
    pub per_day: Option<u32>,
    /// Seconds since 1970 until which messages wait because the cap for it is reached.
    #[serde(default)]
    pub waits_until: Option<u64>,
    /// The certificate it presented last.
    #[serde(default)]
    pub certificate: Option<Certificate>,
    /// Sessions that ended because no pin matched, since the configuration is in force.
    #[serde(default)]
    pub pin_mismatches: u64,
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
    /// What is the matter with it, and what to do.
    pub fn in_trouble(&self) -> Option<String> {
        let advice = self.advice.as_deref().unwrap_or("");
        self.trouble.as_ref().map(|trouble| format!("relay host {}: {trouble}. {advice}", self.relay))
    }

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

/// How the reading of a followed log is doing.
#[derive(Serialize, Deserialize, Default, Debug, Clone, PartialEq, Eq)]
pub struct FollowStatus {
    /// The log.
    pub log: String,
    /// Why it cannot be read now, and what to do.
    pub trouble: Option<String>,
    /// Why alerts wait in it: there is no room, or sealing is not possible.
    pub waits: Option<String>,
    /// Octets behind its end.
    pub behind_octets: u64,
    /// Seconds since its end was reached last; 0 while it is reached.
    pub behind_seconds: u64,
    /// Lines read since the start.
    pub lines: u64,
    /// Alerts among them that were stored.
    pub stored: u64,
    /// Lines that are no alerts in JSON; they are sent as they are.
    pub no_alerts: u64,
    /// Those of them that came without a day between.
    #[serde(default)]
    pub no_alerts_lately: u64,
    /// What was not found after a rotation or truncation, if that happened.
    pub gap: Option<String>,
}

/// A log that is read so much later than written, seconds, is worth a look.
const BEHIND: u64 = 120;

impl FollowStatus {
    /// Whether it is read much later than it is written.
    pub fn is_late(&self) -> bool {
        self.behind_seconds > BEHIND
    }

    fn warnings(&self) -> Vec<String> {
        let log = &self.log;
        let late = self.is_late().then(|| {
            let (minutes, octets) = (self.behind_seconds / 60, self.behind_octets);
            format!("follow {log}: its end was not reached for {minutes} minutes, {octets} octets are to be read")
        });
        let no_alerts = (self.no_alerts_lately > 0).then(|| {
            let lines = self.no_alerts_lately;
            format!(
                "follow {log}: {lines} line(s) are no alerts in JSON, and were sent as they are: is it the JSON log?"
            )
        });
        let told = [("", &self.trouble), ("alerts wait in it: ", &self.waits), ("", &self.gap)];
        let told = told.into_iter().filter_map(|(what, text)| Some(format!("follow {log}: {what}{}", text.as_ref()?)));
        told.chain(late).chain(no_alerts).collect()
    }
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
pub const LATE: u64 = 15 * 60;

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
