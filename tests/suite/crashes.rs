//! kill -9 from outside at random moments of accept and of delivery, a log that takes nothing, no descriptor left: nothing
//! acknowledged is lost. `tests/trials/kill_loop.sh` kills five hundred times.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::client::{alert, send_alert};
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::reader::open;
use crate::support::relay_host::{RelayHost, Script, sent_again_from_behind};

/// Kills in one run, unless `KILLS` says how many.
const KILLS: usize = 20;
/// Sessions with a relay host at the same time, if the configuration says nothing else.
const CONNECTIONS: usize = 4;

#[test]
fn kill_9_at_random_moments_loses_nothing_acknowledged() {
    let kills = std::env::var("KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..kills * 4 {
        // On a busy machine a round may end before the first mail is through.
        if round >= kills && acknowledged.lock().expect("list").len() > kills {
            break;
        }
        let daemon = setup.start();
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let (address, stop, acknowledged) =
                    (daemon.address.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
                std::thread::spawn(move || {
                    for nth in 0.. {
                        let name = format!("alert-{round}-{sender}-{nth}.");
                        if stop.load(Ordering::Relaxed) || attempt(&address, &name).is_none() {
                            return;
                        }
                        acknowledged.lock().expect("list").push(name);
                    }
                })
            })
            .collect();
        // Somewhere in accepting and delivering; different in every run.
        let [a, b] = sealrelay::envelope::random();
        std::thread::sleep(Duration::from_micros(u64::from(u16::from_be_bytes([a, b])) * 4));
        daemon.kill();
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().for_each(|sender| sender.join().expect("joined"));
    }
    let daemon = setup.start();
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = acknowledged.lock().expect("list").clone();
    assert!(acknowledged.len() > kills, "only {} were acknowledged: nothing was tried", acknowledged.len());
    let arrived = arrivals(&setup, &relay_host);
    for name in &acknowledged {
        assert!(arrived.iter().any(|(_, text)| text.contains(name.as_str())), "{name} was acknowledged and is lost");
    }
    let all = relay_host.heard().taken.clone();
    let taken = all.len();
    eprintln!(
        "{kills} kills, {} acknowledged, {taken} taken by the relay host, {} different, {} twice",
        acknowledged.len(),
        arrived.len(),
        taken - arrived.len()
    );
    // A session removes what was taken before it sends the next, and a file whose removal is not synced yet stays removed
    // when only the process dies. So each kill costs at most the last message of each session, and none before it.
    assert!(taken - arrived.len() <= kills * CONNECTIONS, "{} came twice", taken - arrived.len());
    assert_eq!(sent_again_from_behind(&all), 0, "messages came again that were not in hand when it died");
    assert_eq!(daemon.terminate(), 0);
    account_for_numbers(&setup, &arrived);
    setup.assert_nothing_leaked();
}

#[test]
fn a_log_that_takes_nothing_is_no_reason_to_lose_an_alert() {
    for stderr in ["2>&-", "2>/dev/full", "2>/dev/full <&- >&-"] {
        let (relay_host, authority, _) = RelayHost::honest();
        let setup = Setup::new(relay_host.port, &authority.pem);
        setup.configure();
        let run = setup.command(&["run"]);
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {stderr}")).arg(run.get_program()).args(run.get_args());
        let daemon = setup.start_by(shell);
        (0..5).for_each(|nth| send_alert(&daemon.address, &nth.to_string()));
        relay_host.taken(5);
        eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
        assert_eq!(daemon.terminate(), 0, "{stderr}");
        assert_eq!(setup.log(), "", "{stderr}");
        // Nothing of the log went into a file that took the place of standard error.
        account_for_numbers(&setup, &arrivals(&setup, &relay_host));
    }
}

#[test]
fn no_descriptor_left_delays_and_loses_nothing() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    let limit = |files: &str| {
        let pid = daemon.id().to_string();
        let limits = ["--pid", &pid, &format!("--nofile={files}")].map(str::to_owned);
        assert!(std::process::Command::new("prlimit").args(limits).status().expect("prlimit runs").success());
    };
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.id())).expect("listed").count();
    let mut acknowledged = Vec::new();
    // From none at all to some: a connection, then its file, then none for the directory ...
    for (nth, more) in [0, 1, 2, 3, 4, 6].into_iter().enumerate() {
        limit(&format!("{}:1024", open - 1 + more));
        let name = format!("few-files-{nth}.");
        let address = daemon.address.clone();
        let sent = std::thread::scope(|scope| {
            let sender = scope.spawn(|| attempt(&address, &name));
            std::thread::sleep(Duration::from_millis(1500));
            limit("1024:1024");
            sender.join().expect("joined")
        });
        acknowledged.extend(sent.map(|()| name));
    }
    assert!(setup.log().contains("os e\\x72ror 24"), "it never ran out of descriptors");
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    let arrived = arrivals(&setup, &relay_host);
    for name in &acknowledged {
        assert!(arrived.values().any(|text| text.contains(name.as_str())), "{name} was acknowledged and is lost");
    }
    assert_eq!(daemon.terminate(), 0);
    account_for_numbers(&setup, &arrived);
}

/// One mail; `Some` when it was acknowledged. The daemon may die under any line of it.
pub fn attempt(address: &str, name: &str) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let reply = |stream: &mut TcpStream, wanted: &str| {
        let mut octets = [0; 1023];
        let count = stream.read(&mut octets).ok()?;
        octets[..count].starts_with(wanted.as_bytes()).then_some(())
    };
    reply(&mut stream, "220")?;
    let end = format!("{}.", alert(name));
    let dialog = [
        ("EHLO x", "250"),
        ("MAIL FROM:<a@b>", "250"),
        ("RCPT TO:<root>", "250"),
        ("DATA", "354"),
        (end.as_str(), "250"),
    ];
    for (line, wanted) in dialog {
        stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
        reply(&mut stream, wanted)?;
    }
    Some(())
}

/// Number and text of all that arrived; the same number always with the same octets.
pub fn arrivals(setup: &Setup, relay_host: &RelayHost) -> BTreeMap<u64, String> {
    let signer = setup.path("state/signer.asc");
    let mut arrived: BTreeMap<u64, (Vec<u8>, String)> = BTreeMap::new();
    for taken in relay_host.heard().taken.clone() {
        let opened = open(&taken.message, &setup.recipients[0].1, &signer);
        let number = opened.manifest["sequence"].as_u64().expect("a number");
        let text = String::from_utf8_lossy(opened.alert()).into_owned();
        let first = arrived.entry(number).or_insert_with(|| (taken.message.clone(), text));
        assert_eq!(first.0, taken.message, "number {number} came with two contents");
    }
    arrived.into_iter().map(|(number, (_, text))| (number, text)).collect()
}

/// Every number up to the highest arrived, or the record says why it never will.
fn account_for_numbers(setup: &Setup, arrived: &BTreeMap<u64, String>) {
    let arrived = arrived.keys().copied().collect();
    assert_eq!(unaccounted(&record(setup), "admin@example.org", &arrived), None);
}

/// What is wrong with the account of `recipient`'s numbers in the record: each one arrived, or was never used, was
/// removed by an operator, or is in a digest; and none of them both.
pub fn unaccounted(record: &serde_json::Value, recipient: &str, arrived: &BTreeSet<u64>) -> Option<String> {
    let count = &record["recipients"][recipient];
    // Ranges: [first, last].
    let listed = |name: &str| -> BTreeSet<u64> {
        let ranges: Vec<(u64, u64)> = serde_json::from_value(count[name].clone()).unwrap_or_default();
        ranges.into_iter().flat_map(|(first, last)| first..=last).collect()
    };
    let never = &(&listed("unused") | &listed("removed")) | &listed("contained");
    let highest = count["highest"].as_u64().max(arrived.last().copied()).unwrap_or_default();
    let lost: Vec<u64> = (1..=highest).filter(|n| !arrived.contains(n) && !never.contains(n)).collect();
    let both = &never & arrived;
    (!lost.is_empty() || !both.is_empty()).then(|| {
        format!("{recipient}: nobody accounts for {lost:?}, and {both:?} arrived and are said never to come: {count}")
    })
}

/// The newer slot of the record: `GENERATION CHECKSUM JSON`.
pub fn record(setup: &Setup) -> serde_json::Value {
    let slots =
        ["state/numbers.0", "state/numbers.1"].map(|name| std::fs::read_to_string(setup.path(name)).expect("a slot"));
    let newest =
        slots.iter().max_by_key(|slot| slot.split(' ').next().and_then(|n| n.parse::<u64>().ok())).expect("two");
    let json = newest.lines().next().and_then(|line| line.splitn(3, ' ').nth(2)).expect("a record");
    serde_json::from_str(json).expect("JSON")
}
