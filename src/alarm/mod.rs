//! Telling somebody without mail how the relay is: `[alarm]`.
//!
//! Three ways, each of which may be missing: a **ping** that stops when mail is late (the service behind it then raises
//! the alarm, for a machine that is dead too), a **webhook** and a **syslog** line for each change of state. The state is
//! that of `status` but for two things: the troubles of these channels themselves, because a webhook that does not work is
//! no reason to call it; and what was counted more than an hour ago, or one mail that was cut would be the last thing told.
//!
//! Guarantees: what is told holds numbers and our own words, nothing of an alert and nothing that a relay host said; the
//! addresses are secrets and never printed. Nothing here blocks or ends a stage: every wait is bounded, and a disk that
//! does not answer is `broken`. What was told is remembered over restarts. On failure to tell, the newest state is told
//! again until it was taken; that it does not work stands in `status`, in the metrics and once in the log. A server
//! controls its answer, of which the status code alone is used.

mod channel;
mod news;
mod ping;
mod record;
mod settling;
mod sight;
mod syslog;
mod webhook;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::config::{self, Config, Endpoint};
use crate::https::{Answer, Https, HttpsError};
use crate::maillog;
use crate::shutdown::Shutdown;
use crate::status::{AlarmStatus, Counted, State, Status};
use channel::Channel;
use news::News;
use record::Record;
use settling::Settling;
use sight::Sight;

/// How often the state is looked at.
const TICK: Duration = Duration::from_secs(2);
/// How long the daemon may take to say how it is. It asks the file system, which may hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is told from. Called on a thread for blocking work.
pub trait Watch: Send + Sync {
    /// How the daemon is, by what was counted after `before`, and without the troubles of what tells it.
    fn status(&self, before: &Counted) -> Status;
    /// What is counted now. Does not block.
    fn counted(&self) -> Counted;
    /// What is wrong with the last heartbeat, if it was not taken within `grace`.
    fn heartbeat(&self, grace: Duration) -> Option<String>;
}

/// Tells.
pub struct Alarm {
    config: watch::Sender<config::Alarm>,
    /// The state that has lasted, which is to be told; `None` until this process knows.
    settled: watch::Sender<Option<State>>,
    /// What was seen last.
    sight: Mutex<Sight>,
    record: Record,
    started: SystemTime,
    ping: Channel,
    webhook: Channel,
    syslog: Channel,
}

/// What became of a trial.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// `ping`, `webhook` or `syslog`.
    pub channel: String,
    /// Its host and port.
    pub to: String,
    /// Why it was not taken, if it was not.
    pub trouble: Option<String>,
}

impl Alarm {
    /// Takes up what an earlier process told.
    pub fn open(config: &Config) -> Self {
        let record = Record::open(&config.state);
        Self {
            config: watch::Sender::new(config.alarm.clone()),
            settled: watch::Sender::new(None),
            sight: Mutex::default(),
            record,
            started: SystemTime::now(),
            ping: Channel::new("ping"),
            webhook: Channel::new("webhook"),
            syslog: Channel::new("syslog"),
        }
    }

    /// From now on `config` says who is told. What could not be told is tried again at once.
    pub fn reload(&self, config: &Config) {
        self.config.send_replace(config.alarm.clone());
    }

    /// Tells until `shutdown`.
    pub async fn run(self: Arc<Self>, watch: Arc<dyn Watch>, shutdown: Shutdown) {
        tokio::join!(
            self.observe(Arc::clone(&watch), shutdown.clone()),
            self.tell(shutdown.clone()),
            self.keep_pinging(watch, shutdown),
        );
    }

    /// How each channel is doing.
    pub fn status(&self) -> Vec<AlarmStatus> {
        let config = self.config.borrow();
        let ping = config.ping.as_ref().map(|ping| self.ping.status(ping.endpoint.url.host()));
        let webhook = config.webhook.as_ref().map(|endpoint| self.webhook.status(endpoint.url.host()));
        let syslog = config.syslog.map(|collector| self.syslog.status(collector.to_string()));
        [ping, webhook, syslog].into_iter().flatten().collect()
    }

    /// Tries each channel now, with what is marked as a test. The ping is a ping: there is no other.
    pub async fn test(&self) -> Vec<Tried> {
        let config = self.config.borrow().clone();
        let ping =
            async { Some((self.ping.name(), config.ping.as_ref()?.endpoint.url.host(), self.ping(&config).await)) };
        let webhook = async {
            let endpoint = config.webhook.as_ref()?;
            let outcome = webhook::post(endpoint, webhook::test(&config.name)).await;
            Some((self.webhook.name(), endpoint.url.host(), outcome))
        };
        let (ping, webhook) = tokio::join!(ping, webhook);
        let syslog = config.syslog.map(|collector| {
            let outcome = syslog::send(collector, &syslog::test(&config.name));
            (self.syslog.name(), collector.to_string(), outcome.map_err(|error| error.to_string()))
        });
        let tried = [ping, webhook, syslog].into_iter().flatten().map(|(channel, to, outcome)| Tried {
            channel: channel.to_owned(),
            to,
            trouble: outcome.err(),
        });
        tried.collect()
    }

    /// Looks at the state, and finds what of it lasts.
    async fn observe(&self, watch: Arc<dyn Watch>, mut shutdown: Shutdown) {
        let (mut asked, mut news) = (Asked(None), News::new(Instant::now()));
        let mut settling = Settling::new(self.record.settled(), Instant::now());
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                () = sleep(TICK) => {}
            }
            let config = self.config.borrow().clone();
            if config.webhook.is_none() && config.syslog.is_none() {
                continue;
            }
            let before = news.before(watch.counted(), Instant::now());
            let watch = Arc::clone(&watch);
            let status = asked.answer(move || watch.status(&before)).await;
            let sight = status.map_or_else(Sight::of_silence, |status| Sight::of(&status));
            *self.sight.lock().unwrap_or_else(PoisonError::into_inner) = sight.clone();
            let settled = settling.observe(sight.state, Instant::now(), config.settle);
            if let Some(state) = settled.filter(|state| *state != self.record.settled()) {
                self.announce(&config, &sight.with(state));
            }
            self.settled.send_if_modified(|told| std::mem::replace(told, settled) != settled);
        }
    }

    /// The state has changed, and has lasted.
    fn announce(&self, config: &config::Alarm, sight: &Sight) {
        let before = self.record.settled();
        maillog::state_changed(&sight.state.to_string(), &before.to_string(), &sight.fields());
        self.record.settle(sight.state);
        if let Some(collector) = config.syslog {
            let outcome = syslog::send(collector, &syslog::change(&config.name, sight, before, self.started));
            self.syslog.note(&collector.to_string(), outcome.map_err(|error| error.to_string()));
        }
    }

    fn sight(&self) -> Sight {
        self.sight.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Questions that may hang: one at a time, and whoever asks waits no longer than [`PATIENCE`].
struct Asked<T>(Option<JoinHandle<T>>);

impl<T: Send + 'static> Asked<T> {
    /// The answer to `question`, or to the one before it that hung until now; `None` if there is none in time, or it broke
    /// off.
    async fn answer(&mut self, question: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let pending = self.0.get_or_insert_with(|| spawn_blocking(question));
        let answer = timeout(PATIENCE, pending).await.ok()?;
        self.0 = None;
        answer.ok()
    }
}

/// A client for `endpoint`'s server.
fn client(endpoint: &Endpoint) -> Https {
    Https::new(Arc::clone(&endpoint.trust), endpoint.proxy.clone())
}

/// What an answer means: the server has taken it when it says 2xx. Its words are not shown: servers repeat the address,
/// which is a secret.
fn judged(answer: Result<Answer, HttpsError>) -> Result<(), String> {
    match answer.map_err(|error| error.to_string())?.status {
        200..=299 => Ok(()),
        status @ 300..=399 => Err(format!("it answered {status}; the address must be the one that is redirected to")),
        status => Err(format!("it answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_is_taken() {
        let answer = |status| judged(Ok(Answer { status, body: b"/hooks/token".to_vec().into() }));
        assert_eq!((answer(200), answer(204)), (Ok(()), Ok(())));
        for status in [100, 301, 302, 400, 404, 500, 503] {
            let said = answer(status).expect_err("not taken");
            assert!(said.starts_with(&format!("it answered {status}")) && !said.contains("token"), "{said}");
        }
    }
}
