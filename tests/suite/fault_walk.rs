//! Every system call of store, defer, deliver, hold, release, fail, retry, remove and purge that touches the spool or the state
//! directory fails once, or is the last before the process or the machine dies. Whatever happens:
//!
//! - every alert that was answered with 250 arrives at each of its recipients after a restart;
//! - it arrives at most twice, once in each life, and twice only if the process or the machine died between the relay
//!   host's 250 and the durable removal (invariant 8 b; the log of calls knows which); both times with the same octets;
//! - what an operator was told is removed does not arrive any more;
//! - every number arrived, or the record says that it was never used or was removed;
//! - nothing is truncated: every message opens, nothing lies in `damaged/`; the start works; the spool ends up empty.
//!
//! In CI a sample of the calls; `tests/trials/fault_walk.sh` walks them all with the release binary. Each walk first
//! finds a planted fault: with syncs that do nothing, a power cut loses what was acknowledged, and the check must say so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::crashes::{record, unaccounted};
use crate::support::client::{alert, try_send};
use crate::support::daemon::{Daemon, Setup};
use crate::support::faults::{Call, Fault, Faults};
use crate::support::reader::open;
use crate::support::relay_host::{Act, RelayHost, Script, Taken, sent_again_from_behind};
use crate::support::{have, met};

/// Calls that are walked for each fault, in CI.
const SAMPLE: usize = 3;
const FAULTS: [Fault; 5] =
    [Fault::Errno("EIO", 5), Fault::Errno("ENOSPC", 28), Fault::Errno("EDQUOT", 122), Fault::Kill, Fault::PowerCut];
/// Trials at the same time: they wait, most of the time.
const WALKERS: usize = 4;
/// Calls that can return in the very moment in which the process ends.
const AT_THE_SAME_TIME: usize = 4;
/// Long enough for what is due at once.
const A_MOMENT: Duration = Duration::from_secs(10);

// What an operator asks, as `sealrelay queue` does.
const FLUSH: &str = "\"do\":\"flush\",\"id\":null";
const HOLD: &str = "\"do\":\"hold\",\"which\":\"all\"";
const RELEASE: &str = "\"do\":\"release\",\"which\":\"all\"";
const RETRY: &str = "\"do\":\"retry\",\"which\":\"all\"";

/// Whose messages the operator removes: the first one, and then all by their certificate.
const GONE: &str = "gone@example.org";

/// A daemon's life: alerts, what the relay host says to them, what the operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Deferred once, then taken.
    Ordinary,
    /// One removed, the others held, released, refused for good; those of one certificate purged, the rest offered
    /// again and taken.
    Operated,
}

/// What a walk came to.
#[derive(Default)]
struct Tally {
    walked: BTreeMap<String, usize>,
    acknowledged: usize,
    arrived: usize,
    twice: usize,
}

#[test]
fn no_fault_in_any_call_of_an_ordinary_life_loses_or_damages_anything() {
    walk(Life::Ordinary);
}

#[test]
fn no_fault_in_any_call_of_an_operators_moves_loses_or_damages_anything() {
    walk(Life::Operated);
}

fn walk(life: Life) {
    if !have("cc") || !have("strace") {
        return;
    }
    // The whole first: how many calls there are, and that none of them escapes.
    let clean = Trial::new(life, 0, Fault::Kill, false);
    let calls = clean.faults().calls();
    if !clean.compare_with_strace() {
        return;
    }
    let trouble = clean.check(&mut Tally::default());
    assert_eq!(trouble, None, "without any fault");
    assert_eq!(clean.removed.len(), if life == Life::Operated { 2 } else { 0 }, "removed by the operator");
    assert!(calls.len() > 50, "only {} calls were found", calls.len());
    find_planted_fault(life, &calls);

    let whole = std::env::var_os("FAULT_WALK").is_some_and(|how| how == "whole");
    // One more than there were: the order of threads is chance.
    let numbers = |_| if whole { (1..=calls.len() + 1).collect() } else { sample(calls.len()) };
    let jobs = FAULTS.into_iter().flat_map(|fault| numbers(fault).into_iter().map(move |number| (number, fault)));
    let (jobs, results) =
        (Mutex::new(jobs.collect::<Vec<_>>().into_iter()), Mutex::new((Tally::default(), Vec::new())));
    std::thread::scope(|scope| {
        for _ in 0..WALKERS {
            scope.spawn(|| {
                while let Some((number, fault)) = { jobs.lock().expect("jobs").next() } {
                    let trial = Trial::new(life, number, fault, false);
                    let mut tally = Tally::default();
                    let trouble = trial.check(&mut tally);
                    let kind = trial.kind_of(number).or_else(|| Some(calls.get(number - 1)?.kind.clone()));
                    let (all, troubles) = &mut *results.lock().expect("results");
                    all.add(format!("{fault:?} {}", kind.as_deref().unwrap_or("end")), &tally);
                    if let Some(trouble) = trouble {
                        eprintln!("{life:?}, call {number}, {fault:?}: {trouble}");
                        troubles.push(format!("{life:?}, call {number}, {fault:?}: {trouble}"));
                    }
                }
            });
        }
    });
    let (tally, troubles) = results.into_inner().expect("results");
    let walked: usize = tally.walked.values().sum();
    eprintln!(
        "{life:?}: {} calls, {walked} faults, {} acknowledged, {} arrived, {} twice",
        calls.len(),
        tally.acknowledged,
        tally.arrived,
        tally.twice
    );
    tally.walked.iter().for_each(|(kind, count)| eprintln!("  {count:4} {kind}"));
    assert!(troubles.is_empty(), "{}", troubles.join("\n"));
}

impl Tally {
    fn add(&mut self, kind: String, other: &Self) {
        *self.walked.entry(kind).or_default() += 1;
        self.acknowledged += other.acknowledged;
        self.arrived += other.arrived;
        self.twice += other.twice;
    }
}

/// Some of the calls, others in every run.
fn sample(calls: usize) -> Vec<usize> {
    let chosen: BTreeSet<usize> =
        (0..SAMPLE).map(|_| usize::from(u16::from_be_bytes(sealrelay::envelope::random())) % calls + 1).collect();
    chosen.into_iter().collect()
}

/// With syncs that do nothing, a power cut at the end of the first life loses what was acknowledged.
fn find_planted_fault(life: Life, calls: &[Call]) {
    // Where threads stand at a call is chance, so not every one of them has something to lose.
    let sixteenths = [8, 10, 6, 11, 5, 9, 7, 12, 4, 13, 3];
    let found = sixteenths.map(|nth| calls.len() * nth / 16).into_iter().find_map(|number| {
        let trial = Trial::new(life, number, Fault::PowerCut, true);
        trial.check(&mut Tally::default()).filter(|trouble| trouble.contains("acknowledged and lost"))
    });
    let found = found.expect("syncs that do nothing were not noticed: this walk would find nothing");
    eprintln!("{life:?}: planted, and found: {found}");
}

/// One life with one fault.
struct Trial {
    setup: Setup,
    relay_host: RelayHost,
    honest: Script,
    acknowledged: Vec<String>,
    fault: Option<Fault>,
    /// Connections to the relay host in the first life.
    sessions: usize,
    /// What the first life left in the spool: the message, and the file of its entry.
    left: BTreeMap<Vec<u8>, PathBuf>,
    /// The messages of which the operator was told that they are removed.
    removed: Vec<Vec<u8>>,
}

/// A message that arrived.
struct Arrived {
    to: String,
    text: String,
    epoch: String,
    number: u64,
    /// The sessions it came through.
    sessions: Vec<usize>,
}

impl Trial {
    fn new(life: Life, number: usize, fault: Fault, planted: bool) -> Self {
        let (relay_host, authority, identity) = RelayHost::honest();
        let honest = Script::honest(&identity);
        let setup = Setup::new(relay_host.port, &authority.pem).recipient("other@example.org", "default = true");
        let setup = if life == Life::Operated { setup.recipient(GONE, "default = true") } else { setup };
        setup.configure();
        let mut faults = Faults::of(&setup);
        faults.planted = planted;
        let mut run = setup.command(&["run"]);
        if number == 0 {
            // strace -f sees the same calls, one by one.
            let traced = run;
            run = Command::new("strace");
            run.args(["-f", "-y", "-qq", "-s", "0", "-o"]).arg(setup.path("strace"));
            run.args(["-e", "trace=openat,write,pwrite64,ftruncate,fsync,fdatasync,/rename.*,/unlink.*"]);
            let mut preloaded = Command::new("env");
            faults.prepare(&mut preloaded, 0, fault);
            let settings = preloaded
                .get_envs()
                .filter_map(|(name, value)| Some(format!("{}={}", name.to_str()?, value?.to_str()?)));
            run.arg("env").args(settings).arg(traced.get_program()).args(traced.get_args());
        } else {
            faults.prepare(&mut run, number, fault);
        }
        let mut trial = Self {
            setup,
            relay_host,
            honest,
            acknowledged: Vec::new(),
            fault: (number > 0).then_some(fault),
            sessions: 0,
            left: BTreeMap::new(),
            removed: Vec::new(),
        };
        trial.live(life, run);
        trial.sessions = trial.relay_host.heard().connections;
        if fault == Fault::PowerCut && number > 0 {
            trial.faults().cut_power();
        }
        trial.left = ["queue", "held", "failed"].iter().flat_map(|place| trial.lying_in(place)).collect();
        trial
    }

    fn faults(&self) -> Faults<'_> {
        Faults::of_run(&self.setup)
    }

    /// The kind of call `number`, if it was reached.
    fn kind_of(&self, number: usize) -> Option<String> {
        self.faults().calls().into_iter().find(|call| call.number == number).map(|call| call.kind)
    }

    /// The daemon's life, as far as it gets; killed at its end.
    fn live(&mut self, life: Life, run: Command) {
        let later = self.honest.clone().says("END", "451 4.3.0 Not now");
        // An operator's life needs new sessions for each change of mind.
        self.relay_host.now(if life == Life::Operated { later.at("RSET", Act::Close) } else { later });
        let mut acknowledged = Vec::new();
        let Some(daemon) = self.setup.try_start_by(run) else { return };
        for nth in 0..2 {
            let name = format!("walked-{nth}.");
            if try_send(&daemon.address, &alert(&name)).is_some_and(|reply| reply.starts_with("250")) {
                acknowledged.push(name);
            }
        }
        let entries = 2 * self.setup.recipients.len() as u64;
        self.wait(&daemon, |status| status["counts"]["deferred"].as_u64() >= Some(entries));
        let removed = if life == Life::Operated { self.operate(&daemon) } else { Vec::new() };
        self.relay_host.now(self.honest.clone());
        self.ask(FLUSH);
        self.wait(&daemon, |status| status["spool"]["queued"] == 0 && status["counts"]["sent"].as_u64() >= Some(1));
        // The removals are synced within a second; a busy machine may take another.
        let until = Instant::now() + Duration::from_secs(2);
        while daemon.try_status().is_some() && !self.faults().removals_are_synced() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(daemon);
        (self.acknowledged, self.removed) = (acknowledged, removed);
    }

    /// The messages that were removed, as the answers say.
    fn operate(&self, daemon: &Daemon<'_>) -> Vec<Vec<u8>> {
        let mut removed = Vec::new();
        if let Some((message, path)) = self.of_gone("queue").pop() {
            let id = path.file_name().and_then(|name| name.to_str()).expect("an id");
            removed.extend(self.ask_to_remove(&format!("\"do\":\"remove\",\"id\":\"{id}\"")).then_some(message));
        }
        self.ask(HOLD);
        self.ask(RELEASE);
        // Larger than what the relay host says it takes: refused for good.
        let mut small = self.honest.clone().at("RSET", Act::Close);
        small.capabilities = vec!["SIZE 1000".into(), "AUTH PLAIN LOGIN".into()];
        self.relay_host.now(small);
        self.ask(FLUSH);
        self.wait(daemon, |status| status["spool"]["failed"] == 5);
        let rest = ["queue", "held", "failed"].into_iter().flat_map(|place| self.of_gone(place)).collect::<Vec<_>>();
        let fingerprint = self.setup.recipients.last().expect("three").1.fingerprint().to_hex();
        if self.ask_to_remove(&format!("\"do\":\"purge\",\"fingerprint\":\"{fingerprint}\",\"really\":true")) {
            removed.extend(rest.into_iter().map(|(message, _)| message));
        }
        self.relay_host.now(self.honest.clone());
        self.ask(RETRY);
        removed
    }

    /// Whether the answer is that all of it is removed.
    fn ask_to_remove(&self, what: &str) -> bool {
        let answer: serde_json::Value = serde_json::from_str(&self.ask(what)).unwrap_or_default();
        answer["trouble"].is_null() && answer["busy"] == 0 && answer["moved"].as_u64() >= Some(1)
    }

    /// The messages in one of the spool's directories, and their files.
    fn lying_in(&self, place: &str) -> Vec<(Vec<u8>, PathBuf)> {
        let message = |path: &PathBuf| {
            let entry = std::fs::read(path).ok()?;
            let header = entry.iter().position(|octet| *octet == b'\n')?;
            Some(entry[header + 1..].to_vec())
        };
        self.setup.spooled(place).into_iter().filter_map(|path| Some((message(&path)?, path))).collect()
    }

    /// The same, of the recipient whose messages are removed.
    fn of_gone(&self, place: &str) -> Vec<(Vec<u8>, PathBuf)> {
        let to = format!("To: {GONE}\r\n");
        let is_to = |message: &[u8]| String::from_utf8_lossy(message).contains(&to);
        self.lying_in(place).into_iter().filter(|(message, _)| is_to(message)).collect()
    }

    /// Asks the daemon, and nobody but it: a `queue` command that finds it dead takes hold of the spool itself.
    fn ask(&self, what: &str) -> String {
        let mut answer = String::new();
        let _ = UnixStream::connect(self.setup.path("control.sock")).and_then(|mut daemon| {
            daemon.write_all(format!("{{\"command\":\"queue\",{what}}}\n").as_bytes())?;
            daemon.read_to_string(&mut answer)
        });
        answer
    }

    /// Until `what` holds, the daemon is dead, or a moment is over.
    fn wait(&self, daemon: &Daemon<'_>, what: impl Fn(&serde_json::Value) -> bool) {
        let until = Instant::now() + A_MOMENT;
        while Instant::now() < until {
            match daemon.try_status() {
                Some(status) if what(&status) => return,
                // After a fault some of it may never hold; then the log stands still.
                Some(_) if self.fault.is_some() && self.setup.is_quiet() => return,
                Some(_) => std::thread::sleep(Duration::from_millis(20)),
                None => return,
            }
        }
    }

    /// Starts again without faults, and says what is wrong.
    fn check(&self, tally: &mut Tally) -> Option<String> {
        let damaged = || self.setup.spooled("damaged").len();
        let Some(daemon) = self.setup.try_start_by(self.setup.command(&["run"])) else {
            return Some(format!("it does not start again:\n{}", self.end_of_log()));
        };
        [RETRY, RELEASE, FLUSH].iter().for_each(|what| _ = self.ask(what));
        let wanted: Vec<(&str, &str)> = self
            .acknowledged
            .iter()
            .flat_map(|name| self.setup.recipients.iter().map(move |(to, _)| (name.as_str(), to.as_str())))
            .filter(|(_, to)| *to != GONE)
            .collect();
        let until = Instant::now() + A_MOMENT;
        while !self.setup.spooled("queue").is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let waiting = self.setup.spooled("queue").len();
        if waiting + damaged() > 0 || daemon.terminate() != 0 {
            return Some(format!("{waiting} wait and {} are damaged:\n{}", damaged(), self.end_of_log()));
        }
        let arrived = self.arrived();
        let missing: Vec<_> = wanted
            .iter()
            .filter(|wanted| !arrived.iter().any(|one| one.text.contains(wanted.0) && one.to == wanted.1))
            .collect();
        if !missing.is_empty() {
            return Some(format!("acknowledged and lost: {missing:?}"));
        }
        if let Some(trouble) = self.came_again().or_else(|| self.unaccounted(&arrived)) {
            return Some(format!("{trouble}\n{}", self.end_of_log()));
        }
        tally.acknowledged += wanted.len();
        tally.arrived += arrived.len();
        tally.twice += arrived.iter().filter(|one| one.sessions.len() > 1).count();
        None
    }

    /// What came although it was removed, or twice without need.
    fn came_again(&self) -> Option<String> {
        let taken = self.relay_host.heard().taken.clone();
        let in_first_life = |taken: &&Taken| taken.session <= self.sessions;
        if taken.iter().any(|taken| self.removed.contains(&taken.message)) {
            return Some("a message was removed and came all the same".to_owned());
        }
        // A file that was removed comes back when the machine dies, and not when the process does.
        if self.fault != Some(Fault::PowerCut) && sent_again_from_behind(&taken) > 0 {
            return Some("a message came again that was not in hand when the process died".to_owned());
        }
        taken.iter().find_map(|one| {
            let copies = || taken.iter().filter(|other| other.message == one.message);
            let first = copies().filter(in_first_life).count();
            if first > 1 || copies().count() > 1 + first {
                return Some(format!("a message came {} times, {first} of them in one life", copies().count()));
            }
            (copies().count() == 2).then(|| self.not_allowed_again(&one.message)).flatten()
        })
    }

    /// Why a message that the first life had delivered must not have come again; nothing if it could not be helped.
    fn not_allowed_again(&self, message: &[u8]) -> Option<String> {
        // A call that does not work is made again, and costs no duplicate.
        let Some(fault @ (Fault::Kill | Fault::PowerCut)) = self.fault else {
            return Some("a message came twice, and nothing had died".to_owned());
        };
        let Some(path) = self.left.get(message) else { return Some("a message came again from nowhere".to_owned()) };
        let is_gone = self.faults().is_gone(path, fault);
        let is_elsewhere = path.parent() != Some(&self.setup.path("spool/queue"));
        (is_gone || is_elsewhere).then(|| format!("{} came again: its removal was durable", path.display()))
    }

    /// The numbers, at the end of all, that nobody accounts for.
    fn unaccounted(&self, arrived: &[Arrived]) -> Option<String> {
        let record = record(&self.setup);
        if arrived.iter().any(|one| record["epoch"] != one.epoch.as_str()) {
            return Some("a message came in an epoch that the record does not know".to_owned());
        }
        self.setup.recipients.iter().find_map(|(to, _)| {
            let numbers = arrived.iter().filter(|one| one.to == *to).map(|one| one.number).collect();
            unaccounted(&record, to, &numbers)
        })
    }

    fn end_of_log(&self) -> String {
        let log = self.setup.log();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("trace:")).collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Each message, opened. The same number always comes with the same octets.
    fn arrived(&self) -> Vec<Arrived> {
        let mut messages: BTreeMap<Vec<u8>, (String, Vec<usize>)> = BTreeMap::new();
        for taken in self.relay_host.heard().taken.clone() {
            messages.entry(taken.message).or_insert((taken.rcpt, Vec::new())).1.push(taken.session);
        }
        let signer = self.setup.path("state/signer.asc");
        let mut numbers = BTreeSet::new();
        let opened = messages.into_iter().map(|(message, (rcpt, sessions))| {
            let (to, certificate) =
                self.setup.recipients.iter().find(|(address, _)| rcpt.contains(address.as_str())).expect("ours");
            let opened = open(&message, certificate, &signer);
            let epoch = opened.manifest["epoch"].as_str().expect("an epoch").to_owned();
            let number = opened.manifest["sequence"].as_u64().expect("a number");
            let whole = (to.clone(), epoch.clone(), number);
            assert!(numbers.insert(whole.clone()), "{whole:?} came with two contents");
            let text = String::from_utf8_lossy(opened.alert()).into_owned();
            Arrived { to: to.clone(), text, epoch, number, sessions }
        });
        opened.collect()
    }

    /// Whether every call that strace saw was counted, kind by kind.
    fn compare_with_strace(&self) -> bool {
        let log = std::fs::read_to_string(self.setup.path("strace")).unwrap_or_default();
        if !met(log.contains("openat"), "strace that may trace") {
            return false;
        }
        let folders = ["spool/", "state/"].map(|name| self.setup.path(name).display().to_string());
        let ours = log.lines().filter(|line| {
            folders.iter().any(|folder| line.contains(folder.as_str())) || ends_in_folder(line, &self.setup)
        });
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        // Listing a directory is no change that could be lost.
        // One that a signal broke off and the kernel began again is one call of ours.
        let once = |line: &&str| !["O_DIRECTORY", "resumed", "ERESTART"].iter().any(|word| line.contains(word));
        for line in ours.filter(once) {
            let kind = line.split(['(', ' ']).filter(|word| !word.is_empty()).nth(1).unwrap_or_default();
            *seen.entry(kind).or_default() += 1;
        }
        // What was under way when the process ended is noted by strace as it begins, by the library when it is done: a
        // call without a result, and the last ones with one.
        let at_the_end = log.lines().count().saturating_sub(AT_THE_SAME_TIME);
        let cut_off = |kind: &str| {
            let ended = |nth: usize, line: &str| line.ends_with("= ?") || nth >= at_the_end;
            log.lines().enumerate().filter(|(nth, line)| line.contains(kind) && ended(*nth, line)).count()
        };
        let calls = self.faults().calls();
        let counted = |kinds: &[&str]| calls.iter().filter(|call| kinds.contains(&call.kind.as_str())).count();
        let both = [
            ("openat", counted(&["open", "create", "truncate"])),
            ("write", counted(&["write"])),
            ("fsync", counted(&["fsync"])),
            ("fdatasync", counted(&["fdatasync"])),
            ("rename", counted(&["rename"])),
            ("unlink", counted(&["unlink"])),
        ];
        for (kind, counted) in both {
            let strace: usize = seen
                .iter()
                .filter(|(seen, _)| seen.contains(kind) && (kind != "fsync" || **seen == kind))
                .map(|(_, count)| count)
                .sum::<usize>()
                .saturating_sub(cut_off(kind));
            eprintln!("  {kind}: {counted} counted, {strace} seen by strace");
            let lines = || log.lines().filter(|line| line.contains(kind)).collect::<Vec<_>>().join("\n");
            assert!(counted >= strace && strace > 0, "{kind}: {counted} counted, {strace} seen:\n{}", lines());
        }
        true
    }
}

/// A descriptor of one of the two folders themselves.
fn ends_in_folder(line: &str, setup: &Setup) -> bool {
    ["spool>", "state>"].iter().any(|name| line.contains(&setup.path(name).display().to_string()))
}
