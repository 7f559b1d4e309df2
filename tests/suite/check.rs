//! `sealrelay check`.

use crate::support::daemon::Setup;
use crate::support::pki::Authority;
use crate::support::relay_host::{PASSWORD, RelayHost, Script};

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
