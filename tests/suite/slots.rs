//! Messages in slots: one for each, of one size, whether or not there is news, so that neither times nor sizes tell the
//! relay host anything; nothing waits for ever, and a crash shows nothing.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::floods::{OPS, alert, assert_numbers_are_accounted_for, opened, send_all, texts};
use crate::support::client::send;
use crate::support::daemon::{Daemon, Setup};
use crate::support::eventually;
use crate::support::relay_host::{RelayHost, Script, Taken};

/// A slot that is over before a person loses patience, and not before a loaded machine has made a message.
const SHORT: &str = "3s";
const SIZE: usize = 64 * 1024;

fn in_slots(relay_host: &RelayHost, ca_pem: &str, release: &str) -> Setup {
    let more = format!("accept = [{{ recipient = \"ops@localhost\" }}]\nrelease = {{ {release} }}");
    Setup::new(relay_host.port, ca_pem).recipient(OPS, &more)
}

/// Starts a daemon whose slots are short, whatever the configuration says.
fn start_with_short_slots(setup: &Setup) -> Daemon<'_> {
    let text = std::fs::read_to_string(setup.configure()).expect("read");
    setup.write("sealrelay.toml", text.replace("slots = \"1h\"", &format!("slots = \"{SHORT}\"")).as_bytes());
    setup.start_by(setup.command(&["run"]))
}

/// Asserts that all messages have one size, the largest that fits the slots' (see `padding`), and that nothing outside
/// tells them apart.
#[track_caller]
fn assert_one_looks_like_the_other(taken: &[Taken]) {
    let sizes: BTreeSet<usize> = taken.iter().map(|taken| taken.message.len()).collect();
    assert!(sizes.len() == 1 && sizes.iter().all(|size| (SIZE - 5..=SIZE).contains(size)), "{sizes:?}");
    for one in taken {
        let text = String::from_utf8_lossy(&one.message).into_owned();
        let date = text.lines().find_map(|line| line.strip_prefix("Date: ")).expect("a Date");
        assert!(date.trim_end().ends_with(" 00:00:00 +0000"), "{date}");
        let fields: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(": ")?.0)).take(5).collect();
        assert_eq!(fields, ["From", "To", "Date", "Message-ID", "Subject"], "{text:.400}");
    }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).expect("now").as_secs_f64()
}

#[test]
fn one_message_of_one_size_goes_in_each_slot_with_news_and_without() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = in_slots(&relay_host, &authority.pem, &format!("slots = \"{SHORT}\""));
    let daemon = setup.start();
    let began = SystemTime::now();
    relay_host.taken(1);
    assert!(send(&daemon.address, &["ops@localhost"], &alert(5, 5710, 1, "alone")).starts_with("250"));
    relay_host.taken(3);
    send_all(&daemon.address, 12, |nth| alert(5, 5710, nth, &format!("many-{nth}")));
    assert!(setup.run(&["heartbeat"]).status.success());
    // The heartbeat of the recipient without slots comes at once.
    relay_host.taken(9);
    let status = daemon.status();
    assert_eq!(status["gathering"][0]["recipient"], OPS);
    assert!(status["gathering"][0]["next_slot"].as_f64() >= Some(seconds(began)), "{status}");
    assert_eq!(daemon.terminate(), 0);
    let elapsed = began.elapsed().expect("forward");
    let taken: Vec<Taken> = relay_host.taken(9).into_iter().filter(|taken| taken.rcpt.contains(OPS)).collect();
    for one in &taken {
        eprintln!("{:.1} s: {} octets", seconds(one.at) - seconds(began), one.message.len());
    }
    assert_one_looks_like_the_other(&taken);
    // One may have been late in its slot, so two ends count.
    assert!(taken.len() as u64 <= elapsed.as_secs() / 3 + 2, "{} messages in {elapsed:?}", taken.len());
    let all = opened(&setup, &taken);
    let held = texts(&all);
    assert!(held.contains(" alone.") && (0..12).all(|nth| held.contains(&format!(" many-{nth}."))), "{held}");
    let subjects: Vec<&str> = all.iter().map(|one| one.subject.as_str()).collect();
    assert!(subjects.contains(&"Nothing happened"), "{subjects:?}");
    assert!(subjects.iter().any(|subject| subject.ends_with("alerts gathered")), "{subjects:?}");
    assert!(subjects.iter().any(|subject| subject.starts_with("Heartbeat")), "{subjects:?}");
    assert_numbers_are_accounted_for(&setup, &all);
}

#[test]
fn what_a_kill_leaves_goes_singly_one_in_each_slot_and_looks_like_any() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = in_slots(&relay_host, &authority.pem, "slots = \"1h\"");
    let daemon = setup.start();
    send_all(&daemon.address, 3, |nth| alert(5, 5710, nth, &format!("left-{nth}")));
    eventually("what waits", || (setup.spooled("queue").len() == 3).then_some(()));
    daemon.kill();
    let daemon = start_with_short_slots(&setup);
    // What comes now need not wait for all that was left.
    assert!(send(&daemon.address, &["ops@localhost"], &alert(5, 5710, 1, "later")).starts_with("250"));
    let taken = relay_host.taken(6);
    assert_eq!(daemon.terminate(), 0);
    assert_one_looks_like_the_other(&taken);
    let all = opened(&setup, &taken);
    let held = texts(&all);
    assert!(["left-0", "left-1", "left-2", "later"].iter().all(|name| held.contains(&format!(" {name}."))), "{held}");
    assert!(all.iter().all(|one| one.manifest.get("contains").is_none()), "singly");
    let places = ["later", "left-2"].map(|name| {
        all.iter().position(|one| texts(std::slice::from_ref(one)).contains(&format!(" {name}."))).expect("came")
    });
    assert!(places[0] <= 2, "it came as number {} behind what was left", places[0]);
    assert_numbers_are_accounted_for(&setup, &all);
}

#[test]
fn an_end_gathers_what_waits_and_urgent_alerts_break_out_if_the_operator_accepts_it() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = in_slots(&relay_host, &authority.pem, "slots = \"1h\", urgent_level = 14");
    let daemon = setup.start();
    send_all(&daemon.address, 6, |nth| alert(13, 5710, nth, &format!("waits-{nth}")));
    assert!(setup.run(&["heartbeat"]).status.success());
    assert!(send(&daemon.address, &["ops@localhost"], &alert(14, 5712, 1, "urgent")).starts_with("250"));
    // The heartbeat of the recipient without slots, and the urgent one; a flush does not show that there is news.
    relay_host.taken(2);
    daemon.flush();
    eventually("what waits", || (setup.spooled("queue").len() == 7).then_some(()));
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(setup.spooled("queue").len(), 2, "a digest and a heartbeat");
    let urgent: Vec<Taken> = relay_host.taken(2).into_iter().filter(|taken| taken.rcpt.contains(OPS)).collect();
    assert!(urgent.len() == 1 && texts(&opened(&setup, &urgent)).contains(" urgent."));
    let daemon = start_with_short_slots(&setup);
    let taken: Vec<Taken> = relay_host.taken(4).into_iter().filter(|taken| taken.rcpt.contains(OPS)).collect();
    assert_eq!(daemon.terminate(), 0);
    assert_one_looks_like_the_other(&taken);
    let all = opened(&setup, &taken);
    assert!(all.iter().any(|one| one.subject == "6 alerts gathered"));
    assert!((0..6).all(|nth| texts(&all).contains(&format!(" waits-{nth}."))));
    assert_numbers_are_accounted_for(&setup, &all);
}

#[test]
fn a_flood_of_repeats_puts_nothing_off_for_long_and_a_reload_with_other_slots_loses_no_news() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = in_slots(&relay_host, &authority.pem, "slots = \"1h\"");
    let daemon = setup.start();
    // Whole they would take some ten slots.
    let text = "0123456789abcdef0123456789abcdef0123456789abcdef\r\n".repeat(60);
    send_all(&daemon.address, 200, |nth| alert(5, 5710, nth % 2, &format!("flood-{nth}\r\n{text}end")));
    assert!(send(&daemon.address, &["ops@localhost"], &alert(5, 5711, 3, "behind")).starts_with("250"));
    assert_eq!(daemon.status()["gathering"][0]["parked"], 201);
    let file = std::fs::read_to_string(setup.path("sealrelay.toml")).expect("read");
    setup.write("sealrelay.toml", file.replace("slots = \"1h\"", &format!("slots = \"{SHORT}\"")).as_bytes());
    assert_eq!(daemon.reload().1, 0);
    let taken = relay_host.taken(1);
    assert_eq!(daemon.terminate(), 0);
    assert_one_looks_like_the_other(&taken);
    let all = opened(&setup, &taken);
    assert_eq!(all[0].subject, "201 alerts gathered", "{}", texts(&all));
    let held = texts(&all[..1]);
    assert!(held.contains(" behind.") && held.matches("100 x rule 5710 ").count() == 2, "{held}");
    assert!(held.contains("198 alert(s) repeated"), "{held}");
    assert_numbers_are_accounted_for(&setup, &all);
}

#[test]
fn what_an_operator_releases_waits_for_slots_like_any() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = in_slots(&relay_host, &authority.pem, "slots = \"1h\"");
    let daemon = setup.start();
    send_all(&daemon.address, 3, |nth| alert(5, 5710, nth, &format!("held-{nth}")));
    for (command, place) in [("hold", "held"), ("release", "queue")] {
        let done = setup.run(&["queue", command, "ALL"]);
        assert!(done.status.success() && setup.spooled(place).len() == 3, "{done:?}");
    }
    eventually("what was released", || (daemon.status()["gathering"][0]["parked"] == 3).then_some(()));
    assert_eq!(relay_host.heard().taken.len(), 0, "it shows that there is news");
    daemon.kill();
    let daemon = start_with_short_slots(&setup);
    let taken = relay_host.taken(3);
    assert_eq!(daemon.terminate(), 0);
    assert_one_looks_like_the_other(&taken);
    let held = texts(&opened(&setup, &taken));
    assert!((0..3).all(|nth| held.contains(&format!(" held-{nth}."))), "{held}");
}

#[test]
fn what_an_operator_holds_back_leaves_its_slot_a_message() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = in_slots(&relay_host, &authority.pem, "slots = \"5s\"");
    let daemon = setup.start();
    // A slot has just begun.
    relay_host.taken(1);
    assert!(send(&daemon.address, &["ops@localhost"], &alert(5, 5710, 1, "held")).starts_with("250"));
    assert!(setup.run(&["queue", "hold", "ALL"]).status.success());
    let taken = relay_host.taken(3);
    assert_eq!(daemon.terminate(), 0);
    assert_one_looks_like_the_other(&taken);
    let seen = texts(&opened(&setup, &taken));
    assert!(!seen.contains("held") && !setup.log().contains("broke off"), "{seen}\n{}", setup.log());
}

#[test]
fn what_waits_for_many_slots_is_warned_of_and_a_release_at_once_sends_it() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = in_slots(&relay_host, &authority.pem, "slots = \"1h\"");
    let daemon = setup.start();
    send_all(&daemon.address, 30, |nth| alert(5, 5710, nth, &format!("left-{nth}")));
    daemon.kill();
    let daemon = setup.start();
    let warnings = daemon.status()["warnings"].to_string();
    assert!(warnings.contains("30 message(s) wait for their slots, the last one for about 1day 6h"), "{warnings}");
    let file = std::fs::read_to_string(setup.path("sealrelay.toml")).expect("read");
    setup.write("sealrelay.toml", file.replace("release = { slots = \"1h\" }", "").as_bytes());
    assert_eq!(daemon.reload().1, 0);
    let all = opened(&setup, &relay_host.taken(30));
    assert!((0..30).all(|nth| texts(&all).contains(&format!(" left-{nth}."))));
}

#[test]
fn what_is_larger_than_the_slots_goes_by_itself_and_is_warned_of() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = in_slots(&relay_host, &authority.pem, "slots = \"1h\"");
    let daemon = setup.start();
    // What padding cannot hide, because it does not fit.
    let large = alert(5, 5710, 1, &format!("large {}", "0123456789abcdef\r\n".repeat(5000)));
    assert!(send(&daemon.address, &["ops@localhost"], &large).starts_with("250"));
    assert!(send(&daemon.address, &["ops@localhost"], &alert(5, 5710, 1, "small")).starts_with("250"));
    eventually("what waits", || (setup.spooled("queue").len() == 2).then_some(()));
    daemon.kill();
    let daemon = start_with_short_slots(&setup);
    let taken = relay_host.taken(2);
    let sizes: Vec<usize> = taken[..2].iter().map(|taken| taken.message.len()).collect();
    assert!(sizes[0] > SIZE && sizes[1] <= SIZE, "{sizes:?}");
    let status = eventually("the count", || daemon.try_status().filter(|s| s["counts"]["larger_than_slot"] == 1));
    assert!(status["warnings"].to_string().contains("raise release.size"), "{status}");
    assert!(setup.log().contains("is larger than that of its slots"));
}

#[test]
fn slots_in_which_the_relay_host_is_out_pile_nothing_up_for_it() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 4.3.2 later"));
    let setup = in_slots(&relay_host, &authority.pem, "slots = \"1s\"");
    let daemon = setup.start();
    eventually("an attempt", || daemon.status()["relays"][0]["trouble"].is_string().then_some(()));
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(setup.spooled("queue").len(), 1, "one filler, however many slots there were");
    assert!(send(&daemon.address, &["ops@localhost"], &alert(5, 5710, 1, "news")).starts_with("250"));
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    let taken = relay_host.taken(2);
    assert_one_looks_like_the_other(&taken);
    eventually("the news", || {
        texts(&opened(&setup, &relay_host.heard().taken.clone())).contains(" news.").then_some(())
    });
}
