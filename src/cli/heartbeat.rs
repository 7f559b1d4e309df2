//! `sealrelay heartbeat`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{EX_TEMPFAIL, EX_UNAVAILABLE, Failure, say, say_json};
use crate::config::Doors;
use crate::control::{self, Request};

/// Send every recipient a heartbeat now: how the relay is, and what became of every number
///
/// Exit codes: 0 all are in the spool, 75 one could not be made, 69 the daemon does not answer.
#[derive(clap::Args)]
pub struct Arguments {
    /// Print JSON: each recipient's number, or null
    #[arg(long)]
    json: bool,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<u8, Failure> {
    let control = Doors::find(file)?.control;
    let made: BTreeMap<String, Option<u64>> = control::ask(&control, Request::Heartbeat).map_err(|error| {
        let what = format!("the daemon does not answer on {}: {error}", control.display());
        Failure::new(what, "Start it, or run this as its user or a member of its group.", EX_UNAVAILABLE)
    })?;
    if arguments.json {
        say_json(&made)?;
    } else {
        made.iter().for_each(|(recipient, number)| match number {
            Some(number) => say(format!("{recipient}: number {number} is in the spool")),
            None => say(format!("{recipient}: could not be made; `sealrelay status` and the log say why")),
        });
    }
    Ok(if made.values().all(Option::is_some) { 0 } else { EX_TEMPFAIL })
}
