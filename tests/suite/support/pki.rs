//! A throw-away CA and what it issues.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

/// A server's certificate and key.
#[derive(Clone)]
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Vec<u8>,
}

/// An authority.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `name`, valid now.
    pub fn issue(&self, name: &str) -> Identity {
        self.issue_with(name, |_| ())
    }

    /// The same, over since 2020.
    pub fn issue_expired(&self, name: &str) -> Identity {
        self.issue_with(name, |params| {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        })
    }

    /// The same, over in less than so many days.
    pub fn issue_for_days(&self, name: &str, days: u64) -> Identity {
        let end = std::time::SystemTime::now() + std::time::Duration::from_secs(days * 24 * 3600 - 600);
        self.issue_with(name, |params| params.not_after = end.into())
    }

    /// One certificate for `name`, over in less than so many days, by the key of an intermediate that was renewed
    /// twice: three chains that differ in nothing but the intermediate's certificate.
    pub fn issue_below_renewed(&self, name: &str, days: u64) -> [Identity; 3] {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "intermediate");
        let renewed = [1_u64, 2, 3].map(|serial| {
            params.serial_number = Some(serial.into());
            params.signed_by(&key, &self.issuer).expect("signed")
        });
        let intermediate = Self { pem: renewed[0].pem(), issuer: Issuer::new(params, key) };
        let identity = intermediate.issue_for_days(name, days);
        renewed.map(|one| {
            let mut identity = identity.clone();
            identity.chain.push(one.der().clone());
            identity
        })
    }

    fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Identity { chain: vec![certificate.der().clone()], key: key.serialize_der() }
    }
}

impl Identity {
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    /// Certificate and key as PEM files have them.
    pub fn pem(&self) -> (String, String) {
        let block = |label: &str, octets: &[u8]| {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(octets);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        (block("CERTIFICATE", &self.chain[0]), block("PRIVATE KEY", &self.key))
    }

    /// Seconds since 1970 at which its certificate ends, as OpenSSL reads it.
    pub fn expires(&self) -> u64 {
        let certificate = openssl::x509::X509::from_der(&self.chain[0]).expect("a certificate");
        let epoch = openssl::asn1::Asn1Time::from_unix(0).expect("a time");
        let left = epoch.diff(certificate.not_after()).expect("a span");
        u64::try_from(i64::from(left.days) * 86_400 + i64::from(left.secs)).expect("after 1970")
    }

    /// The pin of its certificate.
    pub fn sha256_pin(&self) -> String {
        format!("sha256:{}", colon_hex(&Sha256::digest(&self.chain[0])))
    }
}

/// As openssl prints fingerprints.
pub fn colon_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
}
