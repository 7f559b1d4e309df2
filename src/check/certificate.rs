//! A certificate as `check` shows it: nothing in it is ours, so all text is made printable.

use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::envelope::printable;
use crate::tls::{Digests, names};

/// One certificate of a chain.
#[derive(Serialize, Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its subject.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// Host names and addresses it is for.
    pub names: Vec<String>,
    /// The kind of its key and its size in bits, and the algorithm it is signed by.
    pub key: String,
    /// Its dates, in words.
    pub not_before: String,
    /// The same.
    pub not_after: String,
    /// Days left; negative when it has expired.
    pub days_left: i64,
    /// Ready to paste as `pins`.
    pub pins: Vec<String>,
    /// The certificate itself, if it was asked for.
    pub pem: Option<String>,
}

impl Shown {
    /// Of a DER certificate at `now`, seconds since 1970; what cannot be parsed is said to be so.
    pub fn of(der: &rustls::pki_types::CertificateDer<'_>, now: i64, with_itself: bool) -> Self {
        let unreadable = || "(cannot be parsed)".to_owned();
        let mut shown = Self {
            subject: unreadable(),
            issuer: unreadable(),
            names: names(der).iter().map(|name| printable(name.as_bytes())).collect(),
            key: unreadable(),
            not_before: String::new(),
            not_after: String::new(),
            days_left: 0,
            pins: Digests::of(der).as_pins(),
            pem: with_itself.then(|| pem(der)),
        };
        if let Ok((_, certificate)) = X509Certificate::from_der(der) {
            let validity = certificate.validity();
            shown.subject = printable(certificate.subject().to_string().as_bytes());
            shown.issuer = printable(certificate.issuer().to_string().as_bytes());
            shown.key = format!("{}; sigalg: {}", key(&certificate), signature(&certificate));
            shown.not_before = validity.not_before.to_string();
            shown.not_after = validity.not_after.to_string();
            shown.days_left = (validity.not_after.timestamp() - now).div_euclid(86_400);
        }
        shown
    }
}

fn key(certificate: &X509Certificate<'_>) -> String {
    use x509_parser::public_key::PublicKey;
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(rsa)) => format!("RSA, {} bit", rsa.key_size()),
        Ok(PublicKey::EC(point)) => format!("EC, {} bit", point.key_size()),
        _ => format!("algorithm {}", certificate.public_key().algorithm.algorithm),
    }
}

fn signature(certificate: &X509Certificate<'_>) -> String {
    use x509_parser::oid_registry::{OidRegistry, format_oid};
    let oid = &certificate.signature_algorithm.algorithm;
    let registry = OidRegistry::default().with_crypto();
    format_oid(oid, &registry)
}

/// RFC 7468.
fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<String> =
        encoded.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
