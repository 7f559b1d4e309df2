//! One table of `accept`: what makes a recipient get a mail.
//!
//! A table of an envelope address alone *claims* mail: default recipients do not get it for that address. Any other table
//! looks at what alerts say; log text can forge that, so it only adds its recipient.

use std::fmt;

use crate::alert::Pattern;

/// A table. All its keys must hold, for one and the same alert; at least one is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// An envelope address.
    pub recipient: Option<String>,
    /// This level or a higher one.
    pub level: Option<u32>,
    /// One of these rules; empty for any.
    pub rules: Vec<u32>,
    /// Found in the alert's location, as OSSEC's `event_location`.
    pub location: Option<Pattern>,
    /// Found in the list of its rule's groups, as OSSEC's `group`.
    pub group: Option<Pattern>,
}

impl Accept {
    /// Mail for `address`.
    pub fn mail_for(address: &str) -> Self {
        Self { recipient: Some(address.to_owned()), ..Self::default() }
    }

    /// Whether it looks at what alerts say.
    pub fn looks_at_alerts(&self) -> bool {
        self.level.is_some() || !self.rules.is_empty() || self.location.is_some() || self.group.is_some()
    }

    /// The envelope address it claims.
    pub fn claims(&self) -> Option<&str> {
        self.recipient.as_deref().filter(|_| !self.looks_at_alerts())
    }
}

/// As in the configuration, without the braces.
impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules: Vec<String> = self.rules.iter().map(u32::to_string).collect();
        let rules = if let [rule] = rules.as_slice() { rule.clone() } else { format!("[{}]", rules.join(", ")) };
        let quoted = |pattern: &Option<Pattern>| pattern.as_ref().map(|pattern| format!("{:?}", pattern.to_string()));
        let keys = [
            ("recipient", self.recipient.as_ref().map(|address| format!("{address:?}"))),
            ("level", self.level.map(|level| level.to_string())),
            ("rule", (!self.rules.is_empty()).then_some(rules)),
            ("location", quoted(&self.location)),
            ("group", quoted(&self.group)),
        ];
        let keys = keys.into_iter().filter_map(|(key, value)| Some(format!("{key} = {}", value?)));
        f.write_str(&keys.collect::<Vec<_>>().join(", "))
    }
}
