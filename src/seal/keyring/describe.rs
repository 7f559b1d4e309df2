//! What is in a certificate, in words for people and programs: `keys lint` and `keys list` show it.

use std::time::{SystemTime, UNIX_EPOCH};

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::crypto::mpi::PublicKey;
use openpgp::packet::Key;
use openpgp::packet::key::{KeyParts, KeyRole};
use serde::Serialize;

use super::judge::Judged;

/// A certificate that can be sealed to.
#[derive(Serialize, Debug, Clone)]
pub struct Described {
    /// 4 or 6.
    pub version: u8,
    /// The primary key's algorithm and size.
    pub primary: String,
    /// What is encrypted to.
    pub encryption: Vec<Subkey>,
    /// Seconds since 1970 until when it can be used; missing if for ever.
    pub until: Option<u64>,
}

/// One key that is encrypted to.
#[derive(Serialize, Debug, Clone)]
pub struct Subkey {
    /// Its own fingerprint.
    pub fingerprint: String,
    /// Algorithm and size.
    pub algorithm: String,
}

impl Described {
    /// What `judged` says about `certificate`.
    pub fn of(certificate: &Cert, judged: &Judged) -> Self {
        let primary = certificate.primary_key();
        let subkey = |key| Subkey { fingerprint: fingerprint(key), algorithm: algorithm(key) };
        Self {
            version: primary.key().version(),
            primary: algorithm(primary.key()),
            encryption: judged.keys.iter().map(subkey).collect(),
            until: judged.until.map(seconds),
        }
    }
}

fn fingerprint<P: KeyParts, R: KeyRole>(key: &Key<P, R>) -> String {
    key.fingerprint().to_hex()
}

/// `RSA-4096`, `Cv25519`, `X25519`.
fn algorithm<P: KeyParts, R: KeyRole>(key: &Key<P, R>) -> String {
    match key.mpis() {
        PublicKey::RSA { n, .. } => format!("RSA-{}", n.bits()),
        PublicKey::DSA { p, .. } => format!("DSA-{}", p.bits()),
        PublicKey::EdDSA { curve, .. } | PublicKey::ECDSA { curve, .. } | PublicKey::ECDH { curve, .. } => {
            curve.to_string()
        }
        _ => key.pk_algo().to_string(),
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}
