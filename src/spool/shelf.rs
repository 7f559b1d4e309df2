//! A directory of entries that are not offered: `held/`, `failed/`, `damaged/`.
//!
//! How many lie there and what they take is counted from the directory itself, and only when it has changed: an
//! operator may take a file away by hand at any time.

use std::fs;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::durable::Directory;
use super::room;
use crate::envelope::QueueId;

/// A directory that was changed this short ago may change again without another time of change.
const TICK: Duration = Duration::from_secs(1);

/// The directory, and what was counted there.
pub struct Shelf {
    directory: Directory,
    counted: Mutex<Option<(SystemTime, Tally)>>,
}

/// How much lies there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries.
    pub entries: usize,
    /// What they take on the disk, octets.
    pub octets: u64,
}

impl Shelf {
    /// As [`Directory::open`].
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        Ok(Self { directory: Directory::open(path)?, counted: Mutex::default() })
    }

    /// How much lies there now; nothing, if it cannot be read.
    pub fn tally(&self) -> Tally {
        let now = SystemTime::now();
        let changed = fs::metadata(self.path()).and_then(|data| data.modified()).unwrap_or(now);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        match *counted {
            Some((at, tally)) if at == changed => tally,
            _ => {
                let tally = count(self.path());
                let is_settled = now.duration_since(changed).is_ok_and(|age| age > TICK);
                *counted = is_settled.then_some((changed, tally));
                tally
            }
        }
    }
}

impl Deref for Shelf {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.directory
    }
}

/// The entries of `directory`, in no order; nothing, if it cannot be read.
pub fn ids_in(directory: &Path) -> impl Iterator<Item = QueueId> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|file| file.file_name().to_str()?.parse().ok())
}

fn count(directory: &Path) -> Tally {
    ids_in(directory).fold(Tally::default(), |tally, id| {
        let size = fs::symlink_metadata(directory.join(id.as_str())).map_or(0, |data| data.len());
        Tally { entries: tally.entries + 1, octets: tally.octets + room::of_file(size) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_takes_away_by_hand_is_counted_no_more() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shelf = Shelf::open(folder.path().join("failed")).expect("made");
        let ids: Vec<_> = (0..3).map(|_| QueueId::new(SystemTime::now())).collect();
        ids.iter().for_each(|id| fs::write(shelf.file(id.as_str()), [0; 5000]).expect("written"));
        fs::write(shelf.file("README"), "foreign").expect("written");
        assert_eq!(shelf.tally(), Tally { entries: 3, octets: 3 * 8192 });
        fs::remove_file(shelf.file(ids[1].as_str())).expect("removed");
        assert_eq!(shelf.tally(), Tally { entries: 2, octets: 2 * 8192 });
    }
}
