//! A flood comes as some messages and a digest: nothing is missing, urgent alerts do not wait, every number is accounted for
//! and `verify` is content; kill -9 in the middle loses nothing.
//!
//! The trials of a thousand alerts in a minute: `cargo test --test suite -- --ignored --nocapture floods::a_thousand`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::crashes::{record, unaccounted};
use crate::numbers::{attached, may_trace};
use crate::support::certificates::{armored, revoked};
use crate::support::client::send;
use crate::support::daemon::{MARKER, Setup};
use crate::support::reader::{Opened, open};
use crate::support::relay_host::{RelayHost, Script, Taken};
use crate::support::{eventually, have};
use crate::verify::Desk;

pub const OPS: &str = "ops@example.org";
/// Clients at the same time.
const CLIENTS: usize = 4;
/// A window that outlasts whatever a test does in it: a flush ends it.
const LONG: &str = "burst = 5\nwindow = \"1h\"\nurgent_level = 12";

/// An alert of `level` of a rule at a location, `name` in its log text.
pub fn alert(level: u32, rule: u32, host: usize, name: &str) -> String {
    format!(
        "From: Wazuh <ossec@ossec.server>\r\nTo: <ops@localhost>\r\nDate: Fri, 20 Nov 2026 19:26:58 +0000\r\n\
         Subject: Wazuh notification - h{host} - Alert level {level}\r\n\r\n\r\nWazuh Notification.\r\n\
         2026 Nov 20 19:26:45\r\n\r\nReceived From: (h{host}) 10.0.0.{host}->/var/log/auth.log\r\n\
         Rule: {rule} fired (level {level}) -> \"Attempt\"\r\nPortion of the log(s):\r\n\r\n\
         Nov 20 19:26:42 sshd: {MARKER} {name}.\r\n\r\n\r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\n"
    )
}

/// A daemon's folder with a recipient whose floods are gathered.
fn gathering(relay_host: &RelayHost, ca_pem: &str, flood: &str) -> Setup {
    let more = format!("accept = [{{ recipient = \"ops@localhost\" }}]\n[recipient.flood]\n{flood}");
    Setup::new(relay_host.port, ca_pem).recipient(OPS, &more)
}

/// Sends `count` alerts made by `make`, by several clients at once.
pub fn send_all(address: &str, count: usize, make: impl Fn(usize) -> String + Sync) {
    std::thread::scope(|scope| {
        for first in 0..CLIENTS {
            let make = &make;
            scope.spawn(move || {
                for nth in (first..count).step_by(CLIENTS) {
                    let reply = send(address, &["ops@localhost"], &make(nth));
                    assert!(reply.starts_with("250"), "{reply}");
                }
            });
        }
    });
}

pub fn opened(setup: &Setup, taken: &[Taken]) -> Vec<Opened> {
    let (_, certificate) = setup.recipients.iter().find(|(to, _)| to == OPS).expect("ops");
    let own = taken.iter().filter(|taken| taken.rcpt.contains(OPS));
    own.map(|taken| open(&taken.message, certificate, &setup.path("state/signer.asc"))).collect()
}

pub fn texts(opened: &[Opened]) -> String {
    opened.iter().map(|opened| String::from_utf8_lossy(opened.alert()).into_owned()).collect()
}

/// The numbers in a manifest's list of ranges.
fn ranges(list: &Value) -> BTreeSet<u64> {
    let ranges: Vec<(u64, u64)> = serde_json::from_value(list.clone()).unwrap_or_default();
    ranges.into_iter().flat_map(|(first, last)| first..=last).collect()
}

/// Asserts that each number came by itself or in a digest, and not both; how many messages came.
#[track_caller]
pub fn assert_numbers_are_accounted_for(setup: &Setup, opened: &[Opened]) {
    let arrived: BTreeSet<u64> = opened.iter().filter_map(|one| one.manifest["sequence"].as_u64()).collect();
    let contained: BTreeSet<u64> = opened.iter().flat_map(|one| ranges(&one.manifest["contains"])).collect();
    assert_eq!(arrived.len(), opened.len(), "a number came twice");
    assert!(arrived.is_disjoint(&contained), "{arrived:?} came, {contained:?} are said not to");
    let highest = arrived.last().copied().expect("a message");
    let missing: Vec<u64> = (1..=highest).filter(|n| !arrived.contains(n) && !contained.contains(n)).collect();
    assert!(missing.is_empty(), "nobody accounts for {missing:?}");
    assert_eq!(unaccounted(&record(setup), OPS, &arrived), None);
}

fn everything_sent(setup: &Setup) {
    // A flood takes its time on a slow machine.
    let until = Instant::now() + Duration::from_secs(120);
    while !setup.spooled("queue").is_empty() {
        assert!(Instant::now() < until, "the spool does not empty:\n{}", setup.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_flood_comes_as_its_burst_and_one_digest_that_holds_the_rest_and_urgent_alerts_do_not_wait() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = gathering(&relay_host, &authority.pem, &format!("{LONG}\nrealert = \"off\""));
    let daemon = setup.start();
    send_all(&daemon.address, 60, |nth| alert(5, 5710, 1, &format!("flood-{nth}")));
    // Level 12 goes at once, behind all that waits.
    assert!(send(&daemon.address, &["ops@localhost"], &alert(12, 5712, 1, "urgent")).starts_with("250"));
    let first = opened(&setup, &relay_host.taken(6));
    assert!(first.len() == 6 && texts(&first).contains("urgent."), "{}", texts(&first));
    let waiting = daemon.status()["gathering"].clone();
    assert_eq!((&waiting[0]["recipient"], &waiting[0]["parked"]), (&OPS.into(), &55.into()), "{waiting}");
    daemon.flush();
    let all = opened(&setup, &relay_host.taken(7));
    everything_sent(&setup);
    let digest = &all[6];
    assert_eq!((all.len(), digest.subject.as_str()), (7, "55 alerts gathered"));
    let text = String::from_utf8_lossy(digest.alert()).into_owned();
    assert!(text.contains("55 x rule 5710 (level 5) at (h1) 10.0.0.1->/var/log/auth.log: Attempt"), "{text}");
    for nth in 0..60 {
        let name = format!("flood-{nth}");
        let holders = all.iter().filter(|one| texts(std::slice::from_ref(one)).contains(&format!(" {name}.")));
        assert_eq!(holders.count(), 1, "{name}");
        let whole = alert(5, 5710, 1, &name);
        let is_whole =
            text.contains(&whole) || texts(&first).contains(&whole[whole.find("\r\n\r\n").expect("body") + 4..]);
        assert!(is_whole, "{name} does not stand whole");
    }
    assert_eq!(daemon.status()["counts"]["gathered"], 55);
    assert_eq!(daemon.terminate(), 0);
    assert_numbers_are_accounted_for(&setup, &all);
    assert!(setup.spooled("queue").is_empty());
}

#[test]
fn repeats_of_a_rule_at_a_location_are_counted_and_none_is_missing_in_the_count() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = gathering(&relay_host, &authority.pem, "burst = 1000\nwindow = \"1h\"\nrealert = \"1h\"");
    let daemon = setup.start();
    for nth in 0..3 {
        assert!(send(&daemon.address, &["ops@localhost"], &alert(5, 5710 + nth, 1, "first")).starts_with("250"));
    }
    relay_host.taken(3);
    send_all(&daemon.address, 30, |nth| alert(5, 5710 + (nth % 3) as u32, 1, &format!("repeat-{nth}")));
    // What holds two alerts, or cannot be told from an imitation, is no repeat.
    let doubtful = alert(5, 5710, 1, "doubtful\r\n --END OF NOTIFICATION\r\nmore");
    assert!(send(&daemon.address, &["ops@localhost"], &doubtful).starts_with("250"));
    relay_host.taken(4);
    // The end of the daemon makes the digest.
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    let all = opened(&setup, &relay_host.taken(5));
    everything_sent(&setup);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!((all.len(), all[4].subject.as_str()), (5, "30 alerts gathered"));
    let text = String::from_utf8_lossy(all[4].alert()).into_owned();
    for rule in 5710..5713 {
        assert!(text.contains(&format!("10 x rule {rule} ")), "{text}");
    }
    assert_eq!(text.matches("10 of them only counted, 20").count(), 3, "{text}");
    assert!(text.contains("30 alert(s) repeated") && text.contains("alerts.log") && !text.contains(MARKER), "{text}");
    assert_numbers_are_accounted_for(&setup, &all);
}

#[test]
fn two_hundred_alerts_in_a_row_come_in_few_messages_and_verify_is_content() {
    // Rules and locations by turns, so that some are repeats and some are not.
    flood(200, Duration::ZERO, "burst = 20\nwindow = \"10s\"\nrealert = \"1h\"", |_| 5710);
}

/// The trial, with the window that is the default.
#[test]
#[ignore = "a long trial, minutes; see the command on top"]
fn a_thousand_alerts_in_a_minute_repeats_among_them() {
    flood(1000, Duration::from_secs(60), "realert = \"1h\"", |_| 5710);
}

/// All of them must come whole.
#[test]
#[ignore = "a long trial, minutes; see the command on top"]
fn a_thousand_distinct_alerts_in_a_minute_none_of_them_only_counted() {
    flood(1000, Duration::from_secs(60), "realert = \"off\"", |nth| 5710 + nth as u32);
}

/// Sends `count` alerts, spread over `time`, of the rules that `rule` says, one in fifty urgent; all must come, most of
/// them gathered.
fn flood(count: usize, time: Duration, settings: &str, rule: impl Fn(usize) -> u32 + Sync) {
    if !have("gpg") {
        return;
    }
    let pace = time / count as u32;
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = gathering(&relay_host, &authority.pem, settings).heartbeat("24h");
    let daemon = setup.start();
    let began = Instant::now();
    let level = |nth: usize| if nth % 50 == 49 { 13 } else { 5 };
    let sent: Mutex<BTreeMap<usize, SystemTime>> = Mutex::default();
    send_all(&daemon.address, count, |nth| {
        std::thread::sleep((pace * nth as u32).saturating_sub(began.elapsed()));
        sent.lock().expect("times").insert(nth, SystemTime::now());
        alert(level(nth), rule(nth), nth % 97, &format!("flood-{nth}"))
    });
    let taken_in = began.elapsed();
    everything_sent(&setup);
    let all_sent = began.elapsed();
    assert!(setup.run(&["heartbeat"]).status.success());
    everything_sent(&setup);
    let status = daemon.status();
    assert_eq!(daemon.terminate(), 0);
    let taken = relay_host.heard().taken.clone();
    let all = opened(&setup, &taken);
    let held = texts(&all);
    let whole = (0..count).filter(|nth| held.contains(&format!(" flood-{nth}."))).count();
    let told: usize = all.iter().map(|one| repeats_in(&String::from_utf8_lossy(one.alert()))).sum();
    let own: Vec<&Taken> = taken.iter().filter(|taken| taken.rcpt.contains(OPS)).collect();
    let sent = sent.into_inner().expect("times");
    let latencies = sent.iter().flat_map(|(nth, at)| {
        let mark = format!(" flood-{nth}.");
        let holders = all.iter().zip(&own).filter(move |(one, _)| String::from_utf8_lossy(one.alert()).contains(&mark));
        holders.map(|(_, taken)| taken.at.duration_since(*at).unwrap_or_default())
    });
    let latencies: BTreeSet<Duration> = latencies.collect();
    eprintln!("latency of whole alerts: {:.2?} to {:.2?}", latencies.first(), latencies.last());
    eprintln!(
        "{count} alerts taken in {taken_in:.1?}, {} messages, all sent after {all_sent:.1?}; {whole} whole, {told} counted",
        all.len()
    );
    assert_eq!(whole + told, count, "some are missing");
    assert!(all.len() < count / 2, "{} messages", all.len());
    let urgent = (0..count).filter(|nth| level(*nth) == 13).all(|nth| {
        let singles = all.iter().filter(|one| one.manifest.get("contains").is_none());
        singles.into_iter().any(|one| String::from_utf8_lossy(one.alert()).contains(&format!(" flood-{nth}.")))
    });
    assert!(urgent, "an urgent alert waited for a digest");
    assert!(status["counts"]["digests"].as_u64() >= Some(1), "{status}");
    assert_numbers_are_accounted_for(&setup, &all);
    // The last heartbeat knows what became of each number; without it the digests tell by themselves.
    let (_, certificate) = setup.recipients.iter().find(|(to, _)| to == OPS).expect("ops");
    let own: Vec<&[u8]> = own.iter().map(|one| one.message.as_slice()).collect();
    let signer = setup.path("state/signer.asc");
    for messages in [own.as_slice(), &own[..own.len() - 1]] {
        let desk = Desk::new(certificate);
        let verdict = desk.verify(&[Path::new("--signer"), &signer, &desk.mbox("mbox", messages)]);
        verdict.is(0, &[]);
        assert_eq!(verdict.run("missing"), &serde_json::json!([]));
    }
    setup.assert_nothing_leaked();
}

/// How many alerts a digest only counts.
fn repeats_in(text: &str) -> usize {
    let mark = " alert(s) repeated a rule at a location";
    text.find(mark).map_or(0, |end| {
        let line = &text[..end];
        line[line.rfind('\n').map_or(0, |at| at + 1)..].parse().expect("a number")
    })
}

#[test]
fn a_kill_while_alerts_wait_sends_each_of_them_singly() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = gathering(&relay_host, &authority.pem, &format!("{LONG}\nrealert = \"1h\""));
    let daemon = setup.start();
    send_all(&daemon.address, 30, |nth| alert(5, 5710, nth % 10, &format!("flood-{nth}")));
    relay_host.taken(5);
    eventually("the rest to wait", || (setup.spooled("queue").len() == 25).then_some(()));
    daemon.kill();
    let daemon = setup.start();
    everything_sent(&setup);
    let all = opened(&setup, &relay_host.taken(30));
    let held = texts(&all);
    assert!((0..30).all(|nth| held.contains(&format!(" flood-{nth}."))) && all.len() == 30, "{held}");
    assert_eq!(daemon.terminate(), 0);
    assert_numbers_are_accounted_for(&setup, &all);
}

/// `strace` kills the daemon at the very system call, in the digest's way into the spool and the single ones' way out.
#[test]
fn a_kill_at_each_step_of_a_digest_loses_no_alert_and_no_number() {
    if !may_trace() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = gathering(&relay_host, &authority.pem, &format!("{LONG}\nrealert = \"off\""));
    let (mut sent, mut killed, mut twice) = (0, 0, 0);
    let steps =
        [("pwrite64", 1), ("rename", 1), ("unlink", 1), ("unlink", 3), ("fsync", 1), ("fsync", 2), ("fdatasync", 1)];
    for (step, nth) in steps {
        let mut daemon = setup.start();
        send_all(&daemon.address, 10, |nth| alert(5, 5710, 1, &format!("flood-{}", sent + nth)));
        sent += 10;
        eventually("the rest to wait", || (daemon.status()["gathering"][0]["parked"] == 5).then_some(()));
        eventually("the others to go", || (setup.spooled("queue").len() == 5).then_some(()));
        let inject = format!("inject={step}:signal=KILL:when={nth}");
        let options = ["-e", &format!("trace={step}"), "-e", &inject];
        let Some(mut strace) = attached(&daemon, &setup.path("trace"), &options) else { return };
        let _ = setup.run(&["queue", "flush"]);
        let until = Instant::now() + Duration::from_secs(3);
        while daemon.is_running() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        killed += usize::from(!daemon.is_running());
        daemon.kill();
        let _ = strace.wait();
    }
    let daemon = setup.start();
    everything_sent(&setup);
    assert!(setup.run(&["heartbeat"]).status.success());
    everything_sent(&setup);
    assert_eq!(daemon.terminate(), 0);
    let all = opened(&setup, &relay_host.heard().taken.clone());
    let held = texts(&all);
    let missing: Vec<usize> = (0..sent).filter(|nth| !held.contains(&format!(" flood-{nth}."))).collect();
    assert!(missing.is_empty(), "{missing:?} are lost");
    let arrived: BTreeSet<u64> = all.iter().filter_map(|one| one.manifest["sequence"].as_u64()).collect();
    let told = &all.iter().rev().find(|one| one.subject.starts_with("Heartbeat")).expect("it").manifest["heartbeat"];
    let never: BTreeSet<u64> =
        told["never"].as_object().into_iter().flat_map(|o| o.values()).flat_map(ranges).collect();
    let contained: BTreeSet<u64> = all.iter().flat_map(|one| ranges(&one.manifest["contains"])).collect();
    twice += arrived.intersection(&contained).count();
    let highest = told["highest"].as_u64().expect("a number");
    let lost: Vec<u64> = (1..=highest).filter(|n| !arrived.contains(n) && !never.contains(n)).collect();
    assert!(lost.is_empty() && arrived.is_disjoint(&never), "nobody accounts for {lost:?}: {told}");
    eprintln!("{killed} kills in {} steps, {twice} alerts came singly and in a digest", steps.len());
    assert!(killed >= 4, "only {killed} kills: nothing was tried");
    assert_eq!(unaccounted(&record(&setup), OPS, &arrived), None);
}

/// As if the disk were full while the digest is made, and broken while the single ones are removed.
#[test]
fn a_disk_that_takes_no_digest_or_removes_nothing_loses_no_alert() {
    if !may_trace() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = gathering(&relay_host, &authority.pem, &format!("{LONG}\nrealert = \"off\""));
    let daemon = setup.start();
    for round in 0..2 {
        send_all(&daemon.address, 12, |nth| alert(5, 5710, 1, &format!("flood-{}", 12 * round + nth)));
        // A flush does not end the window: in the second round all of them wait.
        let rest = [7, 12][round];
        let waiting = eventually("the others to go", || Some(setup.spooled("queue")).filter(|all| all.len() == rest));
        let options: Vec<&str> = match round {
            0 => vec!["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=ENOSPC"],
            _ => vec!["-P", waiting[2].to_str().expect("a path"), "-e", "inject=unlink:error=EIO"],
        };
        let Some(mut strace) = attached(&daemon, &setup.path("trace"), &options) else { return };
        daemon.flush();
        let said = ["a digest could not be made", "cannot be removed and comes once more"][round];
        eventually(said, || setup.log().contains(said).then_some(()));
        strace.kill().expect("ended");
        strace.wait().expect("ended");
        daemon.flush();
        everything_sent(&setup);
    }
    // It tells of the number that the first digest took.
    assert!(setup.run(&["heartbeat"]).status.success());
    everything_sent(&setup);
    assert_eq!(daemon.terminate(), 0);
    let taken = relay_host.heard().taken.clone();
    let all = opened(&setup, &taken);
    let held = texts(&all);
    assert!((0..24).all(|nth| held.contains(&format!(" flood-{nth}."))), "{held}");
    let digests: Vec<&Opened> = all.iter().filter(|one| one.manifest.get("contains").is_some()).collect();
    assert_eq!(digests.iter().map(|one| one.subject.as_str()).collect::<Vec<_>>(), ["12 alerts gathered"]);
    let arrived: BTreeSet<u64> = all.iter().filter_map(|one| one.manifest["sequence"].as_u64()).collect();
    let twice = arrived.intersection(&ranges(&digests[0].manifest["contains"])).count();
    assert!((1..=12).contains(&twice), "{twice} were not removed");
    assert_eq!(unaccounted(&record(&setup), OPS, &arrived), None);
    let (_, certificate) = setup.recipients.iter().find(|(to, _)| to == OPS).expect("ops");
    let own: Vec<&[u8]> = taken.iter().filter(|one| one.rcpt.contains(OPS)).map(|one| one.message.as_slice()).collect();
    let desk = Desk::new(certificate);
    let verdict = desk.verify(&[Path::new("--signer"), &setup.path("state/signer.asc"), &desk.mbox("mbox", &own)]);
    assert_eq!(verdict.run("missing"), &serde_json::json!([]));
}

#[test]
fn who_cannot_be_sealed_to_any_more_gets_what_was_sealed_before_and_others_get_their_digest() {
    let (relay_host, authority, _) = RelayHost::honest();
    let settings = format!("{LONG}\nrealert = \"off\"");
    let more = format!("accept = [{{ recipient = \"ops@localhost\" }}]\n[recipient.flood]\n{settings}");
    let setup = gathering(&relay_host, &authority.pem, &settings).recipient("other@example.org", &more);
    let daemon = setup.start();
    send_all(&daemon.address, 9, |nth| alert(5, 5710, 1, &format!("flood-{nth}")));
    relay_host.taken(10);
    let (_, certificate) = setup.recipients.iter().find(|(to, _)| to == "other@example.org").expect("it");
    setup.write("other@example.org.asc", &armored(&revoked(certificate)));
    assert_eq!(daemon.reload().1, 0);
    daemon.flush();
    let taken = relay_host.taken(15);
    everything_sent(&setup);
    let to = |address: &str| taken.iter().filter(|one| one.rcpt.contains(address)).count();
    assert_eq!((taken.len(), to(OPS), to("other@example.org")), (15, 6, 9), "{}", setup.log());
    assert_eq!(opened(&setup, &taken)[5].subject, "4 alerts gathered");
}

#[test]
fn a_reload_in_a_flood_brings_no_flood_of_singles_but_one_that_ends_gathering_does() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = gathering(&relay_host, &authority.pem, &format!("{LONG}\nrealert = \"off\""));
    let daemon = setup.start();
    send_all(&daemon.address, 12, |nth| alert(5, 5710, 1, &format!("flood-{nth}")));
    relay_host.taken(5);
    let file = setup.path("sealrelay.toml");
    let reload = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&file).expect("read");
        assert!(text.contains(from), "{text}");
        setup.write("sealrelay.toml", text.replace(from, to).as_bytes());
        assert_eq!(daemon.reload().1, 0);
    };
    reload("", "");
    assert_eq!(daemon.status()["gathering"][0]["parked"], 7);
    // What an operator does to whom too many messages come.
    reload("burst = 5", "burst = 2");
    assert_eq!(daemon.status()["gathering"][0]["parked"], 7);
    reload(&format!("[recipient.flood]\n{}\nrealert = \"off\"", LONG.replace("burst = 5", "burst = 2")), "");
    let all = opened(&setup, &relay_host.taken(12));
    everything_sent(&setup);
    assert_eq!(all.len(), 12);
    assert_numbers_are_accounted_for(&setup, &all);
}

#[test]
fn what_an_operator_holds_or_removes_is_in_no_digest() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = gathering(&relay_host, &authority.pem, &format!("{LONG}\nrealert = \"off\""));
    let daemon = setup.start();
    for nth in 0..12 {
        assert!(
            send(&daemon.address, &["ops@localhost"], &alert(5, 5710, nth, &format!("flood-{nth}"))).starts_with("250")
        );
    }
    relay_host.taken(5);
    let waiting = eventually("the rest to wait", || Some(setup.spooled("queue")).filter(|all| all.len() == 7));
    let name = |nth: usize| waiting[nth].file_name().and_then(OsStr::to_str).expect("a name");
    let on = |command: &[&str]| {
        let done = setup.run(&[&["queue"], command].concat());
        assert!(done.status.success(), "{done:?}");
    };
    on(&["hold", name(0)]);
    on(&["remove", name(1), "--yes"]);
    assert_eq!(daemon.status()["gathering"][0]["parked"], 5);
    daemon.flush();
    let first = opened(&setup, &relay_host.taken(6));
    assert_eq!(first[5].subject, "5 alerts gathered");
    let held = texts(&first);
    assert!(![5, 6].iter().any(|nth| held.contains(&format!(" flood-{nth}."))), "{held}");
    on(&["release", "ALL"]);
    let all = opened(&setup, &relay_host.taken(7));
    everything_sent(&setup);
    assert!(texts(&all[6..]).contains(" flood-5."), "it was held");
    let contained: BTreeSet<u64> = all.iter().flat_map(|one| ranges(&one.manifest["contains"])).collect();
    assert_eq!(contained, (8..=12).collect());
}

#[test]
fn what_would_take_too_much_memory_comes_in_digests_before_the_window_ends() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = gathering(&relay_host, &authority.pem, &format!("{LONG}\nrealert = \"off\""));
    let daemon = setup.start();
    let large = "0123456789abcdef0123456789abcdef0123456789abcdef\r\n".repeat(18_000);
    send_all(&daemon.address, 18, |nth| alert(5, 5710, nth, &format!("flood-{nth}.\r\n{large}end")));
    eventually("digests", || (daemon.status()["counts"]["digests"].as_u64() >= Some(1)).then_some(()));
    // What came behind them waits for the end of the window as ever.
    daemon.flush();
    everything_sent(&setup);
    assert_eq!(daemon.terminate(), 0);
    let all = opened(&setup, &relay_host.heard().taken.clone());
    let held = texts(&all);
    assert!((0..18).all(|nth| held.contains(&format!(" flood-{nth}."))) && all.len() < 16, "{} came", all.len());
    assert_numbers_are_accounted_for(&setup, &all);
}

#[test]
fn a_relay_host_that_is_out_changes_nothing_in_what_a_digest_holds() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 4.3.2 later"));
    let setup = gathering(&relay_host, &authority.pem, &format!("{LONG}\nrealert = \"off\""));
    let daemon = setup.start();
    send_all(&daemon.address, 20, |nth| alert(5, 5710, 1, &format!("flood-{nth}")));
    daemon.flush();
    eventually("the digest", || (setup.spooled("queue").len() == 6).then_some(()));
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    let all = opened(&setup, &relay_host.taken(6));
    everything_sent(&setup);
    assert_eq!(all.iter().filter(|one| one.subject == "15 alerts gathered").count(), 1);
    assert_numbers_are_accounted_for(&setup, &all);
}
