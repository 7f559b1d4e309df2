//! `sealrelay status`.

use std::path::Path;

use super::{EX_TEMPFAIL, EX_UNAVAILABLE, Failure, load, say, say_json, time};
use crate::config::Config;
use crate::control::{self, Request};
use crate::spool::Spool;
use crate::status::{Certificate, Counts, State, Status, spool_warnings};

/// Exit codes: 0 well, 75 somebody should look, 69 broken or not running.
#[derive(clap::Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<u8, Failure> {
    let config = load(file)?;
    let status = control::ask(&config.control, Request::Status).unwrap_or_else(|error| not_running(&config, &error));
    if arguments.json {
        say_json(&status)?
    } else {
        show(&status)
    }
    Ok(match status.state {
        State::Ok => 0,
        State::Degraded => EX_TEMPFAIL,
        State::Broken => EX_UNAVAILABLE,
    })
}

/// What can be said without a daemon: what lies in the spool.
fn not_running(config: &Config, error: &std::io::Error) -> Status {
    let totals = Spool::peek(&config.spool);
    let mut warnings = vec![format!(
        "the daemon does not answer on {} ({error}): start it, or run this as its user or a member of its group",
        config.control.display()
    )];
    warnings.extend(spool_warnings(&totals));
    Status {
        format: 1,
        state: State::Broken,
        running: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: 0,
        since: 0,
        listening: Vec::new(),
        counts: Counts::default(),
        gathering: Vec::new(),
        spool: totals,
        relays: Vec::new(),
        log_lines_dropped: 0,
        signer: String::new(),
        certificates: Vec::new(),
        warnings,
        advice: Vec::new(),
    }
}

fn show(status: &Status) {
    let state = match status.state {
        State::Ok => "well",
        State::Degraded => "DEGRADED",
        State::Broken => "BROKEN",
    };
    match status.running {
        true => say(format!("sealrelay {}: {state}, running since {}", status.version, time(status.since))),
        false => say("sealrelay: BROKEN, not running"),
    }
    if status.running {
        let counts = &status.counts;
        say(format!("  listening  {}", status.listening.join(", ")));
        say(format!(
            "  alerts     {} accepted, {} message(s) made, {} sent, {} attempt(s) deferred, {} undeliverable",
            counts.accepted, counts.entries, counts.sent, counts.deferred, counts.undeliverable
        ));
    }
    let oldest = status.spool.oldest.map_or_else(String::new, |at| format!(", the oldest from {}", time(at)));
    let totals = &status.spool;
    say(format!(
        "  spool      {} waiting{oldest}, {} held, {} failed, {} damaged",
        totals.queued, totals.held, totals.failed, totals.damaged
    ));
    for own in &status.gathering {
        let next = own.next_slot.map_or_else(String::new, |at| format!(", next slot {}", time(at)));
        say(format!("  gathering  {}: {} waiting{next}", own.recipient, own.parked));
    }
    for relay in &status.relays {
        let last = relay.last_success.map_or_else(|| "never".to_owned(), time);
        let next = relay.next_attempt.map_or_else(String::new, |at| format!(", next attempt {}", time(at)));
        say(format!("  relay host {}: last success {last}{next}", relay.relay));
        relay.certificate.iter().for_each(show_certificate);
    }
    if status.running {
        say(format!("  signer     {}", status.signer));
    }
    status.warnings.iter().for_each(|warning| say(format!("  ! {warning}")));
    status.advice.iter().for_each(|advice| say(format!("  - {advice}")));
}

fn show_certificate(certificate: &Certificate) {
    let (own, since) = (&certificate.own, time(certificate.since));
    let expires = certificate.expires.map_or_else(|| "unreadable".to_owned(), time);
    say(format!("    certificate {own}, expires {expires}, seen first {since}"));
    match &certificate.before {
        Some(before) if *before == certificate.own => say("    before it   the same, with other issuers"),
        Some(before) => say(format!("    before it   {before}")),
        None => {}
    }
}
