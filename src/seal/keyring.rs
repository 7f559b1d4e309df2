//! Recipients' OpenPGP certificates by full fingerprint, and what can be sealed to them today.
//!
//! Certificates are read at start. What was usable once is kept as a **last usable copy** in the state directory; if the
//! configured file later breaks, sealing goes on with the copy and a warning. The copy keeps every revocation ever
//! seen: a revoked certificate is never used again, whatever happens to the file.
//!
//! Guarantees: a key that is handed out belongs to the certificate with the configured fingerprint, can encrypt, and is
//! neither revoked nor (unless the recipient's policy says so) expired at that moment. On failure an [`Unusable`]
//! says why; the caller sends a notice instead. An attacker who can write the file can only make it unusable.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::CertParser;
use openpgp::packet::Key;
use openpgp::packet::key::{PublicParts, UnspecifiedRole};
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto;
use openpgp::types::RevocationStatus;

use crate::config::{OnExpired, OpenPgpFingerprint, Recipient};
use crate::maillog;
use crate::spool::replace;

/// A key to encrypt to.
pub type EncryptionKey = Key<PublicParts, UnspecifiedRole>;

/// Why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The file cannot be read.
    #[error("cannot read the encryption certificate {0}: {1}")]
    Unreadable(PathBuf, String),
    /// Others than its owner can change the file.
    #[error("the encryption certificate {0} can be changed by others than its owner (mode {1:04o})")]
    Writable(PathBuf, u32),
    /// It is no OpenPGP certificate.
    #[error("{0} is no OpenPGP certificate: {1}")]
    NotACertificate(PathBuf, String),
    /// It holds a secret key.
    #[error("{0} holds a SECRET key where a certificate belongs")]
    SecretKey(PathBuf),
    /// No certificate in the files has the fingerprint.
    #[error("no certificate with the fingerprint {wanted} in {files}; there: {present}")]
    NotFound {
        /// As configured.
        wanted: OpenPgpFingerprint,
        /// The files' names.
        files: String,
        /// The fingerprints that are there.
        present: String,
    },
    /// Its owner has revoked it.
    #[error("the certificate {0} is revoked")]
    Revoked(OpenPgpFingerprint),
    /// Its time is over.
    #[error("the certificate {0} expired on {1}")]
    Expired(OpenPgpFingerprint, String),
    /// It has no subkey for encryption.
    #[error("the certificate {0} has no subkey that can encrypt")]
    NoEncryptionSubkey(OpenPgpFingerprint),
    /// The policy refuses it: weak algorithms.
    #[error("the certificate {0} is not safe to use: {1}")]
    Policy(OpenPgpFingerprint, String),
}

impl Unusable {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable(path, _) => {
                format!("Export it with `gpg --export --armor FINGERPRINT > {}`.", path.display())
            }
            Self::Writable(path, _) => format!("Run: chmod go-w {}", path.display()),
            Self::NotACertificate(..) | Self::NotFound { .. } => {
                "Export the right one with `gpg --export --armor FINGERPRINT`, and compare the fingerprint with its holder."
                    .to_owned()
            }
            Self::SecretKey(path) => format!(
                "Remove {} from this machine; export the public part with `gpg --export --armor FINGERPRINT`.",
                path.display()
            ),
            Self::Revoked(_) | Self::Policy(..) => "Ask its holder for a new certificate.".to_owned(),
            Self::Expired(..) => "Ask its holder to extend it and export it again.".to_owned(),
            Self::NoEncryptionSubkey(_) => "Ask its holder to add an encryption subkey and export it again.".to_owned(),
        }
    }
}

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
}

struct Entry {
    fingerprint: OpenPgpFingerprint,
    certificate: Cert,
    /// When it was last kept as usable; before this start, if it ever was.
    worked_at: Option<SystemTime>,
    /// Why the copy is used instead of the file.
    file_trouble: Option<Unusable>,
}

impl RecipientKeys {
    /// Reads `recipient`'s certificates without touching any state: for `config check`.
    ///
    /// # Errors
    /// The first certificate that cannot be used today, expired ones included.
    pub fn lint(recipient: &Recipient, now: SystemTime) -> Result<(), Unusable> {
        recipient.fingerprints.iter().try_for_each(|fingerprint| {
            let certificate = find(&recipient.certificates, fingerprint)?;
            encryption_keys(&certificate, fingerprint, now, OnExpired::Notice).map(|_| ())
        })
    }

    /// Reads `recipient`'s certificates, with the last usable copies in `state` where a file is broken.
    ///
    /// # Errors
    /// A certificate that is broken and never was usable.
    pub fn load(recipient: &Recipient, state: &Path, now: SystemTime) -> Result<Self, Unusable> {
        let entries = recipient
            .fingerprints
            .iter()
            .map(|fingerprint| Entry::load(fingerprint, recipient, state, now))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { entries, on_expired: recipient.on_expired })
    }

    /// What can be sealed to at `now`. One certificate that turned unusable does not stop the others.
    ///
    /// # Errors
    /// None of them can be used; why the first cannot.
    pub fn usable(&self, now: SystemTime) -> Result<Usable<'_>, Unusable> {
        let mut usable = Usable { certificates: Vec::new(), keys: Vec::new(), expired: Vec::new() };
        let mut first_trouble = None;
        for entry in &self.entries {
            match entry.keys(now, self.on_expired) {
                Ok((certificate, keys, expired)) => {
                    usable.certificates.push(certificate);
                    usable.keys.extend(keys);
                    usable.expired.extend(expired);
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
        let broken = self.entries.iter().filter_map(|entry| {
            let trouble = entry.file_trouble.as_ref()?;
            Some(format!("{trouble}; the last usable copy is used. {}", trouble.hint()))
        });
        let unusable = self.entries.iter().filter_map(|entry| {
            let trouble = entry.keys(now, OnExpired::Notice).err()?;
            Some(format!("{trouble}. {}", trouble.hint()))
        });
        broken.chain(unusable).collect()
    }
}

impl Entry {
    fn load(
        fingerprint: &OpenPgpFingerprint,
        recipient: &Recipient,
        state: &Path,
        now: SystemTime,
    ) -> Result<Self, Unusable> {
        let copy_file = state.join("certificates").join(format!("{fingerprint}.pgp"));
        let copy = find(std::slice::from_ref(&copy_file), fingerprint).ok();
        let found = find(&recipient.certificates, fingerprint);
        let (certificate, file_trouble) = match (found, copy) {
            // The copy may know revocations that the file has lost.
            (Ok(file), Some(copy)) => (file.clone().merge_public(copy).unwrap_or(file), None),
            (Ok(file), None) => (file, None),
            (Err(trouble), Some(copy)) => (copy, Some(trouble)),
            (Err(trouble), None) => return Err(trouble),
        };
        let worked_at = fs::metadata(&copy_file).and_then(|file| file.modified()).ok();
        match encryption_keys(&certificate, fingerprint, now, OnExpired::SealAndWarn) {
            Ok(_) => keep_copy(&copy_file, &certificate),
            // Never usable: the operator must hear of it before anything is lost.
            Err(trouble) if !copy_file.exists() => return Err(trouble),
            // The copy keeps every revocation ever seen.
            Err(Unusable::Revoked(_)) => keep_copy(&copy_file, &certificate),
            Err(_) => {}
        }
        Ok(Self { fingerprint: fingerprint.clone(), certificate, worked_at, file_trouble })
    }

    fn keys(
        &self,
        now: SystemTime,
        on_expired: OnExpired,
    ) -> Result<(&Cert, Vec<EncryptionKey>, Option<OpenPgpFingerprint>), Unusable> {
        let today = encryption_keys(&self.certificate, &self.fingerprint, now, on_expired);
        let (keys, expired) = match (today, self.worked_at) {
            // It worked, and only a newer policy refuses it: its holder can read as ever. That is expiry.
            (Err(Unusable::Policy(..)), Some(then)) if on_expired == OnExpired::SealAndWarn => {
                let (keys, _) = encryption_keys(&self.certificate, &self.fingerprint, then, on_expired)?;
                (keys, true)
            }
            (today, _) => today?,
        };
        Ok((&self.certificate, keys, expired.then(|| self.fingerprint.clone())))
    }
}

/// A copy that cannot be written is a copy missing later, not a reason to stop now.
fn keep_copy(file: &Path, certificate: &Cert) {
    let kept = certificate.to_vec().map_err(|error| error.to_string()).and_then(|octets| {
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).and_then(|()| replace(file, &octets)).map_err(|error| error.to_string())
    });
    if let Err(why) = kept {
        maillog::hindered("the last usable copy of a certificate cannot be kept", &why);
    }
}

/// The certificate with `fingerprint` among all in `files`.
fn find(files: &[PathBuf], fingerprint: &OpenPgpFingerprint) -> Result<Cert, Unusable> {
    let mut present = Vec::new();
    for file in files {
        for certificate in read(file)? {
            if certificate.fingerprint().to_hex() == fingerprint.as_str() {
                return Ok(certificate);
            }
            present.push(certificate.fingerprint().to_hex());
        }
    }
    Err(Unusable::NotFound {
        wanted: fingerprint.clone(),
        files: files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
        present: if present.is_empty() { "none".to_owned() } else { present.join(", ") },
    })
}

/// All certificates of one file, armored or binary.
fn read(file: &Path) -> Result<Vec<Cert>, Unusable> {
    let unreadable = |error: std::io::Error| Unusable::Unreadable(file.into(), error.to_string());
    let mode = fs::metadata(file).map_err(unreadable)?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Unusable::Writable(file.into(), mode));
    }
    let octets = fs::read(file).map_err(unreadable)?;
    let not_one = |error: openpgp::anyhow::Error| Unusable::NotACertificate(file.into(), format!("{error:#}"));
    let certificates = CertParser::from_bytes(&octets).map_err(not_one)?.collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(not_one)?;
    if certificates.iter().any(Cert::is_tsk) {
        return Err(Unusable::SecretKey(file.into()));
    }
    if certificates.is_empty() {
        return Err(Unusable::NotACertificate(file.into(), "it is empty".to_owned()));
    }
    Ok(certificates)
}

/// The certificate's encryption keys at `now`, and whether they have expired.
fn encryption_keys(
    certificate: &Cert,
    fingerprint: &OpenPgpFingerprint,
    now: SystemTime,
    on_expired: OnExpired,
) -> Result<(Vec<EncryptionKey>, bool), Unusable> {
    let policy = StandardPolicy::at(now);
    let refused = |error: openpgp::anyhow::Error| Unusable::Policy(fingerprint.clone(), format!("{error:#}"));
    // Sequoia's key filter below still yields the subkeys of a revoked certificate: ask first.
    if let RevocationStatus::Revoked(_) = certificate.revocation_status(&policy, now) {
        return Err(Unusable::Revoked(fingerprint.clone()));
    }
    let valid = certificate.with_policy(&policy, now).map_err(refused)?;
    let able = valid.keys().supported().revoked(false).for_transport_encryption().for_storage_encryption();
    let all: Vec<_> = able.collect();
    let expiry = all.iter().filter_map(|key| key.key_expiration_time()).max();
    let expiry = valid.primary_key().key_expiration_time().into_iter().chain(expiry).min();
    let primary_alive = valid.alive().is_ok();
    let alive = all.iter().filter(|key| primary_alive && key.alive().is_ok());
    let alive: Vec<EncryptionKey> = alive.map(|key| key.key().clone().role_into_unspecified()).collect();
    match (all.is_empty(), alive.is_empty()) {
        (true, _) => Err(Unusable::NoEncryptionSubkey(fingerprint.clone())),
        (false, false) => Ok((alive, false)),
        (false, true) if on_expired == OnExpired::SealAndWarn => {
            Ok((all.iter().map(|key| key.key().clone().role_into_unspecified()).collect(), true))
        }
        (false, true) => {
            let on = expiry.map_or_else(|| "an unknown day".to_owned(), day);
            Err(Unusable::Expired(fingerprint.clone(), on))
        }
    }
}

/// `2026-11-20`.
fn day(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string().chars().take(10).collect()
}
