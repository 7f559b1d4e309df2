//! `sealrelay config init`: a first configuration from a handful of answers.
//!
//! Guarantees: nothing that exists is changed. All files are made in a folder of their own first and judged as `config
//! check` would; only then are they put in place, the configuration last. A password is typed without an echo, or read
//! from a file or standard input; it is never an argument. On failure nothing stays behind.

mod answers;
mod files;

use std::path::{Path, PathBuf};

use super::super::check;
use super::super::{EX_CANTCREAT, Failure, say};
use super::ask;
use answers::Answers;

#[derive(clap::Args)]
pub struct Arguments {
    /// The file with the OpenPGP certificate (public key) of who gets the alerts; it is copied
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its full fingerprint: 40 hex digits (64 for version 6), with or without blanks
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<String>,
    /// Who gets the alerts
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// The relay host
    #[arg(long, value_name = "HOST")]
    relay: Option<String>,
    /// Its port, 587 unless given; TLS begins at once at 465
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The login there
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// What belongs to the login behind an @
    #[arg(long, value_name = "DOMAIN", requires = "username")]
    domain: Option<String>,
    /// The relay host wants no login
    #[arg(long, conflicts_with_all = ["username", "password_file", "password_stdin"])]
    no_login: bool,
    /// The file with the password, alone; it is copied
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,
    /// Read the password from standard input, one line
    #[arg(long)]
    password_stdin: bool,
    /// The address alerts come from; the login unless given
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
    /// Trust only the authorities in this file, in place of the system's; it is copied
    #[arg(long, value_name = "FILE", conflicts_with = "pin")]
    ca_file: Option<PathBuf>,
    /// Trust only this certificate or key (sha256:, sha1:, spki-sha256:); may be given several times
    #[arg(long, value_name = "PIN")]
    pin: Vec<String>,
    /// Ask nothing: take what is given, and the usual for the rest
    #[arg(long)]
    yes: bool,
    /// Do not try the way to the relay host
    #[arg(long, conflicts_with = "send_test")]
    no_check: bool,
    /// Send a test alert at the end; the daemon must be running
    #[arg(long)]
    send_test: bool,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<u8, Failure> {
    if file.symlink_metadata().is_ok() {
        return Err(Failure::new(
            format!("{} is there already: this machine has a configuration", file.display()),
            "`sealrelay config show` prints it. Edit it, or name another file with --config.",
            EX_CANTCREAT,
        ));
    }
    // Standard input may hold the password.
    let asks = !arguments.yes && !arguments.password_stdin && ask::is_possible();
    let answers = Answers::gather(arguments, asks)?;
    files::install(file, &answers)?.iter().for_each(|path| say(format!("written: {}", path.display())));
    if !arguments.no_check {
        let code = check::run(file, &check::Arguments::whole_way())?;
        if code != 0 {
            say("The files stay. Correct them, and try again with `sealrelay check --rcpt`.");
            return Ok(code);
        }
    }
    let offer = "Start the service now, in another window. Then send a test alert through it?";
    if arguments.send_test || (asks && !arguments.no_check && ask::confirm(offer)) {
        return check::run(file, &check::Arguments::test_alert());
    }
    say(
        "Next: start the service, set the IDS's smtp_server to 127.0.0.1, and try it with `sealrelay check --send-test`.",
    );
    Ok(0)
}
