//! Certificates that will expire are announced 60, 30, 14, 7 and 1 days ahead, and when it has come to pass; once each,
//! remembered over restarts.
//!
//! On failure to remember, an announcement comes again after a restart. An attacker controls nothing here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::config::OpenPgpFingerprint;
use crate::maillog;
use crate::spool::replace;
use crate::status::EXPIRES_SOON;

const DAY: Duration = Duration::from_secs(86_400);

/// Days ahead at which an expiry is announced; 0 is the day itself.
const STAGES: [u64; 6] = [60, 30, 14, 7, 1, 0];

/// Until when one certificate of one recipient holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The recipient's address.
    pub recipient: String,
    /// The certificate.
    pub fingerprint: OpenPgpFingerprint,
    /// Its end.
    pub until: SystemTime,
}

/// Whether it is time to speak about an end at `until`.
pub fn is_near(until: SystemTime, now: SystemTime) -> bool {
    stage(until, now).is_some()
}

/// Whether the end at `until` is an operator's business now: before, a state that says so would hide everything else for
/// weeks.
pub fn is_close(until: Option<SystemTime>, now: SystemTime) -> bool {
    until.is_some_and(|until| until.duration_since(now).unwrap_or_default().as_secs() <= EXPIRES_SOON)
}

/// "in 12 days", "today", "3 days ago".
pub fn in_days(until: SystemTime, now: SystemTime) -> String {
    let days = |span: Duration| match span.as_secs() / DAY.as_secs() {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    match until.duration_since(now) {
        Ok(left) if left < DAY => "within a day".to_owned(),
        Ok(left) => format!("in {}", days(left)),
        Err(past) => format!("{} ago", days(past.duration())),
    }
}

/// The latest stage that an end at `until` has reached.
fn stage(until: SystemTime, now: SystemTime) -> Option<u64> {
    let left = until.duration_since(now).unwrap_or_default();
    STAGES.into_iter().rev().find(|days| left <= DAY * u32::try_from(*days).unwrap_or(u32::MAX))
}

/// What was announced.
pub struct Announced {
    file: PathBuf,
    certificates: Mutex<BTreeMap<String, Remembered>>,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
struct Remembered {
    /// Seconds since 1970 of the end that was announced; another end begins anew.
    until: u64,
    /// The last stage.
    stage: u64,
}

impl Announced {
    /// Reads what is remembered in `state`.
    pub fn open(state: &Path) -> Self {
        let file = state.join("expiries.json");
        let remembered = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Self { file, certificates: Mutex::new(remembered.unwrap_or_default()) }
    }

    /// Those of `expiries` that reached a stage that was not announced yet. They count as announced from now on.
    pub fn due(&self, expiries: Vec<Expiry>, now: SystemTime) -> Vec<Expiry> {
        let mut certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_new = |expiry: &Expiry| {
            let Some(stage) = stage(expiry.until, now) else { return false };
            let until = expiry.until.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
            let name = format!("{} {}", expiry.recipient, expiry.fingerprint);
            match certificates.get(&name) {
                Some(told) if told.until == until && told.stage <= stage => false,
                _ => {
                    certificates.insert(name, Remembered { until, stage });
                    true
                }
            }
        };
        let due: Vec<Expiry> = expiries.into_iter().filter(|expiry| is_new(expiry)).collect();
        if !due.is_empty() {
            self.keep(&certificates);
        }
        due
    }

    fn keep(&self, certificates: &BTreeMap<String, Remembered>) {
        let kept = serde_json::to_vec(certificates).map_err(std::io::Error::from);
        if let Err(error) = kept.and_then(|json| replace(&self.file, &json)) {
            maillog::hindered("expiries.json cannot be written", &error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000) + DAY * u32::try_from(days).expect("few")
    }

    #[test]
    fn an_expiry_is_announced_once_at_each_stage_over_restarts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let expiry =
            |until| vec![Expiry { recipient: "a@b".into(), fingerprint: "A".repeat(40).parse().expect("one"), until }];
        let told = |today: u64| {
            // Opened anew each time: a restart a day.
            !Announced::open(folder.path()).due(expiry(at(100)), at(today)).is_empty()
        };
        let days: Vec<u64> = (0..110).filter(|today| told(*today)).map(|today| 100 - today.min(100)).collect();
        assert_eq!(days, [60, 30, 14, 7, 1, 0]);
        // Extended: that end is another one.
        let announced = Announced::open(folder.path());
        assert!(announced.due(expiry(at(400)), at(101)).is_empty());
        assert_eq!(announced.due(expiry(at(400)), at(390)).len(), 1);
        assert!(announced.due(expiry(at(400)), at(390)).is_empty());
    }

    #[test]
    fn days_are_said_as_people_say_them() {
        assert_eq!(in_days(at(12), at(0)), "in 12 days");
        assert_eq!(in_days(at(1), at(0)), "in 1 day");
        assert_eq!(in_days(at(1), at(1)), "within a day");
        assert_eq!(in_days(at(1), at(4)), "3 days ago");
    }
}
