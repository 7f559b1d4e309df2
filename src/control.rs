//! The control socket: `status` and `queue` ask the running daemon through it.
//!
//! One request, a line of JSON, then one answer, JSON up to the end of the stream. The socket is open to its owner and
//! group only. Requests, answers' time and peers at once are bounded; a broken peer is harmless. On failure to serve it
//! the daemon goes on: alerts do not depend on it. A local user of the group can ask and flush, nothing more.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::maillog;
use crate::shutdown::Shutdown;

/// The longest request, octets.
const REQUEST_LIMIT: u64 = 4096;
/// How long a peer may take for its request, and for reading the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Peers at once.
const PEERS: usize = 8;

/// What can be asked.
#[derive(Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// How it is.
    Status,
    /// What lies in the spool.
    List,
    /// Try everything now.
    Flush,
    /// Read the configuration again.
    Reload,
    /// What became of the last messages.
    Recent,
    /// Send every recipient a heartbeat now.
    Heartbeat,
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

/// Answers a request; called on a blocking thread.
pub type Answer = Arc<dyn Fn(Request) -> serde_json::Value + Send + Sync>;

/// Binds the socket at `path`, in place of one that a dead process left.
///
/// # Errors
/// It cannot be made, or a living process answers there.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there"));
    }
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    // The group must get through the folder to the socket, whatever the process's umask is.
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        std::fs::create_dir_all(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o750))?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

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
                    let _ = timeout(PATIENCE, one(peer, answer)).await;
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
    let mut peer = BufReader::new(peer);
    let mut line = Vec::new();
    (&mut peer).take(REQUEST_LIMIT).read_until(b'\n', &mut line).await?;
    let value = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => spawn_blocking(move || answer(request)).await.map_err(io::Error::other)?,
        Err(error) => serde_json::json!({ "error": format!("not understood: {error}") }),
    };
    peer.write_all(&serde_json::to_vec(&value)?).await?;
    peer.shutdown().await
}

/// Asks the daemon behind `path`.
///
/// # Errors
/// Nobody answers there, or not in time, or not in our form.
pub fn ask<T: for<'a> Deserialize<'a>>(path: &Path, request: Request) -> io::Result<T> {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE * 2))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&serde_json::to_vec(&request)?)?;
    stream.write_all(b"\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}
