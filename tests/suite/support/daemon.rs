//! The daemon under test as a process, and the programs that bring it about.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use super::setup::{MARKER, Setup};
use super::{PATIENCE, eventually};

/// `command` in a mount namespace of its own, in which the file `hosts` is /etc/hosts. Needs root.
pub fn with_hosts(hosts: &Path, command: &Command) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(hosts);
    unshare.arg(command.get_program()).args(command.get_args());
    unshare
}

/// `program` as Debian's user daemon (uid 1). Needs root.
pub fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=1", "--regid=1", "--clear-groups"]).arg(program);
    command
}

/// The binary, without the environment's settings.
pub fn program() -> Command {
    // The trials take the release build.
    let built = std::env::var_os("TRIAL_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_sealrelay").into());
    let mut command = Command::new(built);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SEALRELAY_")) {
        command.env_remove(name);
    }
    command
}

/// A running daemon; killed when dropped.
pub struct Daemon<'a> {
    child: Child,
    /// The daemon's; not the child's, if that is a tracer.
    pid: u32,
    setup: &'a Setup,
    pub address: String,
}

impl<'a> Daemon<'a> {
    /// Starts it by a command that becomes it, and waits until it answers; `None` if it ends before.
    pub(super) fn start(setup: &'a Setup, mut command: Command) -> Option<Self> {
        let log = fs::File::options().create(true).append(true).open(setup.path("log")).expect("a log");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("started");
        let mut daemon = Daemon { child, pid: 0, setup, address: String::new() };
        let (pid, address) = eventually("the daemon to listen", || {
            if daemon.child.try_wait().expect("waited").is_some() {
                return Some(None);
            }
            let status = daemon.try_status()?;
            let pid = u32::try_from(status["pid"].as_u64()?).ok().filter(|pid| daemon.is_or_stands_in_for(*pid))?;
            Some(Some((pid, status["listening"][0].as_str()?.to_owned())))
        })?;
        (daemon.pid, daemon.address) = (pid, address);
        Some(daemon)
    }

    /// Whether the daemon `pid` is the child or its child.
    fn is_or_stands_in_for(&self, pid: u32) -> bool {
        let parent = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit(')').next()?.split(' ').nth(2)?.parse::<u32>().ok()
        };
        pid == self.child.id() || parent() == Some(self.child.id())
    }

    pub fn try_status(&self) -> Option<Value> {
        let output = self.setup.run(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).ok()?;
        (status["running"] == true).then_some(status)
    }

    pub fn status(&self) -> Value {
        eventually("status", || self.try_status())
    }

    pub fn flush(&self) {
        assert!(self.setup.run(&["queue", "flush"]).status.success());
    }

    /// `config reload`; what it said, and its exit code.
    pub fn reload(&self) -> (String, i32) {
        let output = self.setup.run(&["config", "reload"]);
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&said).into_owned(), output.status.code().unwrap_or(-1))
    }

    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("signalled");
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("waited").is_none()
    }

    /// kill -9 from outside.
    pub fn kill(mut self) {
        self.kill_now();
    }

    fn kill_now(&mut self) {
        // A tracer ends with what it traces.
        if self.pid != 0 && self.pid != self.child.id() {
            let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }

    /// SIGTERM; its exit code.
    pub fn terminate(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        let until = Instant::now() + PATIENCE + Duration::from_secs(10);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the daemon does not end");
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.kill_now();
    }
}
