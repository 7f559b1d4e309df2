//! A certificate as `check` shows it.

use serde::Serialize;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::tls::Digests;

/// One certificate of a chain.
#[derive(Serialize, Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its subject.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// The kind of its key and its size in bits.
    pub key: String,
    /// RFC 2822 text, as openssl prints it.
    pub not_before: String,
    /// The same.
    pub not_after: String,
    /// Days left; negative when it has expired.
    pub days_left: i64,
    /// Ready to paste as `pins`.
    pub pins: Vec<String>,
}

impl Shown {
    /// Of a DER certificate; what cannot be parsed is said to be so.
    pub fn of(der: &[u8], now: i64) -> Self {
        let pins = Digests::of(der).as_pins();
        let Ok((_, certificate)) = X509Certificate::from_der(der) else {
            let unreadable = "(cannot be parsed)".to_owned();
            return Self {
                subject: unreadable.clone(),
                issuer: unreadable.clone(),
                key: unreadable,
                not_before: String::new(),
                not_after: String::new(),
                days_left: 0,
                pins,
            };
        };
        let validity = certificate.validity();
        Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            key: key(&certificate),
            not_before: validity.not_before.to_string(),
            not_after: validity.not_after.to_string(),
            days_left: (validity.not_after.timestamp() - now).div_euclid(86_400),
            pins,
        }
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
