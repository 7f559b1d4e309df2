//! What became of the last entries, for `sealrelay log`: metadata only, a line of JSON for each event.
//!
//! `history.log` in the state directory and `history.log.old`, each up to [`LIMIT`] octets: when the first is full it takes
//! the place of the second. Events are gathered in memory and written together, at most half a second later and never on
//! the way to a 250.
//!
//! Guarantees: bounded on the disk and in memory; nothing of an alert in it. It is a hint and not synced: a crash forgets
//! the events of the last half second, a power cut maybe the last seconds and a torn line, which readers leave out. What
//! lies in the spool is told by the spool. On failure to write, events are left out here (the log has them) and nothing
//! waits. An attacker controls the relay host's words, which are printable and cut.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::durable::with_suffix;
use super::entry::Header;
use crate::envelope::QueueId;
use crate::maillog;
use crate::status::seconds_now;

/// The largest file, octets: 6,000 messages that are sent at once, with the longest replies.
const LIMIT: u64 = 4 * 1024 * 1024;
/// Events that wait to be written, at most; the newest are left out beyond that.
const WAITING: usize = 20_000;
/// How much of a relay host's words is kept, characters.
const REPLY_LIMIT: usize = 300;
/// The longest line that is read, octets; ours are far below.
const LINE_LIMIT: u64 = 8192;

/// Stands behind a whole copy, so that one that breaks off is noticed.
pub const END: &[u8] = b"\nend\n";

/// Something that happened to an entry. What is not known of it is left out.
#[derive(Serialize, Deserialize, Default, Debug, Clone, PartialEq, Eq)]
#[serde(default)]
pub struct Event {
    /// Seconds since 1970.
    pub time: u64,
    /// The entry.
    pub queue_id: String,
    /// `accepted`, `sent`, `deferred`, `undeliverable`, `expired`, or what an operator did: `held`, `released`,
    /// `offered again`, `removed`; `damaged`; `gathered`, if a digest took its place.
    pub state: String,
    /// `alert`, `heartbeat`, `notice`, `digest` or `filler`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// When it came, seconds since 1970.
    #[serde(skip_serializing_if = "is_zero")]
    pub arrival: u64,
    /// Whom it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub recipient: String,
    /// Octets of the sealed message.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// The relay host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub relay: String,
    /// What it said, or what went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reply: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Event {
    /// `state` is now that of the entry `id`.
    pub fn new(id: &QueueId, state: &str) -> Self {
        Self { time: seconds_now(), queue_id: id.to_string(), state: state.to_owned(), ..Self::default() }
    }

    /// The same, with what the entry's header says.
    pub fn of(id: &QueueId, state: &str, header: &Header) -> Self {
        let arrival = header.arrival.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        Self { arrival, recipient: header.recipient.clone(), size: header.size, ..Self::new(id, state) }
    }

    /// At this relay host, which said this.
    pub fn at(self, relay: String, reply: &str) -> Self {
        Self { relay, reply: reply.chars().take(REPLY_LIMIT).collect(), ..self }
    }
}

/// The history as this process writes it.
pub struct History {
    path: PathBuf,
    waiting: Mutex<VecDeque<Event>>,
    /// Held while the files are written and changed.
    file: Mutex<Open>,
}

/// The file that grows.
#[derive(Default)]
struct Open {
    file: Option<(File, u64)>,
    /// The last attempt to write did not succeed; said once.
    is_hindered: bool,
}

impl History {
    /// In `state`; nothing is made before there is something to write.
    pub fn new(state: &Path) -> Self {
        Self { path: path(state), waiting: Mutex::default(), file: Mutex::default() }
    }

    /// Remembers `event`. Costs no more than memory.
    pub fn note(&self, event: Event) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push_back(event);
        }
    }

    /// Writes what waits.
    pub fn flush(&self) {
        let mut open = self.open();
        let events = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if events.is_empty() {
            return;
        }
        let mut lines = Vec::new();
        for event in events {
            // A value of this form always has one in JSON.
            let _ = serde_json::to_writer(&mut lines, &event);
            lines.push(b'\n');
        }
        let written = open.append(&self.path, &lines);
        if let Err(error) = &written {
            // Whatever it is, the next time begins with the file anew.
            open.file = None;
            if !open.is_hindered {
                maillog::hindered("history.log cannot be written", &error.to_string());
            }
        }
        open.is_hindered = written.is_err();
    }

    /// Copies all that is remembered into `out`, oldest first, and [`END`] behind it.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn copy(&self, out: &mut dyn Write) -> io::Result<()> {
        self.flush();
        // Opened at once, read afterwards: a change of files meanwhile does not matter, and nobody waits for a slow reader.
        let open = self.open();
        let files: Vec<File> = files(&self.path).collect();
        drop(open);
        files.into_iter().try_for_each(|file| io::copy(&mut file.take(2 * LIMIT), out).map(drop))?;
        out.write_all(END)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn append(&mut self, path: &Path, lines: &[u8]) -> io::Result<()> {
        let size = self.file.as_ref().map(|(_, size)| *size);
        if size.unwrap_or_else(|| fs::metadata(path).map_or(0, |data| data.len())) >= LIMIT {
            self.file = None;
            fs::rename(path, with_suffix(path, ".old"))?;
        }
        let (file, size) = match &mut self.file {
            Some(open) => open,
            None => {
                let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
                let size = file.metadata()?.len();
                // What a power cut or a full disk tore must not take the next line with it.
                if size > 0 {
                    file.write_all(b"\n")?;
                }
                self.file.insert((file, size))
            }
        };
        *size += lines.len() as u64;
        file.write_all(lines)
    }
}

/// What is remembered in `state`, read without a daemon; oldest first.
///
/// # Errors
/// The state directory is not open to this account.
pub fn read(state: &Path) -> io::Result<Vec<Event>> {
    path(state).try_exists()?;
    let files: Vec<File> = files(&path(state)).collect();
    Ok(files.into_iter().flat_map(|file| events(BufReader::new(file.take(2 * LIMIT)))).collect())
}

/// The events in `lines`; what is none is left out.
pub fn events(mut lines: impl BufRead) -> impl Iterator<Item = Event> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let count = (&mut lines).take(LINE_LIMIT).read_until(b'\n', &mut line).ok()?;
        (count > 0).then_some(line)
    })
    .filter_map(|line| serde_json::from_slice(&line).ok())
}

fn path(state: &Path) -> PathBuf {
    state.join("history.log")
}

fn files(path: &Path) -> impl Iterator<Item = File> {
    [with_suffix(path, ".old"), path.to_owned()].into_iter().filter_map(|path| File::open(path).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn event(nth: usize) -> Event {
        let id = QueueId::new(SystemTime::now());
        Event { kind: format!("{nth}"), ..Event::new(&id, "accepted").at("relay".to_owned(), &"x".repeat(2000)) }
    }

    #[test]
    fn it_is_bounded_and_keeps_the_newest() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let history = History::new(folder.path());
        let count = 40_000;
        for nth in 0..count {
            history.note(event(nth));
            if nth % 500 == 0 {
                history.flush();
            }
        }
        history.flush();
        let size = |name: &str| fs::metadata(folder.path().join(name)).expect("there").len();
        let slack = 500 * 1024;
        assert!(size("history.log") < LIMIT + slack && size("history.log.old") < LIMIT + slack);
        let read = read(folder.path()).expect("read");
        assert!(read.len() > 10_000, "{}", read.len());
        let kinds: Vec<usize> = read.iter().map(|event| event.kind.parse().expect("a number")).collect();
        assert_eq!(kinds, (count - kinds.len()..count).collect::<Vec<_>>(), "in order, up to the last");
        assert!(read.iter().all(|event| event.reply.len() == REPLY_LIMIT));
    }

    #[test]
    fn a_torn_line_takes_no_other_with_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let history = History::new(folder.path());
        history.note(event(1));
        history.flush();
        let mut file = OpenOptions::new().append(true).open(path(folder.path())).expect("opened");
        file.write_all(b"\0\0\0{\"time\":17,\"queue_").expect("torn");
        let history = History::new(folder.path());
        history.note(event(2));
        let mut copy = Vec::new();
        history.copy(&mut copy).expect("copied");
        assert!(copy.ends_with(END));
        let kinds: Vec<String> = events(copy.as_slice()).map(|event| event.kind).collect();
        assert_eq!(kinds, ["1", "2"]);
        assert_eq!(read(folder.path()).expect("read").len(), 2);
    }

    #[test]
    fn a_directory_that_takes_nothing_costs_events_and_no_more() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let history = History::new(&folder.path().join("missing"));
        (0..WAITING + 5).for_each(|nth| history.note(event(nth)));
        assert_eq!(history.waiting.lock().expect("whole").len(), WAITING);
        history.flush();
        assert!(history.waiting.lock().expect("whole").is_empty());
    }
}
