//! `[[recipient]]`.

use std::collections::HashSet;

use super::Validator;
use crate::config::raw::{RawFormat, RawOnExpired, RawRecipient, RawSeipd};
use crate::config::{ConfigError, Format, OnExpired, OpenPgpFingerprint, Recipient};

impl Validator<'_> {
    pub(super) fn recipients(&self, raw: Vec<RawRecipient>) -> Result<Vec<Recipient>, Vec<ConfigError>> {
        let single = raw.len() == 1;
        let recipients = self.entries("recipient", raw, |entry| self.recipient(entry, single))?;
        self.fit_together(&recipients).map_err(|fault| vec![fault])?;
        Ok(recipients)
    }

    fn fit_together(&self, recipients: &[Recipient]) -> Result<(), ConfigError> {
        let mut seen = HashSet::new();
        if let Some(twice) = recipients.iter().find(|r| !seen.insert(r.address.as_str().to_ascii_lowercase())) {
            return Err(self.wrong(
                "recipient.address",
                format!("{} stands in two entries", twice.address),
                "Give one entry all its certificates and all that it accepts.",
            ));
        }
        if recipients.is_empty() {
            let hint = "Add a [[recipient]] with address, certificate and fingerprint.";
            return Err(self.wrong("recipient", "nobody gets the alerts", hint));
        }
        if !recipients.iter().any(|recipient| recipient.default) {
            let what = "no entry is the default one";
            return Err(self.wrong(
                "recipient.default",
                what,
                "Set default = true on who gets what nobody else claims.",
            ));
        }
        Ok(())
    }

    fn recipient(&self, raw: RawRecipient, single: bool) -> Result<Recipient, ConfigError> {
        let address = self.address("recipient.address", &self.present("recipient.address", raw.address)?)?;
        let of_this = |key: &str| format!("recipient {address}: {key}");
        let certificates = self.present(&of_this("certificate"), raw.certificate)?.into_vec();
        let texts = self.present(&of_this("fingerprint"), raw.fingerprint)?.into_vec();
        let fingerprints = texts
            .iter()
            .map(|text| {
                text.parse::<OpenPgpFingerprint>()
                    .map_err(|error| self.wrong(of_this("fingerprint"), error.to_string(), error.hint()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if certificates.is_empty() || fingerprints.is_empty() {
            let hint = "Name at least one certificate file and one full fingerprint.";
            return Err(self.wrong(of_this("certificate"), "an empty list", hint));
        }
        let recipient = Recipient {
            accept: self.accept(raw.accept, &of_this("accept"), address.as_str())?,
            // A fixed text is chosen by an alert, and only one that can be told with certainty counts.
            split: raw.split.unwrap_or(false) || raw.fixed.is_some(),
            fixed: self.fixed(raw.fixed, &of_this("fixed"))?,
            flood: self.flood(raw.flood, &of_this("flood"))?,
            release: self.release(raw.release, &of_this("release"))?,
            certificates: certificates.iter().map(|name| self.path(name)).collect(),
            fingerprints,
            default: raw.default.unwrap_or(single),
            format: match raw.format {
                Some(RawFormat::Inline) => Format::Inline,
                Some(RawFormat::PgpMime) | None => Format::PgpMime,
            },
            on_expired: match raw.on_expired {
                Some(RawOnExpired::Notice) => OnExpired::Notice,
                Some(RawOnExpired::SealAndWarn) | None => OnExpired::SealAndWarn,
            },
            seipd_v2: raw.seipd == Some(RawSeipd::V2),
            address,
        };
        self.refuse_lossy_fixed(&recipient)?;
        self.refuse_lossy_split(&recipient)?;
        self.refuse_idle_gathering(&recipient)?;
        Ok(recipient)
    }
}
