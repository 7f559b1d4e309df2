//! The client's half of SOCKS5 (RFC 1928) with its user name and password (RFC 1929). The proxy resolves the name.
//!
//! Guarantees: exactly the octets of the proxy's replies are read, so that none of the tunnel's is lost. The proxy
//! controls what it answers and, from then on, everything below TLS.
//!
//! Three short exchanges: own code, because the crate for it brings a second set of futures and error types.

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use crate::config::Secret;

/// Why a proxy does not connect.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It cannot be reached itself.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It closed the connection or broke it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It did not answer in time.
    #[error("it did not connect in time")]
    Timeout,
    /// It speaks something else.
    #[error("it does not speak SOCKS5")]
    NotSocks5,
    /// It wants a login and there is none, or another kind of login.
    #[error("it wants another kind of login (proxy_username and proxy_password_file)")]
    NoMethod,
    /// The login is wrong.
    #[error("it does not take proxy_username and proxy_password_file")]
    LoginRefused,
    /// The name cannot be sent to it.
    #[error("the host's name is longer than SOCKS5 takes")]
    NameTooLong,
    /// Its reply code, RFC 1928 6.
    #[error("it cannot connect to the host: {}", reason(*.0))]
    Refused(u8),
}

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const CONNECT: u8 = 1;

/// Asks for a connection to `host`, by its name if it is one.
pub async fn request<S>(
    stream: &mut S,
    host: &str,
    port: u16,
    login: Option<&(String, Secret)>,
) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let method = if login.is_some() { PASSWORD } else { NO_LOGIN };
    stream.write_all(&[VERSION, 1, method]).await?;
    let [version, chosen] = read(stream).await?;
    match (version, login) {
        (VERSION, _) if chosen != method => return Err(ProxyError::NoMethod),
        (VERSION, Some((name, password))) => log_in(stream, name, password).await?,
        (VERSION, None) => {}
        _ => return Err(ProxyError::NotSocks5),
    }
    stream.write_all(&connect_to(host, port)?).await?;
    let [version, code, _, kind] = read(stream).await?;
    if version != VERSION {
        return Err(ProxyError::NotSocks5);
    }
    if code != 0 {
        return Err(ProxyError::Refused(code));
    }
    bound_address(stream, kind).await
}

/// RFC 1929. The octets are overwritten afterwards.
async fn log_in<S>(stream: &mut S, name: &str, password: &Secret) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut octets = Zeroizing::new(Vec::with_capacity(600));
    octets.push(1);
    for part in [name, password.reveal()] {
        // The configuration takes 255 octets of each.
        octets.push(u8::try_from(part.len()).map_err(|_| ProxyError::LoginRefused)?);
        octets.extend_from_slice(part.as_bytes());
    }
    stream.write_all(&octets).await?;
    let [_, status] = read(stream).await?;
    if status == 0 { Ok(()) } else { Err(ProxyError::LoginRefused) }
}

/// The request, RFC 1928 4.
fn connect_to(host: &str, port: u16) -> Result<Vec<u8>, ProxyError> {
    let mut octets = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            octets.push(1);
            octets.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            octets.push(4);
            octets.extend(address.octets());
        }
        Err(_) => {
            octets.extend([3, u8::try_from(host.len()).map_err(|_| ProxyError::NameTooLong)?]);
            octets.extend(host.bytes());
        }
    }
    octets.extend(port.to_be_bytes());
    Ok(octets)
}

/// Where the proxy stands in the connection, which nobody needs.
async fn bound_address<S: AsyncRead + Unpin>(stream: &mut S, kind: u8) -> Result<(), ProxyError> {
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => {
            let [length] = read(stream).await?;
            usize::from(length)
        }
        _ => return Err(ProxyError::NotSocks5),
    };
    let mut address = [0; 255 + 2];
    stream.read_exact(&mut address[..length + 2]).await?;
    Ok(())
}

async fn read<S: AsyncRead + Unpin, const N: usize>(stream: &mut S) -> Result<[u8; N], ProxyError> {
    let mut octets = [0; N];
    stream.read_exact(&mut octets).await?;
    Ok(octets)
}

fn reason(code: u8) -> &'static str {
    match code {
        1 => "general trouble",
        2 => "its rules do not allow it",
        3 => "the network cannot be reached",
        4 => "the host cannot be reached, or its name is not known",
        5 => "nothing takes connections there",
        6 => "no answer in time",
        7 => "it does not know CONNECT",
        8 => "it does not know this kind of address",
        _ => "it does not say why",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What we say to a proxy that says `answers`, and how it ends.
    async fn said(host: &str, login: Option<&(String, Secret)>, answers: &[u8]) -> (Vec<u8>, Result<(), ProxyError>) {
        let (mut ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(answers).await.expect("room");
        theirs.shutdown().await.expect("closed");
        let outcome = request(&mut ours, host, 587, login).await;
        if outcome.is_ok() {
            let mut rest = Vec::new();
            ours.read_to_end(&mut rest).await.expect("read");
            assert_eq!(rest, b"220 tunnel", "an octet of the tunnel was lost or added");
        }
        drop(ours);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.expect("read");
        (heard, outcome)
    }

    #[tokio::test]
    async fn the_name_goes_to_the_proxy_and_the_tunnel_begins_where_its_reply_ends() {
        for reply in [
            &b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x02\x4b220 tunnel"[..],
            b"\x05\x00\x05\x00\x00\x03\x03abc\x00\x00220 tunnel",
            b"\x05\x00\x05\x00\x00\x04aaaabbbbccccdddd\x00\x00220 tunnel",
        ] {
            let (heard, outcome) = said("relay.onion", None, reply).await;
            outcome.expect("connected");
            assert_eq!(heard, b"\x05\x01\x00\x05\x01\x00\x03\x0brelay.onion\x02\x4b");
        }
    }

    #[tokio::test]
    async fn a_login_is_sent_only_when_there_is_one_and_the_proxy_takes_it() {
        let login = ("user".to_owned(), Secret::new("word".to_owned()));
        let answers = b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x02\x4b220 tunnel";
        let (heard, outcome) = said("192.0.2.1", Some(&login), answers).await;
        outcome.expect("connected");
        assert_eq!(heard, b"\x05\x01\x02\x01\x04user\x04word\x05\x01\x00\x01\xc0\x00\x02\x01\x02\x4b");
        let (heard, outcome) = said("host", Some(&login), b"\x05\x02\x01\x01").await;
        assert!(matches!(outcome, Err(ProxyError::LoginRefused)));
        assert!(!heard.ends_with(b"host\x02\x4b"));
        // A proxy that goes on without asking may be another one than was meant: the login stays here.
        let (heard, outcome) = said("host", Some(&login), b"\x05\x00").await;
        assert!(matches!(outcome, Err(ProxyError::NoMethod)) && heard == b"\x05\x01\x02");
        assert!(matches!(said("host", None, b"\x05\xff").await.1, Err(ProxyError::NoMethod)));
    }

    #[tokio::test]
    async fn whatever_else_comes_is_an_error_and_never_a_tunnel() {
        for answers in
            [&b""[..], b"\x05", b"HTTP/1.1 400", b"\x05\x00\x05\x00\x00\x01\x7f", b"\x05\x00\x05\x00\x00\x09"]
        {
            assert!(said("host", None, answers).await.1.is_err(), "{answers:?}");
        }
        let refused = said("host", None, b"\x05\x00\x05\x04\x00\x01\0\0\0\0\0\0").await.1;
        assert!(refused.expect_err("refused").to_string().contains("name is not known"));
        assert!(matches!(said(&"x".repeat(256), None, b"\x05\x00").await.1, Err(ProxyError::NameTooLong)));
    }
}
