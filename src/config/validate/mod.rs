//! From what the file says to types that cannot be wrong; the defaults are here and nowhere else.

mod accept;
mod alarm;
mod fixed;
mod follow;
mod gathering;
mod heartbeat;
mod login;
mod recipient;
mod relay;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::raw::{OneOrMore, RawConfig, RawControl, RawLevel, RawListen, RawLog, RawMetrics, RawOutput, RawSender};
use super::{Config, ConfigError, Level, Listen, Log, Metrics, Place, Places, Portion, Relay, Sender};
use crate::envelope::{Address, AddressError};
use crate::maillog::Output;

/// Turns raw sections into validated ones; knows the file for messages and for relative paths.
pub struct Validator<'a> {
    file: &'a Path,
    folder: &'a Path,
    named: RefCell<Vec<PathBuf>>,
    places: Places,
    /// The `[[recipient]]` or `[[relay]]` that is looked at, for messages.
    entry: Cell<Option<(&'static str, usize)>>,
}

impl<'a> Validator<'a> {
    /// For the configuration in `file`.
    pub fn of(file: &'a Path) -> Self {
        Self::with(file, Places::default())
    }

    /// The same, for messages that name the line.
    pub fn with(file: &'a Path, places: Places) -> Self {
        let folder = file.parent().unwrap_or(Path::new("."));
        Self { file, folder, named: RefCell::default(), places, entry: Cell::new(None) }
    }

    /// Every file and folder that was named so far.
    pub fn named(&self) -> Vec<PathBuf> {
        self.named.borrow().clone()
    }

    /// All of it.
    ///
    /// # Errors
    /// Whatever is missing, not usable, or contradicts something else: the first fault of each part.
    pub fn config(&self, raw: RawConfig) -> Result<Config, Vec<ConfigError>> {
        let mut faults = Faults::default();
        let control = self.control(raw.control);
        let listen = faults.keep(self.listen(raw.listen, &control));
        let follows = faults.keep(self.follows(raw.follow));
        let recipients = faults.keep_all(self.recipients(raw.recipient));
        let state = faults.keep(self.directory("state.directory", raw.state.directory, "/var/lib/sealrelay"));
        let relays = faults.keep_all(self.relays(raw.relay, state.as_deref().unwrap_or(Path::new(""))));
        let sender = relays.as_deref().and_then(|relays| faults.keep(self.sender(raw.sender, relays)));
        let alarm = relays.as_deref().and_then(|relays| faults.keep(self.alarm(raw.alarm, relays)));
        let spool = faults.keep(self.directory("spool.directory", raw.spool.directory, "/var/spool/sealrelay"));
        let lifetime = self.duration("spool.lifetime", raw.spool.lifetime, "14d", HOUR..=365 * 24 * HOUR);
        let lifetime = faults.keep(lifetime);
        let quota = faults.keep(self.portion("spool.quota", raw.spool.quota, ["4GiB", "80%"], 1));
        let reserve = faults.keep(self.portion("spool.reserve", raw.spool.reserve, ["16MiB", "5%"], 0));
        let heartbeat = faults.keep(self.heartbeat(raw.heartbeat, recipients.as_deref().unwrap_or_default()));
        let alerts = self.alerts(raw.alerts);
        let metrics = faults.keep(self.metrics(raw.metrics));
        let whole = || {
            Some(Config {
                file: self.file.to_owned(),
                files: self.named(),
                listen: listen?,
                follows: follows?,
                sender: sender?,
                recipients: recipients?,
                alerts,
                relays: relays?,
                spool: spool?,
                lifetime: lifetime?,
                quota: quota?,
                reserve: reserve?,
                heartbeat: heartbeat?,
                alarm: alarm?,
                state: state?,
                control,
                log: log(&raw.log),
                metrics: metrics?,
            })
        };
        whole().ok_or(faults.0)
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

    /// Whoever reaches a TCP address reads the numbers, so it is a loopback one.
    fn metrics(&self, raw: RawMetrics) -> Result<Metrics, ConfigError> {
        let listen =
            self.parsed("metrics.listen", raw.listen.as_slice(), "Write address:port, such as 127.0.0.1:9725.")?;
        let listen: Option<SocketAddr> = listen.first().copied();
        if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
            let hint = "Scrape a loopback address, or let node_exporter read metrics.textfile.";
            return Err(self.wrong("metrics.listen", format!("{address} is not a loopback address"), hint));
        }
        let path = |name: Option<String>| name.map(|name| self.path(&name));
        Ok(Metrics { textfile: path(raw.textfile), socket: path(raw.socket), listen })
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

    fn sender(&self, raw: RawSender, relays: &[Relay]) -> Result<Sender, ConfigError> {
        let login = relays[0].login.as_ref().map(|login| login.username.clone());
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

    /// A part of the file system: a size, a share in percent, or both, each `least` or more; what is less counts.
    fn portion(
        &self,
        key: &str,
        raw: Option<OneOrMore>,
        default: [&str; 2],
        least: usize,
    ) -> Result<Portion, ConfigError> {
        let texts = raw.map_or_else(|| default.map(str::to_owned).to_vec(), OneOrMore::into_vec);
        let mut portion = Portion::WHOLE;
        for text in texts {
            match text.strip_suffix('%').map(str::trim) {
                Some(percent) => {
                    let hint = "Write a share of the file system as a whole number of percent, at most 100%.";
                    let percent: Option<u64> =
                        percent.parse().ok().filter(|share| (least as u64..=100).contains(share));
                    let percent = percent.ok_or_else(|| self.wrong(key, format!("{text:?} is no share"), hint))?;
                    portion.percent = portion.percent.min(percent);
                }
                None => {
                    let size = self.size(key, Some(text), "", least * MIB..=1024 * 1024 * MIB)?;
                    portion.octets = portion.octets.min(size as u64);
                }
            }
        }
        Ok(portion)
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

    /// Every path comes by here, so that the daemon's sandbox knows of it.
    fn path(&self, name: &str) -> PathBuf {
        let path = std::path::absolute(self.folder.join(name)).unwrap_or_else(|_| self.folder.join(name));
        self.named.borrow_mut().push(path.clone());
        path
    }

    fn wrong(&self, key: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        let key = key.into();
        ConfigError::Value { place: self.place(&key), key, what: what.into(), hint: hint.into() }
    }

    /// Where `key`, as messages name it, is set: `relay.host` and `recipient admin@example.org: certificate` are those of
    /// the entry that is looked at.
    fn place(&self, key: &str) -> Place {
        let in_entry = self.entry.get().and_then(|(section, nth)| {
            let rest = key.strip_prefix(section)?;
            let rest = rest.rsplit_once(": ").map(|(_, rest)| rest).or(rest.strip_prefix('.'))?;
            Some(format!("{section}[{nth}].{rest}"))
        });
        self.places.find(self.file, in_entry.as_deref().unwrap_or(key))
    }

    /// Each entry of `section` by itself.
    fn entries<R, T>(
        &self,
        section: &'static str,
        raw: Vec<R>,
        validated: impl Fn(R) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, Vec<ConfigError>> {
        let mut faults = Faults::default();
        let entries = raw.into_iter().enumerate().filter_map(|(nth, entry)| {
            self.entry.set(Some((section, nth)));
            faults.keep(validated(entry))
        });
        let entries = entries.collect();
        self.entry.set(None);
        if faults.0.is_empty() { Ok(entries) } else { Err(faults.0) }
    }
}

/// What is wrong, so far.
#[derive(Default)]
struct Faults(Vec<ConfigError>);

impl Faults {
    fn keep<T>(&mut self, outcome: Result<T, ConfigError>) -> Option<T> {
        outcome.map_err(|fault| self.0.push(fault)).ok()
    }

    fn keep_all<T>(&mut self, outcome: Result<T, Vec<ConfigError>>) -> Option<T> {
        outcome.map_err(|faults| self.0.extend(faults)).ok()
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// In seconds.
const HOUR: u64 = 3600;

fn log(raw: &RawLog) -> Log {
    let output = match raw.output {
        None | Some(RawOutput::Auto) => Output::Automatic,
        Some(RawOutput::Journal) => Output::Journal,
        Some(RawOutput::Syslog) => Output::Syslog,
        Some(RawOutput::Text) => Output::Text,
        Some(RawOutput::Json) => Output::Json,
    };
    Log { level: raw.level.map_or(Level::Info, Level::from), output }
}

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
