//! One certificate of one recipient: from the file, from its last usable copy, or from both.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sequoia_openpgp::Cert;
use sequoia_openpgp::policy::StandardPolicy;

use super::copy::Copy;
use super::file::Files;
use super::{Judged, Unusable, day, judge, refuse_published};
use crate::config::OpenPgpFingerprint;
use crate::seal::expiry;

/// How long a verdict stands at most: evaluating the policy for each mail costs more than it tells. A key that expires
/// or comes to life in between ends it early.
const VERDICT_LIFETIME: Duration = Duration::from_secs(60);

/// One certificate.
pub struct Entry {
    pub fingerprint: OpenPgpFingerprint,
    pub certificate: Cert,
    /// When it was last usable.
    worked_at: SystemTime,
    /// Why the copy is used instead of the file.
    pub file_trouble: Option<Unusable>,
    verdict: Mutex<Option<Verdict>>,
}

/// What was found, and when that holds.
struct Verdict {
    judged: Result<Judged, Unusable>,
    from: SystemTime,
    to: SystemTime,
}

/// `file` with what the copy knows and the file may have lost, such as revocations.
pub fn merged(file: Cert, copy: Option<Cert>) -> Cert {
    match copy {
        Some(copy) => file.clone().merge_public(copy).unwrap_or(file),
        None => file,
    }
}

impl Entry {
    /// The certificate with `fingerprint` from `files`, or its last usable copy in `state`, which is brought up to date.
    ///
    /// # Errors
    /// It is broken and never was usable, or is published.
    pub fn load(
        fingerprint: &OpenPgpFingerprint,
        files: &Files<'_>,
        state: &Path,
        now: SystemTime,
    ) -> Result<Self, Unusable> {
        refuse_published(fingerprint)?;
        let mut copy = Copy::read(state, fingerprint);
        let (certificate, file_trouble) = match (files.find(fingerprint), copy.certificate.take()) {
            (Ok(file), copy) => (merged(file, copy), None),
            (Err(trouble), Some(copy)) => (copy, Some(trouble)),
            (Err(trouble), None) => return Err(trouble),
        };
        let worked_at = match (judge(&certificate, fingerprint, now), copy.worked_at) {
            (Ok(_), _) => now,
            (Err(_), Some(then)) => then,
            // Never usable: the operator must hear of it before anything is lost.
            (Err(trouble), None) => return Err(trouble),
        };
        // Usable or not: a revocation must be remembered.
        copy.keep(&certificate, worked_at);
        let fingerprint = fingerprint.clone();
        Ok(Self { fingerprint, certificate, worked_at, file_trouble, verdict: Mutex::default() })
    }

    /// What it is worth at `now`.
    pub fn judged(&self, now: SystemTime) -> Result<Judged, Unusable> {
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        match verdict.as_ref() {
            Some(verdict) if (verdict.from..verdict.to).contains(&now) => verdict.judged.clone(),
            _ => {
                let judged = self.judge_anew(now);
                let to = self.next_change(now).map_or(now + VERDICT_LIFETIME, |next| next.min(now + VERDICT_LIFETIME));
                *verdict = Some(Verdict { judged: judged.clone(), from: now, to });
                judged
            }
        }
    }

    fn judge_anew(&self, now: SystemTime) -> Result<Judged, Unusable> {
        match judge(&self.certificate, &self.fingerprint, now) {
            // It worked, and only a newer policy refuses it: its holder can read as ever. That is expiry.
            Err(refused) if refused.is_policy() => {
                let then = judge(&self.certificate, &self.fingerprint, self.worked_at)?;
                Ok(Judged { expired: Some(refused), ..then })
            }
            // The clock was set back: what worked once is not of the future.
            Err(Unusable::NotYetValid(..)) => judge(&self.certificate, &self.fingerprint, self.worked_at),
            judged => judged,
        }
    }

    /// When the next of its keys expires or comes to life after `now`.
    fn next_change(&self, now: SystemTime) -> Option<SystemTime> {
        let policy = StandardPolicy::at(now);
        let valid = self.certificate.with_policy(&policy, now).ok()?;
        let ends = valid.keys().filter_map(|key| key.key_expiration_time());
        let beginnings = self.certificate.keys().map(|key| key.key().creation_time());
        ends.chain(beginnings).filter(|change| *change > now).min()
    }

    /// What an operator should know about it at `now`.
    pub fn warnings(&self, now: SystemTime) -> Vec<String> {
        let in_words = |trouble: &Unusable| format!("{trouble}. {}", trouble.hint());
        let broken = self.file_trouble.as_ref().map(|trouble| {
            format!("{trouble}; for {} the last usable copy is used. {}", self.fingerprint, trouble.hint())
        });
        let of_verdict = match self.judged(now) {
            Err(unusable) => vec![in_words(&unusable)],
            Ok(Judged { expired: Some(expired), .. }) => vec![in_words(&expired)],
            Ok(judged) => {
                let ends = ends(&self.fingerprint, &judged, now).filter(|_| expiry::is_close(judged.until, now));
                may_be_revoked(&self.fingerprint, &judged).into_iter().chain(ends).collect()
            }
        };
        broken.into_iter().chain(of_verdict).collect()
    }

    /// What about it has time at `now`: its end is announced, and is not close.
    pub fn advice(&self, now: SystemTime) -> Option<String> {
        let judged = self.judged(now).ok().filter(|judged| judged.expired.is_none())?;
        ends(&self.fingerprint, &judged, now).filter(|_| !expiry::is_close(judged.until, now))
    }
}

/// What is worth a look in a certificate that can be used at `now`.
pub fn doubts(fingerprint: &OpenPgpFingerprint, judged: &Judged, now: SystemTime) -> Vec<String> {
    may_be_revoked(fingerprint, judged).into_iter().chain(ends(fingerprint, judged, now)).collect()
}

fn may_be_revoked(fingerprint: &OpenPgpFingerprint, judged: &Judged) -> Option<String> {
    judged.may_be_revoked.then(|| {
        format!(
            "somebody other than its holder says that the certificate {fingerprint} is revoked, which cannot be verified \
             here. Ask its holder; if it is, configure another."
        )
    })
}

/// That it ends, once that is near.
fn ends(fingerprint: &OpenPgpFingerprint, judged: &Judged, now: SystemTime) -> Option<String> {
    let until = judged.until.filter(|until| expiry::is_near(*until, now))?;
    Some(format!(
        "the certificate {fingerprint} expires on {}, {}. Ask its holder to extend it and to export it again.",
        day(until),
        expiry::in_days(until, now)
    ))
}
