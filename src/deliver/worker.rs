//! One worker of a relay host: takes what is due, opens a session, gives it several messages, closes it.
//!
//! Guarantees: a message leaves the spool only after the relay host's final 250; whatever else happens it stays, with
//! the relay host's words beside it. When the worker has to end, a message under way is finished or stays. The relay
//! host controls what it says, and nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::auth::Account;
use super::dialog::Dialog;
use super::health::{May, Open};
use super::outcome::Trouble;
use super::recent::Recent;
use super::relay::{RelayHost, RelayHosts};
use super::session::{self, Capabilities};
use super::starttls::{self, Seen};
use crate::envelope::QueueId;
use crate::shutdown::Shutdown;
use crate::spool::{EntryError, Header, Spool, Waiting};
use crate::status::Counters;
use crate::tls::Handshake;

/// A session without a message is closed after this long: relay hosts close idle ones themselves, at awkward moments.
const IDLE: Duration = Duration::from_secs(5);
/// At least this often a worker asks, whatever was notified: clocks jump.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// One worker.
pub struct Worker {
    pub(super) hosts: Arc<RelayHosts>,
    pub(super) nth: usize,
    pub(super) spool: Arc<Spool>,
    pub(super) counters: Arc<Counters>,
    pub(super) recent: Arc<Recent>,
}

/// A session that can take messages.
struct Session {
    dialog: Dialog,
    offered: Capabilities,
    /// Messages it has taken.
    taken: u32,
    /// Counted as open.
    _open: Open,
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

impl Worker {
    /// A worker of relay host `nth` of `hosts`.
    pub fn new(
        hosts: Arc<RelayHosts>,
        nth: usize,
        spool: Arc<Spool>,
        counters: Arc<Counters>,
        recent: Arc<Recent>,
    ) -> Self {
        Self { hosts, nth, spool, counters, recent }
    }

    /// Whether its relay hosts are replaced, or the daemon ends.
    pub fn is_over(&self) -> bool {
        self.hosts.ending.is_ending()
    }

    pub(super) fn host(&self) -> &RelayHost {
        &self.hosts[self.nth]
    }

    /// Delivers until its relay hosts end.
    pub async fn work(self: Arc<Self>) {
        let mut ending = self.hosts.ending.clone();
        while !ending.is_ending() {
            let wait = match (self.until_wanted(), self.host().may_try(SystemTime::now())) {
                (None, May::Try) => {
                    self.session(&mut ending).await;
                    continue;
                }
                (Some(wait), _) | (None, May::Wait(wait)) => wait,
            };
            tokio::select! {
                () = ending.wait() => {}
                () = self.host().work.notified() => {}
                () = self.host().health.better.notified() => {}
                () = sleep(wait.min(LOOK_AGAIN)) => {}
            }
        }
    }

    /// How long until something is due; `None` if something is due now.
    fn until_due(&self) -> Option<Duration> {
        let now = SystemTime::now();
        match self.spool.next_due(now, self.hosts.lanes(self.nth, now)) {
            Some(due) => due.duration_since(now).ok().filter(|wait| !wait.is_zero()),
            None => Some(LOOK_AGAIN),
        }
    }

    /// How long until there is a reason to open a session; `None` if there is one now.
    fn until_wanted(&self) -> Option<Duration> {
        self.until_due().filter(|_| !self.host().wants_a_trial())
    }

    /// Opens one session and delivers through it until nothing is left or it breaks.
    async fn session(&self, ending: &mut Shutdown) {
        let opened = if self.host().account.as_ref().is_some_and(Account::renews_tokens) {
            self.open_one().await
        } else {
            tokio::select! {
                // Nothing was sent yet that would have to be finished.
                () = ending.wait() => return,
                opened = self.open_one() => opened,
            }
        };
        let mut session = match opened {
            Ok(Some(session)) => session,
            Ok(None) => return,
            Err(trouble) => {
                // Not inside the select above: entries would stay claimed if it were broken off.
                self.expire(&trouble).await;
                return;
            }
        };
        while !ending.is_ending() {
            let Some((id, waiting)) = self.claim() else {
                let is_capped = self.host().cap.wait(SystemTime::now()).is_some();
                if !is_capped && self.idle(ending).await { continue } else { break }
            };
            // More is due: let another worker help.
            if self.until_due().is_none() {
                self.host().work.notify_last();
            }
            match self.deliver(session, &id, &waiting).await {
                Some(open) => session = open,
                None => return,
            }
        }
        session.dialog.quit().await;
    }

    /// What is due, if the relay host may get it now.
    fn claim(&self) -> Option<(QueueId, Waiting)> {
        let now = SystemTime::now();
        if self.until_due().is_some() {
            return None;
        }
        if !self.host().cap.take(now) {
            // The next relay host stands in.
            self.spool.wake();
            return None;
        }
        let claimed = self.spool.claim(now, self.hosts.lanes(self.nth, now))?;
        let own = usize::from(claimed.1.attempts.lane);
        self.hosts[own.min(self.nth)..self.nth]
            .iter()
            .for_each(|host| host.stood_in_for.store(true, Ordering::Relaxed));
        Some(claimed)
    }

    /// A session, unless there is nothing to do any more.
    ///
    /// # Errors
    /// There is trouble; it is remembered.
    async fn open_one(&self) -> Result<Option<Session>, Trouble> {
        let _turn = self.host().opening.lock().await;
        // Another worker may have met trouble, or have done all the work, while we waited for our turn.
        if self.host().may_try(SystemTime::now()) != May::Try || self.until_wanted().is_some() {
            return Ok(None);
        }
        self.host().stood_in_for.store(false, Ordering::Relaxed);
        match self.open().await {
            Ok(session) => Ok(Some(session)),
            Err(trouble) => {
                self.host().health.trouble(&trouble, SystemTime::now(), 0);
                // Another relay host may stand in from now on.
                self.spool.wake();
                Err(trouble)
            }
        }
    }

    async fn open(&self) -> Result<Session, Trouble> {
        let host = self.host();
        let mut seen = Seen::default();
        let mut dialog = starttls::open(&host.relay, &host.tls, Handshake::Strict, &mut seen).await?;
        let offered = seen.inside.clone().unwrap_or_default();
        if let Some(account) = &host.account
            && let Err(trouble) = account.login(&mut dialog, &offered).await
        {
            dialog.quit().await;
            return Err(trouble);
        }
        host.health.opened(&seen);
        Ok(Session { dialog, offered, taken: 0, _open: host.health.session() })
    }

    /// Waits for work; whether there is some.
    async fn idle(&self, ending: &mut Shutdown) -> bool {
        tokio::select! {
            () = ending.wait() => false,
            woken = timeout(IDLE, self.host().work.notified()) => woken.is_ok(),
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

    pub(super) async fn read(&self, id: &QueueId) -> Result<(Header, Vec<u8>), EntryError> {
        let (spool, id) = (Arc::clone(&self.spool), id.clone());
        let read = spawn_blocking(move || spool.read(&id)).await;
        read.unwrap_or_else(|_| Err(EntryError::Unreadable(std::io::Error::other("reading was broken off"))))
    }
}
