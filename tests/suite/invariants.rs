//! What must always hold, one test or more for each. Crashes are in `crashes`, hostile relay hosts in `delivery`.
//!
//! 1. 250 means durable.
//! 2. No alert text on disk or in a log, ever, unsealed.
//! 3. Nothing leaves in the clear.
//! 4. A client can at most choose among configured recipients.
//! 5. Nothing vanishes: a message leaves the spool on a relay host's final 250, or stays in `failed/`.
//! 6. Trouble shows elsewhere than in mail.
//! 7. Our own log lines never make the IDS mail about us.
//! 8. A duplicate only where SMTP allows no other way, with the same Message-ID and number.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::client::{self, Client, alert, send_alert};
use crate::support::daemon::{MARKER, Setup};
use crate::support::eventually;
use crate::support::reader::open;
use crate::support::relay_host::{Act, RelayHost, Script};

#[test]
fn invariant_1_what_was_answered_with_250_lies_durable_in_the_spool() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).at("greeting", Act::Close));
    let setup = Setup::new(relay_host.port, &authority.pem).recipient("second@example.org", "default = true");
    let daemon = setup.start();
    send_alert(&daemon.address, "durable");
    // One entry for each of the two default recipients, before anything else happens.
    assert_eq!(setup.spooled("queue").len(), 2);
    assert_eq!(setup.spooled("incoming").len(), 0);
    daemon.kill();
    assert_eq!(setup.spooled("queue").len(), 2);
}

#[test]
fn invariant_1_a_disk_that_does_not_take_it_is_no_250_and_the_alert_is_not_half_there() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    // Root may write anywhere, so the directory is taken away instead of its permissions.
    let (queue, away) = (setup.path("spool/incoming"), setup.path("away"));
    fs::rename(&queue, &away).expect("moved");
    let reply = client::send(&daemon.address, &["root@localhost"], &alert("no disk"));
    assert!(reply.starts_with("451"), "{reply}");
    fs::rename(&away, &queue).expect("moved back");
    send_alert(&daemon.address, "disk is back");
    let taken = relay_host.taken(1);
    let opened = open(&taken[0].message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
    assert!(String::from_utf8_lossy(opened.alert()).contains("disk is back"));
    // The number of the one that could not be stored is not used again.
    assert_eq!(opened.manifest["sequence"], 2);
    assert_eq!(daemon.status()["counts"]["not_taken"], 1);
}

#[test]
fn invariant_2_no_alert_text_reaches_the_disk_or_a_log_at_trace_level() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("END", "451 4.3.0 later"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "secret");
    eventually("a deferred message", || (daemon.status()["counts"]["deferred"] == 1).then_some(()));
    assert!(!setup.log().is_empty());
    setup.assert_nothing_leaked();
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    relay_host.taken(1);
    assert_eq!(daemon.terminate(), 0);
    setup.assert_nothing_leaked();
}

#[test]
fn invariant_2_the_daemon_leaves_no_core_dump_and_private_files_only() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a core limit");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"]);
    for name in ["spool", "spool/queue", "state", "state/signer.pgp"] {
        let mode = fs::metadata(setup.path(name)).expect(name).permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[test]
fn invariant_3_before_tls_only_ehlo_starttls_and_quit_are_said() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "in clear?");
    relay_host.taken(1);
    let mut stripped = Script::honest(&identity);
    stripped.offers_starttls = false;
    relay_host.now(stripped);
    // A new session: the warm one is still well.
    std::thread::sleep(Duration::from_secs(6));
    send_alert(&daemon.address, "stripped");
    eventually("trouble", || daemon.status()["relays"][0]["trouble"].as_str().map(str::to_owned));
    let heard = relay_host.heard();
    let clear = String::from_utf8_lossy(&heard.clear).into_owned();
    let mut lines = 0;
    // Behind STARTTLS the tap has heard nothing: TLS has its own reader.
    for line in clear.lines() {
        lines += 1;
        assert!(["EHLO [127.0.0.1]", "STARTTLS", "QUIT"].contains(&line), "{line:?} was said in clear");
    }
    assert!(lines >= 4, "{clear}");
    assert!(!clear.contains(MARKER));
}

#[test]
fn invariant_4_a_client_chooses_among_configured_recipients_and_no_more() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem)
        .recipient("alice@example.org", "accept = [{ recipient = \"alice@test.com\" }]");
    let daemon = setup.start();
    let hostile = format!("Bcc: victim@elsewhere.example\r\nTo: victim@elsewhere.example\r\n{}", alert("x"));
    client::send(&daemon.address, &["ALICE@test.com"], &hostile);
    client::send(&daemon.address, &["victim@elsewhere.example"], &hostile);
    let taken = relay_host.taken(2);
    let mut rcpts: Vec<&str> = taken.iter().map(|taken| taken.rcpt.as_str()).collect();
    rcpts.sort_unstable();
    assert_eq!(rcpts, ["RCPT TO:<admin@example.org>", "RCPT TO:<alice@example.org>"]);
    for taken in &taken {
        assert!(taken.mail.starts_with("MAIL FROM:<ossec@example.org>"), "{}", taken.mail);
        let outside = String::from_utf8_lossy(&taken.message).into_owned();
        let headers = outside.split("\r\n\r\n").next().expect("headers").to_owned();
        for theirs in ["victim", "Bcc", "ossec.server", "root@", "monitor", "Received", "Level"] {
            assert!(!headers.contains(theirs), "{theirs} in {headers}");
        }
        let names: Vec<&str> = headers
            .lines()
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split(':').next().unwrap_or(""))
            .collect();
        assert_eq!(names, ["From", "To", "Date", "Message-ID", "Subject", "MIME-Version", "Content-Type"]);
        assert!(headers.contains("Subject: [...]"));
        // From is the login, whatever the IDS says: the tutorial's case.
        assert!(headers.starts_with("From: ossec@example.org\r\n"), "{headers}");
    }
}

#[test]
fn invariant_5_a_refused_or_expired_message_goes_to_failed_and_stays() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let mut small = Script::honest(&identity);
    small.capabilities = vec!["SIZE 1000".into(), "AUTH PLAIN".into()];
    relay_host.now(small);
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "too large");
    eventually("a message in failed/", || (setup.spooled("failed").len() == 1).then_some(()));
    assert_eq!(setup.spooled("queue").len(), 0);
    let status = daemon.status();
    assert_eq!((&status["spool"]["failed"], &status["counts"]["undeliverable"]), (&1.into(), &1.into()));
    assert!(status["warnings"].to_string().contains("failed/"), "{status}");
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    assert_eq!(daemon.status()["spool"]["failed"], 1);
    let list = setup.run(&["queue", "list"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains("larger than the relay host's limit of 1000"), "{list:?}");
}

#[test]
fn invariant_5_a_refused_sender_is_a_fault_of_a_setting_and_the_message_stays_queued() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("MAIL", "550 5.7.60 not permitted to send as this sender"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "wrong sender");
    eventually("a deferred message", || (daemon.status()["counts"]["deferred"] == 1).then_some(()));
    assert_eq!((setup.spooled("queue").len(), setup.spooled("failed").len()), (1, 0));
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    relay_host.taken(1);
}

#[test]
fn invariant_6_status_and_its_exit_code_tell_of_trouble() {
    let (relay_host, authority, identity) = RelayHost::honest();
    // Without heartbeats it would not be all well.
    let setup = Setup::new(relay_host.port, &authority.pem).heartbeat("24h");
    let daemon = setup.start();
    send_alert(&daemon.address, "well");
    relay_host.taken(2);
    eventually("all well", || (daemon.status()["counts"]["sent"] == 2).then_some(()));
    assert_eq!(setup.run(&["status"]).status.code(), Some(0), "{}", daemon.status());
    std::thread::sleep(Duration::from_secs(6));
    relay_host.now(Script::honest(&identity).says("AUTH", "535 5.7.8 authentication failed"));
    send_alert(&daemon.address, "refused");
    eventually("trouble", || daemon.status()["relays"][0]["trouble"].as_str().map(str::to_owned));
    let shown = setup.run(&["status"]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.status.code(), Some(75), "{text}");
    assert!(text.contains("535 5.7.8 authentication failed") && text.contains("app password"), "{text}");
    assert_eq!(daemon.terminate(), 0);
    let down = setup.run(&["status"]);
    assert_eq!(down.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&down.stdout).contains("not running"), "{down:?}");
    assert!(String::from_utf8_lossy(&down.stdout).contains("1 waiting"), "{down:?}");
}

#[test]
fn invariant_7_no_line_of_a_hostile_run_at_trace_level_fires_a_rule() {
    let words = sealrelay::maillog::TRIGGERS.join(" ");
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).relay("timeout = \"1s\"");
    let daemon = setup.start();
    for step in ["greeting", "EHLO", "STARTTLS", "EHLO inside", "AUTH", "MAIL", "RCPT", "DATA", "END"] {
        for code in ["421", "454", "554"] {
            let reply = format!("{code} {words} ???? @@@@ {}", "x".repeat(1500));
            relay_host.now(Script::honest(&identity).says(step, &reply));
            send_alert(&daemon.address, "hostile");
            daemon.flush();
            std::thread::sleep(Duration::from_millis(120));
        }
    }
    let (mut client, _) = Client::connect(&daemon.address);
    client.say(&format!("HELO {words}"));
    client.say(&format!("{words} ????"));
    client.say(&format!("MAIL FROM:<{words}>"));
    drop(client);
    let _ = fs::write(setup.path("spool/queue/failed attack ????"), b"foreign");
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    drop(daemon);
    let log = setup.log();
    assert!(log.lines().count() > 100, "too little was logged: {}", log.lines().count());
    for line in log.lines() {
        let lower = line.to_ascii_lowercase();
        for trigger in sealrelay::maillog::TRIGGERS.iter().chain(&["@@"]) {
            assert!(!lower.contains(trigger), "{trigger:?} in {line}");
        }
        assert!(line.len() < 1000 && line.bytes().all(|o| (b' '..=b'~').contains(&o)), "{line}");
    }
}

#[test]
fn invariant_8_a_lost_reply_makes_a_duplicate_with_the_same_message_id_and_number() {
    let (relay_host, authority, identity) = RelayHost::honest();
    // It takes the message and answers later than we wait: five times two seconds.
    relay_host.now(Script::honest(&identity).at("END", Act::Late(Duration::from_secs(12))));
    let setup = Setup::new(relay_host.port, &authority.pem).relay("timeout = \"1s\"");
    let daemon = setup.start();
    send_alert(&daemon.address, "twice");
    eventually("a deferred message", || (daemon.status()["counts"]["deferred"] == 1).then_some(()));
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    let taken = relay_host.taken(2);
    assert_eq!(taken[0].message, taken[1].message);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(relay_host.heard().taken.len(), 2);
}

#[test]
fn numbers_go_on_over_restarts_and_each_recipient_has_its_own() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).recipient("alice@example.org", "");
    let daemon = setup.start();
    client::send(&daemon.address, &["root@localhost"], &alert("1"));
    client::send(&daemon.address, &["alice@example.org", "root@localhost"], &alert("2"));
    relay_host.taken(3);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    client::send(&daemon.address, &["alice@example.org", "root@localhost"], &alert("3"));
    let taken = relay_host.taken(5);
    let signer = setup.path("state/signer.asc");
    let mut numbers: Vec<(String, u64)> = taken
        .iter()
        .map(|taken| {
            let (address, certificate) = setup
                .recipients
                .iter()
                .find(|(address, _)| taken.rcpt.contains(address.as_str()))
                .expect("one of ours");
            let manifest = open(&taken.message, certificate, &signer).manifest;
            assert_eq!(manifest["recipient"], address.as_str());
            (address.clone(), manifest["sequence"].as_u64().expect("a number"))
        })
        .collect();
    numbers.sort();
    let expected = [("admin", 1), ("admin", 2), ("admin", 3), ("alice", 1), ("alice", 2)];
    assert_eq!(numbers, expected.map(|(name, number)| (format!("{name}@example.org"), number)));
}
