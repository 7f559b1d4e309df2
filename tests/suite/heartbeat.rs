//! Heartbeats: when they come, over restarts and clocks that jump, and whether every figure in them is true.

use std::time::Duration;

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::CertBuilder;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto;
use serde_json::Value;

use crate::support::client::{Client, alert, send, send_alert};
use crate::support::daemon::{Daemon, Setup};
use crate::support::reader::{Opened, open};
use crate::support::relay_host::{RelayHost, Script};
use crate::support::{eventually, have, met};

/// All that arrived for the first recipient, opened, by number.
fn opened(setup: &Setup, relay_host: &RelayHost) -> Vec<Opened> {
    let (address, key) = &setup.recipients[0];
    let taken = relay_host.heard().taken.clone();
    let mine = taken.iter().filter(|taken| taken.rcpt.contains(address.as_str()));
    let mut opened: Vec<Opened> =
        mine.map(|taken| open(&taken.message, key, &setup.path("state/signer.asc"))).collect();
    opened.sort_by_key(|opened| opened.manifest["sequence"].as_u64());
    opened
}

/// The heartbeats among them.
fn heartbeats(setup: &Setup, relay_host: &RelayHost) -> Vec<Value> {
    let all = opened(setup, relay_host).into_iter().map(|opened| opened.manifest["heartbeat"].clone());
    all.filter(|heartbeat| !heartbeat.is_null()).collect()
}

/// Waits for so many messages and that they are off the disk.
fn settled(setup: &Setup, relay_host: &RelayHost, count: usize) {
    relay_host.taken(count);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
}

/// Nothing more comes for a while.
#[track_caller]
fn stays(relay_host: &RelayHost, count: usize) {
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(relay_host.heard().taken.len(), count);
}

/// The daemon with a clock that is `ahead`, as libfaketime writes it; `None` where there is no libfaketime.
fn start_with_clock<'a>(setup: &'a Setup, ahead: &str) -> Option<Daemon<'a>> {
    if !have("faketime") {
        return None;
    }
    let library = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let library = library.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.exists());
    if !met(library.is_some(), "libfaketime") {
        return None;
    }
    setup.configure();
    let mut run = setup.command(&["run"]);
    run.env("LD_PRELOAD", library?).env("FAKETIME", ahead).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Some(setup.start_by(run))
}

fn send_now(setup: &Setup) -> Value {
    let output = setup.run(&["heartbeat", "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn one_comes_when_the_state_is_new_and_none_at_an_ordinary_restart() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).heartbeat("24h");
    let daemon = setup.start();
    settled(&setup, &relay_host, 1);
    let first = opened(&setup, &relay_host).remove(0);
    let heartbeat = &first.manifest["heartbeat"];
    assert_eq!((&heartbeat["reason"], &heartbeat["every"]), (&"new-state".into(), &86_400.into()), "{heartbeat}");
    assert_eq!((&heartbeat["highest"], &heartbeat["from"], &heartbeat["since"]), (&0.into(), &1.into(), &Value::Null));
    let text = String::from_utf8_lossy(first.alert()).into_owned();
    let signer = first.manifest["signer"].as_str().expect("a fingerprint");
    let epoch = first.manifest["epoch"].as_str().expect("an epoch");
    assert!(text.contains(&format!("THIS RELAY'S STATE IS NEW: signer {signer}, epoch {epoch}")), "{text}");
    assert!(first.subject.starts_with("Heartbeat of the mail relay on "), "{}", first.subject);
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    stays(&relay_host, 1);
    // A lost state directory is said, too.
    assert_eq!(daemon.terminate(), 0);
    std::fs::remove_dir_all(setup.path("state")).expect("lost");
    let _daemon = setup.start();
    relay_host.taken(2);
    let second = relay_host.taken(2)[1].message.clone();
    let second = open(&second, &setup.recipients[0].1, &setup.path("state/signer.asc"));
    assert_eq!(second.manifest["heartbeat"]["reason"], "new-state");
    assert_ne!(second.manifest["epoch"], epoch);
}

#[test]
fn one_comes_after_a_change_of_the_configuration_by_restart_or_reload() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).heartbeat("24h");
    let daemon = setup.start();
    settled(&setup, &relay_host, 1);
    assert_eq!(daemon.terminate(), 0);
    let setup = setup.recipient("second@example.org", "");
    let daemon = setup.start();
    settled(&setup, &relay_host, 3);
    assert_eq!(heartbeats(&setup, &relay_host)[1]["reason"], "new-configuration");
    let setup_text = std::fs::read_to_string(setup.path("sealrelay.toml")).expect("read");
    setup.write("sealrelay.toml", setup_text.replace("every = \"24h\"", "every = \"12h\"").as_bytes());
    let (said, code) = daemon.reload();
    assert_eq!(code, 0, "{said}");
    settled(&setup, &relay_host, 5);
    let third = &heartbeats(&setup, &relay_host)[2];
    assert_eq!((&third["reason"], &third["every"]), (&"new-configuration".into(), &43_200.into()));
    // Switched off: the last one says that none will follow, and `status` and `config check` warn.
    setup.write("sealrelay.toml", setup_text.replace("every = \"24h\"", "every = \"off\"").as_bytes());
    assert_eq!(daemon.reload().1, 0);
    settled(&setup, &relay_host, 7);
    assert_eq!(heartbeats(&setup, &relay_host)[3]["every"], Value::Null);
    for command in [["status"].as_slice(), &["config", "check"]] {
        let said = String::from_utf8_lossy(&setup.run(command).stdout).into_owned();
        assert!(said.contains("nobody notices when alerts stop coming"), "{said}");
    }
    assert_eq!(daemon.terminate(), 0);
    setup.write("sealrelay.toml", setup_text.replace("every = \"24h\"", "every = \"off\"").as_bytes());
    let _daemon = setup.start_by(setup.command(&["run"]));
    stays(&relay_host, 7);
}

#[test]
fn they_come_at_their_time_over_restarts_and_whatever_the_clock_does() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).heartbeat("24h");
    // How far the clock is ahead at each start, and how many have come then: set back by a day, one comes too many, and the
    // next ones at their time again.
    for (ahead, count) in [("+240h", 1), ("+263h", 1), ("+265h", 2), ("+241h", 3), ("+264h", 3), ("+266h", 4)] {
        let Some(daemon) = start_with_clock(&setup, ahead) else { return };
        settled(&setup, &relay_host, count);
        stays(&relay_host, count);
        assert_eq!(daemon.terminate(), 0, "{ahead}");
    }
    // Signed by that clock they are of the future to ours: who opens them elsewhere sees that they are heartbeats.
}

#[test]
fn every_figure_is_what_the_client_and_the_relay_host_counted() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem)
        .listen("early_dot_wait = \"300ms\"\nmessage_size = \"64KiB\"")
        .heartbeat("24h");
    let daemon = setup.start();
    settled(&setup, &relay_host, 1);
    // Three that go at once: one of them with a lone dot, one after a mail that is too large.
    send_alert(&daemon.address, "one");
    let (mut client, _) = Client::connect(&daemon.address);
    client.begin_data("HELO monitor", &["root"]);
    client.send(alert("two").as_bytes());
    client.send(b".\r\nrest of the log line\r\n.\r\n");
    assert!(client.reply().starts_with("250"));
    assert!(!send(&daemon.address, &["root"], &alert(&"x\r\n".repeat(40_000))).starts_with("250"));
    send_alert(&daemon.address, "three");
    settled(&setup, &relay_host, 4);
    eventually("what was sent is counted", || (daemon.status()["counts"]["sent"] == 4).then_some(()));
    // Two that the relay host defers, until the heartbeat that is asked for is made.
    relay_host.now(Script::honest(&identity).says("END", "451 4.3.0 later"));
    send_alert(&daemon.address, "four");
    send_alert(&daemon.address, "five");
    eventually("two deferred", || (daemon.status()["counts"]["deferred"].as_u64() >= Some(2)).then_some(()));
    assert_eq!(daemon.terminate(), 0);
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let daemon = setup.start();
    let oldest = daemon.status()["spool"]["oldest"].clone();
    let deferred = relay_host.heard().offered - 4;
    assert_eq!(send_now(&setup)["admin@example.org"], 7);
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    settled(&setup, &relay_host, 7);

    let all = opened(&setup, &relay_host);
    let numbers: Vec<_> = all.iter().map(|opened| opened.manifest["sequence"].as_u64().expect("a number")).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    let told = &all[6].manifest["heartbeat"];
    assert_eq!(told["reason"], "asked");
    let totals = &told["totals"];
    for (name, counted) in
        [("accepted", 5), ("entries", 5), ("sent", 4), ("undeliverable", 0), ("early_dots", 1), ("oversize", 1)]
    {
        assert_eq!(totals[name], counted, "{name} in {totals}");
    }
    assert_eq!(totals["deferred"], deferred, "{totals}");
    // The first heartbeat itself was made after the totals it told of.
    assert_eq!(totals["heartbeats"], 1);
    assert_eq!((&told["highest"], &told["waiting"]), (&6.into(), &serde_json::json!([[5, 6]])));
    assert_eq!((&told["never"], &told["complete"]), (&serde_json::json!({}), &true.into()));
    assert_eq!((&told["spool"]["queued"], &told["spool"]["oldest"]), (&2.into(), &oldest));
    assert_eq!(told["since"], all[0].manifest["heartbeat"]["made"]);
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["certificates"][0]["fingerprint"], setup.recipients[0].1.fingerprint().to_hex());
    assert_eq!(told["certificates"][0]["until"], expiry(&setup));
    assert_eq!(told["relays"][0]["relay"], format!("localhost:{}", relay_host.port));
    // The same for people.
    let text = String::from_utf8_lossy(all[6].alert()).into_owned();
    for line in ["accepted: 5", "sent: 4", "early dots: 1", "still in the spool: 5-6", "Highest number before this: 6"]
    {
        let (name, value) = line.split_once(": ").expect("a pair");
        let found =
            text.lines().any(|line| line.trim().starts_with(&format!("{name}:")) && line.trim().ends_with(value));
        assert!(found, "{line:?} is not in\n{text}");
    }
    // And of the size of an alert.
    let taken = relay_host.heard().taken.clone();
    let sizes: std::collections::BTreeSet<usize> = taken.iter().map(|taken| taken.message.len()).collect();
    assert_eq!(sizes.len(), 1, "{sizes:?}");

    // What comes next counts from here, and a kill -9 is said.
    send_alert(&daemon.address, "six");
    settled(&setup, &relay_host, 8);
    eventually("counted", || (daemon.status()["counts"]["sent"] == 4).then_some(()));
    send_now(&setup);
    settled(&setup, &relay_host, 9);
    let told = heartbeats(&setup, &relay_host).remove(2);
    assert_eq!(
        (&told["totals"]["accepted"], &told["totals"]["sent"], &told["complete"]),
        (&1.into(), &4.into(), &true.into())
    );
    assert!(
        told["relays"][0]["last_success"].is_u64() && told["relays"][0]["certificate"]["expires"].is_u64(),
        "{told}"
    );
    daemon.kill();
    let daemon = setup.start();
    send_now(&setup);
    settled(&setup, &relay_host, 10);
    assert_eq!(heartbeats(&setup, &relay_host)[3]["complete"], false);
    drop(daemon);
}

#[test]
fn what_was_refused_and_what_was_the_second_of_a_session_is_told_as_it_was_counted() {
    let (relay_host, authority, _) = RelayHost::honest();
    let identity = authority.issue_for_days("localhost", 90);
    relay_host.now(Script::honest(&identity));
    let setup = Setup::new(relay_host.port, &authority.pem).listen("early_dot_wait = \"0ms\"").heartbeat("24h");
    setup.configure();
    let text = std::fs::read_to_string(setup.path("sealrelay.toml")).expect("a configuration");
    let text = text.replace("directory = \"spool\"", "directory = \"spool\"\nquota = \"1MiB\"");
    let setup = setup.with_configuration(&text);
    let daemon = setup.start();
    settled(&setup, &relay_host, 1);

    // Three in one session that says HELO, as clients that send one do: two are more than it should.
    let (mut client, _) = Client::connect(&daemon.address);
    assert!(client.say("HELO monitor").starts_with("250"));
    for nth in 1..=3 {
        assert!(client.say("MAIL FROM:<root@monitor>").starts_with("250"));
        assert!(client.say("RCPT TO:<root>").starts_with("250"));
        assert!(client.say("DATA").starts_with("354"));
        client.send(format!("{}.\r\n", alert(&format!("number {nth} of one session"))).as_bytes());
        assert!(client.reply().starts_with("250"), "number {nth}");
    }
    drop(client);
    settled(&setup, &relay_host, 4);
    // A session that is still open keeps to what its relay host said; counts go on over restarts.
    assert_eq!(daemon.terminate(), 0);

    // Two that are larger than what the relay host takes: it says so when it is asked, and they are given up.
    let mut small = Script::honest(&identity);
    small.capabilities = vec!["SIZE 1000".into(), "AUTH PLAIN".into()];
    relay_host.now(small);
    let daemon = setup.start();
    (0..2).for_each(|nth| send_alert(&daemon.address, &format!("too large for it {nth}")));
    eventually("two in failed/", || (setup.spooled("failed").len() == 2).then_some(()));
    assert_eq!(daemon.terminate(), 0);

    // And as many as a client was refused while the spool was full.
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let daemon = setup.start();
    let body = "x".repeat(70) + "\r\n";
    let refused = (0..80)
        .filter(|nth| {
            let (mut client, banner) = Client::connect(&daemon.address);
            if banner.starts_with("421") {
                return true;
            }
            client.begin_data("EHLO monitor", &["root"]);
            client.send(format!("{}.\r\n", alert(&format!("{nth} {}", body.repeat(150)))).as_bytes());
            !client.reply().starts_with("250")
        })
        .count();
    assert!((1..80).contains(&refused), "{refused}");
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    let number = send_now(&setup)["admin@example.org"].as_u64().expect("a number");
    eventually("the heartbeat", || {
        let told = heartbeats(&setup, &relay_host).len();
        (told == 2).then_some(())
    });

    let all = opened(&setup, &relay_host);
    let told = all.last().expect("some").manifest["heartbeat"].clone();
    let totals = &told["totals"];
    let counted = [
        ("second_transactions", 2),
        ("undeliverable", 2),
        ("not_taken", refused as u64),
        ("accepted", 3 + 2 + 80 - refused as u64),
        ("sent", all.len() as u64 - 1),
    ];
    for (name, counted) in counted {
        assert_eq!(totals[name], counted, "{name} in {totals}");
    }
    assert_eq!((&told["never"], &told["spool"]["failed"]), (&serde_json::json!({"failed": [[5, 6]]}), &2.into()));
    assert_eq!(told["highest"], number - 1);
    // The relay host's certificate, by what its authority put into it.
    let presented = &told["relays"][0]["certificate"];
    assert_eq!(presented["expires"], identity.expires(), "{presented}");
    let noticed = all.iter().filter(|opened| opened.noticed().contains("session")).count();
    assert_eq!(noticed, 2, "each of them says so itself");
}

#[test]
fn sessions_that_were_closed_to_make_room_are_told_as_the_clients_saw_it() {
    use std::io::Read;
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).listen("sessions = 4").heartbeat("24h");
    let daemon = setup.start();
    settled(&setup, &relay_host, 1);
    let silent: Vec<Client> = (0..4).map(|_| Client::connect(&daemon.address).0).collect();
    send_alert(&daemon.address, "room");
    settled(&setup, &relay_host, 2);
    send_now(&setup);
    settled(&setup, &relay_host, 3);
    // Whoever is still served hears nothing and is not at the end of the stream.
    let is_closed = |mut client: Client| {
        client.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a limit");
        !matches!(client.stream.read(&mut [0; 64]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let closed = silent.into_iter().map(is_closed).filter(|closed| *closed).count();
    assert!(closed > 0, "nobody was closed");
    let told = heartbeats(&setup, &relay_host).pop().expect("a heartbeat");
    assert_eq!(told["totals"]["closed_for_room"], closed, "{told}");
}

/// When the first recipient's certificate expires, as another program of OpenPGP reads it.
fn expiry(setup: &Setup) -> Value {
    let policy = StandardPolicy::new();
    let valid = setup.recipients[0].1.with_policy(&policy, None).expect("valid");
    let end = valid.primary_key().key_expiration_time();
    end.map_or(Value::Null, |end| end.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs().into())
}

#[test]
fn what_failed_is_told() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).heartbeat("24h");
    let daemon = setup.start();
    settled(&setup, &relay_host, 1);
    relay_host.now(Script::honest(&identity).says("END", "451 4.3.0 later"));
    send_alert(&daemon.address, "to be moved");
    send_alert(&daemon.address, "to stay");
    assert_eq!(daemon.terminate(), 0);
    // As an entry lies in failed/ after a refusal that lasted.
    let entry = setup.spooled("queue").remove(0);
    std::fs::rename(&entry, setup.path("spool/failed").join(entry.file_name().expect("a name"))).expect("moved");
    let daemon = setup.start();
    send_now(&setup);
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    settled(&setup, &relay_host, 3);
    let told = heartbeats(&setup, &relay_host).remove(1);
    assert_eq!(
        (&told["never"], &told["waiting"]),
        (&serde_json::json!({"failed": [[2, 2]]}), &serde_json::json!([[3, 3]]))
    );
}

#[test]
fn alerts_that_could_not_be_sealed_are_told_when_it_is_possible_again() {
    let (relay_host, authority, _) = RelayHost::honest();
    let soon = CertBuilder::general_purpose(Some("<second@example.org>"))
        .set_creation_time(std::time::SystemTime::now())
        .set_validity_period(Duration::from_secs(5));
    let (certificate, _) = soon.generate().expect("a key");
    let setup = Setup::new(relay_host.port, &authority.pem)
        .recipient_with("second@example.org", certificate.clone(), "default = true\non_expired = \"notice\"")
        .heartbeat("24h");
    let daemon = setup.start();
    settled(&setup, &relay_host, 2);
    std::thread::sleep(Duration::from_secs(6));
    (0..3).for_each(|nth| send_alert(&daemon.address, &nth.to_string()));
    // Three for the one, and one notice for the other.
    settled(&setup, &relay_host, 6);
    setup.write("second@example.org.asc", &extended(&certificate).armored().to_vec().expect("armored"));
    assert_eq!(daemon.reload().1, 0);
    assert_eq!(send_now(&setup), serde_json::json!({"admin@example.org": 5, "second@example.org": 2}));
    settled(&setup, &relay_host, 8);
    let second = relay_host.taken(8).into_iter().rfind(|taken| taken.rcpt.contains("second@")).expect("one");
    let second = open(&second.message, &certificate, &setup.path("state/signer.asc"));
    assert_eq!(second.manifest["heartbeat"]["not_sealed"], 3);
    assert!(second.noticed().contains("3 alert(s) before this one could not be sealed"), "{}", second.noticed());
    assert!(second.manifest["heartbeat"]["certificates"][0]["until"].is_u64());
}

/// `certificate` as its holder has extended it by a day.
fn extended(certificate: &Cert) -> Cert {
    let policy = StandardPolicy::new();
    let then = certificate.primary_key().key().creation_time();
    let mut signer =
        certificate.primary_key().key().clone().parts_into_secret().and_then(|key| key.into_keypair()).expect("secret");
    let end = Some(std::time::SystemTime::now() + Duration::from_secs(86_400));
    let mut signatures = certificate
        .with_policy(&policy, then)
        .and_then(|valid| valid.primary_key().set_expiration_time(&mut signer, end))
        .expect("extended");
    for subkey in certificate.keys().with_policy(&policy, then).subkeys() {
        let capable = subkey.for_transport_encryption() || subkey.for_storage_encryption();
        if capable {
            signatures.extend(subkey.set_expiration_time(&mut signer, None, end).expect("extended"));
        }
    }
    certificate.clone().insert_packets(signatures).expect("merged").0
}

#[test]
fn without_a_daemon_the_command_says_so() {
    let setup = Setup::new(1, "");
    setup.write(
        "ca.pem",
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/certs/test/ca.pem")).expect("CA").as_slice(),
    );
    setup.configure();
    let output = setup.run(&["heartbeat"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
}
