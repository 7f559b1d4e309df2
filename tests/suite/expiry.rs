//! Certificates whose time runs out, by a clock that really moves: while the daemon runs, over restarts, with broken
//! files. Whatever happens, nothing goes out in clear, the daemon stays up, and what got a 250 arrives.

use std::time::{Duration, SystemTime};

use sequoia_openpgp::Cert;
use sequoia_openpgp::policy::StandardPolicy;

use crate::support::certificates::{DAY, Weak, armored, fingerprint, of_age, weak_since};
use crate::support::client::{alert, send};
use crate::support::clock::Clock;
use crate::support::daemon::{Daemon, MARKER, Setup};
use crate::support::eventually;
use crate::support::reader::{encrypted_to, open_at};
use crate::support::relay_host::{RelayHost, Taken};

/// The fixed text of the stack this program replaces.
const NOTICE: &str = "Failed to encrypt OSSEC alert. Investigate the mailing configuration on the Monitor Server.";

const SEALED: &str = "sealed@example.org";
const TOLD: &str = "told@example.org";

/// The recipients' certificates end in this many days, and half a day.
const LEFT: u32 = 20;

/// One recipient with the default policy, one that wants a notice, and both their certificates' ends.
fn setup(relay_host: &RelayHost, authority: &str) -> Setup {
    let ending = |address| of_age(address, 345 * DAY - DAY / 2, 365 * DAY);
    Setup::new(relay_host.port, authority).recipient_with(SEALED, ending(SEALED), "").recipient_with(
        TOLD,
        ending(TOLD),
        "on_expired = \"notice\"",
    )
}

/// Sends an alert for `address` alone, which must be accepted.
#[track_caller]
fn accepted(daemon: &Daemon<'_>, address: &str, text: &str) {
    let reply = send(&daemon.address, &[address], &alert(&format!("{MARKER} {text}")));
    assert!(reply.starts_with("250"), "{reply}");
}

/// The messages for `address`, once there are `count`; none of any recipient's holds a word of an alert.
#[track_caller]
fn messages(relay_host: &RelayHost, address: &str, count: usize) -> Vec<Taken> {
    eventually(&format!("{count} message(s) for {address}"), || {
        let taken = relay_host.heard().taken.clone();
        let clear = taken.iter().find(|taken| taken.message.windows(MARKER.len()).any(|w| w == MARKER.as_bytes()));
        assert!(clear.is_none(), "an alert went out in clear");
        let of_this: Vec<Taken> = taken.into_iter().filter(|taken| taken.rcpt.contains(address)).collect();
        (of_this.len() >= count).then_some(of_this)
    })
}

fn text(taken: &Taken) -> String {
    String::from_utf8_lossy(&taken.message).into_owned()
}

/// What `status` says somebody should look at, now or in the next weeks.
fn warnings(daemon: &Daemon<'_>) -> String {
    let status = daemon.status();
    format!("{}{}", status["warnings"], status["advice"])
}

#[test]
fn a_certificate_that_expires_while_running_is_sealed_to_or_answered_by_a_notice_as_the_policy_says() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = setup(&relay_host, &authority.pem);
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    let daemon = setup.start_by_clock(&clock);
    let signer = setup.path("state/signer.asc");
    let (sealed, told) = (setup.recipients[1].1.clone(), setup.recipients[2].1.clone());
    accepted(&daemon, SEALED, "before");
    accepted(&daemon, TOLD, "before");
    let before = &messages(&relay_host, SEALED, 1)[0];
    assert!(!open_at(&before.message, &sealed, &signer, SystemTime::now()).noticed().contains("expired"));
    assert!(warnings(&daemon).contains("in 20 days"), "{}", warnings(&daemon));

    // The day after the end, in the running daemon.
    let then = clock.set_days(LEFT + 1);
    accepted(&daemon, SEALED, "after");
    accepted(&daemon, TOLD, "after");
    let after = &messages(&relay_host, SEALED, 2)[1];
    let opened = open_at(&after.message, &sealed, &signer, then + DAY);
    assert!(opened.noticed().contains("has expired. Extend it"), "{}", opened.noticed());
    assert!(String::from_utf8_lossy(opened.alert()).contains("after"));
    let told_after = &messages(&relay_host, TOLD, 2)[1];
    assert!(text(told_after).ends_with(&format!("\r\n\r\n{NOTICE}\r\n")), "{}", text(told_after));
    // What was accepted for the one who cannot be sealed to went to the default recipient.
    let default = &messages(&relay_host, "admin@", 1)[0];
    let opened = open_at(&default.message, &setup.recipients[0].1, &signer, then + DAY);
    assert!(opened.noticed().contains("This alert was for told@example.org"), "{}", opened.noticed());
    assert!(warnings(&daemon).matches("expired on").count() == 2, "{}", warnings(&daemon));
    assert_eq!(daemon.status()["state"], "degraded");

    // An extended certificate is in force after a reload, and the reader hears what it missed.
    let extended = extended(&told, 400 * DAY);
    setup.write(&format!("{TOLD}.asc"), &armored(&extended));
    let (said, code) = daemon.reload();
    assert_eq!(code, 0, "{said}");
    accepted(&daemon, TOLD, "extended");
    let again = &messages(&relay_host, TOLD, 3)[2];
    let opened = open_at(&again.message, &told, &signer, then + DAY);
    assert!(opened.noticed().contains("1 alert(s) before this one could not be sealed"), "{}", opened.noticed());
    assert!(warnings(&daemon).matches("expired on").count() == 1, "{}", warnings(&daemon));
    assert_eq!(daemon.terminate(), 0);
}

/// The same certificate with another end, counted from now.
fn extended(certificate: &Cert, by: Duration) -> Cert {
    let policy = StandardPolicy::new();
    let mut key =
        certificate.primary_key().key().clone().parts_into_secret().expect("secret").into_keypair().expect("a pair");
    let valid = certificate.with_policy(&policy, None).expect("valid");
    let end = Some(SystemTime::now() + by);
    let mut signatures = valid.primary_key().set_expiration_time(&mut key, end).expect("set");
    for subkey in valid.keys().subkeys().for_transport_encryption() {
        signatures.extend(subkey.set_expiration_time(&mut key, None, end).expect("set"));
    }
    certificate.clone().insert_packets(signatures).expect("inserted").0
}

#[test]
fn after_the_end_the_daemon_starts_whatever_became_of_the_file() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = setup(&relay_host, &authority.pem);
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    assert_eq!(setup.start_by_clock(&clock).terminate(), 0);
    let then = clock.set_days(LEFT + 1);
    let file = |address: &str| setup.path(&format!("{address}.asc"));
    for (nth, state) in ["whole", "broken", "missing"].into_iter().enumerate() {
        for address in [SEALED, TOLD] {
            match state {
                "broken" => drop(setup.write(&format!("{address}.asc"), b"no certificate")),
                "missing" => std::fs::remove_file(file(address)).expect("removed"),
                _ => {}
            }
        }
        let daemon = setup.start_by_clock(&clock);
        accepted(&daemon, SEALED, state);
        accepted(&daemon, TOLD, state);
        let sealed = &messages(&relay_host, SEALED, nth + 1)[nth];
        let opened = open_at(&sealed.message, &setup.recipients[1].1, &setup.path("state/signer.asc"), then + DAY);
        assert!(String::from_utf8_lossy(opened.alert()).contains(state));
        // The notice comes once an hour, over restarts; the alerts themselves reach the default recipient.
        messages(&relay_host, "admin@", nth + 1);
        assert_eq!(messages(&relay_host, TOLD, 1).len(), 1, "{state}");
        let copy = warnings(&daemon).matches("the last usable copy is used").count();
        assert_eq!(copy, if state == "whole" { 0 } else { 2 }, "{}", warnings(&daemon));
        assert_eq!(daemon.terminate(), 0);
    }
    assert!(text(&messages(&relay_host, TOLD, 1)[0]).contains(NOTICE));
}

#[test]
fn an_end_is_announced_once_at_each_stage_in_the_log_and_by_status() {
    let (relay_host, authority, _) = RelayHost::honest();
    let certificate = of_age("late@example.org", 265 * DAY - DAY / 2, 365 * DAY);
    let print = fingerprint(&certificate);
    let setup = Setup::new(relay_host.port, &authority.pem).recipient_with("late@example.org", certificate, "");
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    let announced = || setup.log().matches(&format!("the end of certificate {print} is")).count();
    // A hundred days and a half are left today.
    for (days, count, says) in [
        (30, 0, None),
        (41, 1, Some("in 59 days")),
        (45, 1, Some("in 55 days")),
        (71, 2, Some("in 29 days")),
        (87, 3, Some("in 13 days")),
        (94, 4, Some("in 6 days")),
        (100, 5, Some("within a day")),
        (110, 6, Some("expired on")),
        (111, 6, Some("expired on")),
    ] {
        clock.set_days(days);
        let daemon = setup.start_by_clock(&clock);
        eventually(&format!("{count} announcement(s) after {days} days"), || (announced() >= count).then_some(()));
        let warnings = warnings(&daemon);
        assert_eq!(warnings.contains(&print), says.is_some(), "{warnings}");
        assert!(warnings.contains(says.unwrap_or("")), "{says:?}: {warnings}");
        assert_eq!(daemon.terminate(), 0);
        assert_eq!(announced(), count, "after {days} days:\n{}", setup.log());
    }
}

#[test]
fn a_certificate_that_only_a_newer_policy_refuses_counts_as_expired() {
    // SHA-1 holds nothing together any more since 2023-02-01: today's version has known that from the start.
    let day = |text: &str| humantime::parse_rfc3339(&format!("{text}T12:00:00Z")).expect("a day");
    for (what, policy, address) in
        [(Weak::UserId, "", SEALED), (Weak::SubkeyBinding, "", SEALED), (Weak::UserId, "on_expired = \"notice\"", TOLD)]
    {
        let (relay_host, authority, _) = RelayHost::honest();
        let certificate = weak_since(address, what, day("2022-01-01"));
        let setup = Setup::new(relay_host.port, &authority.pem);
        // The default recipient's must not be of the future then either.
        let admin =
            of_age("admin@example.org", SystemTime::now().duration_since(day("2022-01-01")).expect("past"), 4000 * DAY);
        setup.write("admin@example.org.asc", &armored(&admin));
        let fresh = fingerprint(&setup.recipients[0].1);
        let setup = setup.with_fingerprint(&fresh, &fingerprint(&admin));
        let setup = setup.recipient_with(address, certificate.clone(), policy);
        let Some(clock) = Clock::new(&setup.path("")) else { return };
        clock.set_time(day("2023-01-15"));
        let daemon = setup.start_by_clock(&clock);
        let seal = |daemon: &Daemon<'_>, text: &str, nth: usize| {
            accepted(daemon, address, text);
            messages(&relay_host, address, nth + 1).remove(nth)
        };
        assert!(text(&seal(&daemon, "before", 0)).contains("multipart/encrypted"));
        assert!(!warnings(&daemon).contains("forged"), "{}", warnings(&daemon));
        // The day passes in the running daemon; then it starts anew.
        clock.set_time(SystemTime::now());
        let after = text(&seal(&daemon, "after", 1));
        assert_eq!(after.contains("multipart/encrypted"), policy.is_empty(), "{after}");
        assert_eq!(after.contains(NOTICE), !policy.is_empty());
        assert!(warnings(&daemon).contains("signatures that can be forged"), "{}", warnings(&daemon));
        assert_eq!(daemon.terminate(), 0);
        let daemon = setup.start_by_clock(&clock);
        if policy.is_empty() {
            let restarted = seal(&daemon, "restarted", 2);
            let subkey = certificate.keys().subkeys().next().expect("a subkey");
            assert_eq!(encrypted_to(&restarted.message), [subkey.key().keyid().to_hex()]);
        }
        assert!(warnings(&daemon).contains("signatures that can be forged"), "{}", warnings(&daemon));
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn a_clock_that_was_set_back_stops_no_alert() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    assert_eq!(setup.start_by_clock(&clock).terminate(), 0);
    clock.set_time(SystemTime::UNIX_EPOCH + 20_000 * DAY);
    let daemon = setup.start_by_clock(&clock);
    accepted(&daemon, "admin@example.org", "long ago");
    let taken = &messages(&relay_host, "admin@", 1)[0];
    assert!(text(taken).contains("multipart/encrypted"), "{}", text(taken));
    assert_eq!(encrypted_to(&taken.message).len(), 1);
    assert_eq!(daemon.terminate(), 0);
}
