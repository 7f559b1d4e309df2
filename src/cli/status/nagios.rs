//! For Nagios, Icinga and the like, by the Monitoring Plugins' guidelines: one line that says it, performance data, and
//! the warnings as further lines. Exit codes 0 well, 1 warning, 2 critical, 3 unknown.
//!
//! A relay host controls some of the words: they are escaped, cut, and cannot begin performance data.

use super::super::Failure;
use crate::envelope::escaped;
use crate::status::{EXPIRES_SOON, LATE, State, Status, seconds_now};

/// How much of a warning is told, characters, and how many of them: old versions take 4 KiB in all.
const WARNING: usize = 300;
const WARNINGS: usize = 10;
/// Seconds.
const DAY: u64 = 86_400;

/// What is printed, and the exit code.
pub fn answer(status: Result<Status, Failure>) -> (String, u8) {
    match status {
        Ok(status) => told(&status),
        Err(failure) => (format!("SEALRELAY UNKNOWN - {}", words(&format!("{}. {}", failure.what, failure.hint))), 3),
    }
}

fn told(status: &Status) -> (String, u8) {
    let (name, code) = match status.state {
        State::Ok => ("OK", 0),
        State::Degraded => ("WARNING", 1),
        State::Broken => ("CRITICAL", 2),
    };
    let summary = match (status.running, status.warnings.first()) {
        (false, _) if status.spool_unknown.is_some() => "not running, what waits in the spool is not known".to_owned(),
        (false, _) => format!("not running, {} waiting in the spool", status.spool.queued),
        (true, Some(first)) => first.clone(),
        (true, None) => status.line(),
    };
    let mut text = format!("SEALRELAY {name} - {} | {}", words(&summary), performance(status));
    for warning in status.warnings.iter().take(WARNINGS) {
        text.push('\n');
        text.push_str(&words(warning));
    }
    (text, code)
}

/// Printable, short, and without what begins performance data.
fn words(text: &str) -> String {
    let mut text: String = escaped(text).replace('|', "/").chars().take(WARNING + 1).collect();
    if text.len() > WARNING {
        text.replace_range(WARNING.., "...");
    }
    text
}

/// `label=value[unit];warning;critical;minimum`, `U` for what nobody knows.
fn performance(status: &Status) -> String {
    let counts = &status.counts;
    let counters = [
        ("accepted", counts.accepted),
        ("sent", counts.sent),
        ("deferred", counts.deferred),
        ("undeliverable", counts.undeliverable),
    ];
    let counters = counters.map(|(name, count)| match status.running {
        true => format!("{name}={count}c;;;0"),
        false => format!("{name}=U"),
    });
    let spool = &status.spool;
    let oldest = spool.oldest.map_or(0, |oldest| seconds_now().saturating_sub(oldest));
    let lies = [
        ("queued", spool.queued, ""),
        ("held", spool.held, ""),
        ("failed", spool.failed, "0"),
        ("damaged", spool.damaged, "0"),
    ];
    let lies = lies.map(|(name, count, limit)| match status.spool_unknown {
        None => format!("{name}={count};{limit};;0"),
        Some(_) => format!("{name}=U"),
    });
    let oldest = status.spool_unknown.is_none().then(|| format!("oldest={oldest}s;{LATE};;0"));
    let ends = status.certificates.iter().map(|certificate| certificate.until);
    let days = ends.min().map(|until| {
        format!("certificate_days={};{}:;;", until.saturating_sub(seconds_now()) / DAY, EXPIRES_SOON / DAY)
    });
    counters.into_iter().chain(lies).chain(oldest).chain(days).collect::<Vec<_>>().join(" ")
}
