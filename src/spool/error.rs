//! Why the spool cannot be used, in words for an operator.
//!
//! Guarantees: each error names the path, the system's words and what to do. It goes to the log and the operator, never to
//! a client. An attacker chooses none of it.

use std::io;
use std::path::PathBuf;

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
            Self::Unusable { path, source } => match source.kind() {
                io::ErrorKind::ReadOnlyFilesystem => {
                    format!("The file system of {} is read-only: remount it, and look why in `dmesg`.", path.display())
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    format!("Make room on the disk of {}.", path.display())
                }
                io::ErrorKind::PermissionDenied => format!(
                    "The service's user must own {path} and may write there: chown -R USER {path}",
                    path = path.display()
                ),
                _ => format!("The service's user must own {} and the disk must be well.", path.display()),
            },
            Self::Numbers { path, .. } => format!(
                "The service's user must own {}. If numbers.0 and numbers.1 are damaged, move them away: a new epoch begins.",
                path.display()
            ),
        }
    }
}
