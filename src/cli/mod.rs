//! The command line: a file for each subcommand, with its arguments, output and exit code, and no logic of its own.
//!
//! Exit codes are those of sysexits.h; each is in `--help` of the command that gives it. Trouble is one line that says
//! what, and one that says what to do. Standard output and error are written without panicking when they are closed.

mod alarm;
mod check;
mod config;
mod demo;
mod heartbeat;
mod import;
mod keys;
mod log;
mod new_file;
mod openssl_words;
mod page;
mod queue;
mod route;
mod run;
mod sendmail;
mod status;
mod verify;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigError, DEFAULT_FILE};

/// A mail-relay sidecar for intrusion detection systems: takes plain alerts on localhost, seals them with OpenPGP and
/// relays them over verified TLS.
#[derive(Parser)]
#[command(name = "sealrelay", version, max_term_width = 100)]
struct Arguments {
    /// The configuration file
    #[arg(long, global = true, env = "SEALRELAY_CONFIG", default_value = DEFAULT_FILE, value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the relay until it is told to end (SIGTERM)
    Run,
    /// Go the way to the relay host as delivery would, and tell the truth about it
    ///
    /// It is the configured one, or one that is named; openssl's spelling is understood too: -connect HOST:PORT -starttls
    /// smtp -CAfile FILE -CApath DIRECTORY -showcerts -servername NAME -verify_hostname NAME.
    ///
    /// Exit codes: 0 usable, 64 wrong arguments, 68 no such host, 69 the relay host does not want us, 75 try again later,
    /// 76 no proper SMTP or TLS, 77 not verified or login not taken, 78 configuration.
    Check(Box<check::Arguments>),
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Try who gets what
    #[command(subcommand)]
    Route(route::Command),
    #[command(subcommand)]
    Queue(queue::Command),
    /// Look at certificates, and at the relay's own key
    #[command(subcommand)]
    Keys(keys::Command),
    Status(status::Arguments),
    Log(log::Arguments),
    Heartbeat(heartbeat::Arguments),
    /// Try what tells somebody, beside mail, how the relay is
    #[command(subcommand)]
    Alarm(alarm::Command),
    Verify(verify::Arguments),
    /// Make a configuration from that of Postfix, of OSSEC or Wazuh, or of SecureDrop, and print it
    ///
    /// Each line that has no equivalent or becomes stricter has a comment; what is left to fill in stands in angle brackets.
    /// No password is copied. Nothing is written unless told. Exit codes: 0 done, 65 not in the form it should be, 66 not
    /// readable, 73 cannot be written or is there already.
    #[command(subcommand)]
    Import(import::Command),
    Demo(demo::Arguments),
    Sendmail(sendmail::Arguments),
}

/// What a command failed with.
pub(crate) struct Failure {
    what: String,
    hint: String,
    code: u8,
}

impl Failure {
    pub(crate) fn new(what: impl Display, hint: impl Into<String>, code: u8) -> Self {
        Self { what: what.to_string(), hint: hint.into(), code }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(&error, error.hint(), EX_CONFIG)
    }
}

/// The command line was wrong.
const EX_USAGE: u8 = 64;
/// What was read is not what it should be: something was suppressed, forged or lost.
const EX_DATAERR: u8 = 65;
/// What was named is not there.
const EX_NOINPUT: u8 = 66;
/// The service is not running, or the relay host refuses.
const EX_UNAVAILABLE: u8 = 69;
/// Something is wrong inside.
const EX_SOFTWARE: u8 = 70;
/// The system refuses.
const EX_OSERR: u8 = 71;
/// A directory or file cannot be made or used.
const EX_CANTCREAT: u8 = 73;
/// The disk did not do it.
const EX_IOERR: u8 = 74;
/// It works, and somebody should look.
const EX_TEMPFAIL: u8 = 75;
/// The caller may not do that.
const EX_NOPERM: u8 = 77;
/// The configuration is wrong.
const EX_CONFIG: u8 = 78;

/// The command line as clap knows it: man pages and completions are made from it.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Reads the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    if let Some(code) = sendmail::by_name(std::env::args_os()) {
        return code;
    }
    let arguments = match Arguments::try_parse_from(openssl_words::translated(std::env::args_os())) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EX_USAGE } else { 0 });
        }
    };
    let file = std::path::absolute(&arguments.config).unwrap_or(arguments.config);
    let is_logged = matches!(arguments.command, Command::Run | Command::Sendmail(_));
    let outcome = match arguments.command {
        Command::Run => run::run(&file),
        Command::Check(options) => check::run(&file, &options),
        Command::Config(command) => config::run(&file, &command),
        Command::Route(command) => route::run(&file, &command),
        Command::Queue(command) => queue::run(&file, &command),
        Command::Keys(command) => keys::run(&file, &command),
        Command::Status(options) => status::run(&file, &options),
        Command::Log(options) => log::run(&file, &options),
        Command::Heartbeat(options) => heartbeat::run(&file, &options),
        Command::Alarm(command) => alarm::run(&file, &command),
        Command::Verify(options) => verify::run(&options),
        Command::Import(command) => import::run(&command),
        Command::Demo(options) => demo::run(&options),
        Command::Sendmail(options) => sendmail::run(&file, options),
    };
    crate::maillog::finish();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            report(&failure, is_logged);
            ExitCode::from(failure.code)
        }
    }
}

/// Two lines: what, and what to do. The daemon's, and those of what other programs call, go to a log that the IDS reads.
fn report(failure: &Failure, is_logged: bool) {
    let lines = [format!("sealrelay: {}", failure.what), format!("  {}", failure.hint)];
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        let line = if is_logged { crate::maillog::quiet(line) } else { line.clone() };
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// A line on standard output; whether anybody reads it does not matter.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A value as JSON on standard output.
pub(crate) fn say_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(error, "This is a fault of sealrelay; please report it.", EX_SOFTWARE))?;
    say(json);
    Ok(())
}

/// A small runtime for commands that talk to the network.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(error, "Look at this machine's limits.", EX_OSERR))
}

/// The configuration, for commands that use all of it.
fn load(file: &std::path::Path) -> Result<Config, Failure> {
    Ok(Config::load(file)?)
}

/// The same for the others, which anybody may call who may read the configuration alone.
fn load_without_secrets(file: &std::path::Path) -> Result<Config, Failure> {
    Ok(Config::load_without_secrets(file)?)
}

/// `2026-11-20 19:26:58Z`, or `-`.
fn time(seconds: u64) -> String {
    // Beyond the year 9999 nothing can be formatted; whatever says so is wrong anyway.
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(253_402_300_799));
    if seconds == 0 { "-".to_owned() } else { humantime::format_rfc3339_seconds(at).to_string().replace('T', " ") }
}

/// `45 s`, `12 min`, `2 h 5 min`, `3 days`.
fn span(seconds: u64) -> String {
    match (seconds / 60, seconds / 3600) {
        (0, _) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, hours @ 1..48) => format!("{hours} h {} min", minutes % 60),
        _ => days(seconds),
    }
}

/// `1 day`, `12 days`.
fn days(seconds: u64) -> String {
    match seconds / (24 * 3600) {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// `2 h 5 min ago`; `just now` for what is not past by this clock.
fn ago(at: u64) -> String {
    match crate::status::seconds_now().saturating_sub(at) {
        0 => "just now".to_owned(),
        past => format!("{} ago", span(past)),
    }
}
