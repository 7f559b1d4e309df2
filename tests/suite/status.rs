//! `status` in all its forms, and `log`: every figure compared with what the client sent and the relay host took, over
//! restarts, without a daemon, and when the relay host's words are hostile.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::certificates::{DAY, armored, of_age, revoked};
use crate::support::client::{alert, send, send_alert};
use crate::support::clock::Clock;
use crate::support::daemon::{Daemon, Setup};
use crate::support::reader::open;
use crate::support::relay_host::{RelayHost, Script};
use crate::support::{eventually, have};

const SECOND: &str = "second@example.org";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn text(setup: &Setup, arguments: &[&str]) -> String {
    String::from_utf8(setup.run(arguments).stdout).expect("UTF-8")
}

/// The code of `status --nagios` and its lines, which must have the form that monitoring programs read.
#[track_caller]
fn nagios(setup: &Setup) -> (i32, String, Vec<(String, String)>) {
    let output = setup.run(&["status", "--nagios"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let first = text.lines().next().expect("a line").to_owned();
    let (said, performance) = first.split_once(" | ").unwrap_or((&first, ""));
    assert!(!said.contains('|') && text.matches('|').count() <= 1, "{text}");
    assert!(text.len() < 4096 && !text.contains('\x1b'), "{text}");
    let figures = performance.split(' ').filter(|figure| !figure.is_empty()).map(|figure| {
        let (label, value) = figure.split_once('=').unwrap_or_else(|| panic!("{figure}"));
        let value = value.split(';').next().expect("a value");
        let number = value.trim_end_matches(['c', 's']);
        assert!(number == "U" || number.parse::<u64>().is_ok(), "{figure}");
        (label.to_owned(), number.to_owned())
    });
    (output.status.code().expect("a code"), text.clone(), figures.collect())
}

fn settled(setup: &Setup, relay_host: &RelayHost, count: usize) {
    relay_host.taken(count);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
}

/// What the screen says in the row `name`: last hour, last day, since start.
#[track_caller]
fn row(screen: &str, name: &str) -> Vec<u64> {
    let row = screen.lines().find(|line| line.split_whitespace().next() == Some(name) && line.starts_with(name));
    let row = row.unwrap_or_else(|| panic!("no {name} in\n{screen}"));
    row.split_whitespace().skip(1).map(|number| number.parse().expect("a number")).collect()
}

/// What was counted: by the client, by the relay host, and in `failed/`.
#[derive(Default, Clone, Copy)]
struct Truth {
    accepted: u64,
    sent: u64,
    deferred: u64,
    failed: u64,
}

impl Truth {
    fn since(self, before: Self) -> Self {
        Self {
            accepted: self.accepted - before.accepted,
            sent: self.sent - before.sent,
            deferred: self.deferred - before.deferred,
            failed: self.failed - before.failed,
        }
    }

    #[track_caller]
    fn assert_is(self, counts: &Value, what: &str) {
        for (name, count) in [
            ("accepted", self.accepted),
            ("sent", self.sent),
            ("deferred", self.deferred),
            ("undeliverable", self.failed),
        ] {
            assert_eq!(counts[name], count, "{what}, {name}: {counts}");
        }
    }
}

/// All faces of `status` say this, where `start` is what the client and others had counted when the daemon started.
#[track_caller]
fn assert_figures(setup: &Setup, daemon: &Daemon<'_>, truth: Truth, start: Truth) {
    let status = eventually("the last figure", || {
        let status = daemon.status();
        let (counts, here) = (&status["counts"], truth.since(start));
        (counts["sent"] == here.sent && counts["deferred"] == here.deferred).then_some(status)
    });
    truth.since(start).assert_is(&status["counts"], "since start");
    truth.assert_is(&status["last_hour"], "last hour");
    truth.assert_is(&status["last_day"], "last day");
    let screen = text(setup, &["status"]);
    let here = truth.since(start);
    assert_eq!(row(&screen, "accepted"), [truth.accepted, truth.accepted, here.accepted]);
    assert_eq!(row(&screen, "sent"), [truth.sent, truth.sent, here.sent]);
    assert_eq!(row(&screen, "deferred"), [truth.deferred, truth.deferred, here.deferred]);
    assert_eq!(row(&screen, "failed"), [truth.failed, truth.failed, here.failed]);
    let (queued, failed) = (setup.spooled("queue").len(), setup.spooled("failed").len());
    assert!(screen.contains(&format!("{queued} waiting, 0 held, {failed} failed, 0 damaged")), "{screen}");
    let (_, _, figures) = nagios(setup);
    let figure = |name: &str| figures.iter().find(|(label, _)| label == name).expect("there").1.clone();
    assert_eq!(figure("accepted"), here.accepted.to_string());
    assert_eq!(figure("sent"), here.sent.to_string());
    assert_eq!(figure("deferred"), here.deferred.to_string());
    assert_eq!(figure("undeliverable"), here.failed.to_string());
    assert_eq!((figure("queued"), figure("failed")), (queued.to_string(), failed.to_string()));
}

/// What the relay host counted.
fn heard(relay_host: &RelayHost, accepted: u64, failed: u64) -> Truth {
    let heard = relay_host.heard();
    let sent = heard.taken.len() as u64;
    Truth { accepted, sent, deferred: heard.offered as u64 - sent, failed }
}

#[test]
fn every_figure_is_what_client_and_relay_host_counted_over_restarts_too() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let mut small = Script::honest(&identity);
    small.capabilities = vec!["SIZE 1000".into(), "AUTH PLAIN".into()];
    relay_host.now(small);
    let setup = Setup::new(relay_host.port, &authority.pem)
        .relay("messages_per_hour = 100\nmessages_per_day = 1000")
        .recipient(SECOND, "")
        .heartbeat("24h");

    // Two heartbeats and an alert that nobody can take.
    let daemon = setup.start();
    send_alert(&daemon.address, "too large");
    eventually("three in failed/", || (setup.spooled("failed").len() == 3).then_some(()));
    eventually("three counted", || (daemon.status()["counts"]["undeliverable"] == 3).then_some(()));
    let first = heard(&relay_host, 1, 3);
    assert_figures(&setup, &daemon, first, Truth::default());
    assert_eq!(daemon.status()["relays"][0]["last_success"], Value::Null);
    assert_eq!(daemon.terminate(), 0);

    relay_host.now(Script::honest(&identity));
    let daemon = setup.start();
    let began = now();
    (0..3).for_each(|nth| send_alert(&daemon.address, &format!("alert {nth}")));
    (0..2).for_each(|nth| assert!(send(&daemon.address, &[SECOND], &alert(&format!("{nth}"))).starts_with("250")));
    settled(&setup, &relay_host, 5);
    assert!(setup.run(&["heartbeat"]).status.success());
    settled(&setup, &relay_host, 7);
    relay_host.now(Script::honest(&identity).says("END", "451 4.3.0 Not now"));
    send_alert(&daemon.address, "later");
    eventually("an attempt", || (daemon.status()["counts"]["deferred"] == 1).then_some(()));
    daemon.flush();
    eventually("another one", || (daemon.status()["counts"]["deferred"] == 2).then_some(()));
    let second = heard(&relay_host, 7, 3);
    assert_figures(&setup, &daemon, second, first);
    let status = daemon.status();
    let relay = &status["relays"][0];
    assert_eq!((&relay["per_hour"], &relay["per_day"]), (&100.into(), &1000.into()));
    let last_success = relay["last_success"].as_u64().expect("a time");
    assert!((began..=now()).contains(&last_success), "{began} {last_success}");
    let since = relay["trouble_since"].as_u64().expect("a time");
    assert!((last_success..=now()).contains(&since), "{status}");
    let oldest = status["spool"]["oldest"].as_u64().expect("one waits");
    assert!((began..=now()).contains(&oldest), "{status}");
    let screen = text(&setup, &["status"]);
    for part in ["451 4.3.0 Not now", "what to do", "cap          100 an hour, 1000 a day", "1 waiting"] {
        assert!(screen.contains(part), "{part}:\n{screen}");
    }
    assert_eq!(daemon.terminate(), 0);

    relay_host.now(Script::honest(&identity));
    let daemon = setup.start();
    assert_eq!(daemon.status()["last_day"]["accepted"], 7);
    daemon.flush();
    settled(&setup, &relay_host, 8);
    let third = heard(&relay_host, 7, 3);
    assert_figures(&setup, &daemon, third, second);
    assert_recipients(&setup, &relay_host, &daemon.status());
    assert_eq!(daemon.terminate(), 0);

    // Without success in this process, the last one before it is still told.
    relay_host.now(Script::honest(&identity).says("greeting", "554 closed"));
    let daemon = setup.start();
    let told = daemon.status()["relays"][0]["last_success"].as_u64().expect("remembered");
    assert!(told >= last_success && told <= now(), "{told}");
    assert_figures(&setup, &daemon, third, third);
}

/// Numbers, heartbeats and certificates of each recipient are those that it has in its hands.
fn assert_recipients(setup: &Setup, relay_host: &RelayHost, status: &Value) {
    let taken = relay_host.heard().taken.clone();
    let recipients = status["recipients"].as_array().expect("a list");
    assert_eq!(recipients.len(), setup.recipients.len());
    for (recipient, (address, key)) in recipients.iter().zip(&setup.recipients) {
        let of_this = taken.iter().filter(|taken| taken.rcpt.contains(address.as_str()));
        let manifests: Vec<Value> =
            of_this.map(|taken| open(&taken.message, key, &setup.path("state/signer.asc")).manifest).collect();
        let highest = manifests.iter().filter_map(|manifest| manifest["sequence"].as_u64()).max();
        let heartbeat = manifests.iter().filter_map(|manifest| manifest["heartbeat"]["made"].as_u64()).max();
        assert!(manifests.len() >= 3 && heartbeat.is_some(), "{address}");
        assert_eq!(recipient["recipient"], address.as_str());
        assert_eq!(recipient["last_number"].as_u64(), highest, "{recipient}");
        assert_eq!(recipient["last_heartbeat"].as_u64(), heartbeat, "{recipient}");
        assert_eq!(recipient["certificates"][0]["fingerprint"], key.fingerprint().to_hex());
        let screen = text(setup, &["status"]);
        let part = format!("last number  {}", highest.expect("some"));
        assert!(screen.contains(&part) && screen.contains(&key.fingerprint().to_hex()), "{part}\n{screen}");
    }
    assert_eq!((&recipients[0]["default"], &recipients[1]["default"]), (&true.into(), &false.into()));
}

#[test]
fn the_last_hour_and_the_last_day_end_though_the_daemon_was_down_meanwhile() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    let daemon = setup.start_by_clock(&clock);
    (0..3).for_each(|nth| send_alert(&daemon.address, &format!("{nth}")));
    settled(&setup, &relay_host, 3);
    // The wall clock jumps while it runs: time is measured by another one.
    clock.set_days(3);
    eventually("three sent", || (daemon.status()["last_hour"]["sent"] == 3).then_some(()));
    clock.set_time(SystemTime::now());
    assert_eq!(daemon.terminate(), 0);
    for (hours, hour, day) in [(0, 3, 3), (2, 0, 3), (25, 0, 0)] {
        clock.set_time(SystemTime::now() + hours * Duration::from_secs(3600));
        let status: Value = {
            let mut command = setup.command(&["status", "--json"]);
            clock.rule(&mut command);
            serde_json::from_slice(&command.output().expect("ran").stdout).expect("JSON")
        };
        let daemon = setup.start_by_clock(&clock);
        // The same without the daemon and with it.
        for status in [status, daemon.status()] {
            let counted = (&status["last_hour"]["accepted"], &status["last_day"]["sent"], &status["counts"]["sent"]);
            assert_eq!(counted, (&hour.into(), &day.into(), &0.into()), "{hours} h later: {status}");
        }
        daemon.kill();
    }
}

#[test]
fn without_a_daemon_it_says_so_and_what_lies_in_the_spool() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("END", "451 4.3.0 Not now"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    setup.configure();
    // Never started.
    assert_eq!(setup.run(&["status"]).status.code(), Some(69));
    assert!(!setup.path("spool").exists() && !setup.path("state").exists(), "looking made something");
    let daemon = setup.start();
    let began = now();
    (0..2).for_each(|nth| send_alert(&daemon.address, &format!("{nth}")));
    eventually("two attempts", || (daemon.status()["counts"]["deferred"] == 2).then_some(()));
    let oldest = daemon.status()["spool"]["oldest"].as_u64().expect("one");
    assert!((began..=now()).contains(&oldest));
    assert_eq!(daemon.terminate(), 0);
    let output = setup.run(&["status"]);
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(69), "{screen}");
    let from = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(oldest)).to_string();
    for part in ["not running", "start it", "2 waiting, 0 held", &from.replace('T', " ")] {
        assert!(screen.contains(part), "{part}:\n{screen}");
    }
    assert_eq!(row(&screen, "accepted"), [2, 2]);
    assert_eq!(row(&screen, "deferred"), [2, 2]);
    let (code, said, figures) = nagios(&setup);
    assert_eq!(code, 2, "{said}");
    assert!(said.starts_with("SEALRELAY CRITICAL - not running, 2 waiting"), "{said}");
    assert!(figures.contains(&("queued".into(), "2".into())) && figures.contains(&("sent".into(), "U".into())));
}

#[test]
fn monitoring_gets_0_1_2_or_3_and_figures_it_can_read() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "well");
    settled(&setup, &relay_host, 1);
    let (code, said, _) = nagios(&setup);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("SEALRELAY OK - well; 1 accepted"), "{said}");

    // Words that would be performance data, and that a terminal would obey.
    let hostile = "451 4.3.0 x | sent=999 \u{202e}\x1b[2J\x1b]0;owned\x07";
    relay_host.now(Script::honest(&identity).says("END", hostile));
    send_alert(&daemon.address, "refused");
    eventually("trouble", || daemon.status()["relays"][0]["trouble"].as_str().map(str::to_owned));
    let (code, said, figures) = nagios(&setup);
    assert_eq!(code, 1, "{said}");
    assert!(said.starts_with("SEALRELAY WARNING - relay host localhost:"), "{said}");
    assert!(figures.contains(&("sent".into(), "1".into())), "{said}");
    for arguments in [["status"].as_slice(), &["log"], &["log", "--json"], &["status", "--json"], &["queue", "list"]] {
        let said = setup.run(arguments).stdout;
        assert!(String::from_utf8_lossy(&said).contains("451 4.3.0 x"), "{arguments:?}");
        let is_plain = |octet: &u8| matches!(octet, b'\n' | b' '..=b'~');
        assert!(said.iter().all(is_plain), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }

    // Nothing can be sealed to anybody.
    setup.write("admin@example.org.asc", &armored(&revoked(&setup.recipients[0].1)));
    daemon.reload();
    let (code, said, _) = nagios(&setup);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("revoked"), "{said}");
    let screen = text(&setup, &["status"]);
    assert!(screen.contains("BROKEN, alerts are not taken") && screen.contains("NOT SEALED"), "{screen}");

    // Whether it is well cannot be told.
    setup.write("sealrelay.toml", b"[control]\nsocket = 5\n");
    let (code, said, _) = nagios(&setup);
    assert_eq!(code, 3, "{said}");
    assert!(said.starts_with("SEALRELAY UNKNOWN - "), "{said}");
}

#[test]
fn who_may_not_ask_the_daemon_is_told_so_and_nothing_else() {
    if !crate::support::root() || !have("setpriv") {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    // The program itself may lie where nobody else gets.
    let setup = Setup::new(relay_host.port, &authority.pem);
    let copy = setup.path("sealrelay");
    std::fs::copy(setup.command(&[]).get_program(), &copy).expect("copied");
    let daemon = setup.start();
    let open_to_all = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(setup.path(name), std::fs::Permissions::from_mode(0o755)).expect("opened");
    };
    ["", "sealrelay", "sealrelay.toml", "ca.pem", "admin@example.org.asc"].into_iter().for_each(open_to_all);
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
        let output = command.arg("--config").arg(setup.path("sealrelay.toml")).args(arguments).output().expect("ran");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (said, output.status.code())
    };
    for (arguments, code) in [(["status"].as_slice(), 77), (&["status", "--nagios"], 3), (&["log"], 77)] {
        let (said, exit) = as_nobody(arguments);
        assert_eq!(exit, Some(code), "{said}");
        assert!(said.contains("not open to this account") && !said.contains("waiting"), "{said}");
    }
    // That it does not run can be told; what waits cannot, and is not said to be nothing.
    assert_eq!(daemon.terminate(), 0);
    let (said, code) = as_nobody(&["status"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("not running") && said.contains("not known: "), "{said}");
    assert!(!said.contains("0 waiting"), "{said}");
    let (said, code) = as_nobody(&["status", "--nagios"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("queued=U ") && !said.contains("queued=0"), "{said}");
    // Nor where the configuration has no secret that hides it.
    let file = setup.path("sealrelay.toml");
    let text = std::fs::read_to_string(&file).expect("read");
    let is_open = |line: &&str| !line.starts_with("username") && !line.starts_with("password_file");
    let text = text.lines().filter(is_open).collect::<Vec<_>>().join("\n");
    std::fs::write(&file, format!("{text}\n[sender]\naddress = \"ossec@example.org\"\n")).expect("written");
    let (said, code) = as_nobody(&["status"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("not known: cannot look into ") && !said.contains("0 waiting"), "{said}");
}

#[test]
fn a_configuration_that_keeps_the_daemon_from_starting_is_named() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    setup.configure();
    std::fs::remove_file(setup.path("sasl_password")).expect("removed");
    let output = setup.run(&["status"]);
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(69), "{screen}");
    assert!(screen.contains("not running") && screen.contains("sasl_password"), "{screen}");
}

#[test]
fn a_relay_host_that_is_down_for_two_hours_is_shown_with_since_when_why_and_what_to_do() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).heartbeat("24h").relay("messages_per_day = 500");
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    let daemon = setup.start_by_clock(&clock);
    send_alert(&daemon.address, "well");
    settled(&setup, &relay_host, 2);
    eventually("all well", || (daemon.status()["counts"]["sent"] == 2).then_some(()));
    let screen = || {
        let mut command = setup.command(&["status"]);
        clock.rule(&mut command);
        let output = command.env("COLUMNS", "80").output().expect("ran");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    };
    let (well, code) = screen();
    assert_eq!(code, Some(0), "{well}");
    assert!(well.starts_with("sealrelay ") && well.contains(": well\n"), "{well}");
    relay_host.now(Script::honest(&identity).says("greeting", "421 4.3.2 System not accepting network messages"));
    // The session that is open ends first.
    std::thread::sleep(Duration::from_secs(6));
    (0..3).for_each(|nth| send_alert(&daemon.address, &format!("{nth}")));
    eventually("trouble", || daemon.status()["relays"][0]["trouble"].as_str().map(str::to_owned));
    clock.set_time(SystemTime::now() + Duration::from_secs(7230));
    daemon.flush();
    let (down, code) = screen();
    eprintln!("{well}\n{down}");
    let unbroken = down.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(code, Some(75), "{down}");
    for part in [
        "DEGRADED",
        "in trouble for 2 h 0 min",
        "421 4.3.2 System not accepting network messages",
        "what to do",
        "next attempt",
        "3 waiting",
        "! the oldest message has waited for 120 minutes",
    ] {
        assert!(unbroken.contains(part), "{part}:\n{down}");
    }
    assert_eq!(unbroken.matches("System not accepting").count(), 1, "once, beside its relay host:\n{down}");
    assert!(down.lines().all(|line| line.len() <= 80), "{down}");
}

/// Runs the binary on a terminal of 80 columns and 24 lines; what the terminal got.
fn on_terminal(setup: &Setup, arguments: &str, variables: &[(&str, &str)]) -> (String, Option<i32>) {
    let output = terminal(setup, arguments, variables).stdin(Stdio::null()).output().expect("ran");
    (String::from_utf8(output.stdout).expect("UTF-8"), output.status.code())
}

fn terminal(setup: &Setup, arguments: &str, variables: &[(&str, &str)]) -> Command {
    let program = setup.command(&[]);
    let config = setup.path("sealrelay.toml");
    let line = format!(
        "stty cols 80 rows 24; exec {} --config {} {arguments}",
        program.get_program().display(),
        config.display()
    );
    let mut command = Command::new("timeout");
    command.args(["60", "script", "-qec", &line, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm");
    variables.iter().for_each(|(name, value)| _ = command.env(name, value));
    command
}

/// Without the colour.
fn uncoloured(text: &str) -> String {
    ["32", "33", "1;31", "0"].iter().fold(text.to_owned(), |text, code| text.replace(&format!("\x1b[{code}m"), ""))
}

#[test]
fn colour_is_for_terminals_that_want_it_and_80_columns_are_enough() {
    if !have("script") {
        return;
    }
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).recipient(SECOND, "");
    let daemon = setup.start();
    send_alert(&daemon.address, "well");
    settled(&setup, &relay_host, 1);
    let words = "words ".repeat(40);
    relay_host.now(Script::honest(&identity).says("AUTH", &format!("535 5.7.8 \x1b[31m{words}")));
    std::thread::sleep(Duration::from_secs(6));
    send_alert(&daemon.address, "trouble");
    eventually("trouble", || daemon.status()["relays"][0]["trouble"].as_str().map(str::to_owned));
    let (screen, code) = on_terminal(&setup, "status", &[]);
    assert_eq!(code, Some(75), "{screen}");
    assert!(screen.contains("\x1b[33mDEGRADED") && screen.contains("\x1b[1;31mlocalhost:"), "{screen}");
    assert!(screen.contains("5.7.8 \\x1b[31mwords"), "{screen}");
    let plain = uncoloured(&screen).replace("\r\n", "\n");
    assert!(!plain.contains('\x1b'), "{plain:?}");
    assert!(plain.lines().all(|line| line.len() <= 80), "{plain}");
    for variables in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (screen, _) = on_terminal(&setup, "status", &[variables]);
        assert!(screen.contains("DEGRADED") && !screen.contains('\x1b'), "{variables:?}: {screen:?}");
    }
    // An empty one is none (https://no-color.org).
    assert!(on_terminal(&setup, "status", &[("NO_COLOR", "")]).0.contains('\x1b'));
    assert!(!text(&setup, &["status"]).contains('\x1b'));
    assert!(text(&setup, &["status"]).contains(words.trim()), "sentences are whole where nobody needs them broken");
}

#[test]
fn a_live_screen_is_drawn_in_place_and_leaves_the_terminal_as_it_was() {
    if !have("script") {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).recipient(SECOND, "");
    let daemon = setup.start();
    let mut command = terminal(&setup, "status --watch=300ms", &[]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    let got = Arc::new(Mutex::new(String::new()));
    let (own, mut out) = (Arc::clone(&got), child.stdout.take().expect("piped"));
    let reader = std::thread::spawn(move || {
        let mut octets = [0; 4096];
        while let Ok(count @ 1..) = out.read(&mut octets) {
            own.lock().expect("whole").push_str(&String::from_utf8_lossy(&octets[..count]));
        }
    });
    let shown = || got.lock().expect("whole").clone();
    eventually("two pictures", || (shown().matches("every 300ms; Ctrl-C ends").count() >= 2).then_some(()));
    send_alert(&daemon.address, "seen live");
    relay_host.taken(1);
    eventually("the alert", || shown().contains("accepted             1").then_some(()));
    child.stdin.as_mut().expect("piped").write_all(b"\x03").expect("Ctrl-C");
    let status = eventually("the end", || child.try_wait().expect("waited"));
    reader.join().expect("read");
    let shown = shown();
    assert_eq!(status.code(), Some(0), "{shown:?}");
    let begin = shown.find("\x1b[?1049h\x1b[?25l").expect("the second screen");
    assert!(shown[begin..].trim_end().ends_with("\x1b[?25h\x1b[?1049l"), "{shown:?}");
    // No picture is higher than the terminal: it would scroll.
    let pictures: Vec<&str> = shown.split("\x1b[H").skip(1).collect();
    assert!(pictures.iter().all(|picture| picture.matches("\r\n").count() < 24), "{pictures:?}");
    assert!(shown.contains("more line(s) below"), "{shown:?}");
}

#[test]
fn without_a_terminal_watch_repeats_itself_until_nobody_reads_any_more() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let _daemon = setup.start();
    for (arguments, is_json) in
        [(["status", "--watch=200ms", "--json"].as_slice(), true), (&["status", "--watch=200ms"], false)]
    {
        let mut command = setup.command(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("started");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut heads = 0;
        while heads < 3 {
            let mut line = String::new();
            assert!(out.read_line(&mut line).expect("read") > 0, "it ended");
            assert!(!line.contains('\x1b'), "{line:?}");
            if is_json {
                assert_eq!(serde_json::from_str::<Value>(&line).expect("an object a line")["running"], true);
            }
            heads += usize::from(is_json || line.starts_with("sealrelay "));
        }
        drop(out);
        let status = eventually("the end", || child.try_wait().expect("waited"));
        assert_eq!(status.code(), Some(0), "{status:?}");
    }
    for wrong in ["--watch=10ms", "--watch=2days", "--watch=soon"] {
        assert_eq!(setup.run(&["status", wrong]).status.code(), Some(64), "{wrong}");
    }
}

/// The rows of `log --json`.
fn rows(setup: &Setup, since: &str, change: impl FnOnce(&mut Command)) -> Vec<Value> {
    let mut command = setup.command(&["log", "--json", "--since", since]);
    change(&mut command);
    let output = command.output().expect("ran");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

fn states(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["state"].as_str().expect("a state")).collect()
}

#[test]
fn the_log_tells_each_message_s_last_state_with_the_daemon_without_it_and_over_kill_9() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).recipient(SECOND, "");
    setup.configure();
    assert_eq!(rows(&setup, "1h", |_| {}).len(), 0);
    let daemon = setup.start();
    let began = now();
    send_alert(&daemon.address, "one");
    assert!(send(&daemon.address, &[SECOND], &alert(&"long ".repeat(8000))).starts_with("250"));
    settled(&setup, &relay_host, 2);
    relay_host.now(Script::honest(&identity).says("END", "451 4.3.0 Not now"));
    (0..3).for_each(|nth| send_alert(&daemon.address, &format!("{nth}")));
    eventually("three attempts", || (daemon.status()["counts"]["deferred"] == 3).then_some(()));
    let ids = rows(&setup, "1h", |_| {})
        .iter()
        .map(|row| row["queue_id"].as_str().expect("an id").to_owned())
        .collect::<Vec<_>>();
    assert!(setup.run(&["queue", "hold", &ids[3]]).status.success());
    assert!(setup.run(&["queue", "remove", "--yes", &ids[4]]).status.success());
    assert!(setup.run(&["heartbeat"]).status.success());
    let expected = ["sent", "sent", "deferred", "held", "removed", "deferred", "deferred"];
    let with = eventually("all attempts", || {
        let rows = rows(&setup, "1h", |_| {});
        (states(&rows) == expected).then_some(rows)
    });
    let taken = relay_host.taken(2);
    for (row, taken) in with.iter().zip(&taken) {
        let size = taken.message.len().next_multiple_of(16 * 1024);
        assert_eq!(row["size_class"].as_u64(), Some(size as u64), "{row}");
        assert!(taken.rcpt.contains(row["recipient"].as_str().expect("one")), "{row}");
        assert_eq!(row["reply"], "250 2.0.0 Ok: queued as 4711");
        assert_eq!(row["relay"], format!("localhost:{}", relay_host.port));
        let time = |name: &str| row[name].as_u64().expect("a time");
        assert!(began <= time("time") && time("time") <= time("changed") && time("changed") <= now(), "{row}");
    }
    assert_eq!(with[2]["reply"], "the relay host said to end of data: 451 4.3.0 Not now");
    let kinds: Vec<&str> = with.iter().map(|row| row["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["alert", "alert", "alert", "alert", "alert", "heartbeat", "heartbeat"]);
    // On paper the same, and nothing of an alert anywhere.
    let paper = text(&setup, &["log"]);
    assert!(paper.contains(&format!("{} 16 KiB for admin@example.org: sent", ids[0])), "{paper}");
    assert_eq!(paper.matches("heartbeat").count(), 2, "{paper}");
    // A little later everything is on the disk, and a death takes nothing of it.
    std::thread::sleep(Duration::from_secs(2));
    daemon.kill();
    assert_eq!(rows(&setup, "1h", |_| {}), with);
    // Nor does what a power cut may leave.
    let mut file = std::fs::File::options().append(true).open(setup.path("state/history.log")).expect("opened");
    file.write_all(b"{\"time\":1,\"queue_id\":\"TORN\xff").expect("torn");
    relay_host.now(Script::honest(&identity));
    // Without a daemon an operator's moves are told too.
    assert!(setup.run(&["queue", "release", &ids[3]]).status.success());
    assert_eq!(rows(&setup, "1h", |_| {})[3]["state"], "released");
    let daemon = setup.start();
    daemon.flush();
    settled(&setup, &relay_host, 6);
    let after = eventually("all sent", || {
        let rows = rows(&setup, "1h", |_| {});
        (states(&rows) == ["sent", "sent", "sent", "sent", "removed", "sent", "sent"]).then_some(rows)
    });
    assert_eq!(after[2]["queue_id"], with[2]["queue_id"]);
    assert_eq!(after[2]["time"], with[2]["time"]);
}

#[test]
fn the_log_looks_back_as_far_as_it_is_told() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    let daemon = setup.start_by_clock(&clock);
    send_alert(&daemon.address, "early");
    settled(&setup, &relay_host, 1);
    clock.set_time(SystemTime::now() + Duration::from_secs(3600));
    send_alert(&daemon.address, "late");
    settled(&setup, &relay_host, 2);
    let listed = |since: &str| rows(&setup, since, |command| clock.rule(command)).len();
    eventually("both", || (listed("2h") == 2).then_some(()));
    assert_eq!(listed("10m"), 1);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!((listed("10m"), listed("2h")), (1, 2));
    assert_eq!(setup.run(&["log", "--since", "yesterday"]).status.code(), Some(64));
}

#[test]
fn a_certificate_that_ends_in_some_weeks_is_advice_and_in_two_it_degrades_the_state() {
    let (relay_host, authority, _) = RelayHost::honest();
    let certificate = of_age("late@example.org", 265 * DAY - DAY / 2, 365 * DAY);
    let setup = Setup::new(relay_host.port, &authority.pem).recipient_with("late@example.org", certificate, "");
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    // A hundred days and a half are left today.
    for (days, state, code, left) in [
        (10, "ok", 0, None),
        (45, "ok", 0, Some("55 days left")),
        (75, "ok", 0, Some("25 days left")),
        (85, "ok", 0, Some("15 days left")),
        (87, "degraded", 75, Some("13 days left")),
        (99, "degraded", 75, Some("1 day left")),
        (101, "degraded", 75, Some("EXPIRED")),
    ] {
        clock.set_days(days);
        let daemon = setup.start_by_clock(&clock);
        let status = daemon.status();
        assert_eq!(status["state"], state, "{days}: {status}");
        let told = |list: &str| status[list].to_string().contains("recipient late@example.org: ");
        let expected = (left.is_some() && state == "ok", state == "degraded");
        assert_eq!((told("advice"), told("warnings")), expected, "{days}: {status}");
        let mut command = setup.command(&["status"]);
        clock.rule(&mut command);
        let output = command.env("COLUMNS", "80").output().expect("ran");
        assert_eq!(output.status.code(), Some(code));
        let screen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(screen.contains(left.unwrap_or("90 days left")), "{days}:\n{screen}");
        eprintln!("after {days} days:\n{screen}");
        assert_eq!(daemon.terminate(), 0);
    }
}
