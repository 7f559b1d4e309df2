//! `[recipient.fixed]`: somebody gets a fixed text instead of the alerts that are for it.

use std::time::Duration;

use crate::alert::Pattern;

/// What a recipient gets in place of alerts, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// The Subject of all its messages, sealed.
    pub subject: String,
    /// At most one message in this time.
    pub every: Duration,
    /// The texts, the first whose condition holds counts; at least one.
    pub texts: Vec<FixedText>,
}

/// One of the texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedText {
    /// Found in the alert's log text; `None` holds for every alert.
    pub log: Option<Pattern>,
    /// What is sent.
    pub text: String,
}

impl Fixed {
    /// The number of the text for an alert with this log text.
    pub fn text_for(&self, log: &[u8]) -> Option<usize> {
        self.texts.iter().position(|text| text.log.as_ref().is_none_or(|pattern| pattern.is_in(log)))
    }
}
