//! `sealrelay config show`: every setting in force, and where its value comes from.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use toml::Value;

use super::super::{Failure, say, say_json};
use crate::config::{
    Accept, Alarm, Config, Fixed, Flood, Follow, Format, Level, Listen, OnExpired, Place, Places, Portion, Proof,
    Recipient, Relay, Release, TlsMode, Trust,
};
use crate::maillog::Output;

#[derive(clap::Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The version of the JSON form.
const FORMAT: u32 = 1;
/// Keys that name a file of which nothing is shown.
const SECRETS: [&str; 6] =
    ["password_file", "token_file", "client_secret_file", "ping_url_file", "webhook_url_file", "client_key"];

/// A key, its value, and who set it.
struct Setting {
    key: String,
    value: Value,
    place: Place,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<u8, Failure> {
    let (config, places) = super::sound(file)?;
    let settings = settings(&config, &places);
    if arguments.json {
        let settings: Vec<_> = settings.iter().map(Setting::json).collect();
        say_json(&json!({ "format": FORMAT, "file": config.file, "settings": settings }))?;
        return Ok(0);
    }
    for Setting { key, value, place } in &settings {
        let more = match (key.as_str(), place) {
            ("sender.address", Place::Default) => ": the login",
            ("sender.envelope", Place::Default) => ": the sender's address",
            (key, _) if is_secret(key) => "; what it holds is not shown",
            _ => "",
        };
        say(format!("{key} = {value}  # {place}{more}"));
    }
    Ok(0)
}

fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|secret| key.ends_with(secret))
}

impl Setting {
    fn json(&self) -> serde_json::Value {
        let mut json = json!({ "key": self.key, "value": self.value, "from": "default" });
        match &self.place {
            Place::File(_, line) => {
                json["from"] = json!("file");
                json["line"] = json!(line);
            }
            Place::Variable(name) => {
                json["from"] = json!("variable");
                json["variable"] = json!(name);
            }
            Place::Default => {}
        }
        json
    }
}

/// What is in force, by what was validated; then what the file says besides, such as the names of secrets' files.
fn settings(config: &Config, places: &Places) -> Vec<Setting> {
    let mut all: Vec<(String, Value)> = Vec::new();
    all.extend(listen(&config.listen));
    for (nth, one) in config.follows.iter().enumerate() {
        all.extend(of(&format!("follow[{nth}]"), follow(one)));
    }
    all.extend(of(
        "sender",
        [
            ("address", text(&config.sender.address)),
            ("envelope", text(&config.sender.envelope)),
            ("subject", text(&config.sender.subject)),
        ],
    ));
    for (nth, one) in config.recipients.iter().enumerate() {
        all.extend(of(&format!("recipient[{nth}]"), recipient(one)));
        all.extend(one.fixed.iter().flat_map(|texts| of(&format!("recipient[{nth}].fixed"), fixed(texts))));
        all.extend(one.flood.iter().flat_map(|one| of(&format!("recipient[{nth}].flood"), flood(one))));
        all.extend(release(&format!("recipient[{nth}]"), &one.release));
    }
    for (nth, one) in config.relays.iter().enumerate() {
        all.extend(of(&format!("relay[{nth}]"), relay(one)));
    }
    all.extend(rest(config));
    let more = places.values().filter(|(key, _)| !all.iter().any(|(known, _)| known == key));
    let more: Vec<_> = more.map(|(key, value)| (key.to_owned(), value.clone())).collect();
    all.extend(more);
    // Sections as they stand in the sample; entries by their number, not by its digits.
    let order = [
        "listen",
        "follow",
        "sender",
        "recipient",
        "alerts",
        "relay",
        "spool",
        "state",
        "heartbeat",
        "control",
        "log",
        "metrics",
        "alarm",
    ];
    all.sort_by_cached_key(|(key, _)| {
        let section = key.split(['.', '[']).next().unwrap_or_default();
        let nth = key.split(['[', ']']).nth(1).and_then(|nth| nth.parse::<usize>().ok());
        (order.iter().position(|known| *known == section), nth)
    });
    all.into_iter().map(|(key, value)| Setting { place: places.origin(&config.file, &key), key, value }).collect()
}

fn of(section: &str, keys: impl IntoIterator<Item = (&'static str, Value)>) -> Vec<(String, Value)> {
    keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)).collect()
}

fn text(value: impl ToString) -> Value {
    Value::String(value.to_string())
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Value {
    Value::Array(values.into_iter().map(text).collect())
}

fn number(value: impl TryInto<i64>) -> Value {
    Value::Integer(value.try_into().unwrap_or(i64::MAX))
}

fn path(value: &Path) -> Value {
    text(value.display())
}

/// As the file may say it too, in the largest unit that fits.
fn duration(value: Duration) -> Value {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    in_units(value.as_millis(), &units)
}

fn size(octets: usize) -> Value {
    in_units(octets as u128, &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "")])
}

fn in_units(value: u128, units: &[(u128, &str)]) -> Value {
    let fits = units.iter().find(|(unit, _)| value > 0 && value.is_multiple_of(*unit)).or(units.last());
    text(fits.map_or_else(|| value.to_string(), |(unit, name)| format!("{}{name}", value / unit)))
}

fn listen(listen: &Listen) -> Vec<(String, Value)> {
    let socket = listen.socket.clone().unwrap_or_default();
    of(
        "listen",
        [
            ("addresses", texts(&listen.addresses)),
            ("socket", path(&socket)),
            ("networks", texts(&listen.networks)),
            ("allow_users", texts(&listen.allow_users)),
            ("sessions", number(listen.sessions)),
            ("message_size", size(listen.message_size)),
            ("memory", size(listen.memory)),
            ("command_timeout", duration(listen.command_timeout)),
            ("message_timeout", duration(listen.message_timeout)),
            ("early_dot_wait", duration(listen.early_dot_wait)),
        ],
    )
}

fn recipient(recipient: &Recipient) -> Vec<(&'static str, Value)> {
    vec![
        ("address", text(&recipient.address)),
        ("certificate", texts(recipient.certificates.iter().map(|file| file.display()))),
        ("fingerprint", texts(&recipient.fingerprints)),
        ("default", Value::Boolean(recipient.default)),
        ("accept", Value::Array(recipient.accept.iter().map(accept).collect())),
        ("split", Value::Boolean(recipient.split)),
        ("format", text(if recipient.format == Format::Inline { "inline" } else { "pgp-mime" })),
        ("on_expired", text(if recipient.on_expired == OnExpired::Notice { "notice" } else { "seal-and-warn" })),
        ("seipd", text(if recipient.seipd_v2 { "v2" } else { "v1" })),
    ]
}

/// A table of `accept`.
fn accept(accept: &Accept) -> Value {
    let rules = Value::Array(accept.rules.iter().map(|rule| number(*rule)).collect());
    let keys = [
        ("recipient", accept.recipient.as_ref().map(text)),
        ("level", accept.level.map(number)),
        ("rule", (!accept.rules.is_empty()).then_some(rules)),
        ("location", accept.location.as_ref().map(text)),
        ("group", accept.group.as_ref().map(text)),
    ];
    Value::Table(keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

/// The texts stand in order, each with its condition.
fn fixed(fixed: &Fixed) -> Vec<(&'static str, Value)> {
    let texts = fixed.texts.iter().map(|one| {
        let keys = [("log", one.log.as_ref().map(text)), ("text", Some(text(&one.text)))];
        Value::Table(keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    });
    vec![("subject", text(&fixed.subject)), ("every", duration(fixed.every)), ("texts", Value::Array(texts.collect()))]
}

fn flood(flood: &Flood) -> Vec<(&'static str, Value)> {
    vec![
        ("burst", number(flood.burst)),
        ("window", duration(flood.window)),
        ("urgent_level", number(flood.urgent_level)),
        ("realert", flood.realert.map_or_else(|| text("off"), duration)),
    ]
}

/// A word, or a table of its own.
fn release(entry: &str, release: &Release) -> Vec<(String, Value)> {
    let Some(slots) = release.slots() else { return of(entry, [("release", text("immediate"))]) };
    let keys = [("slots", duration(slots.every)), ("size", size(slots.size))];
    let urgent = slots.urgent_level.map(|level| ("urgent_level", number(level)));
    of(&format!("{entry}.release"), keys.into_iter().chain(urgent))
}

/// Without a level what the IDS itself says counts.
fn follow(follow: &Follow) -> Vec<(&'static str, Value)> {
    let rules = |rules: &[u32]| Value::Array(rules.iter().map(|rule| number(*rule)).collect());
    let mut all = vec![
        ("path", path(&follow.path)),
        ("from", text(if follow.from_start { "start" } else { "end" })),
        ("alert_by_email", rules(&follow.alert_by_email)),
        ("no_email_alert", rules(&follow.no_email_alert)),
        ("secondary", Value::Boolean(follow.secondary)),
    ];
    all.extend(follow.email_level.map(|level| ("email_level", number(level))));
    all
}

/// What has no value has no line: a proxy, a login, a cap.
fn relay(relay: &Relay) -> Vec<(&'static str, Value)> {
    let mut all = vec![
        ("host", text(&relay.host)),
        ("port", number(relay.port)),
        ("tls", text(if relay.tls == TlsMode::Implicit { "implicit" } else { "starttls" })),
    ];
    if let Some(login) = &relay.login {
        all.push(("username", text(&login.username)));
        let mechanism = login.mechanism.map(|mechanism| mechanism.name().to_ascii_lowercase());
        let strongest =
            || login.proof.mechanisms().iter().map(|one| one.name().to_ascii_lowercase()).collect::<Vec<_>>();
        all.push(("auth", mechanism.map_or_else(|| texts(strongest()), text)));
        if let Proof::TokenFile(file) = &login.proof {
            all.push(("token_file", path(&file.path)));
        }
    }
    match &relay.trust {
        Trust::System => all.push(("ca_file", text("the system's roots"))),
        Trust::CaFile(file) => all.push(("ca_file", path(file))),
        Trust::Pins(pins) => all.push(("pins", texts(pins))),
    }
    all.extend([
        ("ehlo", text(&relay.ehlo)),
        ("connections", number(relay.connections)),
        ("timeout", duration(relay.timeout)),
    ]);
    all.extend(relay.per_hour.map(|cap| ("messages_per_hour", number(cap))));
    all.extend(relay.per_day.map(|cap| ("messages_per_day", number(cap))));
    all
}

fn rest(config: &Config) -> Vec<(String, Value)> {
    let portion = |portion: Portion| {
        Value::Array(vec![
            size(usize::try_from(portion.octets).unwrap_or(usize::MAX)),
            text(format!("{}%", portion.percent)),
        ])
    };
    let heartbeat = config.heartbeat.map_or_else(|| text("off"), duration);
    let metrics = &config.metrics;
    let file = |file: &Option<PathBuf>| file.as_deref().map(path);
    let metrics = [
        ("textfile", file(&metrics.textfile)),
        ("socket", file(&metrics.socket)),
        ("listen", metrics.listen.map(text)),
    ];
    [
        of("alerts", [("rules", texts(config.alerts.rules.iter().map(|folder| folder.display())))]),
        of(
            "spool",
            [
                ("directory", path(&config.spool)),
                ("lifetime", duration(config.lifetime)),
                ("quota", portion(config.quota)),
                ("reserve", portion(config.reserve)),
            ],
        ),
        of("state", [("directory", path(&config.state))]),
        of("heartbeat", [("every", heartbeat)]),
        of("control", [("socket", path(&config.control))]),
        of("log", [("level", text(level(config.log.level))), ("output", text(output(config.log.output)))]),
        of("metrics", metrics.into_iter().filter_map(|(key, value)| Some((key, value?)))),
        of("alarm", alarm(&config.alarm)),
    ]
    .concat()
}

/// Only what somebody is told by: without a ping there is no interval of it.
fn alarm(alarm: &Alarm) -> Vec<(&'static str, Value)> {
    let ping = alarm
        .ping
        .iter()
        .flat_map(|ping| [("ping_every", duration(ping.every)), ("ping_oldest", duration(ping.oldest))]);
    let changes = alarm.webhook.is_some() || alarm.syslog.is_some();
    let settle = changes.then(|| ("settle", duration(alarm.settle)));
    let syslog = alarm.syslog.map(|collector| ("syslog", text(collector)));
    let name = changes.then(|| ("name", text(&alarm.name)));
    ping.chain(settle).chain(syslog).chain(name).collect()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Crit => "crit",
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn output(output: Output) -> &'static str {
    match output {
        Output::Automatic => "auto",
        Output::Journal => "journal",
        Output::Syslog => "syslog",
        Output::Text => "text",
        Output::Json => "json",
    }
}
