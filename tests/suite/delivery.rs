//! Delivery to relay hosts that refuse, hang up, keep silent, lie, or are not who they should be: in each case nothing
//! secret left, the alert is still in the spool, and it goes out when the relay host is honest again.

use std::time::Duration;

use crate::support::client::send_alert;
use crate::support::daemon::{MARKER, Setup};
use crate::support::eventually;
use crate::support::pki::Authority;
use crate::support::reader::open;
use crate::support::relay_host::{Act, PASSWORD, RelayHost, Script};

/// Sends an alert while the relay host behaves as `hostile`, then makes it honest and demands the alert, once.
fn survives(name: &str, setup: &Setup, relay_host: &RelayHost, hostile: Script, honest: Script) {
    relay_host.now(hostile);
    let before = relay_host.heard().taken.len();
    let daemon = setup.start();
    send_alert(&daemon.address, name);
    eventually(&format!("{name}: trouble to show"), || {
        let status = daemon.status();
        let deferred = status["counts"]["deferred"].as_u64() >= Some(1);
        (deferred || status["relays"][0]["trouble"].is_string()).then_some(())
    });
    assert_eq!(setup.spooled("queue").len(), 1, "{name}: the alert left the spool");
    relay_host.now(honest);
    daemon.flush();
    let taken = relay_host.taken(before + 1);
    let opened = open(&taken[before].message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
    assert!(String::from_utf8_lossy(opened.alert()).contains(name), "{name}");
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    assert_eq!(daemon.terminate(), 0);
    setup.assert_nothing_leaked();
}

fn assert_nothing_in_clear(relay_host: &RelayHost) {
    let heard = relay_host.heard();
    let clear = String::from_utf8_lossy(&heard.clear).into_owned();
    for secret in [MARKER, PASSWORD, "AUTH", "MAIL", "RCPT", "DATA"] {
        assert!(!clear.contains(secret), "{secret} was said in clear: {clear}");
    }
}

#[test]
fn a_4xx_a_5xx_a_hang_up_and_silence_at_each_step_lose_nothing() {
    let steps = ["greeting", "EHLO", "STARTTLS", "EHLO inside", "AUTH", "MAIL", "RCPT", "DATA", "END"];
    let acts = [
        ("4xx", Act::Say("451 4.3.0 Try again later".into())),
        ("5xx", Act::Say("550 5.7.1 Refused".into())),
        ("421", Act::Say("421 4.7.0 Closing".into())),
        ("hang-up", Act::Close),
        ("silence", Act::Silence(Duration::from_secs(9))),
        ("nonsense", Act::Say("HTTP/1.1 200 OK".into())),
        ("unfinished", Act::Say("250-half".into())),
    ];
    // All at once: most of it is waiting.
    std::thread::scope(|scope| {
        for step in steps {
            let acts = &acts;
            scope.spawn(move || {
                for (kind, act) in acts {
                    let (relay_host, authority, identity) = RelayHost::honest();
                    let setup = Setup::new(relay_host.port, &authority.pem).relay("timeout = \"1s\"");
                    let honest = Script::honest(&identity);
                    survives(
                        &format!("{kind} at {step}"),
                        &setup,
                        &relay_host,
                        honest.clone().at(step, act.clone()),
                        honest,
                    );
                    assert_nothing_in_clear(&relay_host);
                }
            });
        }
    });
}

#[test]
fn octets_injected_behind_the_starttls_220_are_not_taken_for_replies() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let session = "220 go\r\n250-x\r\n250 AUTH PLAIN\r\n235 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 forged";
    for injected in ["220 go\r\n250 injected", session] {
        let hostile = Script::honest(&identity).says("STARTTLS", injected);
        survives("injected", &setup, &relay_host, hostile, Script::honest(&identity));
        assert_nothing_in_clear(&relay_host);
    }
    assert!(setup.log().contains("octets came in clear behind the reply to STARTTLS"));
    assert_eq!(relay_host.heard().taken.len(), 2);
}

#[test]
fn a_stripped_starttls_is_noticed() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let mut stripped = Script::honest(&identity);
    stripped.offers_starttls = false;
    survives("stripped", &setup, &relay_host, stripped, Script::honest(&identity));
    assert_nothing_in_clear(&relay_host);
    assert!(setup.log().contains("does not offer STARTTLS"));
}

#[test]
fn a_reply_nobody_asked_for_is_not_taken_for_the_next_one() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let hostile = Script::honest(&identity).says("DATA", "354 go\r\n250 2.0.0 forged");
    survives("unasked", &setup, &relay_host, hostile, Script::honest(&identity));
    assert_eq!(relay_host.heard().taken.len(), 1);
}

/// The trust modes against servers that are right and wrong for each.
#[test]
fn each_trust_mode_takes_the_right_server_and_no_other() {
    let (right, wrong) = (Authority::new("right CA"), Authority::new("wrong CA"));
    let good = right.issue("localhost");
    let renewed = right.issue("localhost");
    let ca = |setup: Setup| setup;
    let pin = |setup: Setup| setup.without_relay("ca_file").relay(&format!("pins = [\"{}\"]", good.sha256_pin()));
    let system = |setup: Setup| setup.without_relay("ca_file");
    type Mode<'a> = &'a dyn Fn(Setup) -> Setup;
    let rows: [(&str, Mode<'_>, _, bool, &str); 10] = [
        ("ca_file, good", &ca, good.clone(), true, ""),
        ("ca_file, wrong CA", &ca, wrong.issue("localhost"), false, "not trusted"),
        ("ca_file, wrong name", &ca, right.issue("elsewhere.example"), false, "not trusted"),
        ("ca_file, expired", &ca, right.issue_expired("localhost"), false, "expired"),
        ("pin, the certificate", &pin, good.clone(), true, ""),
        ("pin, another one of the same CA", &pin, renewed, false, "not the pinned one: expected sha256:"),
        ("pin, another CA", &pin, wrong.issue("localhost"), false, "not the pinned one"),
        ("system, a private CA", &system, good.clone(), false, "not trusted"),
        ("system, self-made", &system, wrong.issue("localhost"), false, "not trusted"),
        ("ca_file, good again", &ca, right.issue("localhost"), true, ""),
    ];
    for (name, mode, identity, trusted, said) in rows {
        let relay_host = RelayHost::start(Script::honest(&identity));
        let setup = mode(Setup::new(relay_host.port, &right.pem));
        let daemon = setup.start();
        send_alert(&daemon.address, name);
        if trusted {
            relay_host.taken(1);
        } else {
            let trouble = eventually(name, || daemon.status()["relays"][0]["trouble"].as_str().map(str::to_owned));
            assert!(trouble.contains(said), "{name}: {trouble}");
            let heard = relay_host.heard();
            assert!(heard.inside.is_empty() && heard.taken.is_empty(), "{name}: {:?}", heard.inside);
            drop(heard);
            assert_eq!(setup.spooled("queue").len(), 1, "{name}");
        }
        // The very same code answers `check`.
        let check = setup.run(&["check", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&check.stdout).expect(name);
        assert_eq!(report["exit_code"] == 0, trusted, "{name}: {report}");
        assert_eq!(report["verify_code"] == 0, trusted, "{name}: {report}");
        // The right one comes back: what waited goes out. (No server here can please the system's roots.)
        if !trusted && !name.starts_with("system") {
            relay_host.now(Script::honest(&good));
            daemon.flush();
            relay_host.taken(1);
        }
    }
}

#[test]
fn a_pinned_certificate_without_its_key_is_refused() {
    let authority = Authority::new("CA");
    let (stolen, own) = (authority.issue("localhost"), authority.issue("localhost"));
    let mut forged = stolen.clone();
    forged.key = own.key;
    let relay_host = RelayHost::start(Script::honest(&forged));
    let pins = format!("pins = [\"{}\"]", stolen.sha256_pin());
    let setup = Setup::new(relay_host.port, &authority.pem).without_relay("ca_file").relay(&pins);
    let daemon = setup.start();
    send_alert(&daemon.address, "stolen");
    let trouble = eventually("trouble", || daemon.status()["relays"][0]["trouble"].as_str().map(str::to_owned));
    assert!(trouble.contains("TLS"), "{trouble}");
    assert!(relay_host.heard().inside.is_empty());
}

#[test]
fn implicit_tls_and_auth_login_work() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let mut script = Script::honest(&identity);
    script.implicit_tls = true;
    script.capabilities = vec!["AUTH LOGIN".into()];
    relay_host.now(script);
    let setup = Setup::new(relay_host.port, &authority.pem).relay("tls = \"implicit\"");
    let daemon = setup.start();
    send_alert(&daemon.address, "implicit");
    relay_host.taken(1);
    assert!(relay_host.heard().clear.is_empty());
    assert!(relay_host.heard().inside.contains(&"AUTH LOGIN".to_owned()));
}

#[test]
fn several_messages_go_through_one_session() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let setup = Setup::new(relay_host.port, &authority.pem).relay("connections = 1");
    let daemon = setup.start();
    (0..20).for_each(|nth| send_alert(&daemon.address, &format!("alert {nth}")));
    relay_host.now(Script::honest(&identity));
    let before = relay_host.heard().connections;
    daemon.flush();
    relay_host.taken(20);
    assert_eq!(relay_host.heard().connections - before, 1);
}

#[test]
fn a_refused_login_is_tried_again_after_a_quarter_of_an_hour_and_not_before() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("AUTH", "535 5.7.8 no"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    (0..3).for_each(|nth| send_alert(&daemon.address, &format!("{nth}")));
    let next = eventually("trouble", || daemon.status()["relays"][0]["next_attempt"].as_u64());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs();
    assert!((now + 700..=now + 900).contains(&next), "in {} s", next - now);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(relay_host.heard().inside.iter().filter(|line| line.starts_with("AUTH")).count(), 1);
}

#[test]
fn a_relay_host_that_ends_sessions_after_some_messages_delays_nothing() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).relay("connections = 1");
    let daemon = setup.start();
    for nth in 0..3 {
        relay_host.now(Script::honest(&identity));
        send_alert(&daemon.address, &format!("taken {nth}"));
        relay_host.taken(2 * nth + 1);
        // The session that has just taken a message is told to go away at the next MAIL, once.
        relay_host.now(
            Script::honest(&identity).at_once("MAIL", Act::Say("421 4.7.0 Too many messages in this session".into())),
        );
        send_alert(&daemon.address, &format!("after a 421 {nth}"));
        relay_host.taken(2 * nth + 2);
    }
    let status = daemon.status();
    assert_eq!((&status["counts"]["deferred"], &status["counts"]["sent"]), (&0.into(), &6.into()), "{status}");
}

#[test]
fn a_relay_host_that_takes_no_message_shows_in_status_though_the_login_works() {
    for (step, reply) in [("END", "451 4.3.0 disk full"), ("RCPT", "550 5.1.1 no such user"), ("MAIL", "421 4.7.0 no")]
    {
        let (relay_host, authority, identity) = RelayHost::honest();
        relay_host.now(Script::honest(&identity).says(step, reply));
        // Without heartbeats it would not be all well.
        let setup = Setup::new(relay_host.port, &authority.pem).heartbeat("24h");
        let daemon = setup.start();
        send_alert(&daemon.address, step);
        eventually("a deferred message", || (daemon.status()["counts"]["deferred"].as_u64() > Some(0)).then_some(()));
        let shown = setup.run(&["status"]);
        assert_eq!(shown.status.code(), Some(75), "{shown:?}");
        assert!(String::from_utf8_lossy(&shown.stdout).contains(reply), "{shown:?}");
        relay_host.now(Script::honest(&identity));
        daemon.flush();
        relay_host.taken(2);
        eventually("all well", || (setup.run(&["status"]).status.code() == Some(0)).then_some(()));
    }
}
