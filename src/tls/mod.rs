//! TLS towards the relay host: who is trusted, and the handshake.
//!
//! Guarantees: a [`Tls::connect`] that returns `Ok` has verified the server by exactly one of the system's roots, a CA
//! file, or pins, and has verified that the server owns the key of the certificate it presented. On failure the error
//! keeps the chain as presented. An attacker on the wire controls every octet before that.

mod identity;
mod pin;
mod trust;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{AlertDescription, ClientConfig, NamedGroup, client::Resumption};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use identity::{ClientIdentity, IdentityError};
pub use pin::Digests;
pub use trust::{TrustError, TrustStore, Verdict};

use trust::Verifier;

/// What a server showed of itself in a handshake.
#[derive(Debug, Clone, Default)]
pub struct Presented {
    /// Its certificates as it sent them, its own first, DER.
    pub chain: Vec<CertificateDer<'static>>,
    /// What we make of them.
    pub verdict: Option<Verdict>,
    /// `TLSv1.3`, if the handshake was completed.
    pub protocol: Option<String>,
    /// The cipher suite.
    pub cipher: Option<String>,
    /// The key exchange group.
    pub group: Option<String>,
}

/// Why there is no verified TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The host's name cannot be verified at all.
    #[error("{0:?} is no name a certificate can have: {1}")]
    Name(String, InvalidDnsNameError),
    /// The certificate is not trusted.
    #[error("{0}")]
    NotTrusted(Verdict),
    /// The handshake did not come to an end.
    #[error("the TLS handshake did not succeed: {0}")]
    Handshake(io::Error),
    /// rustls refused our own settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

impl TlsError {
    /// Whether this is how a server, or something on the way, ends a handshake when the ClientHello is more than it can
    /// take: the post-quantum share makes it longer than one segment. What an honest server says about versions,
    /// ciphers or certificates is none of it.
    pub fn may_be_the_hello(&self) -> bool {
        use AlertDescription::{DecodeError, IllegalParameter, InternalError, RecordOverflow, UnexpectedMessage};
        let Self::Handshake(error) = self else { return false };
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => {
                matches!(alert, DecodeError | IllegalParameter | InternalError | RecordOverflow | UnexpectedMessage)
            }
            Some(_) => false,
            None => matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
            ),
        }
    }
}

/// Makes verified connections to one server.
pub struct Tls {
    store: Arc<TrustStore>,
    provider: Arc<CryptoProvider>,
    /// Until when the classic groups alone are offered.
    classic_until: Mutex<Option<Instant>>,
}

/// What a handshake offers.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    /// The name that is asked for and verified.
    pub host: &'a str,
    /// What is shown if the server asks for a client certificate.
    pub identity: Option<&'a ClientIdentity>,
    /// The key exchange.
    pub groups: Groups,
}

/// The key exchange groups that are offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Groups {
    /// The post-quantum one first, then the classic ones.
    All,
    /// The classic ones alone, for servers that choke on the longer ClientHello.
    Classic,
}

/// How long a server that took only the classic groups is offered nothing else. Somebody on the way can bring this
/// about by breaking handshakes: sealed messages lose nothing by it, but what is said around them could be recorded
/// for the day it can be deciphered. So it does not last.
const CLASSIC_FOR: Duration = Duration::from_secs(3600);

/// Whether a certificate that is not trusted ends the handshake at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handshake {
    /// Delivery: nothing more is said.
    Strict,
    /// `check`: it is completed so that all can be shown. The connection is given up behind it all the same.
    Complete,
}

impl Tls {
    /// With what `store` trusts.
    pub fn new(store: impl Into<Arc<TrustStore>>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self { store: store.into(), provider, classic_until: Mutex::default() }
    }

    /// What to offer now.
    pub fn groups(&self) -> Groups {
        match *self.classic_until.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(until) if Instant::now() < until => Groups::Classic,
            _ => Groups::All,
        }
    }

    /// The server took the classic groups, and broke off before when it was offered all.
    pub fn remember_classic(&self) {
        let until = Instant::now() + CLASSIC_FOR;
        *self.classic_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// The trust store.
    pub fn store(&self) -> &TrustStore {
        &self.store
    }

    /// Handshakes over `stream` with what `offer` says, and says what the server presented.
    ///
    /// # Errors
    /// There is no verified TLS; `presented` says what was seen.
    pub async fn connect<S>(
        &self,
        stream: S,
        offer: Offer<'_>,
        handshake: Handshake,
        presented: &mut Presented,
    ) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(offer.host.to_owned())
            .map_err(|error| TlsError::Name(offer.host.to_owned(), error))?;
        let verifier = Arc::new(Verifier::new(Arc::clone(&self.store), Arc::clone(&self.provider), handshake));
        let config = self.config(Arc::clone(&verifier), offer).map_err(TlsError::Setup)?;
        let outcome = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        (presented.chain, presented.verdict) = verifier.seen();
        let refused = presented.verdict.clone().filter(|verdict| !verdict.is_trusted());
        let stream = outcome.map_err(|error| match refused.clone() {
            Some(verdict) => TlsError::NotTrusted(verdict),
            None => TlsError::Handshake(error),
        })?;
        let session = stream.get_ref().1;
        presented.protocol = session.protocol_version().and_then(|version| version.as_str().map(openssl_spelling));
        presented.cipher = session.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        presented.group = session.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
        // No verdict at all would mean that nothing was verified.
        match (refused, &presented.verdict) {
            (None, Some(_)) => Ok(stream),
            (Some(verdict), _) => Err(TlsError::NotTrusted(verdict)),
            (None, None) => Err(TlsError::Handshake(io::Error::other("the server presented no certificate"))),
        }
    }

    fn config(&self, verifier: Arc<Verifier>, offer: Offer<'_>) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(self.provider(offer.groups))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match offer.identity {
            Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
            None => builder.with_no_client_auth(),
        };
        // A resumed session would skip verification; every session is verified.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn provider(&self, groups: Groups) -> Arc<CryptoProvider> {
        match groups {
            Groups::All => Arc::clone(&self.provider),
            Groups::Classic => {
                let mut provider = CryptoProvider::clone(&self.provider);
                provider.kx_groups.retain(|group| !is_post_quantum(group.name()));
                Arc::new(provider)
            }
        }
    }
}

/// Whether `error` is how a server says what it thinks of our client certificate, or that it wants one. Under TLS 1.3
/// that comes when the handshake is already complete for us.
pub fn is_about_client_certificate(error: &io::Error) -> bool {
    use AlertDescription::{
        BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown, UnknownCA,
        UnsupportedCertificate,
    };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(rustls::Error::AlertReceived(alert)) = inner else { return false };
    matches!(
        alert,
        BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | UnknownCA
            | UnsupportedCertificate
    )
}

/// Whether `group` has a post-quantum part.
fn is_post_quantum(group: NamedGroup) -> bool {
    matches!(group, NamedGroup::X25519MLKEM768 | NamedGroup::secp256r1MLKEM768 | NamedGroup::MLKEM768)
}

/// `TLSv1_3` as openssl prints it.
fn openssl_spelling(version: &str) -> String {
    version.replace('_', ".")
}

/// When `certificate` expires, seconds since 1970.
pub fn expiry(certificate: &CertificateDer<'_>) -> Option<u64> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}
