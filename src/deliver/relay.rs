//! The relay hosts of the configuration in force, in their order, and which of them may take what.
//!
//! An entry is offered to one relay host at a time, the first at first (its *lane*). A relay host takes the entries of
//! its own lane, and those of the ones before it while these are out: unreachable, not verified, login refused, or at
//! their cap. What one of them refuses, or defers for [`LONG_DEFERRED`], moves to the next lane; behind the last comes
//! the first again, later.
//!
//! Guarantees: each relay host has its own trust, login and health. On failure of all of them, entries wait.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, Notify};

use super::auth::Account;
use super::cap::Cap;
use super::health::{Health, May};
use crate::config::{Config, Relay, Trust};
use crate::shutdown::{self, Shutdown, Trigger};
use crate::spool::{Lanes, Spool};
use crate::status::RelayStatus;
use crate::tls::Tls;

/// A message that a relay host has deferred for so long is offered to the next one.
pub const LONG_DEFERRED: Duration = Duration::from_secs(15 * 60);

/// One relay host.
pub struct RelayHost {
    /// As configured.
    pub relay: Relay,
    /// What it is verified by.
    pub tls: Tls,
    /// How to log in, if it asks for a login.
    pub account: Option<Account>,
    /// How it is doing.
    pub health: Health,
    /// How much it may take.
    pub cap: Cap,
    /// Sessions are opened one at a time: when something is wrong it is tried once, not by every worker, and a wrong
    /// password is not sent four times at once.
    pub opening: Mutex<()>,
    /// Another relay host has taken what was offered to it, since it was last tried.
    pub stood_in_for: AtomicBool,
    /// There is something to do; wakes the worker that began to wait last, whose session is still warm.
    pub work: Notify,
}

impl RelayHost {
    fn new(relay: Relay, tls: Tls, before: Option<&Self>) -> Self {
        let dates_count = !matches!(relay.trust, Trust::Pins(_));
        let health = match before {
            Some(before) => {
                let logins = relay.login.as_ref().zip(before.relay.login.as_ref());
                let repeats = logins.is_some_and(|(login, before)| login.repeats(before));
                before.health.after_reload(repeats, dates_count)
            }
            None => Health::new(relay.name(), dates_count),
        };
        let cap = Cap::new(relay.per_hour, relay.per_day, before.map(|before| &before.cap));
        let account = relay.login.as_ref().map(Account::new);
        Self {
            relay,
            tls,
            account,
            health,
            cap,
            opening: Mutex::default(),
            stood_in_for: AtomicBool::new(false),
            work: Notify::new(),
        }
    }

    /// Its name and port, as it stands in the log.
    pub fn name(&self) -> String {
        self.relay.name()
    }

    /// Whether a session may be opened or used at `now`.
    pub fn may_try(&self, now: SystemTime) -> May {
        match (self.health.may_try(now), self.cap.wait(now)) {
            (May::Wait(health), Some(cap)) => May::Wait(health.max(cap)),
            (May::Try, Some(cap)) => May::Wait(cap),
            (may, None) => may,
        }
    }

    /// Whether it should be tried though nothing is left for it: otherwise whoever stands in would do so for ever.
    pub fn wants_a_trial(&self) -> bool {
        self.health.is_out() && self.stood_in_for.load(Ordering::Relaxed)
    }

    /// Whether the next relay host stands in for it.
    pub fn is_out(&self, now: SystemTime) -> bool {
        self.health.is_out() || self.cap.wait(now).is_some()
    }
}

/// All relay hosts of one configuration. A reload replaces them as one.
pub struct RelayHosts {
    /// In the order they are tried; at least one.
    hosts: Vec<RelayHost>,
    /// How long a message is offered.
    pub lifetime: Duration,
    over: Trigger,
    /// Fires when these relay hosts are replaced, or the daemon ends.
    pub ending: Shutdown,
}

impl Deref for RelayHosts {
    type Target = [RelayHost];

    fn deref(&self) -> &Self::Target {
        &self.hosts
    }
}

impl RelayHosts {
    /// Those of `config`, verified by `tls`, one for each; what is known of the ones `before` is kept.
    pub fn new(config: &Config, tls: Vec<Tls>, before: Option<&Self>) -> Self {
        let hosts = config.relays.iter().zip(tls).map(|(relay, tls)| {
            let before = before.and_then(|before| before.iter().find(|host| host.name() == relay.name()));
            RelayHost::new(relay.clone(), tls, before)
        });
        let (over, ending) = shutdown::channel();
        Self { hosts: hosts.collect(), lifetime: config.lifetime, over, ending }
    }

    /// Whose entries relay host `nth` may take at `now`: its own, and those of the ones it stands in for.
    pub fn lanes(&self, nth: usize, now: SystemTime) -> Lanes {
        let out = self[..nth].iter().rev().take_while(|host| host.is_out(now)).count();
        lane(nth - out)..=lane(nth)
    }

    /// The lane after that of relay host `nth`; `None` behind the last.
    pub fn next_lane(&self, nth: usize) -> Option<u8> {
        (nth + 1 < self.len()).then(|| lane(nth + 1))
    }

    /// Whether none of them can be used.
    pub fn are_all_out(&self, now: SystemTime) -> bool {
        self.iter().all(|host| host.is_out(now))
    }

    /// Wakes a worker of each relay host that has something to do.
    pub fn wake(&self, spool: &Spool) {
        let now = SystemTime::now();
        for (nth, host) in self.iter().enumerate() {
            // At its cap it could take nothing, and would wake itself again and again.
            let is_free = host.cap.wait(now).is_none();
            if is_free && spool.next_due(now, self.lanes(nth, now)).is_some_and(|due| due <= now) {
                host.work.notify_last();
            }
        }
    }

    /// They are replaced, or the daemon ends: what is under way is finished, nothing new is begun.
    pub fn end(&self) {
        self.over.fire();
    }

    /// For `status`.
    pub fn status(&self) -> Vec<RelayStatus> {
        let now = SystemTime::now();
        let status = |host: &RelayHost| RelayStatus {
            per_hour: host.relay.per_hour,
            per_day: host.relay.per_day,
            waits_until: host.cap.until(now),
            ..host.health.status()
        };
        self.iter().map(status).collect()
    }
}

fn lane(nth: usize) -> u8 {
    u8::try_from(nth).unwrap_or(u8::MAX)
}
