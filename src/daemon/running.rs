//! What the daemon consists of while it runs, and which configuration is in force.
//!
//! Guarantees: [`Running::open`] finds all that a configuration names, or the daemon does not start; [`Running::reload`]
//! puts the whole of a new configuration in force, or nothing of it, and says so in the log. An attacker chooses nothing
//! here: the files are the operator's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;

use super::StartError;
use super::advice::advice;
use super::state::Watched;
use crate::activity::Activity;
use crate::alarm::Alarm;
use crate::config::Config;
use crate::deliver::Deliver;
use crate::follow::{Follower, Gauge};
use crate::heartbeat::{Heart, Last};
use crate::pipeline::{Pipeline, SizeLimit};
use crate::sandbox::Sandbox;
use crate::seal::{Sealer, Signers};
use crate::shutdown::Shutdown;
use crate::spool::Spool;
use crate::status::Counters;
use crate::tls::{Tls, TrustStore};
use crate::{maillog, systemd};

/// How long a queue command may hold the spool while the daemon starts.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// All parts of the daemon.
pub struct Running {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) deliver: Arc<Deliver>,
    pub(super) spool: Arc<Spool>,
    pub(super) counters: Arc<Counters>,
    pub(super) activity: Activity,
    pub(super) heartbeats: Arc<Last>,
    pub(super) alarm: Arc<Alarm>,
    /// Of each followed log.
    gauges: Mutex<Vec<Arc<Gauge>>>,
    pub(super) since: SystemTime,
    pub(super) sandbox: Sandbox,
    config: Mutex<Config>,
    reloading: Mutex<()>,
}

impl Running {
    /// With what `config` names, within `sandbox`.
    ///
    /// # Errors
    /// Something of it is not there, or cannot be used.
    pub fn open(config: &Config, sandbox: Sandbox) -> Result<Self, StartError> {
        let (tls, sealer) = prepare(config)?;
        let spool = Arc::new(Spool::open(config, LOCK_PATIENCE)?);
        let counters = Arc::new(Counters::default());
        let deliver = Arc::new(Deliver::new(config, tls, Arc::clone(&spool), Arc::clone(&counters)));
        let activity = Activity::open(&config.state);
        deliver.took_before(|relay| activity.last_success(relay));
        let asked = Arc::clone(&deliver);
        let size_limit: SizeLimit = Box::new(move || asked.size_limit());
        let pipeline = Pipeline::new(config, sealer, Arc::clone(&spool), Arc::clone(&counters), size_limit);
        Ok(Self {
            pipeline: Arc::new(pipeline),
            deliver,
            spool,
            counters,
            activity,
            heartbeats: Arc::default(),
            alarm: Arc::new(Alarm::open(config)),
            gauges: Mutex::default(),
            since: SystemTime::now(),
            sandbox,
            config: Mutex::new(config.clone()),
            reloading: Mutex::default(),
        })
    }

    /// Follows the logs of `config`, each on a thread of its own.
    pub fn follow(&self, config: &Config, shutdown: &Shutdown) -> JoinSet<()> {
        let mut follows = JoinSet::new();
        for follow in &config.follows {
            let follower = Follower::new(follow, &config.state, Arc::clone(&self.pipeline), shutdown.clone());
            self.gauges().push(follower.gauge());
            follows.spawn_blocking(move || follower.run());
        }
        follows
    }

    /// How the reading of each followed log is doing.
    pub fn gauges(&self) -> MutexGuard<'_, Vec<Arc<Gauge>>> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens what makes heartbeats, of what is `watched`.
    pub fn heart(&self, config: &Config, watched: Watched) -> Arc<Heart> {
        let (pipeline, spool, last) = (&self.pipeline, &self.spool, Arc::clone(&self.heartbeats));
        Arc::new(Heart::open(&config.state, Arc::clone(pipeline), Arc::clone(spool), Box::new(watched), last))
    }

    /// Takes the configuration file, and what it names, as they are now: all of it, or nothing.
    ///
    /// # Errors
    /// Something of it cannot be used, or needs a restart. The old one stays in force.
    pub fn reload(&self) -> Result<(), StartError> {
        // One at a time; `status` and the watchdog need not wait for the disk that the files are on.
        let _turn = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        systemd::reloading();
        let in_force = self.config().clone();
        let outcome = self.reload_from(&in_force);
        systemd::ready();
        outcome
    }

    fn reload_from(&self, in_force: &Config) -> Result<(), StartError> {
        match self.read_again(in_force) {
            Ok((config, (tls, sealer))) => {
                // From here on nothing can go wrong: what was prepared is put in force.
                self.pipeline.reload(&config, sealer);
                self.deliver.reload(&config, tls);
                self.alarm.reload(&config);
                maillog::reloaded(&self.summary(&config));
                self.advise(&config);
                *self.config() = config;
                Ok(())
            }
            Err(error) => {
                maillog::not_reloaded(&error.to_string(), &error.hint());
                Err(error)
            }
        }
    }

    fn read_again(&self, in_force: &Config) -> Result<(Config, (Vec<Tls>, Sealer)), StartError> {
        let (named, loaded) = Config::load_and_name(&in_force.file);
        if let Ok(config) = &loaded {
            refuse_what_needs_a_restart(in_force, config)?;
        }
        // Before whatever became of reading it: the system's own word for it is permissions, and no chmod helps.
        if let Some(hidden) = named.iter().find(|path| self.sandbox.hides(path)) {
            return Err(StartError::OutOfReach(hidden.clone()));
        }
        let config = loaded?;
        let prepared = prepare(&config)?;
        Ok((config, prepared))
    }

    /// Says once what is in force, and where clients come in.
    pub fn announce(&self, listening: &[String]) {
        maillog::started(env!("CARGO_PKG_VERSION"), &self.in_force());
        let walls = self.sandbox.confinement();
        maillog::confined(&walls.landlock, &walls.seccomp, walls.complete);
        listening.iter().for_each(|address| maillog::listening(address));
        self.advise(&self.config());
    }

    /// Says once what an operator should know.
    fn advise(&self, config: &Config) {
        if self.pipeline.signer_is_new() {
            maillog::signer_made(&self.pipeline.signer());
        }
        let of_certificates = [self.pipeline.advice(), self.pipeline.warnings()].concat();
        advice(config).iter().chain(&of_certificates).for_each(|text| maillog::advice(text));
    }

    /// The configuration in force, on one line.
    pub fn in_force(&self) -> String {
        self.summary(&self.config())
    }

    fn summary(&self, config: &Config) -> String {
        let to: Vec<&str> = config.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
        let relays = config.relays.iter().map(|relay| {
            let login = if relay.login.is_some() { "yes" } else { "no" };
            format!("relay={}, tls={:?}, trust={:?}, login={login}", relay.name(), relay.tls, relay.trust)
        });
        format!(
            "sender=<{}>, recipients={}, {}, spool={}, queued={}, signer={}",
            config.sender.address,
            to.join(","),
            relays.collect::<Vec<_>>().join(", "),
            config.spool.display(),
            self.spool.totals().queued,
            self.pipeline.signer(),
        )
    }

    /// The configuration in force.
    pub fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a configuration needs before it can be in force. Nothing of the old one is touched.
fn prepare(config: &Config) -> Result<(Vec<Tls>, Sealer), StartError> {
    let stores = config.relays.iter().map(|relay| TrustStore::load(&relay.trust).map(Tls::new));
    let tls = stores.collect::<Result<_, _>>()?;
    let now = SystemTime::now();
    let signers = Signers::open(&config.state, &config.sender.address, now)?;
    Ok((tls, Sealer::open(config, signers, now)?))
}

/// Sockets, folders and the log belong to the process, not to the configuration it reads again.
fn refuse_what_needs_a_restart(before: &Config, after: &Config) -> Result<(), StartError> {
    let changed = [
        ("[listen]", before.listen != after.listen),
        ("[[follow]]", before.follows != after.follows),
        ("spool.directory", before.spool != after.spool),
        ("spool.quota", before.quota != after.quota),
        ("spool.reserve", before.reserve != after.reserve),
        ("state.directory", before.state != after.state),
        ("control.socket", before.control != after.control),
        ("[log]", before.log != after.log),
        ("[metrics]", before.metrics != after.metrics),
    ];
    let changed: Vec<&str> = changed.iter().filter(|(_, changed)| *changed).map(|(key, _)| *key).collect();
    if changed.is_empty() { Ok(()) } else { Err(StartError::NeedsRestart(changed.join(", "))) }
}
