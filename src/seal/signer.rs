//! The relay's own OpenPGP key: every message is signed with it, so that a recipient can tell ours from forged ones.
//!
//! It is made on the first start, kept in the state directory (`signer.pgp`, mode 0600), and its public half lies
//! beside it (`signer.asc`) to be handed to the recipients. On failure nothing can be signed, so the daemon does not
//! start. A thief of the state directory can sign in our name.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::{CertBuilder, CipherSuite};
use openpgp::crypto::KeyPair;
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto;
use openpgp::types::{Features, KeyFlags};

use crate::config::OpenPgpFingerprint;
use crate::envelope::Address;
use crate::spool::replace;

/// The key that signs.
pub struct Signer {
    key: KeyPair,
    fingerprint: OpenPgpFingerprint,
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The state directory does not allow reading or writing it.
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
        }
    }
}

impl Signer {
    /// Reads the key in `state`, or makes one for `sender`.
    ///
    /// # Errors
    /// There is none and none can be kept, or what is there cannot sign.
    pub fn open(state: &Path, sender: &Address) -> Result<Self, SignerError> {
        let path = state.join("signer.pgp");
        match fs::metadata(&path) {
            Ok(metadata) if metadata.mode() & 0o077 != 0 => {
                Err(SignerError::Exposed { path, mode: metadata.mode() & 0o7777 })
            }
            Ok(_) => {
                let octets = fs::read(&path).map_err(|source| SignerError::File { path: path.clone(), source })?;
                let unusable = |error: openpgp::anyhow::Error| SignerError::Unusable {
                    path: path.clone(),
                    why: format!("{error:#}"),
                };
                Self::from_certificate(Cert::from_bytes(&octets).map_err(unusable)?).map_err(unusable)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(state, &path, sender),
            Err(source) => Err(SignerError::File { path, source }),
        }
    }

    fn make(state: &Path, path: &Path, sender: &Address) -> Result<Self, SignerError> {
        let unusable =
            |error: openpgp::anyhow::Error| SignerError::Unusable { path: path.into(), why: format!("{error:#}") };
        let certificate = generate(sender).map_err(unusable)?;
        let secret = certificate.as_tsk().to_vec().map_err(unusable)?;
        let public = certificate.armored().to_vec().map_err(unusable)?;
        let file = |path: PathBuf| move |source| SignerError::File { path, source };
        // The public half first: a crash between the two leaves no key whose public half nobody has.
        replace(&state.join("signer.asc"), &public).map_err(file(state.join("signer.asc")))?;
        replace(path, &secret).map_err(file(path.into()))?;
        Self::from_certificate(certificate).map_err(unusable)
    }

    fn from_certificate(certificate: Cert) -> openpgp::Result<Self> {
        let policy = StandardPolicy::new();
        let fingerprint = certificate.fingerprint().to_hex().parse()?;
        let mut able =
            certificate.keys().with_policy(&policy, None).supported().alive().revoked(false).for_signing().secret();
        let key = able.next().ok_or_else(|| openpgp::anyhow::anyhow!("no key in it can sign today"))?;
        Ok(Self { key: key.key().clone().into_keypair()?, fingerprint })
    }

    /// The key pair, for one message.
    pub(super) fn key(&self) -> KeyPair {
        self.key.clone()
    }

    /// The fingerprint of its certificate.
    pub fn fingerprint(&self) -> &OpenPgpFingerprint {
        &self.fingerprint
    }
}

/// One Ed25519 key, version 4 so that every reader can verify it, without expiry: its rotation is announced, not timed.
fn generate(sender: &Address) -> openpgp::Result<Cert> {
    let (certificate, _revocation) = CertBuilder::new()
        .set_cipher_suite(CipherSuite::Cv25519)
        .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
        // Nobody encrypts to it; it must not announce what gpg 2.2 cannot read.
        .set_features(Features::empty().set_seipdv1())?
        .set_validity_period(None)
        // A clock that is a little ahead elsewhere must not make it a key of the future.
        .set_creation_time(SystemTime::now() - std::time::Duration::from_secs(60))
        .add_userid(format!("<{sender}>"))
        .generate()?;
    Ok(certificate)
}
