//! `sealrelay log`: what became of the last alerts, by metadata only, so that scripts can act on it.
//!
//! It asks the daemon, or reads the state directory when none runs. One row for each message, with its last state; a row
//! is listed when anything happened to it in the time that was asked for. What relay hosts said is escaped.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::page::{Medium, Page, Paint};
use super::status::not_open;
use super::{EX_NOPERM, EX_SOFTWARE, EX_TEMPFAIL, Failure, load_without_secrets, say, time};
use crate::config::Doors;
use crate::control::{self, Request};
use crate::seal::class_of;
use crate::spool::{Event, HISTORY_END, events, read_history};
use crate::status::seconds_now;

/// The history's two files, and a little: more is no answer of a daemon of ours.
const ANSWER_LIMIT: u64 = 32 * 1024 * 1024;

/// List what became of the last messages: time, queue id, size class, recipient, state, reply
///
/// Several thousand messages are remembered, over restarts; nothing of an alert is in it. Heartbeats and notices are
/// messages too; with --json `kind` tells them apart.
///
/// Exit codes: 0 listed, 75 try again, 77 not open to this account, 78 configuration.
#[derive(clap::Args)]
pub struct Arguments {
    /// How far to look back
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    since: Duration,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What is known of one message.
#[derive(Serialize, Default)]
struct Row {
    /// Seconds since 1970 at which it was accepted.
    time: u64,
    queue_id: String,
    /// `alert`, `heartbeat` or `notice`; null if that is forgotten.
    kind: Option<String>,
    recipient: String,
    /// Octets, as the relay host sees it.
    size_class: u64,
    state: String,
    /// Seconds since 1970 of that state.
    changed: u64,
    /// The relay host that was tried last.
    relay: Option<String>,
    /// What it said, or what went wrong.
    reply: Option<String>,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<u8, Failure> {
    let from = seconds_now().saturating_sub(arguments.since.as_secs());
    let rows: Vec<Row> = rows(find(file)?).into_iter().filter(|row| row.changed >= from).collect();
    if arguments.json {
        for row in rows {
            say(serde_json::to_string(&row).map_err(|error| Failure::new(error, "Please report it.", EX_SOFTWARE))?);
        }
        return Ok(0);
    }
    let mut page = Page::new(Medium::stdout());
    if rows.is_empty() {
        page.put("", "Nothing happened to any message in that time.", Paint::Plain);
    }
    rows.iter().for_each(|row| row.put(&mut page));
    page.into_lines().iter().for_each(say);
    Ok(0)
}

fn find(file: &Path) -> Result<Vec<Event>, Failure> {
    let doors = Doors::find(file)?;
    match control::open(&doors.control, &Request::Log) {
        Ok(stream) => {
            let mut answer = Vec::new();
            let whole = stream.take(ANSWER_LIMIT).read_to_end(&mut answer).is_ok() && answer.ends_with(HISTORY_END);
            let broken = || {
                Failure::new(
                    "the daemon's answer broke off",
                    "Ask again; restart it if it is an older version.",
                    EX_TEMPFAIL,
                )
            };
            whole.then(|| events(answer.as_slice()).collect()).ok_or_else(broken)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(not_open(&doors)),
        Err(_) => {
            let state = load_without_secrets(file)?.state;
            read_history(&state).map_err(|error| {
                let what = format!("cannot look into {}: {error}", state.display());
                Failure::new(
                    what,
                    "Run this as the service's user or root; no daemon runs that could be asked.",
                    EX_NOPERM,
                )
            })
        }
    }
}

/// One row for each message, oldest first.
fn rows(events: Vec<Event>) -> Vec<Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for event in events {
        let row = rows.entry(event.queue_id.clone()).or_insert_with(|| Row {
            queue_id: event.queue_id.clone(),
            time: event.time,
            ..Row::default()
        });
        row.take(event);
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by_key(|row| row.time);
    rows
}

impl Row {
    /// What an event does not tell stays as it was.
    fn take(&mut self, event: Event) {
        let told = |text: String| Some(text).filter(|text| !text.is_empty());
        // The relay host may have been quicker than the line that says it was accepted.
        if event.state != "accepted" || self.state.is_empty() {
            (self.state, self.changed) = (event.state, event.time);
        }
        self.kind = told(event.kind).or(self.kind.take());
        self.recipient = told(event.recipient).unwrap_or_else(|| std::mem::take(&mut self.recipient));
        (self.relay, self.reply) = (told(event.relay).or(self.relay.take()), told(event.reply).or(self.reply.take()));
        self.time = if event.arrival > 0 { event.arrival } else { self.time };
        if event.size > 0 {
            self.size_class = usize::try_from(event.size).map_or(event.size, |size| class_of(size) as u64);
        }
    }

    fn put(&self, page: &mut Page) {
        let (state, paint) = match self.state.as_str() {
            "sent" => ("sent", Paint::Plain),
            "deferred" => ("deferred", Paint::Doubt),
            "undeliverable" | "expired" => ("failed", Paint::Bad),
            other => (other, Paint::Plain),
        };
        let kind =
            self.kind.as_deref().filter(|kind| *kind != "alert").map_or_else(String::new, |kind| format!(", {kind}"));
        let size = self.size_class / 1024;
        let line = format!("{} {} {size} KiB for {}: {state}{kind}", time(self.time), self.queue_id, self.recipient);
        page.put("", &line, paint);
        if let Some(reply) = &self.reply {
            let relay = self.relay.as_deref().unwrap_or("-");
            page.put("    ", &format!("{} {relay}: {reply}", time(self.changed)), Paint::Plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: u64, state: &str, kind: &str) -> Event {
        let (queue_id, state, kind) = ("A".to_owned(), state.to_owned(), kind.to_owned());
        Event { time, queue_id, state, kind, ..Event::default() }
    }

    #[test]
    fn a_row_has_the_last_state_and_whatever_any_event_told() {
        let sent = Event { arrival: 5, recipient: "a@b".into(), size: 16384, ..event(9, "sent", "") };
        let sent = sent.at("r:25".to_owned(), "250 Ok");
        // In either order: the relay host may be quicker.
        for events in [vec![event(6, "accepted", "alert"), sent.clone()], vec![sent, event(6, "accepted", "alert")]] {
            let rows = rows(events);
            let row = &rows[0];
            assert_eq!((rows.len(), row.time, row.changed, row.state.as_str()), (1, 5, 9, "sent"));
            assert_eq!((row.kind.as_deref(), row.recipient.as_str(), row.size_class), (Some("alert"), "a@b", 16384));
            assert_eq!((row.relay.as_deref(), row.reply.as_deref()), (Some("r:25"), Some("250 Ok")));
        }
    }
}
