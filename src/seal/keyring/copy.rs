//! The last usable copy of a certificate, in the state directory: `certificates/FINGERPRINT.pgp`.
//!
//! It is what sealing goes on with when the configured file breaks, and it keeps every revocation ever seen. Its
//! modification time says when it was last usable: if only a newer policy refuses it, its keys are those of then.
//! On failure to write it, it is missing later, which is no reason to stop now.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::serialize::SerializeInto;

use super::file::Files;
use super::unusable::Unusable;
use crate::config::OpenPgpFingerprint;
use crate::maillog;
use crate::spool::replace;

/// Where the copy of one certificate is, and what it was at the start.
pub struct Copy {
    file: PathBuf,
    /// What is there, if it can be read.
    pub certificate: Option<Cert>,
    /// When it was last usable, if it ever was.
    pub worked_at: Option<SystemTime>,
}

impl Copy {
    /// Reads the copy of `fingerprint`'s certificate in `state`.
    pub fn read(state: &Path, fingerprint: &OpenPgpFingerprint) -> Self {
        let file = state.join("certificates").join(format!("{fingerprint}.pgp"));
        let certificate = match Files::read(std::slice::from_ref(&file)).find(fingerprint) {
            Ok(certificate) => Some(certificate),
            Err(trouble) => {
                if !matches!(&trouble, Unusable::Unreadable(..) if !file.exists()) {
                    maillog::hindered(
                        "the last usable copy cannot be used; what it knew is lost",
                        &trouble.to_string(),
                    );
                }
                None
            }
        };
        let worked_at = fs::metadata(&file).and_then(|file| file.modified()).ok();
        Self { file, certificate, worked_at }
    }

    /// Replaces the copy by `certificate`, which was last usable at `worked_at`.
    pub fn keep(&self, certificate: &Cert, worked_at: SystemTime) {
        if let Err(why) = self.write(certificate, worked_at) {
            maillog::hindered("the last usable copy of a certificate cannot be kept", &format!("{why:#}"));
        }
    }

    fn write(&self, certificate: &Cert, worked_at: SystemTime) -> openpgp::Result<()> {
        let octets = certificate.to_vec()?;
        fs::create_dir_all(self.file.parent().unwrap_or(Path::new(".")))?;
        replace(&self.file, &octets)?;
        Ok(File::open(&self.file)?.set_modified(worked_at)?)
    }
}
