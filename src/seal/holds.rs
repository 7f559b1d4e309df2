//! Until when a certificate can be sealed to.

use std::time::{SystemTime, UNIX_EPOCH};

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::policy::StandardPolicy;
use serde::{Deserialize, Serialize};

/// Until when a certificate holds, as heartbeats tell it.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Holds {
    /// Its full fingerprint.
    pub fingerprint: String,
    /// Seconds since 1970; `None` for a certificate that does not expire.
    pub expires: Option<u64>,
}

impl Holds {
    /// Looks at `certificate` at `now`: its end is that of its primary key, or of the last subkey that can encrypt.
    pub fn of(certificate: &Cert, now: SystemTime) -> Self {
        let policy = StandardPolicy::at(now);
        let primary =
            certificate.with_policy(&policy, now).ok().and_then(|valid| valid.primary_key().key_expiration_time());
        let subkeys = certificate.keys().with_policy(&policy, now).for_transport_encryption().for_storage_encryption();
        let ends: Vec<Option<SystemTime>> = subkeys.map(|key| key.key_expiration_time()).collect();
        // One subkey without an end holds as long as the primary key does.
        let subkeys = if ends.contains(&None) { None } else { ends.into_iter().flatten().max() };
        let end = primary.into_iter().chain(subkeys).min();
        let seconds = end.and_then(|end| end.duration_since(UNIX_EPOCH).ok()).map(|age| age.as_secs());
        Self { fingerprint: certificate.fingerprint().to_hex(), expires: seconds }
    }
}
