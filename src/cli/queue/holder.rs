//! Who holds the spool, and how it is asked: the running daemon through its control socket, or this process, which takes
//! the spool's lock. Two processes never move entries.
//!
//! While the daemon runs the control socket's mode decides who may ask: the service's user and its group. While it does
//! not, only the service's user and root can: the spool is 0700, because whoever can write there can take alerts away.
//! Root becomes the spool's owner first, so that no file is made that the daemon could not read or replace.

use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::{EX_NOPERM, EX_OSERR, EX_TEMPFAIL, Failure};
use crate::config::{Config, Doors, Level};
use crate::control;
use crate::maillog;
use crate::queue::{self, Request};
use crate::spool::{Spool, SpoolError};

/// Who holds the spool.
pub enum Holder {
    /// Nobody: it was never made, and is not made by somebody who only looks.
    Nobody,
    /// This process.
    Us(Arc<Spool>),
    /// The daemon behind this socket.
    Daemon(PathBuf),
}

impl Holder {
    /// Asks the daemon whether it is there; else takes hold of the spool that `file` names.
    pub fn find(file: &Path, doors: &Doors) -> Result<Self, Failure> {
        match connect(doors) {
            Ok(()) => Ok(Self::Daemon(doors.control.clone())),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(not_open()),
            Err(error) => Self::without_daemon(file, doors, &error),
        }
    }

    /// The daemon, or why it cannot be asked.
    pub fn daemon(doors: &Doors) -> Result<Self, Failure> {
        match connect(doors) {
            Ok(()) => Ok(Self::Daemon(doors.control.clone())),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(not_open()),
            Err(error) => Err(away(doors, &error)),
        }
    }

    fn without_daemon(file: &Path, doors: &Doors, error: &io::Error) -> Result<Self, Failure> {
        let config = match Config::load_without_secrets(file) {
            Ok(config) => config,
            // Whoever calls it may be anybody, to whom the configuration is closed.
            Err(_) if std::fs::File::open(file).is_err() => return Err(away(doors, error)),
            Err(error) => return Err(error.into()),
        };
        become_owner_of(&config.spool)?;
        // Somebody who may not look must not read that the queue is empty.
        if !config.spool.join("lock").try_exists().map_err(|_| not_open())? {
            return Ok(Self::Nobody);
        }
        maillog::start(Level::Warning, maillog::Output::Text);
        match Spool::open(&config, Duration::ZERO) {
            Ok(spool) => Ok(Self::Us(Arc::new(spool))),
            Err(SpoolError::InUse(_)) => Err(away(doors, error)),
            Err(error) => Err(Failure::new(&error, error.hint(), super::super::EX_CANTCREAT)),
        }
    }

    /// The answer to `request`, as it comes; `None` if there is nothing to ask.
    pub fn ask(&self, request: &Request) -> Result<Option<Box<dyn BufRead>>, Failure> {
        match self {
            Self::Nobody => Ok(None),
            Self::Daemon(socket) => {
                let stream = control::open(socket, &control::Request::Queue(request.clone())).map_err(broken_off)?;
                Ok(Some(Box::new(stream)))
            }
            Self::Us(spool) => {
                // The same lines, through a pipe: they are read as they are made.
                let (reader, writer) = io::pipe().map_err(broken_off)?;
                let (spool, request) = (Arc::clone(spool), request.clone());
                std::thread::spawn(move || {
                    let mut out = BufWriter::new(writer);
                    // Whoever does not read to the end has what it wants.
                    let _ = queue::answer(&spool, &request, "", &mut out).and_then(|()| out.flush());
                });
                Ok(Some(Box::new(BufReader::new(reader))))
            }
        }
    }
}

fn connect(doors: &Doors) -> io::Result<()> {
    std::os::unix::net::UnixStream::connect(&doors.control).map(drop)
}

/// An answer that ended too early.
pub fn broken_off(error: io::Error) -> Failure {
    let hint = "What it has done so far is done: look with `sealrelay queue list`, and ask again.";
    Failure::new(format!("the answer broke off: {error}"), hint, EX_TEMPFAIL)
}

fn not_open() -> Failure {
    let hint = "Run this as the service's user or root; while the daemon runs, members of the service's group can too.";
    Failure::new("the mail queue is not open to this account", hint, EX_NOPERM)
}

fn away(doors: &Doors, error: &io::Error) -> Failure {
    let what = format!("the mail relay does not answer on {}: {error}", doors.control.display());
    Failure::new(what, "Start it, or name its configuration with --config; it may be starting just now.", EX_TEMPFAIL)
}

fn become_owner_of(spool: &Path) -> Result<(), Failure> {
    use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
    use std::os::unix::fs::MetadataExt;
    let Ok(owner) = std::fs::metadata(spool) else { return Ok(()) };
    if !Uid::effective().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    let group = Gid::from_raw(owner.gid());
    setgroups(&[group]).and_then(|()| setgid(group)).and_then(|()| setuid(Uid::from_raw(owner.uid()))).map_err(
        |error| {
            let what = format!("cannot become the owner of {}: {error}", spool.display());
            Failure::new(what, "Run this as the service's user.", EX_OSERR)
        },
    )
}
