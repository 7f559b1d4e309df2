//! What becomes of an entry after an attempt: gone, offered again (here or to the next relay host), or `failed/`.
//!
//! What a reply means is `outcome`'s; here is what follows from it for the entry. Guarantees: an entry leaves the queue
//! only after a final 250, or durably into `failed/` when every relay host has refused it for good or its lifetime is
//! over. On failure to move it, it stays in the queue.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::spawn_blocking;

use super::advice;
use super::backoff;
use super::outcome::{FINAL_AFTER, Meaning, Trouble};
use super::recent::Settled;
use super::relay::LONG_DEFERRED;
use super::worker::Worker;
use crate::envelope::QueueId;
use crate::maillog;
use crate::smtp::reply::Reply;
use crate::spool::{Attempts, EntryError, Event, Header, Waiting};

impl Worker {
    pub(super) fn unreadable(&self, id: &QueueId, waiting: &Waiting, error: &EntryError) {
        if matches!(error, EntryError::Unreadable(error) if error.kind() == std::io::ErrorKind::NotFound) {
            maillog::not_moved(id, "its file is gone");
            self.spool.forget(id);
        } else if self.spool.is_waiting(id) {
            // What is damaged was set aside, unless the disk did not take that either.
            let why = format!("its file cannot be read: {error}");
            // No descriptor left, perhaps, and soon one: a bad sector is not asked more often than any message.
            let attempts = self.again(waiting, backoff::delay(waiting.attempts.count.saturating_add(1)), &why);
            maillog::not_moved(id, &attempts.last_reply);
            self.spool.defer(id, attempts);
        }
    }

    pub(super) async fn sent(&self, id: &QueueId, header: Header, reply: &Reply) {
        let host = self.host();
        self.counters.sent.up();
        self.settled(id, &header, "sent", &reply.to_string(), None);
        self.history(id, &header, "sent", &reply.to_string());
        maillog::sent(id, &header.recipient, &host.name(), age(&header), &reply.to_string());
        let (spool, id) = (Arc::clone(&self.spool), id.clone());
        let _ = spawn_blocking(move || spool.complete(&id, &header)).await;
        if host.health.took_a_message(SystemTime::now()) {
            // The first success after trouble: whatever waited for it need not wait any longer.
            self.spool.flush();
        }
    }

    pub(super) async fn not_sent(&self, id: &QueueId, header: Header, waiting: &Waiting, trouble: &Trouble) {
        let now = SystemTime::now();
        let host = self.host();
        match trouble.meaning() {
            Meaning::RelayWaits | Meaning::LoginWrong => host.health.trouble(trouble, now, 1),
            _ => host.health.did_not_take(trouble),
        }
        let attempts = self.after(waiting, trouble, now);
        let is_expired = now.duration_since(waiting.offered_since()).is_ok_and(|age| age > self.hosts.lifetime);
        let is_refused = matches!(trouble.meaning(), Meaning::MessageRefused | Meaning::Impossible);
        let status =
            match (is_refused && self.is_refused_for_good(&attempts, now), is_expired && self.is_last_hope(now)) {
                (true, _) => "undeliverable",
                (false, true) => "expired",
                (false, false) => {
                    let (recipient, relay, delay) = (&header.recipient, host.name(), age(&header));
                    self.counters.deferred.up();
                    self.settled(id, &header, "deferred", &trouble.to_string(), Some(trouble));
                    self.history(id, &header, "deferred", &trouble.to_string());
                    maillog::deferred(id, recipient, &relay, delay, &trouble.dsn(), &attempts.last_reply);
                    self.spool.defer(id, attempts);
                    return;
                }
            };
        self.settled(id, &header, status, &trouble.to_string(), Some(trouble));
        self.fail(id, header, attempts, &trouble.dsn(), status).await;
    }

    fn history(&self, id: &QueueId, header: &Header, state: &str, reply: &str) {
        self.spool.history().note(Event::of(id, state, header).at(self.host().name(), reply));
    }

    fn settled(&self, id: &QueueId, header: &Header, status: &str, reply: &str, trouble: Option<&Trouble>) {
        let settled = Settled {
            queue_id: id.to_string(),
            recipient: header.recipient.clone(),
            relay: self.host().name(),
            status: status.to_owned(),
            reply: bounded(reply),
            advice: trouble.map(|trouble| advice::for_trouble(trouble).to_owned()),
        };
        self.recent.settled(id, settled);
    }

    /// What is remembered of the attempt on a message; when, and at which relay host, the next one is due.
    fn after(&self, waiting: &Waiting, trouble: &Trouble, now: SystemTime) -> Attempts {
        let why = trouble.to_string();
        let name = self.host().name();
        match trouble.meaning() {
            // The relay host's own timer holds it back; the message is due as soon as that lets it.
            Meaning::RelayWaits | Meaning::LoginWrong => {
                Attempts { last_reply: bounded(&why), ..waiting.attempts.clone() }
            }
            Meaning::SettingWrong => {
                let mut attempts = self.again(waiting, backoff::jittered(backoff::AFTER_SETTING), &why);
                attempts.refused.remove(&name);
                self.to_next_relay_host(attempts, now)
            }
            Meaning::MessageRefused | Meaning::Impossible => {
                let mut attempts = self.again(waiting, backoff::delay(waiting.attempts.count + 1), &why);
                let since = attempts.refused.entry(name).or_insert(seconds(now));
                match trouble.meaning() {
                    Meaning::Impossible => *since = 0,
                    // It was too large before, and is not any more.
                    _ if *since == 0 => *since = seconds(now),
                    _ => {}
                }
                self.to_next_relay_host(attempts, now)
            }
            Meaning::MessageWaits => {
                let mut attempts = self.again(waiting, backoff::delay(waiting.attempts.count + 1), &why);
                attempts.refused.remove(&name);
                if attempts.lane_since == 0 {
                    attempts.lane_since = seconds(now);
                }
                // A beginning in the future means that the clock was set back.
                let is_long =
                    attempts.lane_since > seconds(now) || seconds(now) - attempts.lane_since >= LONG_DEFERRED.as_secs();
                if is_long { self.to_next_relay_host(attempts, now) } else { attempts }
            }
        }
    }

    /// The next relay host gets it at once; behind the last one the first gets it again when it is due.
    fn to_next_relay_host(&self, attempts: Attempts, now: SystemTime) -> Attempts {
        match self.hosts.next_lane(self.nth).filter(|_| !self.is_over()) {
            Some(lane) => Attempts { lane, lane_since: seconds(now), next: 0, ..attempts },
            None => Attempts { lane: 0, lane_since: 0, ..attempts },
        }
    }

    /// Every relay host refuses it, each for a day or because it never can take it.
    fn is_refused_for_good(&self, attempts: &Attempts, now: SystemTime) -> bool {
        self.hosts.iter().all(|host| {
            let since = attempts.refused.get(&host.name());
            since.is_some_and(|since| seconds(now).saturating_sub(*since) >= FINAL_AFTER.as_secs())
        })
    }

    /// No relay host behind this one could take it now.
    fn is_last_hope(&self, now: SystemTime) -> bool {
        self.hosts.iter().skip(self.nth + 1).all(|host| host.is_out(now))
    }

    /// Moves an entry to `failed/`.
    async fn fail(&self, id: &QueueId, header: Header, attempts: Attempts, dsn: &str, status: &str) {
        let (recipient, age, why) = (header.recipient.clone(), age(&header), attempts.last_reply.clone());
        let event = Event::of(id, status, &header).at(self.host().name(), &why);
        let (spool, own_id) = (Arc::clone(&self.spool), id.clone());
        let moved = spawn_blocking(move || {
            let moved = spool.fail(&own_id, &header, &attempts);
            if moved.is_err() {
                // It stays in the queue and is tried again: nothing is lost by a full disk.
                spool.defer(&own_id, attempts);
            }
            moved
        });
        match moved.await {
            Ok(Ok(())) => {
                self.counters.undeliverable.up();
                maillog::undeliverable(id, &recipient, &self.host().name(), age, dsn, status, &why);
                self.spool.history().note(event);
            }
            Ok(Err(error)) => maillog::not_moved(id, &error.to_string()),
            Err(_) => maillog::not_moved(id, "moving was broken off"),
        }
    }

    fn again(&self, waiting: &Waiting, delay: Duration, why: &str) -> Attempts {
        Attempts {
            count: waiting.attempts.count.saturating_add(1),
            next: backoff::seconds_at(SystemTime::now(), delay),
            last_reply: bounded(why),
            ..waiting.attempts.clone()
        }
    }

    /// An attempt on the relay host did not succeed, and no other one stands in: what has waited longer than the
    /// lifetime expires now, and only now, so that a clock that jumps cannot expire what was never tried. Each entry is
    /// looked at once.
    pub(super) async fn expire(&self, trouble: &Trouble) {
        let now = SystemTime::now();
        let Some(before) = now.checked_sub(self.hosts.lifetime).filter(|_| self.hosts.are_all_out(now)) else { return };
        for (id, waiting) in self.spool.claim_older_than(before) {
            if self.is_over() {
                self.spool.release(&id);
                continue;
            }
            match self.read(&id).await {
                Ok((header, _)) => {
                    let attempts = self.again(&waiting, backoff::AFTER_SETTING, &trouble.to_string());
                    self.fail(&id, header, attempts, &trouble.dsn(), "expired").await;
                }
                Err(error) => self.unreadable(&id, &waiting, &error),
            }
        }
    }
}

/// What is kept of a relay host's words.
fn bounded(why: &str) -> String {
    why.chars().take(1000).collect()
}

fn age(header: &Header) -> f64 {
    header.arrival.elapsed().map_or(0.0, |age| age.as_secs_f64())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}
