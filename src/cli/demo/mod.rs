//! `sealrelay demo`: the whole way of one alert on this machine, with throw-away keys.
//!
//! It makes a CA, a relay host in this process, an OpenPGP certificate and a configuration in a temporary folder,
//! starts the real daemon with it as its own process, and hands it the sample alert of the Wazuh page in OSSEC's own
//! dialect. Every line it shows was read from the wire, from the disk, or from an independent decryption. Nothing
//! outside this folder knows that it is a demo.

mod client;
mod reader;
mod relay_host;
mod setup;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{EX_SOFTWARE, Failure, say};
use crate::control::{self, Request};
use crate::status::Status;
use relay_host::RelayHost;
use setup::Setup;

/// Show the whole way of an alert with throw-away keys on this machine; needs no configuration
///
/// Exit codes: 0 the alert arrived and could be read, 70 it did not.
#[derive(clap::Args)]
pub struct Arguments {
    /// Keep the folder with keys, configuration and spool
    #[arg(long)]
    keep: bool,
}

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let folder = Folder::new(arguments.keep)?;
    let began = Instant::now();
    let (relay_host, setup) = prepare(&folder.path)?;
    let daemon = Daemon::start(&folder.path, &setup)?;
    let listening = daemon.listening(&setup)?;

    title("What the IDS said, and what it was told (plain SMTP on localhost)");
    client::send(&listening, &relay_host).map_err(trouble)?.iter().for_each(|line| say_line(line));

    title("What lies in the spool (sealed before the first write)");
    show_entry(&setup)?;

    title("What the relay host got (after STARTTLS, verified against the throw-away CA, and a login)");
    relay_host.let_go();
    let got = relay_host.message(PATIENCE).map_err(trouble)?;
    got.dialog.iter().for_each(|line| say_line(line));
    show_outside(&got.message);

    title("What the recipient reads (decrypted with the recipient's own key, signature verified)");
    let read = reader::read(&got.message, &setup).map_err(trouble)?;
    say(format!("  {}", read.signature));
    read.text.lines().for_each(|line| say(format!("  | {}", line.trim_end())));

    title("How to go on");
    go_on(&folder);
    say(format!("  (all of the above took {:.1} s)", began.elapsed().as_secs_f64()));
    Ok(0)
}

fn prepare(folder: &Path) -> Result<(RelayHost, Setup), Failure> {
    let authority = setup::authority().map_err(trouble)?;
    let relay_host = RelayHost::start(&authority).map_err(trouble)?;
    let setup = Setup::write(folder, &authority, relay_host.port()).map_err(trouble)?;
    Ok((relay_host, setup))
}

fn show_entry(setup: &Setup) -> Result<(), Failure> {
    let (name, entry) = setup.one_entry(PATIENCE).map_err(trouble)?;
    let text = String::from_utf8_lossy(&entry).into_owned();
    say(format!("  queue/{name}, {} octets:", entry.len()));
    text.lines().take(14).for_each(|line| say(format!("  | {}", shortened(line))));
    say("  | ...");
    let secret = client::MARKERS.iter().find(|marker| text.contains(**marker));
    match secret {
        None => say(format!("  None of {:?} is in it.", client::MARKERS)),
        Some(marker) => return Err(trouble(format!("{marker:?} lies in the spool in clear"))),
    }
    Ok(())
}

fn show_outside(message: &[u8]) {
    let text = String::from_utf8_lossy(message);
    let headers = text.split("\r\n\r\n").next().unwrap_or_default();
    headers.lines().for_each(|line| say(format!("  | {line}")));
    say(format!("  ({} octets in all)", message.len()));
}

fn go_on(folder: &Folder) {
    if folder.keep {
        say(format!("  The folder is kept: {}", folder.path.display()));
        say("  Its sealrelay.toml is a complete configuration.");
    }
    say(
        "  1. sealrelay config init       asks for certificate, recipient and relay host; `import` takes them from Postfix",
    );
    say("  2. sealrelay config check      says whether it is complete");
    say("  3. sealrelay check --login     goes the way to your relay host and logs in");
    say("  4. sealrelay run               and point the IDS's smtp_server at 127.0.0.1");
}

fn say_line(line: &str) {
    say(format!("  {}", shortened(line)));
}

fn shortened(line: &str) -> String {
    let line = line.trim_end();
    if line.chars().count() > 110 { line.chars().take(107).chain("...".chars()).collect() } else { line.to_owned() }
}

fn title(text: &str) {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    say(if colour { format!("\n\x1b[1m{text}\x1b[0m") } else { format!("\n{text}") });
}

fn trouble(what: impl std::fmt::Display) -> Failure {
    Failure::new(
        format!("the demo did not work: {what}"),
        "Run it with --keep and look at daemon.log there.",
        EX_SOFTWARE,
    )
}

/// A private folder that goes away unless it is to be kept.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(keep: bool) -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let name = format!("sealrelay-demo-{}", crate::envelope::hex(&crate::envelope::random::<6>()));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(trouble)?;
        Ok(Self { path, keep })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The real daemon, as its own process.
struct Daemon(Child);

impl Daemon {
    fn start(folder: &Path, setup: &Setup) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(trouble)?;
        let checked = Self::command(&program, setup).args(["config", "check"]).output().map_err(trouble)?;
        if !checked.status.success() {
            return Err(trouble(String::from_utf8_lossy(&checked.stderr)));
        }
        let log = std::fs::File::create(folder.join("daemon.log")).map_err(trouble)?;
        let child = Self::command(&program, setup).arg("run").stdin(Stdio::null()).stderr(log).spawn();
        child.map(Self).map_err(trouble)
    }

    fn command(program: &Path, setup: &Setup) -> Command {
        let mut command = Command::new(program);
        // The operator's own settings have no part in a demo.
        let ours = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("SEALRELAY_");
        std::env::vars_os().filter(|(name, _)| ours(name)).for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.arg("--config").arg(&setup.configuration);
        command
    }

    /// The address it listens on, once it does.
    fn listening(&self, setup: &Setup) -> Result<String, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            match control::ask::<Status>(&setup.control, Request::Status) {
                Ok(status) => return status.listening.into_iter().next().ok_or_else(|| trouble("no address")),
                Err(error) if Instant::now() > until => {
                    return Err(trouble(format!("the daemon does not start: {error}")));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
