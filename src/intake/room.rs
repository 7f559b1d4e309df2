//! Which session is closed when there is no room for others.
//!
//! Guarantees: only a session that waits for its client at that moment is ever closed, so none whose end of data is
//! being decided or answered; the one that has waited longest first, then the one that has handed in nothing for
//! longest. An attacker can hold a place for seconds, not for as long as it likes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A session that has waited longer for its client may be closed to make room.
const IDLE_ENOUGH: Duration = Duration::from_secs(2);
/// A session that has handed in no mail for longer may be closed to make room when none is silent: whoever sends an
/// octet a second would otherwise keep every place. Honest clients need less than a second.
const SLOW_ENOUGH: Duration = Duration::from_secs(5);
/// How often room is looked for while there is none.
pub const LOOK_FOR_ROOM: Duration = Duration::from_millis(100);

/// What others see of a session.
#[derive(Default)]
pub struct Activity {
    /// Milliseconds on the listener's clock since which the session has waited for its client; 0 while it does not.
    waiting_since: AtomicU64,
    /// Milliseconds on the same clock at which it began or last had a mail in hand.
    progress_at: AtomicU64,
    /// Closes it to make room, if it waits for its client at that moment.
    make_room: Notify,
}

impl Activity {
    /// It began, handed in a mail, or waited for what only we could give.
    pub fn has_progress(&self, clock: Instant) {
        self.progress_at.store(on(clock), Ordering::Relaxed);
    }

    /// From now on it is the client's turn.
    pub fn begins_to_wait(&self, clock: Instant) {
        self.waiting_since.store(on(clock), Ordering::Relaxed);
    }

    /// The client has had its turn.
    pub fn waits_no_more(&self) {
        self.waiting_since.store(0, Ordering::Relaxed);
    }

    /// Returns when it must close to make room.
    pub async fn must_make_room(&self) {
        self.make_room.notified().await;
    }

    fn since(&self) -> u64 {
        self.waiting_since.load(Ordering::Relaxed)
    }
}

/// Closes the one of `sessions` that has waited longest for its client, if that is long enough. If all clients say just
/// enough not to be silent, the one that has handed in nothing for longest.
pub fn make<'a>(sessions: impl Iterator<Item = &'a Arc<Activity>>, clock: Instant) {
    let before = |age: Duration| u64::try_from(clock.elapsed().saturating_sub(age).as_millis()).unwrap_or(0);
    let waiting: Vec<_> = sessions.filter(|activity| activity.since() > 0).collect();
    let silent = waiting.iter().filter(|activity| activity.since() < before(IDLE_ENOUGH));
    let slow = waiting.iter().filter(|activity| activity.progress_at.load(Ordering::Relaxed) < before(SLOW_ENOUGH));
    let longest = silent
        .min_by_key(|activity| activity.since())
        .or_else(|| slow.min_by_key(|activity| activity.progress_at.load(Ordering::Relaxed)));
    if let Some(longest) = longest {
        // Only whoever waits right now hears this: a call kept for later would close a client that has spoken.
        longest.make_room.notify_waiters();
    }
}

/// Milliseconds on `clock`. 0 means "not waiting", so the first millisecond counts as the second.
fn on(clock: Instant) -> u64 {
    u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, timeout};

    /// Who of `sessions` is closed now.
    async fn closed(sessions: &[Arc<Activity>], clock: Instant) -> Vec<usize> {
        let mut calls: Vec<_> = sessions.iter().map(|session| Box::pin(session.make_room.notified())).collect();
        make(sessions.iter(), clock);
        let mut closed = Vec::new();
        for (nth, call) in calls.iter_mut().enumerate() {
            if timeout(Duration::ZERO, call).await.is_ok() {
                closed.push(nth);
            }
        }
        closed
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_silent_session_is_closed_and_never_one_that_is_being_answered() {
        let clock = Instant::now();
        let sessions: Vec<Arc<Activity>> = (0..3).map(|_| Arc::default()).collect();
        sessions.iter().for_each(|session| session.has_progress(clock));
        // The first is being answered all the time.
        sessions[2].begins_to_wait(clock);
        advance(Duration::from_secs(1)).await;
        sessions[1].begins_to_wait(clock);
        advance(Duration::from_millis(900)).await;
        assert_eq!(closed(&sessions, clock).await, Vec::<usize>::new());
        advance(Duration::from_secs(3)).await;
        assert_eq!(closed(&sessions, clock).await, [2]);
        sessions[2].waits_no_more();
        assert_eq!(closed(&sessions, clock).await, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_trickles_is_closed_when_none_is_silent() {
        let clock = Instant::now();
        let sessions: Vec<Arc<Activity>> = (0..2).map(|_| Arc::default()).collect();
        sessions.iter().for_each(|session| session.has_progress(clock));
        advance(Duration::from_secs(6)).await;
        sessions.iter().for_each(|session| session.begins_to_wait(clock));
        sessions[0].has_progress(clock);
        assert_eq!(closed(&sessions, clock).await, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_comes_late_does_not_close_a_client_that_has_spoken() {
        let clock = Instant::now();
        let session = [Arc::<Activity>::default()];
        session[0].begins_to_wait(clock);
        advance(Duration::from_secs(3)).await;
        make(session.iter(), clock);
        assert!(timeout(Duration::from_secs(1), session[0].must_make_room()).await.is_err());
    }
}
