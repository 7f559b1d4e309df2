//! kill -9 from outside at random moments of accept and of delivery: nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::client::alert;
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::reader::open;
use crate::support::relay_host::RelayHost;

/// Kills in one run.
const KILLS: usize = 20;

#[test]
fn kill_9_at_random_moments_loses_nothing_acknowledged() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..KILLS {
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
    assert!(acknowledged.len() > KILLS, "only {} were acknowledged: nothing was tried", acknowledged.len());
    let arrived = arrivals(&setup, &relay_host);
    for name in &acknowledged {
        assert!(arrived.iter().any(|(_, text)| text.contains(name.as_str())), "{name} was acknowledged and is lost");
    }
    let offered = relay_host.heard().taken.len();
    eprintln!("{KILLS} kills, {} acknowledged, {offered} taken by the relay host", acknowledged.len());
    assert_eq!(daemon.terminate(), 0);
    account_for_numbers(&setup, &arrived);
    setup.assert_nothing_leaked();
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

/// Every number up to the highest arrived, or the record says that it was never used.
fn account_for_numbers(setup: &Setup, arrived: &BTreeMap<u64, String>) {
    let highest = arrived.keys().max().copied().unwrap_or_default();
    let unused = recorded_as_unused(setup);
    let lost: Vec<u64> = (1..=highest).filter(|n| !arrived.contains_key(n) && !unused.contains(n)).collect();
    assert!(lost.is_empty(), "nobody accounts for {lost:?}; unused are {unused:?}");
    let twice: Vec<u64> = unused.into_iter().filter(|n| arrived.contains_key(n)).collect();
    assert!(twice.is_empty(), "{twice:?} arrived and are said to be unused");
}

/// The unused numbers in the newer slot of the record: `GENERATION CHECKSUM JSON`.
fn recorded_as_unused(setup: &Setup) -> Vec<u64> {
    let slots =
        ["state/numbers.0", "state/numbers.1"].map(|name| std::fs::read_to_string(setup.path(name)).expect("a slot"));
    let newest =
        slots.iter().max_by_key(|slot| slot.split(' ').next().and_then(|n| n.parse::<u64>().ok())).expect("two");
    let json = newest.lines().next().and_then(|line| line.splitn(3, ' ').nth(2)).expect("a record");
    let record: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let unused = record["recipients"]["admin@example.org"]["unused"].as_array().expect("a list");
    // Ranges: [first, last].
    let range = |range: &serde_json::Value| range[0].as_u64().expect("first")..=range[1].as_u64().expect("last");
    unused.iter().flat_map(range).collect()
}
