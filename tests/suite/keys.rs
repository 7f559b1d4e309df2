//! What becomes of alerts when a recipient's certificate breaks, expires or is revoked.

use std::fs;

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::CertBuilder;
use openpgp::serialize::SerializeInto;

use crate::support::client::{Client, send_alert};
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::reader::open;
use crate::support::relay_host::{RelayHost, Taken};

/// The fixed text of the stack this program replaces.
const NOTICE: &str = "Failed to encrypt OSSEC alert. Investigate the mailing configuration on the Monitor Server.";

fn armored(certificate: &Cert) -> Vec<u8> {
    certificate.armored().to_vec().expect("armored")
}

/// A certificate, and the same one revoked.
fn revocable(address: &str) -> (Cert, Cert) {
    let (certificate, revocation) =
        CertBuilder::general_purpose(Some(format!("<{address}>"))).generate().expect("a key");
    let (revoked, _) = certificate.clone().insert_packets(revocation).expect("revoked");
    (certificate, revoked)
}

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
    let (certificate, revoked) = revocable("second@example.org");
    let setup =
        Setup::new(relay_host.port, &authority.pem).recipient_with("second@example.org", certificate, "default = true");
    let daemon = setup.start();
    send_alert(&daemon.address, "before");
    relay_host.taken(2);
    assert_eq!(daemon.terminate(), 0);
    setup.write("second@example.org.asc", &armored(&revoked));
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
    let (certificate, revoked) = revocable("alice@example.org");
    let setup = Setup::new(relay_host.port, &authority.pem).recipient_with("alice@example.org", certificate, "");
    assert_eq!(setup.start().terminate(), 0);
    setup.write("alice@example.org.asc", &armored(&revoked));
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
    let (certificate, revoked) = revocable("admin@example.org");
    let old = setup.recipients[0].1.fingerprint().to_hex();
    let setup = setup.with_fingerprint(&old, &certificate.fingerprint().to_hex());
    setup.write("admin@example.org.asc", &armored(&certificate));
    assert_eq!(setup.start().terminate(), 0);
    setup.write("admin@example.org.asc", &armored(&revoked));
    let daemon = setup.start();
    let (_, banner) = Client::connect(&daemon.address);
    assert!(banner.starts_with("421 "), "{banner}");
    crate::support::client::assert_refusal(&banner);
    assert_eq!(daemon.status()["state"], "broken");
    assert_eq!(setup.run(&["status"]).status.code(), Some(69));
}

#[test]
fn an_expired_certificate_is_sealed_to_with_a_warning_unless_a_notice_is_wanted() {
    let expired = CertBuilder::general_purpose(Some("<late@example.org>"))
        .set_creation_time(std::time::SystemTime::now() - std::time::Duration::from_secs(400 * 86_400))
        .set_validity_period(std::time::Duration::from_secs(365 * 86_400))
        .generate()
        .expect("a key")
        .0;
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
