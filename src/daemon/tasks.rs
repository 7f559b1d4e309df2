//! What the daemon does at the same time: its doors, its signals, and a task for each part.
//!
//! Guarantees: no task is started before every door is open. A part that alerts depend on and that ends before it is told
//! to ends the daemon; the others may, and are missed by whoever listens to them. At the end intake goes first, then
//! whatever adds to the spool, then what waits to be gathered; each has its time, and what is not finished in time lies
//! in the spool. An attacker can keep a door busy, not this.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{interval, timeout};

use super::StartError;
use super::answers::Answers;
use super::running::Running;
use super::state::{Teller, Watched};
use crate::config::Config;
use crate::heartbeat::Heart;
use crate::intake::{self, HandedOver, Listener};
use crate::shutdown::Shutdown;
use crate::unix_socket::{self, Reach};
use crate::{control, gather, metrics, systemd};

/// How long the end may take.
pub const DRAIN: Duration = Duration::from_secs(30);

/// How long digests of what still waits may take then.
const FAREWELL: Duration = Duration::from_secs(10);

/// How often the certificates' ends are looked at, and the counters noted.
const MINUTELY: Duration = Duration::from_secs(60);

/// What others come in by.
pub struct Doors {
    intake: intake::Bound,
    control: UnixListener,
    metrics: metrics::Bound,
}

impl Doors {
    /// Takes the sockets in `handed` for clients, or opens those of `config`; opens all others.
    ///
    /// # Errors
    /// One cannot be opened.
    pub async fn open(config: &Config, handed: &HandedOver) -> Result<Self, StartError> {
        let bound = intake::bind(handed, &config.listen.addresses)
            .map_err(|(address, error)| StartError::Bind(address, error))?;
        Ok(Self {
            intake: bound.and_socket(handed, config.listen.socket.as_deref()),
            control: unix_socket::bind(&config.control, Reach::Group)
                .map_err(|error| StartError::Control(config.control.clone(), error))?,
            metrics: metrics::bind(&config.metrics).await.map_err(|(name, error)| StartError::Metrics(name, error))?,
        })
    }

    /// Where clients come in.
    pub fn listening(&self) -> Vec<String> {
        self.intake.addresses()
    }
}

/// What the daemon is told by its operator and its supervisor.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they no longer end the process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// The tasks that are waited for.
pub struct Tasks {
    intake: JoinHandle<()>,
    deliver: JoinHandle<()>,
    follows: JoinSet<()>,
    gathering: JoinHandle<()>,
    control: JoinHandle<()>,
    metrics: JoinHandle<()>,
    heart: Arc<Heart>,
}

impl Tasks {
    /// Starts all of them, behind these `doors`. Each ends at `shutdown`.
    pub fn start(running: &Arc<Running>, config: &Config, doors: Doors, shutdown: &Shutdown) -> Self {
        let listening = doors.listening();
        let pipeline = || Arc::clone(&running.pipeline);
        let listener = Listener::new(config.listen.clone(), pipeline(), Arc::clone(&running.counters));
        let intake = tokio::spawn(listener.run(doors.intake, shutdown.clone()));
        let deliver = tokio::spawn(Arc::clone(&running.deliver).run(shutdown.clone()));
        let follows = running.follow(config, shutdown);
        let gathering = tokio::spawn(gather::run(pipeline(), shutdown.clone()));
        let watched = Watched { running: Arc::clone(running), listening: listening.clone() };
        let heart = running.heart(config, watched);
        tokio::spawn(Arc::clone(&heart).run(shutdown.clone()));
        let teller = Teller { running: Arc::clone(running), heart: Arc::clone(&heart) };
        tokio::spawn(Arc::clone(&running.alarm).run(Arc::new(teller), shutdown.clone()));
        let answers =
            Answers { running: Arc::clone(running), heart: Arc::clone(&heart), listening, runtime: Handle::current() };
        let answer: control::Answer = Arc::new(move |request, out| answers.answer(request, out));
        let control = tokio::spawn(control::serve(doors.control, answer, shutdown.clone()));
        let own = Arc::clone(running);
        tokio::spawn(systemd::supervise(Arc::new(move || own.line()), shutdown.clone()));
        let own = Arc::clone(running);
        let page: metrics::Make = Arc::new(move || metrics::text(&own.status(&[])));
        let metrics = tokio::spawn(metrics::publish(config.metrics.clone(), doors.metrics, page, shutdown.clone()));
        Self { intake, deliver, follows, gathering, control, metrics, heart }
    }

    /// Returns the name of the signal that tells the daemon to end; does what comes up until then.
    ///
    /// # Errors
    /// A part ended that alerts depend on.
    pub async fn attend(&mut self, running: &Arc<Running>, signals: &mut Signals) -> Result<&'static str, StartError> {
        let mut minutely = interval(MINUTELY);
        loop {
            let running = Arc::clone(running);
            tokio::select! {
                _ = minutely.tick() => {
                    spawn_blocking(move || {
                        running.pipeline.announce_expiries();
                        running.note_activity();
                    });
                }
                _ = signals.terminate.recv() => return Ok("SIGTERM"),
                _ = signals.interrupt.recv() => return Ok("SIGINT"),
                // Certificates are read and checked: work for a thread of its own. Its outcome stands in the log.
                _ = signals.hangup.recv() => {
                    spawn_blocking(move || running.reload().is_ok());
                }
                // None of these ends before it is told to. Without one of them we would only look alive: whoever
                // started us shall do it again.
                _ = &mut self.intake => return Err(StartError::BrokeOff("intake")),
                _ = &mut self.deliver => return Err(StartError::BrokeOff("delivery")),
                Some(_) = self.follows.join_next() => return Err(StartError::BrokeOff("following a log")),
                _ = &mut self.gathering => return Err(StartError::BrokeOff("gathering")),
            }
        }
    }

    /// Waits for the tasks, which have been told to end, and writes down what this process counted.
    pub async fn end(self, running: &Running) {
        let Self { intake, deliver, follows, gathering, control, metrics, heart } = self;
        // What is not finished in time stays in the spool; nothing acknowledged depends on it.
        let _ = timeout(DRAIN, async {
            (intake.await, deliver.await, control.await, metrics.await, all_ended(follows).await)
        })
        .await;
        // No client and no log is left who could add to it. What is not gathered in time lies in the spool singly.
        let pipeline = Arc::clone(&running.pipeline);
        let gathered = spawn_blocking(move || gather::farewell(&pipeline));
        let _ = timeout(FAREWELL, async { (gathering.await, gathered.await) }).await;
        heart.farewell();
        running.note_activity();
        running.spool.history().flush();
    }
}

/// Waits until all of `tasks` have ended. One that breaks off now is no reason to leave out what follows.
async fn all_ended(mut tasks: JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_breaks_off_at_the_end_does_not_break_off_the_end() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async { panic!("a fault") });
        tasks.spawn(async {});
        all_ended(tasks).await;
    }
}
