//! `sealrelay run`: start-up order, tasks, signals, the end.
//!
//! Guarantees: whatever must be there (configuration, trust, certificates, key, spool) is there before the first
//! client is taken; a doubtful setting stops the start. At SIGTERM no client is taken any more, replies under way are
//! finished, deliveries end cleanly within [`DRAIN`], and nothing is lost if they do not.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::activity::Activity;
use crate::alarm::{self, Alarm};
use crate::config::{Config, ConfigError, Relay, TlsPin, Trust};
use crate::control::{self, Reloaded, Request};
use crate::deliver::Deliver;
use crate::follow::{Follower, Gauge};
use crate::gather;
use crate::heartbeat::{Heart, Last, Settings, Watch};
use crate::intake::{self, HandedOver, Listener};
use crate::maillog;
use crate::metrics;
use crate::pipeline::{Pipeline, SizeLimit};
use crate::queue;
use crate::sandbox::Sandbox;
use crate::seal::{Sealer, SignerError, Signers, Unusable};
use crate::shutdown::{self, Shutdown};
use crate::spool::{Spool, SpoolError};
use crate::status::{AlarmStatus, Counted, Counters, RecipientStatus, State, Status};
use crate::systemd;
use crate::tls::{Tls, TrustError, TrustStore};

/// How long the end may take.
const DRAIN: Duration = Duration::from_secs(30);

/// How long digests of what still waits may take then.
const FAREWELL: Duration = Duration::from_secs(10);

/// How often the certificates' ends are looked at, and the counters noted.
const MINUTELY: Duration = Duration::from_secs(60);

/// How long a queue command may hold the spool while the daemon starts.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Why the daemon does not start, or does not take a changed configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the relay host is verified by.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A recipient's certificate that never was usable.
    #[error(transparent)]
    Certificate(#[from] Unusable),
    /// The relay's own key.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The state directory.
    #[error("cannot use the state directory {0}: {1}")]
    State(PathBuf, io::Error),
    /// A listening address.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, io::Error),
    /// The control socket.
    #[error("cannot open the control socket {0}: {1}")]
    Control(PathBuf, io::Error),
    /// A socket for metrics.
    #[error("cannot serve metrics at {0}: {1}")]
    Metrics(String, io::Error),
    /// A reload would have to change what only a start can.
    #[error("{0} changed, which needs a restart; nothing of the new configuration is in force")]
    NeedsRestart(String),
    /// A reload names what the sandbox hides.
    #[error(
        "{0} lies where the daemon, since its start, can reach nothing, which needs a restart; nothing of the new \
         configuration is in force"
    )]
    OutOfReach(PathBuf),
    /// A part ended that should not.
    #[error("{0} broke off")]
    BrokeOff(&'static str),
    /// The runtime itself.
    #[error("cannot start: {0}")]
    System(io::Error),
}

impl StartError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Config(error) => error.hint(),
            Self::Trust(error) => error.hint(),
            Self::Certificate(error) => error.hint(),
            Self::Signer(error) => error.hint(),
            Self::Spool(error) => error.hint(),
            Self::State(path, _) => format!("The service's user must own {}.", path.display()),
            Self::Bind(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                format!(
                    "Another program listens there (`ss -ltnp sport = {}` names it); stop it, or choose another address.",
                    address.port()
                )
            }
            Self::Bind(..) => {
                "Ports below 1024 need CAP_NET_BIND_SERVICE; the address must be one of this machine's.".to_owned()
            }
            Self::Control(path, _) => {
                format!("The service's user must own {}.", path.parent().unwrap_or(Path::new("/")).display())
            }
            Self::Metrics(..) => "Another program may be there; change [metrics], or remove it.".to_owned(),
            Self::NeedsRestart(_) => "Restart the service. No alert is lost by that.".to_owned(),
            Self::OutOfReach(_) => {
                "Move it beside the configuration, or restart the service. No alert is lost by that.".to_owned()
            }
            Self::BrokeOff(_) => {
                "This is a fault of sealrelay, please report it. What was accepted is in the spool.".to_owned()
            }
            Self::System(_) => "Look at this machine's limits on processes and memory.".to_owned(),
        }
    }

    /// The sysexits code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Trust(_) | Self::Certificate(_) | Self::NeedsRestart(_) => 78,
            Self::OutOfReach(_) => 78,
            Self::Signer(error) => error.exit_code(),
            Self::State(..) | Self::Control(..) => 73,
            Self::Spool(SpoolError::InUse(_)) => 75,
            Self::Spool(_) => 73,
            Self::Bind(_, error) if error.kind() == io::ErrorKind::PermissionDenied => 77,
            Self::Bind(..) => 69,
            Self::Metrics(..) => 69,
            Self::BrokeOff(_) => 70,
            Self::System(_) => 71,
        }
    }
}

/// Makes the folders that `config` names, and takes from this process all that the daemon does not need. To be called
/// before the first thread is started.
///
/// # Errors
/// A folder is not there and cannot be made, or others can change it.
pub fn confine(config: &Config) -> Result<Sandbox, StartError> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    make_private(&config.state).map_err(|error| StartError::State(config.state.clone(), error))?;
    make_private(&config.spool).map_err(|source| SpoolError::Unusable { path: config.spool.clone(), source })?;
    // A folder that cannot be made is told of when its socket cannot.
    let _ = config.listen.socket.as_deref().map_or(Ok(()), intake::make_folder);
    let _ = [Some(&config.control), config.metrics.socket.as_ref()]
        .into_iter()
        .flatten()
        .try_for_each(|path| control::make_folder(path));
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
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::System)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::System)?;
    let bound =
        intake::bind(handed, &config.listen.addresses).map_err(|(address, error)| StartError::Bind(address, error))?;
    let bound = bound.and_socket(handed, config.listen.socket.as_deref());
    let control = control::bind(&config.control).map_err(|error| StartError::Control(config.control.clone(), error))?;
    let scraped = metrics::bind(&config.metrics).await.map_err(|(name, error)| StartError::Metrics(name, error))?;
    let (trigger, shutdown) = shutdown::channel();
    let listening = bound.addresses();
    running.announce(&listening);
    let listener = Listener::new(config.listen.clone(), Arc::clone(&running.pipeline), Arc::clone(&running.counters));
    let mut intake = tokio::spawn(listener.run(bound, shutdown.clone()));
    let mut deliver = tokio::spawn(Arc::clone(&running.deliver).run(shutdown.clone()));
    let mut follows = running.follow(config, &shutdown);
    let mut gathering = tokio::spawn(gather::run(Arc::clone(&running.pipeline), shutdown.clone()));
    let heart = running.heart(config, &listening);
    tokio::spawn(Arc::clone(&heart).run(shutdown.clone()));
    let teller = Teller { running: Arc::clone(&running), heart: Arc::clone(&heart) };
    tokio::spawn(Arc::clone(&running.alarm).run(Arc::new(teller), shutdown.clone()));
    let (asked, own, runtime) = (Arc::clone(&running), Arc::clone(&heart), tokio::runtime::Handle::current());
    let answer: control::Answer = Arc::new(move |request, out| match request {
        Request::Heartbeat => Ok(serde_json::to_writer(out, &own.beat_now())?),
        Request::AlarmTest => Ok(serde_json::to_writer(out, &runtime.block_on(asked.alarm.test()))?),
        _ => asked.answer(request, &listening, out),
    });
    let control = tokio::spawn(control::serve(control, answer, shutdown.clone()));
    let watched = Arc::clone(&running);
    tokio::spawn(systemd::supervise(Arc::new(move || watched.line()), shutdown.clone()));
    let measured = Arc::clone(&running);
    let page: metrics::Make = Arc::new(move || metrics::text(&measured.status(&[])));
    let metrics = tokio::spawn(metrics::publish(config.metrics.clone(), scraped, page, shutdown));
    systemd::ready();
    let mut minutely = tokio::time::interval(MINUTELY);
    let name = loop {
        tokio::select! {
            _ = minutely.tick() => {
                let running = Arc::clone(&running);
                tokio::task::spawn_blocking(move || {
                    running.pipeline.announce_expiries();
                    running.note_activity();
                });
            }
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            // Neither ends before it is told to. Without one of them we would only look alive: whoever started us
            // shall do it again.
            _ = &mut intake => return Err(StartError::BrokeOff("intake")),
            _ = &mut deliver => return Err(StartError::BrokeOff("delivery")),
            Some(_) = follows.join_next() => return Err(StartError::BrokeOff("following a log")),
            _ = &mut gathering => return Err(StartError::BrokeOff("gathering")),
            _ = hangup.recv() => {
                let running = Arc::clone(&running);
                // Certificates are read and checked: work for a thread of its own. Its outcome stands in the log.
                tokio::task::spawn_blocking(move || running.reload().is_ok());
            }
        }
    };
    maillog::stopping(name);
    systemd::stopping();
    trigger.fire();
    // What is not finished in time stays in the spool; nothing acknowledged depends on it.
    let _ =
        timeout(DRAIN, async { (intake.await, deliver.await, control.await, metrics.await, follows.join_all().await) })
            .await;
    // No client and no log is left who could add to it. What is not gathered in time lies in the spool singly.
    let pipeline = Arc::clone(&running.pipeline);
    let gathered = tokio::task::spawn_blocking(move || gather::farewell(&pipeline));
    let _ = timeout(FAREWELL, async { (gathering.await, gathered.await) }).await;
    heart.farewell();
    running.note_activity();
    running.spool.history().flush();
    let _ = std::fs::remove_file(&config.control);
    maillog::stopped(running.spool.totals().queued);
    Ok(())
}

/// All parts of the daemon.
struct Running {
    pipeline: Arc<Pipeline>,
    deliver: Arc<Deliver>,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    activity: Activity,
    heartbeats: Arc<Last>,
    alarm: Arc<Alarm>,
    /// Of each followed log.
    gauges: Mutex<Vec<Arc<Gauge>>>,
    since: SystemTime,
    sandbox: Sandbox,
    config: Mutex<Config>,
    reloading: Mutex<()>,
}

impl Running {
    fn open(config: &Config, sandbox: Sandbox) -> Result<Self, StartError> {
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
    fn follow(&self, config: &Config, shutdown: &Shutdown) -> JoinSet<()> {
        let mut follows = JoinSet::new();
        for follow in &config.follows {
            let follower = Follower::new(follow, &config.state, Arc::clone(&self.pipeline), shutdown.clone());
            self.gauges().push(follower.gauge());
            follows.spawn_blocking(move || follower.run());
        }
        follows
    }

    fn gauges(&self) -> MutexGuard<'_, Vec<Arc<Gauge>>> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the configuration file, and what it names, as they are now: all of it, or nothing.
    fn reload(&self) -> Result<(), StartError> {
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

    /// Says once what is in force.
    fn announce(&self, listening: &[String]) {
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
    fn in_force(&self) -> String {
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

    fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heart(self: &Arc<Self>, config: &Config, listening: &[String]) -> Arc<Heart> {
        let watch = Watched { running: Arc::clone(self), listening: listening.to_vec() };
        let (pipeline, spool, last) = (&self.pipeline, &self.spool, Arc::clone(&self.heartbeats));
        Arc::new(Heart::open(&config.state, Arc::clone(pipeline), Arc::clone(spool), Box::new(watch), last))
    }

    fn note_activity(&self) {
        self.activity.note(&self.counters.counts(), &self.deliver.status());
    }

    fn answer(&self, request: Request, listening: &[String], out: &mut dyn Write) -> io::Result<()> {
        match request {
            // These are answered by whom they concern.
            Request::Heartbeat | Request::AlarmTest => Ok(()),
            Request::Status => Ok(serde_json::to_writer(out, &self.status(listening))?),
            Request::Queue(request) => {
                if let queue::Request::Flush { id } = &request {
                    if id.is_none() {
                        gather::flush(&self.pipeline);
                    }
                    self.deliver.flush(id.as_ref());
                }
                let trouble = self.deliver.status().into_iter().find_map(|relay| relay.trouble).unwrap_or_default();
                queue::answer(&self.spool, &request, &trouble, out)
            }
            Request::Log => self.spool.history().copy(out),
            Request::Recent => Ok(serde_json::to_writer(out, &self.deliver.recent())?),
            Request::Reload => Ok(serde_json::to_writer(out, &self.reloaded())?),
        }
    }

    fn reloaded(&self) -> Reloaded {
        match self.reload() {
            Ok(()) => Reloaded::Yes { in_force: self.in_force() },
            Err(error) => Reloaded::No { what: error.to_string(), hint: error.hint(), exit_code: error.exit_code() },
        }
    }

    /// How it is, on one line, after the disk has answered.
    fn line(&self) -> String {
        let disk = self.spool.probe();
        let status = self.status(&[]);
        let disk = disk.err().map_or_else(String::new, |error| format!(", the spool's disk says: {error}"));
        format!("{}{disk}", status.line())
    }

    fn status(&self, listening: &[String]) -> Status {
        self.judged(listening, None, self.alarm.status())
    }

    fn counted(&self) -> Counted {
        Counted { counts: self.counters.counts(), log_lines_dropped: maillog::dropped() }
    }

    /// How it is, by what was counted in the last day, or after `before`, and by what these channels say.
    fn judged(&self, listening: &[String], before: Option<&Counted>, alarm: Vec<AlarmStatus>) -> Status {
        let counted = self.counted();
        let (last_hour, last_day) = self.activity.last(&counted.counts);
        let last_day = before.map_or(last_day, |before| counted.counts.since(&before.counts));
        let mut status = Status {
            format: 1,
            state: State::Ok,
            running: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            listening: listening.to_vec(),
            counts: counted.counts,
            last_hour,
            last_day,
            gathering: self.pipeline.gatherer().status(),
            spool: self.spool.totals(),
            spool_unknown: None,
            relays: self.deliver.status(),
            follows: self.gauges().iter().map(|gauge| gauge.status()).collect(),
            alarm,
            log_lines_dropped: counted.log_lines_dropped - before.map_or(0, |before| before.log_lines_dropped),
            signer: self.pipeline.signer(),
            sandbox: self.sandbox.confinement().clone(),
            certificates: self.pipeline.certificates(),
            recipients: self.recipients(),
            warnings: Vec::new(),
            advice: [self.pipeline.advice(), advice(&self.config())].concat(),
        };
        status.judge(self.pipeline.warnings(), !self.pipeline.can_take());
        status
    }

    fn recipients(&self) -> Vec<RecipientStatus> {
        let mut recipients = self.pipeline.recipients();
        for status in &mut recipients {
            status.last_heartbeat = self.heartbeats.of(&status.recipient);
        }
        recipients
    }
}

/// What is told beside mail.
struct Teller {
    running: Arc<Running>,
    heart: Arc<Heart>,
}

impl alarm::Watch for Teller {
    fn counted(&self) -> Counted {
        self.running.counted()
    }

    fn status(&self, before: &Counted) -> Status {
        self.running.judged(&[], Some(before), Vec::new())
    }

    fn heartbeat(&self, grace: Duration) -> Option<String> {
        // In slots it waits for its turn, which is every other one while there is news.
        let config = self.running.config();
        let slots = config.recipients.iter().filter_map(|recipient| Some(recipient.release.slots()?.every));
        let longest = slots.max().unwrap_or_default();
        drop(config);
        self.heart.trouble(grace + 2 * longest)
    }
}

/// What heartbeats tell of the daemon.
struct Watched {
    running: Arc<Running>,
    listening: Vec<String>,
}

impl Watch for Watched {
    fn status(&self) -> Status {
        self.running.status(&self.listening)
    }

    fn settings(&self) -> Settings {
        Settings::of(&self.running.config(), &self.running.pipeline.signer())
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

/// A directory of mode 0700, its name on the disk. One that others can write to is not ours to trust.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = std::fs::metadata(path)?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "others can write to it (mode {mode:04o}); run: chmod go-w {}",
            path.display()
        )));
    }
    path.parent().map_or(Ok(()), |parent| std::fs::File::open(parent)?.sync_all())
}

/// Settings that work and should be changed.
fn advice(config: &Config) -> Vec<String> {
    let mut advice: Vec<String> = config.relays.iter().flat_map(advice_on).collect();
    if config.heartbeat.is_none() {
        let what = "heartbeat.every is \"off\": nobody notices when alerts stop coming; set it to \"24h\"";
        advice.push(what.to_owned());
    }
    if swap_is_possible() {
        advice.push(
            "this machine swaps, and alerts in memory may reach the disk: set MemorySwapMax=0 in the unit".to_owned(),
        );
    }
    advice
}

fn advice_on(relay: &Relay) -> Vec<String> {
    let name = relay.name();
    let pins = if let Trust::Pins(pins) = &relay.trust { pins.as_slice() } else { &[] };
    let sha1 = pins.iter().filter(|pin| matches!(pin, TlsPin::Sha1(_)));
    let sha1 = sha1.map(|pin| {
        format!("relay {name}: {pin} rests on SHA-1; `sealrelay check` prints the sha256: pin to put instead")
    });
    let no_login = relay.login.is_none();
    let no_login = no_login.then(|| format!("relay {name}: no username is set, so it gets mail without a login"));
    sha1.chain(no_login).collect()
}

/// There is swap, and no control group keeps this process from it.
fn swap_is_possible() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    // Not /proc/swaps, which the unit hides.
    let is_there = rustix::system::sysinfo().totalswap > 0;
    let group = read("/proc/self/cgroup");
    let group = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let limit = read(&format!("/sys/fs/cgroup{}/memory.swap.max", group.trim_end_matches('/')));
    is_there && limit.trim() != "0"
}
