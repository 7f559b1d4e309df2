//! What becomes of a message by what the relay host did with it, over time: refusals that last a day, a reply that comes
//! late, an outage that ends.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::damage::not_set_aside;
use crate::support::eventually;
use crate::support::relay_host::{Act, RelayHost, Script};

/// The state beside the only entry of the queue, and where it lies.
fn state_of_the_entry(setup: &Setup) -> (PathBuf, Value) {
    let path = setup.spooled("queue")[0].with_extension("state");
    let state = serde_json::from_slice(&fs::read(&path).expect("a state")).expect("JSON");
    (path, state)
}

/// Lets the hours pass that the relay host named so has refused the entry for; the daemon must be down.
fn refused_for_hours(setup: &Setup, relay: &str, hours: u64) {
    let (path, mut state) = state_of_the_entry(setup);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    assert!(state["refused"][relay].is_u64(), "{relay} has not refused it: {state}");
    state["refused"][relay] = json!(now - hours * 3600);
    fs::write(path, state.to_string()).expect("written");
}

fn deferred(setup: &Setup) {
    eventually("an attempt", || setup.log().contains("status=deferred").then_some(()));
}

#[test]
fn what_the_relay_host_refuses_for_a_day_is_final_and_not_before() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("END", "554 5.6.0 I do not like it"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let relay = format!("localhost:{}", relay_host.port);
    let daemon = setup.start();
    send_alert(&daemon.address, "refused");
    deferred(&setup);
    assert_eq!(daemon.terminate(), 0);
    for (hours, failed) in [(23, 0), (25, 1)] {
        refused_for_hours(&setup, &relay, hours);
        let before = relay_host.heard().offered;
        let daemon = setup.start();
        daemon.flush();
        eventually("another attempt", || (relay_host.heard().offered > before).then_some(()));
        eventually("an outcome", || {
            let status = daemon.status();
            (status["counts"]["deferred"] == 1 || status["counts"]["undeliverable"] == 1).then_some(())
        });
        assert_eq!((setup.spooled("queue").len(), setup.spooled("failed").len()), (1 - failed, failed), "{hours} h");
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn a_refusal_is_final_only_when_every_relay_host_has_repeated_it() {
    let (first, authority, identity) = RelayHost::honest();
    let refusing = Script::honest(&identity).says("END", "554 5.6.0 I do not like it");
    first.now(refusing.clone());
    let second = RelayHost::start(refusing);
    let setup = Setup::new(first.port, &authority.pem).another_relay(second.port, "");
    let daemon = setup.start();
    send_alert(&daemon.address, "refused by both");
    eventually("both attempts", || (daemon.status()["counts"]["deferred"] == 2).then_some(()));
    assert_eq!(daemon.terminate(), 0);
    refused_for_hours(&setup, &format!("localhost:{}", first.port), 30);
    let daemon = setup.start();
    daemon.flush();
    eventually("both attempts", || (daemon.status()["counts"]["deferred"] == 2).then_some(()));
    assert_eq!(setup.spooled("failed").len(), 0, "the second has refused it for a moment only");
    assert_eq!(daemon.terminate(), 0);
    refused_for_hours(&setup, &format!("localhost:{}", second.port), 30);
    let daemon = setup.start();
    daemon.flush();
    eventually("failed/", || (setup.spooled("failed").len() == 1).then_some(()));
    drop(daemon);
}

#[test]
fn a_250_that_comes_late_but_in_time_is_sent_once() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).at("END", Act::Late(Duration::from_secs(3))));
    let setup = Setup::new(relay_host.port, &authority.pem).relay("timeout = \"1s\"");
    let daemon = setup.start();
    send_alert(&daemon.address, "late");
    eventually("an empty spool", || (daemon.status()["counts"]["sent"] == 1).then_some(()));
    assert_eq!(relay_host.heard().taken.len(), 1);
    assert_eq!(daemon.status()["counts"]["deferred"], 0);
}

#[test]
fn after_an_outage_the_queue_goes_out_through_the_usual_sessions_and_not_all_at_once() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).at("greeting", Act::Close));
    let setup = Setup::new(relay_host.port, &authority.pem).relay("connections = 3").listen("early_dot_wait = \"0ms\"");
    let daemon = setup.start();
    (0..200).for_each(|nth| send_alert(&daemon.address, &format!("alert {nth}")));
    let tried = relay_host.heard().connections;
    assert!(tried <= 2, "{tried} connections to a relay host that does not answer");
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    relay_host.taken(200);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    let sessions = relay_host.heard().connections - tried;
    assert!(sessions <= 3, "{sessions} sessions");
    assert_eq!(relay_host.heard().taken.len(), 200);
}

#[test]
fn the_first_success_after_a_setting_was_at_fault_brings_out_what_waits() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("END", "550 5.4.5 Daily sending quota exceeded"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    (0..3).for_each(|nth| send_alert(&daemon.address, &format!("over quota {nth}")));
    eventually("three attempts", || (daemon.status()["counts"]["deferred"] == 3).then_some(()));
    relay_host.now(Script::honest(&identity));
    send_alert(&daemon.address, "the next day");
    relay_host.taken(4);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
}

#[test]
fn what_cannot_even_be_set_aside_is_tried_again_and_not_forgotten() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let (daemon, in_the_way) = not_set_aside(&setup, &relay_host, |octets| {
        let last = octets.len() - 5;
        octets[last] ^= 1;
    });
    assert_eq!(daemon.status()["spool"]["queued"], 1);
    fs::remove_dir(&in_the_way).expect("out of the way");
    daemon.flush();
    eventually("damaged/", || in_the_way.is_file().then_some(()));
    assert_eq!(relay_host.heard().taken.len(), 0);
}

#[test]
fn one_refusal_and_a_day_of_other_trouble_are_not_a_day_of_refusals() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("END", "554 5.6.0 I do not like it"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "refused once");
    deferred(&setup);
    assert_eq!(daemon.terminate(), 0);
    refused_for_hours(&setup, &format!("localhost:{}", relay_host.port), 30);
    relay_host.now(Script::honest(&identity).says("MAIL", "421 4.7.0 not now"));
    let daemon = setup.start();
    daemon.flush();
    eventually("another attempt", || (daemon.status()["counts"]["deferred"] == 1).then_some(()));
    assert_eq!((setup.spooled("queue").len(), setup.spooled("failed").len()), (1, 0));
}
