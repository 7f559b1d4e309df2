//! `accept` and `split` of a `[[recipient]]`, and `[alerts]`.

use super::Validator;
use crate::alert::{Pattern, PatternError};
use crate::config::raw::{OneOrMore, RawAccept, RawAlerts};
use crate::config::{Accept, Alerts, ConfigError, Recipient};

/// The highest level of a rule, for OSSEC and Wazuh alike.
pub(super) const LEVEL: u32 = 16;
/// More tables are a mistake, not a plan; each is compared with each alert.
const TABLES: usize = 200;

impl Validator<'_> {
    /// All tables. Without any, an entry claims mail to its own address.
    pub(super) fn accept(
        &self,
        raw: Option<Vec<RawAccept>>,
        key: &str,
        address: &str,
    ) -> Result<Vec<Accept>, ConfigError> {
        let tables = raw.unwrap_or_default();
        if tables.is_empty() {
            return Ok(vec![Accept::mail_for(address)]);
        }
        if tables.len() > TABLES {
            let what = format!("{} tables", tables.len());
            return Err(self.wrong(key, what, "Join them: a rule takes a list, a location alternatives with |."));
        }
        tables.into_iter().map(|table| self.table(table, key)).collect()
    }

    fn table(&self, raw: RawAccept, key: &str) -> Result<Accept, ConfigError> {
        let rules = raw.rule.map(|rules| rules.into_vec());
        if rules.as_ref().is_some_and(|rules| rules.is_empty() || rules.contains(&0)) {
            return Err(self.wrong(key, "`rule` names no rule", "Write the number of a rule, or a list of numbers."));
        }
        if let Some(level) = raw.level.filter(|level| *level > LEVEL) {
            let what = format!("there is no level {level}");
            return Err(self.wrong(key, what, format!("Levels go up to {LEVEL}; the one here and higher ones count.")));
        }
        let accept = Accept {
            recipient: raw.recipient,
            level: raw.level,
            rules: rules.unwrap_or_default(),
            location: self.pattern(key, "location", raw.location)?,
            group: self.pattern(key, "group", raw.group)?,
        };
        if accept == Accept::default() {
            let hint =
                "Set recipient, level, rule, location or group in it; an entry that gets everything is a default one.";
            return Err(self.wrong(key, "a table without a condition", hint));
        }
        Ok(accept)
    }

    pub(super) fn pattern(&self, key: &str, name: &str, raw: Option<String>) -> Result<Option<Pattern>, ConfigError> {
        let wrong = |error: PatternError| self.wrong(key, format!("`{name}`: {error}"), error.hint());
        raw.map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// Whoever gets only a part of a mail must not be who gets what cannot be read.
    pub(super) fn refuse_lossy_split(&self, recipient: &Recipient) -> Result<(), ConfigError> {
        let key = format!("recipient {}: split", recipient.address);
        if recipient.split && recipient.default {
            let hint =
                "A default recipient gets mails whole, so that nothing is lost that cannot be read. Remove split.";
            return Err(self.wrong(key, "this is a default recipient", hint));
        }
        if recipient.split && !recipient.accept.iter().any(Accept::looks_at_alerts) {
            let hint = "Say which alerts are its own: accept = [{ level = 10 }, { location = \"server1\" }].";
            return Err(self.wrong(key, "no table of `accept` looks at alerts", hint));
        }
        Ok(())
    }

    pub(super) fn alerts(&self, raw: RawAlerts) -> Alerts {
        let rules = raw.rules.map(OneOrMore::into_vec).unwrap_or_default();
        Alerts { rules: rules.iter().map(|name| self.path(name)).collect() }
    }
}
