//! The relay host's certificate over time: its expiry, and a change of it, are noticed at each session.

use std::fs;

use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::relay_host::{RelayHost, Script};

#[test]
fn a_certificate_that_expires_soon_is_told_by_status_and_the_log() {
    let (relay_host, authority, _) = RelayHost::honest();
    let short = authority.issue_for_days("localhost", 9);
    relay_host.now(Script::honest(&short));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "while it lasts");
    relay_host.taken(1);
    let status =
        eventually("a certificate", || Some(daemon.status()).filter(|s| !s["relays"][0]["certificate"].is_null()));
    assert_eq!(status["state"], "degraded", "{status}");
    assert!(status["warnings"][0].as_str().expect("a warning").contains("certificate expires in 8 day(s)"), "{status}");
    assert!(setup.log().contains("its certificate expires in 8 day(s)"), "{}", setup.log());
    drop(daemon);
    // Pinned, its dates do not count, and there is nothing to warn of.
    let pin = format!("pins = [\"{}\"]", short.sha256_pin());
    let setup = Setup::new(relay_host.port, &authority.pem).without_relay("ca_file").relay(&pin);
    let daemon = setup.start();
    send_alert(&daemon.address, "pinned");
    relay_host.taken(2);
    let status =
        eventually("a certificate", || Some(daemon.status()).filter(|s| !s["relays"][0]["certificate"].is_null()));
    assert_eq!(status["state"], "ok", "{status}");
}

#[test]
fn another_certificate_than_last_time_is_told_also_when_the_daemon_was_down_in_between() {
    let (relay_host, authority, first) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "one");
    relay_host.taken(1);
    let file = setup.path("state/certificates.json");
    eventually("the certificate to be remembered", || fs::metadata(&file).ok());
    assert_eq!(daemon.terminate(), 0);
    assert!(!setup.log().contains("another certificate"), "{}", setup.log());
    let second = authority.issue("localhost");
    relay_host.now(Script::honest(&second));
    let daemon = setup.start();
    // What an earlier process saw is shown until there is a session.
    assert_eq!(daemon.status()["relays"][0]["certificate"]["own"], first.sha256_pin().as_str());
    send_alert(&daemon.address, "two");
    relay_host.taken(2);
    let told = format!(
        "presents another certificate than before, verified: {}; before: {}",
        second.sha256_pin(),
        first.sha256_pin()
    );
    eventually("the change in the log", || setup.log().contains(&told).then_some(()));
    let certificate = daemon.status()["relays"][0]["certificate"].clone();
    assert_eq!(
        (&certificate["own"], &certificate["before"]),
        (&second.sha256_pin().into(), &first.sha256_pin().into())
    );
    let text = setup.run(&["status"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains(&format!("before it   {}", first.sha256_pin())));
}
