//! `sealrelay config`.

mod ask;
mod init;
mod show;

use std::path::Path;
use std::time::SystemTime;

use super::{EX_CONFIG, EX_UNAVAILABLE, Failure, report, say};
use crate::config::{Config, Doors, Place, Places};
use crate::control::{self, Reloaded, Request};
use crate::seal;
use crate::share;
use crate::tls::TrustStore;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Say whether `run` would start with it: exit code 0, or 78 with what is wrong, where, and what to do
    Check,
    /// Print every setting that is in force, and where its value comes from: a line of the file, a variable, or the
    /// default. What a file of secrets holds is not shown. Exit code 0, or what `config check` gives
    Show(show::Arguments),
    /// Make a first configuration: certificate, recipient, relay host, login and trust are asked for, or given as options;
    /// the certificate is linted, and the way to the relay host is tried
    ///
    /// Nothing that exists is changed, and nothing is written that `config check` would not accept. Exit codes: 0 done,
    /// 64 an answer is missing, 73 something is there already or cannot be written, 78 an answer will not do; or those of
    /// `check`, after the files are written.
    Init(Box<init::Arguments>),
    /// Have the daemon take the configuration as it is now, and the certificates it names: all of it or nothing. Exit
    /// code 0, 69 if no daemon runs, or what `config check` gives, with what is wrong and what to do
    Reload,
}

pub fn run(file: &Path, command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Check => check(file),
        Command::Show(arguments) => show::run(file, arguments),
        Command::Init(arguments) => init::run(file, arguments),
        Command::Reload => reload(file),
    }
}

fn reload(file: &Path) -> Result<u8, Failure> {
    let control = Doors::find(file)?.control;
    let answer = control::ask(&control, Request::Reload).map_err(|error| {
        let what = format!("cannot ask the daemon at {}: {error}", control.display());
        Failure::new(
            what,
            "Is it running, and are you of its group? A start reads the configuration too.",
            EX_UNAVAILABLE,
        )
    })?;
    match answer {
        Reloaded::Yes { in_force } => say(format!("in force: {in_force}")),
        Reloaded::No { what, hint, exit_code } => return Err(Failure::new(what, hint, exit_code)),
    }
    Ok(0)
}

fn check(file: &Path) -> Result<u8, Failure> {
    let (config, _) = sound(file)?;
    say(format!("{}: well", config.file.display()));
    for recipient in &config.recipients {
        let default = if recipient.default { ", default" } else { "" };
        say(format!("  recipient {} ({} certificate(s){default})", recipient.address, recipient.fingerprints.len()));
    }
    config.relays.iter().for_each(|relay| say(format!("  relay host {}", relay.name())));
    share::groups(&config).1.iter().for_each(|warning| say(format!("  ! {warning}")));
    if config.heartbeat.is_none() {
        say("  ! heartbeat.every is \"off\": nobody notices when alerts stop coming");
    }
    Ok(0)
}

/// The configuration, if `run` would start with it. Otherwise every fault that can be told at once: all but the last are
/// reported here.
fn sound(file: &Path) -> Result<(Config, Places), Failure> {
    let (config, places) =
        Config::examine(file).map_err(|faults| all(faults.into_iter().map(Failure::from).collect()))?;
    match faults(&config, &places) {
        none if none.is_empty() => Ok((config, places)),
        faults => Err(all(faults)),
    }
}

/// Reports all but the last, which is the command's own.
fn all(mut faults: Vec<Failure>) -> Failure {
    let last = faults.pop().unwrap_or_else(|| {
        Failure::new("the configuration cannot be used", "This is a fault of sealrelay; please report it.", EX_CONFIG)
    });
    faults.iter().for_each(|fault| report(fault, false));
    last
}

/// What is wrong with the files it names: authorities and certificates.
fn faults(config: &Config, places: &Places) -> Vec<Failure> {
    let at = |key: String| match places.find(&config.file, &key) {
        // The fault names its own file.
        Place::File(_, None) => String::new(),
        place => format!("{place}: "),
    };
    let relays = config.relays.iter().enumerate().filter_map(|(nth, relay)| {
        let error = TrustStore::load(&relay.trust).err()?;
        Some(Failure::new(format!("{}{error}", at(format!("relay[{nth}].ca_file"))), error.hint(), EX_CONFIG))
    });
    let recipients = config.recipients.iter().enumerate().flat_map(|(nth, recipient)| {
        let unusable = recipient.fingerprints.iter().filter_map(|fingerprint| {
            seal::lint_certificate(&recipient.certificates, fingerprint, Some(&config.state), SystemTime::now()).err()
        });
        let place = at(format!("recipient[{nth}].certificate"));
        unusable.map(move |error| Failure::new(format!("{place}{error}"), error.hint(), EX_CONFIG)).collect::<Vec<_>>()
    });
    recipients.chain(relays).collect()
}
