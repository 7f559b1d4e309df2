//! Authorities that are trusted, and the verification of a server's chain against them.
//!
//! Guarantees: `Ok` means that a chain leads from the server's certificate to an anchor, every signature, date, purpose,
//! constraint and the name verified. Only what says of itself that it is an authority is an anchor, so a server's own
//! certificate in the trust store never vouches for others. An anchor whose dates are over is none (openssl, and so the
//! stack this replaces, hold the same). On failure the first real fault is named. An attacker controls every octet of
//! the presented chain.

use std::collections::HashSet;
use std::net::IpAddr;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Version;

use super::fault::Fault;

/// Signatures by smaller RSA keys are not taken by the cryptographic library.
const LEAST_RSA_BITS: usize = 2048;

/// What is trusted.
#[derive(Debug)]
pub struct Anchors {
    /// For webpki.
    anchors: Vec<TrustAnchor<'static>>,
    /// What webpki does not look at, in the same order.
    about: Vec<About>,
    /// SHA-256 of every certificate, anchor or not.
    own: HashSet<[u8; 32]>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct About {
    subject: Vec<u8>,
    not_before: i64,
    not_after: i64,
    weak: bool,
}

impl Anchors {
    /// Of `certificates`; what cannot be read or is no authority is no anchor.
    pub fn new(certificates: &[CertificateDer<'_>], algorithms: WebPkiSupportedAlgorithms) -> Self {
        let (anchors, about) = certificates.iter().filter_map(anchor).unzip();
        let own = certificates.iter().map(|der| Sha256::digest(der).into()).collect();
        Self { anchors, about, own, algorithms }
    }

    /// How many certificates there are, anchors or not.
    pub fn count(&self) -> usize {
        self.own.len()
    }

    /// Whether `end` is octet for octet one of them.
    pub fn holds(&self, end: &CertificateDer<'_>) -> bool {
        self.own.contains(&<[u8; 32]>::from(Sha256::digest(end)))
    }

    /// Verifies the chain and the name.
    ///
    /// # Errors
    /// The first fault, in openssl's order.
    pub fn verify(
        &self,
        end: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Fault> {
        let verified = self.path(end, issuers, now, Dates::Count).and_then(|()| named(end, name));
        match verified {
            Ok(()) if is_weak(end) => Err(Fault::WeakKey),
            Ok(()) => Ok(()),
            Err(error) => Err(self.first_fault(&error, end, issuers, name)),
        }
    }

    fn path(
        &self,
        end: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
        dates: Dates,
    ) -> Result<(), Error> {
        let good = |path: &VerifiedPath<'_>| {
            if path.intermediate_certificates().any(|issuer| may_not_sign(&issuer.der())) {
                return Err(Error::EndEntityUsedAsCa);
            }
            if dates == Dates::Count { self.alive(path.anchor(), now) } else { Ok(()) }
        };
        EndEntityCert::try_from(end)?
            .verify_for_usage(
                self.algorithms.all,
                &self.anchors,
                issuers,
                now,
                KeyUsage::server_auth(),
                None,
                Some(&good),
            )
            .map(|_| ())
    }

    /// webpki goes on to look for another path when this one is refused.
    fn alive(&self, anchor: &TrustAnchor<'_>, now: UnixTime) -> Result<(), Error> {
        let about = self.anchors.iter().zip(&self.about).find(|(known, _)| std::ptr::eq(*known, anchor));
        let time = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match about {
            Some((_, about)) if time > about.not_after => {
                Err(Error::CertExpired { time: now, not_after: unix(about.not_after) })
            }
            Some((_, about)) if time < about.not_before => {
                Err(Error::CertNotValidYet { time: now, not_before: unix(about.not_before) })
            }
            Some(_) => Ok(()),
            None => Err(Error::UnknownIssuer),
        }
    }

    /// webpki stops at the first fault in its own order; the others are looked for, and the first in openssl's is told.
    fn first_fault(
        &self,
        error: &Error,
        end: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Fault {
        let chain = [std::slice::from_ref(end), issuers].concat();
        let walk = self.walk(&chain);
        let at_a_good_time = self.path(end, issuers, common_time(&walk.certificates), Dates::Ignore);
        let mut faults = vec![fault(error, name, &chain)];
        faults.extend(walk.fault);
        faults.extend(at_a_good_time.err().map(|error| fault(&error, name, &chain)));
        faults.extend(named(end, name).err().map(|error| fault(&error, name, &chain)));
        faults.extend(is_weak(end).then_some(Fault::WeakKey));
        faults.extend(walk.weak_issuer.then_some(Fault::WeakIssuerKey));
        faults.into_iter().min().unwrap_or(Fault::Unreadable)
    }

    /// Goes from the server's certificate up by names alone.
    fn walk<'c>(&self, chain: &'c [CertificateDer<'c>]) -> Walk<'c> {
        let mut rest: Vec<X509Certificate<'c>> =
            chain.iter().filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, read)| read).collect();
        let mut walk = Walk { certificates: Vec::new(), fault: None, weak_issuer: false };
        if rest.is_empty() {
            return walk;
        }
        let mut current = rest.remove(0);
        // Bounded: each step uses up one of the presented certificates.
        loop {
            let issuer = current.issuer().as_raw().to_vec();
            let self_issued = current.subject().as_raw() == issuer;
            walk.weak_issuer |= !walk.certificates.is_empty() && rsa_is_weak(&current);
            walk.certificates.push(current);
            let anchor = self.about.iter().find(|about| about.subject == issuer);
            // A renewed self-signed certificate has the name of the one that is trusted; it is another one all the same.
            if let Some(anchor) = anchor.filter(|_| !self_issued || walk.certificates.len() > 1) {
                walk.weak_issuer |= anchor.weak;
                return walk;
            }
            let next = rest.iter().position(|other| other.subject().as_raw() == issuer).filter(|_| !self_issued);
            match next {
                Some(at) => current = rest.remove(at),
                None => {
                    walk.fault = Some(match (self_issued, walk.certificates.len()) {
                        (true, 1) => Fault::SelfSigned,
                        (true, _) => Fault::UntrustedRoot,
                        (false, _) => Fault::UnknownIssuer,
                    });
                    return walk;
                }
            }
        }
    }
}

/// Whether the dates of certificates count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dates {
    Count,
    Ignore,
}

/// What the names of a chain lead to.
struct Walk<'c> {
    certificates: Vec<X509Certificate<'c>>,
    /// They do not lead to an anchor.
    fault: Option<Fault>,
    weak_issuer: bool,
}

/// An authority: X.509 v3 says so in its basic constraints; v1, which cannot, by being a root.
fn anchor(der: &CertificateDer<'_>) -> Option<(TrustAnchor<'static>, About)> {
    let (_, read) = X509Certificate::from_der(der).ok()?;
    let is_authority = match read.basic_constraints().ok()? {
        Some(constraints) => constraints.value.ca,
        None => read.version() == X509Version::V1 && read.subject() == read.issuer(),
    };
    let anchor = webpki::anchor_from_trusted_cert(der).ok().filter(|_| is_authority)?;
    let about = About {
        subject: read.subject().as_raw().to_vec(),
        not_before: read.validity().not_before.timestamp(),
        not_after: read.validity().not_after.timestamp(),
        weak: rsa_is_weak(&read),
    };
    Some((anchor.to_owned(), about))
}

/// An issuer whose keyUsage leaves out keyCertSign (RFC 5280 4.2.1.3), which webpki does not look at.
fn may_not_sign(issuer: &CertificateDer<'_>) -> bool {
    let Ok((_, read)) = X509Certificate::from_der(issuer) else { return true };
    !matches!(read.key_usage(), Ok(None)) && !matches!(read.key_usage(), Ok(Some(usage)) if usage.value.key_cert_sign())
}

/// The name alone, as RFC 9525 wants it: in the subjectAltName, never in the subject.
pub fn named(end: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    EndEntityCert::try_from(end)?.verify_is_valid_for_subject_name(name)
}

/// Whether a certificate's key is an RSA key whose signatures are not taken.
pub fn is_weak(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, read)| rsa_is_weak(&read))
}

fn rsa_is_weak(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.public_key().parsed(), Ok(PublicKey::RSA(rsa)) if rsa.key_size() < LEAST_RSA_BITS)
}

/// The number is openssl's for the same thing; see [`Fault`].
pub fn fault(error: &Error, name: &ServerName<'_>, chain: &[CertificateDer<'_>]) -> Fault {
    match error {
        Error::UnknownIssuer => Fault::UnknownIssuer,
        Error::CertExpired { .. } => Fault::Expired,
        Error::CertNotValidYet { .. } => Fault::NotYetValid,
        Error::CertNotValidForName(_) if matches!(name, ServerName::IpAddress(_)) => Fault::Address,
        Error::CertNotValidForName(_) => Fault::HostName,
        Error::RequiredEkuNotFoundContext(_) | Error::CaUsedAsEndEntity | Error::EmptyEkuExtension => Fault::Purpose,
        Error::EndEntityUsedAsCa => Fault::InvalidCa,
        Error::PathLenConstraintViolated => Fault::PathLength,
        Error::NameConstraintViolation if only_excludes(chain) => Fault::Excluded,
        Error::NameConstraintViolation => Fault::NotPermitted,
        Error::UnsupportedCriticalExtension => Fault::CriticalExtension,
        Error::InvalidSignatureForPublicKey | Error::SignatureAlgorithmMismatch => Fault::BadSignature,
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            Fault::WeakSignature
        }
        Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => Fault::ChainTooLong,
        _ => Fault::Unreadable,
    }
}

/// webpki does not say which kind of constraint was violated; without a permitted subtree it is an excluded one.
fn only_excludes(chain: &[CertificateDer<'_>]) -> bool {
    let permits = |der: &CertificateDer<'_>| {
        let Ok((_, read)) = X509Certificate::from_der(der) else { return false };
        read.extensions().iter().any(|extension| {
            matches!(extension.parsed_extension(),
                ParsedExtension::NameConstraints(constraints) if constraints.permitted_subtrees.is_some())
        })
    };
    !chain.iter().any(permits)
}

/// A time at which all of the certificates are valid, or at least the first.
fn common_time(chain: &[X509Certificate<'_>]) -> UnixTime {
    let from = |one: &X509Certificate<'_>| one.validity().not_before.timestamp();
    let to = |one: &X509Certificate<'_>| one.validity().not_after.timestamp();
    let latest = chain.iter().map(from).max().unwrap_or_default();
    let earliest = chain.iter().map(to).min().unwrap_or_default();
    unix(if latest <= earliest { latest } else { chain.first().map(from).unwrap_or_default() })
}

fn unix(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// The names a certificate says it is for, as text; for messages.
pub fn names(der: &CertificateDer<'_>) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    let Ok((_, read)) = X509Certificate::from_der(der) else { return Vec::new() };
    let Ok(Some(names)) = read.subject_alternative_name() else { return Vec::new() };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| IpAddr::from(octets).to_string()),
            _ => <[u8; 16]>::try_from(*octets).ok().map(|octets| IpAddr::from(octets).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}
