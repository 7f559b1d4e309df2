//! Delivery as a whole: the workers of each relay host, what wakes them, and what a reload replaces.
//!
//! Guarantees: workers only end with the daemon or with the configuration they belong to; one that broke off is
//! replaced. After a reload the new relay hosts take what is queued at once, while the old sessions finish the message
//! they are at. On failure of everything here, entries stay in the spool.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::backoff;
use super::caps_file;
use super::late::Late;
use super::presented;
use super::recent::{Recent, Settled};
use super::relay::RelayHosts;
use super::worker::Worker;
use crate::config::Config;
use crate::envelope::QueueId;
use crate::shutdown::Shutdown;
use crate::spool::Spool;
use crate::status::{Counters, RelayStatus};
use crate::tls::Tls;

/// A removal is synced within this time.
const TIDY_EVERY: Duration = Duration::from_millis(500);
/// At least this often the spool is asked, whatever was notified: clocks jump.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Delivery to the relay hosts of the configuration.
pub struct Deliver {
    hosts: RwLock<Arc<RelayHosts>>,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    recent: Arc<Recent>,
    state: PathBuf,
    reloaded: Notify,
}

impl Deliver {
    /// For `config`'s relay hosts, each verified by its own of `tls`, from `spool`.
    pub fn new(config: &Config, tls: Vec<Tls>, spool: Arc<Spool>, counters: Arc<Counters>) -> Self {
        let hosts = RelayHosts::new(config, tls, None);
        caps_file::take_up(&config.state, &hosts);
        presented::take_up(&config.state, &hosts);
        let (state, reloaded, recent) = (config.state.clone(), Notify::new(), Arc::default());
        Self { hosts: RwLock::new(Arc::new(hosts)), spool, counters, recent, state, reloaded }
    }

    /// Takes up when relay hosts took messages from an earlier process, seconds since 1970, by their names.
    pub fn took_before(&self, when: impl Fn(&str) -> Option<u64>) {
        for host in self.hosts().iter() {
            when(&host.name()).into_iter().for_each(|at| host.health.took_before(at));
        }
    }

    /// From now on the relay hosts of `config` take what is queued, all of it at once.
    pub fn reload(&self, config: &Config, tls: Vec<Tls>) {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        let before = Arc::clone(&hosts);
        *hosts = Arc::new(RelayHosts::new(config, tls, Some(&before)));
        drop(hosts);
        before.end();
        self.spool.flush();
        self.reloaded.notify_one();
    }

    /// Delivers until `shutdown`, then ends the sessions.
    pub async fn run(self: Arc<Self>, mut shutdown: Shutdown) {
        let mut workers = JoinSet::new();
        let mut started = self.start(&mut workers);
        let mut tidy = interval(TIDY_EVERY);
        let mut look_again = interval(LOOK_AGAIN);
        let mut late = Late::default();
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !(shutdown.is_ending() && workers.is_empty()) {
            tokio::select! {
                () = shutdown.wait(), if !self.hosts().ending.is_ending() => self.hosts().end(),
                Some(_) = workers.join_next() => {}
                () = self.reloaded.notified() => {
                    if !Arc::ptr_eq(&started, &self.hosts()) {
                        started = self.start(&mut workers);
                    }
                }
                () = self.spool.changed() => self.hosts().wake(&self.spool),
                _ = tidy.tick() => self.tidy().await,
                _ = look_again.tick() => {
                    self.look_again();
                    late.look(self.spool.waiting());
                }
            }
        }
        self.tidy().await;
    }

    /// Tries everything at once, or one entry.
    pub fn flush(&self, id: Option<&QueueId>) {
        self.hosts().iter().for_each(|host| host.health.forget());
        match id {
            Some(id) => _ = self.spool.flush_one(id),
            None => self.spool.flush(),
        }
    }

    /// The largest message that every relay host takes, octets, as far as they have said.
    pub fn size_limit(&self) -> Option<u64> {
        self.hosts().iter().filter_map(|host| host.health.size()).min()
    }

    /// How the relay hosts are doing.
    pub fn status(&self) -> Vec<RelayStatus> {
        self.hosts().status()
    }

    /// What became of the last messages.
    pub fn recent(&self) -> Vec<Settled> {
        self.recent.list()
    }

    fn hosts(&self) -> Arc<RelayHosts> {
        Arc::clone(&self.hosts.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn start(&self, workers: &mut JoinSet<()>) -> Arc<RelayHosts> {
        let hosts = self.hosts();
        for (nth, host) in hosts.iter().enumerate() {
            for _ in 0..host.relay.connections {
                let (spool, counters, recent) = (&self.spool, &self.counters, &self.recent);
                let (spool, counters, recent) = (Arc::clone(spool), Arc::clone(counters), Arc::clone(recent));
                let worker = Worker::new(Arc::clone(&hosts), nth, spool, counters, recent);
                workers.spawn(keep_working(worker));
            }
        }
        hosts.wake(&self.spool);
        hosts
    }

    async fn tidy(&self) {
        let (spool, hosts, state) = (Arc::clone(&self.spool), self.hosts(), self.state.clone());
        let tidied = spawn_blocking(move || {
            spool.tidy();
            caps_file::keep(&state, &hosts);
            presented::keep(&state, &hosts);
        });
        let _ = tidied.await;
    }

    fn look_again(&self) {
        let long_ago = SystemTime::now().checked_sub(backoff::AFTER_SETTING).unwrap_or(SystemTime::UNIX_EPOCH);
        self.spool.return_to_first(backoff::seconds_at(long_ago, Duration::ZERO));
        self.hosts().wake(&self.spool);
    }
}

/// A worker ends when its relay hosts do; one that broke off begins again.
async fn keep_working(worker: Worker) {
    let worker = Arc::new(worker);
    while tokio::spawn(Arc::clone(&worker).work()).await.is_err() && !worker.is_over() {
        sleep(TIDY_EVERY).await;
    }
}
