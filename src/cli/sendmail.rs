//! `sealrelay sendmail`, and the names `sendmail`, `mailq` and `newaliases` of the program.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{EX_USAGE, Failure, queue, report, say};
use crate::config::{DEFAULT_FILE, Doors};
use crate::sandbox;
use crate::sendmail::{self, Flags, Handed, Mode};

/// Takes a mail on standard input and hands it to the running daemon; takes sendmail's options
///
/// Exit codes: 0 taken, 64 usage, 65 message too large, 69 refused, 74 the message could not be read, 75 the daemon is
/// away, 77 not allowed.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// sendmail's options, and recipients
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION|ADDRESS")]
    arguments: Vec<OsString>,
}

const HELP: &str = "\
Usage: sendmail [-t] [-i] [-f ADDRESS] [ADDRESS...] < MESSAGE

Hands a mail to the running sealrelay daemon, which seals it and sends it to the configured recipients.

  -t            Recipients are in To, Cc and Bcc too (also when no address is given)
  -i, -oi       A lone dot does not end the message (also when no argument is given)
  -f ADDRESS    Who sends it
  -bs           Speak SMTP on standard input and output
  -bp           List the queue, as mailq does
  -q            Try everything in the queue now
  --config FILE Where the daemon's configuration is, if it may be read
Other options of sendmail are taken and passed over.

Exit codes: 0 taken, 64 usage, 65 message too large, 69 refused, 74 the message could not be read, 75 the daemon is
away (nothing is kept), 77 not allowed.";

/// What the program's own name asks for; `None` if it is called by ours.
pub fn by_name(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let name = arguments.next()?;
    let mode = match Path::new(&name).file_name().and_then(OsStr::to_str) {
        Some("sendmail") => None,
        Some("mailq") => Some(Mode::Queue),
        Some("newaliases") => Some(Mode::Nothing),
        _ => return None,
    };
    let file = std::env::var_os("SEALRELAY_CONFIG").map_or_else(|| PathBuf::from(DEFAULT_FILE), PathBuf::from);
    let outcome =
        read(arguments).and_then(|flags| execute(&Flags { mode: mode.unwrap_or(flags.mode), ..flags }, &file));
    Some(match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // Callers put it into their own log, which the IDS reads.
            report(&failure, true);
            ExitCode::from(failure.code)
        }
    })
}

pub fn run(file: &Path, arguments: Arguments) -> Result<u8, Failure> {
    execute(&read(arguments.arguments)?, file)
}

fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Flags, Failure> {
    Flags::read(arguments).map_err(|error| Failure::new(&error, error.hint(), EX_USAGE))
}

fn execute(flags: &Flags, file: &Path) -> Result<u8, Failure> {
    // A mail in clear passes through: it must not end in a core dump. Where that cannot be had, mail still counts more.
    let _ = sandbox::keep_memory_private();
    let file = std::path::absolute(flags.config.as_deref().unwrap_or(file)).unwrap_or_else(|_| file.to_owned());
    match flags.mode {
        Mode::Submit => submit(flags, &doors(&file)),
        Mode::Smtp => smtp(&doors(&file)),
        Mode::Queue => queue::mailq(&file, &doors(&file)),
        Mode::Flush => queue::flush_by_anybody(&doors(&file)),
        Mode::Nothing => Ok(0),
        Mode::Verify => {
            for address in &flags.recipients {
                say(format!("{address}... goes to the configured recipients"));
            }
            Ok(0)
        }
        Mode::Help => {
            say(HELP);
            Ok(0)
        }
    }
}

/// The daemon's doors. A configuration that is wrong (somebody is at work on it, while the daemon runs with the one it
/// read) loses no mail: the usual doors are tried.
fn doors(file: &Path) -> Doors {
    Doors::find(file).unwrap_or_else(|error| {
        let hint = "Going on with the usual addresses.";
        report(&Failure::new(&error, hint, 0), true);
        Doors::usual()
    })
}

fn submit(flags: &Flags, doors: &Doors) -> Result<u8, Failure> {
    let handed = sendmail::submit(flags, io::stdin().lock(), doors)
        .map_err(|error| Failure::new(&error, error.hint(), error.exit_code()))?;
    if handed == Handed::UpToDot {
        let what = "the message was sent up to a line that is a lone dot; text followed it";
        report(&Failure::new(what, "Call sendmail with -i if dots are text.", 0), true);
    }
    Ok(0)
}

fn smtp(doors: &Doors) -> Result<u8, Failure> {
    sendmail::dialog(doors, io::stdin(), io::stdout()).map_err(|error| {
        // The caller speaks SMTP and may look at nothing else.
        say("421 4.3.2 The mail relay is away, try again later\r");
        Failure::new(&error, error.hint(), error.exit_code())
    })?;
    Ok(0)
}
