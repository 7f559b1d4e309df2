//! The client certificate that is shown to a server that asks for one.
//!
//! Guarantees: whoever holds a [`ClientIdentity`] holds a key that can sign and belongs to the certificate. A server
//! that does not ask never learns that there is one. On failure nothing is loaded and start-up stops with EX_CONFIG.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::config::{SecretError, SecretFile};

/// A certificate (with its issuers, if the file has them) and its key.
#[derive(Debug, Clone)]
pub struct ClientIdentity(Arc<SingleCertAndKey>);

/// Why a client certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate's file.
    #[error("cannot read the client certificate {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// It holds no certificate.
    #[error("{0} holds no certificate")]
    NoCertificate(PathBuf),
    /// The key's file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It holds no key.
    #[error("{0} holds no private key that can be read")]
    NoKey(PathBuf),
    /// They do not belong together, or cannot be used.
    #[error("the certificate {0} and the key {1} cannot be used together: {2}")]
    Mismatch(PathBuf, PathBuf, rustls::Error),
}

impl IdentityError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable(path, _) => format!("Copy the certificate's PEM file to {}.", path.display()),
            Self::NoCertificate(path) => {
                format!("{} must hold PEM blocks that begin with BEGIN CERTIFICATE.", path.display())
            }
            Self::Secret(error) => error.hint(),
            Self::NoKey(path) => format!(
                "{} must hold one PEM block that begins with BEGIN PRIVATE KEY, without a password.",
                path.display()
            ),
            Self::Mismatch(..) => "Take the key that the certificate was issued for.".to_owned(),
        }
    }
}

impl ClientIdentity {
    /// Loads both and looks whether they belong together.
    ///
    /// # Errors
    /// One is unreadable or nothing of its kind, the key is open to others, or they do not belong together.
    pub fn load(certificate: &Path, key: &SecretFile) -> Result<Self, IdentityError> {
        let octets =
            std::fs::read(certificate).map_err(|error| IdentityError::Unreadable(certificate.into(), error))?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&octets).collect::<Result<_, _>>().unwrap_or_default();
        if chain.is_empty() {
            return Err(IdentityError::NoCertificate(certificate.into()));
        }
        let secret = PrivateKeyDer::from_pem_slice(key.text()?.reveal().as_bytes())
            .map_err(|_| IdentityError::NoKey(key.path.clone()))?;
        CertifiedKey::from_der(chain, secret, &rustls::crypto::aws_lc_rs::default_provider())
            .map(|key| Self(Arc::new(key.into())))
            .map_err(|error| IdentityError::Mismatch(certificate.into(), key.path.clone(), error))
    }

    /// As rustls asks for it.
    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::clone(&self.0)
    }
}
