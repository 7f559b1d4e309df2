//! Takes what is due from the spool and gives it to the relay host, several messages a session, several sessions.
//!
//! Guarantees: a message leaves the spool only after the relay host's final 250; whatever else happens it stays, with
//! the relay host's words beside it. When the daemon ends, a message under way is finished or stays.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::advice;
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
}

impl Deliver {
    /// For `config`'s relay host, from `spool`.
    pub fn new(config: &Config, tls: Tls, spool: Arc<Spool>, counters: Arc<Counters>) -> Self {
        let health = Health::new(format!("{}:{}", config.relay.host, config.relay.port));
        Self {
            relay: config.relay.clone(),
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
                // A worker only ends with the daemon; if one panicked the others go on.
                _ = workers.join_next() => {}
                () = sleep(TIDY_EVERY) => self.tidy().await,
            }
        }
        self.tidy().await;
    }

    /// Tries everything at once.
    pub fn flush(&self) {
        self.health.forget();
        self.spool.flush();
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
        match self.spool.next_due() {
            Some(due) => due.duration_since(SystemTime::now()).ok().filter(|wait| !wait.is_zero()),
            None => Some(LOOK_AGAIN),
        }
    }

    /// Opens one session and delivers through it until nothing is left or it breaks.
    async fn session(&self, shutdown: &mut Shutdown) {
        let Some(mut session) = self.open_one().await else { return };
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
        self.health.well(&seen);
        Ok(Session { dialog, offered })
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
        let (header, message) = match self.read(id).await {
            Ok(entry) => entry,
            Err(error) => {
                self.unreadable(id, waiting, &error);
                return Some(session);
            }
        };
        match session::send(&mut session.dialog, &session.offered, &header, message).await {
            Ok(reply) => {
                self.sent(id, header, &reply).await;
                Some(session)
            }
            Err(trouble) => {
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
            let attempts = self.again(waiting, backoff::AFTER_SETTING, &format!("its file cannot be read: {error}"));
            maillog::not_moved(id, &attempts.last_reply);
            self.spool.defer(id, attempts);
        }
    }

    async fn sent(&self, id: &QueueId, header: Header, reply: &Reply) {
        self.counters.sent.up();
        self.health.took_a_message(SystemTime::now());
        maillog::sent(id, &header.recipient, &self.name(), age(&header), &reply.to_string());
        let (spool, id) = (Arc::clone(&self.spool), id.clone());
        let _ = spawn_blocking(move || {
            spool.complete(&id, &header);
            maillog::removed(&id);
        })
        .await;
    }

    async fn not_sent(&self, id: &QueueId, header: Header, waiting: &Waiting, trouble: &Trouble) {
        let now = SystemTime::now();
        let why = trouble.to_string();
        let meaning = trouble.meaning();
        let delay = match meaning {
            Meaning::SettingWrong => backoff::jittered(backoff::AFTER_SETTING),
            _ => backoff::delay(waiting.attempts.count + 1),
        };
        let mut attempts = self.again(waiting, delay, &why);
        attempts.refused_since = match meaning {
            Meaning::MessageRefused => Some(waiting.attempts.refused_since.unwrap_or(seconds(now))),
            _ => None,
        };
        if meaning == Meaning::RelayWaits {
            self.health.trouble(trouble, now);
        }
        if meaning == Meaning::SettingWrong {
            maillog::relay_unavailable(&self.name(), &why, advice::for_trouble(trouble));
        }
        let refused_for = attempts.refused_since.map_or(0, |since| seconds(now).saturating_sub(since));
        let refused = meaning == Meaning::Impossible || refused_for >= FINAL_AFTER.as_secs();
        let expired = now.duration_since(header.arrival).is_ok_and(|age| age > self.lifetime);
        if refused || expired {
            let status = if refused { "undeliverable" } else { "expired" };
            return self.fail(id, header, attempts, &trouble.dsn(), status).await;
        }
        self.counters.deferred.up();
        maillog::deferred(id, &header.recipient, &self.name(), age(&header), &trouble.dsn(), &why);
        self.spool.defer(id, attempts);
    }

    async fn fail(&self, id: &QueueId, header: Header, attempts: Attempts, dsn: &str, status: &str) {
        maillog::undeliverable(id, &header.recipient, &self.name(), age(&header), dsn, status, &attempts.last_reply);
        let (spool, own_id) = (Arc::clone(&self.spool), id.clone());
        let moved = spawn_blocking(move || match spool.fail(&own_id, &header, &attempts) {
            Ok(()) => Ok(()),
            Err(error) => {
                // It stays in the queue and is tried again: nothing is lost by a full disk.
                spool.defer(&own_id, attempts);
                Err(error)
            }
        });
        match moved.await {
            Ok(Ok(())) => self.counters.undeliverable.up(),
            Ok(Err(error)) => maillog::not_moved(id, &error.to_string()),
            Err(_) => maillog::not_moved(id, "moving was broken off"),
        }
    }

    fn again(&self, waiting: &Waiting, delay: Duration, why: &str) -> Attempts {
        Attempts {
            count: waiting.attempts.count.saturating_add(1),
            next: backoff::seconds_at(SystemTime::now(), delay),
            last_reply: why.chars().take(1000).collect(),
            refused_since: None,
        }
    }

    /// An attempt on the relay host did not succeed: what has waited longer than the lifetime expires now, and only now,
    /// so that a clock that jumps cannot expire what was never tried.
    async fn expire(&self, trouble: &Trouble) {
        let Some(before) = SystemTime::now().checked_sub(self.lifetime) else { return };
        while let Some((id, waiting)) = self.spool.claim_older_than(before) {
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
