//! `[heartbeat]`.

use std::time::Duration;

use super::{HOUR, Validator};
use crate::config::raw::RawHeartbeat;
use crate::config::{ConfigError, Recipient};

/// Seconds. A minute at least: each heartbeat is a message in a person's mailbox. What is told more rarely than every
/// month tells nothing.
const BOUNDS: std::ops::RangeInclusive<u64> = 60..=30 * 24 * HOUR;

impl Validator<'_> {
    /// How often, or `None` for never.
    pub(super) fn heartbeat(
        &self,
        raw: RawHeartbeat,
        recipients: &[Recipient],
    ) -> Result<Option<Duration>, ConfigError> {
        match raw.every.as_deref() {
            Some("off") => Ok(None),
            Some(text) if humantime::parse_duration(text).is_err() => {
                let what = format!("{text:?} is neither a duration nor \"off\"");
                Err(self.wrong("heartbeat.every", what, "Write it with its unit: 12h, 24h, 7d."))
            }
            _ => {
                let every = self.duration("heartbeat.every", raw.every, "24h", BOUNDS)?;
                recipients.iter().try_for_each(|recipient| self.refuse_slots_too_long(recipient, every))?;
                Ok(Some(every))
            }
        }
    }
}
