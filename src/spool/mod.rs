//! The spool: sealed messages on disk, each a file, until a relay host has taken them.
//!
//! | where | means | who moves it on | what a crash leaves |
//! | --- | --- | --- | --- |
//! | `incoming/ID` | being written, or written and not yet ours | [`Spool::publish`] | a fragment: removed at start, it was never acknowledged |
//! | `queue/ID` | ours | deliver | itself; picked up at start |
//! | `queue/ID`, parked | ours; it waits for its digest or slot, in memory only (`parking`) | `gather` | itself; offered like any at start |
//! | `queue/ID.state` | attempts, next attempt, last reply; a hint, not synced | deliver | maybe an old one: an attempt too early |
//! | `held/ID` (+ `.state`) | held by the operator | operator | itself |
//! | `failed/ID` (+ `.state`) | refused for good or expired | operator | itself |
//! | `damaged/ID` | its checksum is wrong | operator | itself; never sent, never deleted |
//! | `lock` | locked by the process that holds the spool | the kernel, when that ends | nothing: the lock is not the file |
//!
//! A state file without its entry (a crash between two steps of a move) is removed at start. An entry is in one place at
//! any time, because every move is one rename, whose new name is synced before the old one's directory may be: a power
//! cut leaves the entry in the old place, in the new one, or in both, and then `queue/` has it.
//!
//! Guarantees: when [`Spool::publish`] returns, every entry it was given is durable, and before that none is offered to
//! deliver. Nothing leaves `queue/` but by [`Spool::complete`] (a relay host's final 250), [`Spool::replace`] (a durable
//! entry contains it), [`Spool::fail`], damage, or an operator (`operator`); the last three keep the file, but for an
//! operator's removal. Nothing is deleted by a timer. One process holds the spool (`lock`).
//!
//! On failure an operation leaves the entry where it was. Files that are none of ours are left alone and reported. An
//! attacker who can write here could damage or take away entries, and add none that a recipient would take for ours.

mod accounts;
mod durable;
mod entry;
mod history;
mod index;
mod listing;
mod numbers;
mod operator;
mod parking;
mod room;
mod shelf;
mod slots;
mod sources;
mod staged;
mod start;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

pub use accounts::Account;
pub use durable::{Directory, replace, replace_hint, with_suffix};
pub use entry::{EntryError, Header};
#[cfg(any(test, fuzzing))]
pub(crate) use entry::{encode, read, read_header};
pub use history::{END as HISTORY_END, Event, History, events, read as read_history};
pub use index::{Attempts, LONGEST_BACKOFF, Lanes, Waiting};
pub use listing::{Listed, Shown, Totals};
pub use numbers::{Known, Number, Numbers};
pub use operator::{Moved, Which};
pub use room::{Room, Usage};
pub use staged::Staged;

use crate::config::Config;
use crate::envelope::QueueId;
use crate::maillog;
use index::Index;
use room::Gauge;
use shelf::Shelf;
use start::{shift, state_file};

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process holds it.
    #[error("the spool {0} is in use by another process")]
    InUse(PathBuf),
    /// A directory or file cannot be made or read.
    #[error("cannot use the spool {path}: {source}")]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The record of numbers cannot be used.
    #[error("cannot use the record of sequence numbers in {path}: {source}")]
    Numbers {
        /// The state directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SpoolError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::InUse(_) => "Is `sealrelay run` already running? `sealrelay status` asks it.".to_owned(),
            Self::Unusable { path, source } => match source.kind() {
                io::ErrorKind::ReadOnlyFilesystem => {
                    format!("The file system of {} is read-only: remount it, and look why in `dmesg`.", path.display())
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    format!("Make room on the disk of {}.", path.display())
                }
                io::ErrorKind::PermissionDenied => format!(
                    "The service's user must own {path} and may write there: chown -R USER {path}",
                    path = path.display()
                ),
                _ => format!("The service's user must own {} and the disk must be well.", path.display()),
            },
            Self::Numbers { path, .. } => format!(
                "The service's user must own {}. If numbers.0 and numbers.1 are damaged, move them away: a new epoch begins.",
                path.display()
            ),
        }
    }
}

/// A sealed message to be stored.
pub struct NewEntry<'a> {
    /// Its header; the number in it is that of `number`.
    pub header: Header,
    /// The finished message.
    pub message: Vec<u8>,
    /// The number it carries, if it carries one.
    pub number: Option<Number<'a>>,
    /// Whether it is not offered to deliver before it is released: it waits for its digest or slot.
    pub parked: bool,
}

/// The spool of this process.
pub struct Spool {
    root: PathBuf,
    incoming: Directory,
    queue: Directory,
    held: Shelf,
    failed: Shelf,
    damaged: Shelf,
    gauge: Gauge,
    index: Mutex<Index>,
    numbers: Numbers,
    history: History,
    /// Files of `queue/` that could not be read at the start: left there, not offered until the next one.
    unreadable: usize,
    /// Something was unlinked from `queue/` and is not synced yet.
    unsynced: AtomicBool,
    /// Taken alone while entries are between two directories, and together by whoever syncs one of them.
    moving: RwLock<()>,
    /// Sent entries whose file could not be removed; never offered again by this process.
    sent: Mutex<Vec<(QueueId, Header)>>,
    changed: Notify,
    _lock: File,
}

impl Spool {
    /// Takes hold of the spool of `config`, waiting for it up to `patience`, and reads what lies there.
    ///
    /// # Errors
    /// It is in use, or cannot be used.
    pub fn open(config: &Config, patience: Duration) -> Result<Self, SpoolError> {
        let root = &config.spool;
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Unusable { path, source }
        };
        let directory = |name: &str| Directory::open(root.join(name)).map_err(unusable(&root.join(name)));
        let shelf = |name: &str| Shelf::open(root.join(name)).map_err(unusable(&root.join(name)));
        let [incoming, queue] = [directory("incoming")?, directory("queue")?];
        let [held, failed, damaged] = [shelf("held")?, shelf("failed")?, shelf("damaged")?];
        for path in [root.as_path(), incoming.path(), queue.path(), held.path(), failed.path(), damaged.path()] {
            start::demand_writable(path).map_err(unusable(path))?;
        }
        let lock = start::take_lock(root, patience)?;
        start::clear_fragments(&incoming).map_err(unusable(incoming.path()))?;
        [&held, &failed].into_iter().for_each(|shelf| start::clear_doubles(&queue, shelf));
        let mut found = start::read_queue(&queue, &damaged).map_err(unusable(queue.path()))?;
        for shelf in [&held, &failed, &damaged] {
            found.carry_all(shelf).map_err(unusable(shelf.path()))?;
        }
        let numbers = Numbers::open(&config.state, start::in_order(&mut found.carried), found.sources)
            .map_err(|source| SpoolError::Numbers { path: config.state.clone(), source })?;
        let spool = Self {
            root: root.clone(),
            incoming,
            queue,
            held,
            failed,
            damaged,
            gauge: Gauge::new(root, config.quota, config.reserve),
            index: Mutex::new(found.index),
            numbers,
            history: History::new(&config.state),
            unreadable: found.unreadable,
            unsynced: AtomicBool::new(false),
            moving: RwLock::default(),
            sent: Mutex::default(),
            changed: Notify::new(),
            _lock: lock,
        };
        spool.measure();
        Ok(spool)
    }

    /// The sequence numbers.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// What became of the last entries. Whoever changes the state of one notes it there.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Stores all `entries` or none. When it returns `Ok` they are ours.
    ///
    /// # Errors
    /// The disk refuses; then nothing is offered to deliver, and the numbers become unused ones.
    pub fn store(&self, entries: Vec<NewEntry<'_>>) -> io::Result<Vec<QueueId>> {
        let staged: io::Result<Vec<_>> = entries.into_iter().map(|entry| self.stage(entry)).collect();
        self.publish(staged?)
    }

    /// Writes `entry`, so that its message need not stay in memory. It is not ours before it is published.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn stage<'a>(&self, entry: NewEntry<'a>) -> io::Result<Staged<'a>> {
        Staged::write(&self.incoming, entry).inspect_err(|_| self.refused())
    }

    /// Stores all `staged` entries or none. When it returns `Ok` they are ours.
    ///
    /// # Errors
    /// The disk refuses; then nothing is offered to deliver, and the numbers become unused ones.
    pub fn publish(&self, mut staged: Vec<Staged<'_>>) -> io::Result<Vec<QueueId>> {
        let renamed = staged.iter_mut().try_for_each(|entry| entry.move_to(&self.queue));
        // The renames live in the directory: without this sync a power cut could undo them after our 250.
        renamed.and_then(|()| self.sync(&self.queue)).inspect_err(|_| {
            staged.iter_mut().for_each(Staged::remove);
            self.refused();
        })?;
        // Responsibility taken: from here on the alert is ours, and 250 may be said.
        let mut ids = Vec::with_capacity(staged.len());
        let mut index = self.index();
        for (id, header, number, parked) in staged.into_iter().map(Staged::stored) {
            index.add(id.clone(), &header, Attempts::default());
            // Under the same lock, so that no delivery takes it before.
            if parked {
                index.park(&id);
            }
            number.into_iter().for_each(|number| number.stored_from(header.source.as_ref()));
            ids.push(id);
        }
        drop(index);
        self.wake();
        self.measure();
        Ok(ids)
    }

    /// The disk may have filled up just now: the next client must hear it in the banner.
    fn refused(&self) {
        self.gauge.ask_anew();
        self.measure();
    }

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

    /// Returns when something was stored or flushed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Tells delivery to look again.
    pub fn wake(&self) {
        self.changed.notify_one();
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
        if let Ok(Header { sequence: Some(number), epoch, recipient, .. }) = start::read_header(&self.queue, id) {
            self.numbers.record_before_leaving(&epoch, &recipient, number)?;
        }
        self.move_alone(|| {
            shift(&self.queue, &self.damaged, id)?;
            self.damaged.sync()
        })?;
        self.sync(&self.queue)
    }

    /// Syncs `directory`, but not while an entry is on its way out of it: the new name must be durable before the old one
    /// is gone, or a power cut could leave the entry nowhere.
    fn sync(&self, directory: &Directory) -> io::Result<()> {
        let _none_is_moving = self.none_moving();
        directory.sync()
    }

    fn none_moving(&self) -> RwLockReadGuard<'_, ()> {
        self.moving.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act`, which moves entries and syncs the directory they move to, while nobody syncs the one they come from.
    fn move_alone<T>(&self, act: impl FnOnce() -> T) -> T {
        let _alone: RwLockWriteGuard<'_, ()> = self.moving.write().unwrap_or_else(PoisonError::into_inner);
        act()
    }

    /// Replaces the state file of the entry `id` on `shelf`.
    fn keep_state(&self, shelf: &Directory, id: &QueueId, attempts: &Attempts) -> io::Result<()> {
        let _none_is_moving = self.none_moving();
        durable::replace(&state_file(shelf, id), &serde_json::to_vec(attempts)?)
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

    fn remove(&self, id: &QueueId, header: &Header) -> io::Result<()> {
        if let Some(number) = header.sequence {
            self.numbers.record_before_leaving(&header.epoch, &header.recipient, number)?;
        }
        // Responsibility given away: the relay host has the message. A crash before this line leaves a duplicate.
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

    /// Syncs removals, repeats those that did not succeed, and writes the history. Called at least once a second while
    /// anything is sent.
    pub fn tidy(&self) {
        self.history.flush();
        let again = std::mem::take(&mut *self.sent());
        let still = again.into_iter().filter(|(id, header)| self.remove(id, header).is_err());
        let still: Vec<_> = still.collect();
        self.sent().extend(still);
        if self.unsynced.swap(false, Ordering::AcqRel) && self.sync(&self.queue).is_err() {
            self.unsynced.store(true, Ordering::Release);
        }
        self.measure();
    }

    /// Whether intake may take mail: the quota is not reached, and the disk has its reserve.
    pub fn has_room(&self) -> bool {
        self.gauge.room() != Room::None
    }

    /// Measures the room, and says in the log when there is too little.
    fn measure(&self) -> Usage {
        let used = self.index().octets() + self.held.tally().octets;
        self.gauge.measure(used, self.failed.tally().octets)
    }

    /// Asks the disk for an answer: writes, syncs and removes a small file.
    ///
    /// # Errors
    /// It does not take it, which is an answer too.
    pub fn probe(&self) -> io::Result<()> {
        let path = self.root.join("probe");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => durable::write_new(&path, &[b"alive"])?,
        }
        fs::remove_file(&path)
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> MutexGuard<'_, Vec<(QueueId, Header)>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
