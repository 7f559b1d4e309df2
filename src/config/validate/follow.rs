//! `[[follow]]`.

use std::collections::HashSet;

use super::Validator;
use crate::config::raw::{RawFollow, RawFrom};
use crate::config::{ConfigError, Follow};

/// OSSEC's and Wazuh's levels.
const LEVELS: std::ops::RangeInclusive<usize> = 0..=16;

impl Validator<'_> {
    pub(super) fn follows(&self, raw: Vec<RawFollow>) -> Result<Vec<Follow>, ConfigError> {
        let follows = raw.into_iter().map(|entry| self.follow(entry)).collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        match follows.iter().find(|follow| !seen.insert(&follow.path)) {
            None => Ok(follows),
            Some(twice) => Err(self.wrong(
                "follow.path",
                format!("{} stands in two entries", twice.path.display()),
                "Every alert in it would be sent twice. Remove one of the two.",
            )),
        }
    }

    /// Whether the log is there and can be read is no matter of the configuration: it may come later, and `status` says
    /// so until then.
    fn follow(&self, raw: RawFollow) -> Result<Follow, ConfigError> {
        let path = self.path(&self.present("follow.path", raw.path)?);
        let of_this = |key: &str| format!("follow {}: {key}", path.display());
        if let Some(level) = raw.email_level {
            self.within(&of_this("email_level"), usize::try_from(level).unwrap_or(usize::MAX), LEVELS)?;
        }
        let (always, never) = (raw.alert_by_email.unwrap_or_default(), raw.no_email_alert.unwrap_or_default());
        if let Some(rule) = always.iter().find(|rule| never.contains(rule)) {
            let what = format!("rule {rule} stands in alert_by_email too");
            return Err(self.wrong(of_this("no_email_alert"), what, "Say one of the two of a rule."));
        }
        Ok(Follow {
            from_start: raw.from == Some(RawFrom::Start),
            email_level: raw.email_level,
            alert_by_email: always,
            no_email_alert: never,
            secondary: raw.secondary.unwrap_or(false),
            path,
        })
    }
}
