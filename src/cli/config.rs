//! `sealrelay config`.

use std::path::Path;
use std::time::SystemTime;

use super::{EX_CONFIG, Failure, load, say};
use crate::seal;
use crate::tls::TrustStore;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Say whether `run` would start with it: exit code 0, or 78 with what is wrong and what to do
    Check,
}

pub fn run(file: &Path, command: &Command) -> Result<u8, Failure> {
    let Command::Check = command;
    let config = load(file)?;
    TrustStore::load(&config.relays[0].trust).map_err(|error| Failure::new(&error, error.hint(), EX_CONFIG))?;
    seal::lint(&config, SystemTime::now()).map_err(|error| Failure::new(&error, error.hint(), EX_CONFIG))?;
    say(format!("{}: well", config.file.display()));
    for recipient in &config.recipients {
        let default = if recipient.default { ", default" } else { "" };
        say(format!("  recipient {} ({} certificate(s){default})", recipient.address, recipient.fingerprints.len()));
    }
    say(format!("  relay host {}:{}", config.relays[0].host, config.relays[0].port));
    if config.heartbeat.is_none() {
        say("  ! heartbeat.every is \"off\": nobody notices when alerts stop coming");
    }
    Ok(0)
}
