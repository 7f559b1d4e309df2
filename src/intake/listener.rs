//! Takes connections, within limits, and makes room when there is none.
//!
//! Guarantees: clients wait in the kernel's backlog rather than being refused; a session is only closed for another if
//! it is silent or slow (see `room`), never while its end of data is answered. `421` in the banner comes only after
//! [`NO_ROOM_FOR`], or when nothing can be sealed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::places::Places;
use super::reply;
use super::room::{self, Activity, LOOK_FOR_ROOM};
use super::session::{Intake, serve};
use crate::config::Listen;
use crate::maillog;
use crate::pipeline::Pipeline;
use crate::shutdown::Shutdown;
use crate::status::Counters;

/// File descriptors of everything but sessions: runtime, log, lock, control socket, deliveries.
const OTHER_FILES: usize = 40;
/// File descriptors a session may need at once: its socket, a file it writes, and directories it syncs.
const FILES_OF_A_SESSION: usize = 4;
/// Connections the kernel keeps for us (bounded by net.core.somaxconn).
const BACKLOG: u32 = 1024;
/// How long a client waits for a place before it is told that there is none.
const NO_ROOM_FOR: Duration = Duration::from_secs(20);

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
