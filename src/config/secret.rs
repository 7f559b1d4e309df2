//! Values that never print: passwords.
//!
//! Guarantees: neither `Debug` nor serialisation shows the value, and the octets are overwritten when the value goes.
//! On failure (an unsafe or unreadable file) nothing is loaded and start-up stops with EX_CONFIG.
//! An attacker with an account on the machine controls nothing here as long as the file is private, which is checked.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A password. Printing shows `<redacted>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Where a password comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A file of the operator's.
    File,
    /// systemd's `LoadCredential=`.
    Credential,
}

/// Why a password file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be opened or read.
    #[error("cannot read the password file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others than its owner can read or change it.
    #[error("the password file {path} is open to others than its owner (mode {mode:04o})")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no password, or more than one line.
    #[error("the password file {path} must hold one line with the password")]
    NotOneLine {
        /// The file.
        path: PathBuf,
    },
}

impl SecretError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { path, .. } => {
                format!("Write the password into {} (mode 0400, owned by the service's user).", path.display())
            }
            Self::Exposed { path, .. } => format!("Run: chmod 0400 {}", path.display()),
            Self::NotOneLine { path } => format!("Put the password alone on the first line of {}.", path.display()),
        }
    }
}

impl Secret {
    /// Reads the one line of `path`. The file must be closed to group and others; for a systemd credential the group's
    /// reading bit is allowed, because systemd grants access by an ACL whose mask shows there.
    ///
    /// # Errors
    /// The file is unreadable, exposed, empty, or has more than one line.
    pub fn read(path: &Path, origin: Origin) -> Result<Self, SecretError> {
        let unreadable = |source| SecretError::Unreadable { path: path.into(), source };
        let mode = fs::metadata(path).map_err(unreadable)?.mode() & 0o7777;
        let closed = match origin {
            Origin::File => 0o077,
            Origin::Credential => 0o037,
        };
        if mode & closed != 0 {
            return Err(SecretError::Exposed { path: path.into(), mode });
        }
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() || line.contains(['\n', '\r', '\0']) {
            return Err(SecretError::NotOneLine { path: path.into() });
        }
        Ok(Self(line.to_owned()))
    }

    /// The password itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.0.zeroize();
    }
}
