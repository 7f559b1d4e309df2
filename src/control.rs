//! The control socket: `status` and `queue` ask the running daemon through it.
//!
//! One request, a line of JSON, then one answer, written as it is made, up to the end of the stream: a listing of a
//! hundred thousand entries is never in memory. The socket is open to its owner and group only. Requests, answers' time
//! and peers at once are bounded; a broken peer is harmless. On failure to serve it the daemon goes on: alerts do not
//! depend on it. A local user of the group can do what an operator can: ask, flush, hold, retry, remove; it reads sealed
//! messages only.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::net;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::maillog;
use crate::queue;
use crate::shutdown::Shutdown;

/// The longest request, octets.
const REQUEST_LIMIT: u64 = 4096;
/// How long a peer may take for its request, and for reading each part of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a peer may take for reading the whole answer: a slow one must not keep its place for ever.
const WHOLE_ANSWER: Duration = Duration::from_secs(60);
/// How long the daemon may take for an answer: a hundred thousand entries are moved in less.
const WORK: Duration = Duration::from_secs(600);
/// Peers at once.
const PEERS: usize = 8;

/// What can be asked.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// How it is.
    Status,
    /// Something about the spool.
    Queue(queue::Request),
    /// Read the configuration again.
    Reload,
    /// What became of the last messages.
    Recent,
    /// The history of the last entries, a line of JSON for each event, and [`crate::spool::HISTORY_END`].
    Log,
    /// Send every recipient a heartbeat now.
    Heartbeat,
    /// Try each way to tell somebody beside mail now.
    AlarmTest,
}

/// The answer to [`Request::Reload`].
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Reloaded {
    /// It is in force.
    Yes {
        /// The configuration, on one line.
        in_force: String,
    },
    /// The old one stays in force.
    No {
        /// Why.
        what: String,
        /// What to do.
        hint: String,
        /// The sysexits code.
        exit_code: u8,
    },
}

/// Answers a request into a stream; called on a blocking thread.
pub type Answer = Arc<dyn Fn(Request, &mut dyn Write) -> io::Result<()> + Send + Sync>;

/// Answers peers until `shutdown`.
pub async fn serve(listener: UnixListener, answer: Answer, mut shutdown: Shutdown) {
    let peers = Arc::new(Semaphore::new(PEERS));
    loop {
        let Ok(place) = Arc::clone(&peers).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.wait() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((peer, _)) => {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    let _ = one(peer, answer).await;
                    drop(place);
                });
            }
            Err(error) => {
                maillog::hindered("the control socket cannot take a connection", &error.to_string());
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

async fn one(peer: UnixStream, answer: Answer) -> io::Result<()> {
    let mut peer = tokio::io::BufReader::new(peer);
    let mut line = Vec::new();
    timeout(PATIENCE, (&mut peer).take(REQUEST_LIMIT).read_until(b'\n', &mut line)).await??;
    let peer = peer.into_inner().into_std()?;
    spawn_blocking(move || {
        peer.set_nonblocking(false)?;
        peer.set_write_timeout(Some(PATIENCE))?;
        let mut out = BufWriter::new(Impatient { peer, began: None });
        match serde_json::from_slice::<Request>(&line) {
            Ok(request) => answer(request, &mut out)?,
            Err(error) => serde_json::to_writer(&mut out, &serde_json::json!({ "error": error.to_string() }))?,
        }
        out.flush()
    })
    .await
    .map_err(io::Error::other)?
}

/// A peer that must read its answer in time.
struct Impatient {
    peer: net::UnixStream,
    /// When the first part of the answer was ready.
    began: Option<Instant>,
}

impl Write for Impatient {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.began.get_or_insert_with(Instant::now).elapsed() > WHOLE_ANSWER {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.peer.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.peer.flush()
    }
}

/// Asks the daemon behind `path`; the answer is read from the stream.
///
/// # Errors
/// Nobody answers there.
pub fn open(path: &Path, request: &Request) -> io::Result<BufReader<net::UnixStream>> {
    let mut stream = net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(WORK))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(BufReader::new(stream))
}

/// Asks the daemon behind `path` for one value, which it has at hand.
///
/// # Errors
/// Nobody answers there, or not in time, or not in our form.
pub fn ask<T: for<'a> Deserialize<'a>>(path: &Path, request: Request) -> io::Result<T> {
    ask_within(PATIENCE * 2, path, request)
}

/// The same for a value that takes the daemon up to `patience` to find.
///
/// # Errors
/// As for [`ask`].
pub fn ask_within<T: for<'a> Deserialize<'a>>(patience: Duration, path: &Path, request: Request) -> io::Result<T> {
    let mut stream = open(path, &request)?;
    stream.get_ref().set_read_timeout(Some(patience))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}
