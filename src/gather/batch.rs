//! Entries in the hands of whoever makes a digest of them.
//!
//! Guarantees: what is still in a batch when it is dropped, for whatever reason, is offered to deliver singly.

use std::sync::Arc;

use super::Parked;
use crate::envelope::QueueId;
use crate::ranges::Ranges;
use crate::spool::Spool;

/// A parked entry, with what is kept of it.
pub type Entry = (QueueId, Parked);

/// Parked entries for one recipient, in the order of their numbers.
pub struct Batch {
    spool: Arc<Spool>,
    pub recipient: String,
    entries: Vec<Entry>,
}

impl Batch {
    pub fn new(spool: Arc<Spool>, recipient: String, mut entries: Vec<Entry>) -> Self {
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

    /// Takes the first `count` out: somebody else looks after them.
    pub fn settle(&mut self, count: usize) -> Vec<Entry> {
        self.entries.drain(..count).collect()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.entries.is_empty() {
            self.spool.release_parked(self.entries.iter().map(|(id, _)| id));
        }
    }
}
