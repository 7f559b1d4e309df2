//! Who is trusted: the system's roots, the certificates of a file, or pins.
//!
//! Guarantees: exactly one of the three decides. With a CA file the system's roots are not even loaded; with pins
//! neither chain, name nor dates count. A store with nothing usable in it does not load.
//!
//! **A CA file that holds the server's own certificate** (the plain `openssl req -x509` of a home-made mail server, with
//! `CA:TRUE` or without) works: if the presented certificate is octet for octet one of the store's, no chain is built;
//! its key, dates and name are checked. That is safe because it is what a pin does, and stricter; refusing it would send
//! operators from a file they have to a digest that says the same. The name is taken from the subjectAltName; only where
//! there is none, as that command leaves it, from the common name, as openssl does: the certificate itself is the proof
//! here, the name only guards against the wrong file. Such a certificate vouches for no other one unless it says
//! `CA:TRUE`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::anchors::{self, Anchors};
use super::fault::Fault;
use super::pin::Digests;
use super::verdict::Verdict;
use crate::config::{TlsPin, Trust};

/// What decides whether a server is trusted.
#[derive(Debug)]
pub enum TrustStore {
    /// These certificates, and where they are from.
    Certificates(Anchors, String),
    /// The server's own certificate or key.
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
    /// It holds no certificate.
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

    /// The certificates of a directory's files, as openssl's `-CApath`, and of `file`; for `check`.
    ///
    /// # Errors
    /// As for [`TrustStore::load`].
    pub fn directory(directory: &Path, file: Option<&Path>) -> Result<Self, TrustError> {
        let found = rustls_native_certs::load_certs_from_paths(file, Some(directory));
        let (why, count) = (found.errors.iter().map(ToString::to_string).collect::<Vec<_>>(), found.certs.len());
        if count == 0 && !why.is_empty() {
            return Err(TrustError::Unreadable(directory.into(), why.join("; ")));
        }
        let and_file = file.map_or_else(String::new, |file| format!(" and {}", file.display()));
        store(&found.certs, |count| format!("only {}{and_file} ({count} certificates)", directory.display()))
            .ok_or_else(|| TrustError::Empty(directory.into()))
    }

    /// What it is, for `check`.
    pub fn describe(&self) -> String {
        match self {
            Self::Certificates(_, source) => source.clone(),
            Self::Pins(pins) => format!("only {} pin(s)", pins.len()),
        }
    }

    /// What is to be made of a server that presents `end` and `issuers` and should be `name`.
    pub(super) fn judge(
        &self,
        end: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Verdict {
        let (outcome, trusted) = match self {
            Self::Certificates(anchors, _) if anchors.holds(end) => {
                (same_certificate(end, name, now), Verdict::SameCertificate)
            }
            Self::Certificates(anchors, _) => (anchors.verify(end, issuers, name, now), Verdict::Chain),
            Self::Pins(pins) => match pins.iter().find(|pin| Digests::of(end).matches(pin)) {
                // The handshake's signature could not be verified by such a key.
                Some(_) if anchors::is_weak(end) => (Err(Fault::WeakKey), Verdict::Chain),
                Some(pin) => (Ok(()), Verdict::Pinned(pin.clone())),
                None => (Err(Fault::NotPinned), Verdict::Chain),
            },
        };
        let chain = [std::slice::from_ref(end), issuers].concat();
        match (outcome, self) {
            (Ok(()), _) => trusted,
            (Err(Fault::NotPinned), Self::Pins(pins)) => Verdict::not_pinned(pins, &chain),
            (Err(fault), _) => Verdict::refused(fault, &chain, name),
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
    let found = rustls_native_certs::load_native_certs();
    store(&found.certs, |_| format!("the system's roots ({source})")).ok_or(TrustError::NoRoots(source))
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
    store(&certificates, |count| format!("only {} ({count} certificates)", path.display()))
        .ok_or_else(|| TrustError::Empty(path.into()))
}

/// `None` without a single certificate: an empty store would be taken silently and trust nobody later.
fn store(certificates: &[CertificateDer<'_>], source: impl FnOnce(usize) -> String) -> Option<TrustStore> {
    let readable: Vec<CertificateDer<'_>> =
        certificates.iter().filter(|der| X509Certificate::from_der(der).is_ok()).cloned().collect();
    let anchors = Anchors::new(&readable, default_provider().signature_verification_algorithms);
    (!readable.is_empty()).then(|| {
        let source = source(anchors.count());
        TrustStore::Certificates(anchors, source)
    })
}

/// What remains to be checked of a certificate that is octet for octet a trusted one, in openssl's order.
fn same_certificate(end: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Fault> {
    let (_, read) = X509Certificate::from_der(end).map_err(|_| Fault::Unreadable)?;
    if anchors::is_weak(end) {
        return Err(Fault::WeakKey);
    }
    let has_names = read.subject_alternative_name().map_err(|_| Fault::Unreadable)?.is_some();
    match name {
        _ if has_names => {
            anchors::named(end, name).map_err(|error| anchors::fault(&error, name, std::slice::from_ref(end)))?;
        }
        ServerName::DnsName(wanted) if !has_common_name(&read, wanted.as_ref()) => return Err(Fault::HostName),
        ServerName::DnsName(_) => {}
        _ => return Err(Fault::Address),
    }
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    match read.validity() {
        validity if now < validity.not_before.timestamp() => Err(Fault::NotYetValid),
        validity if now > validity.not_after.timestamp() => Err(Fault::Expired),
        _ => Ok(()),
    }
}

fn has_common_name(certificate: &X509Certificate<'_>, wanted: &str) -> bool {
    let is_it = |name: &str| name.eq_ignore_ascii_case(wanted.trim_end_matches('.'));
    certificate.subject().iter_common_name().any(|name| name.as_str().is_ok_and(is_it))
}
