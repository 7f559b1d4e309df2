//! The trust matrix: `rows` is the table, `made` makes certificates, `servers` what presents them. One table drives the
//! installed openssl, `sealrelay check` and delivery by the daemon, each for the system's roots, a CA file and pins.
//!
//! A row whose server was not there, or was not what the row says, is a failing row.

mod made;
mod rows;
mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use openssl::x509::X509;
use serde_json::Value;

use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::relay_host::{Heard, RelayHost};
use crate::support::{PATIENCE, have};
use rows::{Expect, Row};

/// Rows under way at once: most of their time is waiting.
const AT_ONCE: usize = 6;

#[derive(Clone, Copy, PartialEq, Debug, PartialOrd, Eq, Ord)]
enum Mode {
    System,
    CaFile,
    Pins,
}

#[test]
fn check_and_delivery_give_every_server_the_verdict_that_is_written_for_it() {
    if !have("openssl") {
        return;
    }
    let began = Instant::now();
    let template = Template::new();
    let rows = rows::rows();
    assert!(rows.len() >= 60, "only {} rows", rows.len());
    let queue = Mutex::new(rows.iter());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = { queue.lock().expect("rows").next() } {
                    // What breaks off in one row must not hide the others.
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_row(row, &template)));
                    let wrong = outcome.unwrap_or_else(|_| vec!["broke off; see above".to_owned()]);
                    results.lock().expect("results").push((row, wrong));
                }
            });
        }
    });
    let results = results.into_inner().expect("results");
    assert_eq!(results.len(), rows.len());
    print_counts(&rows, began.elapsed());
    let wrong: Vec<String> = results
        .iter()
        .flat_map(|(row, wrong)| wrong.iter().map(move |wrong| format!("{} ({}): {wrong}", row.name, row.why)))
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn print_counts(rows: &[Row], took: Duration) {
    let mut counts: BTreeMap<(Mode, String), usize> = BTreeMap::new();
    for row in rows {
        for (mode, expected) in [(Mode::System, row.system), (Mode::CaFile, row.ca_file), (Mode::Pins, row.pins)] {
            *counts.entry((mode, format!("{expected:?}"))).or_default() += 1;
        }
    }
    println!(
        "{} rows in {} s, {} differ from openssl",
        rows.len(),
        took.as_secs(),
        rows.iter().filter(|row| row.openssl.is_some()).count()
    );
    counts.iter().for_each(|((mode, expected), count)| println!("{mode:?} {expected}: {count}"));
}

/// What is wrong with a row.
fn try_row(row: &Row, template: &Template) -> Vec<String> {
    let relay_host = RelayHost::start(row.case.script.clone());
    let mut wrong = Vec::new();
    if let Some((arguments, text)) = row.proof {
        let (said, _) = s_client(row, &relay_host, arguments);
        if !said.contains(text) {
            wrong.push(format!("the server is not what the row says: {text:?} is missing in {said}"));
        }
    }
    for (mode, expected) in [(Mode::System, row.system), (Mode::CaFile, row.ca_file), (Mode::Pins, row.pins)] {
        let setup = setup(row, mode, relay_host.port);
        if mode != Mode::Pins {
            wrong.extend(ask_openssl(row, mode, expected, &relay_host, &setup));
        }
        wrong.extend(ask_check(mode, expected, &setup, &relay_host));
        wrong.extend(deliver(mode, expected, &setup, &relay_host, template));
    }
    wrong
}

fn setup(row: &Row, mode: Mode, port: u16) -> Setup {
    let pem =
        |certificates: &[X509]| -> Vec<u8> { certificates.iter().flat_map(|one| one.to_pem().expect("PEM")).collect() };
    let setup = Setup::new(port, &String::from_utf8(pem(&row.case.ca_file)).expect("PEM"));
    setup.write("system.pem", &pem(&row.case.system));
    let mut lines = format!("host = \"{}\"\ntimeout = \"2s\"\nconnections = 1", row.case.host);
    if row.case.script.implicit_tls {
        lines.push_str("\ntls = \"implicit\"");
    }
    if mode == Mode::Pins {
        lines.push_str(&format!("\npins = {:?}", row.case.pins));
    }
    let setup = setup.relay(&lines);
    let setup = if mode == Mode::CaFile { setup } else { setup.without_relay("ca_file") };
    setup.configure();
    setup
}

/// With the matrix's own roots as the system's.
fn with_system_roots(setup: &Setup, arguments: &[&str]) -> Command {
    let mut command = setup.command(arguments);
    command.env("SSL_CERT_FILE", setup.path("system.pem")).env_remove("SSL_CERT_DIR").stdin(Stdio::null());
    command
}

/// What openssl prints, standard error behind it, and the number of the first fault it met.
fn s_client(row: &Row, relay_host: &RelayHost, arguments: &[&str]) -> (String, Option<u32>) {
    let mut command = Command::new("timeout");
    command.args(["2", "openssl", "s_client", "-connect", &format!("127.0.0.1:{}", relay_host.port)]);
    match row.case.host.parse::<std::net::IpAddr>() {
        Ok(_) => command.args(["-verify_ip", row.case.host]),
        Err(_) => command.args(["-verify_hostname", row.case.host, "-servername", row.case.host]),
    };
    if !row.case.script.implicit_tls {
        command.args(["-starttls", "smtp"]);
    }
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("openssl runs");
    let said = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    let number = |after: &str| {
        let digits = said.split_once(after)?.1;
        digits[..digits.find(|c: char| !c.is_ascii_digit())?].parse().ok()
    };
    let first = number("verify error:num=").or_else(|| number("Verify return code: "));
    (said, first)
}

fn ask_openssl(row: &Row, mode: Mode, expected: Expect, relay_host: &RelayHost, setup: &Setup) -> Option<String> {
    let file = setup.path(if mode == Mode::System { "system.pem" } else { "ca.pem" });
    take(relay_host);
    let (said, code) = s_client(row, relay_host, &["-CAfile", &file.display().to_string()]);
    if take(relay_host).connections == 0 {
        return Some(format!("{mode:?}: openssl never came to the server: {said}"));
    }
    let ours = match expected {
        Expect::Sent | Expect::Useless => Some(0),
        Expect::Code(code) => Some(code),
        Expect::Nothing => None,
    };
    let written = row.openssl.map(|(system, file, _)| if mode == Mode::System { system } else { file }).or(ours);
    // openssl that is kept waiting without TLS prints nothing at all.
    let agrees = code == written || (code.is_none() && expected == Expect::Nothing);
    (!agrees).then(|| format!("{mode:?}: openssl says {code:?} instead of {written:?}"))
}

fn ask_check(mode: Mode, expected: Expect, setup: &Setup, relay_host: &RelayHost) -> Vec<String> {
    take(relay_host);
    let output = with_system_roots(setup, &["check", "--login", "--json"]).output().expect("check runs");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let code = report["verify_code"].as_u64();
    let heard = take(relay_host);
    let mut wrong = Vec::new();
    let wanted = match expected {
        Expect::Sent | Expect::Useless => Some(0),
        Expect::Code(code) => Some(u64::from(code)),
        Expect::Nothing => None,
    };
    if code != wanted {
        wrong.push(format!("{mode:?}: check says {code:?} instead of {wanted:?}: {report}"));
    }
    if (output.status.code() == Some(0)) != (expected == Expect::Sent) {
        wrong.push(format!("{mode:?}: check ends with {}", output.status));
    }
    if says(&heard, "AUTH") != (expected == Expect::Sent) {
        wrong.push(format!("{mode:?}: check said {:?}", heard.inside));
    }
    if heard.connections == 0 {
        wrong.push(format!("{mode:?}: check never came to the server"));
    }
    wrong
}

fn deliver(mode: Mode, expected: Expect, setup: &Setup, relay_host: &RelayHost, template: &Template) -> Vec<String> {
    take(relay_host);
    template.copy_to(setup);
    let log = fs::File::create(setup.path("log")).expect("a log");
    let child = with_system_roots(setup, &["run"]).stdout(Stdio::null()).stderr(log).spawn().expect("started");
    let ended = Delivering(child).until_settled(setup);
    let heard = take(relay_host);
    let mut wrong = Vec::new();
    let sent = expected == Expect::Sent;
    if !ended {
        wrong.push(format!("{mode:?}: delivery came to no end:\n{}", setup.log()));
    }
    if heard.connections == 0 {
        wrong.push(format!("{mode:?}: delivery never came to the server:\n{}", setup.log()));
    }
    if (heard.taken.len() == 1) != sent || says(&heard, "AUTH") != sent || says(&heard, "MAIL") != sent {
        wrong.push(format!(
            "{mode:?}: delivery said {:?} and gave {}:\n{}",
            heard.inside,
            heard.taken.len(),
            setup.log()
        ));
    }
    if !sent && setup.spooled("queue").len() != 1 {
        wrong.push(format!("{mode:?}: the message is gone"));
    }
    let clear = String::from_utf8_lossy(&heard.clear).into_owned();
    let allowed = |line: &str| line.starts_with("EHLO ") || line == "STARTTLS" || line == "QUIT";
    // Behind STARTTLS the tap may hold the beginning of a handshake.
    let spoken = clear.split("STARTTLS\r\n").next().unwrap_or_default();
    if !spoken.lines().all(allowed) {
        wrong.push(format!("{mode:?}: delivery said in clear {clear:?}"));
    }
    wrong
}

fn says(heard: &Heard, verb: &str) -> bool {
    heard.inside.iter().any(|line| line.starts_with(verb))
}

/// All that was heard since the last time.
fn take(relay_host: &RelayHost) -> Heard {
    std::mem::take(&mut *relay_host.heard())
}

/// A daemon with something to deliver; killed when dropped.
struct Delivering(Child);

impl Delivering {
    /// Whether the message was sent or put off.
    fn until_settled(self, setup: &Setup) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let log = setup.log();
            if ["status=sent", "status=deferred", "not usable"].iter().any(|word| log.contains(word)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Delivering {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A spool with one sealed message, and the state that goes with it: each delivery begins with a copy.
struct Template(Setup);

impl Template {
    fn new() -> Self {
        let authority = crate::support::pki::Authority::new("unused");
        let setup = Setup::new(1, &authority.pem);
        let daemon = setup.start();
        send_alert(&daemon.address, "for the matrix");
        assert_eq!(daemon.terminate(), 0);
        assert_eq!(setup.spooled("queue").len(), 1);
        Self(setup)
    }

    fn copy_to(&self, setup: &Setup) {
        for folder in ["spool", "state"] {
            copy(&self.0.path(folder), &setup.path(folder));
        }
    }
}

/// Files keep their modes, folders are private.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir(to).expect("made");
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).expect("private");
    for entry in fs::read_dir(from).expect("listed").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        // The back-off of the template's own relay host is nobody's here.
        match path.extension().is_some_and(|extension| extension == "state") {
            _ if path.is_dir() => copy(&path, &to),
            true => {}
            false => drop(fs::copy(&path, &to).expect("copied")),
        }
    }
}
