//! Logins: each mechanism against real and scripted relay hosts, tokens from files and from a token server, and nothing
//! secret in any log.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::peers::{Postfix, setup_for};
use crate::support::client::send_alert;
use crate::support::daemon::{Daemon, Setup};
use crate::support::eventually;
use crate::support::pki::{Authority, Identity};
use crate::support::relay_host::{PASSWORD, RelayHost, Script, USERNAME};
use crate::support::token_server::{Asked, TokenServer, grant};

/// The mechanisms of the AUTH commands that the relay host heard.
fn mechanisms(relay_host: &RelayHost) -> Vec<String> {
    let heard = relay_host.heard();
    let auth = heard.inside.iter().filter_map(|line| line.strip_prefix("AUTH "));
    auth.map(|rest| rest.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// An honest relay host that offers these mechanisms and takes this token.
fn offering(identity: &Identity, mechanisms: &str, token: &str) -> Script {
    let mut script = Script::honest(identity);
    (script.capabilities, script.token) = (vec![format!("AUTH {mechanisms}")], token.to_owned());
    script
}

fn check_login(setup: &Setup) -> (i32, String) {
    setup.configure();
    let output = setup.run(&["check", "--login"]);
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn trouble(daemon: &Daemon<'_>) -> String {
    eventually("trouble to show", || {
        let relay = daemon.status()["relays"][0].clone();
        relay["trouble"].is_string().then(|| relay.to_string())
    })
}

/// Nothing of `secret` stands in the daemon's log, plain or in base64 at any offset of the three.
#[track_caller]
fn assert_not_logged(setup: &Setup, secret: &str) {
    let log = setup.log();
    assert!(log.contains("> AUTH <redacted>"), "no login was logged:\n{log}");
    assert!(!log.contains(secret), "{secret:?} is in the log:\n{log}");
    // Passwords can be tried against a SCRAM challenge.
    let challenges: Vec<&str> =
        log.lines().filter_map(|line| line.split_once(" < 334 ")).map(|(_, rest)| rest).collect();
    assert!(challenges.iter().all(|rest| *rest == "<redacted>"), "{challenges:?}");
    for offset in 0..3 {
        // What stays the same whatever stands before and behind it.
        let encoded = STANDARD.encode([&vec![0; offset][..], secret.as_bytes()].concat());
        let inner = &encoded[4..encoded.len() - 4];
        assert!(!log.contains(inner), "{secret:?} is in the log in base64:\n{log}");
    }
}

#[test]
fn scram_and_plain_and_login_work_with_postfix_and_cyrus_sasl() {
    for (mechanism, all) in
        [("SCRAM-SHA-256", "PLAIN LOGIN SCRAM-SHA-256"), ("PLAIN", "PLAIN LOGIN CRAM-MD5"), ("LOGIN", "LOGIN")]
    {
        let Some(postfix) = Postfix::start_with(&["--mechanisms", all]) else { return };
        let setup = setup_for(&postfix);
        let daemon = setup.start();
        send_alert(&daemon.address, mechanism);
        postfix.mails(1);
        let log = postfix.log();
        assert!(log.contains(&format!("sasl_method={mechanism}, sasl_username={USERNAME}")), "{mechanism}: {log}");
        assert_not_logged(&setup, PASSWORD);
        drop(daemon);
        // A wrong password is the server's refusal, in its words.
        setup.write("sasl_password", b"another one\n");
        let (code, text) = check_login(&setup);
        assert!(code == 77 && text.contains("535 5.7.8"), "{mechanism}: {code} {text}");
    }
}

#[test]
fn scram_prepares_a_password_as_saslprep_says() {
    let Some(postfix) = Postfix::start_with(&["--mechanisms", "SCRAM-SHA-256"]) else { return };
    let setup = setup_for(&postfix).relay("auth = \"scram-sha-256\"");
    assert_eq!(check_login(&setup).0, 0);
    // U+00AD is mapped to nothing by SASLprep (RFC 4013 2.1), so that this is the same password.
    setup.write("sasl_password", format!("{}\u{ad}{}\n", &PASSWORD[..3], &PASSWORD[3..]).as_bytes());
    let (code, text) = check_login(&setup);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_relay_host_that_cannot_prove_the_password_gets_no_mail() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(offering(&identity, "SCRAM-SHA-256", "").says("AUTH", "235 2.7.0 Come in"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "waits");
    let trouble = trouble(&daemon);
    assert!(trouble.contains("could not prove that it knows the password"), "{trouble}");
    assert!(!relay_host.heard().inside.iter().any(|line| line.starts_with("MAIL")));
    assert_eq!(setup.spooled("queue").len(), 1);
    assert_eq!(check_login(&setup).0, 77);
}

#[test]
fn the_strongest_mechanism_is_taken_unless_one_is_forced_and_nothing_weaker_follows() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    relay_host.now(offering(&identity, "LOGIN PLAIN", ""));
    assert_eq!(check_login(&setup).0, 0);
    let setup = setup.relay("auth = \"login\"");
    assert_eq!(check_login(&setup).0, 0);
    relay_host.now(offering(&identity, "PLAIN", ""));
    let (code, text) = check_login(&setup);
    assert!(code == 77 && text.contains("offers no login we can use (it offers: PLAIN)"), "{text}");
    assert_eq!(mechanisms(&relay_host), ["PLAIN", "LOGIN"]);
    // The scripted relay host does not know SCRAM: its 535 ends the login.
    relay_host.now(offering(&identity, "PLAIN SCRAM-SHA-256", ""));
    let setup = setup.without_relay("auth");
    assert_eq!(check_login(&setup).0, 77);
    assert_eq!(mechanisms(&relay_host)[2..], ["SCRAM-SHA-256"]);
}

#[test]
fn a_token_file_is_read_again_when_somebody_renews_it() {
    for mechanism in ["XOAUTH2", "OAUTHBEARER"] {
        let (relay_host, authority, identity) = RelayHost::honest();
        // Longer than a command line may be: it waits for the first 334.
        let (old, new) = (format!("first-{}", "T0ken".repeat(300)), "second-T0ken.4711".to_owned());
        relay_host.now(offering(&identity, mechanism, &new));
        let setup = Setup::new(relay_host.port, &authority.pem)
            .without_relay("password_file")
            .relay("token_file = \"token\"\nconnections = 1");
        setup.write("token", format!("{old}\n").as_bytes());
        let daemon = setup.start();
        send_alert(&daemon.address, "with an old token");
        let trouble = trouble(&daemon);
        assert!(trouble.contains("535 5.7.8"), "the reply behind the 334 is not shown: {trouble}");
        setup.write("token", format!("{new}\n").as_bytes());
        daemon.flush();
        relay_host.taken(1);
        let heard = relay_host.heard();
        assert!(heard.inside.iter().any(|line| line == &format!("AUTH {mechanism}")), "a long token needs a 334 first");
        drop(heard);
        [old.as_str(), &new].into_iter().for_each(|token| assert_not_logged(&setup, token));
    }
}

/// A relay host and a token server of one authority, and a folder that logs in with a refresh token.
fn with_tokens(seconds: u64) -> (RelayHost, TokenServer, Identity, Setup) {
    let authority = Authority::new("test CA");
    let identity = authority.issue("localhost");
    let relay_host = RelayHost::start(offering(&identity, "PLAIN XOAUTH2 OAUTHBEARER", "access-1"));
    let tokens = TokenServer::counting(&identity, seconds);
    let setup = Setup::new(relay_host.port, &authority.pem)
        .without_relay("password_file")
        .relay("connections = 1")
        .oauth(&format!(
            "{}client_secret_file = \"client_secret\"\nrefresh_token_file = \"refresh_token\"\nscope = \"https://mail.example/ offline\"\n",
            tokens.oauth()
        ));
    setup.write("client_secret", b"client-S3CRET\n");
    setup.write("refresh_token", b"refresh-0-T0ken\n");
    fs::create_dir(setup.path("state")).expect("a state directory");
    (relay_host, tokens, identity, setup)
}

#[test]
fn a_refresh_token_is_exchanged_once_and_the_access_token_is_used_until_it_expires() {
    let (relay_host, tokens, identity, setup) = with_tokens(3600);
    let daemon = setup.start();
    send_alert(&daemon.address, "first");
    relay_host.taken(1);
    // Several sessions: each one logs in with the token at hand.
    for nth in 2..4 {
        std::thread::sleep(std::time::Duration::from_secs(6));
        send_alert(&daemon.address, &format!("session {nth}"));
        relay_host.taken(nth);
    }
    assert_eq!(mechanisms(&relay_host), ["XOAUTH2"; 3]);
    let asked = tokens.asked().clone();
    assert_eq!(asked.len(), 1);
    for (name, value) in [
        ("grant_type", "refresh_token"),
        ("refresh_token", "refresh-0-T0ken"),
        ("client_id", "client-1"),
        ("client_secret", "client-S3CRET"),
        ("scope", "https://mail.example/ offline"),
    ] {
        assert_eq!(asked[0].get(name).map(String::as_str), Some(value), "{asked:?}");
    }
    for secret in ["access-1", "refresh-0-T0ken", "client-S3CRET"] {
        assert_not_logged(&setup, secret);
    }

    // The relay host ends the token's life early: the first refusal costs one attempt, not a quarter of an hour.
    relay_host.now(offering(&identity, "XOAUTH2", "access-2"));
    std::thread::sleep(std::time::Duration::from_secs(6));
    send_alert(&daemon.address, "revoked");
    let trouble = trouble(&daemon);
    assert!(trouble.contains("535 5.7.8") && trouble.contains("a fresh one is next"), "{trouble}");
    let next = daemon.status()["relays"][0]["next_attempt"].as_u64().expect("a time");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs();
    assert!(next <= now + 31, "in {} s", next - now);
    daemon.flush();
    relay_host.taken(4);
    assert_eq!(tokens.asked().len(), 2);

    // A fresh one that is refused too is a wrong login, repeated seldom.
    drop(daemon);
    let daemon = setup.start();
    send_alert(&daemon.address, "wrong");
    eventually("trouble", || {
        let next = daemon.status()["relays"][0]["next_attempt"].as_u64()?;
        (next > now + 700).then_some(())
    });
}

#[test]
fn a_token_that_has_expired_is_renewed_before_it_is_used() {
    let (relay_host, tokens, identity, setup) = with_tokens(4);
    let daemon = setup.start();
    send_alert(&daemon.address, "first");
    relay_host.taken(1);
    relay_host.now(offering(&identity, "XOAUTH2", "access-2"));
    std::thread::sleep(std::time::Duration::from_secs(6));
    send_alert(&daemon.address, "second");
    relay_host.taken(2);
    assert_eq!(tokens.asked().len(), 2);
    assert_eq!(daemon.status()["counts"]["deferred"], 0);
}

/// The files of the state directory that hold refresh tokens.
fn kept(setup: &Setup) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(setup.path("state")).expect("a state directory").flatten().map(|file| file.path());
    files.filter(|path| path.to_string_lossy().contains("/refresh-token-")).collect()
}

#[test]
fn a_rotated_refresh_token_is_kept_used_after_a_restart_and_yields_to_the_operators_new_one() {
    let (relay_host, tokens, identity, setup) = with_tokens(3600);
    relay_host.now(offering(&identity, "XOAUTH2", "access"));
    // Takes each refresh token once, as servers do that rotate them.
    let rotating = |expected: &'static str, next: &'static str| {
        move |asked: &Asked| match asked["refresh_token"] == expected {
            true => (200, grant("access", 3600, Some(next))),
            false => (400, "{\"error\":\"invalid_grant\"}".to_owned()),
        }
    };
    tokens.now(rotating("refresh-0-T0ken", "refresh-1-T0ken"));
    let daemon = setup.start();
    send_alert(&daemon.address, "first");
    relay_host.taken(1);
    let files = kept(&setup);
    assert_eq!(files.len(), 1);
    assert_eq!(fs::metadata(&files[0]).expect("there").permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&files[0]).expect("read").ends_with("\nrefresh-1-T0ken\n"));
    assert_eq!(fs::read_to_string(setup.path("refresh_token")).expect("read"), "refresh-0-T0ken\n");
    daemon.kill();

    tokens.now(rotating("refresh-1-T0ken", "refresh-2-T0ken"));
    let daemon = setup.start();
    send_alert(&daemon.address, "after a restart");
    relay_host.taken(2);
    // `check` is another process with the same tokens.
    tokens.now(rotating("refresh-2-T0ken", "refresh-3-T0ken"));
    let (code, text) = check_login(&setup);
    assert_eq!(code, 0, "{text}");
    assert!(fs::read_to_string(&files[0]).expect("read").ends_with("\nrefresh-3-T0ken\n"));
    drop(daemon);

    // The consent was withdrawn; the operator gives it again.
    tokens.now(rotating("nothing", "nothing"));
    let daemon = setup.start();
    send_alert(&daemon.address, "withdrawn");
    let trouble = trouble(&daemon);
    assert!(trouble.contains("gives no token (400: invalid_grant)"), "{trouble}");
    assert!(trouble.contains("Give consent again"), "{trouble}");
    tokens.now(rotating("fresh-consent-T0ken", "refresh-5-T0ken"));
    setup.write("refresh_token", b"fresh-consent-T0ken\n");
    daemon.flush();
    relay_host.taken(3);
    for nth in 0..4 {
        assert_not_logged(&setup, &format!("refresh-{nth}-T0ken"));
    }
    assert_not_logged(&setup, "fresh-consent-T0ken");
}

#[test]
fn client_credentials_get_a_token_without_any_refresh_token() {
    let (relay_host, tokens, _, setup) = with_tokens(3600);
    let table = format!(
        "{}grant = \"client_credentials\"\nclient_secret_file = \"client_secret\"\nscope = \"https://outlook.office365.com/.default\"\n",
        tokens.oauth()
    );
    let other = Setup::new(relay_host.port, &fs::read_to_string(setup.path("ca.pem")).expect("the CA"))
        .without_relay("password_file")
        .relay("auth = \"oauthbearer\"")
        .oauth(&table);
    other.write("client_secret", b"client-S3CRET\n");
    // By the way, from a server that chokes on the post-quantum ClientHello.
    tokens.takes_hellos_up_to(1200);
    let (code, text) = check_login(&other);
    assert_eq!(code, 0, "{text}");
    assert_eq!(mechanisms(&relay_host), ["OAUTHBEARER"]);
    let asked = tokens.asked();
    assert_eq!(asked[0]["grant_type"], "client_credentials");
    assert!(!asked[0].contains_key("refresh_token"));
}

#[test]
fn a_token_server_that_is_away_stranger_or_troubled_makes_mail_wait_and_gets_no_secret() {
    let (relay_host, tokens, _, setup) = with_tokens(3600);
    let stranger = TokenServer::counting(&Authority::new("another CA").issue("localhost"), 3600);
    for (name, answer, said) in [
        ("redirect", (302, String::new()), "it answered 302"),
        ("trouble", (503, "busy".to_owned()), "it answered 503"),
        ("endless", (200, "x".repeat(100_000)), "longer than 65536 octets"),
        ("portal", (200, "<html>log in</html>".to_owned()), "its answer is no token"),
        ("client", (401, "{\"error\":\"invalid_client\"}".to_owned()), "gives no token (401: invalid_client)"),
    ] {
        tokens.now(move |_| answer.clone());
        let (code, text) = check_login(&setup);
        assert!(code != 0 && text.contains(said), "{name}: {code} {text}");
    }
    let config = fs::read_to_string(setup.configure()).expect("a configuration");
    for (port, said) in [(1, "the token server localhost:1: "), (stranger.port, "not trusted")] {
        let elsewhere = config.replace(&format!(":{}/token", tokens.port), &format!(":{port}/token"));
        setup.write("sealrelay.toml", elsewhere.as_bytes());
        let output = setup.run(&["check", "--login"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(said) && text.contains("Look at what is named there"), "{text}");
    }
    assert!(stranger.asked().is_empty(), "a stranger was told the secrets");
    tokens.now(|_| (503, String::new()));
    let daemon = setup.start();
    send_alert(&daemon.address, "waits");
    assert!(trouble(&daemon).contains("it answered 503"));
    assert_eq!((setup.spooled("queue").len(), mechanisms(&relay_host).len()), (1, 0));
    tokens.now(|_| (200, grant("access-1", 3600, None)));
    daemon.flush();
    relay_host.taken(1);
    for secret in ["client-S3CRET", "refresh-0-T0ken"] {
        assert_not_logged(&setup, secret);
    }
}

#[test]
fn no_login_leaves_a_secret_in_a_log_at_the_lowest_level() {
    for mechanism in ["PLAIN", "LOGIN"] {
        let (relay_host, authority, identity) = RelayHost::honest();
        relay_host.now(offering(&identity, mechanism, ""));
        let setup = Setup::new(relay_host.port, &authority.pem);
        let daemon = setup.start();
        send_alert(&daemon.address, mechanism);
        relay_host.taken(1);
        assert_eq!(mechanisms(&relay_host), [mechanism]);
        assert_eq!(daemon.terminate(), 0);
        // The whole session is there, without what it must not show.
        for line in ["trace: relay=localhost", "> EHLO", "> STARTTLS", "> AUTH <redacted>", "< 235", "> MAIL FROM"] {
            assert!(setup.log().contains(line), "{line} is missing in:\n{}", setup.log());
        }
        assert_not_logged(&setup, PASSWORD);
        assert_not_logged(&setup, &format!("\0{USERNAME}\0{PASSWORD}"));
    }
}

#[test]
fn a_relay_host_that_repeats_the_login_it_does_not_take_brings_it_into_no_log_and_no_status() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let said = STANDARD.encode(format!("\0{USERNAME}\0{PASSWORD}"));
    relay_host.now(Script::honest(&identity).says("AUTH", &format!("535 5.7.8 not {said} with {PASSWORD}")));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "an alert");
    let trouble = trouble(&daemon);
    assert!(trouble.contains("535 5.7.8 not <redacted> with <redacted>"), "{trouble}");
    assert_not_logged(&setup, PASSWORD);
    let state = fs::read_dir(setup.path("spool/queue")).expect("the queue").flatten();
    assert!(state.map(|file| fs::read(file.path()).expect("a file")).all(|octets| !contains(&octets, PASSWORD)));
}

fn contains(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|window| window == text.as_bytes())
}
