//! `[[relay]]`.

use std::collections::HashSet;
use std::path::Path;

use super::Validator;
use crate::config::raw::{OneOrMore, RawRelay, RawTls};
use crate::config::{ConfigError, Login, Origin, Relay, Secret, TlsMode, TlsPin, Trust};

/// More than these are a mistake, not a plan.
const RELAYS: usize = 16;

impl Validator<'_> {
    /// All relay hosts, in the order they are tried; at least one.
    pub(super) fn relays(&self, raw: Vec<RawRelay>) -> Result<Vec<Relay>, ConfigError> {
        if raw.is_empty() {
            return Err(self.wrong("relay", "there is no relay host", "Add a [[relay]] with host, port and login."));
        }
        if raw.len() > RELAYS {
            let what = format!("{} relay hosts", raw.len());
            return Err(self.wrong("relay", what, format!("Keep the first {RELAYS} at most.")));
        }
        let relays = raw.into_iter().map(|relay| self.relay(relay)).collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        match relays.iter().find(|relay| !seen.insert(relay.name().to_ascii_lowercase())) {
            Some(twice) => Err(self.wrong(
                "relay",
                format!("{} stands in two entries", twice.name()),
                "A second entry helps only if it is another relay host, or another port of it.",
            )),
            None => Ok(relays),
        }
    }

    fn relay(&self, raw: RawRelay) -> Result<Relay, ConfigError> {
        let host = self.present("relay.host", raw.host)?;
        if host.is_empty() || !host.bytes().all(|octet| octet.is_ascii_graphic()) || host.contains(['/', '@', '[']) {
            let what = format!("{host:?} is no host name");
            return Err(self.wrong("relay.host", what, "Write the name or address alone; the port has its own key."));
        }
        let tls = match raw.tls {
            Some(RawTls::Implicit) => TlsMode::Implicit,
            Some(RawTls::Starttls) => TlsMode::Starttls,
            // RFC 8314: 465 is the port on which TLS begins at once.
            None if raw.port == Some(465) => TlsMode::Implicit,
            None => TlsMode::Starttls,
        };
        let login = self.login(raw.username, raw.password_file)?;
        Ok(Relay {
            trust: self.trust(raw.ca_file, raw.pins)?,
            port: raw.port.unwrap_or(if tls == TlsMode::Implicit { 465 } else { 587 }),
            tls,
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

    fn login(&self, username: Option<String>, file: Option<String>) -> Result<Option<Login>, ConfigError> {
        match (username, file) {
            (None, None) => Ok(None),
            (Some(username), Some(file)) if !username.contains(['\0', '\r', '\n']) => {
                Ok(Some(Login { username, password: self.password(&file)? }))
            }
            (Some(_), Some(_)) => Err(self.wrong("relay.username", "holds a control character", "Write it again.")),
            (Some(_), None) => {
                let hint = "Write the password into a file of mode 0400 and name it.";
                Err(self.wrong("relay.password_file", "missing, though there is a username", hint))
            }
            (None, Some(_)) => {
                Err(self.wrong("relay.username", "missing, though there is a password_file", "Set the login."))
            }
        }
    }

    /// A systemd credential of that name wins over the file.
    fn password(&self, name: &str) -> Result<Secret, ConfigError> {
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
            .filter(|_| !name.contains('/'))
            .map(|directory| Path::new(&directory).join(name))
            .filter(|path| path.exists());
        Ok(match credential {
            Some(path) => Secret::read(&path, Origin::Credential)?,
            None => Secret::read(&self.path(name), Origin::File)?,
        })
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
