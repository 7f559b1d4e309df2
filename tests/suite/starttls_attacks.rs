//! What somebody between us and the relay host can try before TLS is up. In every case, with a CA file and with a pin:
//! no AUTH, no MAIL, the message stays queued, and the log says what was seen.

use std::io::Write;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::pki::{Authority, Identity};
use crate::support::relay_host::{Act, PASSWORD, RelayHost, Script, Secure, USERNAME, rustls_server};

/// What is tried, and what the log must say of it.
struct Attack {
    name: &'static str,
    script: Script,
    says: &'static str,
}

fn attack(name: &'static str, script: Script, says: &'static str) -> Attack {
    Attack { name, script, says }
}

/// All replies of a session that took a message, for a client that would read them inside TLS.
const WHOLE_SESSION: &str = "220 go\r\n250-relay.example.org\r\n250 AUTH PLAIN\r\n235 2.7.0 in\r\n250 2.1.0 ok\r\n\
                             250 2.1.5 ok\r\n354 go\r\n250 2.0.0 queued as FAKED";

fn attacks(honest: &Identity) -> Vec<Attack> {
    let script = || Script::honest(honest);
    let stranger = Authority::new("test CA").issue("localhost");
    let thief = Identity { chain: honest.chain.clone(), key: stranger.key.clone() };
    let mut stripped = script();
    stripped.offers_starttls = false;
    let with = |secure: Secure| {
        let mut script = script();
        script.secure = Some(secure);
        script
    };
    let mut as_stranger = script();
    as_stranger.identity = stranger;
    let mut as_thief = script();
    as_thief.identity = thief;
    let offer = "250-relay.example.org\r\n250-AUTH PLAIN LOGIN\r\n250-STARTTLS\r\n250 SIZE 99";
    let mut without_auth = script().says("EHLO", offer);
    without_auth.capabilities = vec!["SIZE 35882577".into()];
    vec![
        attack("STARTTLS stripped", stripped, "does not offer STARTTLS, or somebody on the way removed it"),
        attack(
            "STARTTLS put off",
            script().says("STARTTLS", "454 4.7.0 not now"),
            "said to STARTTLS: 454 4.7.0 not now",
        ),
        attack("STARTTLS not known", script().says("STARTTLS", "502 5.5.1 what"), "said to STARTTLS: 502 5.5.1 what"),
        attack("STARTTLS answered 250", script().says("STARTTLS", "250 ok"), "said to STARTTLS: 250 ok"),
        attack("220, and on in clear", with(in_clear()), "handshake did not succeed"),
        attack("220, then closed", with(Arc::new(|_| Err(std::io::ErrorKind::ConnectionAborted.into()))), "handshake"),
        attack(
            "a reply glued behind the 220",
            script().says("STARTTLS", "220 go\r\n250 injected"),
            "octets came in clear behind the reply to STARTTLS",
        ),
        attack(
            "a whole faked session behind the 220",
            script().says("STARTTLS", WHOLE_SESSION),
            "octets came in clear behind the reply to STARTTLS",
        ),
        attack("half a line behind the 220", script().says("STARTTLS", "220 go\r\n25"), "octets came in clear"),
        attack("a faked session a moment behind the 220", with(a_moment_later()), "handshake did not succeed"),
        attack(
            "a second reply behind EHLO's",
            script().says("EHLO", "250-relay.example.org\r\n250 STARTTLS\r\n220 go"),
            "a reply that nobody had asked for",
        ),
        attack(
            "a second greeting",
            script().says("greeting", "220 one\r\n220 two"),
            "a reply that nobody had asked for",
        ),
        attack("a login offered only in clear", without_auth, "offers no login we can use"),
        attack("an endless reply", script().says("EHLO", &"250-x\r\n".repeat(1000)), "over the limit"),
        attack("an endless line", script().says("EHLO", &"250-x".repeat(2000)), "over the limit"),
        attack("an endless greeting", script().says("greeting", &"220-x\r\n".repeat(1000)), "over the limit"),
        attack(
            "mixed codes",
            script().says("EHLO", "250-relay.example.org\r\n550 STARTTLS"),
            "mixed reply codes 250 and 550",
        ),
        attack("no reply at all", script().at("EHLO", Act::Silence(Duration::from_secs(9))), "timed out at EHLO"),
        attack(
            "NUL and terminal escapes",
            script().says("STARTTLS", "454 \x1b[2J\x1b]0;owned\x07\0 \u{9b}31m"),
            "454 \\x1b[2J\\x1b]0;owned\\x07\\x00 \\xc2\\x9b31m",
        ),
        attack(
            "a line that fires the IDS",
            script().says("greeting", "554 failed ERROR ??"),
            "554 f\\x61iled E\\x52ROR",
        ),
        attack("another authority of the same name", as_stranger, "the server's certificate is not"),
        attack("a stolen certificate without its key", as_thief, "handshake did not succeed"),
    ]
}

/// Goes on as if STARTTLS had not been, and would take a login and a message.
fn in_clear() -> Secure {
    Arc::new(|stream| Ok(Box::new(stream)))
}

/// The faked session in a segment of its own, before any handshake.
fn a_moment_later() -> Secure {
    Arc::new(|mut stream| {
        sleep(Duration::from_millis(50));
        stream.write_all(&WHOLE_SESSION.as_bytes()["220 go\r\n".len()..])?;
        stream.write_all(b"\r\n")?;
        Ok(Box::new(stream))
    })
}

#[test]
fn whatever_is_tried_before_tls_nothing_is_sent_and_the_log_says_what_was_seen() {
    let authority = Authority::new("test CA");
    let identity = authority.issue("localhost");
    let attacks = attacks(&identity);
    let pin = format!("pins = [\"{}\"]", identity.sha256_pin());
    let attacks: Vec<(&Attack, bool)> = attacks.iter().flat_map(|attack| [(attack, false), (attack, true)]).collect();
    let queue = std::sync::Mutex::new(attacks.iter());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some((attack, pinned)) = { queue.lock().expect("attacks").next() } {
                    suffer(attack, &authority, pinned.then_some(pin.as_str()));
                }
            });
        }
    });
}

fn suffer(attack: &Attack, authority: &Authority, pin: Option<&str>) {
    let name = attack.name;
    let relay_host = RelayHost::start(attack.script.clone());
    let setup = Setup::new(relay_host.port, &authority.pem);
    let setup = match pin {
        Some(pin) => setup.without_relay("ca_file").relay(pin),
        None => setup,
    };
    let daemon = setup.start();
    send_alert(&daemon.address, "tried");
    let log = eventually(&format!("a log line on {name}"), || {
        let log = setup.log();
        log.contains("not usable").then_some(log)
    });
    let told = log.lines().find(|line| line.contains("not usable")).unwrap_or_default();
    assert!(told.contains(attack.says), "{name}: {told}");
    assert!(told.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{name}: {told:?}");
    assert_eq!(setup.spooled("queue").len(), 1, "{name}");
    let heard = relay_host.heard();
    assert!(heard.connections > 0, "{name}");
    let inside = |verb: &str| heard.inside.iter().any(|line| line.starts_with(verb));
    assert!(!inside("AUTH") && !inside("MAIL") && heard.taken.is_empty(), "{name}: {:?}", heard.inside);
    let clear = String::from_utf8_lossy(&heard.clear);
    let spoken = clear.split("STARTTLS\r\n").next().unwrap_or_default();
    let allowed = |line: &str| line.starts_with("EHLO ") || line == "QUIT";
    assert!(spoken.lines().all(allowed), "{name}: {clear:?}");
    for secret in ["AUTH", "MAIL", USERNAME, PASSWORD] {
        assert!(!clear.contains(secret), "{name}: {clear:?}");
    }
}

#[test]
fn what_was_said_before_tls_is_forgotten_inside() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let lies = "250-liar.example\r\n250-SIZE 1\r\n250-AUTH CRAM-MD5\r\n250 STARTTLS";
    relay_host.now(Script::honest(&identity).says("EHLO", lies));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "through all lies");
    let taken = relay_host.taken(1);
    // The size is declared because of what was said inside, where it fits.
    assert!(taken[0].mail.contains("SIZE="), "{}", taken[0].mail);
    assert!(relay_host.heard().inside.iter().any(|line| line.starts_with("AUTH PLAIN")));
}

#[test]
fn a_server_that_has_the_certificate_and_the_key_is_the_only_one_a_pin_lets_in() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).without_relay("ca_file");
    let setup = setup.relay(&format!("pins = [\"{}\"]", identity.sha256_pin()));
    let thief = Identity { key: authority.issue("localhost").key, ..identity.clone() };
    let mut script = Script::honest(&identity);
    script.secure = Some(Arc::new(move |stream| rustls_server(&thief, stream)));
    relay_host.now(script);
    let daemon = setup.start();
    send_alert(&daemon.address, "for the pinned one");
    eventually("the thief to be seen", || setup.log().contains("not usable").then_some(()));
    assert!(relay_host.heard().taken.is_empty());
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    relay_host.taken(1);
}
