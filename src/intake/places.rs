//! Memory for mails, within one bound for received and sealed octets together.
//!
//! A mail in hand needs up to [`COPIES`] times its size: as received, as MIME entity, as armored message. Small mails
//! always have room. A mail that outgrows a class waits for a place of the next one; it reads nothing meanwhile, so the
//! client waits too. Whoever holds a large place waits for nothing, so there is no dead lock.
//!
//! Guarantees: the sum of all places is within `listen.memory`, or one mail of the largest size if that is more.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many copies of a mail exist at most while it is sealed.
const COPIES: usize = 5;
/// A mail up to this size needs no place of its own.
const SMALL: usize = 64 * 1024;
/// The largest mail of the middle class.
const MEDIUM: usize = 1024 * 1024;

/// The places of all sessions.
pub struct Places {
    medium: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// What one mail holds.
#[derive(Default)]
pub struct Place {
    medium: Option<OwnedSemaphorePermit>,
    large: Option<OwnedSemaphorePermit>,
}

impl Places {
    /// Places for `sessions` at once within `memory` octets, the largest mail being `message_size`.
    pub fn new(memory: usize, sessions: usize, message_size: usize) -> Self {
        let left = memory.saturating_sub(sessions * SMALL * COPIES);
        let large = (left / 2 / (message_size * COPIES)).max(1);
        let medium = (left.saturating_sub(large * message_size * COPIES) / (MEDIUM * COPIES)).max(1);
        Self { medium: Arc::new(Semaphore::new(medium)), large: Arc::new(Semaphore::new(large)) }
    }

    /// Returns when a mail of `size` octets may be held in `place`; whether the place is a new one.
    pub async fn grow(&self, place: &mut Place, size: usize) -> bool {
        let (medium, large) = (size > SMALL && place.medium.is_none(), size > MEDIUM && place.large.is_none());
        if medium {
            place.medium = Arc::clone(&self.medium).acquire_owned().await.ok();
        }
        if large {
            place.large = Arc::clone(&self.large).acquire_owned().await.ok();
        }
        medium || large
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_mails_always_have_room_and_large_ones_wait_for_each_other() {
        let mib = 1024 * 1024;
        let places = Places::new(128 * mib, 64, 16 * mib);
        let mut first = Place::default();
        places.grow(&mut first, 16 * mib).await;
        let (mut second, mut small) = (Place::default(), Place::default());
        let waits = tokio::time::timeout(std::time::Duration::from_millis(50), places.grow(&mut second, 2 * mib)).await;
        assert!(waits.is_err(), "two large mails at once");
        places.grow(&mut small, 1000).await;
        drop(first);
        places.grow(&mut second, 2 * mib).await;
    }
}
