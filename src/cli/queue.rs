//! `sealrelay queue`: takes the spool's lock if it is free, else asks the daemon; two processes never move entries.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::{EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE, Failure, load, say, time};
use crate::config::{Config, Doors};
use crate::control::{self, Request};
use crate::spool::{Listed, Spool, SpoolError};

#[derive(clap::Subcommand)]
pub enum Command {
    /// List what lies in the spool
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Try to send everything now
    Flush,
}

pub fn run(file: &Path, command: &Command) -> Result<u8, Failure> {
    let config = load(file)?;
    match command {
        Command::List { json } => list(&config, *json),
        Command::Flush => flush(&config),
    }
}

/// `mailq`: the running daemon is asked, because the caller need not be able to read the configuration; only without it
/// is the spool opened.
pub fn mailq(file: &Path, doors: &Doors) -> Result<u8, Failure> {
    match ask_any::<Vec<Listed>>(doors, Request::List) {
        Ok(list) => show(&list, false),
        Err(failure) if failure.code == EX_NOPERM => return Err(failure),
        Err(failure) => return list(&Config::load(file).map_err(|_| failure)?, false),
    }
    Ok(0)
}

/// `sendmail -q`.
pub fn flush_by_anybody(doors: &Doors) -> Result<u8, Failure> {
    let _: serde_json::Value = ask_any(doors, Request::Flush)?;
    Ok(0)
}

/// Asks the daemon for a caller who may be anybody.
fn ask_any<T: for<'a> serde::Deserialize<'a>>(doors: &Doors, request: Request) -> Result<T, Failure> {
    control::ask(&doors.control, request).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => {
            let hint = "Run this as the service's user, or as a member of its group.";
            Failure::new("the mail queue is not open to this account", hint, EX_NOPERM)
        }
        _ => {
            let what = format!("the mail relay does not answer on {}: {error}", doors.control.display());
            Failure::new(what, "Start it, or name its configuration with --config.", EX_TEMPFAIL)
        }
    })
}

fn list(config: &Config, json: bool) -> Result<u8, Failure> {
    let list: Vec<Listed> = match open(config)? {
        Spooled::Nowhere => Vec::new(),
        Spooled::Held(spool) => spool.list(),
        Spooled::WithTheDaemon => ask(config, Request::List)?,
    };
    show(&list, json);
    Ok(0)
}

fn show(list: &[Listed], json: bool) {
    match (json, list.is_empty()) {
        (true, _) => list.iter().for_each(|listed| say(serde_json::json!(listed))),
        (false, true) => say("Mail queue is empty"),
        (false, false) => table(list),
    }
}

/// Postfix's layout: monitoring plug-ins read the first column and the last line.
fn table(list: &[Listed]) {
    say("-Queue ID-          --Size-- ---Arrival Time----- -Sender/Recipient-------");
    for listed in list {
        let mark = match listed.queue_name.as_str() {
            "active" => "*",
            "held" => "!",
            "queue" => " ",
            _ => "#",
        };
        let arrival = time(listed.arrival_time);
        say(format!("{}{mark} {:>7} {arrival} {}", listed.queue_id, listed.message_size, listed.sender));
        if mark == "#" || !listed.delay_reason.is_empty() {
            let place = if mark == "#" { format!("{}: ", listed.queue_name) } else { String::new() };
            say(format!("{:>76}", format!("({place}{})", listed.delay_reason)));
        }
        say(format!("{:50} {}", "", listed.recipient));
        say("");
    }
    let octets: u64 = list.iter().map(|listed| listed.message_size).sum();
    let requests = if list.len() == 1 { "Request" } else { "Requests" };
    say(format!("-- {} Kbytes in {} {requests}.", octets.div_ceil(1024), list.len()));
}

fn flush(config: &Config) -> Result<u8, Failure> {
    if !matches!(open(config)?, Spooled::WithTheDaemon) {
        let hint = "Start it: whatever lies in the spool is tried then.";
        return Err(Failure::new("the daemon does not run, so nothing can be sent", hint, EX_UNAVAILABLE));
    }
    let answer: serde_json::Value = ask(config, Request::Flush)?;
    say(format!("{} message(s) will be tried now", answer["flushed"]));
    Ok(0)
}

/// Who holds the spool.
enum Spooled {
    /// It was never made; nothing lies there, and nothing is to be made by somebody who only looks.
    Nowhere,
    Held(Box<Spool>),
    WithTheDaemon,
}

fn open(config: &Config) -> Result<Spooled, Failure> {
    // Somebody who may not look must not read that the queue is empty.
    let made = config.spool.join("lock").try_exists().map_err(|error| {
        let what = format!("cannot look into the spool {}: {error}", config.spool.display());
        Failure::new(what, "Run this as the service's user, or as a member of its group.", EX_NOPERM)
    })?;
    if !made {
        return Ok(Spooled::Nowhere);
    }
    match Spool::open(&config.spool, &config.state, Duration::ZERO) {
        Ok(spool) => Ok(Spooled::Held(Box::new(spool))),
        Err(SpoolError::InUse(_)) => Ok(Spooled::WithTheDaemon),
        Err(error) => Err(Failure::new(&error, error.hint(), 73)),
    }
}

fn ask<T: for<'a> serde::Deserialize<'a>>(config: &Config, request: Request) -> Result<T, Failure> {
    control::ask(&config.control, request).map_err(|error| {
        let what = format!("the daemon does not answer on {}: {error}", config.control.display());
        Failure::new(what, "Run this as the service's user, or as a member of its group.", EX_TEMPFAIL)
    })
}
