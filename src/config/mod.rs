//! The configuration, validated: types that cannot be wrong.
//!
//! Guarantees: whoever holds a [`Config`] holds complete fingerprints, absolute paths, addresses that are addresses,
//! durations and sizes within their bounds, and exactly one way to trust each relay host. No setting sends anything in
//! clear. On failure the daemon does not start (EX_CONFIG, 78). An attacker controls nothing here.

mod doors;
mod fingerprint;
mod load;
mod raw;
mod secret;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

pub use doors::Doors;
pub use fingerprint::{FingerprintError, OpenPgpFingerprint, TlsPin, colon_hex};
pub use load::{DEFAULT_FILE, LoadError};
pub use secret::{Secret, SecretError};

use crate::envelope::Address;
use raw::{
    OneOrMore, RawConfig, RawControl, RawFormat, RawLevel, RawListen, RawOnExpired, RawRecipient, RawRelay, RawSeipd,
    RawTls,
};

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Intake.
    pub listen: Listen,
    /// What relay hosts see as the origin.
    pub sender: Sender,
    /// Who gets alerts; at least one, at least one of them default.
    pub recipients: Vec<Recipient>,
    /// The relay host.
    pub relay: Relay,
    /// The spool's directory.
    pub spool: PathBuf,
    /// How long a message is offered before it moves to `failed/`.
    pub lifetime: Duration,
    /// The state directory.
    pub state: PathBuf,
    /// The control socket.
    pub control: PathBuf,
    /// The lowest level that is logged.
    pub level: Level,
}

/// `[listen]`
#[derive(Debug, Clone)]
pub struct Listen {
    /// Where to listen.
    pub addresses: Vec<SocketAddr>,
    /// The Unix socket for clients of this machine, whom the kernel names; `None` for none.
    pub socket: Option<PathBuf>,
    /// Who may connect; empty means loopback only.
    pub networks: Vec<IpNet>,
    /// Sessions at once.
    pub sessions: usize,
    /// The largest mail, octets.
    pub message_size: usize,
    /// Received and sealed octets together, octets.
    pub memory: usize,
    /// How long a client may be silent.
    pub command_timeout: Duration,
    /// How long one message may take from DATA to its end.
    pub message_timeout: Duration,
    /// How long the gap behind a candidate end of data is watched for HELO clients.
    pub early_dot_wait: Duration,
}

/// `[sender]`
#[derive(Debug, Clone)]
pub struct Sender {
    /// From.
    pub address: Address,
    /// MAIL FROM.
    pub envelope: Address,
    /// The outer Subject.
    pub subject: String,
}

/// `[[recipient]]`
#[derive(Debug, Clone)]
pub struct Recipient {
    /// Where it gets mail.
    pub address: Address,
    /// Files with certificates.
    pub certificates: Vec<PathBuf>,
    /// Which certificates in them.
    pub fingerprints: Vec<OpenPgpFingerprint>,
    /// Whether it gets what nobody claims.
    pub default: bool,
    /// Envelope addresses it claims.
    pub claims: Vec<String>,
    /// What happens when a certificate has expired.
    pub on_expired: OnExpired,
    /// Whether SEIPDv2 is wanted for v4 certificates too.
    pub seipd_v2: bool,
}

/// `on_expired`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExpired {
    /// Seal to the expired certificate: its holder can still read, and a lost alert harms more.
    SealAndWarn,
    /// Send the fixed notice instead.
    Notice,
}

/// `[[relay]]`
#[derive(Debug, Clone)]
pub struct Relay {
    /// The name that is connected to and verified.
    pub host: String,
    /// The port.
    pub port: u16,
    /// When TLS begins.
    pub tls: TlsMode,
    /// The login; `None` for a relay host that asks for none.
    pub login: Option<Login>,
    /// What makes the relay host the right one.
    pub trust: Trust,
    /// EHLO's argument.
    pub ehlo: String,
    /// Sessions at once.
    pub connections: usize,
    /// How long the relay host may take for a reply; five times that for the last one.
    pub timeout: Duration,
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// After STARTTLS (RFC 3207).
    Starttls,
    /// At once (RFC 8314).
    Implicit,
}

/// A login at a relay host.
#[derive(Debug, Clone)]
pub struct Login {
    /// Who.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// What makes a relay host the right one; exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The system's roots.
    System,
    /// The certificates of this file and nothing else.
    CaFile(PathBuf),
    /// The server's own certificate or key.
    Pins(Vec<TlsPin>),
}

/// The lowest level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// An operator must act.
    Crit,
    /// An operator may have to.
    Warning,
    /// One line a message a step.
    Info,
    /// The dialog.
    Debug,
    /// Everything.
    Trace,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read at all.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A key is missing, or its value is not usable.
    #[error("{file}: {key}: {what}")]
    Value {
        /// The file.
        file: PathBuf,
        /// The key, with its section.
        key: String,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The password cannot be used.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl ConfigError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Load(error) => error.hint(),
            Self::Value { hint, .. } => hint.clone(),
            Self::Secret(error) => error.hint(),
        }
    }
}

impl Config {
    /// Reads and validates `file` and the `SEALRELAY_*` variables. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// Whatever is missing, not known, not usable, or contradicts something else.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let raw = load::load(file)?;
        Validator { file, folder: file.parent().unwrap_or(Path::new(".")) }.config(raw)
    }
}

/// Turns raw sections into validated ones; knows the file for messages and for relative paths.
struct Validator<'a> {
    file: &'a Path,
    folder: &'a Path,
}

impl Validator<'_> {
    fn config(&self, raw: RawConfig) -> Result<Config, ConfigError> {
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

    fn control(&self, raw: RawControl) -> PathBuf {
        self.path(raw.socket.as_deref().unwrap_or("/run/sealrelay/control.sock"))
    }

    fn addresses(&self, raw: Option<OneOrMore>) -> Result<Vec<SocketAddr>, ConfigError> {
        let texts = raw.map_or_else(|| vec!["127.0.0.1:25".into(), "[::1]:25".into()], OneOrMore::into_vec);
        self.parsed("listen.addresses", &texts, "Write address:port, such as 127.0.0.1:25.")
    }

    /// Beside the control socket unless it is named, so that an instance with its own sockets needs one key, not two.
    /// An empty name means none.
    fn socket(&self, raw: Option<&str>, control: &Path) -> Option<PathBuf> {
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
        Ok(Listen {
            addresses,
            socket: self.socket(raw.socket.as_deref(), control),
            networks,
            sessions: self.within("listen.sessions", raw.sessions.unwrap_or(64), 1..=4096)?,
            message_size,
            memory,
            command_timeout: self.duration("listen.command_timeout", raw.command_timeout, "5m", 1..=HOUR)?,
            message_timeout: self.duration("listen.message_timeout", raw.message_timeout, "10m", 1..=HOUR)?,
            early_dot_wait: self.duration("listen.early_dot_wait", raw.early_dot_wait, "300ms", 0..=10)?,
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

    fn sender(&self, raw: raw::RawSender, relay: &Relay) -> Result<Sender, ConfigError> {
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
            return Err(self.wrong("recipient.default", what, "Set default = true on who gets what nobody else claims."));
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
                Ok(Some(Login { username, password: Secret::read(&self.credential(&file))? }))
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
    fn credential(&self, name: &str) -> PathBuf {
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
            .filter(|_| !name.contains('/'))
            .map(|directory| Path::new(&directory).join(name))
            .filter(|path| path.exists());
        credential.unwrap_or_else(|| self.path(name))
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
            (None, Some(_)) => {
                Err(self.wrong("relay.pins", "an empty list", "Name a pin, or remove the key to trust the system's roots."))
            }
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
        text.parse().map_err(|error: crate::envelope::AddressError| {
            self.wrong(key, error.to_string(), "Write it as local@domain.")
        })
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
        let duration = humantime::parse_duration(text)
            .map_err(|error| self.wrong(key, format!("{text:?}: {error}"), "Write it with its unit: 300ms, 5m, 14d."))?;
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
