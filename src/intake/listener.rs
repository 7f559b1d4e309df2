//! Takes connections, within limits, and makes room when there is none.
//!
//! Guarantees: clients wait in the kernel's backlog rather than being refused; a session is only closed for another if
//! it has waited more than [`IDLE_ENOUGH`] for its client, never while its end of data is answered. `421` in the banner
//! comes only after [`NO_ROOM_FOR`], or when nothing can be sealed.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
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
use super::session::{Activity, Client, Intake, serve};
use super::sockets::Bound;
use crate::config::Listen;
use crate::maillog;
use crate::pipeline::Pipeline;
use crate::shutdown::Shutdown;
use crate::status::Counters;

/// A session that has waited longer for its client may be closed to make room.
const IDLE_ENOUGH: Duration = Duration::from_secs(2);
/// How long a client waits for a place before it is told that there is none.
const NO_ROOM_FOR: Duration = Duration::from_secs(20);
/// How often room is looked for while there is none.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(100);

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
            places: Arc::new(Semaphore::new(limits.sessions)),
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
        loop {
            let accepted = tokio::select! {
                () = shutdown.wait() => break,
                accepted = listener.next() => accepted,
                // Keeps the set from growing with what is finished.
                Some(_) = sessions.join_next() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(session) = self.admit(stream, peer, shutdown.clone()).await {
                        sessions.spawn(session);
                    }
                }
                // Out of file descriptors: nothing is lost, clients wait in the backlog.
                Err(error) => {
                    maillog::hindered("a connection cannot be taken yet", &error.to_string());
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
        if !self.intake.pipeline.can_seal() {
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

    /// Closes the session that has waited longest for its client, if that is long enough.
    fn make_room(&self) {
        let now = u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX);
        let enough = u64::try_from(IDLE_ENOUGH.as_millis()).unwrap_or(u64::MAX);
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = active.values().filter_map(|activity| {
            let since = activity.waiting_since.load(Ordering::Relaxed);
            (since > 0 && now.saturating_sub(since) > enough).then_some((since, activity))
        });
        if let Some((_, longest)) = waiting.min_by_key(|(since, _)| *since) {
            longest.make_room.notify_one();
        }
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
