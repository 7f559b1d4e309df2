//! From a host's name to a TCP connection: by both IP families with fast fallback (RFC 8305), or through a SOCKS5 proxy.
//!
//! Guarantees: through a proxy the host's name is never looked up here. Without one, a dead family or address costs a
//! quarter of a second, not a time-out. Every wait is bounded. Who answers is not known to be the right one before TLS:
//! DNS, the network and the proxy control where this leads, and the octets that come from there.

mod socks5;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use socks5::ProxyError;

use crate::config::Proxy;

/// Looking up a name, and each address, may take this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// The next address is tried after this long, beside those that have not answered yet (RFC 8305 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The most addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;

/// A connection.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub stream: TcpStream,
    /// The address that answered, and the proxy's part in it.
    pub address: String,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name cannot be looked up.
    #[error("{0}")]
    Lookup(io::Error),
    /// The system took too long for it.
    #[error("looking up the name timed out")]
    LookupTimeout,
    /// No address answered in time.
    #[error("no address answered in time")]
    Timeout,
    /// Each address with the reason.
    #[error("{0}")]
    Unreachable(String),
    /// The proxy cannot be reached, or does not connect.
    #[error("the proxy {0}: {1}")]
    Proxy(String, ProxyError),
}

/// Connects to `host`, an address or a name, through `proxy` if there is one. The proxy may take `patience` to connect.
///
/// # Errors
/// Nothing answered; each wait was bounded.
pub async fn connect(
    host: &str,
    port: u16,
    proxy: Option<&Proxy>,
    patience: Duration,
) -> Result<Connected, ConnectError> {
    match proxy {
        None => {
            let (stream, address) = direct(host, port, patience).await?;
            Ok(Connected { stream, address: address.to_string() })
        }
        Some(proxy) => through(host, port, proxy, patience).await,
    }
}

async fn through(host: &str, port: u16, proxy: &Proxy, patience: Duration) -> Result<Connected, ConnectError> {
    let trouble = |error| ConnectError::Proxy(format!("{}:{}", proxy.host, proxy.port), error);
    let (mut stream, address) = direct(&proxy.host, proxy.port, patience)
        .await
        .map_err(|error| trouble(ProxyError::Unreachable(error.to_string())))?;
    let request = socks5::request(&mut stream, host, port, proxy.login.as_ref());
    timeout(patience, request).await.unwrap_or(Err(ProxyError::Timeout)).map_err(trouble)?;
    Ok(Connected { stream, address: format!("{host}:{port} through the proxy {address}") })
}

async fn direct(host: &str, port: u16, patience: Duration) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let found = timeout(PATIENCE, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| ConnectError::LookupTimeout)?
        .map_err(ConnectError::Lookup)?;
    let (stream, address) = race(by_turns(found), patience.min(PATIENCE)).await?;
    // Without it the last small segment of a message waits for an acknowledgement, 40 ms.
    let _ = stream.set_nodelay(true);
    Ok((stream, address))
}

/// The first family's first address, the other family's first, and so on (RFC 8305 4); the system has put the family it
/// prefers first.
fn by_turns(found: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let found: Vec<SocketAddr> = found.collect();
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (ours, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut others = others.into_iter();
    let mut turns = VecDeque::new();
    for address in ours {
        turns.push_back(address);
        turns.extend(others.next());
    }
    turns.extend(others);
    turns.truncate(MOST_ADDRESSES);
    turns
}

/// The first of `addresses` that answers. The next one begins as soon as one does not succeed, or after a short wait
/// beside those under way. Those that are late are dropped.
async fn race(
    mut addresses: VecDeque<SocketAddr>,
    patience: Duration,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let mut attempts = JoinSet::new();
    let (mut reasons, mut all_silent) = (Vec::new(), true);
    loop {
        if let Some(address) = addresses.pop_front() {
            attempts.spawn(async move { (address, timeout(patience, TcpStream::connect(address)).await) });
        } else if attempts.is_empty() {
            break;
        }
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                Ok((address, Ok(Ok(stream)))) => return Ok((stream, address)),
                Ok((address, Ok(Err(error)))) => {
                    all_silent = false;
                    reasons.push(format!("{address}: {error}"));
                }
                Ok((address, Err(_))) => reasons.push(format!("{address}: no answer in time")),
                Err(broken) => reasons.push(broken.to_string()),
            },
            () = sleep(ATTEMPT_DELAY), if !addresses.is_empty() => {}
        }
    }
    match reasons.is_empty() {
        true => Err(ConnectError::Lookup(io::Error::other("the name has no address"))),
        false if all_silent => Err(ConnectError::Timeout),
        false => Err(ConnectError::Unreachable(reasons.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns_and_there_is_an_end() {
        let found = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1"]);
        assert_eq!(by_turns(found.into_iter()), addresses(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "[::3]:1"]));
        let found = addresses(&["1.0.0.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(by_turns(found.into_iter()), addresses(&["1.0.0.1:1", "[::1]:1", "[::2]:1"]));
        let many = (0..100).map(|nth| SocketAddr::from(([10, 0, 0, nth], 25)));
        assert_eq!(by_turns(many).len(), MOST_ADDRESSES);
        assert!(by_turns(std::iter::empty()).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_does_not_take_connections_is_passed_over_and_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let live = listener.local_addr().expect("bound");
        let dead = addresses(&["127.0.0.1:1"]);
        let turns = [dead[0], live].into_iter().collect();
        assert_eq!(race(turns, PATIENCE).await.expect("connected").1, live);
        let error = race(dead.into(), PATIENCE).await.expect_err("nothing there");
        assert!(error.to_string().starts_with("127.0.0.1:1: "), "{error}");
    }
}
