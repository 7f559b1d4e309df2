//! Heartbeats: a sealed, numbered message to each recipient that says how the relay is and what became of every number,
//! so that `sealrelay verify` can tell a message that is late from one that was suppressed.
//!
//! One goes out when the state directory is new, when the configuration is another one than at the last heartbeat, every
//! `heartbeat.every`, and when an operator asks. It takes the way of an alert: sealed, padded, numbered, spooled.
//!
//! Guarantees: a heartbeat that is due is stored as soon as it can be, over restarts and whatever the clock does; its totals
//! are those since the one before, over restarts too, or it says that some may be missing. On failure (full disk, a
//! certificate that cannot be used) it is tried again later, and no alert waits for it. An attacker who writes log lines can
//! raise counters and do no more.

mod facts;
mod record;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

pub use facts::{Facts, Reason, Totals};

use crate::config::Config;
use crate::envelope::{QueueId, hex};
use crate::mail::Mail;
use crate::maillog;
use crate::pipeline::Pipeline;
use crate::shutdown::Shutdown;
use crate::spool::{Account, Spool};
use crate::status::Status;
use facts::seconds;
use record::{Record, Told};

/// How often is looked whether one is due: a clock that was set is noticed within this.
const TICK: Duration = Duration::from_secs(5);
/// How often totals are written while they change: what a kill -9 can make them too small by.
const WRITING: Duration = Duration::from_secs(60);
/// How long after an attempt that did not succeed the next one is made.
const AGAIN: Duration = Duration::from_secs(300);

/// What a heartbeat tells from, as it is now.
pub trait Watch: Send + Sync {
    /// How the daemon is.
    fn status(&self) -> Status;
    /// The configuration in force.
    fn settings(&self) -> Settings;
}

/// What of a configuration matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    every: Option<Duration>,
    recipients: Vec<String>,
    /// A digest of all that recipients are told a change of.
    digest: String,
}

/// When each recipient's last heartbeat was made, seconds since 1970: for `status`, which waits for no disk.
#[derive(Default)]
pub struct Last(Mutex<BTreeMap<String, u64>>);

impl Last {
    /// Of `recipient`.
    pub fn of(&self, recipient: &str) -> Option<u64> {
        self.times().get(recipient).copied()
    }

    fn made(&self, recipient: &str, at: u64) {
        self.times().insert(recipient.to_owned(), at);
    }

    fn times(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the heartbeats of this process.
pub struct Heart {
    pipeline: Arc<Pipeline>,
    spool: Arc<Spool>,
    watch: Box<dyn Watch>,
    last: Arc<Last>,
    opened: Instant,
    beat: Mutex<Beat>,
}

/// What all heartbeats of one moment tell from.
struct Moment {
    now: SystemTime,
    settings: Settings,
    status: Status,
    /// All that was counted since the state directory is there.
    totals: Totals,
    accounts: BTreeMap<String, Account>,
}

struct Beat {
    record: Record,
    /// What was counted before this process.
    before: Totals,
    written: Instant,
    /// When this process last made one for a recipient, and when it last tried in vain: by a clock that is never set.
    made: BTreeMap<String, Instant>,
    tried: BTreeMap<String, Instant>,
}

impl Heart {
    /// Reads what is remembered in `state`, and keeps `last` up to date.
    pub fn open(
        state: &Path,
        pipeline: Arc<Pipeline>,
        spool: Arc<Spool>,
        watch: Box<dyn Watch>,
        last: Arc<Last>,
    ) -> Self {
        let record = Record::open(state);
        record.kept.told.iter().for_each(|(recipient, told)| last.made(recipient, told.at));
        let before = record.kept.totals.clone();
        let (made, tried) = (BTreeMap::new(), BTreeMap::new());
        let mut beat = Beat { record, before, written: Instant::now(), made, tried };
        // From here on a death without farewell may lose counts, and must be told from one that loses none.
        beat.write(&Totals::new(), false);
        Self { pipeline, spool, watch, last, opened: Instant::now(), beat: Mutex::new(beat) }
    }

    /// Makes what is due until `shutdown`.
    pub async fn run(self: Arc<Self>, mut shutdown: Shutdown) {
        loop {
            let own = Arc::clone(&self);
            // A fault in it must not end the daemon; alerts do not depend on it.
            let _ = spawn_blocking(move || own.tick()).await;
            tokio::select! {
                () = shutdown.wait() => return,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Keeps the totals when nothing will be counted any more.
    pub fn farewell(&self) {
        self.beat().write(&self.counted(), true);
    }

    /// Makes one for every recipient now; the numbers, by recipient. `None` for whom it could not be made.
    pub fn beat_now(&self) -> BTreeMap<String, Option<u64>> {
        let settings = self.watch.settings();
        let all: Vec<_> = settings.recipients.iter().map(|recipient| (recipient.clone(), Reason::Asked)).collect();
        self.make(&mut self.beat(), settings, all)
    }

    /// What is wrong with the last heartbeat of some recipient, if anything: no relay host has taken it within `grace` after
    /// it was made, or none was made within `grace` after it was due. With heartbeats off nothing ever is. One that is held,
    /// failed or removed was not taken; the next one that is makes it good, and so does `sealrelay heartbeat`.
    pub fn trouble(&self, grace: Duration) -> Option<String> {
        let settings = self.watch.settings();
        let every = settings.every?;
        let (beat, now, epoch) = (self.beat(), SystemTime::now(), self.spool.numbers().epoch());
        settings.recipients.iter().find_map(|recipient| {
            let told = beat.record.kept.told.get(recipient).filter(|told| told.epoch == epoch);
            let Some(told) = told else {
                let what = format!("no heartbeat could be made for {recipient}");
                return (self.opened.elapsed() > grace).then_some(what);
            };
            // Made in the future: the clock was set back, and another one is on its way.
            let age = now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(told.at)).unwrap_or_default();
            let is_taken =
                || told.entry.as_ref().is_none_or(|(number, id)| self.spool.was_taken(id, recipient, *number));
            match age {
                _ if age > every + grace => Some(format!("the heartbeat for {recipient} is overdue")),
                _ if age > grace && !is_taken() => {
                    Some(format!("no relay host has taken the last heartbeat for {recipient}"))
                }
                _ => None,
            }
        })
    }

    fn tick(&self) {
        let mut beat = self.beat();
        let settings = self.watch.settings();
        let due = beat.due(&settings, self.spool.numbers().epoch(), SystemTime::now());
        if !due.is_empty() {
            self.make(&mut beat, settings, due);
        } else if beat.written.elapsed() >= WRITING {
            let counted = self.counted();
            // A daemon that has nothing to do leaves the disk alone.
            if record::plus(&beat.before, &counted) != beat.record.kept.totals {
                beat.write(&counted, false);
            }
        }
    }

    fn make(&self, beat: &mut Beat, settings: Settings, due: Vec<(String, Reason)>) -> BTreeMap<String, Option<u64>> {
        let moment = self.moment(beat, settings);
        let mut made = BTreeMap::new();
        for (recipient, reason) in due {
            let facts = self.facts(beat, &recipient, reason, &moment);
            let mail = self.mail(&facts, &recipient, moment.now);
            match self.pipeline.beat(&recipient, &mail, serde_json::json!(facts)) {
                Ok((number, id)) => {
                    let entry = id.map(|id| (number, id));
                    beat.remember(&recipient, self.spool.numbers().epoch(), &moment, entry);
                    self.last.made(&recipient, seconds(moment.now));
                    made.insert(recipient, Some(number));
                }
                Err(why) => {
                    maillog::hindered("a heartbeat could not be made", &format!("to=<{recipient}>: {why}"));
                    beat.tried.insert(recipient.clone(), Instant::now());
                    made.insert(recipient, None);
                }
            }
        }
        beat.write(&counts(&moment.status), false);
        made
    }

    fn moment(&self, beat: &Beat, settings: Settings) -> Moment {
        let status = self.watch.status();
        Moment {
            now: SystemTime::now(),
            totals: record::plus(&beat.before, &counts(&status)),
            accounts: self.spool.accounts(settings.recipients.iter().map(String::as_str)),
            settings,
            status,
        }
    }

    fn facts(&self, beat: &Beat, recipient: &str, reason: Reason, moment: &Moment) -> Facts {
        let (account, status) = (&moment.accounts[recipient], &moment.status);
        let nothing = Totals::new();
        let told = beat.record.kept.told.get(recipient).filter(|told| told.epoch == self.spool.numbers().epoch());
        let facts = Facts {
            reason,
            made: seconds(moment.now),
            every: moment.settings.every.map(|every| every.as_secs()),
            version: status.version.clone(),
            since: told.map(|told| told.at),
            totals: record::since(&moment.totals, told.map_or(&nothing, |told| &told.totals)),
            complete: told.is_none_or(|told| told.complete),
            from: 1,
            highest: account.highest,
            waiting: account.waiting.clone(),
            never: account.never.iter().map(|(why, numbers)| ((*why).to_owned(), numbers.clone())).collect(),
            not_sealed: self.pipeline.untold(recipient),
            spool: status.spool.clone(),
            certificates: status.certificates.iter().filter(|one| one.recipient == recipient).cloned().collect(),
            relays: status.relays.clone(),
            // Who holds the certificate is the one who can extend it, and has time to.
            warnings: [status.warnings.clone(), self.pipeline.advice()].concat(),
        };
        facts.shorten()
    }

    fn mail(&self, facts: &Facts, recipient: &str, arrival: SystemTime) -> Mail {
        let instance = self.pipeline.instance();
        let text = facts.in_words(&instance, recipient, &self.pipeline.signer(), self.spool.numbers().epoch());
        let octets = format!("Subject: Heartbeat of the mail relay on {instance}\r\n\r\n{text}").into_bytes();
        Mail::own(octets, arrival)
    }

    fn counted(&self) -> Totals {
        counts(&self.watch.status())
    }

    fn beat(&self) -> MutexGuard<'_, Beat> {
        self.beat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settings {
    /// Those of `config` while `signer` signs.
    pub fn of(config: &Config, signer: &str) -> Self {
        // Passwords are no part of what these types print.
        let relevant = (
            &config.sender,
            &config.recipients,
            &config.relays,
            &config.listen,
            config.lifetime,
            config.heartbeat,
            signer,
        );
        Self {
            every: config.heartbeat,
            recipients: config.recipients.iter().map(|recipient| recipient.address.to_string()).collect(),
            digest: hex(&Sha256::digest(format!("{relevant:?}"))),
        }
    }

    /// Why one is due after the one that was `told`, which this process made `since` ago, if it did.
    fn reason(&self, told: &Told, epoch: &str, now: SystemTime, since: Option<Duration>) -> Option<Reason> {
        // Switched off just now: the last one says that none will follow, or its absence would be an alarm.
        if self.every.is_none() && told.every.is_none() {
            return None;
        }
        if told.epoch != epoch {
            return Some(Reason::NewState);
        }
        if told.configuration != self.digest {
            return Some(Reason::NewConfiguration);
        }
        let every = self.every?;
        // By either clock. One that was set back to before the last heartbeat tells nothing: better one too many.
        let by_the_wall = now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_secs(told.at));
        let elapsed = by_the_wall.map_or(true, |elapsed| elapsed >= every) || since.is_some_and(|since| since >= every);
        elapsed.then_some(Reason::Regular)
    }
}

impl Beat {
    /// The recipients who must get one now, and why.
    fn due(&self, settings: &Settings, epoch: &str, now: SystemTime) -> Vec<(String, Reason)> {
        let due = |recipient: &String| {
            let waits = self.tried.get(recipient).is_some_and(|tried| tried.elapsed() < AGAIN);
            let since = self.made.get(recipient).map(Instant::elapsed);
            let told = self.record.kept.told.get(recipient);
            // A recipient added later is told so; the first of all are told that everything is new.
            let first = if self.record.kept.told.is_empty() { Reason::NewState } else { Reason::NewConfiguration };
            let reason =
                told.map_or_else(|| settings.every.map(|_| first), |told| settings.reason(told, epoch, now, since));
            Some((recipient.clone(), reason.filter(|_| !waits)?))
        };
        settings.recipients.iter().filter_map(due).collect()
    }

    fn remember(&mut self, recipient: &str, epoch: &str, moment: &Moment, entry: Option<(u64, QueueId)>) {
        let told = Told {
            at: seconds(moment.now),
            every: moment.settings.every.map(|every| every.as_secs()),
            epoch: epoch.to_owned(),
            configuration: moment.settings.digest.clone(),
            totals: moment.totals.clone(),
            complete: true,
            entry,
        };
        self.record.kept.told.insert(recipient.to_owned(), told);
        self.made.insert(recipient.to_owned(), Instant::now());
        self.tried.remove(recipient);
    }

    fn write(&mut self, counted: &Totals, farewell: bool) {
        self.written = Instant::now();
        self.record.kept.totals = record::plus(&self.before, counted);
        if let Err(error) = self.record.write(farewell) {
            maillog::hindered("heartbeat.json cannot be written", &error.to_string());
        }
    }
}

/// A process's counters by name: whatever is counted one day is told without a change here.
fn counts(status: &Status) -> Totals {
    serde_json::to_value(&status.counts).and_then(serde_json::from_value).unwrap_or_default()
}
