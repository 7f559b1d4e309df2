//! `sealrelay run`: start-up order, tasks, signals, the end.
//!
//! [`confine`], then [`run`]; `serve` is the daemon's life from the first file it opens to the last line it logs. `running`
//! is what it consists of, and its configuration; `tasks` is what it does at the same time; `state` says how it is, and
//! `answers` says so to whoever asks; `advice` is what could be better, `error` why it does not start.
//!
//! Guarantees: whatever must be there (configuration, trust, certificates, key, spool) is there before the first
//! client is taken; a doubtful setting stops the start. At SIGTERM no client is taken any more, replies under way are
//! finished, deliveries end cleanly within `tasks::DRAIN`, and nothing is lost if they do not. On failure of a part that
//! alerts depend on the process ends, and whoever started it starts it again. An attacker chooses nothing here.

mod advice;
mod answers;
mod error;
mod running;
mod state;
mod tasks;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use error::StartError;

use crate::config::Config;
use crate::intake::HandedOver;
use crate::sandbox::Sandbox;
use crate::shutdown;
use crate::spool::SpoolError;
use crate::unix_socket::{self, Reach};
use crate::{maillog, systemd};
use running::Running;
use tasks::{Doors, Signals, Tasks};

/// Makes the folders that `config` names, and takes from this process all that the daemon does not need. To be called
/// before the first thread is started.
///
/// # Errors
/// A folder is not there and cannot be made, or others can change it.
pub fn confine(config: &Config) -> Result<Sandbox, StartError> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    make_private(&config.state).map_err(|error| StartError::State(config.state.clone(), error))?;
    make_private(&config.spool).map_err(|source| SpoolError::Unusable { path: config.spool.clone(), source })?;
    let sockets = [
        (config.listen.socket.as_ref(), Reach::Everybody),
        (Some(&config.control), Reach::Group),
        (config.metrics.socket.as_ref(), Reach::Group),
    ];
    for (path, reach) in sockets {
        // One that cannot be made is told of when its socket cannot.
        let _ = path.map(|path| unix_socket::make_folder(path, reach));
    }
    Ok(Sandbox::enter(config))
}

/// Runs the daemon until it is told to end, on the sockets in `handed` or on its own, within `sandbox`.
///
/// # Errors
/// It cannot start.
pub fn run(config: &Config, handed: &HandedOver, sandbox: Sandbox) -> Result<(), StartError> {
    // The usual report of a panic quotes what was being handled, which may be an alert.
    std::panic::set_hook(Box::new(|panic| {
        maillog::broke_off(&panic.location().map_or_else(String::new, ToString::to_string));
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(StartError::System)?;
    let outcome = runtime.block_on(serve(config, handed, sandbox));
    // A blocking task that hangs on a dead disk must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

async fn serve(config: &Config, handed: &HandedOver, sandbox: Sandbox) -> Result<(), StartError> {
    let running = Arc::new(Running::open(config, sandbox)?);
    // Before the first client: a signal that comes earlier ends the process, which has promised nothing yet.
    let mut signals = Signals::open().map_err(StartError::System)?;
    let doors = Doors::open(config, handed).await?;
    running.announce(&doors.listening());
    let (trigger, shutdown) = shutdown::channel();
    let mut tasks = Tasks::start(&running, config, doors, &shutdown);
    systemd::ready();
    let signal = tasks.attend(&running, &mut signals).await?;
    maillog::stopping(signal);
    systemd::stopping();
    trigger.fire();
    tasks.end(&running).await;
    let _ = fs::remove_file(&config.control);
    maillog::stopped(running.spool.totals().queued);
    Ok(())
}

/// A directory of mode 0700, its name on the disk. One that others can write to is not ours to trust.
fn make_private(path: &Path) -> io::Result<()> {
    make_lasting(path)?;
    let mode = fs::metadata(path)?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "others can write to it (mode {mode:04o}); run: chmod go-w {}",
            path.display()
        )));
    }
    Ok(())
}

/// Makes the directory `path`, and those above it, if they are not there. Their names are on the disk when this returns: a
/// power cut that took one would take all that lies in it.
fn make_lasting(path: &Path) -> io::Result<()> {
    let existed = path.is_dir();
    let Some(above) = path.parent() else { return Ok(()) };
    if !existed {
        make_lasting(above)?;
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    match File::open(above).and_then(|above| above.sync_all()) {
        // It was there, in a folder that we may not open: whoever keeps that one has made it.
        Err(error) if existed && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}
