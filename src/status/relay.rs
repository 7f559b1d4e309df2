//! How a relay host is doing, and the certificate it presents.
//!
//! Guarantees: host names, times, pins and short texts; what a relay host said was made printable by whoever noted it. A
//! certificate whose dates do not count is never warned about. An attacker who answers for a relay host chooses the words
//! of its trouble.

use serde::{Deserialize, Serialize};

use super::seconds_now;

/// How a relay host is doing.
#[derive(Serialize, Deserialize, Default, Debug, Clone)]
pub struct RelayStatus {
    /// Its name and port.
    pub relay: String,
    /// Seconds since 1970 of the last message it took.
    pub last_success: Option<u64>,
    /// What did not work last, if it has not worked since.
    pub trouble: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// Seconds since 1970 since when nothing has worked.
    #[serde(default)]
    pub trouble_since: Option<u64>,
    /// Seconds since 1970 of the next attempt, while there is trouble.
    pub next_attempt: Option<u64>,
    /// How many messages it may get in an hour, and in a day.
    #[serde(default)]
    pub per_hour: Option<u32>,
    #[serde(default)]
    pub per_day: Option<u32>,
    /// Seconds since 1970 until which messages wait because the cap for it is reached.
    #[serde(default)]
    pub waits_until: Option<u64>,
    /// The certificate it presented last.
    #[serde(default)]
    pub certificate: Option<Certificate>,
    /// Sessions that ended because no pin matched, since the configuration is in force.
    #[serde(default)]
    pub pin_mismatches: u64,
}

/// What a relay host presented.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// As a pin.
    pub own: String,
    /// Seconds since 1970 at which it expires.
    pub expires: Option<u64>,
    /// Seconds since 1970 at which it, and its chain, were seen first.
    pub since: u64,
    /// The one before it, as a pin; the same one if only its issuers changed.
    pub before: Option<String>,
    /// Whether its dates count; with pins they do not.
    pub dates_count: bool,
}

/// With so much time left, seconds, somebody should look: most certificates are renewed when 30 days are left.
pub const EXPIRES_SOON: u64 = 14 * 24 * 3600;

impl RelayStatus {
    /// What is the matter with it, and what to do.
    pub fn in_trouble(&self) -> Option<String> {
        let advice = self.advice.as_deref().unwrap_or("");
        self.trouble.as_ref().map(|trouble| format!("relay host {}: {trouble}. {advice}", self.relay))
    }

    pub(super) fn expires_soon(&self) -> Option<String> {
        let certificate = self.certificate.as_ref().filter(|certificate| certificate.dates_count)?;
        let left = certificate.expires?.saturating_sub(seconds_now());
        let when = match left / (24 * 3600) {
            // None of a later session is known: it may have been renewed since.
            _ if left == 0 => "as last seen, has expired".to_owned(),
            days => format!("expires in {days} day(s)"),
        };
        (left < EXPIRES_SOON)
            .then(|| format!("relay host {}: its certificate {when}; its operator should renew it", self.relay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a certificate that expires at this time, seconds since 1970.
    fn warning(expires: u64, dates_count: bool) -> Option<String> {
        let certificate =
            Certificate { own: String::new(), expires: Some(expires), since: 0, before: None, dates_count };
        let relay = "mx.example.org:587".to_owned();
        RelayStatus { relay, certificate: Some(certificate), ..RelayStatus::default() }.expires_soon()
    }

    #[test]
    fn a_certificate_that_has_expired_is_not_said_to_expire() {
        let day = 24 * 3600;
        assert_eq!(warning(seconds_now() + 15 * day, true), None);
        assert!(warning(seconds_now() + 3 * day + 60, true).is_some_and(|text| text.contains("expires in 3 day(s);")));
        assert!(warning(seconds_now() + 60, true).is_some_and(|text| text.contains("expires in 0 day(s);")));
        assert!(warning(seconds_now() - 60, true).is_some_and(|text| text.contains("as last seen, has expired;")));
        assert_eq!(warning(seconds_now() - 60, false), None);
    }
}
