//! Memory for mails, within one bound for received and sealed octets together.
//!
//! A mail in hand needs up to [`COPIES`] times its size: as received, as MIME entity, as armored message. Small mails
//! always have room. A mail that outgrows a class waits for a place of the next one; it reads nothing meanwhile, so the
//! client waits too. Whoever holds a large place waits for nothing, so there is no dead lock.
//!
//! Guarantees: the sum of all places is within `listen.memory`, or one mail of the largest size if that is more.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::room::{self, Activity, LOOK_FOR_ROOM};

/// How many times its size a mail takes at most while it is sealed: measured, 15 MB of mail took 100 MB.
const COPIES: usize = 6;
/// A mail up to this size needs no place of its own.
const SMALL: usize = 64 * 1024;
/// The largest mail of the middle class.
const MEDIUM: usize = 1024 * 1024;

/// The places of all sessions.
pub struct Places {
    medium: Arc<Semaphore>,
    large: Arc<Semaphore>,
    holders: Mutex<Vec<Weak<Holder>>>,
}

/// The session a place belongs to.
struct Holder(Arc<Activity>);

/// What one mail holds.
#[derive(Default)]
pub struct Place {
    medium: Option<OwnedSemaphorePermit>,
    large: Option<OwnedSemaphorePermit>,
    holder: Option<Arc<Holder>>,
}

impl Places {
    /// Places for `sessions` at once within `memory` octets, the largest mail being `message_size`.
    pub fn new(memory: usize, sessions: usize, message_size: usize) -> Self {
        let left = memory.saturating_sub(sessions * SMALL * COPIES);
        let large = (left / 2 / (message_size * COPIES)).max(1);
        let medium = (left.saturating_sub(large * message_size * COPIES) / (MEDIUM * COPIES)).max(1);
        Self {
            medium: Arc::new(Semaphore::new(medium)),
            large: Arc::new(Semaphore::new(large)),
            holders: Mutex::default(),
        }
    }

    /// Returns when a mail of `size` octets may be held in `place` by the session with this `activity`. Meanwhile
    /// sessions that hold memory and are slow are closed: a few silent ones would keep it from everybody.
    pub async fn grow(&self, place: &mut Place, size: usize, activity: &Arc<Activity>, clock: Instant) {
        if size > SMALL && place.medium.is_none() {
            place.medium = self.acquire(&self.medium, clock).await;
            place.holder = Some(self.hold(activity));
            activity.has_progress(clock);
        }
        if size > MEDIUM && place.large.is_none() {
            place.large = self.acquire(&self.large, clock).await;
            activity.has_progress(clock);
        }
    }

    async fn acquire(&self, places: &Arc<Semaphore>, clock: Instant) -> Option<OwnedSemaphorePermit> {
        // Kept over the looks for room, so that nobody is passed over in the line.
        let mut wait = std::pin::pin!(Arc::clone(places).acquire_owned());
        loop {
            match timeout(LOOK_FOR_ROOM, wait.as_mut()).await {
                Ok(place) => return place.ok(),
                Err(_) => self.make_room(clock),
            }
        }
    }

    fn hold(&self, activity: &Arc<Activity>) -> Arc<Holder> {
        let holder = Arc::new(Holder(Arc::clone(activity)));
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(Arc::downgrade(&holder));
        holder
    }

    fn make_room(&self, clock: Instant) {
        let holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let holders: Vec<Arc<Holder>> = holders.iter().filter_map(Weak::upgrade).collect();
        room::make(holders.iter().map(|holder| &holder.0), clock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MIB: usize = 1024 * 1024;

    #[tokio::test(start_paused = true)]
    async fn small_mails_always_have_room_and_large_ones_wait_for_each_other() {
        let clock = Instant::now();
        let activity = Arc::default();
        let places = Places::new(128 * MIB, 64, 16 * MIB);
        let mut first = Place::default();
        places.grow(&mut first, 16 * MIB, &activity, clock).await;
        let (mut second, mut small) = (Place::default(), Place::default());
        let waits = timeout(Duration::from_millis(50), places.grow(&mut second, 2 * MIB, &activity, clock)).await;
        assert!(waits.is_err(), "two large mails at once");
        places.grow(&mut small, 1000, &activity, clock).await;
        drop(first);
        places.grow(&mut second, 2 * MIB, &activity, clock).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_holds_memory_and_falls_silent_is_closed_when_another_needs_it() {
        let clock = Instant::now();
        let (silent, honest) = (Arc::<Activity>::default(), Arc::default());
        let places = Places::new(128 * MIB, 64, 16 * MIB);
        let mut place = Place::default();
        places.grow(&mut place, 16 * MIB, &silent, clock).await;
        silent.begins_to_wait(clock);
        let session = async {
            silent.must_make_room().await;
            drop(place);
        };
        let mut mine = Place::default();
        let served = async { tokio::join!(session, places.grow(&mut mine, 16 * MIB, &honest, clock)) };
        assert!(timeout(Duration::from_secs(3), served).await.is_ok(), "the memory was not given up");
    }
}
