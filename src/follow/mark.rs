//! How far a log was read, for a start on which neither spool nor record says as much.
//!
//! Entries say where they came from, but most lines make none, and after a quiet week the last entry may be long gone. So
//! the place is kept in the state directory too, now and then: `follow-NAME.json`. It is never ahead of what is durable,
//! and if it is old or gone, lines that made no entry are read again, which harms nobody.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::envelope::hex;
use crate::position::{FileId, Position};
use crate::spool;

/// How often it is kept.
const EVERY: Duration = Duration::from_secs(10);

/// The place of one log.
pub struct Mark {
    path: PathBuf,
    kept: Option<Kept>,
    at: Instant,
}

/// What stands in the file.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
struct Kept {
    log: String,
    file: FileId,
    done: Position,
}

impl Mark {
    /// That of `log`, in `state`. One that is missing or cannot be read says nothing.
    pub fn open(state: &Path, log: &str) -> Self {
        let name = hex(&Sha256::digest(log)[..8]);
        let path = state.join(format!("follow-{name}.json"));
        let kept = std::fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let kept = kept.filter(|kept: &Kept| kept.log == log);
        Self { path, kept, at: Instant::now() }
    }

    /// Up to where, in which file.
    pub fn done(&self) -> Option<(FileId, Position)> {
        self.kept.as_ref().map(|kept| (kept.file.clone(), kept.done))
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
        let kept = Kept { log: log.to_owned(), file, done };
        if self.kept.as_ref() == Some(&kept) {
            return Ok(());
        }
        spool::replace(&self.path, &serde_json::to_vec(&kept)?)?;
        self.kept = Some(kept);
        Ok(())
    }
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
        assert_eq!(Mark::open(folder.path(), "/log").done(), None);
    }
}
