//! The log: one function for each event in a message's life, one line for each event, to standard error.
//!
//! The lines have Postfix's fields in Postfix's order, under our own name. The IDS reads them, and must never mail
//! about us because of them: its rules fire on words such as those in [`TRIGGERS`]. Our own vocabulary has none of
//! them (`undeliverable`, `crit`, `did not work` ...), and [`quiet`] is the one door to the log: whatever a relay host,
//! the system or a client put into a line leaves it in a form that fires nothing, with the second letter as `\xNN`.
//!
//! Guarantees: below 1,000 octets, printable ASCII, no Subject, no alert text, no password. A log that cannot be
//! written is never a reason to stop (no `eprintln!`, which panics). An attacker controls parts of lines, quoted.

use std::fmt;
use std::io::Write;

use tracing::{Event, Level, Subscriber, debug, error, info, trace, warn};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::envelope::{QueueId, printable};

/// What OSSEC's and Wazuh's rules fire on, in any case.
pub const TRIGGERS: [&str; 18] = [
    "failed",
    "failure",
    "error",
    "denied",
    "refused",
    "attack",
    " bad ",
    "illegal ",
    "unauthorized",
    "fatal",
    "corrupted",
    "segmentation fault",
    "core_dumped",
    "no space left on device",
    "file system full",
    "killed by sigterm",
    "authentication passed",
    "??",
];

/// The longest line, octets. The rules fire above 1,000.
const LINE_LIMIT: usize = 900;

/// `line` in a form on which no rule fires: the second character of each trigger as `\xNN`, cut to the limit.
pub fn quiet(line: &str) -> String {
    let mut octets: Vec<u8> = line.bytes().flat_map(|o| escaped_unless(o, (b' '..=b'~').contains(&o))).collect();
    for trigger in TRIGGERS.iter().chain(&["@@"]) {
        let mut from = 0;
        while let Some(at) = find(&octets[from..], trigger.as_bytes()) {
            let second = from + at + 1;
            let escape: Vec<u8> = escaped_unless(octets[second], false).collect();
            octets.splice(second..=second, escape);
            from = second;
        }
    }
    octets.truncate(LINE_LIMIT);
    String::from_utf8_lossy(&octets).into_owned()
}

fn escaped_unless(octet: u8, plain: bool) -> impl Iterator<Item = u8> {
    let text = if plain { vec![octet] } else { format!("\\x{octet:02x}").into_bytes() };
    text.into_iter()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

/// Sends the log to standard error from `level` up.
pub fn to_standard_error(level: crate::config::Level) {
    use crate::config::Level as Wanted;
    let level = match level {
        Wanted::Crit => Level::ERROR,
        Wanted::Warning => Level::WARN,
        Wanted::Info => Level::INFO,
        Wanted::Debug => Level::DEBUG,
        Wanted::Trace => Level::TRACE,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .log_internal_errors(false)
        .event_format(OneLine)
        .with_writer(StandardError)
        .finish();
    // A second call (tests) keeps the first subscriber.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Standard error, whatever becomes of it.
struct StandardError;

impl MakeWriter<'_> for StandardError {
    type Writer = Self;

    fn make_writer(&self) -> Self::Writer {
        Self
    }
}

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // A full disk or a closed pipe loses the line, not the alert.
        let _ = std::io::stderr().write_all(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `TIME sealrelay[PID]: LEVEL: LINE`.
struct OneLine;

impl<S, N> FormatEvent<S, N> for OneLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "crit",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let mut line = String::new();
        context.field_format().format_fields(Writer::new(&mut line), event)?;
        let time = humantime::format_rfc3339_millis(std::time::SystemTime::now());
        writeln!(writer, "{time} sealrelay[{}]: {level}: {}", std::process::id(), quiet(&line))
    }
}

/// The daemon is up.
pub fn started(version: &str, summary: &str) {
    info!("started, version {version}, {summary}");
}

/// The daemon was asked to end.
pub fn stopping(signal: &str) {
    info!("stopping on {signal}: taking no more clients, ending deliveries");
}

/// The daemon is down.
pub fn stopped(queued: usize) {
    info!("stopped, {queued} waiting in the spool");
}

/// A socket accepts clients.
pub fn listening(address: &str) {
    info!("listening on {address}");
}

/// A socket of that name was handed over.
pub fn handed_over(name: &str, address: &str) {
    info!("taking over the socket {name}, which listens on {address}");
}

/// An address is not there (IPv6 switched off); the others serve.
pub fn not_listening(address: &str, why: &str) {
    warn!("not listening on {address}: {why}");
}

/// A session began.
pub fn connected(client: &str) {
    debug!("connect from {client}");
}

/// A session ended.
pub fn disconnected(client: &str, why: &str) {
    debug!("disconnect from {client}: {why}");
}

/// Something of a client's was not taken.
pub fn not_accepted(client: &str, reply: &str, why: &str) {
    warn!("NOQUEUE: client={client}, reply={reply}, why={why}");
}

/// An alert is ours: its entries are durable.
pub fn accepted(id: &QueueId, client: &str, from: &str, to: &str, size: u64, message_id: &str) {
    info!("{id}: client={client}, from=<{from}>, to=<{to}>, size={size}, message-id={message_id}, status=accepted");
}

/// Something about an alert is worth a reader's attention.
pub fn noticed(client: &str, what: &str) {
    warn!("client={client}, noticed={what}");
}

/// An alert could not be sealed for a recipient.
pub fn unsealable(recipient: &str, why: &str) {
    error!("to=<{recipient}>, sealing is not possible: {why}");
}

/// A relay host took a message for good.
pub fn sent(id: &QueueId, to: &str, relay: &str, delay: f64, reply: &str) {
    info!("{id}: to=<{to}>, relay={relay}, delay={delay:.2}, dsn=2.0.0, status=sent ({})", cut(reply));
}

/// A message will be tried again.
pub fn deferred(id: &QueueId, to: &str, relay: &str, delay: f64, dsn: &str, why: &str) {
    warn!("{id}: to=<{to}>, relay={relay}, delay={delay:.2}, dsn={dsn}, status=deferred ({})", cut(why));
}

/// A message will not be tried again and lies in `failed/`.
pub fn undeliverable(id: &QueueId, to: &str, relay: &str, delay: f64, dsn: &str, status: &str, why: &str) {
    error!("{id}: to=<{to}>, relay={relay}, delay={delay:.2}, dsn={dsn}, status={status} ({})", cut(why));
}

/// A sent message is off the disk.
pub fn removed(id: &QueueId) {
    debug!("{id}: removed");
}

/// A sent message could not be taken off the disk yet.
pub fn removal_deferred(id: &str, why: &std::io::Error) {
    error!("{id}: sent, but its file cannot be removed yet: {why}");
}

/// A message could not be moved to `failed/`.
pub fn not_moved(id: &QueueId, why: &str) {
    error!("{id}: cannot be moved: {why}");
}

/// The relay host cannot be used for now.
pub fn relay_unavailable(relay: &str, why: &str, advice: &str) {
    error!("relay={relay}, not usable: {}; {advice}", cut(why));
}

/// The relay host can be used again.
pub fn relay_usable(relay: &str) {
    info!("relay={relay}, usable again");
}

/// An entry is not what was written.
pub fn damaged(id: &str, why: &str) {
    error!("{id}: damaged, set aside: {why}");
}

/// An entry could not be read, or not be set aside, when the daemon started.
pub fn unreadable(id: &str, why: &str) {
    error!("{id}: cannot be read, left where it is until the next start: {why}");
}

/// What was being written when the last process ended.
pub fn fragments_removed(count: usize) {
    info!("{count} fragment(s) of mails that were never acknowledged removed");
}

/// A state file says nothing that can be read.
pub fn state_file_lost(id: &QueueId) {
    warn!("{id}: its state file cannot be read: it is tried now, as if for the first time");
}

/// The quota or the disk is nearly used up.
pub fn room_is_scarce(usage: &str) {
    warn!("the spool has little room left: {usage}");
}

/// The quota or the disk is used up.
pub fn no_room(usage: &str) {
    error!("the spool has no room: alerts are not taken (421) until there is some: {usage}");
}

/// There is room again.
pub fn room_again() {
    info!("the spool has room again");
}

/// An operator moved a message.
pub fn moved(id: &QueueId, how: &str) {
    info!("{id}: {how} by the operator");
}

/// An operator removed a message that was not sent.
pub fn removed_unsent(id: &QueueId, to: &str, message_id: &str) {
    warn!("{id}: to=<{to}>, message-id={message_id}, removed unsent by the operator");
}

/// A part of the program broke off; only where, because what it was doing may hold an alert's words.
pub fn broke_off(place: &str) {
    error!("broke off at {place}; this is a fault of sealrelay, please report it");
}

/// A file that is none of ours lies in the spool.
pub fn foreign_file(name: &str) {
    warn!("the spool holds a file that is not ours, left alone: {}", printable(name.as_bytes()));
}

/// There are more of them.
pub fn foreign_files(directory: &str, more: usize) {
    warn!("{} holds {more} more files that are not ours", printable(directory.as_bytes()));
}

/// A setting is usable but should be changed.
pub fn advice(what: &str) {
    warn!("{what}");
}

/// The control socket or another part that carries no alerts is not usable.
pub fn hindered(what: &str, why: &str) {
    warn!("{what}: {why}");
}

/// What was said to or by a relay host. Callers redact AUTH before this.
pub fn dialog(relay: &str, direction: char, line: &str) {
    trace!("relay={relay} {direction} {}", cut(line));
}

/// Foreign words, cut so that the fields in front of them stay.
fn cut(text: &str) -> String {
    text.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fires(line: &str) -> Option<&'static str> {
        let lower = line.to_ascii_lowercase();
        TRIGGERS.into_iter().chain(["@@"]).find(|trigger| lower.contains(trigger))
    }

    #[test]
    fn no_trigger_survives_in_any_case_or_company() {
        for trigger in TRIGGERS.into_iter().chain(["@@"]) {
            for text in [
                trigger.to_owned(),
                trigger.to_uppercase(),
                trigger.repeat(3),
                format!("x{trigger}y"),
                format!("{trigger}{}", TRIGGERS.concat()),
            ] {
                let line = quiet(&text);
                assert_eq!(fires(&line), None, "{text:?} became {line:?}");
            }
        }
    }

    #[test]
    fn a_line_stays_readable_short_and_printable() {
        assert_eq!(quiet("535 5.7.8 Authentication failed"), "535 5.7.8 Authentication f\\x61iled");
        assert_eq!(quiet("\x1b[31m\n\u{e9}"), "\\x1b[31m\\x0a\\xc3\\xa9");
        assert!(quiet(&"x".repeat(5000)).len() <= LINE_LIMIT);
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_is_said_fires_a_rule(
            parts in proptest::collection::vec((proptest::sample::select(&TRIGGERS[..]), ".{0,6}"), 0..12)
        ) {
            let text: String = parts.into_iter().map(|(trigger, other)| format!("{trigger}{other}")).collect();
            let line = quiet(&text);
            proptest::prop_assert_eq!(fires(&line), None);
            proptest::prop_assert!(line.len() <= LINE_LIMIT);
        }
    }
}
