//! `[alarm]`.

use std::sync::Arc;

use super::relay::Way;
use super::{HOUR, Validator};
use crate::config::raw::RawAlarm;
use crate::config::url::UrlError;
use crate::config::{Alarm, ConfigError, Endpoint, HttpsUrl, Ping, Proxy, Relay, SecretUrl, Trust};
use crate::tls::TrustStore;

/// Octets of a name: it stands in a syslog header (RFC 5424 6.2.4 would take 255) and in chats.
const NAME_LIMIT: usize = 64;

/// What both addresses share.
struct Shared<'a> {
    trust: Option<Arc<TrustStore>>,
    way: Way,
    relays: &'a [Relay],
}

impl Validator<'_> {
    /// Who is told, beside mail. The files with addresses are read here, so that a fault shows at the start.
    pub(super) fn alarm(&self, raw: RawAlarm, relays: &[Relay]) -> Result<Alarm, ConfigError> {
        let ca_file = raw.ca_file.map_or(Trust::System, |file| Trust::CaFile(self.path(&file)));
        let is_web = raw.ping_url_file.is_some() || raw.webhook_url_file.is_some();
        let trust = is_web.then(|| TrustStore::load(&ca_file).map(Arc::new)).transpose();
        let trust = trust.map_err(|error| self.wrong("alarm.ca_file", error.to_string(), error.hint()))?;
        let way = Way { url: raw.proxy, username: raw.proxy_username, password_file: raw.proxy_password_file };
        let shared = Shared { trust, way, relays };
        let ping = self.endpoint("alarm.ping_url_file", "ping URL", raw.ping_url_file, &shared)?;
        let every = self.duration("alarm.ping_every", raw.ping_every, "5m", 1..=24 * HOUR)?;
        let oldest = self.duration("alarm.ping_oldest", raw.ping_oldest, "30m", 1..=7 * 24 * HOUR)?;
        let syslog = self.parsed("alarm.syslog", raw.syslog.as_slice(), SYSLOG_HINT)?;
        Ok(Alarm {
            name: self.name(raw.name)?,
            ping: ping.map(|endpoint| Ping { endpoint, every, oldest }),
            webhook: self.endpoint("alarm.webhook_url_file", "webhook URL", raw.webhook_url_file, &shared)?,
            syslog: syslog.first().copied(),
            settle: self.duration("alarm.settle", raw.settle, "2m", 0..=HOUR)?,
        })
    }

    fn endpoint(
        &self,
        key: &str,
        what: &'static str,
        file: Option<String>,
        shared: &Shared<'_>,
    ) -> Result<Option<Endpoint>, ConfigError> {
        let (Some(file), Some(trust)) = (file, &shared.trust) else { return Ok(None) };
        let text = self.secret_file(what, &file).read().map_err(|error| self.secret_fault(key, error))?;
        let url: HttpsUrl = text.reveal().trim().parse().map_err(|error| {
            // The address is a secret: what is wrong with it is said without it.
            let what = match error {
                UrlError::Scheme(_, scheme) => format!("the address in it does not begin with {scheme}"),
                UrlError::Login => "the address in it holds a login".to_owned(),
                UrlError::Unusable(_) => "the address in it is not usable".to_owned(),
            };
            self.wrong(key, what, "Write the whole address on one line: https://host/path. It carries a token.")
        })?;
        let proxy = self.way_to(&url.host, shared)?;
        Ok(Some(Endpoint { url: SecretUrl::new(url), trust: Arc::clone(trust), proxy }))
    }

    /// The proxy named here; else the first that a relay host has, because who hides the one hides the other; with an empty
    /// name none.
    fn way_to(&self, host: &str, shared: &Shared<'_>) -> Result<Option<Proxy>, ConfigError> {
        let way = shared.way.clone();
        let inherited = shared.relays.iter().find_map(|relay| relay.proxy.clone());
        let says_nothing = way.url.is_none() && way.username.is_none() && way.password_file.is_none();
        match inherited.filter(|_| says_nothing) {
            Some(proxy) => Ok(Some(proxy)),
            None => self.proxy("alarm", host, Way { url: way.url.filter(|url| !url.is_empty()), ..way }),
        }
    }

    /// The host's name unless another one is set.
    fn name(&self, raw: Option<String>) -> Result<String, ConfigError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        match raw {
            Some(name) if !name.is_empty() && name.len() <= NAME_LIMIT && name.chars().all(is_plain) => Ok(name),
            Some(name) => {
                let hint = format!("Write 1 to {NAME_LIMIT} letters, digits, dots, hyphens and underscores.");
                Err(self.wrong("alarm.name", format!("{name:?} cannot stand in every message"), hint))
            }
            None => {
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                let host: String = host.chars().filter(|c| is_plain(*c)).take(NAME_LIMIT).collect();
                Ok(if host.is_empty() { "localhost".to_owned() } else { host })
            }
        }
    }
}

const SYSLOG_HINT: &str =
    "Write address:port, such as 192.0.2.1:514: an address, because names are often not found when it matters.";
