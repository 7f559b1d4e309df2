//! The log as operators and collectors see it: in each form, and when nobody takes it.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::relay_host::RelayHost;
use crate::support::root;

#[test]
fn as_json_each_line_is_an_object_with_the_fields_of_its_event() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).logging("output = \"json\"");
    let daemon = setup.start();
    send_alert(&daemon.address, "an alert");
    relay_host.taken(1);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    assert_eq!(daemon.terminate(), 0);
    let lines: Vec<Value> =
        setup.log().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let of = |status: &str| lines.iter().find(|line| line["status"] == status).expect("a line").clone();
    let (accepted, sent) = (of("accepted"), of("sent"));
    assert_eq!(accepted["queue_id"], sent["queue_id"]);
    assert_eq!(sent["recipient"], "admin@example.org");
    assert_eq!((&sent["dsn"], &sent["level"]), (&"2.0.0".into(), &"info".into()));
    assert!(sent["message"].as_str().expect("text").contains("status=sent (250 2.0.0 Ok: queued as 4711)"));
    // What was said last is there though the process ended behind it.
    assert!(lines.last().expect("lines")["message"].as_str().expect("text").starts_with("stopped, 0 waiting"));
}

#[test]
fn a_reader_that_stops_reading_costs_lines_and_nothing_else() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).listen("early_dot_wait = \"0ms\"");
    setup.configure();
    // A pipe of 64 KiB that nobody reads: at trace level it is full after some alerts.
    let mut command = setup.command(&["run"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("started");
    let address = eventually("the daemon to listen", || {
        let output = setup.run(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        status["listening"][0].as_str().map(str::to_owned).filter(|_| status["running"] == true)
    });
    let alerts = 600;
    (0..alerts).for_each(|nth| send_alert(&address, &format!("alert {nth}")));
    relay_host.taken(alerts);
    let status: Value = serde_json::from_slice(&setup.run(&["status", "--json"]).stdout).expect("JSON");
    let dropped = status["log_lines_dropped"].as_u64().expect("a number");
    assert!(dropped > 0, "the pipe was never full: {status}");
    assert!(status["warnings"].to_string().contains("lines of log"), "{status}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .expect("told");
    let ended = eventually("the end", || child.try_wait().expect("waited"));
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn the_journal_gets_fields_when_it_reads_standard_error() {
    // Only where no journal of the machine's own is in the way.
    if !root() || fs::exists("/run/systemd/journal/socket").unwrap_or(true) {
        return;
    }
    fs::create_dir_all("/run/systemd/journal").expect("a folder");
    let journal = UnixDatagram::bind("/run/systemd/journal/socket").expect("bound");
    journal.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).logging("output = \"journal\"");
    let daemon = setup.start();
    send_alert(&daemon.address, "an alert");
    relay_host.taken(1);
    let mut octets = [0; 4096];
    let sent = loop {
        let count = journal.recv(&mut octets).expect("a datagram");
        let datagram = String::from_utf8_lossy(&octets[..count]).into_owned();
        if datagram.contains("\nSTATUS=sent\n") {
            break datagram;
        }
    };
    fs::remove_file("/run/systemd/journal/socket").expect("removed");
    for field in ["PRIORITY=6\n", "SYSLOG_IDENTIFIER=sealrelay\n", "\nQUEUE_ID=", "\nDSN=2.0.0\n", "\nMESSAGE=info: "] {
        assert!(sent.contains(field), "{field:?} is missing in {sent:?}");
    }
}
