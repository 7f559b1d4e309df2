//! `sealrelay alarm`.

use std::path::Path;
use std::time::Duration;

use super::{EX_CONFIG, EX_UNAVAILABLE, Failure, say, say_json};
use crate::alarm::Tried;
use crate::config::Doors;
use crate::control::{self, Request};

/// The daemon gives each server a minute, all at once.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(clap::Subcommand)]
pub enum Command {
    /// Have the daemon call the ping, the webhook and the syslog collector now, marked as a test, and say what became of
    /// each. A ping is a ping: the service behind it counts it
    ///
    /// Exit codes: 0 all were taken, 69 one was not, or no daemon runs, 78 none is configured.
    Test {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(file: &Path, command: &Command) -> Result<u8, Failure> {
    let Command::Test { json } = command;
    let control = Doors::find(file)?.control;
    let tried: Vec<Tried> = control::ask_within(PATIENCE, &control, Request::AlarmTest).map_err(|error| {
        let what = format!("the daemon does not answer on {}: {error}", control.display());
        Failure::new(what, "Start it, or run this as its user or a member of its group.", EX_UNAVAILABLE)
    })?;
    if *json {
        say_json(&tried)?;
    } else {
        tried.iter().for_each(show);
    }
    if tried.is_empty() {
        let hint = "Set ping_url_file, webhook_url_file or syslog there, and `sealrelay config reload`.";
        return Err(Failure::new("there is nobody to tell in [alarm]", hint, EX_CONFIG));
    }
    Ok(if tried.iter().all(|one| one.trouble.is_none()) { 0 } else { EX_UNAVAILABLE })
}

fn show(tried: &Tried) {
    let Tried { channel, to, trouble } = tried;
    let outcome = match (trouble, channel.as_str()) {
        (Some(trouble), _) => format!("NOT taken: {trouble}"),
        (None, "syslog") => "sent; UDP does not say whether it arrived, the collector's log does".to_owned(),
        (None, _) => "taken".to_owned(),
    };
    say(format!("{channel:8} {to}: {outcome}"));
}
