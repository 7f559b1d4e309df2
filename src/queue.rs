//! What `sealrelay queue` asks, answered from the spool by whoever holds it: the daemon, through the control socket, or
//! the command itself when no daemon runs.
//!
//! An answer is one line of JSON, but for two: a listing is one line for each entry and an empty one behind the last, so
//! that one which breaks off is noticed; a message follows its line as it is. On failure to write the asker is gone, and
//! what was asked for is done all the same.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::envelope::QueueId;
use crate::spool::{Listed, Moved, Spool, Which};

/// What can be asked of a spool.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// What lies there.
    List,
    /// All that is known of one entry, with its sealed message if wanted.
    Show {
        /// Which.
        id: QueueId,
        /// Whether the message is wanted.
        message: bool,
    },
    /// Try one entry now, or everything. That is the daemon's; the answer is how many there are.
    Flush {
        /// Which.
        id: Option<QueueId>,
    },
    /// Keep what waits from being sent.
    Hold {
        /// Which.
        which: Which,
    },
    /// Send what was held.
    Release {
        /// Which.
        which: Which,
    },
    /// Send what lies in `failed/`.
    Retry {
        /// Which.
        which: Which,
    },
    /// Remove an entry for good.
    Remove {
        /// Which.
        id: QueueId,
    },
    /// Remove everything sealed to a certificate.
    Purge {
        /// Its fingerprint, hexadecimal digits.
        fingerprint: String,
        /// Whether it is meant; else what would go is only counted.
        really: bool,
    },
}

/// Answers `request` into `out`. `trouble` is the relay host's, the reason why entries wait that were not tried yet.
///
/// # Errors
/// `out` takes no more.
pub fn answer(spool: &Spool, request: &Request, trouble: &str, out: &mut dyn Write) -> io::Result<()> {
    match request {
        Request::List => list(spool, trouble, out),
        Request::Show { id, message } => show(spool, id, *message, out),
        Request::Flush { id: None } => line(out, &spool.totals().queued),
        Request::Flush { id: Some(id) } => line(out, &usize::from(spool.is_waiting(id))),
        Request::Hold { which } => moved(spool, &spool.hold(which), out),
        Request::Release { which } => moved(spool, &spool.release_held(which), out),
        Request::Retry { which } => moved(spool, &spool.retry(which), out),
        Request::Remove { id } => moved(spool, &spool.remove_unsent(id), out),
        Request::Purge { fingerprint, really } => moved(spool, &spool.purge(fingerprint, *really), out),
    }
}

fn list(spool: &Spool, trouble: &str, out: &mut dyn Write) -> io::Result<()> {
    spool.list(|mut listed: Listed| {
        if listed.delay_reason.is_empty() && listed.queue_name == "queue" {
            trouble.clone_into(&mut listed.delay_reason);
        }
        line(out, &listed)
    })?;
    out.write_all(b"\n")
}

/// In the history before the answer is read: a command that holds the spool itself ends then.
fn moved(spool: &Spool, moved: &Moved, out: &mut dyn Write) -> io::Result<()> {
    spool.history().flush();
    line(out, moved)
}

/// The entry, or `null`; then the length of its message, or why there is none, and the message.
fn show(spool: &Spool, id: &QueueId, message: bool, out: &mut dyn Write) -> io::Result<()> {
    line(out, &spool.show(id))?;
    if !message {
        return Ok(());
    }
    match spool.message(id) {
        Ok(octets) => {
            line(out, &Ok::<_, String>(octets.len()))?;
            out.write_all(&octets)
        }
        Err(error) => line(out, &Err::<usize, _>(error.to_string())),
    }
}

fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}
