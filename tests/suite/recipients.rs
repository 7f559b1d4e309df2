//! Several recipients with several certificates each: all are encrypted to, and one that turns unusable stops neither
//! the others nor the daemon.

use sequoia_openpgp::Cert;

use crate::support::certificates::{
    DAY, armored, encryption_subkeys, fingerprint, of_age, ordinary, revoked, with_revoked_subkeys,
};
use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::reader::{encrypted_to, open};
use crate::support::relay_host::{RelayHost, Taken};

/// A recipient with several certificates, each in a file of its own: `0.asc`, `1.asc` ...
fn with_certificates(setup: Setup, address: &str, certificates: &[Cert]) -> Setup {
    certificates.iter().enumerate().for_each(|(nth, certificate)| write(&setup, nth, certificate));
    setup.configure();
    let quoted = |texts: Vec<String>| texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
    let files = quoted((0..certificates.len()).map(|nth| format!("{nth}.asc")).collect());
    let prints = quoted(certificates.iter().map(fingerprint).collect());
    let text = std::fs::read_to_string(setup.path("sealrelay.toml")).expect("a configuration");
    setup.with_configuration(&format!(
        "{text}\n[[recipient]]\naddress = \"{address}\"\ncertificate = [{files}]\nfingerprint = [{prints}]\ndefault = true\n"
    ))
}

fn write(setup: &Setup, nth: usize, certificate: &Cert) {
    setup.write(&format!("{nth}.asc"), &armored(certificate));
}

/// The message number `nth` (from 0) for `address`.
#[track_caller]
fn message(relay_host: &RelayHost, address: &str, nth: usize) -> Taken {
    eventually(&format!("message {nth} for {address}"), || {
        let taken = relay_host.heard().taken.clone();
        taken.into_iter().filter(|taken| taken.rcpt.contains(address)).nth(nth)
    })
}

/// What `certificates` are encrypted to by, as PKESK packets name it, in order.
fn subkeys(certificates: &[&Cert]) -> Vec<String> {
    let mut subkeys: Vec<String> = certificates
        .iter()
        .flat_map(|certificate| encryption_subkeys(certificate))
        .map(|subkey| subkey.keyid().to_hex())
        .collect();
    subkeys.sort();
    subkeys
}

#[test]
fn each_recipient_gets_a_message_of_its_own_for_all_its_certificates_and_no_other() {
    let (relay_host, authority, _) = RelayHost::honest();
    let team = [ordinary("one@example.org"), ordinary("two@example.org"), ordinary("three@example.org")];
    let setup = with_certificates(Setup::new(relay_host.port, &authority.pem), "team@example.org", &team);
    let daemon = setup.start();
    send_alert(&daemon.address, "for all");
    let (of_team, of_admin) = (message(&relay_host, "team@", 0), message(&relay_host, "admin@", 0));
    let admin = setup.recipients[0].1.clone();
    assert_eq!(encrypted_to(&of_team.message), subkeys(&[&team[0], &team[1], &team[2]]));
    assert_eq!(encrypted_to(&of_admin.message), subkeys(&[&admin]));
    for certificate in &team {
        let opened = open(&of_team.message, certificate, &setup.path("state/signer.asc"));
        assert!(String::from_utf8_lossy(opened.alert()).contains("for all"));
        assert_eq!(opened.manifest["certificates"].as_array().map(Vec::len), Some(3));
    }
}

#[test]
fn a_certificate_that_turns_unusable_stops_neither_its_siblings_nor_other_recipients() {
    let (relay_host, authority, _) = RelayHost::honest();
    let team = [ordinary("one@example.org"), ordinary("two@example.org")];
    let setup = with_certificates(Setup::new(relay_host.port, &authority.pem), "team@example.org", &team);
    let daemon = setup.start();
    send_alert(&daemon.address, "before");
    assert_eq!(encrypted_to(&message(&relay_host, "team@", 0).message).len(), 2);

    // Revoked: never used again. A broken file: its last usable copy is.
    for (nth, unusable) in [with_revoked_subkeys(&team[0]), revoked(&team[0])].into_iter().enumerate() {
        write(&setup, 0, &unusable);
        setup.write("1.asc", b"no certificate any more");
        assert_eq!(daemon.reload().1, 0);
        send_alert(&daemon.address, &format!("after {nth}"));
        let of_team = message(&relay_host, "team@", nth + 1);
        assert_eq!(encrypted_to(&of_team.message), subkeys(&[&team[1]]));
        open(&of_team.message, &team[1], &setup.path("state/signer.asc"));
        let warnings = daemon.status()["warnings"].to_string();
        assert!(warnings.contains("revoked") && warnings.contains("the last usable copy is used"), "{warnings}");
        message(&relay_host, "admin@", nth + 1);
        // A new state of one file is taken though another one is broken.
        write(&setup, 1, &team[1]);
        assert_eq!(daemon.reload().1, 0);
        assert!(!daemon.status()["warnings"].to_string().contains("copy"), "{}", daemon.status());
    }
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn an_expired_certificate_beside_a_good_one_is_sealed_to_and_marked_or_left_out_as_the_policy_says() {
    let (relay_host, authority, _) = RelayHost::honest();
    let team = [of_age("one@example.org", 400 * DAY, 365 * DAY), ordinary("two@example.org")];
    for (nth, policy) in ["", "on_expired = \"notice\""].into_iter().enumerate() {
        let setup = with_certificates(Setup::new(relay_host.port, &authority.pem), "team@example.org", &team);
        let text = std::fs::read_to_string(setup.configure()).expect("a configuration");
        let setup = setup.with_configuration(&format!("{text}\n{policy}\n"));
        let daemon = setup.start();
        send_alert(&daemon.address, "mixed");
        let of_team = message(&relay_host, "team@", nth);
        let opened = open(&of_team.message, &team[1], &setup.path("state/signer.asc"));
        assert_eq!(encrypted_to(&of_team.message).len(), if policy.is_empty() { 2 } else { 1 }, "{policy}");
        assert_eq!(opened.noticed().contains("has expired"), policy.is_empty(), "{}", opened.noticed());
        assert!(daemon.status()["warnings"].to_string().contains("expired on"), "{}", daemon.status());
    }
}
