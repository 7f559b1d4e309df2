//! The connection of one session: octets in, replies out, each within its time.
//!
//! Guarantees: every wait has a limit, and ends when the place is needed or the daemon ends; but an end of data is answered
//! whoever else waits. Every reply is one write. On failure the session is over, and [`End`] says why. An attacker controls
//! what comes, how slowly, and whether our replies are read.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::super::reply;
use super::super::room::Activity;
use crate::shutdown::Shutdown;

/// How long a client may be silent once the daemon is ending.
const WHILE_ENDING: Duration = Duration::from_secs(3);
/// How long a client may leave a reply unread; only one that has left thousands unread ever makes us wait.
const REPLY_PATIENCE: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Octets read at once.
const CHUNK: usize = 16 * 1024;

/// The stream to a client.
pub trait Client: AsyncRead + AsyncWrite + Unpin + Send {
    /// Whether octets wait to be read at this very moment.
    fn has_octets(&self) -> bool;
}

impl Client for tokio::net::TcpStream {
    fn has_octets(&self) -> bool {
        octets_wait_in(self)
    }
}

impl Client for tokio::net::UnixStream {
    fn has_octets(&self) -> bool {
        octets_wait_in(self)
    }
}

/// Asked of the kernel, because tokio only learns of new octets when its own loop has turned.
fn octets_wait_in(socket: impl std::os::fd::AsFd) -> bool {
    use rustix::net::{RecvFlags, recv};
    let mut octet = [0_u8; 1];
    matches!(recv(socket, &mut octet, RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok((1, _)))
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Quit,
    Closed,
    TimedOut,
    MadeRoom,
    Stopping,
    TooManyBad,
}

impl End {
    /// What the client is told, if it was not told already.
    fn goodbye(self) -> Option<&'static str> {
        match self {
            Self::Quit | Self::Closed => None,
            Self::TimedOut => Some(reply::TIMEOUT),
            Self::MadeRoom => Some(reply::MADE_ROOM),
            Self::Stopping => Some(reply::STOPPING),
            Self::TooManyBad => Some(reply::TOO_MANY_BAD),
        }
    }
}

/// A client's connection, and what others see of it.
pub struct Connection<'a, S> {
    pub stream: S,
    pub activity: &'a Arc<Activity>,
    /// The listener's.
    pub clock: Instant,
    pub shutdown: Shutdown,
}

impl<S: Client> Connection<'_, S> {
    /// Some octets, at least one.
    ///
    /// # Errors
    /// None came until `deadline`, or the session is over for another reason.
    pub async fn read(&mut self, deadline: Instant) -> Result<Vec<u8>, End> {
        let mut chunk = vec![0; CHUNK];
        let read = self.stream.read(&mut chunk);
        let count = attend(self.activity, self.clock, &self.shutdown, deadline, read).await?.unwrap_or(0);
        if count == 0 {
            return Err(End::Closed);
        }
        chunk.truncate(count);
        Ok(chunk)
    }

    /// What comes until `until`: octets, nothing (`None`), or the end of the stream (empty).
    pub async fn read_within_gap(&mut self, until: Instant) -> Option<Vec<u8>> {
        let mut chunk = vec![0; CHUNK];
        // What waits already counts even when the gap is zero or over.
        let until = if self.stream.has_octets() { Instant::now() + Duration::from_secs(1) } else { until };
        match timeout_at(until, self.stream.read(&mut chunk)).await {
            Err(_) => None,
            Ok(read) => {
                chunk.truncate(read.unwrap_or(0));
                Some(chunk)
            }
        }
    }

    /// One reply in one write. A client that does not read it may be closed to make room.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn say(&mut self, reply: &str) -> Result<(), End> {
        let deadline = Instant::now() + REPLY_PATIENCE;
        let line = format!("{reply}\r\n");
        let write = self.stream.write_all(line.as_bytes());
        attend(self.activity, self.clock, &self.shutdown, deadline, write).await?.map_err(|_| End::Closed)
    }

    /// The reply to an end of data, in one write. Never broken off to make room.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn answer(&mut self, reply: &str) -> Result<(), End> {
        self.activity.has_progress(self.clock);
        let line = format!("{reply}\r\n");
        match timeout(REPLY_PATIENCE, self.stream.write_all(line.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Closed),
            Err(_) => Err(End::TimedOut),
        }
    }

    /// Says goodbye, and closes.
    pub async fn close(mut self, end: End) {
        if let Some(goodbye) = end.goodbye() {
            let _ = timeout(GOODBYE, self.say(goodbye)).await;
        }
        let _ = timeout(GOODBYE, self.stream.shutdown()).await;
    }
}

/// Waits for the client, for its octets or until it takes ours: until `deadline`, or until its place or its time is
/// needed.
async fn attend<T>(
    activity: &Activity,
    clock: Instant,
    shutdown: &Shutdown,
    deadline: Instant,
    client: impl Future<Output = T>,
) -> Result<T, End> {
    let mut ending = shutdown.clone();
    activity.begins_to_wait(clock);
    let outcome = tokio::select! {
        // What the client has done by now counts before whatever would end its session.
        biased;
        done = client => Ok(done),
        () = activity.must_make_room() => Err(End::MadeRoom),
        () = sleep_until(deadline) => Err(End::TimedOut),
        () = async {
            ending.wait().await;
            sleep(WHILE_ENDING).await;
        } => Err(End::Stopping),
    };
    activity.waits_no_more();
    outcome
}
