//! Takes connections, within limits, and makes room when there is none.
//!
//! Guarantees: clients wait in the kernel's backlog rather than being refused; a session is only closed for another if
//! it is silent or slow (see `room`), never while its end of data is answered. `421` in the banner comes only after
//! [`NO_ROOM_FOR`], or when nothing can be sealed or the spool has no room.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::door::{Door, Peer};
use super::owner;
use super::places::Places;
use super::reply;
use super::room::{self, Activity, LOOK_FOR_ROOM};
use super::session::{Client, Intake, serve};
use super::sockets::Bound;
use crate::config::Listen;
use crate::maillog;
use crate::pipeline::Pipeline;
use crate::shutdown::Shutdown;
use crate::status::Counters;

/// File descriptors of everything but sessions: runtime, log, lock, control socket, deliveries.
const OTHER_FILES: usize = 40;
/// File descriptors a session may need at once: its socket, a file it writes, and directories it syncs.
const FILES_OF_A_SESSION: usize = 4;
/// How long a client waits for a place before it is told that there is none.
const NO_ROOM_FOR: Duration = Duration::from_secs(20);

/// Takes connections and serves them.
pub struct Listener {
    intake: Arc<Intake>,
    sessions: Arc<Sessions>,
}

/// The sessions under way.
struct Sessions {
    places: Arc<Semaphore>,
    active: Mutex<HashMap<u64, Arc<Activity>>>,
    clock: Instant,
}

impl Listener {
    /// With `limits`; mails go to `pipeline`.
    pub fn new(limits: Listen, pipeline: Arc<Pipeline>, counters: Arc<Counters>) -> Self {
        let sessions = Sessions {
            places: Arc::new(Semaphore::new(within_file_limit(limits.sessions))),
            active: Mutex::default(),
            clock: Instant::now(),
        };
        let places = Places::new(limits.memory, limits.sessions, limits.message_size);
        Self { intake: Arc::new(Intake { pipeline, limits, places, counters }), sessions: Arc::new(sessions) }
    }

    /// Serves clients of `bound` until `shutdown`, then waits for the sessions under way.
    pub async fn run(self, bound: Bound, shutdown: Shutdown) {
        let this = Arc::new(self);
        let mut loops = JoinSet::new();
        let (listeners, door) = bound.into_doors();
        for listener in listeners {
            loops.spawn(Arc::clone(&this).accept(listener, shutdown.clone()));
        }
        if let Some(door) = door {
            loops.spawn(Arc::clone(&this).accept(door, shutdown.clone()));
        }
        while loops.join_next().await.is_some() {}
    }

    async fn accept(self: Arc<Self>, listener: impl Door, mut shutdown: Shutdown) {
        let mut sessions = JoinSet::new();
        let mut is_hindered = false;
        loop {
            let accepted = tokio::select! {
                () = shutdown.wait() => break,
                accepted = listener.next() => accepted,
                // Keeps the set from growing with what is finished.
                Some(_) = sessions.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    is_hindered = false;
                    if let Some(session) = self.admit(stream, peer, shutdown.clone()).await {
                        sessions.spawn(session);
                    }
                }
                // Out of file descriptors: nothing is lost, clients wait in the backlog.
                Err(error) => {
                    // Said once, not ten times a second until it is over.
                    if !std::mem::replace(&mut is_hindered, true) {
                        maillog::hindered("a connection cannot be taken yet", &error.to_string());
                    }
                    self.sessions.make_room();
                    sleep(LOOK_FOR_ROOM).await;
                }
            }
        }
        drop(listener);
        while sessions.join_next().await.is_some() {}
    }

    /// Finds a place for a client, or tells it why there is none.
    async fn admit<T: Client + 'static>(
        self: &Arc<Self>,
        stream: T,
        peer: Peer,
        shutdown: Shutdown,
    ) -> Option<impl Future<Output = ()> + Send + use<T>> {
        if !self.may_connect(&peer) || !self.owner_may_connect(&peer).await {
            return self.turn_away(stream, peer, reply::NOT_FOR_YOU).await;
        }
        let Some(place) = self.sessions.place().await else {
            return self.turn_away(stream, peer, reply::NO_ROOM).await;
        };
        if !self.intake.pipeline.can_take() {
            return self.turn_away(stream, peer, reply::CANNOT_TAKE).await;
        }
        let (intake, sessions) = (Arc::clone(&self.intake), Arc::clone(&self.sessions));
        Some(async move {
            let (number, activity) = sessions.enter();
            serve(stream, peer.to_string(), &intake, &activity, sessions.clock, shutdown).await;
            sessions.leave(number);
            drop(place);
        })
    }

    fn may_connect(&self, peer: &Peer) -> bool {
        // The socket's mode has let a local peer in already.
        let Peer::Network { client, .. } = peer else { return true };
        let client = client.ip().to_canonical();
        client.is_loopback() || self.intake.limits.networks.iter().any(|network| network.contains(&client))
    }

    /// With `allow_users`, a local client must belong to one of them.
    async fn owner_may_connect(&self, peer: &Peer) -> bool {
        let allowed = &self.intake.limits.allow_users;
        if allowed.is_empty() {
            return true;
        }
        match *peer {
            Peer::Local { uid, .. } => allowed.contains(&uid),
            Peer::Network { client, .. } if !client.ip().to_canonical().is_loopback() => true,
            Peer::Network { client, server } => {
                // The kernel's tables are files of some size.
                let owner = tokio::task::spawn_blocking(move || owner::of(client, server)).await.ok().flatten();
                owner.is_some_and(|uid| allowed.contains(&uid))
            }
        }
    }

    async fn turn_away<T>(&self, mut stream: impl Client, peer: Peer, banner: &str) -> Option<T> {
        self.intake.counters.not_taken.up();
        maillog::not_accepted(&peer.to_string(), banner, "see the reply");
        let goodbye = async {
            stream.write_all(format!("{banner}\r\n").as_bytes()).await?;
            stream.shutdown().await
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
        None
    }
}

/// As many of `sessions` as the limit on open files has room for: with none left, a mail whose end of data has come
/// could not be written, and 451 loses it. A client that waits in the backlog loses nothing.
fn within_file_limit(sessions: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let room = (limit.saturating_sub(OTHER_FILES) / FILES_OF_A_SESSION).max(1);
    if room < sessions {
        maillog::advice(&format!(
            "{limit} open files have room for {room} sessions only: raise LimitNOFILE in the unit"
        ));
    }
    sessions.min(room)
}

impl Sessions {
    /// A place for one session, made free if need be; `None` if there was none for [`NO_ROOM_FOR`].
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let give_up = Instant::now() + NO_ROOM_FOR;
        loop {
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => return Some(place),
                Err(_) if Instant::now() >= give_up => return None,
                Err(_) => self.make_room(),
            }
            let wait = Arc::clone(&self.places).acquire_owned();
            if let Ok(Ok(place)) = tokio::time::timeout(LOOK_FOR_ROOM, wait).await {
                return Some(place);
            }
        }
    }

    fn make_room(&self) {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        room::make(active.values(), self.clock);
    }

    fn enter(&self) -> (u64, Arc<Activity>) {
        let activity = Arc::new(Activity::default());
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let number = active.keys().max().map_or(0, |last| last + 1);
        active.insert(number, Arc::clone(&activity));
        (number, activity)
    }

    fn leave(&self, number: u64) {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }
}
