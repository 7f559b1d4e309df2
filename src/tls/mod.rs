//! TLS towards the relay host: who is trusted, and the handshake.
//!
//! Guarantees: a [`Tls::connect`] that returns `Ok` has verified the server by exactly one of the system's roots, a CA
//! file, or pins, and has verified that the server owns the key of the certificate it presented. On failure the error
//! keeps the chain as presented. An attacker on the wire controls every octet before that.

mod anchors;
mod fault;
mod pin;
mod trust;
mod verdict;
mod verifier;

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, client::Resumption};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use anchors::names;
pub use fault::{Code, Fault};
pub use pin::Digests;
pub use trust::{TrustError, TrustStore};
pub use verdict::Verdict;

use verifier::Verifier;

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

/// Makes verified connections to one relay host.
pub struct Tls {
    store: Arc<TrustStore>,
    provider: Arc<rustls::crypto::CryptoProvider>,
    names: Names,
}

/// Names that `check` was given to use in place of the one it connects to.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Sent as the server name indication.
    pub sent: Option<String>,
    /// Verified; the one that is sent if missing.
    pub verified: Option<String>,
}

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
    pub fn new(store: TrustStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self { store: Arc::new(store), provider, names: Names::default() }
    }

    /// With other names than the host's own.
    #[must_use]
    pub fn with_names(self, names: Names) -> Self {
        Self { names, ..self }
    }

    /// The trust store.
    pub fn store(&self) -> &TrustStore {
        &self.store
    }

    /// Handshakes over `stream` as a client of `host`, and says what the server presented.
    ///
    /// # Errors
    /// There is no verified TLS; `presented` says what was seen.
    pub async fn connect<S>(
        &self,
        stream: S,
        host: &str,
        handshake: Handshake,
        presented: &mut Presented,
    ) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = server_name(self.names.sent.as_deref().unwrap_or(host))?;
        let verified = self.names.verified.as_deref().map(server_name).transpose()?;
        let (store, provider) = (Arc::clone(&self.store), Arc::clone(&self.provider));
        let verifier = Arc::new(Verifier::new(store, provider, handshake, verified));
        let config = self.config(Arc::clone(&verifier)).map_err(TlsError::Setup)?;
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

    fn config(&self, verifier: Arc<Verifier>) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // A resumed session would skip verification; every session is verified.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|error| TlsError::Name(name.to_owned(), error))
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
