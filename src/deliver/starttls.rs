//! From a TCP connection to a verified TLS session with a relay host, by STARTTLS (RFC 3207) or at once (RFC 8314).
//!
//! Guarantees: before TLS is verified only EHLO, STARTTLS and QUIT are sent. Octets that came in clear behind the
//! `220` end the session: they would be taken for replies inside TLS. What was learnt before TLS is forgotten; EHLO is
//! said again. On failure the session is over and the message waits. An attacker on the wire controls everything up to
//! the handshake, and the worst it gets is that silence.

use std::time::Duration;

use tokio::time::timeout;

use super::dialog::{Dialog, Show, Stream, expect};
use super::outcome::{Cause, Step, Trouble};
use super::session::Capabilities;
use crate::config::{Relay, TlsMode};
use crate::connect::{ConnectError, connect};
use crate::maillog;
use crate::smtp::reply::Reply;
use crate::tls::{Groups, Handshake, Offer, Presented, Tls, TlsError};

/// A ClientHello that is too long for something on the way is often dropped without a word: with the classic groups
/// left to try, the handshake is not waited for as long as a reply.
const HELLO_PATIENCE: Duration = Duration::from_secs(30);

/// What was seen on the way, as far as it went; for `check`, for the log, for `status`.
#[derive(Default, Debug, Clone)]
pub struct Seen {
    /// Address and port that answered.
    pub address: Option<String>,
    /// The greeting.
    pub greeting: Option<Reply>,
    /// EHLO's reply before TLS.
    pub clear: Option<Capabilities>,
    /// How a handshake broke off that offered the post-quantum key exchange too; what follows offered the classic ones.
    pub choked: Option<String>,
    /// The handshake.
    pub tls: Option<Presented>,
    /// EHLO's reply inside TLS.
    pub inside: Option<Capabilities>,
    /// The reply to the login.
    pub login: Option<Reply>,
}

/// What did not work, and whether another ClientHello may help.
struct Broken {
    trouble: Trouble,
    by_hello: bool,
}

impl From<Trouble> for Broken {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, by_hello: false }
    }
}

/// Connects, secures and greets. `seen` is filled as far as it went. If something on the way chokes on the post-quantum
/// ClientHello, this is done once more with the classic one, which is remembered in `tls` if it helps.
///
/// # Errors
/// Whatever did not work; nothing but EHLO, STARTTLS and QUIT was sent in clear.
pub async fn open(relay: &Relay, tls: &Tls, handshake: Handshake, seen: &mut Seen) -> Result<Dialog, Trouble> {
    let groups = tls.groups();
    let choked = match attempt(relay, tls, groups, handshake, seen).await {
        Ok(dialog) => return Ok(dialog),
        Err(broken) if broken.by_hello && groups == Groups::All => broken.trouble.to_string(),
        Err(broken) => return Err(broken.trouble),
    };
    *seen = Seen { choked: Some(choked.clone()), ..Seen::default() };
    let dialog = attempt(relay, tls, Groups::Classic, handshake, seen).await.map_err(|broken| broken.trouble)?;
    tls.remember_classic();
    maillog::classic_exchange(&format!("{}:{}", relay.host, relay.port), &choked);
    Ok(dialog)
}

async fn attempt(
    relay: &Relay,
    tls: &Tls,
    groups: Groups,
    handshake: Handshake,
    seen: &mut Seen,
) -> Result<Dialog, Broken> {
    let connected =
        connect(&relay.host, relay.port, relay.proxy.as_ref(), relay.timeout).await.map_err(not_connected)?;
    seen.address = Some(connected.address);
    let stream = Box::new(connected.stream);
    match relay.tls {
        TlsMode::Implicit => {
            let stream = secure(stream, relay, tls, groups, handshake, seen).await?;
            let mut dialog = dialog(stream, relay);
            seen.greeting = Some(dialog.greeting().await?);
            seen.inside = Some(ehlo(&mut dialog, relay).await?);
            Ok(dialog)
        }
        TlsMode::Starttls => {
            let mut dialog = dialog(stream, relay);
            seen.greeting = Some(dialog.greeting().await?);
            let clear = seen.clear.insert(ehlo(&mut dialog, relay).await?);
            if !clear.starttls {
                dialog.quit().await;
                return Err(Trouble::new(Step::StartTls, Cause::NoStartTls).into());
            }
            let reply = dialog.command(Step::StartTls, "STARTTLS", Show::Whole).await?;
            expect(Step::StartTls, reply, |code| code == 220)?;
            let stream = secure(dialog.into_stream()?, relay, tls, groups, handshake, seen).await?;
            let mut dialog = self::dialog(stream, relay);
            seen.inside = Some(ehlo(&mut dialog, relay).await?);
            Ok(dialog)
        }
    }
}

fn dialog(stream: Box<dyn Stream>, relay: &Relay) -> Dialog {
    Dialog::new(stream, format!("{}:{}", relay.host, relay.port), relay.timeout)
}

fn not_connected(error: ConnectError) -> Trouble {
    match error {
        ConnectError::LookupTimeout => Trouble::new(Step::Resolve, Cause::Timeout),
        ConnectError::Lookup(error) => Trouble::new(Step::Resolve, error.into()),
        ConnectError::Timeout => Trouble::new(Step::Connect, Cause::Timeout),
        ConnectError::Unreachable(why) => Trouble::new(Step::Connect, Cause::Io(why)),
        ConnectError::Proxy(proxy, error) => Trouble::new(Step::Proxy, Cause::Io(format!("{proxy}: {error}"))),
    }
}

async fn secure(
    stream: Box<dyn Stream>,
    relay: &Relay,
    tls: &Tls,
    groups: Groups,
    handshake: Handshake,
    seen: &mut Seen,
) -> Result<Box<dyn Stream>, Broken> {
    let presented = seen.tls.insert(Presented::default());
    let offer = Offer { host: &relay.host, identity: relay.identity.as_ref(), groups };
    let patience = if groups == Groups::All { relay.timeout.min(HELLO_PATIENCE) } else { relay.timeout };
    let error = match timeout(patience, tls.connect(stream, offer, handshake, presented)).await {
        Ok(Ok(stream)) => return Ok(Box::new(stream)),
        // What came after a certificate is no answer to the ClientHello.
        Err(_) => Broken { trouble: Trouble::new(Step::Tls, Cause::Timeout), by_hello: presented.verdict.is_none() },
        Ok(Err(error)) => {
            let by_hello = presented.verdict.is_none() && error.may_be_the_hello();
            Broken { trouble: not_secured(error), by_hello }
        }
    };
    Err(error)
}

fn not_secured(error: TlsError) -> Trouble {
    let cause = match error {
        TlsError::NotTrusted(_) => Cause::NotTrusted(error.to_string()),
        TlsError::Handshake(inner) if crate::tls::is_about_client_certificate(&inner) => inner.into(),
        _ => Cause::Tls(error.to_string()),
    };
    Trouble::new(Step::Tls, cause)
}

async fn ehlo(dialog: &mut Dialog, relay: &Relay) -> Result<Capabilities, Trouble> {
    let reply = dialog.command(Step::Ehlo, &format!("EHLO {}", relay.ehlo), Show::Whole).await?;
    Ok(Capabilities::read(&expect(Step::Ehlo, reply, |code| code == 250)?))
}
