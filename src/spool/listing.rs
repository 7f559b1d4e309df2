//! What lies in the spool, for people and programs.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::durable::Directory;
use super::entry::{self, Header};
use super::index::{Attempts, Waiting};
use super::{Spool, ids_in, names_in, read_attempts};
use crate::envelope::QueueId;

/// One line of a listing.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub queue_id: String,
    /// `queue`, `held`, `failed` or `damaged`; `active` for what a delivery has in hand.
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
    /// Arrival of the oldest one waiting, seconds since 1970.
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
}

impl Spool {
    /// Everything in the spool, oldest first.
    pub fn list(&self) -> Vec<Listed> {
        let queued = self.index().iter().map(|(id, waiting)| listed_waiting(id, waiting)).collect::<Vec<_>>();
        let queued = queued.into_iter().map(|listed| match self.header(&self.queue, &listed.queue_id) {
            Some(header) => Listed { sender: header.reverse_path, ..listed },
            None => listed,
        });
        let others = [("held", &self.held), ("failed", &self.failed), ("damaged", &self.damaged)];
        let others = others.into_iter().flat_map(|(name, directory)| self.listed_in(name, directory));
        queued.chain(others).collect()
    }

    fn listed_in(&self, name: &str, directory: &Directory) -> Vec<Listed> {
        let mut ids = ids_in(directory);
        ids.sort();
        ids.iter()
            .map(|id| {
                let header = self.header(directory, id.as_str());
                let attempts = read_attempts(&directory.file(&format!("{id}.state")));
                listed_elsewhere(name, id, header, attempts)
            })
            .collect()
    }

    pub(super) fn header(&self, directory: &Directory, id: &str) -> Option<Header> {
        entry::read_header(BufReader::new(File::open(directory.file(id)).ok()?)).ok()
    }

    /// How much lies where in the spool at `root`, read without taking hold of it: a daemon may be starting.
    pub fn peek(root: &Path) -> Totals {
        let count = |name: &str| names_in(&root.join(name)).len();
        let oldest = names_in(&root.join("queue")).into_iter().min();
        let header = oldest.and_then(|id| File::open(root.join("queue").join(id.as_str())).ok());
        let header = header.and_then(|file| entry::read_header(BufReader::new(file)).ok());
        Totals {
            queued: count("queue"),
            oldest: header.map(|header| seconds(header.arrival)),
            held: count("held"),
            failed: count("failed"),
            damaged: count("damaged"),
            unreadable: 0,
            unremoved: 0,
        }
    }

    /// How much lies where.
    pub fn totals(&self) -> Totals {
        let index = self.index();
        let oldest = index.oldest().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|age| age.as_secs());
        Totals {
            queued: index.len(),
            oldest,
            held: ids_in(&self.held).len(),
            failed: ids_in(&self.failed).len(),
            damaged: ids_in(&self.damaged).len(),
            unreadable: self.unreadable,
            unremoved: self.sent().len(),
        }
    }
}

fn listed_waiting(id: &QueueId, waiting: &Waiting) -> Listed {
    Listed {
        queue_id: id.to_string(),
        queue_name: if waiting.is_claimed() { "active" } else { "queue" }.to_owned(),
        arrival_time: seconds(waiting.arrival),
        message_size: waiting.size,
        sender: String::new(),
        recipient: waiting.recipient.to_string(),
        attempts: waiting.attempts.count,
        next_attempt: waiting.attempts.next,
        delay_reason: waiting.attempts.last_reply.clone(),
    }
}

fn listed_elsewhere(name: &str, id: &QueueId, header: Option<Header>, attempts: Attempts) -> Listed {
    Listed {
        queue_id: id.to_string(),
        queue_name: name.to_owned(),
        arrival_time: header.as_ref().map_or(0, |header| seconds(header.arrival)),
        message_size: header.as_ref().map_or(0, |header| header.size),
        sender: header.as_ref().map(|header| header.reverse_path.clone()).unwrap_or_default(),
        recipient: header.map(|header| header.recipient).unwrap_or_default(),
        attempts: attempts.count,
        next_attempt: attempts.next,
        delay_reason: attempts.last_reply,
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}
