//! Where log lines go: the journal with their fields, syslog, or standard error as text or JSON.
//!
//! A thread of its own writes them. Guarantees: whoever logs never waits. While the log does not take lines (a full
//! disk, a stopped reader, a journal that hangs) up to [`WAITING`] of them wait, then the new ones are dropped; both these
//! and those that could not be written are counted for `status`. No failure to write ends anything.

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::quiet::quiet;

/// Lines that may wait to be written, at most 900 octets each.
const WAITING: usize = 4096;
/// What no line reaches, octets: a rule of the IDS fires on longer ones.
const LIMIT: usize = 1000;
/// How long the end of the process waits for the last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);
const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
/// The facility `mail` of syslog (RFC 5424 6.2.1).
const MAIL: u8 = 2;

static DROPPED: AtomicU64 = AtomicU64::new(0);
static QUEUE: OnceLock<SyncSender<Work>> = OnceLock::new();

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// To the journal if it reads our standard error anyway, else as text to standard error.
    Automatic,
    /// systemd's journal, with fields.
    Journal,
    /// The local syslog, facility mail.
    Syslog,
    /// Standard error, a line of text each.
    Text,
    /// Standard error, an object of JSON each.
    Json,
}

/// Begins logging from `level` up. A second call keeps the first one's output.
pub fn start(level: crate::config::Level, output: Output) {
    use crate::config::Level as Wanted;
    let level = match level {
        Wanted::Crit => Level::ERROR,
        Wanted::Warning => Level::WARN,
        Wanted::Info => Level::INFO,
        Wanted::Debug => Level::DEBUG,
        Wanted::Trace => Level::TRACE,
    };
    let (sender, receiver) = sync_channel(WAITING);
    if QUEUE.set(sender).is_err() {
        return;
    }
    let writer =
        std::thread::Builder::new().name("log".to_owned()).spawn(move || Target::open(output).serve(&receiver));
    if writer.is_ok() {
        let only = tracing_subscriber::filter::LevelFilter::from_level(level);
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(ToQueue.with_filter(only)));
    }
}

/// Lines that no log took, so far.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Waits until what was logged is written, but not for long.
pub fn finish() {
    let (sender, written) = sync_channel(1);
    if QUEUE.get().is_some_and(|queue| queue.try_send(Work::Finish(sender)).is_ok()) {
        let _ = written.recv_timeout(LAST_WORDS);
    }
}

/// What the thread does.
enum Work {
    Write(Line),
    Finish(SyncSender<()>),
}

/// One event.
struct Line {
    time: SystemTime,
    level: Level,
    text: String,
    fields: Vec<(&'static str, String)>,
}

/// Events to lines to the queue.
struct ToQueue;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ToQueue {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(event);
        if QUEUE.get().is_none_or(|queue| queue.try_send(Work::Write(line)).is_err()) {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), quiet(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.text = quiet(&format!("{value:?}")),
            name => self.fields.push((name, quiet(&format!("{value:?}")))),
        }
    }
}

impl Line {
    fn of(event: &Event<'_>) -> Self {
        let (time, level) = (SystemTime::now(), *event.metadata().level());
        let mut line = Self { time, level, text: String::new(), fields: Vec::new() };
        event.record(&mut line);
        line
    }

    fn level(&self) -> &'static str {
        match self.level {
            Level::ERROR => "crit",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        }
    }

    /// syslog's severity (RFC 5424 6.2.1).
    fn severity(&self) -> u8 {
        match self.level {
            Level::ERROR => 2,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        }
    }

    /// `TIME sealrelay[PID]: LEVEL: TEXT`.
    fn as_text(&self) -> String {
        let time = humantime::format_rfc3339_millis(self.time);
        format!("{time} sealrelay[{}]: {}: {}\n", std::process::id(), self.level(), self.text)
    }

    /// An object with the event's fields. The longest value is cut until the line is below [`LIMIT`].
    fn as_json(&self) -> String {
        let time = humantime::format_rfc3339_millis(self.time).to_string();
        let own = [("time", time), ("level", self.level().to_owned()), ("message", self.text.clone())];
        let mut values: Vec<(&str, String)> = own.into_iter().chain(self.fields.iter().cloned()).collect();
        loop {
            let object: serde_json::Map<_, _> =
                values.iter().map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect();
            let line = format!("{}\n", serde_json::Value::Object(object));
            let longest = values.iter_mut().map(|(_, value)| value).max_by_key(|value| value.len());
            match longest {
                // ASCII, so any cut is a character's end.
                Some(value) if line.len() >= LIMIT => value.truncate(value.len() * 3 / 4),
                _ => return line,
            }
        }
    }

    /// The journal's own protocol: a field on a line. No value has a line end: [`quiet`] escapes them.
    fn for_the_journal(&self) -> String {
        let fields = self.fields.iter().map(|(name, value)| format!("{}={value}\n", name.to_ascii_uppercase()));
        let fields: String = fields.collect();
        let (level, severity, text) = (self.level(), self.severity(), &self.text);
        format!(
            "PRIORITY={severity}\nSYSLOG_FACILITY={MAIL}\nSYSLOG_IDENTIFIER=sealrelay\n{fields}MESSAGE={level}: {text}\n"
        )
    }

    /// What a local syslog daemon reads from its socket (RFC 3164 4.1 without the time, which it adds).
    fn for_syslog(&self) -> String {
        let priority = MAIL * 8 + self.severity();
        format!("<{priority}>sealrelay[{}]: {}: {}", std::process::id(), self.level(), self.text)
    }
}

/// The other end.
enum Target {
    Text,
    Json,
    Journal(Option<UnixDatagram>),
    Syslog(Option<UnixDatagram>),
}

impl Target {
    fn open(output: Output) -> Self {
        match output {
            Output::Automatic if journal_reads_standard_error() => Self::Journal(None),
            Output::Automatic | Output::Text => Self::Text,
            Output::Json => Self::Json,
            Output::Journal => Self::Journal(None),
            Output::Syslog => Self::Syslog(None),
        }
    }

    fn serve(mut self, queue: &Receiver<Work>) {
        while let Ok(work) = queue.recv() {
            match work {
                Work::Write(line) => {
                    if self.write(&line).is_err() {
                        DROPPED.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Work::Finish(written) => drop(written.try_send(())),
            }
        }
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        match self {
            // Not `eprintln!`, which panics when nobody reads.
            Self::Text => io::stderr().write_all(line.as_text().as_bytes()),
            Self::Json => io::stderr().write_all(line.as_json().as_bytes()),
            Self::Journal(socket) => send(socket, JOURNAL, &line.for_the_journal()),
            Self::Syslog(socket) => send(socket, SYSLOG, &line.for_syslog()),
        }
    }
}

/// Sends over a connection that is kept, and made again when the other end was restarted.
fn send(socket: &mut Option<UnixDatagram>, path: &str, datagram: &str) -> io::Result<()> {
    if let Some(open) = socket
        && open.send(datagram.as_bytes()).is_ok()
    {
        return Ok(());
    }
    let fresh = UnixDatagram::unbound()?;
    fresh.connect(Path::new(path))?;
    fresh.send(datagram.as_bytes())?;
    *socket = Some(fresh);
    Ok(())
}

/// systemd says by device and inode which stream is the journal's (systemd.exec(5), `JOURNAL_STREAM`).
fn journal_reads_standard_error() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let own = std::fs::metadata("/proc/self/fd/2");
    own.is_ok_and(|own| stream == format!("{}:{}", own.dev(), own.ino()))
}

#[cfg(test)]
mod every_event;

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        let fields = vec![("queue_id", "0123456789ABCDEF012".to_owned()), ("status", "sent".to_owned())];
        Line { time, level: Level::INFO, text: "012: status=sent (250 \"Ok\")".to_owned(), fields }
    }

    #[test]
    fn each_output_has_its_form() {
        let id = std::process::id();
        let text = format!("2027-01-15T08:00:00.123Z sealrelay[{id}]: info: 012: status=sent (250 \"Ok\")\n");
        assert_eq!(line().as_text(), text);
        let json: serde_json::Value = serde_json::from_str(&line().as_json()).expect("JSON");
        assert_eq!((&json["queue_id"], &json["message"]), (&"0123456789ABCDEF012".into(), &line().text.into()));
        let journal = "PRIORITY=6\nSYSLOG_FACILITY=2\nSYSLOG_IDENTIFIER=sealrelay\nQUEUE_ID=0123456789ABCDEF012\nSTATUS=sent\nMESSAGE=info: 012: status=sent (250 \"Ok\")\n";
        assert_eq!(line().for_the_journal(), journal);
        assert_eq!(line().for_syslog(), format!("<22>sealrelay[{id}]: info: 012: status=sent (250 \"Ok\")"));
    }

    #[test]
    fn a_socket_that_comes_back_is_used_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("socket");
        let name = path.to_str().expect("a name");
        let mut socket = None;
        assert!(send(&mut socket, name, "lost").is_err());
        for _ in 0..2 {
            let server = UnixDatagram::bind(&path).expect("bound");
            send(&mut socket, name, "taken").expect("sent");
            let mut octets = [0; 16];
            let count = server.recv(&mut octets).expect("received");
            assert_eq!(&octets[..count], b"taken");
            drop(server);
            std::fs::remove_file(&path).expect("gone");
        }
    }
}
