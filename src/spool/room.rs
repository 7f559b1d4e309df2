//! Whether there is room for more: the quota, and the reserve that the file system must keep.
//!
//! Counted against the quota is what waits (`queue/`, `held/`), in blocks as file systems give them. The reserve keeps
//! room for what a queue needs to *empty*: state files, moves, the record of numbers. It is there before the disk is
//! full, because a refusal in the banner is all that an alert client notices, and because a full disk also stops others.
//!
//! **`failed/` is never the reason for refusing.** It does not count against the quota, and as to the reserve its octets
//! count as free: if the disk is full because of it, alerts are taken until the disk itself refuses, and `status` says
//! that `failed/` is what fills it. (We could refuse earlier, and lose alerts for the sake of messages that nobody will
//! send; or delete, which nobody may but an operator.)
//!
//! On failure to ask the file system nothing is refused: the disk itself does that. An attacker who can hand in alerts
//! can fill the quota; that raises `status` and never touches what waits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::Portion;
use crate::maillog;

/// Files take whole blocks.
const BLOCK: u64 = 4096;
/// The header line of an entry, roughly, octets.
const HEADER: u64 = 512;
/// Files that can still be made, at least: state files, sockets, what sessions under way write.
const FILES: u64 = 64;
/// The file system is asked this often at most.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Lines about the same room come this often at most: at the edge every message that is sent makes room for one.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// How much room there is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Room {
    /// Enough.
    #[default]
    Enough,
    /// More than 80 % of the quota is used, or the file system is near its reserve.
    Scarce,
    /// Intake answers 421.
    None,
}

/// What a message of `size` octets takes on the disk.
pub fn of_message(size: u64) -> u64 {
    of_file(size.saturating_add(HEADER))
}

/// What a file of `size` octets takes on the disk.
pub fn of_file(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// Watches the room of one spool.
pub struct Gauge {
    root: PathBuf,
    quota: Portion,
    reserve: Portion,
    file_system: Mutex<Option<(Instant, FileSystem)>>,
    room: AtomicU8,
    /// When each of the three was logged last.
    said: Mutex<[Option<Instant>; 3]>,
}

/// What the file system says.
#[derive(Clone, Copy)]
struct FileSystem {
    size: u64,
    free: u64,
    files_free: u64,
}

/// What is used, and the limits, octets.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// What waits takes this much.
    pub used: u64,
    /// It may take this much.
    pub quota: u64,
    /// Free on the file system.
    pub free: u64,
    /// Must stay free there.
    pub reserve: u64,
    /// What lies in `failed/` takes this much; it counts against nothing.
    pub failed: u64,
}

impl Gauge {
    /// Of the spool in `root`.
    pub fn new(root: &Path, quota: Portion, reserve: Portion) -> Self {
        let room = AtomicU8::new(Room::Enough as u8);
        Self { root: root.into(), quota, reserve, file_system: Mutex::default(), room, said: Mutex::default() }
    }

    /// The room, as it was measured last.
    pub fn room(&self) -> Room {
        match self.room.load(Ordering::Acquire) {
            2 => Room::None,
            1 => Room::Scarce,
            _ => Room::Enough,
        }
    }

    /// Measures, with what waits and what lies in `failed/`, octets, and says in the log what has changed.
    pub fn measure(&self, used: u64, failed: u64) -> Usage {
        let system = self.file_system();
        let (quota, reserve) = (self.quota.of(system.size), self.reserve.of(system.size));
        let usage = Usage { used, quota, free: system.free, reserve, failed };
        let room = usage.room(self.room(), system.files_free);
        let before = self.room.swap(room as u8, Ordering::AcqRel);
        if before != room as u8 {
            self.say(room, &usage);
        }
        usage
    }

    /// The next measurement asks the file system, however short ago that was.
    pub fn ask_anew(&self) {
        *self.file_system.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn file_system(&self) -> FileSystem {
        let mut known = self.file_system.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some((at, system)) if at.elapsed() < ASK_EVERY => system,
            _ => {
                let nothing_is_known = FileSystem { size: u64::MAX, free: u64::MAX, files_free: u64::MAX };
                let system = ask(&self.root).unwrap_or(nothing_is_known);
                *known = Some((Instant::now(), system));
                system
            }
        }
    }

    fn say(&self, room: Room, usage: &Usage) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said[room as usize].is_some_and(|at| at.elapsed() < SAY_EVERY) {
            return;
        }
        said[room as usize] = Some(Instant::now());
        match room {
            Room::Enough => maillog::room_again(),
            Room::Scarce => maillog::room_is_scarce(&usage.to_string()),
            Room::None => maillog::no_room(&usage.to_string()),
        }
    }
}

impl Usage {
    fn room(&self, before: Room, files_free: u64) -> Room {
        let is_free = |wanted: u64| self.free.saturating_add(self.failed) >= wanted;
        // Once scarce, it takes a little more to be enough: the log must not swing at the edge.
        let scarce_from = if before == Room::Enough { 80 } else { 75 };
        if self.used >= self.quota || !is_free(self.reserve) || files_free < FILES {
            Room::None
        } else if self.used >= self.quota / 100 * scarce_from || !is_free(self.reserve.saturating_mul(2)) {
            Room::Scarce
        } else {
            Room::Enough
        }
    }

    /// Whether the disk has no room, and would have some but for `failed/`.
    pub fn is_filled_by_failed(&self) -> bool {
        self.free < self.reserve && self.free.saturating_add(self.failed) >= self.reserve
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mebibytes = |octets: u64| octets.div_ceil(1024 * 1024);
        let percent = u128::from(self.used) * 100 / u128::from(self.quota.max(1));
        write!(
            f,
            "waiting messages take {} MiB, {percent} % of spool.quota; the disk has {} MiB free, spool.reserve is {} MiB",
            mebibytes(self.used),
            mebibytes(self.free),
            mebibytes(self.reserve)
        )
    }
}

fn ask(root: &Path) -> io::Result<FileSystem> {
    let told = rustix::fs::statvfs(root)?;
    // Some file systems have no fixed number of files, and say 0.
    let files_free = if told.f_files == 0 { u64::MAX } else { told.f_favail };
    let octets = |blocks: u64| blocks.saturating_mul(told.f_frsize);
    Ok(FileSystem { size: octets(told.f_blocks), free: octets(told.f_bavail), files_free })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: u64 = 1000;

    fn usage(used: u64, free: u64, failed: u64) -> Usage {
        Usage { used, quota: 1000, free, reserve: 100, failed }
    }

    #[test]
    fn the_quota_warns_at_80_percent_and_ends_at_100() {
        let room = |used, before| usage(used, 5000, 0).room(before, MANY);
        assert_eq!(room(799, Room::Enough), Room::Enough);
        assert_eq!(room(800, Room::Enough), Room::Scarce);
        assert_eq!(room(999, Room::Scarce), Room::Scarce);
        assert_eq!(room(1000, Room::Scarce), Room::None);
        assert_eq!(room(760, Room::Scarce), Room::Scarce, "the log must not swing");
        assert_eq!(room(740, Room::Scarce), Room::Enough);
    }

    #[test]
    fn a_disk_that_failed_messages_fill_is_no_reason_to_refuse() {
        assert_eq!(usage(0, 99, 0).room(Room::Enough, MANY), Room::None);
        let filled = usage(0, 99, 1);
        assert_eq!(filled.room(Room::Enough, MANY), Room::Scarce);
        assert!(filled.is_filled_by_failed());
        assert_eq!(usage(0, 0, 10_000).room(Room::Enough, MANY), Room::Enough);
    }

    #[test]
    fn no_file_that_can_be_made_is_no_room() {
        assert_eq!(usage(0, 5000, 0).room(Room::Enough, FILES - 1), Room::None);
    }
}
