//! Who is trusted: the system's roots, one CA file, or pins; and the verifier that asks them.
//!
//! Guarantees: exactly one of the three decides. With a CA file the system's roots are not even loaded; with pins
//! neither chain, name nor dates count. The handshake signature is verified in every case, so a copied certificate
//! without its key is worth nothing. A store with no usable root does not load.
//!
//! **A CA file that holds the server's own certificate** (the plain `openssl req -x509` of a home-made mail server): if
//! the presented certificate is octet for octet one of the file's, its dates and name are checked and no chain is
//! built. It never becomes an authority for other certificates that way.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::Handshake;
use super::pin::Digests;
use crate::config::{TlsPin, Trust};

/// What decides whether a server is trusted.
#[derive(Debug)]
pub enum TrustStore {
    /// The system's roots, and where they came from.
    System(Arc<WebPkiServerVerifier>, String),
    /// The authorities of one file, and its certificates as they are.
    CaFile(Arc<WebPkiServerVerifier>, Vec<CertificateDer<'static>>, PathBuf),
    /// Certificates or keys.
    Pins(Vec<TlsPin>),
}

/// Why there is nothing to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("cannot read the CA file {0}: {1}")]
    Unreadable(PathBuf, String),
    /// Others can change it.
    #[error("the CA file {0} can be changed by others than its owner (mode {1:04o})")]
    Writable(PathBuf, u32),
    /// It holds no certificate that can be an anchor.
    #[error("the CA file {0} holds no usable certificate")]
    Empty(PathBuf),
    /// The system has no roots.
    #[error("the system has no trusted roots ({0})")]
    NoRoots(String),
}

impl TrustError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable(path, _) => {
                format!("Copy the certificate authority's PEM file to {}, or remove ca_file.", path.display())
            }
            Self::Writable(path, _) => format!("Run: chmod go-w {}", path.display()),
            Self::Empty(path) => format!("{} must hold PEM blocks that begin with BEGIN CERTIFICATE.", path.display()),
            Self::NoRoots(_) => "Install the package ca-certificates, or set ca_file or pins.".to_owned(),
        }
    }
}

/// What a verifier made of a server's certificates.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The chain leads to a trusted root and the name fits.
    Chain,
    /// The CA file holds this very certificate; name and dates fit.
    SameCertificate,
    /// This pin matched; neither chain, name nor dates were looked at.
    Pinned(TlsPin),
    /// No pin matched: what was expected, and the same forms of what was presented.
    PinMismatch {
        /// As configured.
        expected: Vec<String>,
        /// In the same forms.
        presented: Vec<String>,
    },
    /// rustls does not trust it.
    Refused(CertificateError),
    /// rustls cannot even judge it.
    Unreadable(String),
}

impl Verdict {
    /// Whether the server is the right one.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::Chain | Self::SameCertificate | Self::Pinned(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain => write!(f, "the certificate chain and the name are verified"),
            Self::SameCertificate => {
                write!(f, "the certificate is the one in the CA file; name and dates are verified")
            }
            Self::Pinned(pin) => write!(f, "the pin {pin} matched (neither chain, name nor dates count)"),
            Self::PinMismatch { expected, presented } => write!(
                f,
                "the server's certificate is not the pinned one: expected {}, presented {}",
                expected.join(" or "),
                presented.join(" = ")
            ),
            Self::Refused(error) => write!(f, "the server's certificate is not trusted: {error}"),
            Self::Unreadable(why) => write!(f, "the server's certificate cannot be judged: {why}"),
        }
    }
}

impl TrustStore {
    /// Loads what `trust` names.
    ///
    /// # Errors
    /// There is nothing to trust: unreadable, changeable by others, or empty.
    pub fn load(trust: &Trust) -> Result<Self, TrustError> {
        match trust {
            Trust::System => system(),
            Trust::CaFile(path) => ca_file(path),
            Trust::Pins(pins) => Ok(Self::Pins(pins.clone())),
        }
    }

    /// What it is, for `check`.
    pub fn describe(&self) -> String {
        match self {
            Self::System(_, source) => format!("the system's roots ({source})"),
            Self::CaFile(_, certificates, path) => {
                format!("only {} ({} certificates)", path.display(), certificates.len())
            }
            Self::Pins(pins) => format!("only {} pin(s)", pins.len()),
        }
    }

    fn judge(
        &self,
        end: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Verdict {
        match self {
            Self::System(roots, _) => chain(roots, end, issuers, name, now),
            Self::CaFile(_, certificates, _) if certificates.iter().any(|own| own.as_ref() == end.as_ref()) => {
                same_certificate(end, name, now)
            }
            Self::CaFile(roots, ..) => chain(roots, end, issuers, name, now),
            Self::Pins(pins) => pinned(pins, end),
        }
    }
}

fn system() -> Result<TrustStore, TrustError> {
    let source = match (std::env::var("SSL_CERT_FILE"), std::env::var("SSL_CERT_DIR")) {
        (Err(_), Err(_)) => "the system's store".to_owned(),
        (file, directory) => format!(
            "replaced by SSL_CERT_FILE={} SSL_CERT_DIR={}",
            file.unwrap_or_default(),
            directory.unwrap_or_default()
        ),
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match verifier(roots) {
        Some(verifier) => Ok(TrustStore::System(verifier, source)),
        None => Err(TrustError::NoRoots(source)),
    }
}

fn ca_file(path: &Path) -> Result<TrustStore, TrustError> {
    let unreadable = |why: String| TrustError::Unreadable(path.into(), why);
    let mode = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(TrustError::Writable(path.into(), mode));
    }
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    match verifier(roots) {
        Some(verifier) => Ok(TrustStore::CaFile(verifier, certificates, path.into())),
        None => Err(TrustError::Empty(path.into())),
    }
}

/// `None` without a single root: an empty store would be taken silently and trust nobody later.
fn verifier(roots: RootCertStore) -> Option<Arc<WebPkiServerVerifier>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()
}

fn chain(
    roots: &WebPkiServerVerifier,
    end: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    now: UnixTime,
) -> Verdict {
    match roots.verify_server_cert(end, issuers, name, &[], now) {
        Ok(_) => Verdict::Chain,
        Err(Error::InvalidCertificate(error)) => Verdict::Refused(error),
        Err(other) => Verdict::Unreadable(other.to_string()),
    }
}

fn same_certificate(end: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Verdict {
    let Ok((_, parsed)) = X509Certificate::from_der(end) else {
        return Verdict::Refused(CertificateError::BadEncoding);
    };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > parsed.validity().not_after.timestamp() {
        return Verdict::Refused(CertificateError::Expired);
    }
    if now < parsed.validity().not_before.timestamp() {
        return Verdict::Refused(CertificateError::NotValidYet);
    }
    let named = ParsedCertificate::try_from(end).and_then(|end| rustls::client::verify_server_name(&end, name));
    match named {
        Ok(()) => Verdict::SameCertificate,
        Err(Error::InvalidCertificate(error)) => Verdict::Refused(error),
        Err(other) => Verdict::Unreadable(other.to_string()),
    }
}

fn pinned(pins: &[TlsPin], end: &CertificateDer<'_>) -> Verdict {
    let presented = Digests::of(end);
    match pins.iter().find(|pin| presented.matches(pin)) {
        Some(pin) => Verdict::Pinned(pin.clone()),
        None => Verdict::PinMismatch {
            expected: pins.iter().map(TlsPin::to_string).collect(),
            presented: pins
                .iter()
                .map(|pin| presented.like(pin))
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect(),
        },
    }
}

/// One connection's verifier: asks the store, remembers what it saw.
#[derive(Debug)]
pub struct Verifier {
    store: Arc<TrustStore>,
    provider: Arc<CryptoProvider>,
    handshake: Handshake,
    seen: Mutex<(Vec<CertificateDer<'static>>, Option<Verdict>)>,
}

impl Verifier {
    pub fn new(store: Arc<TrustStore>, provider: Arc<CryptoProvider>, handshake: Handshake) -> Self {
        Self { store, provider, handshake, seen: Mutex::default() }
    }

    /// The chain as presented, and the verdict.
    pub fn seen(&self) -> (Vec<CertificateDer<'static>>, Option<Verdict>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.store.judge(end, issuers, name, now);
        let chain = std::iter::once(end).chain(issuers).map(|one| one.clone().into_owned()).collect();
        let refused = match (&verdict, self.handshake) {
            (verdict, _) if verdict.is_trusted() => None,
            // `check` goes on to show all; `Tls::connect` gives the connection up behind the handshake.
            (_, Handshake::Complete) => None,
            (Verdict::Refused(error), Handshake::Strict) => Some(error.clone()),
            (_, Handshake::Strict) => Some(CertificateError::ApplicationVerificationFailure),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = (chain, Some(verdict));
        refused.map_or_else(|| Ok(ServerCertVerified::assertion()), |error| Err(Error::InvalidCertificate(error)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
