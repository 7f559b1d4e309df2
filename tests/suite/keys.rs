//! What becomes of alerts when a recipient's certificate breaks, expires or is revoked.

use std::fs;

use sequoia_openpgp as openpgp;

use crate::support::certificates::{DAY, armored, of_age, ordinary, revoked, with_revoked_subkeys};
use crate::support::client::{Client, send_alert};
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::reader::{encrypted_to, open};
use crate::support::relay_host::{RelayHost, Taken};

/// The fixed text of the stack this program replaces.
const NOTICE: &str = "Failed to encrypt OSSEC alert. Investigate the mailing configuration on the Monitor Server.";

fn to<'a>(taken: &'a [Taken], address: &str) -> Vec<&'a Taken> {
    taken.iter().filter(|taken| taken.rcpt.contains(address)).collect()
}

#[test]
fn a_certificate_file_that_breaks_later_is_replaced_by_the_last_usable_copy() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    assert_eq!(setup.start().terminate(), 0);
    for (nth, broken) in [b"not a certificate".as_slice(), b""].iter().enumerate() {
        setup.write("admin@example.org.asc", broken);
        let daemon = setup.start();
        send_alert(&daemon.address, &format!("broken {nth}"));
        let taken = relay_host.taken(nth + 1);
        open(&taken[nth].message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
        assert!(
            daemon.status()["warnings"].to_string().contains("the last usable copy is used"),
            "{}",
            daemon.status()
        );
        assert_eq!(setup.run(&["status"]).status.code(), Some(75));
        // `config check` refuses what `run` bears.
        assert_eq!(setup.run(&["config", "check"]).status.code(), Some(78));
    }
    fs::remove_file(setup.path("admin@example.org.asc")).expect("removed");
    let daemon = setup.start();
    send_alert(&daemon.address, "missing");
    relay_host.taken(3);
}

#[test]
fn a_certificate_that_never_was_usable_stops_the_start() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    setup.configure();
    setup.write("admin@example.org.asc", b"not a certificate");
    let output = setup.run(&["run"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no OpenPGP certificate"), "{output:?}");
}

#[test]
fn a_recipient_who_cannot_be_sealed_to_gets_one_notice_an_hour_and_the_others_get_the_alerts() {
    let (relay_host, authority, _) = RelayHost::honest();
    let certificate = ordinary("second@example.org");
    let setup = Setup::new(relay_host.port, &authority.pem).recipient_with(
        "second@example.org",
        certificate.clone(),
        "default = true",
    );
    let daemon = setup.start();
    send_alert(&daemon.address, "before");
    relay_host.taken(2);
    assert_eq!(daemon.terminate(), 0);
    setup.write("second@example.org.asc", &armored(&revoked(&certificate)));
    let daemon = setup.start();
    (0..3).for_each(|nth| send_alert(&daemon.address, &format!("after {nth}")));
    let taken = relay_host.taken(6);
    let (admin, second) = (to(&taken, "admin@"), to(&taken, "second@"));
    assert_eq!((admin.len(), second.len()), (4, 2));
    let notice = String::from_utf8_lossy(&second[1].message).into_owned();
    let (headers, text) = notice.split_once("\r\n\r\n").expect("a body");
    assert_eq!(text, format!("{NOTICE}\r\n"));
    assert!(headers.contains("Subject: [...]"), "{headers}");
    assert!(daemon.status()["warnings"].to_string().contains("is revoked"), "{}", daemon.status());
    assert_eq!(daemon.status()["counts"]["not_sealed"], 3);
    assert_eq!(daemon.terminate(), 0);
    // A revocation once seen is never forgotten, whatever happens to the file; nor is the hour.
    setup.write("second@example.org.asc", &armored(&setup.recipients[1].1));
    let daemon = setup.start();
    send_alert(&daemon.address, "unrevoked?");
    let taken = relay_host.taken(7);
    assert_eq!(to(&taken, "second@").len(), 2);
    drop(daemon);
}

#[test]
fn an_alert_whose_only_recipient_cannot_be_sealed_to_goes_to_the_default_one_marked() {
    let (relay_host, authority, _) = RelayHost::honest();
    let certificate = ordinary("alice@example.org");
    let setup =
        Setup::new(relay_host.port, &authority.pem).recipient_with("alice@example.org", certificate.clone(), "");
    assert_eq!(setup.start().terminate(), 0);
    setup.write("alice@example.org.asc", &armored(&revoked(&certificate)));
    let daemon = setup.start();
    let reply = crate::support::client::send(
        &daemon.address,
        &["alice@example.org"],
        &crate::support::client::alert("for alice"),
    );
    assert!(reply.starts_with("250"), "{reply}");
    let taken = relay_host.taken(2);
    let alert = to(&taken, "admin@")[0];
    let opened = open(&alert.message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
    assert!(opened.noticed().contains("This alert was for alice@example.org"), "{}", opened.noticed());
}

#[test]
fn when_nobody_can_be_sealed_to_the_banner_is_421_and_status_says_broken() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    assert_eq!(setup.start().terminate(), 0);
    let certificate = ordinary("admin@example.org");
    let old = setup.recipients[0].1.fingerprint().to_hex();
    let setup = setup.with_fingerprint(&old, &certificate.fingerprint().to_hex());
    setup.write("admin@example.org.asc", &armored(&certificate));
    assert_eq!(setup.start().terminate(), 0);
    setup.write("admin@example.org.asc", &armored(&revoked(&certificate)));
    let daemon = setup.start();
    let (_, banner) = Client::connect(&daemon.address);
    assert!(banner.starts_with("421 "), "{banner}");
    crate::support::client::assert_refusal(&banner);
    assert_eq!(daemon.status()["state"], "broken");
    assert_eq!(setup.run(&["status"]).status.code(), Some(69));
}

#[test]
fn an_expired_certificate_is_sealed_to_with_a_warning_unless_a_notice_is_wanted() {
    let expired = of_age("late@example.org", 400 * DAY, 365 * DAY);
    for (policy, sealed) in [("", true), ("on_expired = \"notice\"", false)] {
        let (relay_host, authority, _) = RelayHost::honest();
        let setup =
            Setup::new(relay_host.port, &authority.pem).recipient_with("late@example.org", expired.clone(), policy);
        let daemon = setup.start();
        let reply = crate::support::client::send(
            &daemon.address,
            &["late@example.org"],
            &crate::support::client::alert("late"),
        );
        assert!(reply.starts_with("250"), "{reply}");
        let taken = eventually("the message", || {
            let taken = relay_host.heard().taken.clone();
            to(&taken, "late@").first().map(|taken| (*taken).clone())
        });
        let text = String::from_utf8_lossy(&taken.message).into_owned();
        assert_eq!(text.contains("multipart/encrypted"), sealed, "{policy}");
        if !sealed {
            assert!(text.contains(NOTICE));
        }
        assert!(daemon.status()["warnings"].to_string().contains("expired on"), "{}", daemon.status());
    }
}

#[test]
fn a_revocation_is_in_force_after_a_reload_and_no_old_file_takes_it_back() {
    for revoke in [revoked, with_revoked_subkeys] {
        let (relay_host, authority, _) = RelayHost::honest();
        let setup = Setup::new(relay_host.port, &authority.pem).recipient("second@example.org", "default = true");
        let whole = setup.recipients[1].1.clone();
        let daemon = setup.start();
        send_alert(&daemon.address, "before");
        relay_host.taken(2);
        setup.write("second@example.org.asc", &armored(&revoke(&whole)));
        let (said, code) = daemon.reload();
        assert_eq!(code, 0, "a recipient who once could be sealed to does not stop a reload: {said}");
        send_alert(&daemon.address, "after");
        let taken = relay_host.taken(4);
        assert!(String::from_utf8_lossy(&to(&taken, "second@")[1].message).contains(NOTICE));
        assert!(daemon.status()["warnings"].to_string().contains("revoked"), "{}", daemon.status());
        // The old file comes back, out of a backup or by somebody who would like to read on.
        setup.write("second@example.org.asc", &armored(&whole));
        assert_eq!(daemon.reload().1, 0);
        send_alert(&daemon.address, "old file");
        assert_eq!(daemon.terminate(), 0);
        let daemon = setup.start();
        send_alert(&daemon.address, "old file, restarted");
        let taken = relay_host.taken(6);
        assert_eq!((to(&taken, "admin@").len(), to(&taken, "second@").len()), (4, 2));
        assert!(daemon.status()["warnings"].to_string().contains("revoked"), "{}", daemon.status());
        // What the copy knows, `config check` and `keys list` know.
        assert_eq!(setup.run(&["config", "check"]).status.code(), Some(78));
        assert_eq!(setup.run(&["keys", "list"]).status.code(), Some(78));
    }
}

#[test]
fn a_repaired_file_is_in_force_after_a_reload() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let whole = setup.recipients[0].1.clone();
    assert_eq!(setup.start().terminate(), 0);
    let file = setup.path("admin@example.org.asc");
    fs::remove_file(&file).expect("removed");
    let daemon = setup.start();
    assert!(daemon.status()["warnings"].to_string().contains("the last usable copy is used"), "{}", daemon.status());
    // With another subkey, so that the new file can be told from the copy.
    let policy = openpgp::policy::StandardPolicy::new();
    let flags = openpgp::types::KeyFlags::empty().set_transport_encryption();
    let more = openpgp::cert::KeyBuilder::new(flags)
        .subkey(whole.with_policy(&policy, None).expect("valid"))
        .expect("a subkey")
        .attach_cert()
        .expect("attached");
    setup.write("admin@example.org.asc", &armored(&more));
    let (said, code) = daemon.reload();
    assert_eq!(code, 0, "{said}");
    assert_eq!(daemon.status()["warnings"], serde_json::json!([]), "{}", daemon.status());
    send_alert(&daemon.address, "repaired");
    assert_eq!(encrypted_to(&relay_host.taken(1)[0].message).len(), 2);
}
