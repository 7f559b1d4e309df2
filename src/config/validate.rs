//! From what the file says to types that cannot be wrong; the defaults are here and nowhere else.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::raw::{
    OneOrMore, RawConfig, RawControl, RawFormat, RawLevel, RawListen, RawOnExpired, RawRecipient, RawRelay, RawSeipd,
    RawSender, RawTls,
};
use super::{
    Config, ConfigError, Level, Listen, Login, OnExpired, OpenPgpFingerprint, Origin, Recipient, Relay, Secret, Sender,
    TlsMode, TlsPin, Trust,
};
use crate::envelope::{Address, AddressError};

/// Turns raw sections into validated ones; knows the file for messages and for relative paths.
pub struct Validator<'a> {
    file: &'a Path,
    folder: &'a Path,
}

impl<'a> Validator<'a> {
    /// For the configuration in `file`.
    pub fn of(file: &'a Path) -> Self {
        Self { file, folder: file.parent().unwrap_or(Path::new(".")) }
    }

    /// All of it.
    ///
    /// # Errors
    /// Whatever is missing, not usable, or contradicts something else.
    pub fn config(&self, raw: RawConfig) -> Result<Config, ConfigError> {
        let relay = self.relay(raw.relay)?;
        let control = self.control(raw.control);
        Ok(Config {
            file: self.file.to_owned(),
            listen: self.listen(raw.listen, &control)?,
            sender: self.sender(raw.sender, &relay)?,
            recipients: self.recipients(raw.recipient)?,
            relay,
            spool: self.directory("spool.directory", raw.spool.directory, "/var/spool/sealrelay")?,
            lifetime: self.duration("spool.lifetime", raw.spool.lifetime, "14d", HOUR..=365 * 24 * HOUR)?,
            state: self.directory("state.directory", raw.state.directory, "/var/lib/sealrelay")?,
            control,
            level: raw.log.level.map_or(Level::Info, Level::from),
        })
    }

    /// The control socket.
    pub fn control(&self, raw: RawControl) -> PathBuf {
        self.path(raw.socket.as_deref().unwrap_or("/run/sealrelay/control.sock"))
    }

    /// The addresses to listen on.
    ///
    /// # Errors
    /// One of them is no address.
    pub fn addresses(&self, raw: Option<OneOrMore>) -> Result<Vec<SocketAddr>, ConfigError> {
        let texts = raw.map_or_else(|| vec!["127.0.0.1:25".into(), "[::1]:25".into()], OneOrMore::into_vec);
        self.parsed("listen.addresses", &texts, "Write address:port, such as 127.0.0.1:25.")
    }

    /// Beside the control socket unless it is named, so that an instance with its own sockets needs one key, not two.
    /// An empty name means none.
    pub fn socket(&self, raw: Option<&str>, control: &Path) -> Option<PathBuf> {
        match raw {
            None => Some(control.with_file_name("smtp.sock")),
            Some("") => None,
            Some(name) => Some(self.path(name)),
        }
    }

    fn listen(&self, raw: RawListen, control: &Path) -> Result<Listen, ConfigError> {
        let addresses = self.addresses(raw.addresses)?;
        let networks = raw.networks.map(OneOrMore::into_vec).unwrap_or_default();
        let networks = self.parsed("listen.networks", &networks, "Write address/prefix, such as 10.1.2.0/24.")?;
        self.refuse_open_listener(&addresses, &networks)?;
        let message_size = self.size("listen.message_size", raw.message_size, "16MiB", 64 * KIB..=64 * MIB)?;
        let memory = self.size("listen.memory", raw.memory, "128MiB", 16 * MIB..=16 * 1024 * MIB)?;
        let allow_users = raw.allow_users.map(OneOrMore::into_vec).unwrap_or_default();
        Ok(Listen {
            addresses,
            socket: self.socket(raw.socket.as_deref(), control),
            networks,
            allow_users: allow_users.iter().map(|name| self.uid(name)).collect::<Result<_, _>>()?,
            sessions: self.within("listen.sessions", raw.sessions.unwrap_or(64), 1..=4096)?,
            message_size,
            memory,
            command_timeout: self.duration("listen.command_timeout", raw.command_timeout, "5m", 1..=HOUR)?,
            message_timeout: self.duration("listen.message_timeout", raw.message_timeout, "10m", 1..=HOUR)?,
            early_dot_wait: self.duration("listen.early_dot_wait", raw.early_dot_wait, "300ms", 0..=10)?,
        })
    }

    /// A local user's number, by number or by name.
    fn uid(&self, name: &str) -> Result<u32, ConfigError> {
        let by_name = || nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
        name.parse().ok().or_else(by_name).ok_or_else(|| {
            let what = format!("there is no user {name:?} on this machine");
            self.wrong("listen.allow_users", what, "Write a name that `getent passwd` knows, or a number.")
        })
    }

    /// Whoever can connect can put words into sealed mail: other machines only if they are named.
    fn refuse_open_listener(&self, addresses: &[SocketAddr], networks: &[IpNet]) -> Result<(), ConfigError> {
        match addresses.iter().find(|address| !address.ip().is_loopback()) {
            Some(address) if networks.is_empty() => Err(self.wrong(
                "listen.addresses",
                format!("{address} is not a loopback address"),
                "Listen on 127.0.0.1, or name the machines that may connect in `networks`.",
            )),
            _ => Ok(()),
        }
    }

    fn sender(&self, raw: RawSender, relay: &Relay) -> Result<Sender, ConfigError> {
        let login = relay.login.as_ref().map(|login| login.username.clone());
        let address = match (raw.address, login) {
            (Some(text), _) => self.address("sender.address", &text)?,
            (None, Some(login)) if login.parse::<Address>().is_ok() => self.address("relay.username", &login)?,
            (None, _) => {
                return Err(self.wrong(
                    "sender.address",
                    "missing, and the login is no mail address that could stand for it",
                    "Set the address alerts come from.",
                ));
            }
        };
        let subject = raw.subject.unwrap_or_else(|| "[...]".to_owned());
        if subject.len() > 100 || !subject.bytes().all(|octet| (b' '..=b'~').contains(&octet)) {
            let what = "must be at most 100 printable ASCII characters";
            return Err(self.wrong("sender.subject", what, "It is the same for every alert and readable on the way."));
        }
        let envelope = raw.envelope.map(|text| self.address("sender.envelope", &text)).transpose()?;
        Ok(Sender { envelope: envelope.unwrap_or_else(|| address.clone()), address, subject })
    }

    fn recipients(&self, raw: Vec<RawRecipient>) -> Result<Vec<Recipient>, ConfigError> {
        let single = raw.len() == 1;
        let recipients =
            raw.into_iter().map(|entry| self.recipient(entry, single)).collect::<Result<Vec<_>, ConfigError>>()?;
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
        Ok(recipients)
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
        let accept = raw.accept.unwrap_or_default();
        let claims = accept
            .into_iter()
            .map(|table| self.present(&of_this("accept"), table.recipient))
            .collect::<Result<Vec<_>, _>>()?;
        let _only_pgp_mime_exists = raw.format.unwrap_or(RawFormat::PgpMime);
        Ok(Recipient {
            // Without `accept`, an entry claims mail to its own address.
            claims: if claims.is_empty() { vec![address.to_string()] } else { claims },
            certificates: certificates.iter().map(|name| self.path(name)).collect(),
            fingerprints,
            default: raw.default.unwrap_or(single),
            on_expired: match raw.on_expired {
                Some(RawOnExpired::Notice) => OnExpired::Notice,
                Some(RawOnExpired::SealAndWarn) | None => OnExpired::SealAndWarn,
            },
            seipd_v2: raw.seipd == Some(RawSeipd::V2),
            address,
        })
    }

    fn relay(&self, mut raw: Vec<RawRelay>) -> Result<Relay, ConfigError> {
        if raw.len() > 1 {
            return Err(self.wrong(
                "relay",
                "more than one [[relay]] is not taken yet",
                "Keep the first and remove the others.",
            ));
        }
        let Some(raw) = raw.pop() else {
            return Err(self.wrong("relay", "there is no relay host", "Add a [[relay]] with host, port and login."));
        };
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
            connections: self.within("relay.connections", raw.connections.unwrap_or(4), 1..=20)?,
            host,
        })
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

    fn present<T>(&self, key: &str, value: Option<T>) -> Result<T, ConfigError> {
        value.ok_or_else(|| self.wrong(key, "missing", "Set it; deploy/sealrelay.toml explains every key."))
    }

    fn address(&self, key: &str, text: &str) -> Result<Address, ConfigError> {
        text.parse().map_err(|error: AddressError| self.wrong(key, error.to_string(), "Write it as local@domain."))
    }

    fn parsed<T: std::str::FromStr>(&self, key: &str, texts: &[String], hint: &str) -> Result<Vec<T>, ConfigError> {
        texts
            .iter()
            .map(|text| text.parse().map_err(|_| self.wrong(key, format!("{text:?} cannot be read"), hint)))
            .collect()
    }

    /// A duration within `seconds`.
    fn duration(
        &self,
        key: &str,
        text: Option<String>,
        default: &str,
        seconds: std::ops::RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        let text = text.as_deref().unwrap_or(default);
        let duration = humantime::parse_duration(text).map_err(|error| {
            self.wrong(key, format!("{text:?}: {error}"), "Write it with its unit: 300ms, 5m, 14d.")
        })?;
        let (least, most) = (Duration::from_secs(*seconds.start()), Duration::from_secs(*seconds.end()));
        if (least..=most).contains(&duration) {
            return Ok(duration);
        }
        let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
        Err(self.wrong(key, format!("{text} is out of bounds"), format!("Choose something from {least} to {most}.")))
    }

    /// A size in octets, with or without a unit.
    fn size(
        &self,
        key: &str,
        text: Option<String>,
        default: &str,
        bounds: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, ConfigError> {
        let text = text.as_deref().unwrap_or(default);
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unit = match unit.trim() {
            "" | "B" => Some(1),
            "KiB" | "K" => Some(KIB),
            "MiB" | "M" => Some(MIB),
            "GiB" | "G" => Some(1024 * MIB),
            _ => None,
        };
        let size = unit.and_then(|unit| number.parse::<usize>().ok()?.checked_mul(unit));
        match size {
            Some(size) => self.within(key, size, bounds),
            None => Err(self.wrong(key, format!("{text:?} is no size"), "Write it with its unit: 64KiB, 16MiB.")),
        }
    }

    fn within(&self, key: &str, value: usize, bounds: std::ops::RangeInclusive<usize>) -> Result<usize, ConfigError> {
        if bounds.contains(&value) {
            return Ok(value);
        }
        let hint = format!("Choose something from {} to {}.", bounds.start(), bounds.end());
        Err(self.wrong(key, format!("{value} is out of bounds"), hint))
    }

    /// A directory that no IDS watches: a spool under those would raise alerts about alerts.
    fn directory(&self, key: &str, name: Option<String>, default: &str) -> Result<PathBuf, ConfigError> {
        let path = self.path(name.as_deref().unwrap_or(default));
        match ["/etc", "/var/ossec"].iter().find(|watched| path.starts_with(watched)) {
            None => Ok(path),
            Some(watched) => Err(self.wrong(
                key,
                format!("{} is under {watched}, which the IDS watches", path.display()),
                format!("Every change there raises an alert. Use {default}."),
            )),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        std::path::absolute(self.folder.join(name)).unwrap_or_else(|_| self.folder.join(name))
    }

    fn wrong(&self, key: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        ConfigError::Value { file: self.file.into(), key: key.into(), what: what.into(), hint: hint.into() }
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// In seconds.
const HOUR: u64 = 3600;

impl From<RawLevel> for Level {
    fn from(raw: RawLevel) -> Self {
        match raw {
            RawLevel::Crit => Self::Crit,
            RawLevel::Warning => Self::Warning,
            RawLevel::Info => Self::Info,
            RawLevel::Debug => Self::Debug,
            RawLevel::Trace => Self::Trace,
        }
    }
}
