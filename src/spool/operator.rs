//! What an operator does with entries: hold, release, retry, remove, purge.
//!
//! Guarantees: a move is durable when its function returns, last reply included; an entry that a delivery has in hand, or
//! of which a digest is being made, is left to it and counted as busy; the number of a removed one is recorded as removed
//! before the file goes, so that a recipient who misses it can be told. Work is done in pages, so that neither memory nor the lock on the index
//! grows with the queue. On failure what was moved so far stays moved, and the answer says how far it came.

use std::fs;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Spool;
use super::durable::Directory;
use super::entry::{EntryError, Header};
use super::history::Event;
use super::index::Attempts;
use super::start::{ids_in_order, read_attempts, read_header, shift, state_file};
use crate::envelope::QueueId;
use crate::maillog;

/// Entries that are moved between two syncs.
const PAGE: usize = 256;

/// Which entries.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// All of those the command is for.
    All,
    /// One.
    One(QueueId),
}

/// What came of it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Entries moved, or removed.
    pub moved: usize,
    /// Entries that are being delivered, or put into a digest, at this moment and were left.
    pub busy: usize,
    /// What did not work, and ended it.
    pub trouble: Option<String>,
}

impl Moved {
    fn ended_by(mut self, outcome: io::Result<()>) -> Self {
        self.trouble = outcome.err().map(|error| error.to_string());
        self
    }
}

impl Spool {
    /// Keeps entries of `queue/` from being offered.
    pub fn hold(&self, which: &Which) -> Moved {
        let mut moved = Moved::default();
        let outcome = self.pages_of_queue(which, &mut moved, |moved, page| {
            self.move_alone(|| {
                let shifted = page.iter().try_for_each(|id| {
                    shift(&self.queue, &self.held, id)?;
                    moved.moved += 1;
                    self.index().remove(id);
                    maillog::moved(id, "held");
                    self.history.note(Event::new(id, "held"));
                    Ok(())
                });
                self.held.sync().and(shifted)
            })
        });
        self.settled(moved, outcome.and(self.sync(&self.queue)))
    }

    /// Offers entries of `held/` again, at once or in the recipient's slots.
    pub fn release_held(&self, which: &Which) -> Moved {
        self.offer_again(&self.held, which, "released", |id| Ok(read_attempts(&self.held, id)))
    }

    /// Offers entries of `failed/` again, at once or in the recipient's slots, as if they had come today.
    pub fn retry(&self, which: &Which) -> Moved {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        self.offer_again(&self.failed, which, "offered again", |id| {
            let last_reply = read_attempts(&self.failed, id).last_reply;
            let attempts = Attempts { last_reply, retried_at: Some(now), ..Attempts::default() };
            self.keep_state(&self.failed, id, &attempts)?;
            Ok(attempts)
        })
    }

    fn offer_again(
        &self,
        from: &Directory,
        which: &Which,
        how: &str,
        attempts: impl Fn(&QueueId) -> io::Result<Attempts>,
    ) -> Moved {
        let mut moved = Moved::default();
        let outcome = chosen(from, which).chunks(PAGE).try_for_each(|page| {
            let mut offered = Vec::new();
            let prepared = page.iter().try_for_each(|id| {
                let header = read_header(from, id).map_err(io::Error::other)?;
                offered.push((id.clone(), header, Attempts { next: 0, ..attempts(id)? }));
                Ok(())
            });
            self.offer_page(from, how, offered, &mut moved).and(prepared)
        });
        self.wake();
        self.settled(moved, outcome)
    }

    /// Only what is durable in `queue/` is offered: it could come twice otherwise, once from where it was.
    fn offer_page(
        &self,
        from: &Directory,
        how: &str,
        mut offered: Vec<(QueueId, Header, Attempts)>,
        moved: &mut Moved,
    ) -> io::Result<()> {
        let mut shifted = 0;
        let (all, synced) = self.move_alone(|| {
            let all = offered.iter().try_for_each(|(id, ..)| {
                shift(from, &self.queue, id)?;
                shifted += 1;
                Ok(())
            });
            (all, self.queue.sync())
        });
        synced?;
        self.sync(from)?;
        moved.moved += shifted;
        for (id, header, attempts) in offered.drain(..shifted) {
            maillog::moved(&id, how);
            self.history.note(Event::of(&id, how, &header));
            self.index().offer(id, &header, attempts);
        }
        all
    }

    /// Removes an entry for good, wherever it lies.
    pub fn remove_unsent(&self, id: &QueueId) -> Moved {
        let mut moved = Moved::default();
        let outcome = match self.place_of(id) {
            Some(place) => self.remove_all(place.directory(self), vec![id.clone()], &mut moved),
            None => Ok(()),
        };
        moved.ended_by(outcome)
    }

    /// Removes all entries of `queue/`, `held/` and `failed/` that are sealed to the certificate with this fingerprint;
    /// only counts them unless it is `really` meant.
    pub fn purge(&self, fingerprint: &str, really: bool) -> Moved {
        let mut moved = Moved::default();
        let mut unread = Ok(());
        let is_sealed_to = |header: &Header| header.sealed_to.iter().any(|own| own.eq_ignore_ascii_case(fingerprint));
        let outcome = [&self.queue, &self.held, &self.failed].into_iter().try_for_each(|directory: &Directory| {
            for page in ids_in_order(directory).chunks(PAGE) {
                let mut sealed = Vec::new();
                for id in page {
                    match read_header(directory, id) {
                        Ok(header) if is_sealed_to(&header) => sealed.push(id.clone()),
                        // It may be one of them: nobody must take the purge for complete.
                        Err(EntryError::Unreadable(error)) if error.kind() != io::ErrorKind::NotFound => {
                            unread = Err(io::Error::new(error.kind(), format!("{id} cannot be read: {error}")));
                        }
                        _ => {}
                    }
                }
                match really {
                    true => self.remove_all(directory, sealed, &mut moved)?,
                    false => moved.moved += sealed.len(),
                }
            }
            Ok(())
        });
        moved.ended_by(outcome.and(unread))
    }

    fn remove_all(&self, directory: &Directory, ids: Vec<QueueId>, moved: &mut Moved) -> io::Result<()> {
        let is_queue = directory.path() == self.queue.path();
        let (ids, busy): (Vec<_>, Vec<_>) =
            ids.into_iter().partition(|id| !is_queue || self.index().seize(id).is_some());
        moved.busy += busy.len();
        let outcome = self.remove_claimed(directory, &ids, moved);
        // Whatever is still in the index stays offered; what was parked, too, for nobody else looks after it now.
        ids.iter().filter(|_| is_queue).for_each(|id| self.release(id));
        outcome
    }

    fn remove_claimed(&self, directory: &Directory, ids: &[QueueId], moved: &mut Moved) -> io::Result<()> {
        // A damaged one may not tell its number; `damaged/` keeps it from being given again, and the record does after.
        // One that cannot be read now stays: its number would be missing without a reason.
        let header = |id| match read_header(directory, id) {
            Err(EntryError::Unreadable(error)) => Err(error),
            read => Ok((id, read.ok())),
        };
        let headers: Vec<(&QueueId, Option<Header>)> = ids.iter().map(header).collect::<io::Result<_>>()?;
        let numbered = headers.iter().filter_map(|(_, header)| {
            let header = header.as_ref()?;
            Some((header.epoch.as_str(), header.recipient.as_str(), header.sequence?))
        });
        self.numbers.record_removed(numbered)?;
        for (id, header) in &headers {
            fs::remove_file(directory.file(id.as_str()))?;
            let _ = fs::remove_file(state_file(directory, id));
            self.index().remove(id);
            moved.moved += 1;
            let (to, message_id) = header.as_ref().map_or(("", ""), |header| (&header.recipient, &header.message_id));
            maillog::removed_unsent(id, to, message_id);
            self.history.note(Event::new(id, "removed"));
        }
        // Without this a power cut could bring them back: a purged message would be sent after all.
        self.sync(directory)?;
        self.measure();
        Ok(())
    }

    /// Makes what waits, or the entry `id`, due when a daemon starts; how many those are. Written into their state files,
    /// hints that a crash may undo: then they are tried when they were due before.
    pub fn flush_at_start(&self, id: Option<&QueueId>) -> usize {
        let mut count = 0;
        let mut last = None;
        loop {
            let page = self.index().page(last.as_ref(), PAGE);
            let Some((end, _)) = page.last() else { return count };
            last = Some(end.clone());
            for (own, waiting) in page.iter().filter(|(own, _)| id.is_none_or(|id| id == own)) {
                count += 1;
                let due = Attempts { next: 0, ..waiting.attempts.clone() };
                let is_late = waiting.attempts.next > 0;
                let _ =
                    is_late.then(|| serde_json::to_vec(&due).map(|json| fs::write(state_file(&self.queue, own), json)));
            }
        }
    }

    /// Makes the entry `id` due now; whether it waits and no delivery has it.
    pub fn flush_one(&self, id: &QueueId) -> bool {
        let is_free = self.index().claim_one(id).is_some();
        if is_free {
            self.release(id);
            self.wake();
        }
        is_free
    }

    /// Hands the entries of `queue/` that no delivery has to `act`, page by page; what `act` leaves in the index stays
    /// offered as before.
    fn pages_of_queue(
        &self,
        which: &Which,
        moved: &mut Moved,
        act: impl Fn(&mut Moved, &[QueueId]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut last = None;
        loop {
            let page: Vec<QueueId> = match which {
                Which::One(id) if self.index().get(id).is_some() => vec![id.clone()],
                Which::One(_) => return Ok(()),
                Which::All => self.index().page(last.as_ref(), PAGE).into_iter().map(|(id, _)| id).collect(),
            };
            let claimed: Vec<_> =
                page.iter().filter_map(|id| self.index().seize(id).map(|waiting| (id, waiting))).collect();
            moved.busy += page.len() - claimed.len();
            let ids: Vec<QueueId> = claimed.iter().map(|(id, _)| (*id).clone()).collect();
            let outcome = act(moved, &ids);
            for (id, waiting) in claimed {
                self.index().release(id, waiting.attempts.due(), None);
            }
            outcome?;
            last = page.last().cloned();
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    fn settled(&self, moved: Moved, outcome: io::Result<()>) -> Moved {
        self.measure();
        moved.ended_by(outcome)
    }
}

/// The entries of `directory` that are meant.
fn chosen(directory: &Directory, which: &Which) -> Vec<QueueId> {
    match which {
        Which::All => ids_in_order(directory),
        Which::One(id) if directory.file(id.as_str()).is_file() => vec![id.clone()],
        Which::One(_) => Vec::new(),
    }
}
