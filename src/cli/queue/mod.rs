//! `sealrelay queue`: asks whoever holds the spool, the daemon or this very process, and prints what it says.

mod holder;
mod show;

use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use super::{EX_IOERR, EX_TEMPFAIL, EX_USAGE, Failure, say};
use crate::config::{Doors, OpenPgpFingerprint};
use crate::envelope::QueueId;
use crate::queue::Request;
use crate::spool::{Moved, Which};
use holder::Holder;

/// Look at and move what lies in the spool
///
/// Exit codes: 0 done, 64 there is nobody to ask whether to remove, 66 no such message, 69 the daemon cannot be asked, 73
/// the spool cannot be used, 74 the disk took it only in part, 75 try again (being delivered just now), 77 not allowed, 78
/// configuration. All work without the daemon too, as the service's user or root; with it also as a member of the
/// service's group.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List what lies in the spool, in the layout of Postfix's mailq
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one message: envelope, attempts, last reply
    Show {
        /// Its queue id
        id: QueueId,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Print the sealed message instead, octet by octet
        #[arg(long, conflicts_with = "json")]
        message: bool,
    },
    /// Try to send everything now, or one message
    Flush {
        /// Its queue id
        id: Option<QueueId>,
    },
    /// Keep what waits from being sent, until it is released
    Hold {
        /// A queue id, or ALL
        #[arg(value_name = "ID|ALL")]
        which: Which,
    },
    /// Send what was held
    Release {
        /// A queue id, or ALL
        #[arg(value_name = "ID|ALL")]
        which: Which,
    },
    /// Send what lies in failed/; its lifetime begins again
    Retry {
        /// A queue id, or ALL
        #[arg(value_name = "ID|ALL")]
        which: Which,
    },
    /// Remove messages for good, wherever they lie; their numbers are remembered as removed
    Remove {
        /// Their queue ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<QueueId>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Remove all messages sealed to a certificate whose key is compromised
    Purge {
        /// Its full fingerprint
        #[arg(long)]
        fingerprint: OpenPgpFingerprint,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ALL" => Ok(Self::All),
            _ => text.parse().map(Self::One).map_err(|error| format!("neither ALL nor a queue id; {error}")),
        }
    }
}

pub fn run(file: &Path, command: &Command) -> Result<u8, Failure> {
    let holder = Holder::find(file, &Doors::find(file)?)?;
    match command {
        Command::List { json } => show::list(holder.ask(&Request::List)?, *json)?,
        Command::Show { id, json, message } => {
            let request = Request::Show { id: id.clone(), message: *message };
            show::entry(holder.ask(&request)?, id, *json, *message)?;
        }
        Command::Flush { id } => flush(&holder, id.as_ref())?,
        Command::Hold { which } => return moved(&holder, which, Request::Hold { which: which.clone() }, "held"),
        Command::Release { which } => {
            return moved(&holder, which, Request::Release { which: which.clone() }, "released");
        }
        Command::Retry { which } => {
            return moved(&holder, which, Request::Retry { which: which.clone() }, "will be tried again");
        }
        Command::Remove { ids, yes } => return remove(&holder, ids, *yes),
        Command::Purge { fingerprint, yes } => return purge(&holder, fingerprint.as_str(), *yes),
    }
    Ok(0)
}

/// `mailq`: the caller need not be able to read the configuration while the daemon runs.
pub fn mailq(file: &Path, doors: &Doors) -> Result<u8, Failure> {
    let holder = Holder::find(file, doors)?;
    show::list(holder.ask(&Request::List)?, false)?;
    Ok(0)
}

/// `sendmail -q`.
pub fn flush_by_anybody(doors: &Doors) -> Result<u8, Failure> {
    ask::<usize>(&Holder::daemon(doors)?, &Request::Flush { id: None }).map(|_| 0)
}

fn flush(holder: &Holder, id: Option<&QueueId>) -> Result<(), Failure> {
    let (count, when) = match holder {
        Holder::Daemon(_) => (ask::<usize>(holder, &Request::Flush { id: id.cloned() })?, "now"),
        Holder::Us(spool) => (spool.flush_at_start(id), "when the daemon starts"),
        Holder::Nobody => (0, "when the daemon starts"),
    };
    match (count, id) {
        (0, Some(id)) => return Err(show::not_there(id)),
        _ => say(format!("{count} message(s) will be tried {when}")),
    }
    Ok(())
}

fn moved(holder: &Holder, which: &Which, request: Request, how: &str) -> Result<u8, Failure> {
    report(&ask(holder, &request)?, which, how)
}

fn remove(holder: &Holder, ids: &[QueueId], yes: bool) -> Result<u8, Failure> {
    for id in ids {
        // Asked about what is there, with what is known of it.
        show::entry(holder.ask(&Request::Show { id: id.clone(), message: false })?, id, false, false)?;
    }
    if !yes && !agreed(&format!("Remove {} message(s) for good?", ids.len()))? {
        return Ok(0);
    }
    let mut code = 0;
    for id in ids {
        let removed = ask(holder, &Request::Remove { id: id.clone() })?;
        code = code.max(report(&removed, &Which::One(id.clone()), "removed")?);
    }
    Ok(code)
}

fn purge(holder: &Holder, fingerprint: &str, yes: bool) -> Result<u8, Failure> {
    let request = |really| Request::Purge { fingerprint: fingerprint.to_owned(), really };
    let found: Moved = ask(holder, &request(false))?;
    say(format!("{} message(s) in queue/, held/ and failed/ are sealed to {fingerprint}", found.moved));
    if found.moved == 0 || !yes && !agreed("Remove them for good, those with other readers too?")? {
        return Ok(0);
    }
    report(&ask(holder, &request(true))?, &Which::All, "removed")
}

/// Asks on the terminal, or whoever speaks for it. Whatever is no yes means no; where nobody says anything, a script must
/// not take what was left undone for done.
fn agreed(question: &str) -> Result<bool, Failure> {
    let mut out = std::io::stdout();
    let _ = write!(out, "{question} The IDS was told that they are safe; there is no other copy. [y/N] ");
    let _ = out.flush();
    let mut answer = String::new();
    if !matches!(std::io::stdin().read_line(&mut answer), Ok(1..)) {
        say("");
        let what = "nothing was removed: there is nobody to ask";
        return Err(Failure::new(what, "Ask on a terminal, or add --yes.", EX_USAGE));
    }
    let agreed = matches!(answer.trim(), "y" | "Y" | "yes");
    if !agreed {
        say("Nothing was removed.");
    }
    Ok(agreed)
}

fn ask<T: for<'a> serde::Deserialize<'a> + Default>(holder: &Holder, request: &Request) -> Result<T, Failure> {
    holder.ask(request)?.map_or_else(|| Ok(T::default()), |mut answer| show::value(&mut answer))
}

/// What came of a move, and the exit code.
fn report(moved: &Moved, which: &Which, how: &str) -> Result<u8, Failure> {
    if let Some(why) = &moved.trouble {
        let hint = "Make the disk well, then ask again: what is done already is not done twice.";
        return Err(Failure::new(format!("{} message(s) {how}, then: {why}", moved.moved), hint, EX_IOERR));
    }
    match which {
        Which::One(id) if moved.moved + moved.busy == 0 => return Err(show::not_there(id)),
        Which::One(_) if moved.busy > 0 => {}
        _ => say(format!("{} message(s) {how}", moved.moved)),
    }
    if moved.busy > 0 {
        let what = format!("{} message(s) are being delivered, or put into a digest, and were left", moved.busy);
        return Err(Failure::new(
            what,
            "Ask again in a moment, if they are still in `sealrelay queue list`.",
            EX_TEMPFAIL,
        ));
    }
    Ok(0)
}
