//! openssl's `Verify return code`: its numbers and texts, for the first real fault.
//!
//! rustls names one fault; where openssl has several numbers for it, the shape of the chain decides. Never 0 unless the
//! verdict is one of trust.

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::tls::Verdict;

/// openssl's number and text.
pub type Code = (u32, &'static str);

/// What openssl would call `verdict`, on `chain`, for a server named `host`.
pub fn of(verdict: &Verdict, chain: &[CertificateDer<'_>], host: &str) -> Code {
    match verdict {
        Verdict::Chain | Verdict::SameCertificate | Verdict::Pinned(_) => (0, "ok"),
        Verdict::PinMismatch { .. } => (50, "application verification failure"),
        Verdict::Unreadable(_) => (1, "unspecified certificate verification error"),
        Verdict::Refused(error) => refused(error, chain, host),
    }
}

fn refused(error: &CertificateError, chain: &[CertificateDer<'_>], host: &str) -> Code {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => unknown_issuer(chain),
        E::Expired | E::ExpiredContext { .. } => (10, "certificate has expired"),
        E::NotValidYet | E::NotValidYetContext { .. } => (9, "certificate is not yet valid"),
        E::NotValidForName | E::NotValidForNameContext { .. } if host.parse::<std::net::IpAddr>().is_ok() => {
            (64, "IP address mismatch")
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => (62, "hostname mismatch"),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => (26, "unsuitable certificate purpose"),
        E::Revoked => (23, "certificate revoked"),
        E::BadSignature => (7, "certificate signature failure"),
        E::UnsupportedSignatureAlgorithmContext { .. } | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            (68, "CA signature digest algorithm too weak")
        }
        E::UnhandledCriticalExtension => (34, "unhandled critical extension"),
        E::ApplicationVerificationFailure => (50, "application verification failure"),
        E::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::NameConstraintViolation) => (47, "permitted subtree violation"),
            Some(webpki::Error::UnsupportedCriticalExtension) => (34, "unhandled critical extension"),
            Some(webpki::Error::PathLenConstraintViolated) => (25, "path length constraint exceeded"),
            Some(webpki::Error::CaUsedAsEndEntity) => (18, "self-signed certificate"),
            Some(webpki::Error::EndEntityUsedAsCa) => (79, "invalid CA certificate"),
            _ => (1, "unspecified certificate verification error"),
        },
        _ => (1, "unspecified certificate verification error"),
    }
}

/// Who the issuer is nobody knows: openssl's number says how far the chain went.
fn unknown_issuer(chain: &[CertificateDer<'_>]) -> Code {
    let self_issued = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der).is_ok_and(|(_, certificate)| certificate.subject() == certificate.issuer())
    };
    match chain {
        [only] if self_issued(only) => (18, "self-signed certificate"),
        [_] => (21, "unable to verify the first certificate"),
        [.., last] if self_issued(last) => (19, "self-signed certificate in certificate chain"),
        _ => (20, "unable to get local issuer certificate"),
    }
}
