//! The configuration, validated: types that cannot be wrong.
//!
//! Guarantees: whoever holds a [`Config`] holds complete fingerprints, absolute paths, addresses that are addresses,
//! durations and sizes within their bounds, and exactly one way to trust each relay host. No setting sends anything in
//! clear. On failure the daemon does not start (EX_CONFIG, 78). An attacker controls nothing here.

mod accept;
mod alarm;
mod doors;
mod fingerprint;
mod fixed;
mod gathering;
mod load;
mod places;
mod portion;
mod raw;
mod relay;
mod secret;
mod url;
mod validate;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

pub use accept::Accept;
pub use alarm::{Alarm, Endpoint, Ping, SecretUrl};
pub use doors::Doors;
pub use fingerprint::{FingerprintError, OpenPgpFingerprint, TlsPin, colon_hex};
pub use fixed::{Fixed, FixedText};
pub use gathering::{Flood, Release, Slots};
pub use load::{DEFAULT_FILE, LoadError};
pub use places::{Place, Places};
pub use portion::Portion;
pub use relay::{Given, Grant, Login, Mechanism, OAuth, Proof, Proxy, Relay, TlsMode, Trust};
pub use secret::{Origin, Secret, SecretError, SecretFile};
pub use url::HttpsUrl;

use crate::envelope::Address;
use crate::maillog::Output;

/// The configuration in force.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Every file and folder it names, to read or to write.
    pub files: Vec<PathBuf>,
    /// Intake.
    pub listen: Listen,
    /// Logs of alerts that are read as they grow; none of them twice.
    pub follows: Vec<Follow>,
    /// What relay hosts see as the origin.
    pub sender: Sender,
    /// Who gets alerts; at least one, at least one of them default.
    pub recipients: Vec<Recipient>,
    /// What is known of alerts.
    pub alerts: Alerts,
    /// The relay hosts, in the order they are tried; at least one.
    pub relays: Vec<Relay>,
    /// The spool's directory.
    pub spool: PathBuf,
    /// How long a message is offered before it moves to `failed/`.
    pub lifetime: Duration,
    /// How much of the file system waiting messages may take.
    pub quota: Portion,
    /// How much of the file system must stay free.
    pub reserve: Portion,
    /// The state directory.
    pub state: PathBuf,
    /// How often each recipient gets a heartbeat; `None` for never.
    pub heartbeat: Option<Duration>,
    /// The control socket.
    pub control: PathBuf,
    /// The log.
    pub log: Log,
    /// Numbers for Prometheus.
    pub metrics: Metrics,
    /// Who is told, beside mail, how the relay is.
    pub alarm: Alarm,
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where to listen.
    pub addresses: Vec<SocketAddr>,
    /// The Unix socket for clients of this machine, whom the kernel names; `None` for none.
    pub socket: Option<PathBuf>,
    /// Who may connect; empty means loopback only.
    pub networks: Vec<IpNet>,
    /// The uids whose local connections are taken; empty means every local user.
    pub allow_users: Vec<u32>,
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

/// `[[follow]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// The log. Rotated ones are looked for beside it and in `YYYY/MMM/` below its folder.
    pub path: PathBuf,
    /// Whether a log that was never read is read from its beginning, not from its end.
    pub from_start: bool,
    /// This level and higher are sent; `None`: what the IDS says in `rule.mail`, and 7 where it says nothing.
    pub email_level: Option<u32>,
    /// Rules that are sent whatever their level.
    pub alert_by_email: Vec<u32>,
    /// Rules that are not sent whatever their level.
    pub no_email_alert: Vec<u32>,
    /// Whether the IDS's own mail is left out where this log has brought the same alert already.
    pub secondary: bool,
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
    /// What makes it get a mail, as alternatives; at least one.
    pub accept: Vec<Accept>,
    /// Whether it gets, of a mail with several alerts, its own ones only.
    pub split: bool,
    /// The fixed text that it gets in place of its alerts.
    pub fixed: Option<Fixed>,
    /// How a flood of alerts is gathered; `None` for not at all.
    pub flood: Option<Flood>,
    /// When its messages go.
    pub release: Release,
    /// What its messages look like.
    pub format: Format,
    /// What happens when a certificate has expired.
    pub on_expired: OnExpired,
    /// Whether SEIPDv2 is wanted for v4 certificates too.
    pub seipd_v2: bool,
}

/// `[alerts]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alerts {
    /// Folders with the rules of the IDS, which say what groups a rule is in.
    pub rules: Vec<PathBuf>,
}

/// `format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The alert as it is, every part of it, in a MIME structure with protected headers (RFC 3156, RFC 9788).
    PgpMime,
    /// The alert as one text, for readers without PGP/MIME.
    Inline,
}

/// `on_expired`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExpired {
    /// Seal to the expired certificate: its holder can still read, and a lost alert harms more.
    SealAndWarn,
    /// Send the fixed notice instead.
    Notice,
}

/// `[metrics]`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// The file that node_exporter's textfile collector reads.
    pub textfile: Option<PathBuf>,
    /// The Unix socket to be scraped.
    pub socket: Option<PathBuf>,
    /// The TCP address to be scraped.
    pub listen: Option<SocketAddr>,
}

/// `[log]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The lowest level that is logged.
    pub level: Level,
    /// Where it goes.
    pub output: Output,
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
    #[error("{place}: {key}: {what}")]
    Value {
        /// The line, or the variable.
        place: Place,
        /// The key, with its section.
        key: String,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A password, token or key cannot be used.
    #[error("{place}: {error}")]
    Secret {
        /// Where its file is named.
        place: Place,
        /// Why.
        error: SecretError,
    },
}

impl ConfigError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Load(error) => error.hint(),
            Self::Value { hint, .. } => hint.clone(),
            Self::Secret { error, .. } => error.hint(),
        }
    }
}

impl Config {
    /// Reads and validates `file` and the `SEALRELAY_*` variables. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// Whatever is missing, not known, not usable, or contradicts something else.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::load_and_name(file).1
    }

    /// The same for commands that neither connect nor tell anybody: no file with a secret is read, because it may be open
    /// to the service alone, or be there for it alone (systemd's credentials). So there is no login, no client certificate
    /// and nobody in `[alarm]`, whatever the file says.
    ///
    /// # Errors
    /// As for [`Config::load`], but for what is wrong with those.
    pub fn load_without_secrets(file: &Path) -> Result<Self, ConfigError> {
        let (raw, places) = load::load(file)?;
        let validated = validate::Validator::with(file, places).config(load::without_secrets(raw));
        validated.map_err(first)
    }

    /// What [`Config::load`] does, and every file and folder that was named: all of them, or those up to the one that could
    /// not be used.
    pub fn load_and_name(file: &Path) -> (Vec<PathBuf>, Result<Self, ConfigError>) {
        let (raw, places) = match load::load(file) {
            Ok(loaded) => loaded,
            Err(error) => return (Vec::new(), Err(error.into())),
        };
        let validator = validate::Validator::with(file, places);
        let loaded = validator.config(raw).map_err(first);
        (validator.named(), loaded)
    }

    /// The same, and where each value comes from.
    ///
    /// # Errors
    /// All faults that can be told at once, in the order of the sections; at least one.
    pub fn examine(file: &Path) -> Result<(Self, Places), Vec<ConfigError>> {
        let (raw, places) = load::load(file).map_err(|error| vec![error.into()])?;
        let config = validate::Validator::with(file, places.clone()).config(raw)?;
        Ok((config, places))
    }
}

/// As good as any to stop for; at least one is there.
fn first(mut faults: Vec<ConfigError>) -> ConfigError {
    faults.swap_remove(0)
}
