//! The dead-man switch: an address that is called at its interval only while mail gets through.
//!
//! It is called while **all** of these hold: alerts can be taken; no message that waits is older than `ping_oldest`; every
//! recipient's last heartbeat was taken by a relay host within that time after it was made, and none is overdue by more.
//! A day without alerts is a good day: the heartbeat shows it. With heartbeats off only the queue counts.
//!
//! What waits for its digest or slot does not count: that is how long it was told to wait. A heartbeat in slots has two of
//! them more.
//!
//! What an operator holds does not count: it was seen and decided on, and stands in `status`; or one held message would
//! stop the ping for good, until somebody switched the alarm off. A heartbeat that is held or failed was not taken; the
//! next one makes it good. The first call comes some time after the start: a daemon that dies and comes back every few
//! seconds is none that lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Alarm, Asked, Watch, client, judged};
use crate::config;
use crate::shutdown::Shutdown;
use crate::status::{Counted, State, Status, seconds_now};

/// The first call is made this long after the start, or an interval, whichever is less; and so is the next look after one
/// that did not succeed or was not made.
const SOON: Duration = Duration::from_secs(60);

impl Alarm {
    /// Calls it at its interval until `shutdown`.
    pub(super) async fn keep_pinging(&self, watch: Arc<dyn Watch>, mut shutdown: Shutdown) {
        let mut config = self.config.subscribe();
        let mut asked = Asked(None);
        let every = |config: &config::Alarm| config.ping.as_ref().map_or(SOON, |ping| ping.every);
        let mut due = Instant::now() + every(&config.borrow()).min(SOON);
        loop {
            let current = config.borrow_and_update().clone();
            tokio::select! {
                () = shutdown.wait() => return,
                Ok(()) = config.changed() => {
                    let url = |config: &config::Alarm| config.ping.as_ref().map(|ping| ping.endpoint.url.clone());
                    self.ping.forget_if(url(&current) != url(&config.borrow()));
                    // What was wrong may be repaired; and reloads, however many, do not put it off.
                    due = due.min(Instant::now() + every(&config.borrow()).min(SOON));
                }
                () = sleep_until(due), if current.ping.is_some() => {
                    let taken = tokio::select! {
                        () = shutdown.wait() => return,
                        taken = self.ping_if_well(&current, Arc::clone(&watch), &mut asked) => taken,
                    };
                    due = Instant::now() + if taken { every(&current) } else { every(&current).min(SOON) };
                }
            }
        }
    }

    /// Whether it was called and took the call.
    async fn ping_if_well(
        &self,
        config: &config::Alarm,
        watch: Arc<dyn Watch>,
        asked: &mut Asked<Option<String>>,
    ) -> bool {
        let Some(ping) = &config.ping else { return false };
        let oldest = ping.oldest;
        let why = asked
            .answer(move || why_silent(&watch.status(&Counted::default()), oldest, || watch.heartbeat(oldest)))
            .await;
        let why = why.unwrap_or_else(|| Some("the spool's disk does not answer".to_owned()));
        let (host, is_silent) = (ping.endpoint.url.host(), why.is_some());
        self.ping.withhold(&host, why);
        if is_silent {
            return false;
        }
        let outcome = self.ping(config).await;
        let taken = outcome.is_ok();
        self.ping.note(&host, outcome);
        taken
    }

    /// Calls it.
    pub(super) async fn ping(&self, config: &config::Alarm) -> Result<(), String> {
        let Some(ping) = &config.ping else { return Ok(()) };
        judged(client(&ping.endpoint).get(ping.endpoint.url.reveal()).await)
    }
}

/// Why nothing is called now, if so.
fn why_silent(status: &Status, oldest: Duration, heartbeat: impl FnOnce() -> Option<String>) -> Option<String> {
    if status.state == State::Broken {
        return Some("no alert can be taken".to_owned());
    }
    let waited = status.spool.oldest.map_or(0, |oldest| seconds_now().saturating_sub(oldest));
    if waited > oldest.as_secs() {
        return Some(format!("a message has waited for longer than {}", humantime::format_duration(oldest)));
    }
    heartbeat()
}
