//! The files of the signing keys in the state directory: see the table in the module above.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::SignerError;
use super::key::{Signer, unusable, write};

/// The files in one state directory.
pub struct Files {
    state: PathBuf,
}

impl Files {
    pub fn of(state: &Path) -> Self {
        Self { state: state.into() }
    }

    pub fn current(&self) -> PathBuf {
        self.state.join("signer.pgp")
    }

    pub fn certificate(&self) -> PathBuf {
        self.state.join("signer.asc")
    }

    pub fn next(&self) -> PathBuf {
        self.state.join("signer-next.pgp")
    }

    pub fn next_certificate(&self) -> PathBuf {
        self.state.join("signer-next.asc")
    }

    pub fn next_from(&self) -> PathBuf {
        self.state.join("signer-next.from")
    }

    pub fn former(&self, signer: &Signer) -> PathBuf {
        self.state.join(format!("signer-{}.asc", signer.fingerprint()))
    }

    /// The present key.
    pub fn read(&self) -> Result<Signer, SignerError> {
        Signer::read(&self.current()).map(|mut signers| signers.swap_remove(0))
    }

    /// The next key, if one is announced.
    pub fn read_next(&self) -> Result<Option<Signer>, SignerError> {
        match Signer::read(&self.next()) {
            Ok(mut signers) => Ok(Some(signers.swap_remove(0))),
            Err(SignerError::None(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// When the next key takes over, if the daemon has begun to announce it.
    pub fn read_from(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339(fs::read_to_string(self.next_from()).ok()?.trim()).ok()
    }

    /// The next key takes over at `from`.
    pub fn begin(&self, from: SystemTime) -> Result<SystemTime, SignerError> {
        write(&self.next_from(), humantime::format_rfc3339_seconds(from).to_string().as_bytes())?;
        Ok(from)
    }

    /// Writes a key and its public half. The public half first: a crash between the two leaves no key whose public half
    /// nobody has.
    pub fn keep(&self, signer: &Signer, secret: &Path, public: &Path) -> Result<(), SignerError> {
        let octets = |error| unusable(secret, &error);
        write(public, &signer.armored().map_err(octets)?)?;
        write(secret, &signer.secret().map_err(octets)?)
    }

    /// The next key becomes the present one, the present one a former one whose secret half is gone.
    pub fn promote(&self, current: &Signer, next: &Signer) -> Result<(), SignerError> {
        let octets = |error| unusable(&self.current(), &error);
        write(&self.former(current), &current.armored().map_err(octets)?)?;
        self.keep(next, &self.current(), &self.certificate())?;
        self.forget_next();
        Ok(())
    }

    /// What stays because of a crash or a disk in between is taken away at the next start. The key goes last, so that no
    /// date is left for another one.
    pub fn forget_next(&self) {
        [self.next_from(), self.next_certificate(), self.next()].iter().for_each(|file| {
            let _ = fs::remove_file(file);
        });
    }

    /// The public half lies beside the key, whoever took it away.
    pub fn show_certificate(&self, current: &Signer) -> Result<(), SignerError> {
        let armored = current.armored().map_err(|error| unusable(&self.current(), &error))?;
        match fs::read(self.certificate()) {
            Ok(there) if there == armored => Ok(()),
            Ok(_) => write(&self.certificate(), &armored),
            Err(error) if error.kind() == io::ErrorKind::NotFound => write(&self.certificate(), &armored),
            Err(source) => Err(SignerError::File { path: self.certificate(), source }),
        }
    }
}
