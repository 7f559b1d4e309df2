//! `sealrelay run`: start-up order, tasks, signals, the end.
//!
//! Guarantees: whatever must be there (configuration, trust, certificates, key, spool) is there before the first
//! client is taken; a doubtful setting stops the start. At SIGTERM no client is taken any more, replies under way are
//! finished, deliveries end cleanly within [`DRAIN`], and nothing is lost if they do not.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::config::{Config, ConfigError, TlsPin, Trust};
use crate::control::{self, Request};
use crate::deliver::Deliver;
use crate::intake::{self, HandedOver, Listener};
use crate::maillog;
use crate::pipeline::Pipeline;
use crate::queue;
use crate::seal::{Sealer, Signer, SignerError, Unusable};
use crate::shutdown;
use crate::spool::{Spool, SpoolError};
use crate::status::{Counters, State, Status};
use crate::tls::{Tls, TrustError, TrustStore};

/// How long the end may take.
const DRAIN: Duration = Duration::from_secs(30);

/// How long a queue command may hold the spool while the daemon starts.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Why the daemon does not start.
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
            Self::BrokeOff(_) => {
                "This is a fault of sealrelay, please report it. What was accepted is in the spool.".to_owned()
            }
            Self::System(_) => "Look at this machine's limits on processes and memory.".to_owned(),
        }
    }

    /// The sysexits code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Trust(_) | Self::Certificate(_) => 78,
            Self::Signer(SignerError::File { .. }) | Self::State(..) | Self::Control(..) => 73,
            Self::Signer(_) => 78,
            Self::Spool(SpoolError::InUse(_)) => 75,
            Self::Spool(_) => 73,
            Self::Bind(_, error) if error.kind() == io::ErrorKind::PermissionDenied => 77,
            Self::Bind(..) => 69,
            Self::BrokeOff(_) => 70,
            Self::System(_) => 71,
        }
    }
}

/// Runs the daemon until it is told to end, on the sockets in `handed` or on its own.
///
/// # Errors
/// It cannot start.
pub fn run(config: &Config, handed: &HandedOver) -> Result<(), StartError> {
    // Memory holds alerts and the password: none of it may reach the disk by a core dump.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)
        .map_err(|error| StartError::System(error.into()))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // The usual report of a panic quotes what was being handled, which may be an alert.
    std::panic::set_hook(Box::new(|panic| {
        maillog::broke_off(&panic.location().map_or_else(String::new, ToString::to_string));
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(StartError::System)?;
    let outcome = runtime.block_on(serve(config, handed));
    // A blocking task that hangs on a dead disk must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

async fn serve(config: &Config, handed: &HandedOver) -> Result<(), StartError> {
    let running = Running::open(config)?;
    // Before the first client: a signal that comes earlier ends the process, which has promised nothing yet.
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::System)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::System)?;
    let bound =
        intake::bind(handed, &config.listen.addresses).map_err(|(address, error)| StartError::Bind(address, error))?;
    let bound = bound.and_socket(handed, config.listen.socket.as_deref());
    let control = control::bind(&config.control).map_err(|error| StartError::Control(config.control.clone(), error))?;
    let (trigger, shutdown) = shutdown::channel();
    let listening = bound.addresses();
    running.announce(config, &listening);
    let listener = Listener::new(config.listen.clone(), Arc::clone(&running.pipeline), Arc::clone(&running.counters));
    let mut intake = tokio::spawn(listener.run(bound, shutdown.clone()));
    let mut deliver = tokio::spawn(Arc::clone(&running.deliver).run(shutdown.clone()));
    let spool = Arc::clone(&running.spool);
    let answer: control::Answer = Arc::new(move |request, out| running.answer(request, &listening, out));
    let control = tokio::spawn(control::serve(control, answer, shutdown));
    let name = loop {
        tokio::select! {
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            // Neither ends before it is told to. Without one of them we would only look alive: whoever started us
            // shall do it again.
            _ = &mut intake => return Err(StartError::BrokeOff("intake")),
            _ = &mut deliver => return Err(StartError::BrokeOff("delivery")),
            _ = hangup.recv() => maillog::advice("SIGHUP: a changed configuration is read at the next start"),
        }
    };
    maillog::stopping(name);
    trigger.fire();
    // What is not finished in time stays in the spool; nothing acknowledged depends on it.
    let _ = timeout(DRAIN, async { (intake.await, deliver.await, control.await) }).await;
    let _ = std::fs::remove_file(&config.control);
    maillog::stopped(spool.totals().queued);
    Ok(())
}

/// All parts of the daemon.
struct Running {
    pipeline: Arc<Pipeline>,
    deliver: Arc<Deliver>,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    since: SystemTime,
    advice: Vec<String>,
}

impl Running {
    fn open(config: &Config) -> Result<Self, StartError> {
        let state = |error| StartError::State(config.state.clone(), error);
        make_private(&config.state).map_err(state)?;
        make_private(&config.spool).map_err(|source| SpoolError::Unusable { path: config.spool.clone(), source })?;
        let tls = Tls::new(TrustStore::load(&config.relays[0].trust)?);
        let signer = Signer::open(&config.state, &config.sender.address)?;
        let sealer = Sealer::open(config, signer, SystemTime::now())?;
        let spool = Arc::new(Spool::open(config, LOCK_PATIENCE)?);
        let counters = Arc::new(Counters::default());
        Ok(Self {
            pipeline: Arc::new(Pipeline::new(config, sealer, Arc::clone(&spool), Arc::clone(&counters))),
            deliver: Arc::new(Deliver::new(config, tls, Arc::clone(&spool), Arc::clone(&counters))),
            spool,
            counters,
            since: SystemTime::now(),
            advice: advice(config),
        })
    }

    /// Says once what is in force.
    fn announce(&self, config: &Config, listening: &[String]) {
        let to: Vec<&str> = config.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
        let relay = &config.relays[0];
        maillog::started(
            env!("CARGO_PKG_VERSION"),
            &format!(
                "sender=<{}>, recipients={}, relay={}:{}, tls={:?}, trust={:?}, login={}, spool={}, queued={}, signer={}",
                config.sender.address,
                to.join(","),
                relay.host,
                relay.port,
                relay.tls,
                relay.trust,
                if relay.login.is_some() { "yes" } else { "no" },
                config.spool.display(),
                self.spool.totals().queued,
                self.pipeline.signer(),
            ),
        );
        listening.iter().for_each(|address| maillog::listening(address));
        self.advice.iter().chain(&self.pipeline.warnings()).for_each(|text| maillog::advice(text));
    }

    fn answer(&self, request: Request, listening: &[String], out: &mut dyn Write) -> io::Result<()> {
        match request {
            Request::Status => Ok(serde_json::to_writer(out, &self.status(listening))?),
            Request::Queue(request) => {
                if let queue::Request::Flush { id } = &request {
                    self.deliver.flush(id.as_ref());
                }
                let trouble = self.deliver.status().trouble.unwrap_or_default();
                queue::answer(&self.spool, &request, &trouble, out)
            }
        }
    }

    fn status(&self, listening: &[String]) -> Status {
        let mut status = Status {
            format: 1,
            state: State::Ok,
            running: true,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            listening: listening.to_vec(),
            counts: self.counters.counts(),
            spool: self.spool.totals(),
            relays: vec![self.deliver.status()],
            signer: self.pipeline.signer(),
            warnings: Vec::new(),
        };
        let other = [self.advice.clone(), self.pipeline.warnings()].concat();
        status.judge(&self.counters, other, !self.pipeline.can_take());
        status
    }
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
    let mut advice = Vec::new();
    if let Trust::Pins(pins) = &config.relays[0].trust {
        let sha1 = pins.iter().filter(|pin| matches!(pin, TlsPin::Sha1(_)));
        advice.extend(sha1.map(|pin| {
            format!("relay.pins: {pin} rests on SHA-1; `sealrelay check` prints the sha256: pin to put instead")
        }));
    }
    if config.relays[0].login.is_none() {
        advice.push("relay.username is not set: the relay host gets mail without a login".to_owned());
    }
    if swap_is_possible() {
        advice.push(
            "this machine swaps, and alerts in memory may reach the disk: set MemorySwapMax=0 in the unit".to_owned(),
        );
    }
    advice
}

/// There is swap, and no control group keeps this process from it.
fn swap_is_possible() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let is_there = read("/proc/swaps").lines().count() > 1;
    let group = read("/proc/self/cgroup");
    let group = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let limit = read(&format!("/sys/fs/cgroup{}/memory.swap.max", group.trim_end_matches('/')));
    is_there && limit.trim() != "0"
}
