//! `sealrelay config check`, `show` and `init`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::support::certificates::{armored, fingerprint, ordinary, revoked};
use crate::support::daemon::{Setup, program};
use crate::support::relay_host::{PASSWORD, RelayHost, Script, USERNAME};
use crate::support::{PATIENCE, have};

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn every_fault_is_told_at_once_with_its_line_or_its_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sealrelay.toml");
    let configuration = "[listen]\nsessions = 0\n\n[[recipient]]\naddress = \"nobody\"\ncertificate = \"a\"\nfingerprint = \"12\"\n\
                         \n[[recipient]]\naddress = \"a@example.org\"\ncertificate = \"a\"\nfingerprint = \"12\"\n\
                         \n[[relay]]\nhost = \"a b\"\n[[relay]]\nhost = \"a\"\nusername = \"u\"\npassword_file = \"none\"\n\
                         \n[spool]\nlifetime = \"1\"\ndirectory = \"/etc/x\"\n";
    fs::write(&file, configuration).expect("written");
    let mut command = program();
    command.env("SEALRELAY_HEARTBEAT__EVERY", "1s").arg("--config").arg(&file).args(["config", "check"]);
    let output = command.output().expect("runs");
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr).replace(&format!("{}/", folder.path().display()), "");
    let places: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("sealrelay: "))
        .map(|line| line.split(": ").next().unwrap_or_default())
        .collect();
    let expected = [2, 5, 12, 15, 19, 23, 22].map(|line| format!("sealrelay.toml:{line}"));
    assert_eq!(places[..7], expected, "{said}");
    assert_eq!(places[7..], ["SEALRELAY_HEARTBEAT__EVERY"], "{said}");
    assert_eq!(said.lines().count(), 2 * places.len(), "each has its line of what to do:\n{said}");
}

#[test]
fn certificates_and_authorities_that_will_not_do_are_told_together() {
    let setup = Setup::new(1, "no certificate").recipient_with(
        "b@example.org",
        revoked(&ordinary("b@example.org")),
        "default = true",
    );
    setup.configure();
    let output = setup.run(&["config", "check"]);
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(78), 4), "{said}");
    assert!(said.contains("revoked") && said.contains("ca.pem"), "{said}");
}

#[test]
fn show_tells_every_value_and_who_set_it_and_no_secret() {
    let setup = Setup::new(587, &crate::support::pki::Authority::new("a CA").pem);
    setup.configure();
    let mut command = setup.command(&["config", "show"]);
    let shown = command.env("SEALRELAY_SPOOL__LIFETIME", "3d").output().expect("runs");
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    let configuration = fs::read_to_string(setup.path("sealrelay.toml")).expect("read");
    let line = configuration.lines().position(|line| line.starts_with("host =")).expect("a host") + 1;
    let file = setup.path("sealrelay.toml");
    for expected in [
        format!("relay[0].host = \"localhost\"  # {}:{line}", file.display()),
        "spool.lifetime = \"3d\"  # SEALRELAY_SPOOL__LIFETIME".to_owned(),
        "listen.sessions = 64  # default".to_owned(),
        "spool.quota = [\"4GiB\", \"80%\"]  # default".to_owned(),
    ] {
        assert!(shown.lines().any(|line| line == expected), "{expected:?} is missing in:\n{shown}");
    }
    let secret = shown.lines().find(|line| line.starts_with("relay[0].password_file")).expect("the file is named");
    assert!(secret.ends_with("what it holds is not shown"), "{secret}");
    assert!(!shown.contains(PASSWORD));
    let json = setup.run(&["config", "show", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let settings = json["settings"].as_array().expect("settings");
    assert_eq!(settings.len(), shown.lines().count());
    let host = settings.iter().find(|one| one["key"] == "relay[0].host").expect("the host");
    assert_eq!((&host["value"], &host["from"], &host["line"]), (&"localhost".into(), &"file".into(), &line.into()));
}

#[test]
fn show_tells_how_a_recipient_s_messages_are_gathered_with_the_defaults() {
    let setup = Setup::new(587, &crate::support::pki::Authority::new("a CA").pem)
        .recipient("floods@example.org", "accept = [{ recipient = \"ops@localhost\" }]\n[recipient.flood]\nburst = 30")
        .recipient("slots@example.org", "accept = [{ recipient = \"desk@localhost\" }]\nrelease = { slots = \"15m\" }");
    setup.configure();
    let shown = text(&setup.run(&["config", "show"]).stdout);
    let own = |of: &str| shown.lines().filter(|line| line.starts_with(of)).map(str::to_owned).collect::<Vec<_>>();
    let all = [own("recipient[0].release"), own("recipient[1].flood"), own("recipient[2].release")].concat();
    let values: Vec<&str> = all.iter().filter_map(|line| line.split("  #").next()).collect();
    assert_eq!(
        values,
        [
            "recipient[0].release = \"immediate\"",
            "recipient[1].flood.burst = 30",
            "recipient[1].flood.window = \"1m\"",
            "recipient[1].flood.urgent_level = 12",
            "recipient[1].flood.realert = \"1h\"",
            "recipient[2].release.slots = \"15m\"",
            "recipient[2].release.size = \"64KiB\"",
        ],
        "{shown}"
    );
}

#[test]
fn show_tells_whom_the_alarm_tells_with_the_defaults_and_not_their_addresses() {
    let setup = Setup::new(587, &crate::support::pki::Authority::new("a CA").pem).logging(
        "[alarm]\nca_file = \"ca.pem\"\nping_url_file = \"ping\"\nsyslog = \"192.0.2.1:514\"\nname = \"mon\"\n",
    );
    setup.write("ping", b"https://localhost/T0KEN");
    setup.configure();
    let shown = text(&setup.run(&["config", "show"]).stdout);
    let own: Vec<&str> = shown.lines().filter(|line| line.starts_with("alarm.")).collect();
    let values: Vec<&str> = own.iter().filter_map(|line| line.split("  #").next()).collect();
    for expected in [
        "alarm.ping_every = \"5m\"",
        "alarm.ping_oldest = \"30m\"",
        "alarm.ping_url_file = \"ping\"",
        "alarm.settle = \"2m\"",
        "alarm.syslog = \"192.0.2.1:514\"",
        "alarm.name = \"mon\"",
    ] {
        assert!(values.contains(&expected), "{expected}: {shown}");
    }
    let secret = own.iter().find(|line| line.contains("ping_url_file")).expect("the file is named");
    assert!(secret.ends_with("what it holds is not shown") && !shown.contains("T0KEN"), "{shown}");
}

/// What `show` prints of a file's settings can be written into a file again.
#[test]
fn show_names_every_key_of_a_plain_section_that_the_sample_explains() {
    let setup = Setup::new(587, &crate::support::pki::Authority::new("a CA").pem);
    setup.configure();
    let shown = text(&setup.run(&["config", "show"]).stdout);
    let sample = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/sealrelay.toml")).expect("read");
    let (mut section, mut tried) = (String::new(), 0);
    for line in sample.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).to_owned();
        }
        // Entries, and what has no value unless it is set, are shown when they are set.
        let plain = ["listen", "sender", "spool", "state", "heartbeat", "control", "log"].contains(&section.as_str());
        let key = line.strip_prefix("# ").unwrap_or(line).split_once(" = ").map(|(key, _)| key);
        let Some(key) = key.filter(|key| plain && key.bytes().all(|o| o.is_ascii_lowercase() || o == b'_')) else {
            continue;
        };
        tried += 1;
        assert!(shown.contains(&format!("{section}.{key} = ")), "{section}.{key} is missing in:\n{shown}");
    }
    assert!(tried >= 20, "only {tried} keys were looked for");
}

/// A folder with an operator's files, and a relay host that takes what comes.
struct Operator {
    folder: tempfile::TempDir,
    fingerprint: String,
    relay_host: RelayHost,
}

impl Operator {
    fn new() -> Self {
        let (relay_host, authority, _) = RelayHost::honest();
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = ordinary("admin@example.org");
        fs::write(folder.path().join("admin.asc"), armored(&certificate)).expect("written");
        fs::write(folder.path().join("ca.pem"), &authority.pem).expect("written");
        let password = folder.path().join("typed");
        fs::write(&password, format!("{PASSWORD}\n")).expect("written");
        fs::set_permissions(&password, fs::Permissions::from_mode(0o400)).expect("private");
        Self { folder, fingerprint: fingerprint(&certificate), relay_host }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let port = self.relay_host.port.to_string();
        let given = [
            "--config",
            &path("etc/sealrelay.toml"),
            "config",
            "init",
            "--certificate",
            &path("admin.asc"),
            "--fingerprint",
            &self.fingerprint,
            "--recipient",
            "admin@example.org",
            "--relay",
            "localhost",
            "--port",
            &port,
            "--username",
            USERNAME,
            "--ca-file",
            &path("ca.pem"),
            "--yes",
        ];
        given.iter().chain(more).map(|&text| text.to_owned()).collect()
    }

    fn init(&self, more: &[&str]) -> Output {
        program().args(self.arguments(more)).stdin(Stdio::null()).output().expect("runs")
    }

    fn init_with_password(&self, more: &[&str]) -> Output {
        self.init(&[&["--password-file", self.path("typed").to_str().expect("text")], more].concat())
    }
}

#[test]
fn init_makes_what_check_accepts_and_goes_the_way_to_the_relay_host() {
    let operator = Operator::new();
    let output = operator.init_with_password(&[]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("Verify return code: 0 (ok)") && said.contains("Login: 235"), "{said}");
    assert!(!said.contains(PASSWORD));
    let modes =
        [("sealrelay.toml", 0o644), ("keys/admin.asc", 0o644), ("certs/ca.pem", 0o644), ("sasl_password", 0o400)];
    for (name, mode) in modes {
        let path = operator.path("etc").join(name);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, mode, "{name}");
    }
    assert_eq!(fs::read_dir(operator.path("etc")).expect("read").count(), 4, "something was left behind");
    let check = program().arg("--config").arg(operator.path("etc/sealrelay.toml")).args(["config", "check"]).output();
    assert!(check.expect("runs").status.success());
    assert!(operator.relay_host.heard().taken.is_empty(), "a message was sent");
}

/// On a hardened server root's files are root's alone, unless somebody sees to it.
#[test]
fn what_init_makes_can_be_read_by_the_service_whatever_the_umask_is() {
    let operator = Operator::new();
    let password = operator.path("typed").display().to_string();
    let arguments = operator.arguments(&["--no-check", "--password-file", &password]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 077 && exec \"$0\" \"$@\""]).arg(program().get_program()).args(arguments);
    let output = shell.stdin(Stdio::null()).output().expect("runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (name, mode) in [("", 0o755), ("keys", 0o755), ("certs", 0o755), ("keys/admin.asc", 0o644)] {
        let path = operator.path("etc").join(name);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o7777, mode, "{name}");
    }
}

#[test]
fn init_changes_nothing_that_is_there_and_says_so() {
    let operator = Operator::new();
    assert!(operator.init_with_password(&["--no-check"]).status.success());
    let file = operator.path("etc/sealrelay.toml");
    let before = fs::read(&file).expect("read");
    let output = operator.init_with_password(&["--no-check"]);
    assert_eq!(output.status.code(), Some(73));
    assert!(text(&output.stderr).contains("this machine has a configuration"), "{}", text(&output.stderr));
    assert_eq!(fs::read(&file).expect("read"), before);
    // Without the configuration the password is still somebody's.
    fs::remove_file(&file).expect("removed");
    let output = operator.init_with_password(&["--no-check"]);
    assert_eq!(output.status.code(), Some(73), "{}", text(&output.stderr));
    assert!(!file.exists());
}

#[test]
fn init_leaves_nothing_behind_when_an_answer_will_not_do() {
    let operator = Operator::new();
    let revoked = revoked(&ordinary("admin@example.org"));
    fs::write(operator.path("revoked.asc"), armored(&revoked)).expect("written");
    let revoked_file = operator.path("revoked.asc").display().to_string();
    let fingerprint = fingerprint(&revoked);
    let cases: [(&[&str], &str); 5] = [
        (&["--certificate", &revoked_file, "--fingerprint", &fingerprint], "revoked"),
        (&["--fingerprint", "0011223344556677889900112233445566778899"], "0011223344556677889900112233445566778899"),
        (&["--relay", "smtp example"], "is no host name"),
        (&["--recipient", "nobody"], "is not a mail address"),
        (&["--ca-file", "/nonexistent"], "/nonexistent"),
    ];
    for (more, why) in cases {
        // The last one counts nowhere with clap: take the first away.
        let mut arguments = operator.arguments(&["--password-file", operator.path("typed").to_str().expect("text")]);
        for pair in more.chunks(2) {
            let nth = arguments.iter().position(|argument| argument == pair[0]).expect("it is given");
            arguments[nth + 1] = pair[1].to_owned();
        }
        let output = program().args(&arguments).stdin(Stdio::null()).output().expect("runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{more:?}: {said}");
        assert!(said.contains(why) && said.lines().count() == 2, "{more:?}: {said}");
        assert!(!operator.path("etc").exists(), "{more:?}");
    }
}

#[test]
fn init_without_anybody_to_ask_names_every_answer_that_is_missing() {
    let output = program().args(["--config", "/nonexistent/x.toml", "config", "init"]).stdin(Stdio::null()).output();
    let output = output.expect("runs");
    assert_eq!(output.status.code(), Some(64));
    for option in ["--certificate", "--fingerprint", "--recipient", "--relay", "--username", "--password-file"] {
        assert!(text(&output.stderr).contains(option), "{}", text(&output.stderr));
    }
}

#[test]
fn init_keeps_the_files_when_the_relay_host_does_not_take_the_login() {
    let operator = Operator::new();
    let identity = operator.relay_host.identity();
    operator.relay_host.now(Script::honest(&identity).says("AUTH", "535 5.7.8 Not you"));
    let output = operator.init_with_password(&[]);
    assert_eq!(output.status.code(), Some(77), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("The files stay."));
    assert!(operator.path("etc/sealrelay.toml").exists());
}

#[test]
fn a_password_on_standard_input_is_taken_whole() {
    let operator = Operator::new();
    let mut child = program()
        .args(operator.arguments(&["--password-stdin", "--no-check"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    child.stdin.take().expect("piped").write_all(b" blanks and: colons \r\n").expect("written");
    assert!(child.wait().expect("ends").success());
    assert_eq!(fs::read_to_string(operator.path("etc/sasl_password")).expect("read"), " blanks and: colons \n");
}

/// A program on a terminal of its own.
struct Terminal {
    child: std::process::Child,
    output: mpsc::Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Runs `config init` without an answer.
    fn init(operator: &Operator) -> Self {
        let file = operator.path("etc/sealrelay.toml");
        Self::run(&format!("{} --config {} config init", env!("CARGO_BIN_EXE_sealrelay"), file.display()))
    }

    /// Runs `command` in a shell.
    fn run(command: &str) -> Self {
        let mut child = std::process::Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script starts");
        let mut stdout = child.stdout.take().expect("piped");
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, output, seen: String::new() }
    }

    /// Waits for `question`, and types `answer`, a line.
    fn answer(&mut self, question: &str, answer: &str) {
        self.press(question, &format!("{answer}\n"));
    }

    /// Waits for `question`, and presses these keys.
    fn press(&mut self, question: &str, keys: &str) {
        let mut new = String::new();
        while !new.contains(question) {
            let octets = self.output.recv_timeout(PATIENCE);
            new.push_str(&text(&octets.unwrap_or_else(|_| panic!("{question:?} was not asked:\n{}{new}", self.seen))));
        }
        self.seen.push_str(&new);
        let input = self.child.stdin.as_mut().expect("piped");
        input.write_all(keys.as_bytes()).and_then(|()| input.flush()).expect("typed");
    }

    fn end(mut self) -> (i32, String) {
        while let Ok(octets) = self.output.recv_timeout(PATIENCE) {
            self.seen.push_str(&text(&octets));
        }
        let code = self.child.wait().expect("ends").code().unwrap_or(-1);
        (code, self.seen)
    }
}

#[test]
fn init_asks_on_a_terminal_again_where_an_answer_will_not_do_and_shows_no_password() {
    if !have("script") {
        return;
    }
    let operator = Operator::new();
    let mut terminal = Terminal::init(&operator);
    terminal.answer("1/8", "/nonexistent");
    terminal.answer("1/8", operator.path("admin.asc").to_str().expect("text"));
    terminal.answer("2/8", "12");
    terminal.answer("2/8", &operator.fingerprint);
    terminal.answer("3/8", "admin@example.org");
    terminal.answer("4/8", "localhost");
    terminal.answer("5/8", &operator.relay_host.port.to_string());
    terminal.answer("6/8", USERNAME);
    terminal.answer("7/8", PASSWORD);
    terminal.answer("8/8", operator.path("ca.pem").to_str().expect("text"));
    terminal.answer("send a test alert", "n");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("instead of 40") && seen.contains("Login: 235"), "{seen}");
    assert!(!seen.contains(PASSWORD), "{seen}");
    assert_eq!(fs::read_to_string(operator.path("etc/sasl_password")).expect("read"), format!("{PASSWORD}\n"));
    let configuration = fs::read_to_string(operator.path("etc/sealrelay.toml")).expect("read");
    assert!(configuration.contains("ca_file = \"certs/ca.pem\""), "{configuration}");
}

#[test]
fn ctrl_c_at_the_password_leaves_a_terminal_that_shows_what_is_typed_and_nothing_written() {
    if !have("script") {
        return;
    }
    let operator = Operator::new();
    let path = |name: &str| operator.path(name).display().to_string();
    let mut terminal = Terminal::run(&format!(
        "trap : INT; {} --config {} config init --certificate {} --fingerprint {} --recipient admin@example.org \
         --relay localhost --username {USERNAME}; echo \"code $?\"; stty -a",
        env!("CARGO_BIN_EXE_sealrelay"),
        path("etc/sealrelay.toml"),
        path("admin.asc"),
        operator.fingerprint
    ));
    terminal.answer("5/8", "");
    terminal.press("7/8", "half a passw\u{3}");
    let (_, seen) = terminal.end();
    assert!(seen.contains("code 130"), "{seen}");
    let modes = seen.split("code 130").nth(1).unwrap_or_default();
    assert!(modes.contains(" echo ") && !modes.contains("-echo "), "{modes}");
    assert!(!seen.contains("half a passw") && !operator.path("etc").exists(), "{seen}");
}

#[test]
fn a_terminal_that_goes_away_ends_init_with_nothing_written() {
    if !have("script") {
        return;
    }
    let operator = Operator::new();
    let mut terminal = Terminal::init(&operator);
    // End of file.
    terminal.answer("1/8", "\u{4}");
    for _ in 0..5 {
        let _ = terminal.child.stdin.as_mut().map(|input| input.write_all(b"\x04"));
    }
    let (code, seen) = terminal.end();
    assert_ne!(code, 0, "{seen}");
    assert!(!operator.path("etc").exists());
}
