//! The spool: sealed messages on disk, each a file, until a relay host has taken them.
//!
//! | where | means | who moves it on | what a crash leaves |
//! | --- | --- | --- | --- |
//! | `incoming/ID` | being written, or written and not yet ours | [`Spool::publish`] | a fragment: removed at start, it was never acknowledged |
//! | `queue/ID` | ours | deliver | itself; picked up at start |
//! | `queue/ID`, parked | ours; it waits for its digest or slot, in memory only (`parking`) | `gather`, operator | itself; offered like any at start |
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
//! An entry's way is [`Spool::stage`] > [`Spool::publish`] (below), then [`Spool::claim`] > [`Spool::read`] >
//! [`Spool::complete`], [`Spool::defer`] or [`Spool::fail`] (`claimed`).
//!
//! Guarantees: when [`Spool::publish`] returns, every entry it was given is durable, and before that none is offered to
//! deliver. Nothing leaves `queue/` but by [`Spool::complete`] (a relay host's final 250), [`Spool::replace`] (a durable
//! entry contains it), [`Spool::fail`], damage, or an operator (`operator`); the last three keep the file, but for an
//! operator's removal. Nothing is deleted by a timer. One process holds the spool (`lock`).
//!
//! On failure an operation leaves the entry where it was. Files that are none of ours are left alone and reported. An
//! attacker who can write here could damage or take away entries, and add none that a recipient would take for ours.

mod accounts;
mod claimed;
mod durable;
mod entry;
mod error;
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
mod upkeep;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::Notify;

pub use accounts::Account;
pub use durable::{Directory, replace, replace_hint, with_suffix};
pub use entry::{EntryError, Header};
#[cfg(any(test, fuzzing))]
pub(crate) use entry::{encode, read, read_header};
pub use error::SpoolError;
pub use history::{END as HISTORY_END, Event, History, events, read as read_history};
pub use index::{Attempts, LONGEST_BACKOFF, Lanes, Waiting};
pub use listing::{Listed, Shown, Totals};
pub use numbers::{Known, Number, Numbers};
pub use operator::{Moved, Which};
pub use room::{Room, Usage};
pub use staged::Staged;

use crate::config::Config;
use crate::envelope::QueueId;
use index::Index;
use room::Gauge;
use shelf::Shelf;
use start::state_file;

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

    /// Returns when something was stored or flushed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Tells delivery to look again.
    pub fn wake(&self) {
        self.changed.notify_one();
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
