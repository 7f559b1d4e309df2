//! What a verifier makes of a server's certificates.

use std::fmt;

use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::anchors::names;
use super::fault::{Code, Fault};
use super::pin::Digests;
use crate::config::TlsPin;
use crate::envelope::printable;

/// At most this many names of a certificate are quoted.
const NAMES: usize = 8;

/// The verdict on one server.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The chain leads to a trusted root and the name fits.
    Chain,
    /// The trust store holds this very certificate; name and dates fit.
    SameCertificate,
    /// This pin matched; neither chain, name nor dates were looked at.
    Pinned(TlsPin),
    /// No pin matched: what was expected, and the same forms of what was presented.
    PinMismatch {
        /// As configured.
        expected: Vec<String>,
        /// In the same forms.
        presented: Vec<String>,
        /// What one of the pins is instead, if it is something near.
        instead: Option<String>,
    },
    /// It is not trusted: why, and what that rests on.
    Refused(Fault, String),
}

impl Verdict {
    /// Whether the server is the right one.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::Chain | Self::SameCertificate | Self::Pinned(_))
    }

    /// What is wrong, if anything is.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Chain | Self::SameCertificate | Self::Pinned(_) => None,
            Self::PinMismatch { .. } => Some(Fault::NotPinned),
            Self::Refused(fault, _) => Some(*fault),
        }
    }

    /// openssl's number and text. 0 still means nothing unless the handshake was completed too.
    pub fn code(&self) -> Code {
        self.fault().map_or((0, "ok"), Fault::code)
    }

    /// No pin matched `chain`, the server's own certificate first.
    pub(super) fn not_pinned(pins: &[TlsPin], chain: &[CertificateDer<'_>]) -> Self {
        let presented = chain.first().map(|end| Digests::of(end));
        let like = |pin: &TlsPin| presented.as_ref().map(|digests| digests.like(pin));
        let forms: std::collections::BTreeSet<String> = pins.iter().filter_map(like).collect();
        Self::PinMismatch {
            expected: pins.iter().map(TlsPin::to_string).collect(),
            presented: forms.into_iter().collect(),
            instead: pins.iter().find_map(|pin| instead(pin, chain)),
        }
    }

    /// Not trusted because of `fault`, with the facts that an operator compares.
    pub(super) fn refused(fault: Fault, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Self {
        let facts = match fault {
            Fault::HostName | Fault::Address => for_names(chain, name),
            Fault::Expired | Fault::NotYetValid => dates(chain),
            Fault::UnknownIssuer | Fault::UntrustedRoot => last_issuer(chain),
            _ => String::new(),
        };
        Self::Refused(fault, facts)
    }
}

/// A pin that names something else of what was presented: an issuer, or the same certificate in another form.
fn instead(pin: &TlsPin, chain: &[CertificateDer<'_>]) -> Option<String> {
    let issuer = chain.iter().skip(1).find(|der| Digests::of(der).matches(pin));
    if let Some(issuer) = issuer {
        let whose = X509Certificate::from_der(issuer).map(|(_, read)| read.subject().to_string()).unwrap_or_default();
        return Some(format!("{pin} is an issuer's ({}); pin the server's own", printable(whose.as_bytes())));
    }
    let other = match pin {
        TlsPin::Sha256(digest) => TlsPin::SpkiSha256(*digest),
        TlsPin::SpkiSha256(digest) => TlsPin::Sha256(*digest),
        TlsPin::Sha1(_) => return None,
    };
    let matches = chain.first().is_some_and(|end| Digests::of(end).matches(&other));
    matches.then(|| format!("{pin} is what was presented, but in another form: write {other}"))
}

fn for_names(chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> String {
    let name = name.to_str();
    let all = chain.first().map(names).unwrap_or_default();
    let shown: Vec<String> = all.iter().take(NAMES).map(|name| printable(name.as_bytes())).collect();
    match (shown.is_empty(), all.len() > NAMES) {
        (true, _) => format!("{name} is wanted, and it names none in its subjectAltName"),
        (false, false) => format!("{name} is wanted, it is for {}", shown.join(", ")),
        (false, true) => format!("{name} is wanted, it is for {} and others", shown.join(", ")),
    }
}

fn dates(chain: &[CertificateDer<'_>]) -> String {
    let Some(Ok((_, read))) = chain.first().map(|der| X509Certificate::from_der(der)) else { return String::new() };
    format!("the server's own is valid from {} to {}", read.validity().not_before, read.validity().not_after)
}

fn last_issuer(chain: &[CertificateDer<'_>]) -> String {
    let Some(Ok((_, read))) = chain.last().map(|der| X509Certificate::from_der(der)) else { return String::new() };
    format!("the last one presented is issued by {}", printable(read.issuer().to_string().as_bytes()))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain => write!(f, "the certificate chain and the name are verified"),
            Self::SameCertificate => {
                write!(f, "the certificate itself is among the trusted ones; its name and dates are verified")
            }
            Self::Pinned(pin) => write!(f, "the pin {pin} matched (neither chain, name nor dates count)"),
            Self::PinMismatch { expected, presented, instead } => {
                let (expected, presented) = (expected.join(" or "), presented.join(" = "));
                write!(
                    f,
                    "the server's certificate is not the pinned one: expected {expected}, presented {presented}"
                )?;
                instead.iter().try_for_each(|instead| write!(f, "; {instead}"))
            }
            Self::Refused(fault, facts) => {
                write!(f, "the server's certificate is not trusted: {fault}")?;
                if facts.is_empty() { Ok(()) } else { write!(f, " ({facts})") }
            }
        }
    }
}
