//! The spool as the last process, an operator or a bad disk left it.
//!
//! Guarantees: every entry that can be read is offered again; a damaged one is set aside under its own name; whatever is
//! not ours is named in the log and left alone. Only what makes accepting impossible stops the start: a directory that
//! cannot be written, a lock that another process holds. Nothing but a regular file is ever opened: a pipe under an
//! entry's name would stop the start for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::durable::Directory;
use super::entry::{self, EntryError, Header};
use super::index::{Attempts, Index};
use super::sources::Sources;
use super::{SpoolError, shelf};
use crate::envelope::QueueId;
use crate::maillog;
use crate::position::Source;

/// Threads that read header lines: a disk that was just started answers several at once faster than one by one.
const READERS: usize = 4;
/// Headers on their way from the readers to the index.
const ON_THE_WAY: usize = 256;
/// Header lines are below this in practice, so that one read gets them.
const HEADER_READ: usize = 2048;
/// Foreign files that are named in the log, one by one.
const NAMED: usize = 10;
/// No log has been rotated so often.
const GENERATIONS: u64 = 1 << 32;

/// The numbers that entries carry, by epoch and recipient.
pub type Carried = BTreeMap<(String, String), Vec<u64>>;

/// `(epoch, recipient, number)`, each recipient's in order.
pub fn in_order(carried: &mut Carried) -> impl Iterator<Item = (&str, &str, u64)> {
    carried.iter_mut().flat_map(|((epoch, recipient), numbers)| {
        numbers.sort_unstable();
        numbers.iter().map(|number| (epoch.as_str(), recipient.as_str(), *number))
    })
}

/// What lies in `queue/`.
#[derive(Default)]
pub struct Found {
    pub index: Index,
    pub carried: Carried,
    /// Where in followed logs entries came from, and who has them.
    pub sources: Sources,
    /// Files that could not be read; they stay where they are.
    pub unreadable: usize,
}

/// The lock is the kernel's: it goes with the process, whatever way that ends. A queue command holds it for a moment;
/// a daemon that starts just then waits for `patience`.
pub fn take_lock(root: &Path, patience: Duration) -> Result<File, SpoolError> {
    let path = root.join("lock");
    let unusable = |source| SpoolError::Unusable { path: path.clone(), source };
    let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(unusable)?;
    let until = Instant::now() + patience;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::Error(source)) => return Err(unusable(source)),
            Err(fs::TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(SpoolError::InUse(root.into()));
            }
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Found out now, not by the first alert: a directory of another owner, or a file system that is read-only.
pub fn demand_writable(directory: &Path) -> io::Result<()> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    Ok(accessat(CWD, directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// What was being written when the last process ended was never acknowledged.
pub fn clear_fragments(incoming: &Directory) -> io::Result<()> {
    let (ids, _) = sorted_out(incoming)?;
    ids.iter().try_for_each(|id| fs::remove_file(incoming.file(id.as_str())))?;
    if !ids.is_empty() {
        maillog::fragments_removed(ids.len());
    }
    Ok(())
}

/// The index of what waits, and the numbers its entries carry. Damaged entries go to `damaged`.
pub fn read_queue(queue: &Directory, damaged: &Directory) -> io::Result<Found> {
    let (mut ids, hints) = sorted_out(queue)?;
    // Oldest first: near each other on the disk, and the numbers nearly in order.
    ids.sort_unstable();
    let mut found = Found::default();
    let mut to_set_aside = Vec::new();
    let read = |id: &QueueId| {
        let header = read_header(queue, id)?;
        Ok((header, if hints.contains(id) { read_attempts(queue, id) } else { Attempts::default() }))
    };
    let mut to_keep = BTreeSet::new();
    read_all(&ids, read, |id, entry| match entry {
        Ok((header, attempts)) => {
            found.carry(&header);
            found.index.add(id, &header, attempts);
        }
        // One bad sector must not stop all alerts: it stays where it is, and `status` says so.
        Err(EntryError::Unreadable(error)) => {
            maillog::unreadable(id.as_str(), &error.to_string());
            to_keep.insert(id);
            found.unreadable += 1;
        }
        Err(error) => to_set_aside.push((id, error)),
    });
    for (id, error) in &to_set_aside {
        maillog::damaged(id.as_str(), &error.to_string());
        if let Err(error) = shift(queue, damaged, id) {
            maillog::unreadable(id.as_str(), &error.to_string());
            to_keep.insert(id.clone());
            found.unreadable += 1;
        }
    }
    if !to_set_aside.is_empty() {
        damaged.sync()?;
        queue.sync()?;
    }
    clear_hints(queue, hints.iter().filter(|id| found.index.get(id).is_none() && !to_keep.contains(id)));
    Ok(found)
}

impl Found {
    fn carry(&mut self, header: &Header) {
        if let Some(number) = header.sequence {
            let numbers = self.carried.entry((header.epoch.clone(), header.recipient.clone())).or_default();
            numbers.push(number);
        }
        // A header line is not checked until its entry is read: behind such a place nothing would ever be read again.
        let is_believable = |source: &&Source| source.at.generation < GENERATIONS && source.done <= source.at.offset;
        header.source.iter().filter(is_believable).for_each(|source| self.sources.stored(source, &header.recipient));
    }

    /// What lies elsewhere carries numbers too.
    pub fn carry_all(&mut self, directory: &Directory) -> io::Result<()> {
        let (ids, hints) = sorted_out(directory)?;
        let read = |id: &QueueId| read_header(directory, id);
        read_all(&ids, read, |_, header| header.iter().for_each(|header| self.carry(header)));
        let entries: BTreeSet<QueueId> = ids.into_iter().collect();
        clear_hints(directory, hints.difference(&entries));
        Ok(())
    }
}

/// Removes state files whose entry is gone.
fn clear_hints<'a>(directory: &Directory, hints: impl Iterator<Item = &'a QueueId>) {
    for name in hints.flat_map(|id| [format!("{id}.state"), format!("{id}.state.new")]) {
        let _ = fs::remove_file(directory.file(&name));
    }
}

/// Entries and state files by their names; what is neither is named in the log.
fn sorted_out(directory: &Directory) -> io::Result<(Vec<QueueId>, BTreeSet<QueueId>)> {
    let (mut ids, mut hints, mut foreign) = (Vec::new(), BTreeSet::new(), 0);
    for file in fs::read_dir(directory.path())? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        let is_file = file.file_type().is_ok_and(|kind| kind.is_file());
        // What was being replaced when the last process ended.
        let (stem, is_hint) = match name.strip_suffix(".state.new").or(name.strip_suffix(".state")) {
            Some(stem) => (stem, true),
            None => (&*name, false),
        };
        match stem.parse() {
            Ok(id) if is_file && is_hint => _ = hints.insert(id),
            Ok(id) if is_file => ids.push(id),
            _ => {
                foreign += 1;
                if foreign <= NAMED {
                    maillog::foreign_file(&directory.path().join(&*name).to_string_lossy());
                }
            }
        }
    }
    if foreign > NAMED {
        maillog::foreign_files(&directory.path().to_string_lossy(), foreign - NAMED);
    }
    Ok((ids, hints))
}

/// Has `read` read each of `ids`, several at a time, and hands what it says to `take` on this thread.
fn read_all<T: Send>(
    ids: &[QueueId],
    read: impl Fn(&QueueId) -> Result<T, EntryError> + Sync,
    mut take: impl FnMut(QueueId, Result<T, EntryError>),
) {
    let (sender, receiver) = sync_channel(ON_THE_WAY);
    let read = &read;
    std::thread::scope(|scope| {
        for first in 0..READERS.min(ids.len()) {
            let sender = sender.clone();
            // Every fourth: so all read the same part of the disk, and the order is nearly kept.
            scope.spawn(move || {
                for id in ids.iter().skip(first).step_by(READERS) {
                    if sender.send((id.clone(), read(id))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        receiver.into_iter().for_each(|(id, entry)| take(id, entry));
    });
}

/// The header line of the entry `id`, unchecked; but its message is no larger than its file.
pub fn read_header(directory: &Directory, id: &QueueId) -> Result<Header, EntryError> {
    let file = File::open(directory.file(id.as_str()))?;
    let length = file.metadata()?.len();
    let header = entry::read_header(BufReader::with_capacity(HEADER_READ, file))?;
    // What a bad disk makes of it must not take the room of others.
    Ok(Header { size: header.size.min(length), ..header })
}

/// A missing or half-written hint is no hint.
pub fn read_attempts(directory: &Directory, id: &QueueId) -> Attempts {
    let Ok(json) = fs::read(state_file(directory, id)) else { return Attempts::default() };
    serde_json::from_slice(&json).unwrap_or_else(|_| {
        maillog::state_file_lost(id);
        Attempts::default()
    })
}

/// The state file of the entry `id`.
pub fn state_file(directory: &Directory, id: &QueueId) -> std::path::PathBuf {
    directory.file(&format!("{id}.state"))
}

/// A power cut between the two syncs of a move may leave an entry in both places: then it is in `queue`, as if the move had
/// not been asked for yet, or had come to its end.
pub fn clear_doubles(queue: &Directory, shelf: &Directory) {
    let doubled = |id: &QueueId| queue.file(id.as_str()).is_file();
    for id in shelf::ids_in(shelf.path()).filter(doubled) {
        let [kept, double] = [queue, shelf].map(|directory| fs::read(directory.file(id.as_str())).ok());
        if kept.is_some() && kept == double {
            let _ = fs::remove_file(shelf.file(id.as_str()));
            let _ = fs::remove_file(state_file(shelf, &id));
        }
    }
}

/// Moves an entry with its last reply. Durable when both directories are synced, `to` first: a power cut between the two
/// must not leave the entry in neither.
///
/// # Errors
/// There is one of that name already, or the system refuses; the entry stays where it was.
pub fn shift(from: &Directory, to: &Directory, id: &QueueId) -> io::Result<()> {
    let target = to.file(id.as_str());
    if target.symlink_metadata().is_ok() {
        // A rename would silently delete it.
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is already there", target.display())));
    }
    let (old, new) = (state_file(from, id), state_file(to, id));
    if let Ok(state) = File::open(&old) {
        // The rename may be on the disk before the content otherwise.
        state.sync_data()?;
        fs::rename(&old, &new)?;
    }
    fs::rename(from.file(id.as_str()), target)
}

/// The entries of `directory`, oldest first.
pub fn ids_in_order(directory: &Directory) -> Vec<QueueId> {
    let mut ids: Vec<QueueId> = shelf::ids_in(directory.path()).collect();
    ids.sort_unstable();
    ids
}
