//! What one certificate is worth at one moment, under Sequoia's standard policy.
//!
//! A certificate counts as revoked when *its own key* says so. A revocation by somebody else (a "designated revoker",
//! whose certificate we do not have, RFC 9580 5.2.3.23) cannot be verified here: anybody can append one to the file, and
//! if it counted, that would stop a recipient's alerts for good. It is warned about, and a person decides.

use std::time::{Duration, SystemTime};

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::ValidCert;
use openpgp::cert::amalgamation::key::ValidErasedKeyAmalgamation;
use openpgp::cert::amalgamation::{ValidAmalgamation, ValidateAmalgamation};
use openpgp::packet::Key;
use openpgp::packet::key::{PublicParts, UnspecifiedRole};
use openpgp::policy::{AsymmetricAlgorithm, StandardPolicy};
use openpgp::types::{HashAlgorithm, RevocationStatus};

use super::unusable::Unusable;
use crate::config::OpenPgpFingerprint;

/// A key to encrypt to.
pub type EncryptionKey = Key<PublicParts, UnspecifiedRole>;

type Subkey<'a> = ValidErasedKeyAmalgamation<'a, PublicParts>;

/// What can be encrypted to.
#[derive(Clone)]
pub struct Judged {
    /// At least one.
    pub keys: Vec<EncryptionKey>,
    /// Until when that holds, if not for ever.
    pub until: Option<SystemTime>,
    /// Why it should no longer be used: it has expired. Its holder can still read.
    pub expired: Option<Unusable>,
    /// Somebody else says that it is revoked.
    pub may_be_revoked: bool,
}

/// What `certificate`, whose fingerprint is `fingerprint`, is worth at `now`.
///
/// # Errors
/// Nothing can be encrypted to it, for another reason than expiry.
pub fn judge(certificate: &Cert, fingerprint: &OpenPgpFingerprint, now: SystemTime) -> Result<Judged, Unusable> {
    let policy = StandardPolicy::at(now);
    // Sequoia's key filter below still yields the subkeys of a revoked certificate: ask first.
    let status = certificate.revocation_status(&policy, now);
    if let RevocationStatus::Revoked(_) = status {
        return Err(Unusable::Revoked(fingerprint.clone()));
    }
    let may_be_revoked = matches!(status, RevocationStatus::CouldBe(_));
    let valid =
        certificate.with_policy(&policy, now).map_err(|error| refused(certificate, fingerprint, now, &error))?;
    let able: Vec<Subkey<'_>> = encryption_keys(&valid).collect();
    if able.is_empty() {
        return Err(why_none(certificate, fingerprint, now));
    }
    let subkeys_end = latest(able.iter().map(ends));
    let primary_end = valid.primary_key().key_expiration_time();
    let keys = |subkeys: Vec<&Subkey<'_>>| -> Vec<EncryptionKey> {
        subkeys.into_iter().map(|subkey| subkey.key().clone().role_into_unspecified()).collect()
    };
    let alive: Vec<&Subkey<'_>> = able.iter().filter(|subkey| subkey.alive().is_ok()).collect();
    // Of expired ones the last: those before it were replaced, and their secret keys may be gone.
    let of_these =
        if alive.is_empty() { able.iter().filter(|subkey| ends(subkey) == subkeys_end).collect() } else { alive };
    let (fingerprint, subkey) = (fingerprint.clone(), of_these[0].key().fingerprint().to_hex());
    let expired = match (valid.primary_key().alive(), primary_end, subkeys_end) {
        (Err(_), Some(end), _) => Some(Unusable::Expired { fingerprint, subkey, on: day(end) }),
        (_, _, Some(end)) if end <= now => Some(Unusable::SubkeysExpired { fingerprint, subkey, on: day(end) }),
        _ => None,
    };
    Ok(Judged { keys: keys(of_these), until: earlier(primary_end, subkeys_end), expired, may_be_revoked })
}

/// Subkeys that are meant for encryption and not revoked; their time may be over.
fn encryption_keys<'a>(valid: &ValidCert<'a>) -> impl Iterator<Item = Subkey<'a>> {
    valid.keys().supported().revoked(false).for_transport_encryption().for_storage_encryption()
}

fn ends(subkey: &Subkey<'_>) -> Option<SystemTime> {
    subkey.key_expiration_time()
}

/// The latest end; `None` if one has no end.
fn latest(ends: impl Iterator<Item = Option<SystemTime>>) -> Option<SystemTime> {
    ends.reduce(|one, other| Some(one?.max(other?))).flatten()
}

fn earlier(one: Option<SystemTime>, other: Option<SystemTime>) -> Option<SystemTime> {
    one.into_iter().chain(other).min()
}

/// Why the policy does not take the certificate as a whole.
fn refused(
    certificate: &Cert,
    fingerprint: &OpenPgpFingerprint,
    now: SystemTime,
    error: &openpgp::anyhow::Error,
) -> Unusable {
    let made = certificate.primary_key().key().creation_time();
    if made > now {
        return Unusable::NotYetValid(fingerprint.clone(), day(made));
    }
    let Some(violation) = violation(error) else { return Unusable::Unsupported(fingerprint.clone(), cause(error)) };
    // Sequoia says what broke the rules only in words: try whether old hashes are all that is wrong.
    match certificate.with_policy(&with_old_hashes(now), now) {
        Ok(_) => Unusable::WeakSignature(fingerprint.clone(), violation),
        Err(_) => Unusable::WeakKey(fingerprint.clone(), violation),
    }
}

/// Why none of the subkeys of a certificate that is sound as a whole can be used.
fn why_none(certificate: &Cert, fingerprint: &OpenPgpFingerprint, now: SystemTime) -> Unusable {
    let policy = StandardPolicy::at(now);
    let anything = with_weak_keys(now);
    let meant = certificate.keys().with_policy(&anything, now).for_transport_encryption().for_storage_encryption();
    let mut why = Unusable::NoEncryptionSubkey(fingerprint.clone());
    for subkey in meant {
        let name = subkey.key().fingerprint().to_hex();
        match subkey.clone().with_policy(&policy, now) {
            Ok(valid) if matches!(valid.revocation_status(), RevocationStatus::Revoked(_)) => {
                why = Unusable::SubkeysRevoked(fingerprint.clone(), name);
            }
            Ok(_) => {
                let algorithm = subkey.key().pk_algo();
                why = Unusable::Unsupported(fingerprint.clone(), format!("its subkey {name} is for {algorithm}"));
            }
            Err(error) => {
                let old_hashes = subkey.with_policy(&with_old_hashes(now), now).is_ok();
                let violation = violation(&error).unwrap_or_else(|| cause(&error));
                let what = format!("subkey {name}: {violation}");
                return match old_hashes {
                    true => Unusable::WeakSignature(fingerprint.clone(), what),
                    false => Unusable::WeakKey(fingerprint.clone(), what),
                };
            }
        }
    }
    why
}

/// The policy as it would be if no hash were ever broken.
fn with_old_hashes(now: SystemTime) -> StandardPolicy<'static> {
    let mut policy = StandardPolicy::at(now);
    [HashAlgorithm::SHA1, HashAlgorithm::RipeMD, HashAlgorithm::MD5].iter().for_each(|hash| policy.accept_hash(*hash));
    policy
}

/// The same, and no key ever too short.
fn with_weak_keys(now: SystemTime) -> StandardPolicy<'static> {
    let mut policy = with_old_hashes(now);
    AsymmetricAlgorithm::variants().for_each(|algorithm| policy.accept_asymmetric_algo(algorithm));
    policy
}

/// What breaks the policy's rules, if that is the trouble: "SHA1 is not considered secure since 2023-02-01".
fn violation(error: &openpgp::anyhow::Error) -> Option<String> {
    let violation = error.chain().find_map(|cause| match cause.downcast_ref::<openpgp::Error>() {
        Some(openpgp::Error::PolicyViolation(what, since)) => Some((what, since)),
        _ => None,
    });
    let (what, since) = violation?;
    let since = since.map_or_else(String::new, |since| format!(" since {}", day(since)));
    Some(format!("{what} is not considered secure{since}"))
}

/// The innermost cause.
fn cause(error: &openpgp::anyhow::Error) -> String {
    error.root_cause().to_string()
}

/// `2026-11-20`.
pub fn day(at: SystemTime) -> String {
    // Beyond the year 9999 it cannot be written.
    let at = at.min(SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799));
    humantime::format_rfc3339_seconds(at).to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openpgp::parse::Parse;
    use std::path::Path;

    /// The verdict on a certificate of keys/test: none of these can be configured, for they are published.
    fn verdict(name: &str, now: SystemTime) -> Result<Judged, Unusable> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("keys/test/{name}.asc"));
        let certificate = Cert::from_file(file).expect("a test certificate");
        judge(&certificate, &certificate.fingerprint().to_hex().parse().expect("a fingerprint"), now)
    }

    #[test]
    fn certificates_as_gpg_makes_them_get_their_verdicts() {
        let now = SystemTime::now();
        for name in ["admin", "alice"] {
            let judged = verdict(name, now).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert!(judged.keys.len() == 1 && judged.expired.is_none() && judged.until.is_none(), "{name}");
        }
        let why = |name| verdict(name, now).err().map(|why| why.kind());
        assert_eq!((why("sign-only"), why("revoked")), (Some("no-encryption-subkey"), Some("revoked")));
        let expired = verdict("expired", now).expect("its holder can read as ever");
        assert_eq!(expired.expired.map(|why| why.kind()), Some("expired"));
        // It held while it held.
        let then = expired.until.expect("an end") - Duration::from_secs(1);
        assert!(verdict("expired", then).is_ok_and(|judged| judged.expired.is_none()));
        let before = SystemTime::UNIX_EPOCH;
        assert_eq!(verdict("admin", before).err().map(|why| why.kind()), Some("not-yet-valid"));
    }
}
