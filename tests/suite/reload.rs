//! A changed configuration is taken by the running daemon: all of it, or nothing, and what is queued profits from it.

use std::fs;

use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::pki::Authority;
use crate::support::reader::open;
use crate::support::relay_host::{PASSWORD, RelayHost, Script};

#[test]
fn repaired_credentials_apply_to_what_is_queued_at_once_by_command_and_by_signal() {
    for by_signal in [false, true] {
        let (relay_host, authority, _) = RelayHost::honest();
        let setup = Setup::new(relay_host.port, &authority.pem);
        setup.write("sasl_password", b"wrong");
        let daemon = setup.start();
        send_alert(&daemon.address, "queued before the repair");
        eventually("the login to be refused", || daemon.status()["relays"][0]["trouble"].as_str().map(str::to_owned));
        setup.write("sasl_password", PASSWORD.as_bytes());
        if by_signal {
            daemon.hang_up();
        } else {
            let (said, code) = daemon.reload();
            assert_eq!(code, 0, "{said}");
            assert!(said.contains("in force: sender="), "{said}");
        }
        relay_host.taken(1);
        eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
        assert!(setup.log().contains("configuration reloaded"));
    }
}

#[test]
fn a_new_recipient_and_another_relay_host_are_in_force_after_a_reload() {
    let authority = Authority::new("test CA");
    let identity = authority.issue("localhost");
    let first = RelayHost::start(Script::honest(&identity));
    let second = RelayHost::start(Script::honest(&identity));
    let setup = Setup::new(first.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "for one");
    first.taken(1);
    let setup_after = fs::read_to_string(setup.path("sealrelay.toml")).expect("a configuration");
    let other = Setup::new(second.port, &authority.pem).recipient("other@example.org", "default = true");
    fs::copy(other.path("other@example.org.asc"), setup.path("other@example.org.asc")).expect("copied");
    let fingerprint = other.recipients[1].1.fingerprint().to_hex();
    let entry = format!(
        "[[recipient]]\naddress = \"other@example.org\"\ncertificate = \"other@example.org.asc\"\nfingerprint = \"{fingerprint}\"\ndefault = true\n"
    );
    let text = setup_after.replace(&format!("port = {}", first.port), &format!("port = {}", second.port)) + &entry;
    setup.write("sealrelay.toml", text.as_bytes());
    let (said, code) = daemon.reload();
    assert_eq!(code, 0, "{said}");
    send_alert(&daemon.address, "for two");
    let taken = second.taken(2);
    let for_other = taken.iter().find(|taken| taken.rcpt.contains("other@")).expect("a message for the new recipient");
    let opened = open(&for_other.message, &other.recipients[1].1, &setup.path("state/signer.asc"));
    assert!(String::from_utf8_lossy(opened.alert()).contains("for two"));
    assert_eq!(first.heard().taken.len(), 1, "the old relay host gets nothing any more");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_bad_new_configuration_leaves_the_old_one_running_and_says_why() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    let good = fs::read_to_string(setup.path("sealrelay.toml")).expect("a configuration");
    let rows = [
        ("a typing mistake", good.replace("[[relay]]", "[[rellay]]"), "unknown field"),
        ("a CA file that is not there", good.replace("\"ca.pem\"", "\"gone.pem\""), "gone.pem"),
        ("no recipient", good.split("[[recipient]]").next().expect("some").to_owned(), "nobody gets the alerts"),
        ("a certificate that is not there", good.replace("example.org.asc", "example.org.gone"), "example.org"),
        ("another listener", good.replace("127.0.0.1:0", "127.0.0.1:1"), "[listen] changed, which needs a restart"),
        ("another spool", good.replace("\"spool\"", "\"spool2\""), "spool.directory changed"),
    ];
    for (nth, (name, text, why)) in (1..).zip(rows) {
        assert_ne!(text, good, "{name}");
        setup.write("sealrelay.toml", text.as_bytes());
        // A certificate that once was usable has a copy: only a recipient that never had one stops a reload.
        if name.contains("certificate") {
            let (said, code) = daemon.reload();
            assert_eq!(code, 0, "{name}: {said}");
            assert!(setup.log().contains("the last usable copy is used"), "{name}");
        } else {
            let (said, code) = daemon.reload();
            assert_eq!(code, 78, "{name}: {said}");
            assert!(said.contains(why), "{name}: {said}");
            // A file that cannot even be read does not say where the daemon is: then the command says what is wrong.
            assert!(nth == 1 || setup.log().contains("configuration not reloaded"), "{name}: {}", setup.log());
        }
        send_alert(&daemon.address, name);
        assert_eq!(relay_host.taken(nth).len(), nth, "{name}: alerts still go out");
    }
    assert_eq!(daemon.terminate(), 0);
    let output = setup.run(&["config", "reload"]);
    assert_eq!(output.status.code(), Some(69), "nobody runs: {output:?}");
}

#[test]
fn a_bad_configuration_by_signal_leaves_the_old_one_running_and_the_log_says_why() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    let before = daemon.status();
    let good = fs::read_to_string(setup.path("sealrelay.toml")).expect("a configuration");
    let rows = [
        ("a typing mistake", good.replace("[[relay]]", "[[rellay]]"), "rellay"),
        ("a CA file that is not there", good.replace("\"ca.pem\"", "\"gone.pem\""), "gone.pem"),
        ("another listener", good.replace("127.0.0.1:0", "127.0.0.1:1"), "[listen] changed"),
    ];
    for (nth, (name, text, why)) in (1..).zip(rows) {
        assert_ne!(text, good, "{name}");
        setup.write("sealrelay.toml", text.as_bytes());
        daemon.hang_up();
        let said = eventually("a word in the log", || {
            let log = setup.log();
            let said: Vec<&str> = log.lines().filter(|line| line.contains("configuration not reloaded")).collect();
            said.get(nth - 1).map(|line| (*line).to_owned())
        });
        assert!(said.contains(why), "{name}: {said}");
        send_alert(&daemon.address, name);
        assert_eq!(relay_host.taken(nth).len(), nth, "{name}: alerts still go out");
    }
    assert!(!setup.log().contains("configuration reloaded"));
    setup.write("sealrelay.toml", good.as_bytes());
    let after = daemon.status();
    assert_eq!((&after["pid"], &after["listening"]), (&before["pid"], &before["listening"]));
    daemon.hang_up();
    eventually("the repaired one", || setup.log().contains("configuration reloaded").then_some(()));
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn reloads_under_load_lose_and_double_nothing() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).listen("early_dot_wait = \"0ms\"");
    let daemon = setup.start();
    std::thread::scope(|scope| {
        for client in 0..4 {
            let address = &daemon.address;
            scope.spawn(move || (0..25).for_each(|nth| send_alert(address, &format!("client {client}, alert {nth}."))));
        }
        for _ in 0..10 {
            assert_eq!(daemon.reload().1, 0);
        }
    });
    let taken = relay_host.taken(100);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    let mut texts: Vec<String> = taken
        .iter()
        .map(|taken| {
            let opened = open(&taken.message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
            String::from_utf8_lossy(opened.alert()).lines().find(|line| line.contains("client ")).map(str::to_owned)
        })
        .map(|line| line.expect("the alert's line"))
        .collect();
    texts.sort();
    texts.dedup();
    assert_eq!((texts.len(), relay_host.heard().taken.len()), (100, 100));
    assert_eq!(daemon.terminate(), 0);
}
