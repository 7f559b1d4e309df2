//! The listening sockets: handed over by systemd, or our own.
//!
//! Sockets from systemd (LISTEN_FDS) win over configured addresses: the kernel keeps their clients while the daemon is
//! restarted, and port 25 needs no privilege. A daemon that cannot start though it was handed sockets tells who waits
//! there `421` before it ends, because OSSEC would wait for ever.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket};

use super::door::LocalDoor;
use super::reply;
use crate::maillog;

/// Connections the kernel keeps for us (bounded by net.core.somaxconn).
const BACKLOG: u32 = 1024;
/// How long who waits at the door of a daemon that cannot start is told so.
const TURN_AWAY_FOR: Duration = Duration::from_secs(2);

/// Sockets that systemd, or whoever speaks its protocol, handed over.
#[derive(Default)]
pub struct HandedOver {
    network: Vec<(StdListener, String)>,
    local: Option<(StdUnixListener, String)>,
    /// Names of what was handed over and is neither.
    unknown: Vec<String>,
}

impl HandedOver {
    /// Takes them from the environment; once in a process. TCP sockets are for mail, one Unix socket is for the sendmail
    /// command; their names (`FileDescriptorName=`) are shown in the log.
    pub fn take() -> Self {
        let mut handed = listenfd::ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut this = Self::default();
        for nth in 0..handed.len() {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unnamed").to_owned();
            // A Unix socket must be asked for first: what is no Unix socket is left in its place for the next question.
            match handed.take_unix_listener(nth) {
                Ok(Some(local)) if this.local.is_none() => this.local = Some((local, name)),
                Ok(_) => this.unknown.push(name),
                Err(_) => match handed.take_tcp_listener(nth) {
                    Ok(Some(listener)) => this.network.push((listener, name)),
                    _ => this.unknown.push(name),
                },
            }
        }
        this
    }

    /// Tells who waits there that nobody serves, for a daemon that cannot start.
    pub fn turn_away(&self) {
        let until = Instant::now() + TURN_AWAY_FOR;
        for (listener, _) in &self.network {
            if listener.set_nonblocking(true).is_err() {
                continue;
            }
            while let (Ok((mut client, _)), true) = (listener.accept(), Instant::now() < until) {
                let _ = client.set_nonblocking(true);
                let _ = client.write_all(format!("{}\r\n", reply::CANNOT_TAKE).as_bytes());
            }
        }
    }
}

/// Sockets that are bound.
pub struct Bound(Vec<TcpListener>, Option<LocalDoor>);

/// The sockets in `handed`, or else ones bound to `addresses`. An address whose family is not there (IPv6 switched off)
/// is passed over if another one is bound.
///
/// # Errors
/// An address is in use or not allowed, or none is there; with the address.
pub fn bind(handed: &HandedOver, addresses: &[SocketAddr]) -> Result<Bound, (SocketAddr, io::Error)> {
    handed.unknown.iter().for_each(|name| maillog::not_listening(name, "handed over, but of no kind that is known"));
    if !handed.network.is_empty() {
        let listeners =
            handed.network.iter().map(|(listener, name)| adopt(listener, name)).collect::<Result<_, _>>()?;
        return Ok(Bound(listeners, None));
    }
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
        _ => Ok(Bound(bound, None)),
    }
}

fn adopt(listener: &StdListener, name: &str) -> Result<TcpListener, (SocketAddr, io::Error)> {
    let address = listener.local_addr().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    maillog::handed_over(name, &address.to_string());
    let adopted = listener.try_clone().and_then(|own| {
        own.set_nonblocking(true)?;
        TcpListener::from_std(own)
    });
    adopted.map_err(|error| (address, error))
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
        let network =
            self.0.iter().filter_map(|listener| listener.local_addr().ok()).map(|address| address.to_string());
        network.chain(self.1.as_ref().map(LocalDoor::name)).collect()
    }

    /// Listens on a Unix socket as well: the one in `handed`, else `path`. Where that cannot be the daemon serves
    /// without it: the IDS uses TCP, and so does the sendmail command then.
    #[must_use]
    pub fn and_socket(mut self, handed: &HandedOver, path: Option<&Path>) -> Self {
        let (name, opened) = match (&handed.local, path) {
            (Some((listener, name)), _) => (name.clone(), LocalDoor::adopt(listener)),
            (None, Some(path)) => (path.display().to_string(), LocalDoor::open(path)),
            (None, None) => return self,
        };
        match opened {
            Ok(door) => {
                if handed.local.is_some() {
                    maillog::handed_over(&name, &door.name());
                }
                self.1 = Some(door);
            }
            Err(error) => maillog::not_listening(&name, &error.to_string()),
        }
        self
    }

    /// The sockets.
    pub(super) fn into_doors(self) -> (Vec<TcpListener>, Option<LocalDoor>) {
        (self.0, self.1)
    }
}
