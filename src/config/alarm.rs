//! `[alarm]`: who is told, beside mail, how the relay is.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{HttpsUrl, Proxy};
use crate::tls::TrustStore;

/// `[alarm]`
#[derive(Debug, Clone)]
pub struct Alarm {
    /// What this relay is called in what is told: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// What is called while all is well.
    pub ping: Option<Ping>,
    /// What hears of each change of state.
    pub webhook: Option<Endpoint>,
    /// The syslog collector that hears of the same, by UDP.
    pub syslog: Option<SocketAddr>,
    /// How long a state must last before it is told.
    pub settle: Duration,
}

/// The dead-man switch.
#[derive(Debug, Clone)]
pub struct Ping {
    /// What is called.
    pub endpoint: Endpoint,
    /// How often.
    pub every: Duration,
    /// It is not called while a message has waited longer than this.
    pub oldest: Duration,
}

/// An address that is a secret, and the way to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address.
    pub url: SecretUrl,
    /// What makes its server the right one.
    pub trust: Arc<TrustStore>,
    /// The way there.
    pub proxy: Option<Proxy>,
}

/// An address whose path or query is a token: whoever knows it can call it. Only its host is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(HttpsUrl);

impl SecretUrl {
    /// Makes a secret of `url`.
    pub fn new(url: HttpsUrl) -> Self {
        Self(url)
    }

    /// Host and port, which may be shown.
    pub fn host(&self) -> String {
        self.0.authority()
    }

    /// The whole of it, for the one place that calls it.
    pub fn reveal(&self) -> &HttpsUrl {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}/<redacted>", self.host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_secret_address_only_the_host_is_printed() {
        let url = SecretUrl::new("https://hooks.example.org:8443/services/T0/B0?x=token".parse().expect("an address"));
        assert_eq!(format!("{url:?}"), "https://hooks.example.org:8443/<redacted>");
        assert_eq!(url.host(), "hooks.example.org:8443");
    }
}
