//! The text of a digest: a table of what it stands for, then the mails it holds, octet for octet.
//!
//! Guarantees: every mail stands whole behind a line with a random word, which no log text can know; whatever else of an
//! alert stands outside those is printable ASCII. An attacker who writes log lines controls what the mails hold, and with
//! it the descriptions in the table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use super::Parked;
use super::gist::{Key, Line};
use super::parked::Entry;
use crate::envelope::{hex, printable, random};
use crate::mail::Mail;
use crate::ranges::Ranges;

/// Lines of the table; further rules and locations are counted together.
const ROWS: usize = 200;

/// Characters of a list of numbers in the text; mixed with what came singly they may be as many ranges as alerts.
const NAMED: usize = 400;

/// What one line of the table stands for.
struct Row<'a> {
    line: &'a Line,
    count: usize,
    /// Those whose text is not in the digest.
    counted: Span,
    all: Span,
}

/// When the first and the last came, and how many.
#[derive(Clone, Copy, Default)]
struct Span {
    times: Option<(SystemTime, SystemTime)>,
    count: usize,
}

impl Span {
    fn add(&mut self, time: SystemTime) {
        let (first, last) = self.times.unwrap_or((time, time));
        self.times = Some((first.min(time), last.max(time)));
        self.count += 1;
    }

    fn in_words(self) -> String {
        let second = |time| humantime::format_rfc3339_seconds(time).to_string();
        self.times.map_or_else(String::new, |(first, last)| format!("{} to {}", second(first), second(last)))
    }
}

/// The digest of `entries`, which carry `numbers`.
pub fn mail(entries: &[Entry], numbers: &Ranges, now: SystemTime) -> Mail {
    let alerts: usize = entries.iter().map(|(_, parked)| parked.gist.as_ref().map_or(1, |gist| gist.count())).sum();
    let mut octets = format!("Subject: {alerts} alerts gathered\r\n\r\n").into_bytes();
    octets.extend_from_slice(summary(entries, numbers, alerts).as_bytes());
    mails(&mut octets, entries);
    Mail::own(octets, now)
}

fn summary(entries: &[Entry], numbers: &Ranges, alerts: usize) -> String {
    let (mut all, mut counted, mut uncertain) = (Span::default(), Span::default(), 0);
    let mut rows: BTreeMap<&Key, Row<'_>> = BTreeMap::new();
    for (_, parked) in entries {
        all.add(parked.arrival);
        if parked.text.is_none() {
            counted.add(parked.arrival);
        }
        match parked.gist.as_ref().filter(|gist| gist.is_certain) {
            Some(gist) => gist.lines.iter().for_each(|line| add(&mut rows, line, parked)),
            None => uncertain += 1,
        }
    }
    let numbers = named(numbers);
    let mut text = format!(
        "{alerts} alert(s) in {} mail(s), gathered by the mail relay. This message takes the place of the messages with\r\n\
         the numbers {numbers}, which will not come.\r\n\r\nArrived: {}\r\n\r\n",
        entries.len(),
        all.in_words()
    );
    table(&mut text, rows.into_values().collect());
    if uncertain > 0 {
        let _ = write!(text, "{uncertain} mail(s) cannot be read with certainty and are not in the table.\r\n\r\n");
    }
    if counted.count > 0 {
        let _ = write!(
            text,
            "{} alert(s) repeated a rule at a location and were only counted. Their text is in the IDS's alerts.log,\r\n\
             {}, under the rules and locations above.\r\n\r\n",
            counted.count,
            counted.in_words()
        );
    }
    text
}

/// As many of `numbers` as a person may want to see.
fn named(numbers: &Ranges) -> String {
    let all = numbers.to_string();
    match all.char_indices().nth(NAMED).and_then(|(end, _)| all[..end].rfind(',')) {
        Some(end) => format!("{} and others, which the manifest names", &all[..end]),
        None => all,
    }
}

fn add<'a>(rows: &mut BTreeMap<&'a Key, Row<'a>>, line: &'a Line, parked: &Parked) {
    let new = Row { line, count: 0, counted: Span::default(), all: Span::default() };
    let row = rows.entry(&line.key).or_insert(new);
    row.count += 1;
    row.all.add(parked.arrival);
    if parked.text.is_none() {
        row.counted.add(parked.arrival);
    }
}

/// The most frequent first.
fn table(text: &mut String, mut rows: Vec<Row<'_>>) {
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    for row in rows.iter().take(ROWS) {
        let Line { key, level, description } = row.line;
        let (location, description) = (printable(&key.location), printable(description));
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "{} x rule {} (level {level}) at {location}: {description}\r\n    {}\r\n",
            row.count,
            key.rule,
            row.all.in_words()
        );
        if row.counted.count > 0 {
            let _ = write!(text, "    {} of them only counted, {}\r\n", row.counted.count, row.counted.in_words());
        }
    }
    let rest = rows.iter().skip(ROWS);
    let (places, alerts) = rest.fold((0, 0), |(places, alerts), row| (places + 1, alerts + row.count));
    if places > 0 {
        let _ = write!(text, "{alerts} alert(s) of {places} further rules and locations\r\n");
    }
    text.push_str("\r\n");
}

fn mails(octets: &mut Vec<u8>, entries: &[Entry]) {
    let whole: Vec<&Parked> = entries.iter().map(|(_, parked)| parked).filter(|parked| parked.text.is_some()).collect();
    if whole.is_empty() {
        return;
    }
    let word = hex(&random::<8>());
    let head = format!(
        "{} mail(s) follow, octet for octet. Each stands behind a line that begins with `--- {word}`; no log text can\r\n\
         hold that word.\r\n",
        whole.len()
    );
    octets.extend_from_slice(head.as_bytes());
    for (nth, parked) in (1..).zip(&whole) {
        let arrived = humantime::format_rfc3339_millis(parked.arrival);
        let (number, all) = (parked.number, whole.len());
        let mut line = format!("\r\n--- {word} {nth} of {all}: number {number}, arrived {arrived}\r\n");
        parked.notes.iter().for_each(|note| {
            let _ = write!(line, "--- {word} noticed: {note}\r\n");
        });
        octets.extend_from_slice(line.as_bytes());
        octets.extend_from_slice(parked.text.as_deref().unwrap_or_default());
    }
    octets.extend_from_slice(format!("\r\n--- {word} end\r\n").as_bytes());
}
