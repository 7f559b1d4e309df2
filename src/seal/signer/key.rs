//! One signing key: read, made, written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::{CertBuilder, CertParser, CipherSuite};
use openpgp::crypto::KeyPair;
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto;
use openpgp::types::{Features, KeyFlags, SignatureType};

use super::error::SignerError;
use crate::config::OpenPgpFingerprint;
use crate::envelope::Address;
use crate::spool::replace;

/// The largest file with keys that is read, octets.
const SIZE_LIMIT: u64 = 1024 * 1024;

/// A key that signs.
pub struct Signer {
    key: KeyPair,
    fingerprint: OpenPgpFingerprint,
    certificate: Cert,
}

impl Signer {
    /// One Ed25519 key for `sender`, version 4 so that every reader can verify it, without expiry: its rotation is
    /// announced, not timed.
    pub(super) fn generate(sender: &Address) -> openpgp::Result<Self> {
        let (certificate, _revocation) = CertBuilder::new()
            .set_cipher_suite(CipherSuite::Cv25519)
            .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
            // Nobody encrypts to it; it must not announce what gpg 2.2 cannot read.
            .set_features(Features::empty().set_seipdv1())?
            .set_validity_period(None)
            // A clock that is a little ahead elsewhere must not make it a key of the future.
            .set_creation_time(SystemTime::now() - Duration::from_secs(60))
            .add_userid(format!("<{sender}>"))
            .generate()?;
        Self::from_certificate(certificate)
    }

    pub(super) fn from_certificate(certificate: Cert) -> openpgp::Result<Self> {
        let policy = StandardPolicy::new();
        let fingerprint = certificate.fingerprint().to_hex().parse()?;
        // A clock that was set back must not keep the relay from starting: its own key is never of the future.
        let now = SystemTime::now().max(certificate.primary_key().key().creation_time() + Duration::from_secs(1));
        let able = certificate.keys().with_policy(&policy, now).supported().alive().revoked(false);
        let key = able.for_signing().secret().next().map(|key| key.key().clone());
        let key = key.ok_or_else(|| openpgp::anyhow::anyhow!("no key in it can sign today"))?.into_keypair()?;
        Ok(Self { key, fingerprint, certificate })
    }

    /// `next` with this key's word that it is the next one: a certification of its user ids (RFC 9580 5.2.1.6).
    pub(super) fn certify(&self, next: Self) -> openpgp::Result<Self> {
        let mut key = self.key();
        let certify = |user: openpgp::cert::amalgamation::UserIDAmalgamation<'_>| {
            user.userid().certify(&mut key, &next.certificate, SignatureType::PositiveCertification, None, None)
        };
        let certifications = next.certificate.userids().map(certify).collect::<openpgp::Result<Vec<_>>>()?;
        let (certificate, _) = next.certificate.clone().insert_packets(certifications)?;
        Self::from_certificate(certificate)
    }

    /// All keys in the file at `path`; at least one. The file must be its owner's alone.
    ///
    /// # Errors
    /// It cannot be read, is open to others, or holds anything that cannot sign.
    pub(super) fn read(path: &Path) -> Result<Vec<Self>, SignerError> {
        let octets = private_octets(path)?;
        let unusable = |error: openpgp::anyhow::Error| unusable(path, &error);
        let certificates = CertParser::from_bytes(&octets).map_err(unusable)?;
        let signers = certificates
            .map(|certificate| Self::from_certificate(certificate?))
            .collect::<openpgp::Result<Vec<_>>>()
            .map_err(unusable)?;
        match signers.is_empty() {
            true => Err(SignerError::Unusable { path: path.into(), why: "it is empty".to_owned() }),
            false => Ok(signers),
        }
    }

    /// The key pair, for one message.
    pub fn key(&self) -> KeyPair {
        self.key.clone()
    }

    /// The fingerprint of its certificate.
    pub fn fingerprint(&self) -> &OpenPgpFingerprint {
        &self.fingerprint
    }

    /// The secret key, binary.
    pub(super) fn secret(&self) -> openpgp::Result<Vec<u8>> {
        self.certificate.as_tsk().to_vec()
    }

    /// The public half, armored.
    pub(super) fn armored(&self) -> openpgp::Result<Vec<u8>> {
        self.certificate.armored().to_vec()
    }
}

fn private_octets(path: &Path) -> Result<Vec<u8>, SignerError> {
    let file_error = |source| SignerError::File { path: path.into(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(SignerError::None(path.into())),
        file => file.map_err(file_error)?,
    };
    let mode = file.metadata().map_err(file_error)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SignerError::Exposed { path: path.into(), mode });
    }
    let mut octets = Vec::new();
    file.take(SIZE_LIMIT).read_to_end(&mut octets).map_err(file_error)?;
    Ok(octets)
}

/// Sequoia's words about the file at `path`.
pub fn unusable(path: &Path, error: &openpgp::anyhow::Error) -> SignerError {
    SignerError::Unusable { path: path.into(), why: format!("{error:#}") }
}

/// Replaces the file at `path`, mode 0600. What root writes into the state directory belongs to whom that belongs to:
/// the daemon must be able to read it.
pub fn write(path: &Path, octets: &[u8]) -> Result<(), SignerError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = replace(path, octets).and_then(|()| match rustix::process::geteuid().is_root() {
        true => fs::metadata(folder).and_then(|folder| chown(path, Some(folder.uid()), Some(folder.gid()))),
        false => Ok(()),
    });
    written.map_err(|source| SignerError::File { path: path.into(), source })
}
