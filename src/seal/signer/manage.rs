//! What an operator does with the relay's key: look at it, rotate it, take it over a reinstall.
//!
//! Guarantees: no key is ever overwritten by another one here; what is written is readable by its owner only. The daemon
//! may be running meanwhile: it reads keys at start and reload, and files are replaced as a whole.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use sequoia_openpgp as openpgp;

use openpgp::armor;

use super::error::SignerError;
use super::files::Files;
use super::key::{Signer, unusable};
use crate::config::OpenPgpFingerprint;
use crate::envelope::Address;

/// What is shown of the keys.
pub struct Shown {
    /// The key that signs.
    pub fingerprint: OpenPgpFingerprint,
    /// Its certificate, armored.
    pub certificate: String,
    /// The key that will sign.
    pub next: Option<ShownNext>,
}

/// What is shown of the next key.
pub struct ShownNext {
    /// Its fingerprint.
    pub fingerprint: OpenPgpFingerprint,
    /// Its certificate, armored.
    pub certificate: String,
    /// When it takes over; `None` while the daemon has not begun to announce it.
    pub from: Option<SystemTime>,
}

/// The keys in `state`.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn show(state: &Path) -> Result<Shown, SignerError> {
    let files = Files::of(state);
    let armored = |signer: &Signer| {
        let octets = signer.armored().map_err(|error| unusable(&files.current(), &error))?;
        Ok(String::from_utf8_lossy(&octets).into_owned())
    };
    let current = files.read()?;
    let next = files.read_next()?.map(|next| {
        let certificate = armored(&next)?;
        Ok(ShownNext { fingerprint: next.fingerprint().clone(), certificate, from: files.read_from() })
    });
    Ok(Shown { fingerprint: current.fingerprint().clone(), certificate: armored(&current)?, next: next.transpose()? })
}

/// Makes the next key for `sender`, certified by the present one; its fingerprint.
///
/// # Errors
/// There is no present one, or a next one already.
pub fn rotate(state: &Path, sender: &Address) -> Result<OpenPgpFingerprint, SignerError> {
    let files = Files::of(state);
    let current = files.read()?;
    if let Some(next) = files.read_next()? {
        return Err(SignerError::Rotating(next.fingerprint().clone()));
    }
    let made = Signer::generate(sender).and_then(|next| current.certify(next));
    let next = made.map_err(|error| unusable(&files.next(), &error))?;
    // No date of an earlier one may count for this one.
    files.forget_next();
    files.keep(&next, &files.next(), &files.next_certificate())?;
    Ok(next.fingerprint().clone())
}

/// Writes all secret keys in `state` to the new file at `backup`, armored, mode 0600.
///
/// # Errors
/// There is none, or the file exists or cannot be written.
pub fn export_backup(state: &Path, backup: &Path) -> Result<OpenPgpFingerprint, SignerError> {
    let files = Files::of(state);
    let current = files.read()?;
    let next = files.read_next()?;
    let armored = || -> openpgp::Result<Vec<u8>> {
        let mut writer = armor::Writer::new(Vec::new(), armor::Kind::SecretKey)?;
        for signer in [Some(&current), next.as_ref()].into_iter().flatten() {
            writer.write_all(&signer.secret()?)?;
        }
        Ok(writer.finalize()?)
    };
    let octets = armored().map_err(|error| unusable(&files.current(), &error))?;
    let created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(backup);
    created
        .and_then(|mut file| file.write_all(&octets).and_then(|()| file.sync_all()))
        .map_err(|source| SignerError::File { path: backup.into(), source })?;
    Ok(current.fingerprint().clone())
}

/// Puts the keys of the backup at `backup` into `state`, which is made if it is missing; the fingerprint.
///
/// # Errors
/// The backup is open to others or holds no key, or `state` has another key, which would be lost.
pub fn import(state: &Path, backup: &Path) -> Result<OpenPgpFingerprint, SignerError> {
    let mut signers = Signer::read(backup)?.into_iter();
    let Some(current) = signers.next() else { return Err(SignerError::None(backup.into())) };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(|source| SignerError::File { path: state.into(), source })?;
    let files = Files::of(state);
    match files.read() {
        Err(SignerError::None(path)) => files.keep(&current, &path, &files.certificate())?,
        Err(error) => return Err(error),
        Ok(there) if there.fingerprint() != current.fingerprint() => {
            let fingerprint = there.fingerprint().clone();
            return Err(SignerError::Another { path: files.current(), fingerprint });
        }
        Ok(_) => {}
    }
    if let (Some(next), None) = (signers.next(), files.read_next()?) {
        files.keep(&next, &files.next(), &files.next_certificate())?;
    }
    Ok(current.fingerprint().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::signer::Signers;

    #[test]
    fn a_backup_brings_both_keys_into_a_new_state_directory_and_never_over_another_key() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sender = "ossec@example.org".parse().expect("an address");
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let backup = folder.path().join("backup.asc");
        fs::create_dir(&old).expect("made");
        assert!(matches!(export_backup(&old, &backup), Err(SignerError::None(_))));
        Signers::open(&old, &sender, SystemTime::now()).expect("opened");
        let next = rotate(&old, &sender).expect("rotated");
        let fingerprint = export_backup(&old, &backup).expect("exported");
        assert!(matches!(export_backup(&old, &backup), Err(SignerError::File { .. })), "it is there");
        assert_eq!(import(&new, &backup).expect("imported"), fingerprint);
        assert_eq!(import(&new, &backup).expect("again"), fingerprint);
        let shown = show(&new).expect("there");
        assert_eq!((shown.fingerprint, shown.next.map(|next| next.fingerprint)), (fingerprint, Some(next)));
        let other = folder.path().join("other");
        fs::create_dir(&other).expect("made");
        let signers = Signers::open(&other, &sender, SystemTime::now()).expect("opened");
        assert!(matches!(import(&other, &backup), Err(SignerError::Another { .. })));
        assert_eq!(&show(&other).expect("there").fingerprint, signers.at(SystemTime::now()).fingerprint());
    }
}
