//! Following the IDS's JSON log (`alerts.json`): a second way in, beside its mail.
//!
//! `tail` reads one file, `family` finds what rotation made of the log, `lot` says what is sent together and `rules` what
//! is sent at all, `compose` makes the mail, `mark` remembers the place, `gauge` tells `status`, `advice` has its words.
//!
//! Guarantees: **every alert that the rules choose is stored once for each recipient, over rotation, truncation and kill
//! -9.** The place in the log stands in each entry's header line and is recorded before the entry leaves
//! ([`crate::spool`], `sources`); a line is passed only when it is durable for all. What cannot be read as an alert is
//! sent as it is. While there is no room, reading waits: the log itself is the queue. Memory does not grow with the log.
//!
//! On failure to read the log it is tried again, `status` says why and what to do, and the rest of the daemon goes on; so
//! also when the reading itself breaks off by a fault of ours. What is known to be lost is told for a day.
//!
//! An attacker who writes log lines controls texts of alerts, and makes lines long and many. He cannot make a line that
//! the IDS wrote count as another, and what he makes unreadable is sent.

mod advice;
mod compose;
mod family;
mod gauge;
mod lot;
mod mark;
mod rules;
mod tail;

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::Follow;
use crate::mail::Mail;
use crate::maillog;
use crate::pipeline::Pipeline;
use crate::position::{FileId, Position, Source};
use crate::shutdown::Shutdown;
pub use compose::alert as mail_about;
use family::Sought;
pub use gauge::Gauge;
use lot::{Item, Lot, judge};
use mark::Mark;
pub use rules::is_sent;
use tail::{Filled, Tail};

/// How often the log is looked at while nothing is written. (inotify would not see what is written over NFS or another
/// mount, and would have to be renewed at each rotation; alerts wait longer than this for everything else.)
const EVERY: Duration = Duration::from_millis(500);
/// How long alerts wait when they cannot be stored.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a file is looked for, and a copy of it the last time only.
const LOOKS: usize = 3;
/// How long a log is left alone after a fault of ours.
const AFTER_A_FAULT: Duration = Duration::from_secs(60);
/// How long a look at whether the daemon ends is put off at most.
const SLICE: Duration = Duration::from_millis(100);

/// Follows one log.
pub struct Follower {
    follow: Follow,
    log: String,
    pipeline: Arc<Pipeline>,
    mark: Mark,
    gauge: Arc<Gauge>,
    shutdown: Shutdown,
    /// Ends of what somebody has, beyond the place where reading began.
    known: BTreeSet<Position>,
}

/// What one look at the log came to.
enum Step {
    /// There may be more.
    More,
    /// Its end.
    Idle,
    /// The daemon ends.
    Ending,
}

impl Follower {
    /// For the log of `follow`; its place is kept in `state`.
    pub fn new(follow: &Follow, state: &Path, pipeline: Arc<Pipeline>, shutdown: Shutdown) -> Self {
        let log = follow.path.to_string_lossy().into_owned();
        let mark = Mark::open(state, &log);
        Self {
            gauge: Arc::new(Gauge::new(&log, mark.gap())),
            mark,
            follow: follow.clone(),
            log,
            pipeline,
            shutdown,
            known: BTreeSet::new(),
        }
    }

    /// How it is doing, while it does.
    pub fn gauge(&self) -> Arc<Gauge> {
        Arc::clone(&self.gauge)
    }

    /// Follows the log until the daemon ends. Blocks.
    ///
    /// A fault of ours that shows at one line of a log, which somebody else may have written, must not take the mail
    /// down with it: reading begins again where everything is durable, and whoever asks is told.
    pub fn run(mut self) {
        let (gauge, shutdown) = (self.gauge(), self.shutdown.clone());
        again_after_faults(
            || self.follow(),
            || {
                gauge.trouble(advice::BROKE_OFF.to_owned());
                wait(&shutdown, AFTER_A_FAULT);
            },
        );
    }

    fn follow(&mut self) {
        let Some(mut tail) = self.begin() else { return };
        while !self.shutdown.is_ending() {
            match self.step(&mut tail) {
                Ok(Step::More) => {}
                Ok(Step::Idle) => wait(&self.shutdown, EVERY),
                Ok(Step::Ending) => break,
                Err(error) => {
                    self.gauge.trouble(advice::unreadable(&self.follow.path, &error));
                    wait(&self.shutdown, EVERY);
                }
            }
        }
        self.keep(&tail);
    }

    /// Where the last process stopped, or the end of the log.
    fn begin(&mut self) -> Option<Tail> {
        let (recorded, known) = self.pipeline.progress(&self.log);
        self.known = known;
        let done = recorded.into_iter().chain(self.mark.done()).max_by_key(|(_, position)| *position);
        let mut was_absent = false;
        while !self.shutdown.is_ending() {
            let opened = match &done {
                Some((id, position)) => self.resume(id, *position),
                None => self.first(was_absent),
            };
            match opened {
                Ok(tail) => {
                    let Position { generation, offset } = tail.position();
                    // At once: if a crash came before anything of the log is stored, the end would be another one.
                    self.keep(&tail);
                    self.gauge.behind(self.behind(&tail).unwrap_or(0));
                    maillog::following(&self.log, generation, offset);
                    return Some(tail);
                }
                Err(error) => {
                    was_absent |= error.kind() == io::ErrorKind::NotFound;
                    self.gauge.trouble(advice::unreadable(&self.follow.path, &error));
                    wait(&self.shutdown, EVERY);
                }
            }
        }
        None
    }

    /// The log was read before, in the file `id`, up to `position`.
    fn resume(&mut self, id: &FileId, position: Position) -> io::Result<Tail> {
        for look in 1..=LOOKS {
            let sought = if look < LOOKS { Sought::Itself } else { Sought::OrCopy };
            if let Some(tail) = family::find(&self.follow.path, id, position, sought)? {
                return Ok(tail);
            }
            wait(&self.shutdown, SLICE);
        }
        let first = self.mark.kept_at().and_then(|kept| family::oldest_since(&self.follow.path, kept));
        let first = first.unwrap_or_else(|| self.follow.path.clone());
        let tail = self.beginning(&first, position.generation + 1)?;
        let what = format!(
            "the file that was read last is gone, or is no longer what it was (up to octet {} of it was read): what was \
             written behind that, and before {} began, was not sent, if there is anything. Look in the rotated files, \
             compressed ones too",
            position.offset,
            first.display()
        );
        self.gap(&tail, &what);
        Ok(tail)
    }

    /// The log was never read. What was written before the first start is not sent unless it is asked for.
    fn first(&mut self, was_absent: bool) -> io::Result<Tail> {
        let mut offset = 0;
        let is_lost = self.mark.unreadable().map(|why| {
            format!(
                "how far it was read is not known ({why}), and nothing of it lies in the spool: it is read from the \
                 beginning of the present file, and what stands in older ones was not sent if it is new"
            )
        });
        if !self.follow.from_start && !was_absent && is_lost.is_none() {
            offset = tail::last_line_end(&self.follow.path)?;
        }
        let position = Position { generation: 1, offset };
        let tail = Tail::open(&self.follow.path, position, None)?.ok_or(io::ErrorKind::NotFound)?;
        if let Some(what) = is_lost {
            self.gap(&tail, &what);
        }
        Ok(tail)
    }

    fn beginning(&self, path: &Path, generation: u64) -> io::Result<Tail> {
        Tail::open(path, Position { generation, offset: 0 }, None)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// One look at the log.
    fn step(&mut self, tail: &mut Tail) -> io::Result<Step> {
        let Filled::With(read) = tail.fill()? else { return self.after_truncation(tail) };
        let log = self.follow.path.clone();
        let mut is_left = read == 0 && family::is_left(&log, tail)?;
        // What the IDS wrote before it went on, but behind the read above.
        is_left = is_left && tail.fill()? == Filled::With(0);
        if !self.take(tail, read == 0, is_left) {
            return Ok(Step::Ending);
        }
        self.gauge.behind(self.behind(tail)?);
        if self.mark.is_due() {
            self.keep(tail);
        }
        if is_left {
            return self.go_on(tail);
        }
        // One that was taken away is read to its end, and nobody knows whether another will come.
        std::fs::metadata(&log)?;
        self.gauge.usable();
        Ok(if read == 0 { Step::Idle } else { Step::More })
    }

    /// To the file behind that of `tail`, which is read.
    fn go_on(&mut self, tail: &mut Tail) -> io::Result<Step> {
        let log = &self.follow.path;
        let member = family::next(log, tail)?;
        let next = match self.beginning(&member.path, tail.position().generation + 1) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Step::Idle),
            next => next?,
        };
        // If it is rotated at this very moment, files change their names under us, and one could be passed over.
        let looks = [next.metadata()?, family::next(log, tail)?.data];
        if !looks.iter().all(|data| family::is(data, &member.data)) {
            return Ok(Step::Idle);
        }
        let is_newest = member.path == *log;
        let never_read = family::never_read(log, &tail.metadata()?, (!is_newest).then_some(&member.path));
        // A crash before this leaves the place at the old file's end, where the next start comes to here again.
        *tail = next;
        maillog::log_rotated(&self.log, &member.path.to_string_lossy());
        if !never_read.is_empty() {
            self.gap(tail, &advice::never_read(&never_read));
        }
        Ok(Step::More)
    }

    /// The file begins anew. If it was copied before (`copytruncate`), the rest stands in the copy.
    fn after_truncation(&mut self, tail: &mut Tail) -> io::Result<Step> {
        let (id, position) = (tail.id(0), tail.position());
        let copy =
            if position.offset > 0 { family::find(&self.follow.path, &id, position, Sought::OrCopy)? } else { None };
        if let Some(copy) = copy {
            maillog::log_truncated(&self.log, "the rest is read from its copy");
            *tail = copy;
            return Ok(Step::More);
        }
        let unread = self.gauge.status().behind_octets;
        // What was read of it already.
        if !self.take(tail, true, true) {
            return Ok(Step::Ending);
        }
        tail.begin_anew();
        maillog::log_truncated(&self.log, "there is no copy of it; it is read from its beginning");
        if unread > 0 {
            let what = format!("it was truncated while {unread} octets of it were to be read, and there is no copy");
            self.gap(tail, &what);
        }
        Ok(Step::More)
    }

    /// Sends what is to be sent of the lines in the buffer, and passes them; whether the daemon goes on.
    ///
    /// A crash anywhere in here leaves the place where it was, and what is stored beyond it with its own place: the next
    /// start reads these lines again and sends each to those who do not have it.
    fn take(&self, tail: &mut Tail, is_at_end: bool, is_last: bool) -> bool {
        let (buffer, start) = (tail.buffer(), tail.position());
        let mut lot = Lot::new(start, &self.known);
        let (mut at, mut lines, mut no_alerts) = (0, 0, 0);
        let mut goes_on = true;
        while goes_on && let Some((text, taken)) = Tail::first_line(&buffer[at..], is_last) {
            let (whole, text) = (at..at + taken, at + text.start..at + text.end);
            let judged = judge(&self.follow, &buffer[text.clone()]);
            no_alerts += u64::from(matches!(judged, lot::Judged::NoAlert));
            lot.add(whole, text, judged);
            (at, lines) = (at + taken, lines + 1);
            if let Some(items) = lot.full() {
                goes_on = self.send(tail, &items);
            }
        }
        // Everything up to here is dealt with; but for a group of lines that may grow, which is read again.
        let rest = lot.rest(at, is_at_end);
        goes_on = goes_on && self.send(tail, &rest.items);
        if goes_on {
            self.gauge.read(lines - rest.open_lines, no_alerts - rest.open_lines);
            tail.consume(rest.done);
        }
        goes_on
    }

    /// Stores `items`, all of them; `false` if the daemon ends before.
    fn send(&self, tail: &Tail, items: &[Item]) -> bool {
        let Some(first) = items.first() else { return true };
        let (Position { generation, offset }, arrival) = (tail.position(), SystemTime::now());
        let file = tail.id(items.iter().map(|item| item.whole.end).max().unwrap_or(0));
        // Everything before the first of them is durable: earlier lots were waited for.
        let done = offset + first.whole.start as u64;
        let mail = |item: &Item| {
            let at = Position { generation, offset: offset + item.whole.end as u64 };
            let source = Source { log: self.log.clone(), file: file.clone(), at, done };
            let text = &tail.buffer()[item.text.clone()];
            let mail = match &item.alert {
                Ok(alert) => compose::alert(alert, text, &self.log, arrival),
                Err(lines) => compose::no_alert(text, *lines, &self.log, at.offset, arrival),
            };
            Mail { source: Some(source), ..mail }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = items.iter().map(|item| scope.spawn(|| self.store(&mail(item)))).collect();
            // All are waited for, whatever becomes of one.
            let stored: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
            stored.into_iter().all(|one| one.unwrap_or_else(|fault| resume_unwind(fault)))
        })
    }

    /// Stores `mail`, however long that takes: the log is patient. `false` if the daemon ends before.
    fn store(&self, mail: &Mail) -> bool {
        while !self.shutdown.is_ending() {
            let accepted = match self.pipeline.can_take() {
                true => self.pipeline.accept(mail).map_err(|error| error.to_string()),
                false => Err("there is no room in the spool, or nobody can be sealed to".to_owned()),
            };
            match accepted {
                // Durable: with this, and not before, the line may be passed.
                Ok(_) => {
                    self.gauge.stored();
                    return true;
                }
                Err(why) => self.gauge.waits(why),
            }
            wait(&self.shutdown, PATIENCE);
        }
        false
    }

    /// Octets to be read, of this file and of the newest one.
    fn behind(&self, tail: &Tail) -> io::Result<u64> {
        let data = tail.metadata()?;
        // There may be none of that name while rotated files wait.
        let newest = std::fs::metadata(&self.follow.path).map_or(0, |data| data.len());
        let newest = if family::is_left(&self.follow.path, tail)? { newest } else { 0 };
        Ok(data.len().saturating_sub(tail.position().offset + tail.buffer().len() as u64).saturating_add(newest))
    }

    /// Something of the log before `tail` was not found: it is told for a day, whoever stops and starts the daemon.
    fn gap(&mut self, tail: &Tail, what: &str) {
        maillog::log_has_a_gap(&self.log, what);
        self.gauge.gap(self.mark.tell(what));
        self.keep(tail);
    }

    fn keep(&mut self, tail: &Tail) {
        if let Err(error) = self.mark.keep(&self.log, tail.id(0), tail.position()) {
            maillog::hindered(&format!("how far {} was read cannot be kept", self.log), &error.to_string());
        }
    }
}

/// Does `work` until it comes to its end, and begins it anew after each panic in it, when `after_fault` is over.
fn again_after_faults(mut work: impl FnMut(), mut after_fault: impl FnMut()) {
    while catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
        after_fault();
    }
}

/// Waits so long, or until the daemon ends.
fn wait(shutdown: &Shutdown, time: Duration) {
    let until = std::time::Instant::now() + time;
    while !shutdown.is_ending() && std::time::Instant::now() < until {
        std::thread::sleep(SLICE.min(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_not_the_end_of_following() {
        let (mut begun, mut faults) = (0, 0);
        let follow = || {
            begun += 1;
            if begun < 3 {
                let storing = std::thread::scope(|scope| scope.spawn(|| panic!("at a line")).join());
                storing.unwrap_or_else(|fault| resume_unwind(fault))
            }
        };
        again_after_faults(follow, || faults += 1);
        assert_eq!((begun, faults), (3, 2));
    }
}
