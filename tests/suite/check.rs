//! `sealrelay check`.

use std::time::Duration;

use crate::support::daemon::{Setup, program};
use crate::support::pki::Authority;
use crate::support::reader::open;
use crate::support::relay_host::{Act, PASSWORD, RelayHost, Script};

fn check(setup: &Setup, arguments: &[&str]) -> (i32, String) {
    setup.configure();
    let output = setup.run(&[&["check"], arguments].concat());
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_good_relay_host_is_shown_with_chain_fingerprints_verdict_and_mechanisms() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let (code, text) = check(&setup, &["--login"]);
    assert_eq!(code, 0, "{text}");
    for part in [
        "CONNECTED(127.0.0.1:",
        " 0 s:CN=localhost",
        "   i:CN=test CA",
        &identity.sha256_pin(),
        "spki-sha256:",
        "sha1:",
        "Protocol: TLSv1.3",
        "X25519MLKEM768",
        "Verify return code: 0 (ok)",
        "AUTH mechanisms: PLAIN LOGIN",
        "Login: 235",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    assert!(!text.contains(PASSWORD));
    assert!(relay_host.heard().taken.is_empty());
}

#[test]
fn the_credentials_are_tried_only_when_asked_and_only_with_a_verified_server() {
    let (relay_host, _, _) = RelayHost::honest();
    let stranger = Authority::new("another CA");
    let setup = Setup::new(relay_host.port, &stranger.pem);
    let (code, text) = check(&setup, &["--login"]);
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("Verify return code: 20 (unable to get local issuer certificate)"), "{text}");
    assert!(text.contains("NOT USABLE"), "{text}");
    assert!(!relay_host.heard().inside.iter().any(|line| line.starts_with("AUTH")));
    let (relay_host, authority, _) = RelayHost::honest();
    assert_eq!(check(&Setup::new(relay_host.port, &authority.pem), &[]).0, 0);
    assert!(!relay_host.heard().inside.iter().any(|line| line.starts_with("AUTH")));
}

#[test]
fn each_trouble_has_its_exit_code_and_says_what_to_do() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let honest = || Script::honest(&identity);
    let mut stripped = honest();
    stripped.offers_starttls = false;
    let setup = Setup::new(relay_host.port, &authority.pem);
    for (script, code, says) in [
        (
            honest().says("AUTH", "535 5.7.8 https://support.example/app-password"),
            77,
            "https://support.example/app-password",
        ),
        (honest().says("greeting", "554 5.7.1 go away"), 69, "554 5.7.1 go away"),
        (honest().says("greeting", "421 4.3.2 later"), 75, "421 4.3.2 later"),
        (stripped, 76, "does not offer STARTTLS"),
        (honest().says("STARTTLS", "220 go\r\n250 injected"), 76, "somebody on the way"),
        (honest().says("greeting", "SSH-2.0-OpenSSH_9.2"), 76, "no SMTP reply"),
    ] {
        relay_host.now(script);
        let (got, text) = check(&setup, &["--login"]);
        assert_eq!(got, code, "{text}");
        assert!(text.contains(says), "{says:?} is missing in:\n{text}");
        assert!(!text.contains("Verify return code: 0") || code == 77, "{text}");
    }
    let nowhere = Setup::new(1, &authority.pem);
    let (code, text) = check(&nowhere, &[]);
    assert_eq!(code, 75, "{text}");
    assert!(text.contains("nothing takes connections there"), "{text}");
    let unknown = Setup::new(25, &authority.pem).relay("host = \"relay.invalid\"");
    assert_eq!(check(&unknown, &[]).0, 68);
}

#[test]
fn what_is_late_or_temporary_ends_with_75_at_whatever_step_and_a_client_certificate_that_is_missing_with_69() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let honest = || Script::honest(&identity);
    let mut demanding = honest();
    demanding.client_ca = Some(Authority::new("clients' CA").pem);
    // Longer than the time-out of 2 s.
    let late = |step| honest().at(step, Act::Silence(Duration::from_secs(4)));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let verified = "Verify return code: 0 (ok)";
    let not_verified = "Verify return code: none";
    for (script, code, says, verify) in [
        (late("greeting"), 75, "timed out at its greeting", not_verified),
        (late("EHLO"), 75, "timed out at EHLO", not_verified),
        (late("STARTTLS"), 75, "timed out at STARTTLS", not_verified),
        (late("EHLO inside"), 75, "timed out at EHLO", verified),
        (late("AUTH"), 75, "timed out at AUTH", verified),
        (honest().at("AUTH", Act::Close), 75, "at AUTH", verified),
        (honest().says("AUTH", "454 4.7.0 Temporary authentication failure"), 75, "454 4.7.0 Temporary", verified),
        // In TLS 1.3 the server asks for it behind its own part of the handshake, which is verified by then.
        (demanding, 69, "wants a client certificate that it trusts", verified),
    ] {
        relay_host.now(script);
        let (got, text) = check(&setup, &["--login"]);
        assert_eq!(got, code, "{text}");
        assert!(text.contains("NOT USABLE: ") && text.contains(says), "{says:?} is missing in:\n{text}");
        assert!(text.contains(verify), "{verify:?} is missing in:\n{text}");
    }
}

#[test]
fn a_pin_mismatch_shows_what_was_expected_and_what_was_presented() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let pins = format!("pins = [\"sha1:{}\", \"sha256:{}\"]", "AB:".repeat(20).trim_end_matches(':'), "00".repeat(32));
    let setup = Setup::new(relay_host.port, &authority.pem).without_relay("ca_file").relay(&pins);
    let (code, text) = check(&setup, &[]);
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("expected sha1:AB:AB:") && text.contains(&format!("= {}", identity.sha256_pin())), "{text}");
    assert!(text.contains("rests on SHA-1"), "{text}");
    assert!(text.contains("Verify return code: 50"), "{text}");
}

#[test]
fn a_size_limit_the_relay_host_cannot_take_is_warned_about() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let mut small = Script::honest(&identity);
    small.capabilities = vec!["SIZE 10240000".into()];
    relay_host.now(small);
    let (code, text) = check(&Setup::new(relay_host.port, &authority.pem), &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("the relay host takes 10240000: set it to 5475935 or less"), "{text}");
}

/// `check` without a configuration.
fn bare(arguments: &[&str]) -> (i32, String) {
    let output = program().arg("check").args(arguments).output().expect("runs");
    let said = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    (output.status.code().unwrap_or(-1), said)
}

#[test]
fn without_a_configuration_a_host_is_looked_at_in_our_spelling_and_in_openssls() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &authority.pem).expect("written");
    let (file, port) = (file.display().to_string(), relay_host.port.to_string());
    let (connect, folder) = (format!("localhost:{port}"), folder.path().display().to_string());
    let by_address = format!("127.0.0.1:{port}");
    for arguments in [
        &["--host", "localhost", "--port", &port, "--ca-file", &file][..],
        &["--host", "localhost", "--port", &port, "--pin", &identity.sha256_pin()],
        &["-connect", &connect, "-starttls", "smtp", "-CAfile", &file, "-showcerts"],
        &["-connect", &connect, "-starttls", "smtp", "-CApath", &folder],
        &["-connect", &by_address, "-starttls", "smtp", "-CAfile", &file, "-servername", "localhost"],
        &["-connect", &by_address, "-starttls", "smtp", "-CAfile", &file, "-verify_hostname", "localhost"],
    ] {
        let (code, text) = bare(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
        assert_eq!(text.contains("-----BEGIN CERTIFICATE-----"), arguments.contains(&"-showcerts"), "{text}");
    }
    let (code, text) = bare(&["-connect", &by_address, "-starttls", "smtp", "-CAfile", &file]);
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("Verify return code: 64 (IP address mismatch)"), "{text}");
    assert!(text.contains("127.0.0.1 is wanted, it is for localhost"), "{text}");
    // As openssl: without -starttls TLS begins at once.
    let (code, text) = bare(&["-connect", &connect, "-CAfile", &file]);
    assert_eq!(code, 76, "{text}");
    assert!(text.contains("Verify return code: none"), "{text}");
    for wrong in [&["-connect", "localhost"][..], &["--host", "a/b"], &["--host", "h", "--pin", "x"], &["--port", "25"]]
    {
        assert_eq!(bare(wrong).0, 64, "{wrong:?}: {}", bare(wrong).1);
    }
}

#[test]
fn a_pin_line_that_was_printed_is_taken_as_it_is() {
    let (relay_host, authority, _) = RelayHost::honest();
    let (_, text) = check(&Setup::new(relay_host.port, &authority.pem), &[]);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("pins = [")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    for line in lines {
        let setup = Setup::new(relay_host.port, &authority.pem).without_relay("ca_file").relay(line);
        let (code, text) = check(&setup, &["--login"]);
        assert_eq!(code, 0, "{line}: {text}");
        assert!(text.contains("matched (neither chain, name nor dates count)"), "{text}");
    }
}

#[test]
fn sender_and_recipients_are_asked_for_and_nothing_is_sent() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).recipient("second@example.org", "default = true");
    let (code, text) = check(&setup, &["--rcpt"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("RCPT TO:<second@example.org>: 250"), "{text}");
    assert!(relay_host.heard().inside.iter().any(|line| line == "RSET"));
    assert!(!relay_host.heard().inside.iter().any(|line| line == "DATA"));
    for (step, reply, says) in [
        ("MAIL", "553 5.7.1 not owned by user", "sender.address must belong to the login"),
        ("RCPT", "550 5.1.1 no such user", "check the recipient's address"),
    ] {
        relay_host.now(Script::honest(&identity).says(step, reply));
        let (code, text) = check(&setup, &["--rcpt"]);
        assert_eq!(code, 69, "{text}");
        assert!(text.contains(reply) && text.contains(says), "{text}");
    }
}

#[test]
fn every_relay_host_is_looked_at_and_the_first_trouble_is_the_exit_code() {
    let (good, authority, _) = RelayHost::honest();
    let bad = RelayHost::start(Script::honest(&Authority::new("another CA").issue("localhost")));
    let setup = Setup::new(good.port, &authority.pem);
    setup.configure();
    let text = std::fs::read_to_string(setup.path("sealrelay.toml")).expect("configuration");
    let second = format!("[[relay]]\nhost = \"localhost\"\nport = {}\nca_file = \"ca.pem\"\n\n[spool]", bad.port);
    let setup = setup.with_configuration(&text.replace("[spool]", &second));
    assert_eq!(check(&setup, &[]).0, 0);
    let (code, json) = check(&setup, &["--all-relays", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(code, 77, "{json}");
    assert_eq!(json["relays"][0]["verify_code"], 0, "{json}");
    assert_eq!(json["relays"][1]["verify_code"], 20, "{json}");
    assert_eq!(json["relays"][0]["post_quantum"], true, "{json}");
}

#[test]
fn a_test_alert_goes_the_whole_way_and_the_relay_hosts_answer_is_told() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let (code, text) = check(&setup, &["--send-test"]);
    assert_eq!(code, 75, "{text}");
    assert!(text.contains("NOT TAKEN: the mail relay is away"), "{text}");
    let daemon = setup.start();
    let (code, text) = check(&setup, &["--send-test"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("sent (250 2.0.0 Ok: queued as 4711)"), "{text}");
    let opened = open(&relay_host.taken(1)[0].message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
    assert!(String::from_utf8_lossy(opened.alert()).contains("This is a test alert"));
    relay_host.now(Script::honest(&identity).says("RCPT", "550 5.1.1 no such user"));
    let (code, text) = check(&setup, &["--send-test"]);
    assert_eq!(code, 75, "{text}");
    assert!(text.contains("550 5.1.1 no such user") && text.contains("check the recipient's address"), "{text}");
    relay_host.now(Script::honest(&identity).says("AUTH", "534 5.7.9 Application-specific password required"));
    daemon.flush();
    let (code, text) = check(&setup, &["--send-test", "--login"]);
    assert_eq!(code, 77, "{text}");
    assert!(text.contains("534 5.7.9 Application-specific password required"), "{text}");
}
