//! Every number is accounted for: the daemon is killed, and the disk is full, at each step of start, store, deliver and
//! remove. `strace` does both, at the very system call, and counts what is synced before the 250.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crashes::{arrivals, attempt};
use crate::support::client::{alert, send, send_alert};
use crate::support::daemon::{Daemon, Setup};
use crate::support::reader::open;
use crate::support::relay_host::{Act, RelayHost, Script};
use crate::support::{eventually, have, met};

/// The system calls that change what is on the disk.
const STEPS: [&str; 5] = ["fdatasync", "fsync", "rename", "unlink", "pwrite64"];
/// Each call is counted by thread: this many are tried of each.
const CALLS: usize = 8;

/// The daemon's command under `strace` with `options`, its process id its own.
fn traced(setup: &Setup, options: &[&str]) -> Command {
    setup.configure();
    let run = setup.command(&["run"]);
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-q"]).args(options).arg(run.get_program()).args(run.get_args());
    command
}

/// Whether processes may be traced here; some containers forbid it.
pub fn may_trace() -> bool {
    let tried = || Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    have("strace") && met(tried().is_ok_and(|output| output.status.success()), "leave to trace a process")
}

/// What became of every number, when all is sent: it arrived, or the last heartbeat says why it never will.
fn account(setup: &Setup, relay_host: &RelayHost) -> (BTreeMap<u64, String>, Value) {
    let daemon = setup.start();
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    assert!(setup.run(&["heartbeat"]).status.success());
    eventually("an empty spool again", || setup.spooled("queue").is_empty().then_some(()));
    assert_eq!(daemon.terminate(), 0);
    let arrived = arrivals(setup, relay_host);
    let (&highest, _) = arrived.last_key_value().expect("a heartbeat");
    let last = relay_host.heard().taken.iter().rev().find_map(|taken| {
        let manifest = open(&taken.message, &setup.recipients[0].1, &setup.path("state/signer.asc")).manifest;
        (manifest["sequence"] == highest).then(|| manifest["heartbeat"].clone())
    });
    let told = last.expect("the last one is the heartbeat");
    assert_eq!((&told["highest"], &told["waiting"]), (&(highest - 1).into(), &serde_json::json!([])), "{told}");
    let never: Vec<(u64, u64)> = told["never"]
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::values)
        .flat_map(|ranges| serde_json::from_value::<Vec<(u64, u64)>>(ranges.clone()).expect("ranges"))
        .collect();
    let is_never = |number: u64| never.iter().any(|(first, last)| (*first..=*last).contains(&number));
    let lost: Vec<u64> = (1..highest).filter(|n| !arrived.contains_key(n) && !is_never(*n)).collect();
    assert!(lost.is_empty(), "nobody accounts for {lost:?}: {told}");
    let both: Vec<u64> = arrived.keys().copied().filter(|number| is_never(*number)).collect();
    assert!(both.is_empty(), "{both:?} arrived and are said never to come: {told}");
    (arrived, told)
}

/// `strace` on all threads of a running daemon; `None` where that is not allowed.
pub fn attached(daemon: &Daemon<'_>, trace: &Path, options: &[&str]) -> Option<Child> {
    let mut command = Command::new("strace");
    command.arg("-f").arg("-o").arg(trace).args(["-p", &daemon.id().to_string()]).args(options);
    let mut strace = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("strace runs");
    let mut said = BufReader::new(strace.stderr.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    let is_attached = line.contains("attached");
    // Whatever else it says must find a reader.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    met(is_attached, "leave to trace a running process").then_some(strace)
}

/// A started daemon's address, or `None` if it ended before it answered.
fn address_of(setup: &Setup, child: &mut Child) -> Option<String> {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if child.try_wait().expect("waited").is_some() {
            return None;
        }
        let output = setup.run(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if status["pid"] == child.id() {
            return status["listening"][0].as_str().map(str::to_owned);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the daemon neither answers nor ends:\n{}", setup.log());
}

#[test]
fn a_kill_at_each_step_loses_no_alert_and_no_number() {
    if !may_trace() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let trace = setup.path("trace");
    let mut walk = Walk::default();
    // The start first, from the very first one: the calls of one thread follow each other.
    for (step, nth) in STEPS.iter().flat_map(|step| (1..=CALLS).map(move |nth| (step, nth))) {
        let inject = format!("inject={step}:signal=KILL:when={nth}");
        let options = ["-y", "-e", &format!("trace={step}"), "-e", &inject, "-o", trace.to_str().expect("a path")];
        let _ = std::fs::remove_file(&trace);
        let mut command = traced(&setup, &options);
        let log = std::fs::File::options().create(true).append(true).open(setup.path("log")).expect("a log");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("strace runs");
        if let Some(address) = address_of(&setup, &mut child) {
            walk.alerts(&address, &format!("start-{step}-{nth}"));
        }
        if child.try_wait().expect("waited").is_some() {
            walk.places.insert(last_call(&trace, &setup));
        }
        let _ = child.kill();
        child.wait().expect("gone");
    }
    let in_the_start = walk.places.len();
    // Then what a running daemon does: each thread's first and second such call from now on.
    for (step, nth) in STEPS.iter().flat_map(|step| [(step, 1), (step, 2)]) {
        let daemon = setup.start();
        let inject = format!("inject={step}:signal=KILL:when={nth}");
        let options = ["-y", "-e", &format!("trace={step}"), "-e", &inject];
        let _ = std::fs::remove_file(&trace);
        let Some(mut strace) = attached(&daemon, &trace, &options) else { return };
        walk.alerts(&daemon.address, &format!("run-{step}-{nth}"));
        let dies = Instant::now() + Duration::from_secs(3);
        while strace.try_wait().expect("waited").is_none() && Instant::now() < dies {
            std::thread::sleep(Duration::from_millis(10));
        }
        if strace.try_wait().expect("waited").is_some() {
            walk.places.insert(last_call(&trace, &setup));
        }
        daemon.kill();
        strace.wait().expect("strace ends with what it traced");
    }
    let (arrived, told) = account(&setup, &relay_host);
    let Walk { places, acknowledged } = walk;
    eprintln!("{} acknowledged, {} numbers arrived, {}, killed at:", acknowledged.len(), arrived.len(), told["never"]);
    places.iter().for_each(|place| eprintln!("  {place}"));
    assert!(in_the_start >= 8, "only {in_the_start} steps of the start: {places:?}");
    for step in ["fdatasync spool/incoming", "rename spool/incoming", "fsync spool/queue", "unlink spool/queue"] {
        assert!(places.contains(step), "not killed at {step}: {places:?}");
    }
    for name in &acknowledged {
        assert!(arrived.values().any(|text| text.contains(name.as_str())), "{name} was acknowledged and is lost");
    }
}

/// Where the daemon was killed, and what it had acknowledged.
#[derive(Default)]
struct Walk {
    places: BTreeSet<String>,
    acknowledged: Vec<String>,
}

impl Walk {
    /// Hands in three alerts, as far as the daemon lives.
    fn alerts(&mut self, address: &str, name: &str) {
        let names = (0..3).map(|nth| format!("{name}-{nth}."));
        self.acknowledged.extend(names.filter(|name| attempt(address, name).is_some()));
    }
}

/// The call the daemon died in, and on what, without names that differ.
fn last_call(trace: &Path, setup: &Setup) -> String {
    let trace = eventually("the end of the trace", || {
        std::fs::read_to_string(trace).ok().filter(|trace| trace.contains("killed by SIGKILL"))
    });
    let call = trace.lines().rev().find(|line| line.contains('(')).unwrap_or_default();
    let call = call.replace(&format!("{}/", setup.path("").display().to_string().trim_end_matches('/')), "");
    let call = call.trim_start_matches(|character: char| character.is_ascii_digit() || character == ' ');
    let name = call.split('(').next().unwrap_or_default();
    let file = call.split(['<', '"']).nth(1).and_then(|rest| rest.split(['>', '"']).next()).unwrap_or_default();
    let file: Vec<&str> = file.split('/').filter(|part| part.len() != 19).collect();
    format!("{name} {}", file.join("/"))
}

#[test]
fn a_disk_that_is_full_at_each_step_loses_no_number() {
    if !may_trace() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    assert_eq!(setup.start().terminate(), 0);
    let (mut taken, mut not_taken) = (Vec::new(), 0);
    for step in STEPS {
        let daemon = setup.start();
        // From now on every third of these calls of a thread finds no room.
        let Some(mut full) =
            attached(&daemon, Path::new("/dev/null"), &["-e", &format!("inject={step}:error=ENOSPC:when=2+3")])
        else {
            return;
        };
        for nth in 0..12 {
            let name = format!("{step}-{nth}.");
            match send(&daemon.address, &["root"], &alert(&name)).starts_with("250") {
                true => taken.push(name),
                false => not_taken += 1,
            }
        }
        assert_eq!(daemon.terminate(), 0, "{step}");
        full.wait().expect("strace ends with what it traced");
    }
    let (arrived, told) = account(&setup, &relay_host);
    eprintln!("{} taken, {not_taken} not taken, {}", taken.len(), told["never"]);
    assert!(not_taken > 3 && taken.len() > 20, "{} taken, {not_taken} not", taken.len());
    for name in &taken {
        let times = arrived.values().filter(|text| text.contains(name.as_str())).count();
        assert_eq!(times, 1, "{name} was taken");
    }
}

#[test]
fn nothing_is_synced_before_the_250_but_the_entries_and_their_names() {
    if !may_trace() {
        return;
    }
    let (relay_host, authority, identity) = RelayHost::honest();
    // The record of numbers is synced when an entry leaves: that must not fall into what is counted.
    relay_host.now(Script::honest(&identity).at("END", Act::Late(Duration::from_secs(2))));
    let setup = Setup::new(relay_host.port, &authority.pem).recipient("second@example.org", "default = true");
    let trace = setup.path("trace");
    let options = ["-y", "-s", "80", "-e", "trace=fsync,fdatasync,sendto,write", "-o", trace.to_str().expect("a path")];
    let daemon = setup.start_by(traced(&setup, &options));
    send_alert(&daemon.address, "counted");
    relay_host.taken(2);
    assert_eq!(daemon.terminate(), 0);
    let trace = std::fs::read_to_string(trace).expect("a trace");
    let lines: Vec<&str> = trace.lines().collect();
    let begin = lines.iter().position(|line| line.contains("\"354 ")).expect("354 was said");
    let end = begin + lines[begin..].iter().position(|line| line.contains("\"250 2.")).expect("250 was said");
    let synced: Vec<&str> = lines[begin..end].iter().copied().filter(|line| line.contains("sync(")).collect();
    eprintln!("between 354 and 250, two recipients:\n{}", synced.join("\n"));
    let of = |place: &str| synced.iter().filter(|line| line.contains(place)).count();
    assert_eq!((of("/spool/incoming/"), of("/spool/queue>"), synced.len()), (2, 1, 3), "{synced:?}");
    // The test can count: the record is synced later.
    assert!(lines[end..].iter().any(|line| line.contains("fdatasync(") && line.contains("/state/numbers.")), "{trace}");
}
