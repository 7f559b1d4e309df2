//! What lies in the spool, for people and programs.
//!
//! A listing is handed out entry by entry: its memory does not grow with the queue. It is no snapshot: what is sent while
//! it is made may stand in it, and what comes may not. On failure to read an entry it is listed without what is in it.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::durable::Directory;
use super::entry::{self, EntryError, Header};
use super::index::{Attempts, Waiting};
use super::room::{Room, Usage};
use super::start::{ids_in_order, read_attempts, read_header};
use super::{Spool, shelf};
use crate::envelope::QueueId;

/// Entries that are looked at between two lines of a listing, so that delivery goes on meanwhile.
const PAGE: usize = 256;

/// One line of a listing.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub queue_id: String,
    /// `queue`, `held`, `failed` or `damaged`; `active` for what a delivery has in hand, `parked` for what waits for its
    /// digest or slot.
    pub queue_name: String,
    /// Seconds since 1970.
    pub arrival_time: u64,
    /// Octets of the message.
    pub message_size: u64,
    /// MAIL FROM.
    pub sender: String,
    /// Who gets it.
    pub recipient: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Seconds since 1970 of the next attempt; 0 is now.
    pub next_attempt: u64,
    /// What the relay host said last, or what went wrong.
    pub delay_reason: String,
}

/// How much lies where.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Waiting to be sent.
    pub queued: usize,
    /// Arrival of the oldest one waiting, but for those that wait for their digest or slot; seconds since 1970.
    pub oldest: Option<u64>,
    /// In `held/`.
    pub held: usize,
    /// In `failed/`.
    pub failed: usize,
    /// In `damaged/`.
    pub damaged: usize,
    /// In `queue/`, but not readable when the daemon started.
    pub unreadable: usize,
    /// Sent, and their files cannot be removed yet.
    pub unremoved: usize,
    /// How much room there is for more.
    pub room: Room,
    /// What is used, and the limits.
    pub usage: Usage,
}

/// One entry, with all that is known of it but its message.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Shown {
    /// As in a listing.
    #[serde(flatten)]
    pub listed: Listed,
    /// Its header, if it can be read.
    pub header: Option<Header>,
    /// Its file.
    pub file: PathBuf,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Queue,
    Held,
    Failed,
    Damaged,
}

impl Place {
    /// Those whose entries are not offered.
    const SHELVES: [Self; 3] = [Self::Held, Self::Failed, Self::Damaged];

    /// Its directory.
    pub fn directory(self, spool: &Spool) -> &Directory {
        match self {
            Self::Queue => &spool.queue,
            Self::Held => &spool.held,
            Self::Failed => &spool.failed,
            Self::Damaged => &spool.damaged,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Damaged => "damaged",
        }
    }
}

impl Spool {
    /// Hands everything in the spool to `each`: what waits, oldest first, then what is held, failed, damaged.
    ///
    /// # Errors
    /// What `each` says, which ends it.
    pub fn list(&self, mut each: impl FnMut(Listed) -> io::Result<()>) -> io::Result<()> {
        let mut last = None;
        loop {
            let page = self.index().page(last.as_ref(), PAGE);
            let Some((id, _)) = page.last() else { break };
            last = Some(id.clone());
            for (id, waiting) in page {
                each(self.listed_waiting(&id, &waiting))?;
            }
        }
        for place in Place::SHELVES {
            ids_in_order(place.directory(self)).iter().try_for_each(|id| each(self.listed_in(place, id)))?;
        }
        Ok(())
    }

    /// The entry `id`, wherever it lies.
    pub fn show(&self, id: &QueueId) -> Option<Shown> {
        let place = self.place_of(id)?;
        let waiting = self.index().get(id).cloned();
        let listed = waiting.map_or_else(|| self.listed_in(place, id), |waiting| self.listed_waiting(id, &waiting));
        let directory = place.directory(self);
        Some(Shown { listed, header: read_header(directory, id).ok(), file: directory.file(id.as_str()) })
    }

    /// The sealed message of the entry `id`.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is damaged.
    pub fn message(&self, id: &QueueId) -> Result<Vec<u8>, EntryError> {
        let place = self.place_of(id).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let file = File::open(place.directory(self).file(id.as_str()))?;
        Ok(entry::read(file)?.1)
    }

    /// Whether the entry `id` lies in `queue/`.
    pub fn is_waiting(&self, id: &QueueId) -> bool {
        self.index().get(id).is_some()
    }

    /// Where the entry `id` lies.
    pub(super) fn place_of(&self, id: &QueueId) -> Option<Place> {
        if self.is_waiting(id) {
            return Some(Place::Queue);
        }
        Place::SHELVES.into_iter().find(|place| place.directory(self).file(id.as_str()).is_file())
    }

    fn listed_waiting(&self, id: &QueueId, waiting: &Waiting) -> Listed {
        let header = read_header(&self.queue, id).ok();
        let listed = listed(Place::Queue, id, header.as_ref(), &waiting.attempts);
        Listed {
            queue_name: match (waiting.is_claimed(), waiting.is_parked()) {
                (true, _) => "active",
                (_, true) => "parked",
                _ => "queue",
            }
            .to_owned(),
            arrival_time: seconds(waiting.arrival),
            message_size: waiting.size,
            recipient: waiting.recipient.to_string(),
            ..listed
        }
    }

    fn listed_in(&self, place: Place, id: &QueueId) -> Listed {
        let directory = place.directory(self);
        let header = read_header(directory, id).ok();
        listed(place, id, header.as_ref(), &read_attempts(directory, id))
    }

    /// How much lies where in the spool at `root`, read without taking hold of it: a daemon may be starting.
    pub fn peek(root: &Path) -> Totals {
        let count = |name: &str| shelf::ids_in(&root.join(name)).count();
        let oldest = shelf::ids_in(&root.join("queue")).min();
        let header = oldest.and_then(|id| File::open(root.join("queue").join(id.as_str())).ok());
        let header = header.and_then(|file| entry::read_header(BufReader::new(file)).ok());
        Totals {
            queued: count("queue"),
            oldest: header.map(|header| seconds(header.arrival)),
            held: count("held"),
            failed: count("failed"),
            damaged: count("damaged"),
            ..Totals::default()
        }
    }

    /// How many entries wait, and since when the oldest that waits for no digest or slot.
    pub fn waiting(&self) -> (usize, Option<SystemTime>) {
        let index = self.index();
        (index.len(), index.oldest())
    }

    /// How much lies where.
    pub fn totals(&self) -> Totals {
        let usage = self.measure();
        let index = self.index();
        let oldest = index.oldest().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|age| age.as_secs());
        Totals {
            queued: index.len(),
            oldest,
            held: self.held.tally().entries,
            failed: self.failed.tally().entries,
            damaged: self.damaged.tally().entries,
            unreadable: self.unreadable,
            unremoved: self.sent().len(),
            room: self.gauge.room(),
            usage,
        }
    }
}

fn listed(place: Place, id: &QueueId, header: Option<&Header>, attempts: &Attempts) -> Listed {
    Listed {
        queue_id: id.to_string(),
        queue_name: place.name().to_owned(),
        arrival_time: header.map_or(0, |header| seconds(header.arrival)),
        message_size: header.map_or(0, |header| header.size),
        sender: header.map(|header| header.reverse_path.clone()).unwrap_or_default(),
        recipient: header.map(|header| header.recipient.clone()).unwrap_or_default(),
        attempts: attempts.count,
        next_attempt: attempts.next,
        delay_reason: attempts.last_reply.clone(),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}
