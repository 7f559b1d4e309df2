//! `[[relay]]`.

use std::collections::HashSet;
use std::path::Path;

use super::Validator;
use crate::config::raw::{OneOrMore, RawRelay, RawTls};
use crate::config::url::{is_host, socks5};
use crate::config::{ConfigError, Given, Origin, Proxy, Relay, SecretFile, TlsMode, TlsPin, Trust};
use crate::tls::{ClientIdentity, IdentityError};

/// The keys that name a proxy, as the file has them.
#[derive(Clone)]
pub(super) struct Way {
    pub url: Option<String>,
    pub username: Option<String>,
    pub password_file: Option<String>,
}

/// More than these are a mistake, not a plan.
const RELAYS: usize = 16;

impl Relay {
    /// A relay host that stands in no configuration, with a configuration's defaults.
    ///
    /// # Errors
    /// What would be refused in a configuration.
    pub fn given(given: Given) -> Result<Self, ConfigError> {
        let (username, password_file) = given.login.unzip();
        let raw = RawRelay {
            host: Some(given.host),
            port: given.port,
            tls: given.tls.map(|tls| if tls == TlsMode::Implicit { RawTls::Implicit } else { RawTls::Starttls }),
            proxy: given.proxy.map(|proxy| format!("socks5://{proxy}")),
            username,
            password_file: password_file.map(|file| file.display().to_string()),
            // Somebody waits.
            timeout: Some("30s".to_owned()),
            ..RawRelay::default()
        };
        // Nothing given here has a state to keep.
        Validator::of(Path::new("arguments")).relay(raw, Path::new(""))
    }
}

impl Validator<'_> {
    /// All relay hosts, in the order they are tried; at least one.
    pub(super) fn relays(&self, raw: Vec<RawRelay>, state: &Path) -> Result<Vec<Relay>, Vec<ConfigError>> {
        if raw.is_empty() {
            let hint = "Add a [[relay]] with host, port and login.";
            return Err(vec![self.wrong("relay", "there is no relay host", hint)]);
        }
        if raw.len() > RELAYS {
            let what = format!("{} relay hosts", raw.len());
            return Err(vec![self.wrong("relay", what, format!("Keep the first {RELAYS} at most."))]);
        }
        let relays = self.entries("relay", raw, |relay| self.relay(relay, state))?;
        let mut seen = HashSet::new();
        match relays.iter().find(|relay| !seen.insert(relay.name().to_ascii_lowercase())) {
            Some(twice) => Err(vec![self.wrong(
                "relay",
                format!("{} stands in two entries", twice.name()),
                "A second entry helps only if it is another relay host, or another port of it.",
            )]),
            None => Ok(relays),
        }
    }

    fn relay(&self, mut raw: RawRelay, state: &Path) -> Result<Relay, ConfigError> {
        let host = self.present("relay.host", raw.host.take())?;
        if !is_host(&host) {
            let what = format!("{host:?} is no host name");
            return Err(self.wrong("relay.host", what, "Write the name or address alone; the port has its own key."));
        }
        let way = Way {
            url: raw.proxy.take(),
            username: raw.proxy_username.take(),
            password_file: raw.proxy_password_file.take(),
        };
        let proxy = self.proxy("relay", &host, way)?;
        let identity = self.identity(raw.client_certificate.take(), raw.client_key.take())?;
        let login = self.login(&mut raw, proxy.as_ref(), state)?;
        let tls = match raw.tls {
            Some(RawTls::Implicit) => TlsMode::Implicit,
            Some(RawTls::Starttls) => TlsMode::Starttls,
            // RFC 8314: 465 is the port on which TLS begins at once.
            None if raw.port == Some(465) => TlsMode::Implicit,
            None => TlsMode::Starttls,
        };
        Ok(Relay {
            trust: self.trust(raw.ca_file, raw.pins)?,
            port: raw.port.unwrap_or(if tls == TlsMode::Implicit { 465 } else { 587 }),
            tls,
            proxy,
            identity,
            login,
            ehlo: self.ehlo(raw.ehlo)?,
            timeout: self.duration("relay.timeout", raw.timeout, "2m", 1..=600)?,
            per_hour: self.cap("relay.messages_per_hour", raw.messages_per_hour)?,
            per_day: self.cap("relay.messages_per_day", raw.messages_per_day)?,
            connections: self.within("relay.connections", raw.connections.unwrap_or(4), 1..=20)?,
            host,
        })
    }

    fn cap(&self, key: &str, raw: Option<usize>) -> Result<Option<u32>, ConfigError> {
        let cap = raw.map(|cap| self.within(key, cap, 1..=10_000_000)).transpose()?;
        Ok(cap.and_then(|cap| u32::try_from(cap).ok()))
    }

    fn ehlo(&self, raw: Option<String>) -> Result<String, ConfigError> {
        let ehlo = raw.unwrap_or_else(|| "[127.0.0.1]".to_owned());
        let fits = !ehlo.is_empty() && ehlo.len() <= 255 && ehlo.bytes().all(|octet| octet.is_ascii_graphic());
        if fits {
            return Ok(ehlo);
        }
        Err(self.wrong("relay.ehlo", format!("{ehlo:?} is no host name"), "Write a name, or remove the key."))
    }

    /// The way to `host` that `section` asks for; `None` for the direct one.
    pub(super) fn proxy(&self, section: &str, host: &str, way: Way) -> Result<Option<Proxy>, ConfigError> {
        let key = format!("{section}.proxy");
        let Some(url) = way.url else {
            if way.username.is_some() || way.password_file.is_some() {
                return Err(self.wrong(key, "missing, though there is a login for it", "Name the proxy."));
            }
            let onion = host.trim_end_matches('.').to_ascii_lowercase().ends_with(".onion");
            return match onion {
                true => {
                    let hint = "Set it to Tor's address: socks5://127.0.0.1:9050.";
                    Err(self.wrong(key, format!("missing, and only Tor knows the name {host}"), hint))
                }
                false => Ok(None),
            };
        };
        let (proxy_host, port) = socks5(&url).map_err(|error| {
            self.wrong(key, error.to_string(), "Write it as socks5://127.0.0.1:9050; its login has own keys.")
        })?;
        let key = format!("{section}.proxy_username");
        let login = match (way.username, way.password_file) {
            (None, None) => None,
            (Some(username), Some(file)) => {
                let key = format!("{section}.proxy_password_file");
                Some((username, self.secret(&key, &self.secret_file("proxy password", &file))?))
            }
            _ => {
                let hint = "Set proxy_username and proxy_password_file, or neither.";
                return Err(self.wrong(key, "one half of a login", hint));
            }
        };
        // RFC 1929 2: each has one octet for its length.
        if login.as_ref().is_some_and(|(name, secret)| name.is_empty() || name.len().max(secret.reveal().len()) > 255) {
            return Err(self.wrong(key, "SOCKS5 takes 1 to 255 octets of each", "Choose others."));
        }
        Ok(Some(Proxy { host: proxy_host, port, login }))
    }

    fn identity(
        &self,
        certificate: Option<String>,
        key: Option<String>,
    ) -> Result<Option<ClientIdentity>, ConfigError> {
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                let loaded = ClientIdentity::load(&self.path(&certificate), &self.secret_file("client key", &key));
                loaded.map(Some).map_err(|error| match error {
                    IdentityError::Secret(error) => self.secret_fault("relay.client_key", error),
                    error => self.wrong("relay.client_certificate", error.to_string(), error.hint()),
                })
            }
            _ => {
                let hint = "Set client_certificate and client_key, or neither.";
                Err(self.wrong("relay.client_key", "a client certificate needs both files", hint))
            }
        }
    }

    /// A systemd credential of that name wins over the file.
    pub(super) fn secret_file(&self, what: &'static str, name: &str) -> SecretFile {
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
            .filter(|_| !name.contains('/'))
            .map(|directory| Path::new(&directory).join(name))
            .filter(|path| path.exists());
        match credential {
            Some(path) => SecretFile { what, path, origin: Origin::Credential },
            None => SecretFile { what, path: self.path(name), origin: Origin::File },
        }
    }

    fn trust(&self, ca_file: Option<String>, pins: Option<OneOrMore>) -> Result<Trust, ConfigError> {
        match (ca_file, pins.map(OneOrMore::into_vec)) {
            (None, None) => Ok(Trust::System),
            (Some(file), None) => Ok(Trust::CaFile(self.path(&file))),
            (None, Some(texts)) if !texts.is_empty() => {
                let pins = texts.iter().map(|text| {
                    text.parse::<TlsPin>().map_err(|error| self.wrong("relay.pins", error.to_string(), error.hint()))
                });
                Ok(Trust::Pins(pins.collect::<Result<_, _>>()?))
            }
            (None, Some(_)) => Err(self.wrong(
                "relay.pins",
                "an empty list",
                "Name a pin, or remove the key to trust the system's roots.",
            )),
            (Some(_), Some(_)) => Err(self.wrong(
                "relay.pins",
                "ca_file and pins are both set",
                "Keep one: pins trust only those certificates, ca_file only that authority.",
            )),
        }
    }
}
