//! What is remembered between two runs of `verify`: signers, runs of numbers, what a person has looked into. One JSON file
//! of the user's, mode 0600.
//!
//! On failure to read it nothing is verified: without it tidied mail would be gaps and any signer new. A thief of the file
//! learns how many alerts came and when, and nothing of them; whoever can write it can make `verify` believe anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::runs::{Run, RunId};
use super::signers::{Remembered, Signers};
use crate::spool::{replace, with_suffix};

/// The form that is written.
const FORMAT: u32 = 1;
/// Messages at most that a person has looked into and that are not listed again.
const LOOKED_INTO: usize = 10_000;

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{0} is not what `sealrelay verify` wrote: {1}")]
    Damaged(PathBuf, String),
    /// Another `verify` uses it.
    #[error("another `sealrelay verify` uses {0}")]
    InUse(PathBuf),
}

/// All of it.
pub struct Memory {
    path: PathBuf,
    /// Who signs.
    pub signers: Signers,
    pub(super) runs: BTreeMap<RunId, Run>,
    pub(super) looked_into: BTreeSet<String>,
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct Form {
    format: u32,
    signers: Vec<Remembered>,
    runs: Vec<(RunId, Run)>,
    looked_into: BTreeSet<String>,
}

impl Memory {
    /// Opens the file at `path`, or begins one.
    ///
    /// # Errors
    /// It cannot be used, or is in use.
    pub fn open(path: &Path) -> Result<Self, MemoryError> {
        let unusable = |source| MemoryError::File { path: path.to_owned(), source };
        let damaged = |why: String| MemoryError::Damaged(path.to_owned(), why);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        }
        let lock = with_suffix(path, ".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(lock).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(MemoryError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let mut memory = Self {
            path: path.to_owned(),
            signers: Signers::default(),
            runs: BTreeMap::new(),
            looked_into: BTreeSet::new(),
            _lock: lock,
        };
        match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(unusable(source)),
            Ok(json) => {
                let form: Form = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
                if form.format > FORMAT {
                    return Err(damaged(format!("a newer version wrote it (form {})", form.format)));
                }
                memory.signers = Signers::recall(&form.signers).map_err(|error| damaged(format!("{error:#}")))?;
                memory.runs = form.runs.into_iter().collect();
                memory.looked_into = form.looked_into;
            }
        }
        Ok(memory)
    }

    /// Writes it.
    ///
    /// # Errors
    /// The system refuses; what was there stands.
    pub fn write(self) -> Result<(), MemoryError> {
        let form = Form {
            format: FORMAT,
            signers: self.signers.remember(),
            runs: self.runs.into_iter().collect(),
            looked_into: self.looked_into,
        };
        let unusable = |source| MemoryError::File { path: self.path.clone(), source };
        let json = serde_json::to_vec(&form).map_err(|error| unusable(error.into()))?;
        replace(&self.path, &json).map_err(unusable)
    }

    pub(super) fn look_into(&mut self, digest: &str) {
        if self.looked_into.len() < LOOKED_INTO {
            self.looked_into.insert(digest.to_owned());
        }
    }
}
