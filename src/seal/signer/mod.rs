//! The relay's own OpenPGP key: every message is signed with it, so that a recipient can tell ours from forged ones.
//!
//! | in the state directory | is |
//! | --- | --- |
//! | `signer.pgp`, `signer.asc` | the key that signs (mode 0600), and its public half, to be handed to the recipients |
//! | `signer-next.pgp`, `signer-next.asc` | the key that will sign, certified by the present one |
//! | `signer-next.from` | when it takes over, RFC 3339 |
//! | `signer-FINGERPRINT.asc` | the public half of a former one, for old messages |
//!
//! **Rotation.** The *old* key goes on signing for [`ANNOUNCED`] while every message names the new one and carries its
//! certificate (`next_signer` in the manifest); then the new key takes over. So the news is always signed by the key the
//! recipients already trust: whoever pinned the old fingerprint follows by what it signed, and nobody is taught to
//! believe an unknown signer who says it is the new one. The new certificate carries the old key's certification too. A
//! *stolen* key cannot be rotated this way, because its announcement would prove nothing: it is moved away, a new one is
//! made, and the recipients get the new fingerprint by another way.
//!
//! The time of announcement begins when the daemon first reads the new key, so that none of it passes unannounced.
//!
//! It is made on the first start. On failure nothing can be signed, so the daemon does not start. A thief of the state
//! directory can sign in our name.

mod error;
mod files;
mod key;
mod manage;

use std::path::Path;
use std::time::{Duration, SystemTime};

pub use error::SignerError;
pub use key::Signer;
pub use manage::{Shown, export_backup, import, rotate, show};

use crate::envelope::Address;
use files::Files;
use key::unusable;

/// How long a new key is announced before it signs.
pub const ANNOUNCED: Duration = Duration::from_secs(30 * 86_400);

/// The key that signs, and the one that will.
pub struct Signers {
    current: Signer,
    next: Option<Next>,
    is_new: bool,
}

/// The key that will sign.
pub struct Next {
    signer: Signer,
    /// When it takes over.
    pub from: SystemTime,
    /// Its certificate, armored, with the certification of the key before it.
    pub certificate: String,
}

impl Next {
    /// The key.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }
}

impl Signers {
    /// Reads the keys in `state`, or makes one for `sender`. A next key whose time has come takes over.
    ///
    /// # Errors
    /// There is none and none can be kept, or what is there cannot sign.
    pub fn open(state: &Path, sender: &Address, now: SystemTime) -> Result<Self, SignerError> {
        let files = Files::of(state);
        let (current, is_new) = match files.read() {
            // Whoever took the key may have this one too; and nobody would know the one that announced it.
            Err(SignerError::None(_)) if files.next().exists() => return Err(SignerError::Orphan(files.next())),
            Err(SignerError::None(path)) => {
                let made = Signer::generate(sender).map_err(|error| unusable(&path, &error))?;
                files.keep(&made, &path, &files.certificate())?;
                (made, true)
            }
            read => (read?, false),
        };
        let mut signers = Self { current, next: None, is_new };
        match files.read_next()? {
            // A crash came between taking over and forgetting.
            Some(next) if next.fingerprint() == signers.current.fingerprint() => files.forget_next(),
            Some(next) => signers.announce(&files, next, now)?,
            None => {}
        }
        files.show_certificate(&signers.current)?;
        Ok(signers)
    }

    fn announce(&mut self, files: &Files, next: Signer, now: SystemTime) -> Result<(), SignerError> {
        let from = match files.read_from() {
            Some(from) => from,
            None => files.begin(now + ANNOUNCED)?,
        };
        if from <= now {
            files.promote(&self.current, &next)?;
            self.current = next;
            return Ok(());
        }
        let armored = next.armored().map_err(|error| unusable(&files.next(), &error))?;
        let certificate = String::from_utf8_lossy(&armored).into_owned();
        self.next = Some(Next { signer: next, from, certificate });
        Ok(())
    }

    /// The key that signs at `now`.
    pub fn at(&self, now: SystemTime) -> &Signer {
        match &self.next {
            Some(next) if next.from <= now => &next.signer,
            _ => &self.current,
        }
    }

    /// The key that is announced at `now`.
    pub fn announced(&self, now: SystemTime) -> Option<&Next> {
        self.next.as_ref().filter(|next| next.from > now)
    }

    /// Whether the key was made by this start: the state directory is new, or was lost.
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Address {
        "ossec@example.org".parse().expect("an address")
    }

    #[test]
    fn the_old_key_signs_until_the_new_one_was_announced_for_thirty_days() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let now = SystemTime::now();
        let open = |now| Signers::open(folder.path(), &sender(), now).expect("opened");
        let first = open(now);
        assert!(first.is_new() && first.announced(now).is_none());
        let old = first.at(now).fingerprint().clone();
        let next = rotate(folder.path(), &sender()).expect("rotated");
        assert!(matches!(rotate(folder.path(), &sender()), Err(SignerError::Rotating(_))));
        // The days begin when the daemon reads it, however late that is.
        let begun = now + ANNOUNCED * 2;
        let running = open(begun);
        assert!(!running.is_new());
        assert_eq!(running.at(begun).fingerprint(), &old);
        assert_eq!(running.announced(begun).expect("announced").signer().fingerprint(), &next);
        // It takes over while running ...
        assert_eq!(running.at(begun + ANNOUNCED).fingerprint(), &next);
        assert!(running.announced(begun + ANNOUNCED).is_none());
        // ... and over a restart, for good.
        let restarted = open(begun + ANNOUNCED);
        assert_eq!(restarted.at(begun).fingerprint(), &next);
        let mut left: Vec<String> = std::fs::read_dir(folder.path())
            .expect("listed")
            .flatten()
            .map(|file| file.file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        assert_eq!(left, [format!("signer-{old}.asc"), "signer.asc".to_owned(), "signer.pgp".to_owned()]);
    }

    #[test]
    fn the_new_certificate_carries_the_old_keys_certification() {
        use openpgp::{Cert, parse::Parse};
        use sequoia_openpgp as openpgp;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let now = SystemTime::now();
        Signers::open(folder.path(), &sender(), now).expect("opened");
        rotate(folder.path(), &sender()).expect("rotated");
        let signers = Signers::open(folder.path(), &sender(), now).expect("opened");
        let old = Cert::from_file(folder.path().join("signer.asc")).expect("the old one");
        let next = Cert::from_bytes(&signers.announced(now).expect("announced").certificate).expect("the new one");
        let user = next.userids().next().expect("a user id");
        let old_key = old.primary_key().key();
        assert!(
            user.certifications()
                .any(|word| { word.verify_userid_binding(old_key, next.primary_key().key(), user.userid()).is_ok() })
        );
    }

    #[test]
    fn a_next_key_without_the_one_that_announces_it_is_not_used() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Signers::open(folder.path(), &sender(), SystemTime::now()).expect("opened");
        rotate(folder.path(), &sender()).expect("rotated");
        std::fs::remove_file(folder.path().join("signer.pgp")).expect("moved away");
        let opened = Signers::open(folder.path(), &sender(), SystemTime::now());
        assert!(matches!(opened, Err(SignerError::Orphan(_))));
    }

    #[test]
    fn a_lost_public_half_is_written_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificate = folder.path().join("signer.asc");
        let now = SystemTime::now();
        Signers::open(folder.path(), &sender(), now).expect("opened");
        let before = std::fs::read(&certificate).expect("there");
        std::fs::remove_file(&certificate).expect("removed");
        Signers::open(folder.path(), &sender(), now).expect("opened");
        assert_eq!(std::fs::read(&certificate).expect("there"), before);
    }
}
