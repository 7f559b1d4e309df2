//! Writing so that it outlives a crash: write, sync the file, rename, sync the directory.
//!
//! Guarantees: when a function here returns `Ok`, what it wrote is on the disk, its name included. On failure the caller
//! must treat the file as not written. Nothing here is under an attacker's control but the octets that are written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

/// Writes a new file and syncs its content. Its *name* is not durable yet: see [`Directory::sync`].
///
/// # Errors
/// The file exists, or the system refuses. What was written so far is removed.
pub fn write_new(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_data());
    if written.is_err() {
        // A fragment is never acknowledged; if it cannot even be removed, the next start does it.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Replaces the small file at `path` in one step: a reader sees the old or the new content, never a half.
///
/// # Errors
/// The system refuses; then the old content stands.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => write_new(&new, &[content])?,
    }
    std::fs::rename(&new, path)?;
    // Without this a power cut could bring the old name back: the rename itself lives in the directory.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Replaces the small file at `path` in one step and does not sync it: for a hint, which a power cut may bring back as it
/// was before, or empty.
///
/// # Errors
/// The system refuses; then the old content stands.
pub fn replace_hint(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = with_suffix(path, ".new");
    std::fs::write(&new, content)?;
    std::fs::rename(&new, path)
}

/// `path` with `suffix` behind its file name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A directory whose syncs are shared: writers that wait at the same time are served by one fsync.
pub struct Directory {
    path: PathBuf,
    handle: File,
    turns: Mutex<Turns>,
    done: Condvar,
}

#[derive(Default)]
struct Turns {
    /// Tickets given out.
    requested: u64,
    /// Every ticket up to this one is on disk or lost.
    settled: u64,
    /// First and last ticket of each sync that did not succeed. The kernel reports a lost write once and then says all
    /// is well, so these must not be served by a later sync.
    lost: Vec<(u64, u64)>,
    /// Somebody is in fsync right now.
    busy: bool,
}

impl Directory {
    /// Opens `path`, making it (mode 0700) if it is missing.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let handle = File::open(&path)?;
        // A new directory's own name lives in its parent.
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { path, handle, turns: Mutex::default(), done: Condvar::new() })
    }

    /// The file `name` in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns when every rename and unlink done here before the call is on disk. Without it a power cut could undo
    /// them: an acknowledged entry would be gone, or a sent one back.
    ///
    /// # Errors
    /// The system could not sync; nothing may be taken for durable then.
    pub fn sync(&self) -> io::Result<()> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.requested += 1;
        let ticket = turns.requested;
        loop {
            if turns.lost.iter().any(|(first, last)| (*first..=*last).contains(&ticket)) {
                return Err(io::Error::other("the directory's sync did not succeed"));
            }
            if turns.settled >= ticket {
                return Ok(());
            }
            if turns.busy {
                turns = self.done.wait(turns).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            turns.busy = true;
            let covers = turns.requested;
            drop(turns);
            let outcome = self.handle.sync_all();
            turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.busy = false;
            if outcome.is_err() {
                let first = turns.settled + 1;
                turns.lost.push((first, covers));
            }
            turns.settled = covers;
            self.done.notify_all();
            // Whoever was covered, this caller included, finds its answer above.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_content_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("record");
        replace(&path, b"one").expect("first");
        std::fs::write(with_suffix(&path, ".new"), b"half of a cra").expect("a crash's leftover");
        replace(&path, b"two").expect("second");
        assert_eq!(std::fs::read(&path).expect("content"), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listing").count(), 1);
    }

    #[test]
    fn every_writer_that_waits_is_served() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let directory = Directory::open(folder.path().join("queue")).expect("made");
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..20).for_each(|_| directory.sync().expect("synced")));
            }
        });
        let turns = directory.turns.lock().expect("not poisoned");
        assert_eq!((turns.requested, turns.settled), (320, 320));
        assert!(turns.lost.is_empty());
    }
}
