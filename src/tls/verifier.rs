//! One connection's verifier, as rustls asks it: the trust store's verdict, and always the handshake's signature.
//!
//! Guarantees: whatever decides about trust, the server has proved with a signature over this very handshake that it
//! owns the key of the certificate it presented; a copied certificate without its key is worth nothing. An attacker
//! controls certificates and signature.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, verify_tls12_signature, verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use webpki::{EndEntityCert, RawPublicKeyEntity};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::trust::TrustStore;
use super::{Handshake, Verdict};

/// Asks the store, remembers what it saw.
#[derive(Debug)]
pub struct Verifier {
    store: Arc<TrustStore>,
    provider: Arc<CryptoProvider>,
    handshake: Handshake,
    /// Verified in place of the name that was connected to.
    name: Option<ServerName<'static>>,
    seen: Mutex<(Vec<CertificateDer<'static>>, Option<Verdict>)>,
}

impl Verifier {
    /// For one connection.
    pub fn new(
        store: Arc<TrustStore>,
        provider: Arc<CryptoProvider>,
        handshake: Handshake,
        name: Option<ServerName<'static>>,
    ) -> Self {
        Self { store, provider, handshake, name, seen: Mutex::default() }
    }

    /// The chain as presented, and the verdict.
    pub fn seen(&self) -> (Vec<CertificateDer<'static>>, Option<Verdict>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key of a certificate that webpki cannot read (X.509 v1, an odd extension), if this very certificate is
    /// trusted, so that nothing else in it matters.
    fn key_of_unreadable(&self, certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
        let is_trusted = matches!(self.seen().1, Some(Verdict::Pinned(_) | Verdict::SameCertificate));
        if !is_trusted || EndEntityCert::try_from(certificate).is_ok() {
            return None;
        }
        let (_, read) = X509Certificate::from_der(certificate).ok()?;
        Some(SubjectPublicKeyInfoDer::from(read.public_key().raw.to_vec()))
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
        let name = self.name.as_ref().unwrap_or(name);
        let verdict = self.store.judge(end, issuers, name, now);
        let chain = std::iter::once(end).chain(issuers).map(|one| one.clone().into_owned()).collect();
        // `check` goes on to show all; `Tls::connect` gives the connection up behind the handshake.
        let goes_on = verdict.is_trusted() || self.handshake == Handshake::Complete;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = (chain, Some(verdict));
        if goes_on {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let Some(key) = self.key_of_unreadable(certificate) else {
            return verify_tls12_signature(message, certificate, signed, algorithms);
        };
        let refused = |_| Error::InvalidCertificate(CertificateError::BadSignature);
        let key = RawPublicKeyEntity::try_from(&key).map_err(refused)?;
        // In TLS 1.2 a scheme does not say which curve: each algorithm of the scheme may be the key's.
        let mapped = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme).map(|(_, mapped)| *mapped);
        let verified = mapped
            .unwrap_or_default()
            .iter()
            .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
        match verified {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match self.key_of_unreadable(certificate) {
            None => verify_tls13_signature(message, certificate, signed, algorithms),
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, signed, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
