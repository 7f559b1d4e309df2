//! How a relay host is doing: one timer for all its mail.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::advice;
use super::backoff;
use super::outcome::{Cause, Meaning, Trouble};
use super::presented::Presented;
use super::starttls::Seen;
use crate::maillog;
use crate::spool::LONGEST_BACKOFF;
use crate::status::RelayStatus;
use crate::tls::Verdict;

/// A wrong login is not tried more often in any hour, whoever asks for it: providers lock accounts.
const LOGINS_AN_HOUR: usize = 4;
const HOUR: Duration = Duration::from_secs(3600);
/// How much of a relay host's words is shown, characters.
const TROUBLE_LIMIT: usize = 500;
/// See [`Health::took_a_message`].
const RETRY_ALL: Duration = Duration::from_secs(5 * 60);

/// A relay host's health.
pub struct Health {
    relay: String,
    /// Whether the dates of its certificate count; with pins they do not.
    dates_count: bool,
    state: Mutex<State>,
    /// Open sessions.
    sessions: Arc<AtomicUsize>,
    /// Wakes who waits for the relay host.
    pub better: Notify,
}

/// A session that is open, as long as this lives.
pub struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default, Clone)]
struct State {
    troubles: u32,
    /// When everything was tried because it was well again.
    retried_all: Option<Instant>,
    /// The largest message it takes.
    size: Option<u64>,
    /// It cannot be used, as far as the last attempt showed.
    is_out: bool,
    /// Until when no session is opened beside those that are open.
    no_more_until: Option<SystemTime>,
    /// When the login was refused, the last [`LOGINS_AN_HOUR`] times.
    login_refused: VecDeque<SystemTime>,
    next: Option<SystemTime>,
    last_success: Option<SystemTime>,
    trouble: Option<Trouble>,
    /// When the trouble began, or messages were not taken first.
    trouble_since: Option<SystemTime>,
    /// What it said to the last message it did not take, while it has taken none since.
    not_taken: Option<Trouble>,
    presented: Presented,
    /// Sessions that ended because no pin matched.
    pin_mismatches: u64,
}

/// Whether a connection may be tried.
#[derive(Debug, PartialEq, Eq)]
pub enum May {
    /// Now.
    Try,
    /// After this long, or when it gets better.
    Wait(Duration),
}

impl Health {
    /// Of the relay host named so; `dates_count` unless it is pinned.
    pub fn new(relay: String, dates_count: bool) -> Self {
        Self { relay, dates_count, state: Mutex::default(), sessions: Arc::default(), better: Notify::new() }
    }

    /// The same relay host after a reload, which is a reason to try at once; a new login has its own four attempts.
    pub fn after_reload(&self, same_login: bool, dates_count: bool) -> Self {
        let mut state = self.state().clone();
        (state.troubles, state.next, state.is_out) = (0, None, false);
        if !same_login {
            state.login_refused.clear();
        }
        let relay = self.relay.clone();
        Self { relay, dates_count, state: Mutex::new(state), sessions: Arc::default(), better: Notify::new() }
    }

    /// Whether a connection may be tried at `now`.
    pub fn may_try(&self, now: SystemTime) -> May {
        let state = self.state();
        let login = state.login_refused.front().filter(|_| state.login_refused.len() == LOGINS_AN_HOUR);
        let login = login.map(|first| *first + HOUR);
        match state
            .next
            .max(login)
            .max(state.no_more_until)
            .and_then(|next| next.duration_since(now).ok())
            .filter(|wait| !wait.is_zero())
        {
            // A clock that was set back must not stop delivery for longer than any back-off.
            Some(wait) if wait <= LONGEST_BACKOFF => May::Wait(wait),
            _ => May::Try,
        }
    }

    /// The largest message it takes, octets, as it said last; `None` if it has not said so.
    pub fn size(&self) -> Option<u64> {
        self.state().size
    }

    /// Counts a session as open.
    pub fn session(&self) -> Open {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.sessions))
    }

    /// Whether another relay host stands in for it.
    pub fn is_out(&self) -> bool {
        self.state().is_out
    }

    /// A session is open: others may try too. Whether the relay host is well shows when it takes a message.
    pub fn opened(&self, seen: &Seen) {
        let mut state = self.state();
        let chain = seen.tls.as_ref().map_or(&[][..], |tls| &tls.chain);
        state.size = seen.inside.as_ref().and_then(|inside| inside.size);
        state.presented.session(&self.relay, chain, self.dates_count);
        (state.next, state.is_out) = (None, false);
        state.login_refused.clear();
        drop(state);
        self.better.notify_waiters();
    }

    /// It took a message: the relay host is well. Whether what waits for it should be tried now, because there had been
    /// trouble or a setting had been at fault; that comes once in [`RETRY_ALL`], or one message that it never takes would
    /// be tried after each that it does.
    pub fn took_a_message(&self, now: SystemTime) -> bool {
        let mut state = self.state();
        state.last_success = Some(now);
        let was_in_trouble = state.trouble.take().is_some();
        state.trouble_since = None;
        let setting = state.not_taken.take().is_some_and(|trouble| trouble.meaning() == Meaning::SettingWrong);
        (state.troubles, state.next, state.is_out) = (0, None, false);
        if was_in_trouble {
            maillog::relay_usable(&self.relay);
        }
        let is_due = state.retried_all.is_none_or(|then| then.elapsed() >= RETRY_ALL);
        let retry_all = was_in_trouble || (setting && is_due);
        if retry_all {
            state.retried_all = Some(Instant::now());
        }
        retry_all
    }

    /// It works, and did not take a message.
    pub fn did_not_take(&self, trouble: &Trouble) {
        if trouble.meaning() == Meaning::SettingWrong {
            maillog::relay_unavailable(&self.relay, &trouble.to_string(), advice::for_trouble(trouble));
        }
        let mut state = self.state();
        state.not_taken = Some(trouble.clone());
        state.trouble_since.get_or_insert_with(SystemTime::now);
    }

    /// It cannot be used for now; or takes no more sessions beside those that are open.
    pub fn trouble(&self, trouble: &Trouble, now: SystemTime, others: usize) {
        let mut state = self.state();
        if self.sessions.load(Ordering::Relaxed) > others && trouble.meaning() == Meaning::RelayWaits {
            state.no_more_until = Some(now + backoff::delay(1));
            return;
        }
        state.troubles += 1;
        state.is_out = true;
        if matches!(trouble.cause, Cause::NotTrusted(Verdict::PinMismatch { .. })) {
            state.pin_mismatches += 1;
        }
        if trouble.meaning() == Meaning::LoginWrong {
            state.login_refused.push_back(now);
            let surplus = state.login_refused.len().saturating_sub(LOGINS_AN_HOUR);
            state.login_refused.drain(..surplus);
        }
        let delay = match trouble.meaning() {
            Meaning::LoginWrong => backoff::delay(state.troubles).max(backoff::jittered(backoff::AFTER_LOGIN)),
            _ => backoff::delay(state.troubles),
        };
        state.next = Some(now + delay);
        state.trouble = Some(trouble.clone());
        state.trouble_since.get_or_insert(now);
        maillog::relay_unavailable(&self.relay, &trouble.to_string(), advice::for_trouble(trouble));
    }

    /// An operator or a change asks for a try at once.
    pub fn forget(&self) {
        let mut state = self.state();
        state.next = state.next.map(|_| UNIX_EPOCH);
        drop(state);
        // One worker for sure, even if it is only about to wait; the others as they are.
        self.better.notify_one();
        self.better.notify_waiters();
    }

    /// For `status`.
    pub fn status(&self) -> RelayStatus {
        let state = self.state();
        let trouble = state.trouble.as_ref().or(state.not_taken.as_ref());
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        RelayStatus {
            relay: self.relay.clone(),
            last_success: state.last_success.map(seconds),
            // Its words are as long as it likes.
            trouble: trouble.map(|trouble| trouble.to_string().chars().take(TROUBLE_LIMIT).collect()),
            advice: trouble.map(|trouble| advice::for_trouble(trouble).to_owned()),
            trouble_since: state.trouble_since.map(seconds),
            next_attempt: state.next.map(seconds),
            certificate: state.presented.certificate(self.dates_count),
            pin_mismatches: state.pin_mismatches,
            ..RelayStatus::default()
        }
    }

    /// It took a message at `at`, seconds since 1970, from an earlier process.
    pub fn took_before(&self, at: u64) {
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(at));
        let mut state = self.state();
        state.last_success = state.last_success.or(at);
    }

    /// For what remembers it over restarts.
    pub fn with_presented<T>(&self, with: impl FnOnce(&mut Presented) -> T) -> T {
        with(&mut self.state().presented)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
