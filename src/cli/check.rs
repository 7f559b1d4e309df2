//! `sealrelay check`.

use std::path::{Path, PathBuf};

use super::{EX_CONFIG, EX_USAGE, Failure, load, runtime, say, say_json};
use crate::check::{self, Questions, Report};
use crate::config::{Config, ConfigError, Given, Relay, TlsMode, Trust};
use crate::tls::{Names, TrustError, TrustStore};

#[derive(clap::Args, Default)]
pub struct Arguments {
    /// A relay host to look at in place of the configured one; no configuration is read then
    #[arg(long, value_name = "HOST", conflicts_with = "connect")]
    host: Option<String>,
    /// Its port
    #[arg(long, requires = "host", value_name = "PORT")]
    port: Option<u16>,
    /// When TLS begins: at once is the default on port 465
    #[arg(long, requires = "host", value_name = "MODE", value_parser = ["starttls", "implicit"])]
    tls: Option<String>,
    /// As openssl's: host and port together; TLS begins at once, unless --starttls smtp is given
    #[arg(long, value_name = "HOST:PORT")]
    connect: Option<String>,
    /// As openssl's: TLS begins after STARTTLS
    #[arg(long, requires = "connect", value_name = "PROTOCOL", value_parser = ["smtp"])]
    starttls: Option<String>,
    /// Trust only the certificates in this file
    #[arg(long, value_name = "FILE", conflicts_with = "pin")]
    ca_file: Option<PathBuf>,
    /// Trust only the certificates in this directory (and in --ca-file)
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "pin")]
    ca_path: Option<PathBuf>,
    /// Trust only this certificate or key (sha256:, sha1:, spki-sha256:); may be given several times
    #[arg(long, value_name = "PIN")]
    pin: Vec<String>,
    /// Send this name to the server, and verify it, in place of the host's
    #[arg(long, value_name = "NAME")]
    servername: Option<String>,
    /// Verify this name in place of the host's
    #[arg(long, value_name = "NAME")]
    verify_hostname: Option<String>,
    /// Go through this SOCKS5 proxy, which looks up the name
    #[arg(long, value_name = "HOST:PORT")]
    proxy: Option<String>,
    /// Print the certificates themselves too
    #[arg(long)]
    showcerts: bool,
    /// Log in too
    #[arg(long)]
    login: bool,
    /// Ask whether sender and recipients are taken; nothing is sent
    #[arg(long, conflicts_with_all = ["host", "connect"])]
    rcpt: bool,
    /// Send a marked alert the whole way, through the running daemon, and tell what the relay host said
    #[arg(long, conflicts_with_all = ["host", "connect"])]
    send_test: bool,
    /// Look at every configured relay host
    #[arg(long, conflicts_with_all = ["host", "connect"])]
    all_relays: bool,
    /// The login, where no configuration has one
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// The file with its password
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        Self::new(&error, error.hint(), EX_CONFIG)
    }
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<u8, Failure> {
    let config = if arguments.names_a_host() { None } else { Some(load(file)?) };
    let relays = match &config {
        None => vec![arguments.relay()?],
        Some(config) if arguments.all_relays => config.relays.clone(),
        Some(config) => vec![config.relays[0].clone()],
    };
    let questions = arguments.questions(config.as_ref());
    let mut reports = Vec::new();
    for mut relay in relays {
        let store = arguments.trust(&mut relay)?;
        reports.push(runtime()?.block_on(check::check(&relay, store, &questions)));
    }
    let test = match (&config, arguments.send_test) {
        (Some(config), true) => Some(check::send_test(config)),
        _ => None,
    };
    show(arguments, &reports, test.as_ref())?;
    let test = test.map_or(0, |test| test.exit_code);
    let mut codes = reports.iter().map(|report| report.exit_code).chain([test]);
    Ok(codes.find(|code| *code != 0).unwrap_or(0))
}

fn show(arguments: &Arguments, reports: &[Report], test: Option<&check::TestAlert>) -> Result<(), Failure> {
    if !arguments.json {
        reports.iter().for_each(say);
        test.iter().for_each(say);
        return Ok(());
    }
    match (reports, test) {
        ([report], None) if !arguments.all_relays => say_json(report),
        _ => say_json(&serde_json::json!({ "format": 1, "relays": reports, "test_alert": test })),
    }
}

impl Arguments {
    /// The way to the configured relay host as far as it goes without a message.
    pub fn whole_way() -> Self {
        Self { rcpt: true, ..Self::default() }
    }

    /// The whole way with one.
    pub fn test_alert() -> Self {
        Self { send_test: true, ..Self::default() }
    }

    fn names_a_host(&self) -> bool {
        self.host.is_some() || self.connect.is_some()
    }

    fn questions(&self, config: Option<&Config>) -> Questions {
        let envelope = config.filter(|_| self.rcpt).map(|config| {
            (config.sender.envelope.clone(), config.recipients.iter().map(|one| one.address.clone()).collect())
        });
        Questions {
            login: self.login || self.rcpt,
            envelope,
            names: Names { sent: self.servername.clone(), verified: self.verify_hostname.clone() },
            certificates: self.showcerts,
            message_size: config.map(|config| config.listen.message_size),
        }
    }

    /// The relay host that is named here, with the defaults of a configuration.
    fn relay(&self) -> Result<Relay, Failure> {
        let (host, port, tls) = match (&self.connect, &self.host) {
            (Some(connect), _) => {
                let (host, port) = split(connect)?;
                let tls = if self.starttls.is_some() { TlsMode::Starttls } else { TlsMode::Implicit };
                (host, Some(port), Some(tls))
            }
            (None, host) => (host.clone().unwrap_or_default(), self.port, self.tls.as_deref().map(mode)),
        };
        let login = self.username.clone().zip(self.password_file.clone());
        Relay::given(Given { host, port, tls, login, proxy: self.proxy.clone() }).map_err(in_arguments)
    }

    /// What is given here counts in place of what is configured.
    fn trust(&self, relay: &mut Relay) -> Result<TrustStore, Failure> {
        if let Some(directory) = &self.ca_path {
            return Ok(TrustStore::directory(directory, self.ca_file.as_deref())?);
        }
        if let Some(file) = &self.ca_file {
            relay.trust = Trust::CaFile(file.clone());
        }
        if !self.pin.is_empty() {
            let pins = self.pin.iter().map(|pin| {
                pin.parse()
                    .map_err(|error: crate::config::FingerprintError| Failure::new(&error, error.hint(), EX_USAGE))
            });
            relay.trust = Trust::Pins(pins.collect::<Result<_, _>>()?);
        }
        Ok(TrustStore::load(&relay.trust)?)
    }
}

/// What is wrong is an argument, not a file.
pub fn in_arguments(error: ConfigError) -> Failure {
    match &error {
        ConfigError::Value { key, what, hint, .. } => Failure::new(format!("{key}: {what}"), hint.clone(), EX_USAGE),
        ConfigError::Secret { error, .. } => Failure::new(error, error.hint(), EX_CONFIG),
        ConfigError::Load(_) => error.into(),
    }
}

fn mode(name: &str) -> TlsMode {
    if name == "implicit" { TlsMode::Implicit } else { TlsMode::Starttls }
}

/// `host:port`, `[address]:port`.
fn split(text: &str) -> Result<(String, u16), Failure> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = parts.ok_or_else(|| {
        Failure::new(
            format!("{text:?} is no host with a port"),
            "Write HOST:PORT, such as smtp.example.org:587.",
            EX_USAGE,
        )
    })?;
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_split_at_the_last_colon() {
        let split = |text| split(text).ok();
        assert_eq!(split("smtp.example.org:587"), Some(("smtp.example.org".to_owned(), 587)));
        assert_eq!(split("[::1]:25"), Some(("::1".to_owned(), 25)));
        assert_eq!(split("smtp.example.org"), None);
        assert_eq!(split("smtp.example.org:smtp"), None);
    }
}
