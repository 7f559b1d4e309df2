//! The fixed text a recipient gets when nothing can be sealed to it, at most once an hour, remembered over restarts;
//! and how many alerts were not sealed since.
//!
//! Guarantees: a notice holds nothing of an alert. On failure to remember, a notice may come again early or a count may
//! be too small after a restart; no alert is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::maillog;
use crate::spool::replace;

/// The text of the stack this program replaces, byte for byte: filters and people know it.
pub const TEXT: &str = "Failed to encrypt OSSEC alert. Investigate the mailing configuration on the Monitor Server.";

/// The least time between two notices to one recipient.
const INTERVAL: Duration = Duration::from_secs(3600);

/// What is remembered of notices.
pub struct Notices {
    file: PathBuf,
    recipients: Mutex<BTreeMap<String, Remembered>>,
}

#[derive(Serialize, Deserialize, Default, Clone)]
struct Remembered {
    /// Seconds since 1970.
    last_notice: u64,
    /// Alerts not sealed since the last message that said so.
    not_sealed: u64,
}

impl Notices {
    /// Reads what is remembered in `state`.
    pub fn open(state: &Path) -> Self {
        let file = state.join("notices.json");
        let remembered = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Self { file, recipients: Mutex::new(remembered.unwrap_or_default()) }
    }

    /// Counts an alert that could not be sealed for `recipient`; whether a notice is due now.
    pub fn not_sealed(&self, recipient: &str, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let mut recipients = self.recipients.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = recipients.entry(recipient.to_owned()).or_default();
        remembered.not_sealed += 1;
        // A clock that was set back must not silence notices for long.
        let due = now.abs_diff(remembered.last_notice) >= INTERVAL.as_secs();
        if due {
            remembered.last_notice = now;
        }
        self.keep(&recipients);
        due
    }

    /// How many alerts could not be sealed for `recipient` since it was last told.
    pub fn untold(&self, recipient: &str) -> u64 {
        let recipients = self.recipients.lock().unwrap_or_else(PoisonError::into_inner);
        recipients.get(recipient).map_or(0, |remembered| remembered.not_sealed)
    }

    /// A durable message has told `recipient` of `count` of them.
    pub fn told(&self, recipient: &str, count: u64) {
        let mut recipients = self.recipients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(remembered) = recipients.get_mut(recipient) {
            remembered.not_sealed = remembered.not_sealed.saturating_sub(count);
            self.keep(&recipients);
        }
    }

    fn keep(&self, recipients: &BTreeMap<String, Remembered>) {
        let kept = serde_json::to_vec(recipients).map_err(std::io::Error::from);
        if let Err(error) = kept.and_then(|json| replace(&self.file, &json)) {
            maillog::hindered("notices.json cannot be written", &error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_due_once_an_hour_over_restarts_and_alerts_are_counted() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds);
        let notices = Notices::open(folder.path());
        assert!(notices.not_sealed("a@b", at(0)));
        assert!(!notices.not_sealed("a@b", at(3599)));
        assert!(notices.not_sealed("c@d", at(1)));
        let notices = Notices::open(folder.path());
        assert!(!notices.not_sealed("a@b", at(3599)));
        assert!(notices.not_sealed("a@b", at(3600)));
        assert_eq!(notices.untold("a@b"), 4);
        notices.told("a@b", 4);
        assert_eq!(Notices::open(folder.path()).untold("a@b"), 0);
    }
}
