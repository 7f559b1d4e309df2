//! Pinned fingerprints: which certificate or key a relay host must present.
//!
//! Guarantees: a pin matches the server's own certificate or its own key, never an issuer's.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::config::TlsPin;

/// A certificate's fingerprints in every form a pin can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Over the certificate.
    pub sha256: [u8; 32],
    /// Over the certificate.
    pub sha1: [u8; 20],
    /// Over its public key; `None` if the certificate cannot be parsed.
    pub spki_sha256: Option<[u8; 32]>,
}

impl Digests {
    /// Of the DER certificate `certificate`.
    pub fn of(certificate: &[u8]) -> Self {
        let spki =
            X509Certificate::from_der(certificate).ok().map(|(_, parsed)| Sha256::digest(parsed.public_key().raw));
        Self {
            sha256: Sha256::digest(certificate).into(),
            sha1: Sha1::digest(certificate).into(),
            spki_sha256: spki.map(Into::into),
        }
    }

    /// Whether `pin` names this certificate or its key.
    pub fn matches(&self, pin: &TlsPin) -> bool {
        match pin {
            TlsPin::Sha256(digest) => *digest == self.sha256,
            TlsPin::Sha1(digest) => *digest == self.sha1,
            TlsPin::SpkiSha256(digest) => Some(*digest) == self.spki_sha256,
        }
    }

    /// The form of them that compares with `pin`.
    pub fn like(&self, pin: &TlsPin) -> String {
        match pin {
            TlsPin::Sha256(_) => TlsPin::Sha256(self.sha256).to_string(),
            TlsPin::Sha1(_) => TlsPin::Sha1(self.sha1).to_string(),
            TlsPin::SpkiSha256(_) => self
                .spki_sha256
                .map_or_else(|| "a key that cannot be read".to_owned(), |d| TlsPin::SpkiSha256(d).to_string()),
        }
    }

    /// All of them, ready to paste as `pins`, the best first.
    pub fn as_pins(&self) -> Vec<String> {
        let pins = [
            Some(TlsPin::Sha256(self.sha256)),
            self.spki_sha256.map(TlsPin::SpkiSha256),
            Some(TlsPin::Sha1(self.sha1)),
        ];
        pins.into_iter().flatten().map(|pin| pin.to_string()).collect()
    }
}
