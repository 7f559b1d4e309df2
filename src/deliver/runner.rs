//! Takes what is due from the spool and gives it to the relay host, several messages a session, several sessions.
//!
//! Guarantees: a message leaves the spool only after the relay host's final 250; whatever else happens it stays, with
//! the relay host's words beside it. When the daemon ends, a message under way is finished or stays.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::backoff;
use super::dialog::Dialog;
use super::outcome::{FINAL_AFTER, Meaning, Trouble};
use super::relay::{Health, May};
use super::session::{self, Capabilities};
use super::starttls::{self, Seen};
use crate::config::{Config, Relay};
use crate::envelope::QueueId;
use crate::maillog;
use crate::shutdown::Shutdown;
use crate::smtp::reply::Reply;
use crate::spool::{Attempts, EntryError, Header, Spool, Waiting};
use crate::status::{Counters, RelayStatus};
use crate::tls::{Handshake, Tls};

/// A session without a message is closed after this long: relay hosts close idle ones themselves, at awkward moments.
const IDLE: Duration = Duration::from_secs(5);
/// At least this often the spool is asked, whatever was notified: clocks jump.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// A removal is synced within this time.
const TIDY_EVERY: Duration = Duration::from_millis(500);

/// Delivery to one relay host.
pub struct Deliver {
    relay: Relay,
    lifetime: Duration,
    tls: Tls,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    health: Health,
    /// Sessions are opened one at a time: when something is wrong it is tried once, not by every worker, and a wrong
    /// password is not sent four times at once.
    opening: tokio::sync::Mutex<()>,
}

/// A session that can take messages.
struct Session {
    dialog: Dialog,
    offered: Capabilities,
    /// Messages it has taken.
    taken: u32,
}

/// A claimed entry, offered again when it is dropped unsettled: a worker that breaks off must not hold it for ever.
struct Claim<'a> {
    spool: &'a Spool,
    id: QueueId,
    settled: bool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.spool.release(&self.id);
        }
    }
}

impl Deliver {
    /// For `config`'s relay host, from `spool`.
    pub fn new(config: &Config, tls: Tls, spool: Arc<Spool>, counters: Arc<Counters>) -> Self {
        let health = Health::new(format!("{}:{}", config.relays[0].host, config.relays[0].port));
        Self {
            relay: config.relays[0].clone(),
            lifetime: config.lifetime,
            tls,
            spool,
            counters,
            health,
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// Delivers until `shutdown`, then ends the sessions.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut workers = JoinSet::new();
        for _ in 0..self.relay.connections {
            workers.spawn(Arc::clone(&self).work(shutdown.clone()));
        }
        while !workers.is_empty() {
            tokio::select! {
                ended = workers.join_next() => {
                    // A worker only ends with the daemon; one that broke off is replaced.
                    if ended.is_some_and(|outcome| outcome.is_err()) && !shutdown.is_ending() {
                        sleep(TIDY_EVERY).await;
                        workers.spawn(Arc::clone(&self).work(shutdown.clone()));
                    }
                }
                () = sleep(TIDY_EVERY) => self.tidy().await,
            }
        }
        self.tidy().await;
    }

    /// Tries everything at once, or one entry.
    pub fn flush(&self, id: Option<&QueueId>) {
        self.health.forget();
        match id {
            Some(id) => _ = self.spool.flush_one(id),
            None => self.spool.flush(),
        }
    }

    /// How the relay host is doing.
    pub fn status(&self) -> RelayStatus {
        self.health.status()
    }

    async fn tidy(&self) {
        let spool = Arc::clone(&self.spool);
        let _ = spawn_blocking(move || spool.tidy()).await;
    }

    async fn work(self: Arc<Self>, mut shutdown: Shutdown) {
        while !shutdown.is_ending() {
            let wait = match self.until_due() {
                Some(wait) => wait,
                None => match self.health.may_try(SystemTime::now()) {
                    May::Try => {
                        self.session(&mut shutdown).await;
                        continue;
                    }
                    May::Wait(wait) => wait,
                },
            };
            tokio::select! {
                () = shutdown.wait() => {}
                () = self.spool.changed() => {}
                () = self.health.better.notified() => {}
                () = sleep(wait.min(LOOK_AGAIN)) => {}
            }
        }
    }

    /// How long until something is due; `None` if something is due now.
    fn until_due(&self) -> Option<Duration> {
        let now = SystemTime::now();
        match self.spool.next_due(now) {
            Some(due) => due.duration_since(now).ok().filter(|wait| !wait.is_zero()),
            None => Some(LOOK_AGAIN),
        }
    }

    /// Opens one session and delivers through it until nothing is left or it breaks.
    async fn session(&self, shutdown: &mut Shutdown) {
        let opened = tokio::select! {
            // Nothing was sent yet that would have to be finished.
            () = shutdown.wait() => return,
            opened = self.open_one() => opened,
        };
        let Some(mut session) = opened else { return };
        while !shutdown.is_ending() {
            let Some((id, waiting)) = self.spool.claim(SystemTime::now()) else {
                if self.idle(shutdown).await { continue } else { break }
            };
            // More is due: let another worker help.
            if self.until_due().is_none() {
                self.spool.wake();
            }
            match self.deliver(session, &id, &waiting).await {
                Some(open) => session = open,
                None => return,
            }
        }
        session.dialog.quit().await;
    }

    /// A session, unless there is trouble, which is remembered.
    async fn open_one(&self) -> Option<Session> {
        let _turn = self.opening.lock().await;
        // Another worker may have met trouble, or have done all the work, while we waited for our turn.
        if self.health.may_try(SystemTime::now()) != May::Try || self.until_due().is_some() {
            return None;
        }
        match self.open().await {
            Ok(session) => Some(session),
            Err(trouble) => {
                self.health.trouble(&trouble, SystemTime::now());
                self.expire(&trouble).await;
                None
            }
        }
    }

    async fn open(&self) -> Result<Session, Trouble> {
        let mut seen = Seen::default();
        let mut dialog = starttls::open(&self.relay, &self.tls, Handshake::Strict, &mut seen).await?;
        let offered = seen.inside.clone().unwrap_or_default();
        if let Some(login) = &self.relay.login
            && let Err(trouble) = session::login(&mut dialog, login, &offered).await
        {
            dialog.quit().await;
            return Err(trouble);
        }
        self.health.opened(&seen);
        Ok(Session { dialog, offered, taken: 0 })
    }

    /// Waits for work; whether there is some.
    async fn idle(&self, shutdown: &mut Shutdown) -> bool {
        tokio::select! {
            () = shutdown.wait() => false,
            woken = timeout(IDLE, self.spool.changed()) => woken.is_ok(),
        }
    }

    /// Delivers one claimed entry; the session, if it can go on.
    async fn deliver(&self, mut session: Session, id: &QueueId, waiting: &Waiting) -> Option<Session> {
        let mut claim = Claim { spool: &self.spool, id: id.clone(), settled: false };
        let (header, message) = match self.read(id).await {
            Ok(entry) => entry,
            Err(error) => {
                claim.settled = true;
                self.unreadable(id, waiting, &error);
                return Some(session);
            }
        };
        match session::send(&mut session.dialog, &session.offered, &header, message).await {
            Ok(reply) => {
                claim.settled = true;
                session.taken += 1;
                self.sent(id, header, &reply).await;
                Some(session)
            }
            // A relay host that ends a session after some messages: the message had no part in it. The claim is given
            // back as it was, and goes out in a new session at once.
            Err(trouble) if session.taken > 0 && trouble.is_end_of_session() => None,
            Err(trouble) => {
                claim.settled = true;
                self.not_sent(id, header, waiting, &trouble).await;
                if trouble.session_goes_on() && session::reset(&mut session.dialog).await.is_ok() {
                    return Some(session);
                }
                session.dialog.quit().await;
                None
            }
        }
    }

    async fn read(&self, id: &QueueId) -> Result<(Header, Vec<u8>), EntryError> {
        let (spool, id) = (Arc::clone(&self.spool), id.clone());
        let read = spawn_blocking(move || spool.read(&id)).await;
        read.unwrap_or_else(|_| Err(EntryError::Unreadable(std::io::Error::other("reading was broken off"))))
    }

    fn unreadable(&self, id: &QueueId, waiting: &Waiting, error: &EntryError) {
        if let EntryError::Unreadable(error) = error {
            // No descriptor left, perhaps, and soon one: a bad sector is not asked more often than any message.
            let delay = backoff::delay(waiting.attempts.count.saturating_add(1));
            let attempts = self.again(waiting, delay, &format!("its file cannot be read: {error}"));
            maillog::not_moved(id, &attempts.last_reply);
            self.spool.defer(id, attempts);
        }
    }

    async fn sent(&self, id: &QueueId, header: Header, reply: &Reply) {
        self.counters.sent.up();
        self.health.took_a_message(SystemTime::now());
        maillog::sent(id, &header.recipient, &self.name(), age(&header), &reply.to_string());
        let (spool, id) = (Arc::clone(&self.spool), id.clone());
        let _ = spawn_blocking(move || spool.complete(&id, &header)).await;
    }

    async fn not_sent(&self, id: &QueueId, header: Header, waiting: &Waiting, trouble: &Trouble) {
        let now = SystemTime::now();
        let attempts = self.after(waiting, trouble, now);
        match trouble.meaning() {
            Meaning::RelayWaits | Meaning::LoginWrong => self.health.trouble(trouble, now),
            _ => self.health.did_not_take(trouble),
        }
        let refused_for = attempts.refused_since.map_or(0, |since| seconds(now).saturating_sub(since));
        let refused = trouble.meaning() == Meaning::Impossible || refused_for >= FINAL_AFTER.as_secs();
        let expired = now.duration_since(waiting.offered_since()).is_ok_and(|age| age > self.lifetime);
        if refused || expired {
            let status = if refused { "undeliverable" } else { "expired" };
            self.fail(id, header, attempts, &trouble.dsn(), status).await;
            return;
        }
        self.counters.deferred.up();
        maillog::deferred(id, &header.recipient, &self.name(), age(&header), &trouble.dsn(), &attempts.last_reply);
        self.spool.defer(id, attempts);
    }

    /// What is remembered of the attempt on a message, and when the next one is due.
    fn after(&self, waiting: &Waiting, trouble: &Trouble, now: SystemTime) -> Attempts {
        let attempts = match trouble.meaning() {
            // The relay host's own timer holds it back; the message is due as soon as that lets it.
            Meaning::RelayWaits | Meaning::LoginWrong => {
                Attempts { last_reply: trouble.to_string(), ..waiting.attempts.clone() }
            }
            Meaning::SettingWrong => {
                self.again(waiting, backoff::jittered(backoff::AFTER_SETTING), &trouble.to_string())
            }
            _ => self.again(waiting, backoff::delay(waiting.attempts.count + 1), &trouble.to_string()),
        };
        let refused_since = match trouble.meaning() {
            Meaning::MessageRefused => Some(waiting.attempts.refused_since.unwrap_or(seconds(now))),
            Meaning::RelayWaits | Meaning::LoginWrong => waiting.attempts.refused_since,
            _ => None,
        };
        Attempts { refused_since, ..attempts }
    }

    /// Moves an entry to `failed/`; whether that worked.
    async fn fail(&self, id: &QueueId, header: Header, attempts: Attempts, dsn: &str, status: &str) -> bool {
        let (recipient, age, why) = (header.recipient.clone(), age(&header), attempts.last_reply.clone());
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
                maillog::undeliverable(id, &recipient, &self.name(), age, dsn, status, &why);
                return true;
            }
            Ok(Err(error)) => maillog::not_moved(id, &error.to_string()),
            Err(_) => maillog::not_moved(id, "moving was broken off"),
        }
        false
    }

    fn again(&self, waiting: &Waiting, delay: Duration, why: &str) -> Attempts {
        Attempts {
            count: waiting.attempts.count.saturating_add(1),
            next: backoff::seconds_at(SystemTime::now(), delay),
            last_reply: why.chars().take(1000).collect(),
            ..Attempts::default()
        }
    }

    /// An attempt on the relay host did not succeed: what has waited longer than the lifetime expires now, and only now,
    /// so that a clock that jumps cannot expire what was never tried. Each entry is looked at once.
    async fn expire(&self, trouble: &Trouble) {
        let Some(before) = SystemTime::now().checked_sub(self.lifetime) else { return };
        for (id, waiting) in self.spool.claim_older_than(before) {
            match self.read(&id).await {
                Ok((header, _)) => {
                    let attempts = self.again(&waiting, backoff::AFTER_SETTING, &trouble.to_string());
                    self.fail(&id, header, attempts, &trouble.dsn(), "expired").await;
                }
                Err(error) => self.unreadable(&id, &waiting, &error),
            }
        }
    }

    fn name(&self) -> String {
        format!("{}:{}", self.relay.host, self.relay.port)
    }
}

fn age(header: &Header) -> f64 {
    header.arrival.elapsed().map_or(0.0, |age| age.as_secs_f64())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}
