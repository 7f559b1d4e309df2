//! What systemd is told: ready, reloading, stopping, a line on how it is, and that we are alive (sd_notify(3)).
//!
//! The watchdog is fed only while the event loop runs *and* the spool's disk answers: a daemon that hangs in a dead disk
//! only looks alive. A disk that answers "full" or "broken" answers; a restart would not help it. Without systemd nothing
//! here does anything.
//!
//! Nothing here waits for systemd: its socket may be full, and mail must not stand still because nobody reads. What does
//! not fit then is told again: ready and reloading as they were, the line as it is by then. (That we end it sees anyway.) On
//! any other failure to tell, nothing happens: systemd draws its own conclusions.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::shutdown::Shutdown;

/// How often the line is renewed, if no watchdog asks for more.
const RENEW: Duration = Duration::from_secs(10);
/// How soon it is tried again where systemd did not take it.
const AGAIN: Duration = Duration::from_secs(1);

/// What systemd has still to hear of, in its order: a reload and the end of it at most.
static UNTOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// It serves; after a reload too.
pub fn ready() {
    let mut untold = UNTOLD.lock().unwrap_or_else(PoisonError::into_inner);
    untold.push(message(&[NotifyState::Ready]));
    tell_all(&mut untold);
}

/// It reads its configuration again.
pub fn reloading() {
    // systemd wants to know which of its own requests this answers (`Type=notify-reload`).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => begin(&[NotifyState::Reloading, now]),
        Err(_) => begin(&[NotifyState::Reloading]),
    }
}

/// It ends.
pub fn stopping() {
    begin(&[NotifyState::Stopping]);
}

/// Renews the line and feeds the watchdog until `shutdown`. `answer` asks the disk, waits for it, and gives the line; it
/// runs on a thread for blocking work, as everything does that touches the disk.
pub async fn supervise(answer: Arc<dyn Fn() -> String + Send + Sync>, mut shutdown: Shutdown) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    // Twice as often as it has to be: one that comes late is no reason to restart.
    let every = sd_notify::watchdog_enabled().map_or(RENEW, |limit| (limit / 2).min(RENEW));
    while !shutdown.is_ending() {
        let answer = Arc::clone(&answer);
        // While this waits for a dead disk, the watchdog goes hungry; that is the point.
        let taken = match spawn_blocking(move || answer()).await {
            Ok(line) => feed(&line),
            Err(_) => true,
        };
        tokio::select! {
            () = shutdown.wait() => {}
            () = sleep(if taken { every } else { every.min(AGAIN) }) => {}
        }
    }
}

/// Whether systemd has heard that we are alive, how we are, and all that went before.
fn feed(line: &str) -> bool {
    let mut untold = UNTOLD.lock().unwrap_or_else(PoisonError::into_inner);
    tell_all(&mut untold) && is_taken(&message(&[NotifyState::Watchdog, NotifyState::Status(line)]))
}

/// What begins now makes old news of all that is still untold.
fn begin(states: &[NotifyState<'_>]) {
    let mut untold = UNTOLD.lock().unwrap_or_else(PoisonError::into_inner);
    *untold = vec![message(states)];
    tell_all(&mut untold);
}

/// Whether nothing is left to tell.
fn tell_all(untold: &mut Vec<String>) -> bool {
    let taken = untold.iter().take_while(|message| is_taken(message)).count();
    untold.drain(..taken);
    untold.is_empty()
}

fn message(states: &[NotifyState<'_>]) -> String {
    states.iter().map(|state| format!("{state}\n")).collect()
}

/// Whether it needs not be told again.
fn is_taken(message: &str) -> bool {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return true };
    !send(&name, message).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// `name` is that of a file, or behind an `@` an abstract one (sd_notify(3)). Not sd-notify's own way, which waits.
fn send(name: &OsStr, message: &str) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}
