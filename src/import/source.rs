//! Reads the other program's files: regular ones, up to a size.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Octets. A main.cf of a thousand lines has 40 KiB; an ossec.conf with rules in it a few hundred.
const LIMIT: u64 = 2 * 1024 * 1024;

/// Why there is nothing to import.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("{0} is no regular file")]
    NoFile(PathBuf),
    /// It has more octets than any such file needs.
    #[error("{0} is larger than 2 MiB")]
    TooLarge(PathBuf),
    /// It is not in the form it should be in.
    #[error("{path}:{line}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser said, printable.
        what: String,
    },
}

impl ImportError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "Name the directory or file of the other program; root can read all of them.",
            Self::NoFile(_) => "Name the file itself.",
            Self::TooLarge(_) => "Is it the right file? Take out what does not concern mail.",
            Self::Malformed { .. } => "Correct that line in a copy, and import the copy.",
        }
    }
}

/// The text of `path`; octets that are not UTF-8 become U+FFFD, which no value of ours may hold.
///
/// # Errors
/// It is unreadable, no regular file, or too large.
pub fn read(path: &Path) -> Result<String, ImportError> {
    let unreadable = |source| ImportError::Unreadable { path: path.to_owned(), source };
    // Without NONBLOCK a pipe in the file's place would keep us waiting.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(ImportError::NoFile(path.to_owned()));
    }
    let mut octets = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut octets).map_err(unreadable)?;
    if octets.len() as u64 > LIMIT {
        return Err(ImportError::TooLarge(path.to_owned()));
    }
    Ok(String::from_utf8_lossy(&octets).into_owned())
}
