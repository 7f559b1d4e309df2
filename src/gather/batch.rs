//! Entries in the hands of whoever makes a digest of them.
//!
//! Guarantees: what is still in a batch when it is dropped, for whatever reason, is offered to deliver singly.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::parked::Entry;
use crate::envelope::QueueId;
use crate::ranges::Ranges;
use crate::spool::Spool;

/// Parked entries for one recipient, in the order of their numbers.
pub struct Batch {
    spool: Arc<Spool>,
    pub recipient: String,
    entries: Vec<Entry>,
}

impl Batch {
    /// Of those that are there still: an operator may have taken one.
    pub fn new(spool: Arc<Spool>, recipient: String, mut entries: Vec<Entry>) -> Self {
        entries.retain(|(id, _)| spool.pick(id));
        entries.sort_by_key(|(_, parked)| parked.number);
        Self { spool, recipient, entries }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The numbers of the first `count`.
    pub fn numbers(&self, count: usize) -> Ranges {
        self.entries[..count].iter().map(|(_, parked)| parked.number).collect()
    }

    /// The ids of the first `count`.
    pub fn ids(&self, count: usize) -> Vec<&QueueId> {
        self.entries[..count].iter().map(|(id, _)| id).collect()
    }

    /// How many of the first have no more than `limit` octets of text; one at least, if there is one.
    pub fn within(&self, limit: usize) -> usize {
        let mut octets = 0;
        let fit = self.entries.iter().take_while(|(_, parked)| {
            octets += parked.text.as_ref().map_or(0, Vec::len);
            octets <= limit
        });
        fit.count().max(1).min(self.entries.len())
    }

    /// Drops the text of repeats: of a rule at a location only the first keeps it.
    pub fn count_repeats(&mut self) {
        let mut seen = BTreeSet::new();
        for (_, parked) in &mut self.entries {
            if parked.key().is_some_and(|key| !seen.insert(key.clone())) {
                parked.text = None;
            }
        }
    }

    /// The first `count` are gone.
    pub fn replaced(&mut self, count: usize) {
        self.entries.drain(..count);
    }

    /// Octets of all texts.
    pub fn octets(&self) -> usize {
        self.entries.iter().map(|(_, parked)| parked.text.as_ref().map_or(0, Vec::len)).sum()
    }

    /// Takes the first `count` out, or as many as there are, parked again: somebody else looks after them.
    pub fn park(&mut self, count: usize) -> Vec<Entry> {
        // An operator may have taken all of them.
        let count = count.min(self.entries.len());
        let parked: Vec<Entry> = self.entries.drain(..count).collect();
        parked.iter().for_each(|(id, _)| self.spool.park_again(id));
        parked
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.entries.iter().for_each(|(id, _)| self.spool.release(id));
        self.spool.wake();
    }
}
