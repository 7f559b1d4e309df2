//! `sealrelay status`: asks the daemon how it is, or says that it does not run and what lies in the spool.
//!
//! All four faces (screen, JSON, monitoring plug-in, live screen) show the same answer. What relay hosts said is theirs:
//! it is bounded by the daemon and escaped here.

mod nagios;
mod screen;
mod watch;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::page::Medium;
use super::{EX_NOPERM, EX_SOFTWARE, EX_TEMPFAIL, EX_UNAVAILABLE, Failure, say, say_json};
use crate::activity::Activity;
use crate::config::{Config, ConfigError, Doors};
use crate::control::{self, Request};
use crate::sandbox::Confinement;
use crate::spool::{Spool, Totals};
use crate::status::{Counts, State, Status, spool_warnings};

/// How often a live screen may be drawn.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(3600);

/// Tell how the relay is and what to do: what came, went and waits, each relay host, each recipient
///
/// Without the daemon it tells what lies in the spool.
///
/// Exit codes: 0 well, 69 broken or not running, 75 somebody should look, 77 not open to this account, 78 configuration.
/// With --nagios: 0 well, 1 somebody should look, 2 broken or not running, 3 it cannot be told.
#[derive(clap::Args)]
pub struct Arguments {
    /// Print JSON; with --watch one object a line
    #[arg(long)]
    json: bool,
    /// One line, performance data and exit code for Nagios, Icinga and the like
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    nagios: bool,
    /// Show it again and again, until Ctrl-C (exit code 0): in place on a terminal, else one below the other
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "2s", value_parser = interval)]
    watch: Option<Duration>,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    INTERVALS.contains(&interval).then_some(interval).ok_or_else(|| "from 200ms to 1h".to_owned())
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<u8, Failure> {
    if arguments.nagios {
        let (text, code) = nagios::answer(find(file));
        say(text);
        return Ok(code);
    }
    if let Some(every) = arguments.watch {
        let (file, json) = (file.to_owned(), arguments.json);
        return watch::run(every, json, Arc::new(move || shown(&find(&file)?, json)));
    }
    let status = find(file)?;
    if arguments.json {
        say_json(&status)?;
    } else {
        screen::lines(&status, Medium::stdout()).iter().for_each(say);
    }
    Ok(match status.state {
        State::Ok => 0,
        State::Degraded => EX_TEMPFAIL,
        State::Broken => EX_UNAVAILABLE,
    })
}

/// One picture of a live screen.
fn shown(status: &Status, json: bool) -> Result<Vec<String>, Failure> {
    if !json {
        return Ok(screen::lines(status, Medium::stdout()));
    }
    let json = serde_json::to_string(status);
    json.map(|json| vec![json]).map_err(|error| Failure::new(error, "Please report it.", EX_SOFTWARE))
}

fn find(file: &Path) -> Result<Status, Failure> {
    // Whoever may ask the daemon need not be able to read the configuration.
    let doors = Doors::find(file)?;
    match control::ask(&doors.control, Request::Status) {
        Ok(status) => Ok(status),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(not_open(&doors)),
        Err(error) => Ok(not_running(file, &doors, &error)),
    }
}

/// Whether it runs cannot be told then.
pub fn not_open(doors: &Doors) -> Failure {
    let what = format!("{} is not open to this account", doors.control.display());
    Failure::new(what, "Run this as the service's user, a member of its group, or root.", EX_NOPERM)
}

/// What can be said without a daemon: what lies in the spool, and what was counted before.
fn not_running(file: &Path, doors: &Doors, error: &std::io::Error) -> Status {
    let mut warnings = vec![format!(
        "the daemon does not answer on {} ({error}): start it, and see its log if it does not stay",
        doors.control.display()
    )];
    let said = |error: ConfigError| format!("{error}. {}", error.hint());
    let config = Config::load_without_secrets(file).map_err(said);
    // Perhaps that is why it does not run. Not surely: systemd's credentials are there for the service alone.
    if let (Ok(_), Err(error)) = (&config, Config::load(file)) {
        warnings.push(format!("from this account it could not start: {}", said(error)));
    }
    let looked =
        config.and_then(|config| Ok((totals(&config)?, Activity::open(&config.state).last(&Counts::default()))));
    let (known, spool_unknown) = looked.map_or_else(|why| (Default::default(), Some(why)), |known| (known, None));
    let (spool, (last_hour, last_day)) = known;
    warnings.extend(spool_unknown.clone());
    warnings.extend(spool_warnings(&spool));
    Status {
        format: 1,
        state: State::Broken,
        running: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: 0,
        since: 0,
        listening: Vec::new(),
        counts: Counts::default(),
        last_hour,
        last_day,
        gathering: Vec::new(),
        spool,
        spool_unknown,
        relays: Vec::new(),
        follows: Vec::new(),
        alarm: Vec::new(),
        log_lines_dropped: 0,
        sandbox: Confinement::default(),
        signer: String::new(),
        certificates: Vec::new(),
        recipients: Vec::new(),
        warnings,
        advice: Vec::new(),
    }
}

/// Somebody who may not look must not read that the queue is empty.
fn totals(config: &Config) -> Result<Totals, String> {
    let looked = config.spool.join("queue").try_exists();
    looked.map(|_| Spool::peek(&config.spool)).map_err(|error| {
        format!("cannot look into {} ({error}). Run this as the service's user or root.", config.spool.display())
    })
}
