//! What systemd is told: ready, reloading, stopping, a line on how it is, and that we are alive (sd_notify(3)).
//!
//! The watchdog is fed only while the event loop runs *and* the spool's disk answers: a daemon that hangs in a dead disk
//! only looks alive. A disk that answers "full" or "broken" answers; a restart would not help it. Without systemd nothing
//! here does anything. On failure to tell, nothing happens: systemd draws its own conclusions.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::shutdown::Shutdown;

/// How often the line is renewed, if no watchdog asks for more.
const RENEW: Duration = Duration::from_secs(10);

/// It serves; after a reload too.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It reads its configuration again.
pub fn reloading() {
    // systemd wants to know which of its own requests this answers (`Type=notify-reload`).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
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
        if let Ok(line) = spawn_blocking(move || answer()).await {
            tell(&[NotifyState::Watchdog, NotifyState::Status(&line)]);
        }
        tokio::select! {
            () = shutdown.wait() => {}
            () = sleep(every) => {}
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
