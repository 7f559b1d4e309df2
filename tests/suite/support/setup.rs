//! A folder with a daemon's configuration and all that it names; every test ends with a search of it for what must not be
//! there.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use sequoia_openpgp::Cert;
use sequoia_openpgp::cert::CertBuilder;
use sequoia_openpgp::serialize::SerializeInto;
use tempfile::TempDir;

use super::clock::Clock;
use super::daemon::{Daemon, program, with_hosts};
use super::relay_host::{PASSWORD, USERNAME};

/// Stands in every alert a test sends; must be found nowhere outside the recipient's hands.
pub const MARKER: &str = "MARKERquxoidWORD";

/// A folder with everything a daemon needs.
pub struct Setup {
    folder: TempDir,
    pub recipients: Vec<(String, Cert)>,
    relay: String,
    listen: String,
    log: String,
    more: String,
    /// Instead of everything above.
    whole: Option<String>,
}

impl Setup {
    /// `admin@example.org` as the default recipient, a relay host on `port` verified by `ca_pem`, a login.
    pub fn new(port: u16, ca_pem: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let setup = Self {
            folder,
            recipients: Vec::new(),
            relay: format!(
                "host = \"localhost\"\nport = {port}\nusername = \"{USERNAME}\"\npassword_file = \"sasl_password\"\nca_file = \"ca.pem\"\ntimeout = \"2s\"\n"
            ),
            listen: "addresses = [\"127.0.0.1:0\"]\n".to_owned(),
            log: "level = \"trace\"\n".to_owned(),
            more: String::new(),
            whole: None,
        };
        setup.write("ca.pem", ca_pem.as_bytes());
        setup.write("sasl_password", PASSWORD.as_bytes());
        setup.recipient("admin@example.org", "default = true")
    }

    /// Adds a recipient with a fresh certificate.
    pub fn recipient(self, address: &str, more: &str) -> Self {
        let (certificate, _) = CertBuilder::general_purpose(Some(format!("<{address}>"))).generate().expect("a key");
        self.recipient_with(address, certificate, more)
    }

    pub fn recipient_with(mut self, address: &str, certificate: Cert, more: &str) -> Self {
        self.write(&format!("{address}.asc"), &certificate.armored().to_vec().expect("armored"));
        let fingerprint = certificate.fingerprint().to_hex();
        self.more.push_str(&format!(
            "[[recipient]]\naddress = \"{address}\"\ncertificate = \"{address}.asc\"\nfingerprint = \"{fingerprint}\"\n{more}\n"
        ));
        self.recipients.push((address.to_owned(), certificate));
        self
    }

    /// Replaces the relay section's lines that begin with one of the new keys.
    pub fn relay(mut self, lines: &str) -> Self {
        for line in lines.lines() {
            let key = line.split('=').next().unwrap_or_default().trim();
            self.relay = self
                .relay
                .lines()
                .filter(|old| old.split('=').next().unwrap_or_default().trim() != key)
                .map(|l| format!("{l}\n"))
                .collect();
            self.relay.push_str(&format!("{line}\n"));
        }
        self
    }

    /// Takes the line with `key` out of the relay section.
    pub fn without_relay(mut self, key: &str) -> Self {
        self.relay = self.relay.lines().filter(|old| !old.starts_with(key)).map(|l| format!("{l}\n")).collect();
        self
    }

    /// Another relay host behind those that are there: on `port`, verified by the same CA, with the same login.
    pub fn another_relay(mut self, port: u16, lines: &str) -> Self {
        self.more.push_str(&format!(
            "[[relay]]\nhost = \"localhost\"\nport = {port}\nusername = \"{USERNAME}\"\npassword_file = \"sasl_password\"\nca_file = \"ca.pem\"\ntimeout = \"2s\"\n{lines}\n"
        ));
        self
    }

    /// Sends heartbeats; without this there are none.
    pub fn heartbeat(mut self, every: &str) -> Self {
        self.more = format!("[heartbeat]\nevery = \"{every}\"\n{}", self.more);
        self
    }

    /// Adds `[relay.oauth]`, which ends the relay section.
    pub fn oauth(mut self, table: &str) -> Self {
        self.relay.push_str(table);
        self
    }

    /// Follows `logs/alerts.json` of the folder, with these lines more.
    pub fn following(mut self, lines: &str) -> Self {
        fs::create_dir_all(self.path("logs")).expect("made");
        self.more.push_str(&format!("[[follow]]\npath = \"logs/alerts.json\"\n{lines}\n"));
        self
    }

    pub fn listen(mut self, lines: &str) -> Self {
        self.listen.push_str(lines);
        self.listen.push('\n');
        self
    }

    pub fn logging(mut self, lines: &str) -> Self {
        self.log.push_str(lines);
        self
    }

    /// Another certificate for a recipient, whose file the test has written.
    pub fn with_fingerprint(mut self, old: &str, new: &str) -> Self {
        self.more = self.more.replace(old, new);
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a private file into the folder.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
        path
    }

    /// Uses `text` as the configuration.
    pub fn with_configuration(mut self, text: &str) -> Self {
        self.whole = Some(text.to_owned());
        self
    }

    /// Writes the configuration; its path.
    pub fn configure(&self) -> PathBuf {
        if let Some(text) = &self.whole {
            return self.write("sealrelay.toml", text.as_bytes());
        }
        // Most tests count messages: a heartbeat comes only where it is asked for.
        let heartbeat = if self.more.contains("[heartbeat]") { "" } else { "[heartbeat]\nevery = \"off\"\n" };
        let spool = if self.more.contains("[spool]") { "" } else { "[spool]\ndirectory = \"spool\"\n" };
        self.write(
            "sealrelay.toml",
            format!(
                "[listen]\n{}\n[[relay]]\n{}\n{spool}{heartbeat}[state]\ndirectory = \"state\"\n[control]\nsocket = \"control.sock\"\n[log]\n{}\n{}",
                self.listen, self.relay, self.log, self.more
            )
            .as_bytes(),
        )
    }

    /// Runs a command of the binary with this configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("--config").arg(self.path("sealrelay.toml")).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("the binary runs")
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&self) -> Daemon<'_> {
        self.configure();
        self.start_by(self.command(&["run"]))
    }

    /// Starts the daemon with a clock of its own.
    pub fn start_by_clock(&self, clock: &Clock) -> Daemon<'_> {
        self.start_with(|command| clock.rule(command))
    }

    /// The same with a changed command: its environment, say.
    pub fn start_with(&self, change: impl FnOnce(&mut Command)) -> Daemon<'_> {
        self.configure();
        let mut command = self.command(&["run"]);
        change(&mut command);
        self.start_by(command)
    }

    /// Starts the daemon under another program, which becomes what stands behind its own arguments (`strace -D`).
    pub fn start_under(&self, program: &str, arguments: &[&str], change: impl FnOnce(&mut Command)) -> Daemon<'_> {
        self.configure();
        let run = self.command(&["run"]);
        let mut command = Command::new(program);
        command.args(arguments).arg(run.get_program()).args(run.get_args());
        change(&mut command);
        self.start_by(command)
    }

    /// Starts the daemon with room for so many open files only. `prlimit` (util-linux) is on every Linux.
    pub fn start_with_files(&self, limit: usize) -> Daemon<'_> {
        self.configure();
        let run = self.command(&["run"]);
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={limit}")).arg(run.get_program()).args(run.get_args());
        self.start_by(command)
    }

    /// Starts the daemon with another /etc/hosts than this machine's.
    pub fn start_with_hosts(&self, hosts: &str) -> Daemon<'_> {
        self.configure();
        self.start_by(with_hosts(&self.write("hosts", hosts.as_bytes()), &self.command(&["run"])))
    }

    /// Gives all there is to Debian's user daemon (uid 1), for a daemon started by [`unprivileged`]. Needs root.
    pub fn give_away(&self) {
        let own = std::iter::once(self.path(""));
        let files = fs::read_dir(self.path("")).expect("listed").flatten().map(|file| file.path());
        own.chain(files).for_each(|path| chown(path, Some(1), Some(1)).expect("given"));
    }

    /// Starts the daemon by a command that becomes it.
    pub fn start_by(&self, command: Command) -> Daemon<'_> {
        self.try_start_by(command).unwrap_or_else(|| panic!("the daemon ended at once:\n{}", self.log()))
    }

    /// The same for one that may die at once.
    pub fn try_start_by(&self, command: Command) -> Option<Daemon<'_>> {
        Daemon::start(self, command)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Whether the log has stood still for a second and a half.
    pub fn is_quiet(&self) -> bool {
        let written = fs::metadata(self.path("log")).and_then(|data| data.modified());
        written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > Duration::from_millis(1500)))
    }

    /// The files of one of the spool's directories.
    pub fn spooled(&self, directory: &str) -> Vec<PathBuf> {
        let Ok(files) = fs::read_dir(self.path("spool").join(directory)) else { return Vec::new() };
        let mut files: Vec<PathBuf> =
            files.flatten().map(|file| file.path()).filter(|path| path.extension().is_none()).collect();
        files.sort();
        files
    }

    /// Invariant 2, and the password: nothing of them in any file but the recipient's and ours to configure.
    #[track_caller]
    pub fn assert_nothing_leaked(&self) {
        assert!(self.search_for_leaks() > 0, "nothing was looked at");
    }

    fn search_for_leaks(&self) -> usize {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(PASSWORD);
        let mut looked_at = 0;
        for start in ["spool", "state", "log"] {
            visit(&self.path(start), &mut |path, octets| {
                looked_at += 1;
                for secret in [MARKER, PASSWORD, encoded.as_str()] {
                    let found = octets.windows(secret.len()).any(|window| window == secret.as_bytes());
                    assert!(!found, "{secret:?} stands in {}", path.display());
                }
            });
        }
        looked_at
    }
}

/// Every test ends with the search, whatever it was about.
impl Drop for Setup {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.search_for_leaks();
        }
    }
}

fn visit(path: &Path, with: &mut impl FnMut(&Path, &[u8])) {
    if path.is_dir() {
        for file in fs::read_dir(path).expect("listed").flatten() {
            visit(&file.path(), with);
        }
    } else if let Ok(octets) = fs::read(path) {
        with(path, &octets);
    }
}
