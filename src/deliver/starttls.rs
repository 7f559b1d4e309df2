//! From a TCP connection to a verified TLS session with a relay host, by STARTTLS (RFC 3207) or at once (RFC 8314).
//!
//! Guarantees: before TLS is verified only EHLO, STARTTLS and QUIT are sent. Octets that came in clear behind the
//! `220` end the session: they would be taken for replies inside TLS. What was learnt before TLS is forgotten; EHLO is
//! said again. On failure the session is over and the message waits. An attacker on the wire controls everything up to
//! the handshake, and the worst it gets is that silence.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dialog::{Dialog, Show, Stream, expect};
use super::outcome::{Cause, Step, Trouble};
use super::session::Capabilities;
use crate::config::{Relay, TlsMode};
use crate::smtp::reply::Reply;
use crate::tls::{Handshake, Presented, Tls, TlsError};

/// Each address may take this long to answer.
const CONNECT: Duration = Duration::from_secs(30);

/// What was seen on the way, as far as it went; for `check`, for the log, for `status`.
#[derive(Default, Debug, Clone)]
pub struct Seen {
    /// Address and port that answered.
    pub address: Option<String>,
    /// The greeting.
    pub greeting: Option<Reply>,
    /// EHLO's reply before TLS.
    pub clear: Option<Capabilities>,
    /// The handshake.
    pub tls: Option<Presented>,
    /// EHLO's reply inside TLS.
    pub inside: Option<Capabilities>,
    /// The reply to the login.
    pub login: Option<Reply>,
}

/// Connects, secures and greets. `seen` is filled as far as it went.
///
/// # Errors
/// Whatever did not work; nothing but EHLO, STARTTLS and QUIT was sent in clear.
pub async fn open(relay: &Relay, tls: &Tls, handshake: Handshake, seen: &mut Seen) -> Result<Dialog, Trouble> {
    let stream = connect(relay, seen).await?;
    match relay.tls {
        TlsMode::Implicit => {
            let stream = secure(Box::new(stream), relay, tls, handshake, seen).await?;
            let mut dialog = dialog(stream, relay);
            seen.greeting = Some(dialog.greeting().await?);
            seen.inside = Some(ehlo(&mut dialog, relay).await?);
            Ok(dialog)
        }
        TlsMode::Starttls => {
            let mut dialog = dialog(Box::new(stream), relay);
            seen.greeting = Some(dialog.greeting().await?);
            let clear = seen.clear.insert(ehlo(&mut dialog, relay).await?);
            if !clear.starttls {
                dialog.quit().await;
                return Err(Trouble::new(Step::StartTls, Cause::NoStartTls));
            }
            let reply = dialog.command(Step::StartTls, "STARTTLS", Show::Whole).await?;
            expect(Step::StartTls, reply, |code| code == 220)?;
            let stream = secure(dialog.into_stream()?, relay, tls, handshake, seen).await?;
            let mut dialog = self::dialog(stream, relay);
            seen.inside = Some(ehlo(&mut dialog, relay).await?);
            Ok(dialog)
        }
    }
}

fn dialog(stream: Box<dyn Stream>, relay: &Relay) -> Dialog {
    Dialog::new(stream, format!("{}:{}", relay.host, relay.port), relay.timeout)
}

async fn connect(relay: &Relay, seen: &mut Seen) -> Result<TcpStream, Trouble> {
    let resolve = tokio::net::lookup_host((relay.host.as_str(), relay.port));
    let addresses = match timeout(CONNECT, resolve).await {
        Err(_) => return Err(Trouble::new(Step::Resolve, Cause::Timeout)),
        Ok(Err(error)) => return Err(Trouble::new(Step::Resolve, Cause::Io(error.to_string()))),
        Ok(Ok(addresses)) => addresses,
    };
    let mut trouble = Trouble::new(Step::Resolve, Cause::Io("the name has no address".to_owned()));
    for address in addresses {
        match timeout(CONNECT.min(relay.timeout), TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it the last small segment of a message waits for an acknowledgement, 40 ms.
                let _ = stream.set_nodelay(true);
                seen.address = Some(address.to_string());
                return Ok(stream);
            }
            Ok(Err(error)) => trouble = Trouble::new(Step::Connect, Cause::Io(format!("{address}: {error}"))),
            Err(_) => trouble = Trouble::new(Step::Connect, Cause::Timeout),
        }
    }
    Err(trouble)
}

async fn secure(
    stream: Box<dyn Stream>,
    relay: &Relay,
    tls: &Tls,
    handshake: Handshake,
    seen: &mut Seen,
) -> Result<Box<dyn Stream>, Trouble> {
    let presented = seen.tls.insert(Presented::default());
    let connected = timeout(relay.timeout, tls.connect(stream, &relay.host, handshake, presented)).await;
    match connected {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(TlsError::NotTrusted(verdict))) => Err(Trouble::new(Step::Tls, Cause::NotTrusted(verdict))),
        Ok(Err(error)) => Err(Trouble::new(Step::Tls, Cause::Tls(error.to_string()))),
        Err(_) => Err(Trouble::new(Step::Tls, Cause::Timeout)),
    }
}

async fn ehlo(dialog: &mut Dialog, relay: &Relay) -> Result<Capabilities, Trouble> {
    let reply = dialog.command(Step::Ehlo, &format!("EHLO {}", relay.ehlo), Show::Whole).await?;
    Ok(Capabilities::read(&expect(Step::Ehlo, reply, |code| code == 250)?))
}
