//! Deliver's side of the spool: what is due is claimed, read, and then completed, deferred, released or failed.
//!
//! Guarantees: an entry is in one hand at a time, and leaves `queue/` only when its number is recorded and what became of
//! it is certain. On failure it stays, claimed or offered again: twice rather than never. An attacker who can write here
//! makes entries damaged, and a damaged one is never sent.

use std::fs::{self, File};
use std::io;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::start::{read_header, shift, state_file};
use super::{Attempts, EntryError, Event, Header, Lanes, Spool, Waiting, entry};
use crate::envelope::QueueId;
use crate::maillog;

impl Spool {
    /// Takes the entry of these `lanes` that has been due longest; it is not offered again until it is deferred or
    /// released.
    pub fn claim(&self, now: SystemTime, lanes: Lanes) -> Option<(QueueId, Waiting)> {
        self.index().claim(now, lanes)
    }

    /// Takes all entries that arrived before `before` and that no delivery has in hand.
    pub fn claim_older_than(&self, before: SystemTime) -> Vec<(QueueId, Waiting)> {
        self.index().claim_older_than(before)
    }

    /// When the next entry of these `lanes` is due.
    pub fn next_due(&self, now: SystemTime, lanes: Lanes) -> Option<SystemTime> {
        self.index().next_due(now, lanes)
    }

    /// Offers to the first relay host again what another one has had since before `before`, seconds since 1970.
    pub fn return_to_first(&self, before: u64) {
        self.index().return_to_first(before);
        self.wake();
    }

    /// Reads a claimed entry and checks it. A damaged one is set aside, never sent, never deleted.
    ///
    /// # Errors
    /// It is damaged (and now in `damaged/`), or cannot be read at the moment (and stays).
    pub fn read(&self, id: &QueueId) -> Result<(Header, Vec<u8>), EntryError> {
        let read = File::open(self.queue.file(id.as_str())).map_err(EntryError::from).and_then(entry::read);
        if let Err(error @ (EntryError::Checksum | EntryError::NoHeader)) = &read {
            maillog::damaged(id.as_str(), &error.to_string());
            if self.set_aside(id).is_ok() {
                self.history.note(Event::new(id, "damaged"));
                self.index().remove(id);
            }
        }
        read
    }

    fn set_aside(&self, id: &QueueId) -> io::Result<()> {
        // Its number must not be given to another alert.
        if let Ok(Header { sequence: Some(number), epoch, recipient, .. }) = read_header(&self.queue, id) {
            self.numbers.record_before_leaving(&epoch, &recipient, number)?;
        }
        self.move_alone(|| {
            shift(&self.queue, &self.damaged, id)?;
            self.damaged.sync()
        })?;
        self.sync(&self.queue)
    }

    /// A relay host has said its final 250: the entry goes. The unlink is synced within a second by [`Spool::tidy`];
    /// a crash before that may send it once more, with the same Message-ID and number.
    pub fn complete(&self, id: &QueueId, header: &Header) {
        match self.remove(id, header) {
            Ok(()) => maillog::removed(id),
            Err(error) => {
                // It stays claimed, so it is not sent again; `tidy` tries the removal again.
                maillog::removal_deferred(id.as_str(), &error);
                self.sent().push((id.clone(), header.clone()));
            }
        }
    }

    pub(super) fn remove(&self, id: &QueueId, header: &Header) -> io::Result<()> {
        if let Some(number) = header.sequence {
            self.numbers.record_before_leaving(&header.epoch, &header.recipient, number)?;
        }
        // Responsibility given away: the relay host has the message. A crash before this line leaves a duplicate.
        self.unlink(id)
    }

    /// Removes the entry `id`, which somebody else is responsible for now. Not durable before the next sync of `queue/`.
    pub(super) fn unlink(&self, id: &QueueId) -> io::Result<()> {
        match fs::remove_file(self.queue.file(id.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let _ = fs::remove_file(state_file(&self.queue, id));
        self.unsynced.store(true, Ordering::Release);
        self.index().remove(id);
        Ok(())
    }

    /// Offers a claimed entry again at `due`, and remembers why it is late.
    pub fn defer(&self, id: &QueueId, attempts: Attempts) {
        let attempts = self.index().complete(id, attempts);
        let due = attempts.due();
        // A hint only: if it cannot be written the next start makes an attempt too early.
        let _ = serde_json::to_vec(&attempts).map(|json| fs::write(state_file(&self.queue, id), json));
        self.index().release(id, due, Some(attempts));
        self.wake();
    }

    /// Offers a claimed entry again at once: nothing was tried with it.
    pub fn release(&self, id: &QueueId) {
        self.index().release(id, UNIX_EPOCH, None);
    }

    /// The entry is refused for good or has expired: it moves to `failed/` with its last reply, and stays there.
    ///
    /// # Errors
    /// The disk refuses; the entry stays claimed in `queue/`.
    pub fn fail(&self, id: &QueueId, header: &Header, attempts: &Attempts) -> io::Result<()> {
        if let Some(number) = header.sequence {
            self.numbers.record_before_leaving(&header.epoch, &header.recipient, number)?;
        }
        let _ = fs::remove_file(state_file(&self.queue, id));
        self.keep_state(&self.failed, id, attempts)?;
        let synced = self.move_alone(|| {
            // As one with the index: an operator's `retry` may find it in `failed/` at once and offer it again.
            let mut index = self.index();
            shift(&self.queue, &self.failed, id)?;
            index.remove(id);
            drop(index);
            Ok::<_, io::Error>(self.failed.sync())
        })?;
        // Without these a power cut could undo the rename: the message would be tried again, after its end was logged. So
        // it is too when they do not succeed, which is no reason to offer what lies in `failed/`.
        if let Err(error) = synced.and_then(|()| self.sync(&self.queue)) {
            maillog::not_moved(id, &error.to_string());
        }
        Ok(())
    }

    /// Somebody has taken the file of the claimed entry `id` away.
    pub fn forget(&self, id: &QueueId) {
        self.index().remove(id);
    }

    /// Makes every waiting entry due now.
    pub fn flush(&self) {
        self.index().flush();
        self.wake();
    }
}
