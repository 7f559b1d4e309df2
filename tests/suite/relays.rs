//! Several relay hosts: each with its own trust and login, tried in order; the next takes over when one is out or does
//! not take a message, and the first gets its mail back when it is well again.

use std::time::{Duration, SystemTime};

use crate::support::client::send_alert;
use crate::support::clock::Clock;
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::pki::Authority;
use crate::support::relay_host::{Act, RelayHost, Script};

/// Two relay hosts of one CA, and a configuration that names them in this order.
struct Two {
    first: RelayHost,
    second: RelayHost,
    honest: Script,
    setup: Setup,
}

fn two(first: impl Fn(Script) -> Script, second: impl Fn(Script) -> Script) -> Two {
    let authority = Authority::new("test CA");
    let honest = Script::honest(&authority.issue("localhost"));
    let first = RelayHost::start(first(honest.clone()));
    let second = RelayHost::start(second(honest.clone()));
    let setup = Setup::new(first.port, &authority.pem).another_relay(second.port, "");
    Two { first, second, honest, setup }
}

fn changed(mut script: Script, change: impl FnOnce(&mut Script)) -> Script {
    change(&mut script);
    script
}

#[test]
fn while_the_first_is_well_the_second_gets_nothing() {
    let two = two(|honest| honest, |honest| honest);
    let daemon = two.setup.start();
    for nth in 0..20 {
        send_alert(&daemon.address, &format!("alert {nth}"));
    }
    two.first.taken(20);
    assert_eq!(two.second.heard().connections, 0);
}

#[test]
fn the_second_takes_over_when_the_first_is_out_whatever_the_reason() {
    let other = Authority::new("another CA").issue("localhost");
    let rows: [(&str, &dyn Fn(Script) -> Script); 7] = [
        ("closed at once", &|honest| honest.at("greeting", Act::Close)),
        ("not verified", &|honest| changed(honest, |script| script.identity = other.clone())),
        ("no STARTTLS", &|honest| changed(honest, |script| script.offers_starttls = false)),
        ("login refused", &|honest| honest.says("AUTH", "535 5.7.8 no")),
        ("sender refused", &|honest| honest.says("MAIL", "550 5.7.1 no")),
        ("recipient refused", &|honest| honest.says("RCPT", "550 5.1.1 no")),
        ("message refused", &|honest| honest.says("END", "554 5.6.0 no")),
    ];
    std::thread::scope(|scope| {
        for (name, first) in rows {
            let two = two(first, |honest| honest);
            scope.spawn(move || {
                let daemon = two.setup.start();
                send_alert(&daemon.address, name);
                two.second.taken(1);
                eventually(&format!("{name}: an empty spool"), || two.setup.spooled("queue").is_empty().then_some(()));
                let status = daemon.status();
                assert!(status["relays"][0]["trouble"].is_string(), "{name}: {status:#}");
                assert!(status["relays"][1]["trouble"].is_null(), "{name}: {status:#}");
                assert_eq!(two.first.heard().taken.len(), 0, "{name}");
            });
        }
    });
}

#[test]
fn an_unreachable_first_is_stood_in_for_and_gets_its_mail_back_when_it_is_well() {
    let two = two(|honest| honest.at("greeting", Act::Close), |honest| honest);
    let daemon = two.setup.start();
    for nth in 1..=5 {
        send_alert(&daemon.address, &format!("while it is out {nth}"));
        two.second.taken(nth);
    }
    let hammered = two.first.heard().connections;
    assert!(hammered <= 2, "{hammered} connections to a relay host that is out");
    two.first.now(two.honest.clone());
    daemon.flush();
    send_alert(&daemon.address, "well again");
    two.first.taken(1);
    assert_eq!(two.second.heard().taken.len(), 5);
}

#[test]
fn what_every_relay_host_refuses_for_a_setting_stays_queued_and_a_reload_brings_it_out() {
    let quota = |honest: Script| honest.says("END", "550 5.4.5 Daily sending quota exceeded");
    let sender = |honest: Script| {
        honest.says("MAIL", "550 5.7.60 SMTP; Client does not have permissions to send as this sender")
    };
    let two = two(quota, sender);
    let daemon = two.setup.start();
    send_alert(&daemon.address, "over quota");
    eventually("both to refuse", || {
        let status = daemon.status();
        (0..2).all(|nth| status["relays"][nth]["trouble"].is_string()).then_some(())
    });
    assert_eq!((two.setup.spooled("queue").len(), two.setup.spooled("failed").len()), (1, 0));
    two.second.now(two.honest.clone());
    assert_eq!(daemon.reload().1, 0);
    two.second.taken(1);
}

#[test]
fn a_message_larger_than_every_relay_host_takes_fails_at_once_and_one_that_fits_somewhere_does_not() {
    let small =
        |honest: Script| changed(honest, |script| script.capabilities = vec!["SIZE 1000".into(), "AUTH PLAIN".into()]);
    let fits = two(small, |honest| honest);
    let daemon = fits.setup.start();
    send_alert(&daemon.address, "too large for the first");
    fits.second.taken(1);
    let nowhere = two(small, small);
    let daemon = nowhere.setup.start();
    send_alert(&daemon.address, "too large for both");
    eventually("failed/", || (nowhere.setup.spooled("failed").len() == 1).then_some(()));
    drop(daemon);
}

#[test]
fn a_wrong_login_is_tried_at_most_four_times_an_hour_however_often_somebody_flushes() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("AUTH", "535 5.7.8 no"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "an alert");
    for _ in 0..10 {
        eventually("trouble", || daemon.status()["relays"][0]["trouble"].is_string().then_some(()));
        daemon.flush();
        std::thread::sleep(Duration::from_millis(200));
    }
    let logins = relay_host.heard().inside.iter().filter(|line| line.starts_with("AUTH")).count();
    assert_eq!(logins, 4);
    // A changed login is another one: it may be tried at once.
    setup.write("sasl_password", b"another wrong one");
    assert_eq!(daemon.reload().1, 0);
    eventually("another attempt", || {
        let logins = relay_host.heard().inside.iter().filter(|line| line.starts_with("AUTH")).count();
        (logins == 5).then_some(())
    });
}

#[test]
fn what_is_over_the_cap_waits_over_a_restart_too_and_the_next_relay_host_takes_it_if_there_is_one() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).relay("messages_per_hour = 8\nmessages_per_day = 100");
    let daemon = setup.start();
    for nth in 0..4 {
        send_alert(&daemon.address, &format!("alert {nth}"));
    }
    relay_host.taken(2);
    let until = eventually("the cap to show", || daemon.status()["relays"][0]["waits_until"].as_u64());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    assert!((1..=1200).contains(&(until - now)), "waits {} s", until - now);
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((relay_host.heard().taken.len(), setup.spooled("queue").len()), (2, 2));
    drop(daemon);

    let authority = Authority::new("test CA");
    let honest = Script::honest(&authority.issue("localhost"));
    let (capped, other) = (RelayHost::start(honest.clone()), RelayHost::start(honest));
    let setup = Setup::new(capped.port, &authority.pem).relay("messages_per_hour = 8").another_relay(other.port, "");
    let daemon = setup.start();
    for nth in 0..4 {
        send_alert(&daemon.address, &format!("alert {nth}"));
    }
    other.taken(2);
    assert_eq!(capped.heard().taken.len(), 2);
}

#[test]
fn what_the_first_has_deferred_for_a_quarter_of_an_hour_goes_to_the_second_and_not_before() {
    let two = two(|honest| honest.says("END", "451 4.3.0 Try again later"), |honest| honest);
    let Some(clock) = Clock::new(&two.setup.path("")) else { return };
    let daemon = two.setup.start_with(|command| clock.rule(command));
    send_alert(&daemon.address, "deferred");
    let attempts = |count: u64| {
        eventually("an attempt", || (daemon.status()["counts"]["deferred"].as_u64() >= Some(count)).then_some(()));
    };
    attempts(1);
    clock.set_time(SystemTime::now() + Duration::from_secs(14 * 60));
    send_alert(&daemon.address, "wakes the worker");
    attempts(3);
    assert_eq!(two.second.heard().connections, 0, "fourteen minutes are not long");
    clock.set_time(SystemTime::now() + Duration::from_secs(40 * 60));
    send_alert(&daemon.address, "wakes it again");
    two.second.taken(1);
    // What the first defers it keeps for a quarter of an hour, and what is new is its own again.
    assert_eq!(two.first.heard().taken.len(), 0);
    two.first.now(two.honest.clone());
    daemon.flush();
    send_alert(&daemon.address, "new");
    two.first.taken(1);
}

#[test]
fn a_relay_host_at_its_cap_is_waited_for_and_not_asked_again_and_again() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).relay("messages_per_day = 4");
    let daemon = setup.start();
    for nth in 0..6 {
        send_alert(&daemon.address, &format!("alert {nth}"));
    }
    relay_host.taken(1);
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.id())).expect("its numbers");
        let words: Vec<&str> = stat.rsplit(')').next().expect("a state").split_whitespace().collect();
        // User and system time, in hundredths of a second.
        words[11].parse::<u64>().expect("a number") + words[12].parse::<u64>().expect("a number")
    };
    let before = used();
    std::thread::sleep(Duration::from_secs(3));
    let busy = used() - before;
    assert!(busy < 60, "{busy} hundredths of a second of processor in three seconds of waiting");
    assert_eq!(setup.spooled("queue").len(), 5);
}
