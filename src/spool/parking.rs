//! Entries that wait for their digest or slot: durable in `queue/` like any, and claimed by the gatherer.
//!
//! Parking is a mark in memory. Guarantees: no delivery takes a parked entry, and an operator may, until it is picked for a
//! digest; a new process knows of none, so after a crash all of them are offered; an entry that [`Spool::replace`] removes
//! is named in a durable one, and its number is recorded as contained before it goes. On failure entries stay, claimed, and
//! whoever has them in hand releases them: they come twice rather than never.

use std::collections::BTreeSet;
use std::io;

use super::{Event, Spool, Waiting};
use crate::envelope::QueueId;
use crate::ranges::Ranges;

impl Spool {
    /// Parks all entries for `recipient` that no delivery has in hand; which, oldest first.
    pub fn park_all(&self, recipient: &str) -> Vec<QueueId> {
        let mut index = self.index();
        let free = index.free_of(recipient);
        free.into_iter().filter(|id| index.park(id)).collect()
    }

    /// Offers to deliver, at once, those of `ids` that are parked still: an operator may have taken one.
    pub fn release_parked<'i>(&self, ids: impl IntoIterator<Item = &'i QueueId>) {
        ids.into_iter().filter(|id| self.pick(id)).for_each(|id| self.release(id));
        self.wake();
    }

    /// How many of `ids` are parked still.
    pub fn count_parked<'i>(&self, ids: impl Iterator<Item = &'i QueueId>) -> usize {
        let index = self.index();
        ids.filter(|id| index.get(id).is_some_and(Waiting::is_parked)).count()
    }

    /// Takes a parked entry in hand, so that no operator has it before it is released, parked again or replaced; whether
    /// it is there still.
    pub fn pick(&self, id: &QueueId) -> bool {
        self.index().unpark(id)
    }

    /// Parks an entry again that was picked.
    pub fn park_again(&self, id: &QueueId) {
        self.index().park_again(id);
    }

    /// From now on what an operator offers again for one of `recipients` is parked, and told by [`Spool::offered_again`].
    pub fn park_offered(&self, recipients: BTreeSet<String>) {
        self.index().park_offered(recipients);
    }

    /// What was parked by that since the last call, with its recipients: the caller looks after it.
    pub fn offered_again(&self) -> Vec<(String, QueueId)> {
        self.index().take_offered()
    }

    /// Octets of the message of the entry `id` and how often it was tried by itself, while it lies in `queue/`.
    pub fn in_queue(&self, id: &QueueId) -> Option<(u64, u32)> {
        self.index().get(id).map(|waiting| (waiting.size, waiting.attempts.count))
    }

    /// Removes the picked entries `ids` for `recipient`, which carry `numbers` of this run: a durable digest names them.
    ///
    /// # Errors
    /// The record or the disk refuses; what is still in the index stays picked.
    pub fn replace(&self, recipient: &str, ids: &[&QueueId], numbers: &Ranges) -> io::Result<()> {
        self.numbers.record_contained(recipient, numbers)?;
        for id in ids {
            self.unlink(id)?;
            self.history.note(Event::new(id, "gathered"));
        }
        // Without this a power cut could bring them back: each would come once more.
        self.sync(&self.queue)?;
        self.measure();
        Ok(())
    }
}
