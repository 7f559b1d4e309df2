//! The spool: sealed messages on disk, each a file, until a relay host has taken them.
//!
//! | where | means | who moves it on | what a crash leaves |
//! | --- | --- | --- | --- |
//! | `incoming/ID` | being written | [`Spool::store`] | a fragment: removed at start, it was never acknowledged |
//! | `queue/ID` | ours | deliver | itself; picked up at start |
//! | `queue/ID.state` | attempts, next attempt, last reply; a hint, not synced | deliver | maybe an old one: an attempt too early |
//! | `held/ID` | held by the operator | operator | itself |
//! | `failed/ID` (+ `.state`) | refused for good or expired | operator | itself |
//! | `damaged/ID` | its checksum is wrong | operator | itself; never sent, never deleted |
//!
//! Guarantees: when [`Spool::store`] returns, every entry it was given is durable, and before that none is offered to
//! deliver. Nothing leaves `queue/` but by [`Spool::complete`] (a relay host's final 250), [`Spool::fail`] or
//! damage, which keep the file. One process holds the spool (`lock`).
//!
//! On failure an operation leaves the entry where it was. Files that are none of ours are left alone and reported.

mod accounts;
mod durable;
mod entry;
mod index;
mod listing;
mod numbers;
mod slots;

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

pub use accounts::Account;
pub use durable::{Directory, replace, with_suffix};
pub use entry::{EntryError, Header};
#[cfg(any(test, fuzzing))]
pub(crate) use entry::{encode, read, read_header};
pub use index::{Attempts, LONGEST_BACKOFF, Lanes, Waiting};
pub use listing::{Listed, Totals};
pub use numbers::{Known, Number, Numbers};

use crate::envelope::QueueId;
use crate::maillog;
use index::Index;

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
            Self::Unusable { path, .. } => {
                format!("The service's user must own {} and the disk must have room.", path.display())
            }
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
}

/// The spool of this process.
pub struct Spool {
    root: PathBuf,
    incoming: Directory,
    queue: Directory,
    held: Directory,
    failed: Directory,
    damaged: Directory,
    index: Mutex<Index>,
    numbers: Numbers,
    /// Files of `queue/` that could not be read at the start: left there, not offered until the next one.
    unreadable: usize,
    /// Something was unlinked from `queue/` and is not synced yet.
    unsynced: AtomicBool,
    /// Sent entries whose file could not be removed; never offered again by this process.
    sent: Mutex<Vec<(QueueId, Header)>>,
    changed: Notify,
    _lock: File,
}

impl Spool {
    /// Takes hold of the spool in `root`, waiting for it up to `patience`, and reads what lies there; `state` keeps the
    /// numbers.
    ///
    /// # Errors
    /// It is in use, or cannot be used.
    pub fn open(root: &Path, state: &Path, patience: Duration) -> Result<Self, SpoolError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Unusable { path, source }
        };
        let open = |name: &str| Directory::open(root.join(name)).map_err(unusable(&root.join(name)));
        let [incoming, queue, held] = [open("incoming")?, open("queue")?, open("held")?];
        let [failed, damaged] = [open("failed")?, open("damaged")?];
        let lock = take_lock(root, patience)?;
        clear_fragments(&incoming).map_err(unusable(incoming.path()))?;
        let (index, mut spooled, unreadable) = read_queue(&queue, &damaged).map_err(unusable(queue.path()))?;
        // What lies elsewhere carries numbers too.
        spooled.extend([&held, &failed, &damaged].into_iter().flat_map(numbers_in));
        let carried = spooled.iter().map(|(epoch, recipient, number)| (epoch.as_str(), recipient.as_str(), *number));
        let numbers =
            Numbers::open(state, carried).map_err(|source| SpoolError::Numbers { path: state.into(), source })?;
        Ok(Self {
            root: root.into(),
            incoming,
            queue,
            held,
            failed,
            damaged,
            index: Mutex::new(index),
            numbers,
            unreadable,
            unsynced: AtomicBool::new(false),
            sent: Mutex::default(),
            changed: Notify::new(),
            _lock: lock,
        })
    }

    /// The sequence numbers.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// Stores all `entries` or none. When it returns `Ok` they are ours.
    ///
    /// # Errors
    /// The disk refuses; then nothing is offered to deliver, and the numbers become unused ones.
    pub fn store(&self, entries: Vec<NewEntry<'_>>) -> io::Result<Vec<QueueId>> {
        let named: Vec<_> = entries.into_iter().map(|entry| (QueueId::new(entry.header.arrival), entry)).collect();
        let stored = self.write(&named).and_then(|()| {
            named
                .iter()
                .try_for_each(|(id, _)| fs::rename(self.incoming.file(id.as_str()), self.queue.file(id.as_str())))
        });
        // The renames live in the directory: without this sync a power cut could undo them after our 250.
        if let Err(error) = stored.and_then(|()| self.queue.sync()) {
            for (id, _) in &named {
                let _ = fs::remove_file(self.incoming.file(id.as_str()));
                let _ = fs::remove_file(self.queue.file(id.as_str()));
            }
            return Err(error);
        }
        // Responsibility taken: from here on the alert is ours, and 250 may be said.
        let mut ids = Vec::with_capacity(named.len());
        let mut index = self.index();
        for (id, entry) in named {
            index.add(id.clone(), &entry.header, Attempts::default());
            entry.number.into_iter().for_each(Number::stored);
            ids.push(id);
        }
        drop(index);
        self.wake();
        Ok(ids)
    }

    fn write(&self, named: &[(QueueId, NewEntry<'_>)]) -> io::Result<()> {
        named.iter().try_for_each(|(id, entry)| {
            let line = entry::encode(&entry.header, &entry.message);
            durable::write_new(&self.incoming.file(id.as_str()), &[&line, &entry.message])
        })
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
                self.index().remove(id);
            }
        }
        read
    }

    fn set_aside(&self, id: &QueueId) -> io::Result<()> {
        // Its number must not be given to another alert.
        let header = File::open(self.queue.file(id.as_str())).map_err(EntryError::from);
        if let Ok(Header { sequence: Some(number), epoch, recipient, .. }) =
            header.and_then(|file| entry::read_header(BufReader::new(file)))
        {
            self.numbers.record_before_leaving(&epoch, &recipient, number)?;
        }
        fs::rename(self.queue.file(id.as_str()), self.damaged.file(id.as_str()))?;
        let _ = fs::remove_file(self.state_file(id));
        self.damaged.sync()?;
        self.queue.sync()
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
        let _ = fs::remove_file(self.state_file(id));
        self.unsynced.store(true, Ordering::Release);
        self.index().remove(id);
        Ok(())
    }

    /// Offers a claimed entry again at `due`, and remembers why it is late.
    pub fn defer(&self, id: &QueueId, attempts: Attempts) {
        let due = attempts.due();
        // A hint only: if it cannot be written the next start makes an attempt too early.
        let _ = serde_json::to_vec(&attempts).map(|json| fs::write(self.state_file(id), json));
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
        durable::replace(&self.failed.file(&format!("{id}.state")), &serde_json::to_vec(attempts)?)?;
        fs::rename(self.queue.file(id.as_str()), self.failed.file(id.as_str()))?;
        self.failed.sync()?;
        self.queue.sync()?;
        let _ = fs::remove_file(self.state_file(id));
        self.index().remove(id);
        Ok(())
    }

    /// Makes every waiting entry due now.
    pub fn flush(&self) {
        self.index().flush();
        self.wake();
    }

    /// Syncs removals and repeats those that did not succeed. Called at least once a second while anything is sent.
    pub fn tidy(&self) {
        let again = std::mem::take(&mut *self.sent());
        let still = again.into_iter().filter(|(id, header)| self.remove(id, header).is_err());
        let still: Vec<_> = still.collect();
        self.sent().extend(still);
        if self.unsynced.swap(false, Ordering::AcqRel) && self.queue.sync().is_err() {
            self.unsynced.store(true, Ordering::Release);
        }
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

    fn state_file(&self, id: &QueueId) -> PathBuf {
        self.queue.file(&format!("{id}.state"))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self) -> MutexGuard<'_, Vec<(QueueId, Header)>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lock is the kernel's: it goes with the process, whatever way that ends. A queue command holds it for a moment;
/// a daemon that starts just then waits for `patience`.
fn take_lock(root: &Path, patience: Duration) -> Result<File, SpoolError> {
    let path = root.join("lock");
    let unusable = |source| SpoolError::Unusable { path: path.clone(), source };
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(unusable)?;
    let until = std::time::Instant::now() + patience;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::Error(source)) => return Err(unusable(source)),
            Err(fs::TryLockError::WouldBlock) if std::time::Instant::now() >= until => {
                return Err(SpoolError::InUse(root.into()));
            }
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn ids_in(directory: &Directory) -> Vec<QueueId> {
    names_in(directory.path())
}

fn names_in(directory: &Path) -> Vec<QueueId> {
    let Ok(files) = fs::read_dir(directory) else { return Vec::new() };
    files.flatten().filter_map(|file| file.file_name().to_str()?.parse().ok()).collect()
}

/// What was being written when the last process ended was never acknowledged.
fn clear_fragments(incoming: &Directory) -> io::Result<()> {
    ids_in(incoming).iter().try_for_each(|id| fs::remove_file(incoming.file(id.as_str())))
}

type Spooled = Vec<(String, String, u64)>;

/// The index of what waits, and the numbers its entries carry.
fn read_queue(queue: &Directory, damaged: &Directory) -> io::Result<(Index, Spooled, usize)> {
    let mut index = Index::default();
    let mut spooled = Vec::new();
    let mut unreadable = 0;
    for file in fs::read_dir(queue.path())? {
        let name = file?.file_name();
        let Some(name) = name.to_str() else {
            maillog::foreign_file(&name.to_string_lossy());
            continue;
        };
        if let Some(stem) = name.strip_suffix(".state") {
            if !queue.file(stem).exists() {
                let _ = fs::remove_file(queue.file(name));
            }
            continue;
        }
        let Ok(id) = name.parse::<QueueId>() else {
            maillog::foreign_file(name);
            continue;
        };
        let header = File::open(queue.file(name)).map_err(EntryError::from);
        match header.and_then(|file| entry::read_header(BufReader::new(file))) {
            Ok(header) => {
                let attempts = read_attempts(&queue.file(&format!("{id}.state")));
                spooled.extend(header.sequence.map(|n| (header.epoch.clone(), header.recipient.clone(), n)));
                index.add(id, &header, attempts);
            }
            // One bad sector must not stop all alerts: it stays where it is, and `status` says so.
            Err(EntryError::Unreadable(error)) => {
                maillog::unreadable(name, &error);
                unreadable += 1;
            }
            Err(error) => {
                maillog::damaged(name, &error.to_string());
                fs::rename(queue.file(name), damaged.file(name))?;
                damaged.sync()?;
                queue.sync()?;
            }
        }
    }
    Ok((index, spooled, unreadable))
}

/// The numbers that entries of `directory` carry.
fn numbers_in(directory: &Directory) -> Spooled {
    let headers = ids_in(directory)
        .into_iter()
        .filter_map(|id| entry::read_header(BufReader::new(File::open(directory.file(id.as_str())).ok()?)).ok());
    headers.filter_map(|header| Some((header.epoch, header.recipient, header.sequence?))).collect()
}

/// A missing or half-written hint is no hint.
fn read_attempts(path: &Path) -> Attempts {
    fs::read(path).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}
