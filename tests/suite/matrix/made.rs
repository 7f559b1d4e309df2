//! Certificates of every kind, made fresh with the system's OpenSSL library, which makes bad ones too.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameBuilder};

pub type Key = PKey<Private>;

/// A certificate and its key.
#[derive(Clone)]
pub struct Made {
    pub x509: X509,
    pub key: Key,
}

/// What a certificate shall be; what is not named is a good one's.
#[derive(Clone)]
pub struct Spec {
    pub name: &'static str,
    /// `DNS:`, `IP:` entries; empty for no subjectAltName.
    pub names: Vec<&'static str>,
    pub authority: Authority,
    pub key: Key,
    pub digest: MessageDigest,
    /// From and to, in days from now.
    pub days: (i64, i64),
    pub usage: Vec<&'static str>,
    /// Name constraints as openssl's configuration writes them.
    pub constraints: Option<&'static str>,
    pub critical_unknown: bool,
    pub v1: bool,
    /// Whether it names its issuer's key, and its own.
    pub key_identifiers: bool,
    /// DER of a subjectAltName in place of `names`.
    pub raw_names: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Authority {
    /// `CA:TRUE`, with so many authorities below.
    Yes(Option<u32>),
    /// `CA:TRUE` and a keyUsage without keyCertSign.
    WithoutSigning,
    /// `CA:FALSE`.
    No,
    /// Nothing is said.
    Silent,
}

pub fn ec(curve: Nid) -> Key {
    let group = EcGroup::from_curve_name(curve).expect("a curve");
    PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key")
}

pub fn p256() -> Key {
    ec(Nid::X9_62_PRIME256V1)
}

pub fn rsa(bits: u32) -> Key {
    PKey::from_rsa(Rsa::generate(bits).expect("a key")).expect("a key")
}

/// A key that may only sign by RSA-PSS; the library's binding has no call for it.
pub fn rsa_pss() -> Key {
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output()
        .expect("openssl runs");
    PKey::private_key_from_pem(&made.stdout).expect("a key")
}

/// `openssl req -x509` as every guide has it: a common name, no subjectAltName, and whatever it adds by itself.
pub fn as_every_guide_has_it() -> Made {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365", "-subj", "/CN=localhost"])
        .args(["-keyout", &path("key"), "-out", &path("certificate")])
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("made");
    Made {
        x509: X509::from_pem(&read("certificate")).expect("a certificate"),
        key: PKey::private_key_from_pem(&read("key")).expect("a key"),
    }
}

impl Spec {
    /// A server's, for `localhost`.
    pub fn server() -> Self {
        Self {
            name: "localhost",
            names: vec!["DNS:localhost"],
            authority: Authority::No,
            key: p256(),
            digest: MessageDigest::sha256(),
            days: (-1, 90),
            usage: Vec::new(),
            constraints: None,
            critical_unknown: false,
            v1: false,
            key_identifiers: true,
            raw_names: None,
        }
    }

    /// An authority's.
    pub fn authority(name: &'static str) -> Self {
        let authority = Authority::Yes(None);
        Self { name, names: Vec::new(), authority, days: (-10, 3650), ..Self::server() }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub fn self_signed(self) -> Made {
        let (subject, key) = (name(self.name), self.key.clone());
        self.signed(&subject, &key, None)
    }

    pub fn by(self, issuer: &Made) -> Made {
        self.signed(&issuer.x509.subject_name().to_owned().expect("a name"), &issuer.key, Some(&issuer.x509))
    }

    fn signed(self, issuer_name: &X509Name, issuer_key: &Key, issuer: Option<&X509>) -> Made {
        let mut builder = X509::builder().expect("a builder");
        builder.set_version(if self.v1 { 0 } else { 2 }).expect("version");
        builder.set_serial_number(&serial()).expect("serial");
        builder.set_subject_name(&name(self.name)).expect("subject");
        builder.set_issuer_name(issuer_name).expect("issuer");
        builder.set_pubkey(&self.key).expect("key");
        builder.set_not_before(&day(self.days.0)).expect("date");
        builder.set_not_after(&day(self.days.1)).expect("date");
        if !self.v1 {
            self.extend(&mut builder, issuer);
        }
        let digest = if edwards(issuer_key) { MessageDigest::null() } else { self.digest };
        builder.sign(issuer_key, digest).expect("signed");
        Made { x509: builder.build(), key: self.key }
    }

    fn extend(&self, builder: &mut X509Builder, issuer: Option<&X509>) {
        let mut constraints = BasicConstraints::new();
        match self.authority {
            Authority::Yes(length) => {
                constraints.critical().ca();
                length.iter().for_each(|length| {
                    constraints.pathlen(*length);
                });
            }
            Authority::WithoutSigning => {
                constraints.critical().ca();
                let usage = KeyUsage::new().critical().crl_sign().build().expect("usage");
                builder.append_extension(usage).expect("extension");
            }
            Authority::No | Authority::Silent => {}
        }
        if self.authority != Authority::Silent {
            builder.append_extension(constraints.build().expect("constraints")).expect("extension");
        }
        if !self.names.is_empty() && self.raw_names.is_none() {
            let mut names = SubjectAlternativeName::new();
            for entry in &self.names {
                match entry.split_once(':').expect("KIND:NAME") {
                    ("DNS", name) => names.dns(name),
                    (_, address) => names.ip(address),
                };
            }
            let names = names.build(&builder.x509v3_context(None, None)).expect("names");
            builder.append_extension(names).expect("extension");
        }
        if let Some(der) = &self.raw_names {
            builder.append_extension(raw("2.5.29.17", false, der)).expect("extension");
        }
        if !self.usage.is_empty() {
            let mut usage = ExtendedKeyUsage::new();
            self.usage.iter().for_each(|one| {
                usage.other(one);
            });
            builder.append_extension(usage.build().expect("usage")).expect("extension");
        }
        if let Some(constraints) = self.constraints {
            // Deprecated for the text it takes, which is just what a table wants.
            #[allow(deprecated)]
            let extension =
                X509Extension::new_nid(None, None, Nid::NAME_CONSTRAINTS, constraints).expect("constraints");
            builder.append_extension(extension).expect("extension");
        }
        if self.critical_unknown {
            builder.append_extension(raw("1.3.6.1.4.1.55555.1", true, &[5, 0])).expect("extension");
        }
        if self.key_identifiers {
            use openssl::x509::extension::{AuthorityKeyIdentifier, SubjectKeyIdentifier};
            let own = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None)).expect("identifier");
            builder.append_extension(own).expect("extension");
            if let Some(issuer) = issuer.filter(|issuer| issuer.subject_key_id().is_some()) {
                let context = builder.x509v3_context(Some(issuer), None);
                let theirs = AuthorityKeyIdentifier::new().keyid(true).build(&context).expect("identifier");
                builder.append_extension(theirs).expect("extension");
            }
        }
    }
}

fn raw(oid: &str, critical: bool, der: &[u8]) -> X509Extension {
    let oid = Asn1Object::from_str(oid).expect("an OID");
    let value = Asn1OctetString::new_from_bytes(der).expect("octets");
    X509Extension::new_from_der(&oid, critical, &value).expect("an extension")
}

fn edwards(key: &Key) -> bool {
    use openssl::pkey::Id;
    matches!(key.id(), Id::ED25519 | Id::ED448)
}

fn name(common_name: &str) -> X509Name {
    let mut name = X509NameBuilder::new().expect("a builder");
    name.append_entry_by_text("CN", common_name).expect("a name");
    name.build()
}

fn day(offset: i64) -> Asn1Time {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    Asn1Time::from_unix(i64::try_from(now).expect("a time") + offset * 86_400).expect("a date")
}

fn serial() -> openssl::asn1::Asn1Integer {
    static NEXT: AtomicU32 = AtomicU32::new(1000);
    let number = BigNum::from_u32(NEXT.fetch_add(1, Ordering::Relaxed)).expect("a number");
    number.to_asn1_integer().expect("a serial number")
}
