//! What the idle daemon still holds of the alerts that went through it.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use crate::support::client::send_alert;
use crate::support::daemon::{MARKER, Setup};
use crate::support::relay_host::RelayHost;
use crate::support::{eventually, root};

const ALERTS: usize = 1000;

/// One readable mapping of a process.
struct Mapping {
    start: u64,
    end: u64,
    name: String,
}

fn mappings(pid: u32) -> Vec<Mapping> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("maps");
    let lines = maps.lines().filter(|line| line.contains(" r")).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        Some(Mapping { start: hex(start)?, end: hex(end)?, name: words.nth(4).unwrap_or("anonymous").to_owned() })
    });
    lines.collect()
}

/// How often `word` stands in the memory of process `pid`, by mapping; and how many octets were looked at.
fn found(pid: u32, word: &[u8]) -> (Vec<(String, usize)>, u64) {
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).expect("memory");
    let (mut found, mut looked_at) = (Vec::new(), 0);
    for mapping in mappings(pid) {
        let mut octets = vec![0; usize::try_from(mapping.end - mapping.start).expect("fits")];
        // The kernel's own pages cannot be read.
        if memory.seek(SeekFrom::Start(mapping.start)).and_then(|_| memory.read_exact(&mut octets)).is_err() {
            continue;
        }
        looked_at += octets.len() as u64;
        let count = octets.windows(word.len()).filter(|window| *window == word).count();
        if count > 0 {
            found.push((mapping.name, count));
        }
    }
    (found, looked_at)
}

#[test]
fn an_idle_daemon_holds_nothing_of_the_alerts_that_went_through_it() {
    if !root() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).listen("early_dot_wait = \"0ms\"");
    let daemon = setup.start();
    let (known, _) = found(daemon.id(), setup.path("spool").to_str().expect("a name").as_bytes());
    assert!(!known.is_empty(), "the search finds nothing, not even what must be there");
    std::thread::scope(|scope| {
        for _ in 0..10 {
            let address = &daemon.address;
            scope.spawn(move || (0..ALERTS / 10).for_each(|nth| send_alert(address, &format!("alert {nth}"))));
        }
    });
    eventually("an empty spool", || (relay_host.heard().taken.len() == ALERTS).then_some(()));
    eventually("the last session's end", || {
        let heard = relay_host.heard();
        let quits = heard.inside.iter().filter(|line| *line == "QUIT").count();
        (quits == heard.connections).then_some(())
    });
    std::thread::sleep(Duration::from_secs(1));
    let (found, looked_at) = found(daemon.id(), MARKER.as_bytes());
    println!("{ALERTS} alerts, {} MiB looked at, the marker word in: {found:?}", looked_at >> 20);
    assert_eq!(found, []);
}
