//! One signal, many listeners: whoever holds a [`Shutdown`] learns once that the daemon is to end.

use tokio::sync::watch;

/// Tells every listener to end.
pub struct Trigger(watch::Sender<bool>);

/// Learns that the daemon is to end.
#[derive(Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// A trigger and its first listener; the others are clones of it.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Tells all listeners, those that ask later too.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Returns when the daemon is to end; at once if it already is.
    pub async fn wait(&mut self) {
        // An error means that the trigger is gone, which is the end too.
        let _ = self.0.wait_for(|ending| *ending).await;
    }

    /// Whether the daemon is to end.
    pub fn is_ending(&self) -> bool {
        *self.0.borrow()
    }
}
