//! Takes connections, within limits, and makes room when there is none.
//!
//! Guarantees: clients wait in the kernel's backlog rather than being refused; a session is only closed for another if
//! it has waited more than [`IDLE_ENOUGH`] for its client, or if none has and it has handed in nothing for
//! [`SLOW_ENOUGH`]; never while its end of data is answered. `421` in the banner comes only after [`NO_ROOM_FOR`], or
//! when nothing can be sealed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::places::Places;
use super::reply;
use super::session::{Activity, Intake, serve};
use crate::config::Listen;
use crate::maillog;
use crate::pipeline::Pipeline;
use crate::shutdown::Shutdown;
use crate::status::Counters;

/// Connections the kernel keeps for us (bounded by net.core.somaxconn).
const BACKLOG: u32 = 1024;
/// A session that has waited longer for its client may be closed to make room.
const IDLE_ENOUGH: Duration = Duration::from_secs(2);
/// A session that has handed in no mail for longer may be closed to make room when none is silent: whoever sends an
/// octet a second would otherwise keep every place. Honest clients need less than a second.
const SLOW_ENOUGH: Duration = Duration::from_secs(5);
/// How long a client waits for a place before it is told that there is none.
const NO_ROOM_FOR: Duration = Duration::from_secs(20);
/// How often room is looked for while there is none.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(100);

/// Sockets that are bound.
pub struct Bound(Vec<TcpListener>);

/// Binds all of `addresses`. One whose address family or address is not there (IPv6 switched off) is passed over if
/// another one is bound.
///
/// # Errors
/// An address is in use or not allowed, or none is there; with the address.
pub fn bind(addresses: &[SocketAddr]) -> Result<Bound, (SocketAddr, io::Error)> {
    let mut bound = Vec::new();
    let mut passed_over = None;
    for &address in addresses {
        match bind_one(address) {
            Ok(listener) => bound.push(listener),
            Err(error) if address.is_ipv6() && is_absent(&error) => {
                maillog::not_listening(&address.to_string(), &error.to_string());
                passed_over = Some((address, error));
            }
            Err(error) => return Err((address, error)),
        }
    }
    match passed_over {
        Some(trouble) if bound.is_empty() => Err(trouble),
        _ => Ok(Bound(bound)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error
        .raw_os_error()
        .is_some_and(|code| code == Errno::ADDRNOTAVAIL.raw_os_error() || code == Errno::AFNOSUPPORT.raw_os_error())
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the last run to time out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Bound {
    /// Where we really listen, port 0 resolved.
    pub fn addresses(&self) -> Vec<String> {
        self.0.iter().filter_map(|listener| listener.local_addr().ok()).map(|address| address.to_string()).collect()
    }
}

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
        for listener in bound.0 {
            loops.spawn(Arc::clone(&this).accept(listener, shutdown.clone()));
        }
        while loops.join_next().await.is_some() {}
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, mut shutdown: Shutdown) {
        let mut sessions = JoinSet::new();
        let mut is_hindered = false;
        loop {
            let accepted = tokio::select! {
                () = shutdown.wait() => break,
                accepted = listener.accept() => accepted,
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
    async fn admit(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        shutdown: Shutdown,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        // Without it a reply could wait 40 ms for an acknowledgement.
        let _ = stream.set_nodelay(true);
        if !self.may_connect(peer.ip()) {
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

    fn may_connect(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_loopback() || self.intake.limits.networks.iter().any(|network| network.contains(&peer))
    }

    async fn turn_away<T>(&self, mut stream: TcpStream, peer: SocketAddr, banner: &str) -> Option<T> {
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

    /// Closes the session that has waited longest for its client, if that is long enough. If all clients say just
    /// enough not to be silent, the one that has handed in nothing for longest.
    fn make_room(&self) {
        let before = |age: Duration| u64::try_from(self.clock.elapsed().saturating_sub(age).as_millis()).unwrap_or(0);
        let (silent, slow) = (before(IDLE_ENOUGH), before(SLOW_ENOUGH));
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = || active.values().filter(|activity| activity.waiting_since.load(Ordering::Relaxed) > 0);
        let oldest = |since: fn(&Activity) -> u64, limit| {
            waiting()
                .map(|activity| (since(activity), activity))
                .filter(|(at, _)| *at < limit)
                .min_by_key(|(at, _)| *at)
        };
        let longest = oldest(|activity| activity.waiting_since.load(Ordering::Relaxed), silent)
            .or_else(|| oldest(|activity| activity.progress_at.load(Ordering::Relaxed), slow));
        if let Some((_, longest)) = longest {
            // Only whoever waits right now hears this: a call kept for later would close a client that has spoken.
            longest.make_room.notify_waiters();
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
