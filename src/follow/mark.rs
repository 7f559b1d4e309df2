//! How far a log was read, for a start on which neither spool nor record says as much.
//!
//! Entries say where they came from, but most lines make none, and after a quiet week the last entry may be long gone. So
//! the place is kept in the state directory too, now and then: `follow-NAME.json`. It is never ahead of what is durable,
//! and if it is old or cannot be read, lines that made no entry are read again, which harms nobody. What was found to be
//! lost stands there too, so that a start does not make it unsaid.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::envelope::hex;
use crate::position::{FileId, Position};
use crate::spool;
use crate::status::seconds_now;

/// How often it is kept.
const EVERY: Duration = Duration::from_secs(10);
/// How long something lost, or odd, is told.
pub const TOLD: Duration = Duration::from_secs(24 * 60 * 60);

/// What is told of losses grows up to this, octets; the log has all of it.
const GAP_LIMIT: usize = 2000;

/// The place of one log.
pub struct Mark {
    path: PathBuf,
    kept: Option<Kept>,
    /// Why what is there says nothing.
    unreadable: Option<String>,
    gap: Option<Gap>,
    at: Instant,
}

/// Something of a log that was not found.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Seconds since 1970.
    at: u64,
    what: String,
}

impl Gap {
    /// What is told of it, while it is.
    pub fn told(&self) -> Option<String> {
        let age = seconds_now().saturating_sub(self.at);
        (age < TOLD.as_secs()).then(|| format!("{} (told for a day)", self.what))
    }
}

/// What stands in the file.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
struct Kept {
    log: String,
    file: FileId,
    done: Position,
    #[serde(default)]
    gap: Option<Gap>,
}

impl Mark {
    /// That of `log`, in `state`. One that is missing or cannot be read says nothing.
    pub fn open(state: &Path, log: &str) -> Self {
        let name = hex(&Sha256::digest(log)[..8]);
        let path = state.join(format!("follow-{name}.json"));
        let (kept, unreadable) = match read(&path, log) {
            Ok(kept) => (kept, None),
            Err(why) => (None, Some(format!("{} cannot be read: {why}", path.display()))),
        };
        let gap = kept.as_ref().and_then(|kept| kept.gap.clone());
        Self { path, kept, unreadable, gap, at: Instant::now() }
    }

    /// Why the place is not known, though one was kept.
    pub fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// What was found to be lost.
    pub fn gap(&self) -> Option<Gap> {
        self.gap.clone()
    }

    /// From now on it is kept with the place that `what` was found to be lost, beside what is told already.
    pub fn tell(&mut self, what: &str) -> Gap {
        let told = self.gap.take().filter(|gap| gap.told().is_some() && gap.what.len() < GAP_LIMIT);
        let what = told.map_or_else(|| what.to_owned(), |told| format!("{}; {what}", told.what));
        self.gap.insert(Gap { at: seconds_now(), what }).clone()
    }

    /// Up to where, in which file.
    pub fn done(&self) -> Option<(FileId, Position)> {
        self.kept.as_ref().map(|kept| (kept.file.clone(), kept.done))
    }

    /// When it was kept last, if it was: what was read was written before, but for some seconds of it.
    pub fn kept_at(&self) -> Option<SystemTime> {
        std::fs::metadata(&self.path).and_then(|data| data.modified()).ok()
    }

    /// Whether it is time to keep it.
    pub fn is_due(&self) -> bool {
        self.at.elapsed() >= EVERY
    }

    /// Keeps it: everything of `log` up to `done` in `file` is durable or was not to be sent.
    ///
    /// # Errors
    /// It cannot be written; the old one stands.
    pub fn keep(&mut self, log: &str, file: FileId, done: Position) -> io::Result<()> {
        self.at = Instant::now();
        let kept = Kept { log: log.to_owned(), file, done, gap: self.gap.clone() };
        if self.kept.as_ref() == Some(&kept) {
            return Ok(());
        }
        spool::replace(&self.path, &serde_json::to_vec(&kept)?)?;
        (self.kept, self.unreadable) = (Some(kept), None);
        Ok(())
    }
}

/// What is kept of `log` at `path`, if anything.
fn read(path: &Path, log: &str) -> io::Result<Option<Kept>> {
    let json = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        json => json?,
    };
    let kept: Kept = serde_json::from_slice(&json)?;
    if kept.log == log { Ok(Some(kept)) } else { Err(io::Error::other(format!("it is about {}", kept.log))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_half_a_one_says_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let done = (FileId::from_head(1, b"x"), Position { generation: 2, offset: 7 });
        let mut mark = Mark::open(folder.path(), "/log");
        assert!(mark.done().is_none());
        mark.keep("/log", done.0.clone(), done.1).expect("kept");
        assert_eq!(Mark::open(folder.path(), "/log").done(), Some(done));
        assert_eq!(Mark::open(folder.path(), "/other").done(), None);
        std::fs::write(&mark.path, "{\"log\":").expect("written");
        let half = Mark::open(folder.path(), "/log");
        assert!(half.done().is_none() && half.unreadable().is_some());
        assert!(Mark::open(folder.path(), "/other").unreadable().is_none(), "there never was one");
    }

    #[test]
    fn what_is_lost_is_told_for_a_day_and_a_start_does_not_make_it_unsaid() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut mark = Mark::open(folder.path(), "/log");
        assert_eq!(mark.tell("a file is gone").what, "a file is gone");
        mark.keep("/log", FileId::default(), Position::default()).expect("kept");
        let gap = Mark::open(folder.path(), "/log").gap().expect("a gap");
        assert_eq!(gap.told().as_deref(), Some("a file is gone (told for a day)"));
        assert_eq!(mark.tell("another").what, "a file is gone; another");
        let old = Gap { at: gap.at - 24 * 60 * 60, ..gap };
        assert_eq!(old.told(), None);
        mark.gap = Some(old);
        assert_eq!(mark.tell("another").what, "another");
    }
}
