//! Where clients come in, and what is known of them: addresses over TCP, user and process over the Unix socket.
//!
//! The Unix socket is there for the sendmail command: the kernel says who connects, so the manifest can name an account
//! instead of a port. Whoever may call the command may connect, as every account may on a loopback address. Guarantees: what
//! is said of a client is the kernel's word, not its own; a socket that was handed over is left where it is.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::session::Client;
use crate::unix_socket::{self, Reach};

/// Who connected.
pub enum Peer {
    /// By TCP.
    Network {
        /// The client's address and port.
        client: SocketAddr,
        /// Ours.
        server: SocketAddr,
    },
    /// By the Unix socket: what the kernel says of the process when it connected.
    Local {
        /// Whose process.
        uid: u32,
        /// Which process.
        pid: i32,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { client, .. } => client.fmt(f),
            Self::Local { uid, pid } => write!(f, "uid={uid} pid={pid}"),
        }
    }
}

/// Where clients come in.
pub trait Door: Send + Sync {
    /// Their connections.
    type Stream: Client + 'static;

    /// The next client.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, client) = self.accept().await?;
        let server = stream.local_addr()?;
        // Without it a reply could wait 40 ms for an acknowledgement.
        let _ = stream.set_nodelay(true);
        Ok((stream, Peer::Network { client, server }))
    }
}

/// A Unix socket.
pub struct LocalDoor {
    listener: UnixListener,
    path: PathBuf,
    /// Whether its file is ours and goes when this does; systemd keeps its own.
    is_ours: bool,
}

impl LocalDoor {
    /// Makes the socket, in place of one that a dead process left.
    ///
    /// # Errors
    /// It cannot be made, a living process answers there, or what lies there is no socket.
    pub fn open(path: &Path) -> io::Result<Self> {
        let listener = unix_socket::bind(path, Reach::Everybody)?;
        Ok(Self { listener, path: path.to_owned(), is_ours: true })
    }

    /// Serves one that was handed over, and leaves it where it is.
    ///
    /// # Errors
    /// The system does not let us have it twice.
    pub fn adopt(listener: &std::os::unix::net::UnixListener) -> io::Result<Self> {
        let own = listener.try_clone()?;
        own.set_nonblocking(true)?;
        let path = own.local_addr()?.as_pathname().unwrap_or(Path::new("")).to_owned();
        Ok(Self { listener: UnixListener::from_std(own)?, path, is_ours: false })
    }

    /// Its path.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }
}

impl Door for LocalDoor {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let peer = stream.peer_cred()?;
        // 0 is what the kernel says of a process it cannot name here (another pid namespace).
        Ok((stream, Peer::Local { uid: peer.uid(), pid: peer.pid().unwrap_or(0) }))
    }
}

impl Drop for LocalDoor {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn its_own_socket_goes_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("smtp.sock");
        let door = LocalDoor::open(&path).expect("made");
        assert!(path.exists());
        drop(door);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_kernel_names_who_connects() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("smtp.sock");
        let door = LocalDoor::open(&path).expect("made");
        let _client = std::os::unix::net::UnixStream::connect(&path).expect("connected");
        let (_stream, peer) = door.next().await.expect("a client");
        let expected = format!("uid={} pid={}", rustix::process::getuid().as_raw(), std::process::id());
        assert_eq!(peer.to_string(), expected);
    }
}
