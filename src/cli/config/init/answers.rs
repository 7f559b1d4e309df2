//! The answers: given as options, or asked for.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::super::check::in_arguments;
use super::super::super::{EX_CONFIG, EX_USAGE, Failure, say};
use super::super::ask::{self, ask};
use super::Arguments;
use crate::config::{Given, OpenPgpFingerprint, Origin, Relay, Secret, SecretFile, TlsPin, Trust};
use crate::envelope::Address;
use crate::seal;
use crate::tls::TrustStore;

/// All that a first configuration says.
pub struct Answers {
    pub certificate: PathBuf,
    pub fingerprint: OpenPgpFingerprint,
    pub recipient: Address,
    pub host: String,
    pub port: u16,
    pub login: Option<(String, Secret)>,
    pub sender: Address,
    pub trust: Trust,
}

/// Where answers come from.
struct Source {
    asks: bool,
}

impl Answers {
    /// In the order of the guide; each is judged as soon as it is known.
    pub fn gather(arguments: &Arguments, asks: bool) -> Result<Self, Failure> {
        if !asks {
            refuse_missing(arguments)?;
        }
        let source = Source { asks };
        let certificate = arguments.certificate.as_deref().map(Path::to_string_lossy);
        let certificate = source.answer(
            certificate.as_deref(),
            "1/8 File with the OpenPGP certificate (public key) of who gets the alerts",
            None,
            readable,
        )?;
        let fingerprint =
            source.answer(arguments.fingerprint.as_deref(), "2/8 Its full fingerprint", None, |text| {
                linted(&certificate, text)
            })?;
        let recipient =
            source.answer(arguments.recipient.as_deref(), "3/8 Who gets the alerts (address)", None, address)?;
        let host = source.answer(arguments.relay.as_deref(), "4/8 Relay host", None, |text| host(text, None))?;
        let port = arguments.port.map(|port| port.to_string());
        let port = source.answer(port.as_deref(), "5/8 Its port (465: TLS at once)", Some("587"), port_number)?;
        let login = login(&source, arguments)?;
        let trust = trust(&source, arguments)?;
        let by_login = login.as_ref().map(|(name, _)| name.as_str()).filter(|name| name.parse::<Address>().is_ok());
        let sender = match (&arguments.sender, by_login) {
            (None, Some(login)) => address(login)?,
            (given, _) => source.answer(given.as_deref(), "    Address alerts come from", None, address)?,
        };
        Ok(Self { certificate, fingerprint, recipient, host, port, login, sender, trust })
    }
}

/// Without anybody to ask, all of them are named at once.
fn refuse_missing(arguments: &Arguments) -> Result<(), Failure> {
    let has_login = arguments.username.is_some() || arguments.no_login;
    let password = arguments.no_login || arguments.password_file.is_some() || arguments.password_stdin;
    let needs = [
        ("--certificate", arguments.certificate.is_some()),
        ("--fingerprint", arguments.fingerprint.is_some()),
        ("--recipient", arguments.recipient.is_some()),
        ("--relay", arguments.relay.is_some()),
        ("--username (or --no-login)", has_login),
        ("--password-file (or --password-stdin)", password),
        ("--sender", arguments.sender.is_some() || !arguments.no_login),
    ];
    let missing: Vec<&str> = needs.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = "Give them, or run it on a terminal without --yes and answer there.";
    Err(Failure::new(format!("there is nobody to ask for {}", missing.join(", ")), hint, EX_USAGE))
}

impl Source {
    /// The given answer, or the one that somebody gives, or the usual one.
    fn answer<T>(
        &self,
        given: Option<&str>,
        question: &str,
        default: Option<&str>,
        judge: impl Fn(&str) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match (given, default) {
            (Some(given), _) => judge(given),
            (None, _) if self.asks => ask(question, default, judge),
            (None, default) => judge(default.unwrap_or_default()),
        }
    }
}

fn login(source: &Source, arguments: &Arguments) -> Result<Option<(String, Secret)>, Failure> {
    if arguments.no_login {
        return Ok(None);
    }
    let joined = match (&arguments.username, &arguments.domain) {
        (Some(name), Some(domain)) => Some(format!("{name}@{domain}")),
        (name, _) => name.clone(),
    };
    let username = source.answer(joined.as_deref(), "6/8 Login there (empty: none is wanted)", None, username)?;
    if username.is_empty() {
        return Ok(None);
    }
    let password = match &arguments.password_file {
        Some(file) => {
            let file = SecretFile { what: "password", path: file.clone(), origin: Origin::File };
            file.read().map_err(|error| Failure::new(&error, error.hint(), EX_CONFIG))?
        }
        None if arguments.password_stdin => Secret::new(ask::line()?),
        None => ask::password("7/8 Its password")?,
    };
    if password.reveal().is_empty() || password.reveal().contains(char::is_control) {
        let hint = "It is one line without control characters. Gmail and others want an app password.";
        return Err(Failure::new("that is no password", hint, EX_CONFIG));
    }
    Ok(Some((username, password)))
}

fn trust(source: &Source, arguments: &Arguments) -> Result<Trust, Failure> {
    let given = match (&arguments.ca_file, arguments.pin.as_slice()) {
        (Some(file), _) => Some(file.to_string_lossy().into_owned()),
        (None, []) => None,
        (None, pins) => Some(pins.join(" ")),
    };
    let question = "8/8 Trust: \"system\" for the system's authorities, the file of another one, or pins (sha256:...)";
    source.answer(given.as_deref(), question, Some("system"), |text| {
        let is_pin = |part: &str| ["sha256:", "sha1:", "spki-sha256:"].iter().any(|kind| part.starts_with(kind));
        let trust = match text {
            "system" => Trust::System,
            pins if pins.split_whitespace().all(is_pin) => {
                let pins = pins
                    .split_whitespace()
                    .map(|pin| pin.parse::<TlsPin>().map_err(|error| Failure::new(&error, error.hint(), EX_CONFIG)));
                Trust::Pins(pins.collect::<Result<_, _>>()?)
            }
            file => Trust::CaFile(absolute(file)),
        };
        TrustStore::load(&trust)?;
        Ok(trust)
    })
}

fn readable(text: &str) -> Result<PathBuf, Failure> {
    let path = absolute(text);
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(_) => Err(Failure::new(format!("{text} is no file"), "Name the file with the certificate.", EX_CONFIG)),
        Err(error) => {
            Err(Failure::new(format!("cannot read {text}: {error}"), "Name the file with the certificate.", EX_CONFIG))
        }
    }
}

fn absolute(text: &str) -> PathBuf {
    std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text))
}

/// A fingerprint of a certificate in `file` that alerts can be sealed to.
fn linted(file: &Path, text: &str) -> Result<OpenPgpFingerprint, Failure> {
    let fingerprint: OpenPgpFingerprint =
        text.parse().map_err(|error: crate::config::FingerprintError| Failure::new(&error, error.hint(), EX_CONFIG))?;
    let files = [file.to_owned()];
    let (_, warnings) = seal::lint_certificate(&files, &fingerprint, None, SystemTime::now())
        .map_err(|error| Failure::new(&error, error.hint(), EX_CONFIG))?;
    say(format!("certificate {fingerprint}: alerts can be sealed to it"));
    warnings.iter().for_each(|warning| say(format!("  ! {warning}")));
    Ok(fingerprint)
}

fn address(text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|error| Failure::new(error, "Write it as name@example.org.", EX_CONFIG))
}

/// What the configuration would take; with a colon, somebody wrote the port too.
fn host(text: &str, port: Option<u16>) -> Result<String, Failure> {
    let given = Given { host: text.to_owned(), port, ..Given::default() };
    Relay::given(given).map(|relay| relay.host).map_err(|error| Failure { code: EX_CONFIG, ..in_arguments(error) })
}

fn port_number(text: &str) -> Result<u16, Failure> {
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(Failure::new(format!("{text:?} is no port"), "It is 587 mostly, or 465.", EX_CONFIG)),
    }
}

fn username(text: &str) -> Result<String, Failure> {
    match text.contains(char::is_control) {
        true => Err(Failure::new("the login holds a control character", "Write it again.", EX_CONFIG)),
        false => Ok(text.to_owned()),
    }
}
