//! `[recipient.fixed]`.

use super::Validator;
use crate::config::raw::{RawFixed, RawFixedText};
use crate::config::{Accept, ConfigError, Fixed, FixedText, Recipient};

/// Octets of a text and of a Subject.
const TEXT: usize = 4096;
const SUBJECT: usize = 200;

impl Validator<'_> {
    pub(super) fn fixed(&self, raw: Option<RawFixed>, of: &str) -> Result<Option<Fixed>, ConfigError> {
        let Some(raw) = raw else { return Ok(None) };
        let key = |name: &str| format!("{of}.{name}");
        let every = self.duration(&key("every"), raw.every, "23h 30m", 60..=366 * 24 * super::HOUR)?;
        let subject = self.present(&key("subject"), raw.subject)?;
        let texts = raw.texts.unwrap_or_default().into_iter().map(|text| self.fixed_text(text, &key("texts")));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        if texts.is_empty() {
            let hint = "Write texts = [{ log = \": 0\", text = \"Nothing came.\" }, { text = \"Something came.\" }].";
            return Err(self.wrong(key("texts"), "no text", hint));
        }
        if subject.is_empty() || subject.len() > SUBJECT || subject.chars().any(char::is_control) {
            return Err(self.wrong(key("subject"), "no line of at most 200 octets", "Shorten it, without controls."));
        }
        Ok(Some(Fixed { subject, every, texts }))
    }

    fn fixed_text(&self, raw: RawFixedText, key: &str) -> Result<FixedText, ConfigError> {
        let text = self.present(key, raw.text)?;
        if text.is_empty() || text.len() > TEXT {
            return Err(self.wrong(key, "a text that is empty or above 4096 octets", "Write what is to be sent."));
        }
        Ok(FixedText { log: self.pattern(key, "log", raw.log)?, text })
    }

    /// Whoever gets a fixed text must not be who has to get the alert.
    pub(super) fn refuse_lossy_fixed(&self, recipient: &Recipient) -> Result<(), ConfigError> {
        let only_adds = !recipient.default && recipient.accept.iter().all(Accept::looks_at_alerts);
        if recipient.fixed.is_none() || only_adds {
            return Ok(());
        }
        Err(self.wrong(
            format!("recipient {}: fixed", recipient.address),
            "mail that is for nobody else would be lost",
            "Remove default, and let every table of `accept` look at alerts: accept = [{ rule = 400600 }].",
        ))
    }
}
