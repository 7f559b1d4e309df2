//! The refresh token that a token server gave in place of the operator's (RFC 6749 6): kept in the state directory.
//!
//! | the operator's file holds | the kept file | used |
//! | --- | --- | --- |
//! | the token that the kept one grew from | there | the kept one |
//! | another token: the operator has written a fresh one | there, of the old one | the operator's |
//! | any | none | the operator's |
//!
//! The kept file has two lines: the SHA-256 of the operator's token it grew from, and the token. It is of mode 0600,
//! replaced in one step and synced before the access token that came with it is used. On failure it stays in memory,
//! and that is logged. Nobody but the token server controls what is in it.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::config::{Origin, Secret, SecretError, SecretFile};
use crate::envelope::hex;
use crate::maillog;
use crate::spool::replace;

/// Another process of ours may be at the token server for as long as a request takes.
const LOCK_PATIENCE: Duration = Duration::from_secs(75);

/// A refresh token, and the digest of the operator's token it grew from or is.
#[derive(Clone)]
pub struct Refresh {
    pub token: Secret,
    pub grown_from: String,
}

/// The token to use; `file` is the operator's, `kept` the path of ours.
///
/// # Errors
/// One of the files is there and cannot be used.
pub fn current(file: &SecretFile, kept: &Path) -> Result<Refresh, SecretError> {
    let token = file.read()?;
    let grown_from = hex(&Sha256::digest(token.reveal()));
    let kept = read(kept)?.filter(|kept| kept.grown_from == grown_from);
    Ok(kept.unwrap_or(Refresh { token, grown_from }))
}

fn read(path: &Path) -> Result<Option<Refresh>, SecretError> {
    let file = SecretFile { what: "kept refresh token", path: path.to_owned(), origin: Origin::File };
    let text = match file.text() {
        Ok(text) => text,
        Err(SecretError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lines = text.reveal().lines();
    match (lines.next(), lines.next(), lines.next()) {
        (Some(grown_from), Some(token), None) if !token.is_empty() => {
            Ok(Some(Refresh { token: Secret::new(token.to_owned()), grown_from: grown_from.to_owned() }))
        }
        _ => Err(SecretError::NotOneLine { what: file.what, path: file.path }),
    }
}

/// Keeps `refresh` at `path`; whether it is durable.
pub async fn keep(path: &Path, refresh: &Refresh) -> bool {
    let (own_path, own) = (path.to_owned(), refresh.clone());
    let kept = spawn_blocking(move || write(&own_path, &own)).await;
    let kept = kept.unwrap_or_else(|_| Err(io::Error::other("writing was broken off")));
    kept.inspect_err(|error| maillog::token_not_kept(&path.display().to_string(), &error.to_string())).is_ok()
}

fn write(path: &Path, refresh: &Refresh) -> io::Result<()> {
    let text = Zeroizing::new(format!("{}\n{}\n", refresh.grown_from, refresh.token.reveal()));
    replace(path, text.as_bytes())?;
    // `check --login`, run by root, must not leave a file that the service cannot read.
    let folder = path.parent().unwrap_or(Path::new(".")).metadata()?;
    if folder.uid() != path.metadata()?.uid() { chown(path, Some(folder.uid()), Some(folder.gid())) } else { Ok(()) }
}

/// One process at a time exchanges the token that is kept in the folder of `path`: a token server may take a second use
/// of the old one for a theft, and end them all. Held until the file is dropped.
///
/// # Errors
/// The state directory cannot be used, or another process holds it for too long.
pub async fn turn(path: &Path) -> io::Result<File> {
    let folder = File::open(path.parent().unwrap_or(Path::new(".")))?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() > until => return Err(io::ErrorKind::TimedOut.into()),
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(50)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn private(path: &Path, text: &str) {
        std::fs::write(path, text).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("private");
    }

    #[tokio::test]
    async fn the_kept_token_is_preferred_until_the_operator_writes_another() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = SecretFile { what: "refresh token", path: folder.path().join("own"), origin: Origin::File };
        let kept = folder.path().join("kept");
        private(&file.path, "first\n");
        let first = current(&file, &kept).expect("the operator's");
        assert_eq!(first.token.reveal(), "first");
        assert!(keep(&kept, &Refresh { token: Secret::new("second".into()), ..first.clone() }).await);
        assert_eq!(kept.metadata().expect("there").mode() & 0o777, 0o600);
        let second = current(&file, &kept).expect("ours");
        assert_eq!((second.token.reveal(), &second.grown_from), ("second", &first.grown_from));
        assert!(keep(&kept, &Refresh { token: Secret::new("third".into()), ..second }).await);
        assert_eq!(current(&file, &kept).expect("ours").token.reveal(), "third");
        private(&file.path, "fresh consent\n");
        assert_eq!(current(&file, &kept).expect("the operator's").token.reveal(), "fresh consent");
        private(&kept, "half");
        assert!(current(&file, &kept).is_err());
    }

    #[tokio::test]
    async fn what_root_keeps_belongs_to_the_service() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        chown(folder.path(), Some(4711), Some(4712)).expect("given away");
        let kept = folder.path().join("kept");
        assert!(keep(&kept, &Refresh { token: Secret::new("x".into()), grown_from: "y".into() }).await);
        let metadata = kept.metadata().expect("there");
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (4711, 4712, 0o600));
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_said() {
        let refresh = Refresh { token: Secret::new("x".into()), grown_from: "y".into() };
        assert!(!keep(Path::new("/nowhere/at/all/kept"), &refresh).await);
        assert!(turn(Path::new("/nowhere/at/all/kept")).await.is_err());
    }

    #[tokio::test]
    async fn turns_are_taken_one_after_another() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("kept");
        let first = turn(&path).await.expect("free");
        let second = turn(&path);
        tokio::pin!(second);
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut second).await.is_err());
        drop(first);
        assert!(second.await.is_ok());
    }
}
