//! Recipients' OpenPGP certificates by full fingerprint, and what can be sealed to them today.
//!
//! Certificates are read at start and at reload. What was usable once is kept as a **last usable copy** in the state
//! directory; if the configured file later breaks, sealing goes on with the copy and a warning. The copy keeps every
//! revocation ever seen: a revoked certificate or subkey is never used again, whatever happens to the file.
//!
//! Guarantees: a key that is handed out belongs to the certificate with the configured fingerprint, can encrypt, and is
//! neither revoked nor (unless the recipient's policy says so) expired at that moment. On failure an [`Unusable`]
//! says why; the caller sends a notice instead. An attacker who can write the file can only make it unusable.

mod copy;
mod describe;
mod entry;
mod file;
mod judge;
mod published;
mod unusable;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sequoia_openpgp::Cert;

pub use describe::Described;
pub use judge::{EncryptionKey, day};
pub use unusable::Unusable;

use crate::config::{OnExpired, OpenPgpFingerprint, Recipient};
use copy::Copy;
use entry::Entry;
use file::Files;
use judge::{Judged, judge};

/// What a recipient's certificates can be used for right now.
pub struct Usable<'a> {
    /// The certificates that will be sealed to.
    pub certificates: Vec<&'a Cert>,
    /// Their encryption keys.
    pub keys: Vec<EncryptionKey>,
    /// Those among them that have expired.
    pub expired: Vec<OpenPgpFingerprint>,
}

/// One recipient's certificates as they were read.
pub struct RecipientKeys {
    entries: Vec<Entry>,
    on_expired: OnExpired,
    /// A file that cannot be used, though all certificates were found.
    file_trouble: Option<Unusable>,
}

/// The verdict on the certificate with `fingerprint` in `files`: whether it can be sealed to at `now`. With `state`, what
/// the last usable copy knows of revocations counts too; nothing is written.
///
/// # Errors
/// Why it is not to be used; expiry is a reason.
pub fn lint(
    files: &[PathBuf],
    fingerprint: &OpenPgpFingerprint,
    state: Option<&Path>,
    now: SystemTime,
) -> Result<(Described, Vec<String>), Unusable> {
    refuse_published(fingerprint)?;
    let files = Files::read(files);
    if let Some(trouble) = files.trouble {
        return Err(trouble);
    }
    let found = files.find(fingerprint)?;
    let copy = state.and_then(|state| Copy::read(state, fingerprint).certificate);
    let certificate = entry::merged(found, copy);
    let judged = judge(&certificate, fingerprint, now)?;
    match judged.expired {
        Some(expired) => Err(expired),
        None => Ok((Described::of(&certificate, &judged), entry::doubts(fingerprint, &judged, now))),
    }
}

/// Whatever is sealed to a published key is readable by everybody.
fn refuse_published(fingerprint: &OpenPgpFingerprint) -> Result<(), Unusable> {
    published::whose(fingerprint).map_or(Ok(()), |whose| Err(Unusable::Published(fingerprint.clone(), whose)))
}

impl RecipientKeys {
    /// Reads `recipient`'s certificates, with the last usable copies in `state` where a file is broken.
    ///
    /// # Errors
    /// A certificate that is broken and never was usable, or that must not be used at all.
    pub fn load(recipient: &Recipient, state: &Path, now: SystemTime) -> Result<Self, Unusable> {
        let files = Files::read(&recipient.certificates);
        let entries = recipient
            .fingerprints
            .iter()
            .map(|fingerprint| Entry::load(fingerprint, &files, state, now))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { entries, on_expired: recipient.on_expired, file_trouble: files.trouble })
    }

    /// What can be sealed to at `now`. One certificate that turned unusable does not stop the others.
    ///
    /// # Errors
    /// None of them can be used; why the first cannot.
    pub fn usable(&self, now: SystemTime) -> Result<Usable<'_>, Unusable> {
        let mut usable = Usable { certificates: Vec::new(), keys: Vec::new(), expired: Vec::new() };
        let mut first_trouble = None;
        for entry in &self.entries {
            let judged = entry.judged(now).and_then(|judged| match (&judged.expired, self.on_expired) {
                (Some(expired), OnExpired::Notice) => Err(expired.clone()),
                _ => Ok(judged),
            });
            match judged {
                Ok(judged) => {
                    usable.certificates.push(&entry.certificate);
                    usable.keys.extend(judged.keys);
                    usable.expired.extend(judged.expired.map(|_| entry.fingerprint.clone()));
                }
                Err(trouble) => first_trouble = first_trouble.or(Some(trouble)),
            }
        }
        match first_trouble {
            Some(trouble) if usable.keys.is_empty() => Err(trouble),
            _ => Ok(usable),
        }
    }

    /// What an operator should know about these certificates at `now`.
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let told = self.entries.iter().any(|entry| entry.file_trouble.is_some());
        let untold = self.file_trouble.iter().filter(|_| !told);
        let of_file = untold.map(|trouble| format!("{trouble}. {}", trouble.hint()));
        of_file.chain(self.entries.iter().flat_map(|entry| entry.warnings(now))).collect()
    }

    /// What about them has time at `now`.
    pub fn advice(&self, now: SystemTime) -> Vec<String> {
        self.entries.iter().filter_map(|entry| entry.advice(now)).collect()
    }

    /// All of them, with their ends as far as they have one and can be used at `now`.
    pub fn ends(&self, now: SystemTime) -> Vec<(OpenPgpFingerprint, Option<SystemTime>)> {
        let end = |entry: &Entry| (entry.fingerprint.clone(), entry.judged(now).ok().and_then(|judged| judged.until));
        self.entries.iter().map(end).collect()
    }

    /// Which certificates hold until when at `now`; those that cannot be used and those without an end are left out.
    pub fn expiries(&self, now: SystemTime) -> Vec<(OpenPgpFingerprint, SystemTime)> {
        self.ends(now).into_iter().filter_map(|(fingerprint, until)| Some((fingerprint, until?))).collect()
    }
}
