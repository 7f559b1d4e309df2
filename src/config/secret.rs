//! Values that never print: passwords, tokens, keys.
//!
//! Guarantees: neither `Debug` nor serialisation shows the value, and the octets are overwritten when the value goes.
//! On failure (an unsafe or unreadable file) nothing is loaded; at start-up that stops the daemon with EX_CONFIG.
//! An attacker with an account on the machine controls nothing here as long as the file is private, which is checked.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use zeroize::Zeroize;

/// A password, a token, a key. Printing shows `<redacted>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A file that holds a secret. It is read when the secret is needed, because somebody may renew it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// What it holds, for messages: `password`, `token`.
    pub what: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Whose it is.
    pub origin: Origin,
}

/// Where a secret comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A file of the operator's.
    File,
    /// systemd's `LoadCredential=`.
    Credential,
}

/// Why the file of a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be opened or read.
    #[error("cannot read the {what} file {path}: {source}")]
    Unreadable {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others than its owner can read or change it.
    #[error("the {what} file {path} is open to others than its owner (mode {mode:04o})")]
    Exposed {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds nothing, or more than one line.
    #[error("the {what} file {path} must hold one line with the {what}")]
    NotOneLine {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
}

impl SecretError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { what, path, .. } => {
                format!("Write the {what} into {} (mode 0400, owned by the service's user).", path.display())
            }
            Self::Exposed { path, .. } => format!("Run: chmod 0400 {}", path.display()),
            Self::NotOneLine { what, path } => format!("Put the {what} alone on the first line of {}.", path.display()),
        }
    }
}

impl SecretFile {
    /// The secret on its one line, as it is now.
    ///
    /// # Errors
    /// The file is unreadable, exposed, empty, or has more than one line.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let text = self.text()?;
        let line = text.0.strip_suffix('\n').unwrap_or(&text.0);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() || line.contains(['\n', '\r', '\0']) {
            return Err(SecretError::NotOneLine { what: self.what, path: self.path.clone() });
        }
        Ok(Secret(line.to_owned()))
    }

    /// All of the file, for a key in PEM. It must be closed to group and others; for a systemd credential the group's
    /// reading bit is allowed, because systemd grants access by an ACL whose mask shows there.
    ///
    /// # Errors
    /// The file is unreadable or exposed.
    pub fn text(&self) -> Result<Secret, SecretError> {
        let (what, path) = (self.what, &self.path);
        let unreadable = |source| SecretError::Unreadable { what, path: path.clone(), source };
        let mode = fs::metadata(path).map_err(unreadable)?.mode() & 0o7777;
        let closed = match self.origin {
            Origin::File => 0o077,
            Origin::Credential => 0o037,
        };
        if mode & closed != 0 {
            return Err(SecretError::Exposed { what, path: path.clone(), mode });
        }
        fs::read_to_string(path).map(Secret).map_err(unreadable)
    }
}

impl Secret {
    /// One that did not come from a file.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one place that sends it.
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
        self.0.zeroize();
    }
}
