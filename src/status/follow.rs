//! How the reading of a followed log is doing.
//!
//! Guarantees: the log's path, numbers and our own words; nothing of its lines. An attacker who writes lines can raise the
//! numbers and do no more.

use serde::{Deserialize, Serialize};

/// How the reading of a followed log is doing.
#[derive(Serialize, Deserialize, Default, Debug, Clone, PartialEq, Eq)]
pub struct FollowStatus {
    /// The log.
    pub log: String,
    /// Why it cannot be read now, and what to do.
    pub trouble: Option<String>,
    /// Why alerts wait in it: there is no room, or sealing is not possible.
    pub waits: Option<String>,
    /// Octets behind its end.
    pub behind_octets: u64,
    /// Seconds since its end was reached last; 0 while it is reached.
    pub behind_seconds: u64,
    /// Lines read since the start.
    pub lines: u64,
    /// Alerts among them that were stored.
    pub stored: u64,
    /// Lines that are no alerts in JSON; they are sent as they are.
    pub no_alerts: u64,
    /// Those of them that came without a day between.
    #[serde(default)]
    pub no_alerts_lately: u64,
    /// What was not found after a rotation or truncation, if that happened.
    pub gap: Option<String>,
}

/// A log that is read so much later than written, seconds, is worth a look.
const BEHIND: u64 = 120;

impl FollowStatus {
    /// Whether it is read much later than it is written.
    pub fn is_late(&self) -> bool {
        self.behind_seconds > BEHIND
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let log = &self.log;
        let late = self.is_late().then(|| {
            let (minutes, octets) = (self.behind_seconds / 60, self.behind_octets);
            format!("follow {log}: its end was not reached for {minutes} minutes, {octets} octets are to be read")
        });
        let no_alerts = (self.no_alerts_lately > 0).then(|| {
            let lines = self.no_alerts_lately;
            format!(
                "follow {log}: {lines} line(s) are no alerts in JSON, and were sent as they are: is it the JSON log?"
            )
        });
        let told = [("", &self.trouble), ("alerts wait in it: ", &self.waits), ("", &self.gap)];
        let told = told.into_iter().filter_map(|(what, text)| Some(format!("follow {log}: {what}{}", text.as_ref()?)));
        told.chain(late).chain(no_alerts).collect()
    }
}
