//! What is remembered of an alert that waits.

use std::time::SystemTime;

use super::gist::{Gist, Key};
use crate::envelope::QueueId;
use crate::mail::{Mail, Note};

/// A longer mail is not kept: it goes by itself.
pub const TEXT_LIMIT: usize = 1024 * 1024;
/// What an entry takes besides its text, octets: more than it does, so that a digest is not made of too many files.
const ENTRY: usize = 1024;

/// A parked entry, with what is kept of it.
pub type Entry = (QueueId, Parked);

/// What becomes of an alert that is sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is offered to deliver at once.
    Send,
    /// It waits, and a digest or a slot will hold it.
    Park,
    /// It waits, and a digest will count it.
    Count,
}

impl Fate {
    /// Whether it is parked.
    pub fn waits(self) -> bool {
        self != Self::Send
    }
}

/// What is known of an alert that may wait.
#[derive(Debug)]
pub struct Parked {
    /// Its number.
    pub(super) number: u64,
    pub(super) arrival: SystemTime,
    pub(super) notes: Vec<Note>,
    pub(super) gist: Option<Gist>,
    /// All of it, if a digest is to hold it.
    pub(super) text: Option<Vec<u8>>,
}

impl Parked {
    /// What is to be remembered of `mail`, which was sealed with this number and these notes.
    pub fn of(mail: &Mail, number: u64, notes: Vec<Note>, gist: Option<Gist>, fate: Fate) -> Self {
        let is_kept = fate == Fate::Park && gist.is_some() && mail.octets.len() <= TEXT_LIMIT;
        let text = is_kept.then(|| mail.octets.clone());
        Self { number, arrival: mail.arrival, notes, gist, text }
    }

    /// What it counts for in memory.
    pub(super) fn octets(&self) -> usize {
        weight(self.text.as_ref().map_or(0, Vec::len), self.gist.as_ref())
    }

    /// What it can be told a repeat by. What was noticed of a mail is told with it.
    pub(super) fn key(&self) -> Option<&Key> {
        self.gist.as_ref().and_then(Gist::key).filter(|_| self.notes.is_empty())
    }
}

/// What an entry with so many octets of text counts for in memory.
pub fn weight(text: usize, gist: Option<&Gist>) -> usize {
    ENTRY + text + gist.map_or(0, Gist::octets)
}

/// Entries with what is kept of them.
#[derive(Default)]
pub struct Kept {
    pub entries: Vec<Entry>,
    pub octets: usize,
}

impl Kept {
    pub fn ids(&self) -> impl Iterator<Item = &QueueId> {
        self.entries.iter().map(|(id, _)| id)
    }

    pub fn push(&mut self, id: QueueId, parked: Parked) {
        self.octets += parked.octets();
        self.entries.push((id, parked));
    }

    pub fn take(&mut self) -> Vec<Entry> {
        self.octets = 0;
        std::mem::take(&mut self.entries)
    }
}
