//! How the daemon is, put together from its parts for whoever asks or is told.
//!
//! Guarantees: [`Running::status`] waits for no disk; nothing of an alert is in it. An attacker can raise counters and do
//! no more.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::advice::advice;
use super::running::Running;
use crate::heartbeat::{self, Heart, Settings};
use crate::status::{AlarmStatus, Counted, RecipientStatus, State, Status};
use crate::{alarm, maillog};

impl Running {
    /// How it is, on one line, after the disk has answered.
    pub fn line(&self) -> String {
        let disk = self.spool.probe();
        let status = self.status(&[]);
        let disk = disk.err().map_or_else(String::new, |error| format!(", the spool's disk says: {error}"));
        format!("{}{disk}", status.line())
    }

    /// How it is, where clients come in at `listening`.
    pub fn status(&self, listening: &[String]) -> Status {
        self.judged(listening, None, self.alarm.status())
    }

    /// What was counted since the start.
    pub fn counted(&self) -> Counted {
        Counted { counts: self.counters.counts(), log_lines_dropped: maillog::dropped() }
    }

    /// Keeps the numbers for the last hour and day.
    pub fn note_activity(&self) {
        self.activity.note(&self.counters.counts(), &self.deliver.status());
    }

    /// How it is, by what was counted in the last day, or after `before`, and by what these channels say.
    fn judged(&self, listening: &[String], before: Option<&Counted>, alarm: Vec<AlarmStatus>) -> Status {
        let counted = self.counted();
        let (last_hour, last_day) = self.activity.last(&counted.counts);
        let last_day = before.map_or(last_day, |before| counted.counts.since(&before.counts));
        let mut status = Status {
            format: 1,
            state: State::Ok,
            running: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            listening: listening.to_vec(),
            counts: counted.counts,
            last_hour,
            last_day,
            gathering: self.pipeline.gatherer().status(),
            spool: self.spool.totals(),
            spool_unknown: None,
            relays: self.deliver.status(),
            follows: self.gauges().iter().map(|gauge| gauge.status()).collect(),
            alarm,
            log_lines_dropped: counted.log_lines_dropped - before.map_or(0, |before| before.log_lines_dropped),
            signer: self.pipeline.signer(),
            sandbox: self.sandbox.confinement().clone(),
            certificates: self.pipeline.certificates(),
            recipients: self.recipients(),
            warnings: Vec::new(),
            advice: [self.pipeline.advice(), advice(&self.config())].concat(),
        };
        status.judge(self.pipeline.warnings(), !self.pipeline.can_take());
        status
    }

    fn recipients(&self) -> Vec<RecipientStatus> {
        let mut recipients = self.pipeline.recipients();
        for status in &mut recipients {
            status.last_heartbeat = self.heartbeats.of(&status.recipient);
        }
        recipients
    }
}

/// What is told beside mail.
pub struct Teller {
    pub running: Arc<Running>,
    pub heart: Arc<Heart>,
}

impl alarm::Watch for Teller {
    fn counted(&self) -> Counted {
        self.running.counted()
    }

    fn status(&self, before: &Counted) -> Status {
        self.running.judged(&[], Some(before), Vec::new())
    }

    fn heartbeat(&self, grace: Duration) -> Option<String> {
        // In slots it waits for its turn, which is every other one while there is news.
        let config = self.running.config();
        let slots = config.recipients.iter().filter_map(|recipient| Some(recipient.release.slots()?.every));
        let longest = slots.max().unwrap_or_default();
        drop(config);
        self.heart.trouble(grace + 2 * longest)
    }
}

/// What heartbeats tell of the daemon.
pub struct Watched {
    pub running: Arc<Running>,
    pub listening: Vec<String>,
}

impl heartbeat::Watch for Watched {
    fn status(&self) -> Status {
        self.running.status(&self.listening)
    }

    fn settings(&self) -> Settings {
        Settings::of(&self.running.config(), &self.running.pipeline.signer())
    }
}
