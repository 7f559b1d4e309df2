//! `sealrelay config`.

use std::path::Path;
use std::time::SystemTime;

use super::{EX_CONFIG, EX_UNAVAILABLE, Failure, load, say};
use crate::config::Doors;
use crate::control::{self, Reloaded, Request};
use crate::seal;
use crate::share;
use crate::tls::TrustStore;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Say whether `run` would start with it: exit code 0, or 78 with what is wrong and what to do
    Check,
    /// Have the daemon take the configuration as it is now, and the certificates it names: all of it or nothing. Exit
    /// code 0, 69 if no daemon runs, or what `config check` gives, with what is wrong and what to do
    Reload,
}

pub fn run(file: &Path, command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Check => check(file),
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
    let config = load(file)?;
    for relay in &config.relays {
        TrustStore::load(&relay.trust).map_err(|error| Failure::new(&error, error.hint(), EX_CONFIG))?;
    }
    seal::lint(&config, SystemTime::now()).map_err(|error| Failure::new(&error, error.hint(), EX_CONFIG))?;
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
