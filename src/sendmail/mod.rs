//! The sendmail personality: cron, mdadm, smartd and `mail` hand their mail in through a program, not a socket.
//!
//! `flags` reads sendmail(1)'s command line, `input` the message, `addresses` whom its header block names, `handover`
//! gives it to the daemon by SMTP. The daemon does the rest as for every other client.
//!
//! Guarantees: success is reported only after the daemon's 250, so the mail is sealed and durable then. Nothing is ever
//! written to disk here; without a daemon the exit code is 75 and the caller keeps its mail. The message is handed on as
//! it is, but for its line ends: nothing is added (no From, no Date: the manifest says who handed it in and when) and
//! nothing is removed. An attacker who writes log lines controls the message, and with `-t` whom it names; neither
//! chooses where mail goes beyond the configured recipients.
//!
//! **Bcc stays.** Elsewhere it is removed because one recipient must not learn of another. Here addresses only choose
//! among the configured recipients, whose manifest lists all of them in any case, and an alert whose lines can be made
//! to vanish by what a log line says would be a worse thing.

mod addresses;
mod flags;
mod handover;
mod input;

use std::io;

pub use flags::{FlagError, Flags, Mode};
pub use handover::{HandoverError, dialog};

use crate::config::Doors;
use crate::smtp::reply::Reply;
use addresses::Address;
use input::{Input, InputError};

/// Who gets a mail that names nobody: Wazuh's sms format has no To. RFC 5321 4.5.1 has this one known everywhere; what
/// nobody claims goes to the default recipients.
const NOBODY_NAMED: &str = "postmaster";

/// The most recipients handed on. They only choose among the configured ones; header lines of log text have no end.
const RECIPIENTS: usize = 1000;

/// Why a mail was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The message.
    #[error(transparent)]
    Input(#[from] InputError),
    /// There is neither a message nor anybody to get it: a call by mistake.
    #[error("there is no message, and nobody to send it to")]
    Nothing,
    /// The daemon.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}

impl SubmitError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Input(error) => error.hint(),
            Self::Nothing => "Give the message on standard input.",
            Self::Handover(error) => error.hint(),
        }
    }

    /// The sysexits code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input(error) => error.exit_code(),
            Self::Nothing => 65,
            Self::Handover(error) => error.exit_code(),
        }
    }
}

/// What is worth telling the caller of a mail that was handed over.
#[derive(Debug, PartialEq, Eq)]
pub enum Handed {
    /// All of it.
    Whole,
    /// All up to a line that is a lone dot; text followed.
    UpToDot,
}

/// Reads a message from `input` and hands it to the daemon behind `doors`.
///
/// # Errors
/// It cannot be read, is too large, or the daemon did not take it.
pub fn submit(flags: &Flags, input: impl io::Read, doors: &Doors) -> Result<Handed, SubmitError> {
    let message = Input::read(input, flags.dots)?;
    let recipients = recipients(flags, &message.octets);
    if message.octets.is_empty() && recipients.is_empty() {
        return Err(SubmitError::Nothing);
    }
    handover::hand_over(doors, flags.from.as_ref(), &or_nobody(recipients), &message.octets)?;
    Ok(if message.goes_on { Handed::UpToDot } else { Handed::Whole })
}

/// Hands `message`, whose lines end with CRLF, to the daemon behind `doors` for its default recipients; the daemon's reply.
///
/// # Errors
/// The daemon is away, or did not take it.
pub fn hand_over_to_default(doors: &Doors, message: &[u8]) -> Result<Reply, HandoverError> {
    handover::hand_over(doors, None, &or_nobody(Vec::new()), message)
}

/// Those of the command line and, if asked for or if there are none, those of the header block.
fn recipients(flags: &Flags, message: &[u8]) -> Vec<Address> {
    let mut recipients = flags.recipients.clone();
    if flags.from_header || recipients.is_empty() {
        recipients.extend(addresses::of_header_block(message));
    }
    addresses::without_repetitions(recipients, RECIPIENTS)
}

fn or_nobody(mut recipients: Vec<Address>) -> Vec<Address> {
    if recipients.is_empty() {
        recipients.extend(addresses::read(NOBODY_NAMED.as_bytes()));
    }
    recipients
}
