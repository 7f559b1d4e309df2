//! The screen: what somebody sees who asks how it is.
//!
//! First how it is and what to do, then the numbers, then each followed log, relay host and recipient.

use super::super::page::{Medium, Page, Paint};
use super::super::{ago, days, span, time};
use crate::status::{
    AlarmStatus, Certificate, EXPIRES_SOON, End, FollowStatus, Gathering, RecipientStatus, RelayStatus, State, Status,
    seconds_now,
};

/// The lines of it.
pub fn lines(status: &Status, medium: Medium) -> Vec<String> {
    let mut page = Page::new(medium);
    head(&mut page, status);
    what_to_do(&mut page, status);
    numbers(&mut page, status);
    spool(&mut page, status);
    status.follows.iter().for_each(|one| followed(&mut page, one));
    status.relays.iter().for_each(|relay| relay_host(&mut page, relay));
    status.recipients.iter().for_each(|one| recipient(&mut page, one));
    status.alarm.iter().for_each(|one| alarm(&mut page, one));
    if status.running {
        page.gap();
        page.put("signed by      ", &status.signer, Paint::Plain);
        let confined = format!("Landlock {}; seccomp {}", status.sandbox.landlock, status.sandbox.seccomp);
        page.put("confined       ", &confined, Paint::Plain);
    }
    page.into_lines()
}

fn head(page: &mut Page, status: &Status) {
    if !status.running {
        return page.put("sealrelay: ", "BROKEN, not running", Paint::Bad);
    }
    let (state, paint) = match status.state {
        State::Ok => ("well", Paint::Good),
        State::Degraded => ("DEGRADED, somebody should look", Paint::Doubt),
        State::Broken => ("BROKEN, alerts are not taken", Paint::Bad),
    };
    page.put(&format!("sealrelay {}: ", status.version), state, paint);
    let since = format!("{} ({}), pid {}", time(status.since), ago(status.since), status.pid);
    page.put("running since  ", &since, Paint::Plain);
    page.put("listening      ", &status.listening.join(", "), Paint::Plain);
}

/// The warnings, each with what to do. What is the matter with a relay host stands beside it.
fn what_to_do(page: &mut Page, status: &Status) {
    let beside: Vec<String> = status.relays.iter().filter_map(RelayStatus::in_trouble).collect();
    let paint = if status.state == State::Broken { Paint::Bad } else { Paint::Doubt };
    let warnings = status.warnings.iter().filter(|warning| !beside.contains(warning));
    let said: Vec<_> = warnings.map(|text| ("! ", text, paint)).collect();
    let said: Vec<_> = said.into_iter().chain(status.advice.iter().map(|text| ("- ", text, Paint::Plain))).collect();
    if !said.is_empty() {
        page.gap();
    }
    said.into_iter().for_each(|(mark, text, paint)| page.put(mark, text, paint));
}

fn numbers(page: &mut Page, status: &Status) {
    let (hour, day, start) = (&status.last_hour, &status.last_day, &status.counts);
    let rows = [
        ("accepted", [hour.accepted, day.accepted, start.accepted]),
        ("followed", [hour.followed, day.followed, start.followed]),
        ("sent", [hour.sent, day.sent, start.sent]),
        ("deferred", [hour.deferred, day.deferred, start.deferred]),
        ("failed", [hour.undeliverable, day.undeliverable, start.undeliverable]),
    ];
    // What was counted since the start nobody knows who does not run.
    let columns = if status.running { 3 } else { 2 };
    let row = |cells: &[String]| cells[..columns].iter().map(|cell| format!("{cell:>13}")).collect::<String>();
    page.gap();
    let heads = ["last hour", "last day", "since start"].map(str::to_owned);
    page.put("         ", &row(&heads), Paint::Plain);
    for (name, counts) in rows {
        let bad = name == "failed" && counts[..columns].iter().any(|count| *count > 0);
        let paint = if bad { Paint::Bad } else { Paint::Plain };
        page.put(&format!("{name:<9}"), &row(&counts.map(|count| count.to_string())), paint);
    }
}

fn spool(page: &mut Page, status: &Status) {
    let totals = &status.spool;
    page.gap();
    if let Some(why) = &status.spool_unknown {
        return page.put("spool          ", &format!("not known: {why}"), Paint::Bad);
    }
    let lies = format!(
        "{} waiting, {} held, {} failed, {} damaged",
        totals.queued, totals.held, totals.failed, totals.damaged
    );
    page.put("spool          ", &lies, if totals.failed + totals.damaged > 0 { Paint::Bad } else { Paint::Plain });
    if let Some(oldest) = totals.oldest {
        page.put("  oldest       ", &format!("from {} ({})", time(oldest), ago(oldest)), Paint::Plain);
    }
    status.gathering.iter().for_each(|one| gathering(page, one));
}

/// What of it waits for a recipient's digest or slot.
fn gathering(page: &mut Page, gathering: &Gathering) {
    let next = gathering.next_slot.map_or_else(String::new, |at| format!(", next slot {}", time(at)));
    page.put("  gathering    ", &format!("{}: {} waiting{next}", gathering.recipient, gathering.parked), Paint::Plain);
}

/// A log whose alerts are read as it grows.
fn followed(page: &mut Page, follow: &FollowStatus) {
    page.gap();
    let (how, paint) = match (&follow.trouble, &follow.waits) {
        (Some(trouble), _) => (trouble.clone(), Paint::Bad),
        (None, Some(why)) => (format!("alerts wait in it: {why}"), Paint::Bad),
        (None, None) if follow.gap.is_some() || follow.is_late() => ("look above".to_owned(), Paint::Doubt),
        (None, None) => ("well".to_owned(), Paint::Good),
    };
    page.put("follow         ", &format!("{}: {how}", follow.log), paint);
    let (lines, stored, behind) = (follow.lines, follow.stored, follow.behind_octets);
    page.put("  read         ", &format!("{lines} line(s), {stored} stored, {behind} octets to go"), Paint::Plain);
}

fn relay_host(page: &mut Page, relay: &RelayStatus) {
    page.gap();
    let long = relay.trouble_since.map_or(0, |since| seconds_now().saturating_sub(since));
    let (how, paint) = match (&relay.trouble, relay.waits_until, relay.last_success) {
        (Some(_), ..) => (format!("in trouble for {}", span(long)), Paint::Bad),
        (None, Some(_), _) => ("at its cap".to_owned(), Paint::Doubt),
        (None, None, Some(_)) => ("well".to_owned(), Paint::Good),
        (None, None, None) => ("not used yet".to_owned(), Paint::Plain),
    };
    page.put("relay host     ", &format!("{}: {how}", relay.relay), paint);
    if let Some(trouble) = &relay.trouble {
        page.put("  trouble      ", trouble, Paint::Plain);
        page.put("  what to do   ", relay.advice.as_deref().unwrap_or("-"), Paint::Plain);
    }
    if let Some(next) = relay.next_attempt {
        page.put("  next attempt ", &when(next), Paint::Plain);
    }
    page.put("  last success ", &relay.last_success.map_or_else(|| "none".to_owned(), when), Paint::Plain);
    page.put("  cap          ", &cap(relay), Paint::Plain);
    relay.certificate.iter().for_each(|certificate| presented(page, certificate));
}

fn cap(relay: &RelayStatus) -> String {
    let caps = [(relay.per_hour, "an hour"), (relay.per_day, "a day")];
    let caps: Vec<String> = caps.iter().filter_map(|(cap, of)| Some(format!("{} {of}", (*cap)?))).collect();
    let reached = relay.waits_until.map(|until| format!("reached, the next message goes {}", when(until)));
    if caps.is_empty() { "none".to_owned() } else { caps.into_iter().chain(reached).collect::<Vec<_>>().join(", ") }
}

fn presented(page: &mut Page, certificate: &Certificate) {
    let left = certificate.expires.map_or_else(|| "its end cannot be read".to_owned(), left);
    let paint = match certificate.expires {
        Some(until) if certificate.dates_count => paint_of(until),
        _ => Paint::Plain,
    };
    page.put("  certificate  ", &format!("{left}; first seen {}", date(certificate.since)), paint);
    page.put("               ", &certificate.own, Paint::Plain);
    match &certificate.before {
        Some(before) if *before == certificate.own => {
            page.put("  before it    ", "the same, with other issuers", Paint::Plain)
        }
        Some(before) => page.put("  before it    ", before, Paint::Plain),
        None => {}
    }
}

/// A way to tell somebody beside mail.
fn alarm(page: &mut Page, alarm: &AlarmStatus) {
    page.gap();
    let (how, paint) = match (&alarm.trouble, &alarm.withheld) {
        (Some(trouble), _) => (trouble.clone(), Paint::Bad),
        (None, Some(why)) => (format!("not called for now: {why}"), Paint::Doubt),
        (None, None) => ("well".to_owned(), Paint::Good),
    };
    page.put(&format!("{:15}", alarm.channel), &format!("{}: {how}", alarm.to), paint);
    page.put("  last taken   ", &alarm.last_success.map_or_else(|| "not yet".to_owned(), when), Paint::Plain);
}

fn recipient(page: &mut Page, recipient: &RecipientStatus) {
    page.gap();
    let default = if recipient.default { " (default)" } else { "" };
    page.put("recipient      ", &format!("{}{default}", recipient.recipient), Paint::Plain);
    if let Some(why) = &recipient.unusable {
        page.put("  NOT SEALED   ", why, Paint::Bad);
    }
    for End { fingerprint, until } in &recipient.certificates {
        page.put("  certificate  ", fingerprint, Paint::Plain);
        let (text, paint) = match until {
            Some(until) => (left(*until), paint_of(*until)),
            None if recipient.unusable.is_some() => continue,
            None => ("without an end".to_owned(), Paint::Plain),
        };
        page.put("               ", &text, paint);
    }
    let number = if recipient.last_number == 0 { "none".to_owned() } else { recipient.last_number.to_string() };
    page.put("  last number  ", &number, Paint::Plain);
    page.put("  heartbeat    ", &recipient.last_heartbeat.map_or_else(|| "none".to_owned(), when), Paint::Plain);
}

/// "343 days left, until 2027-10-30".
fn left(until: u64) -> String {
    match until.checked_sub(seconds_now()) {
        Some(left) => format!("{} left, until {}", days(left), date(until)),
        None => format!("EXPIRED {} ({})", date(until), ago(until)),
    }
}

fn paint_of(until: u64) -> Paint {
    match until.checked_sub(seconds_now()) {
        None => Paint::Bad,
        Some(left) if left < EXPIRES_SOON => Paint::Doubt,
        Some(_) => Paint::Plain,
    }
}

/// "2026-11-20".
fn date(at: u64) -> String {
    time(at).split(' ').next().unwrap_or_default().to_owned()
}

/// "2026-11-20 19:26:58Z (in 12 min)", or ago.
fn when(at: u64) -> String {
    let how_far = match at.checked_sub(seconds_now()) {
        Some(0) => "now".to_owned(),
        Some(ahead) => format!("in {}", span(ahead)),
        None if at == 0 => return "now".to_owned(),
        None => ago(at),
    };
    format!("{} ({how_far})", time(at))
}
