//! Why there is no key to sign with, and what to do next.

use std::io;
use std::path::PathBuf;

use crate::config::OpenPgpFingerprint;

/// Why there is no key to sign with, or why it stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A file cannot be read or written.
    #[error("cannot keep the relay's signing key in {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than its owner can read it.
    #[error("the relay's signing key {path} is open to others than its owner (mode {mode:04o})")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is there is no key that can sign.
    #[error("the relay's signing key {path} cannot be used: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What Sequoia said.
        why: String,
    },
    /// There is none yet.
    #[error("there is no signing key in {0}")]
    None(PathBuf),
    /// Another one is there, which would be lost.
    #[error("another signing key, {fingerprint}, is already in {path}")]
    Another {
        /// The file.
        path: PathBuf,
        /// Its fingerprint.
        fingerprint: OpenPgpFingerprint,
    },
    /// There is a next key, and none that announces it.
    #[error("the signing key that announces {0} is gone")]
    Orphan(PathBuf),
    /// A change is under way.
    #[error("a new signing key, {0}, is already being announced")]
    Rotating(OpenPgpFingerprint),
}

impl SignerError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::File { path, .. } => format!("The service's user must own the folder of {}.", path.display()),
            Self::Exposed { path, .. } => {
                format!("Run: chmod 0600 {}. If others read it, move it away: a new one is made.", path.display())
            }
            Self::Unusable { path, .. } => format!(
                "Restore {} from a backup, or move it away: a new one is made, whose public half the recipients need.",
                path.display()
            ),
            Self::None(_) => {
                "`sealrelay run` makes it on its first start; `sealrelay keys signer --import FILE` brings one back."
                    .to_owned()
            }
            Self::Another { path, .. } => format!(
                "If that key is to be given up, stop the relay and move it away: mv {0} {0}.old. If it was made just \
                 now by a first start, nobody knows it yet.",
                path.display()
            ),
            Self::Orphan(next) => format!(
                "Restore signer.pgp from a backup. If it was stolen or is lost, move {} away too: a new one is made, whose \
                 public half the recipients need.",
                next.display()
            ),
            Self::Rotating(_) => "It takes over by itself; `sealrelay keys signer` says when.".to_owned(),
        }
    }

    /// The sysexits code: 66 no input, 73 cannot create, 75 not now, 78 configuration.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::None(_) => 66,
            Self::File { .. } | Self::Another { .. } => 73,
            Self::Rotating(_) => 75,
            Self::Exposed { .. } | Self::Unusable { .. } | Self::Orphan(_) => 78,
        }
    }
}
