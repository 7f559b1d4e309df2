//! OpenPGP certificates for tests, each made just now: whole ones, and one for each fault.

use std::time::{Duration, SystemTime};

use sequoia_openpgp as openpgp;

use openpgp::cert::{Cert, CertBuilder, CertRevocationBuilder, SubkeyRevocationBuilder};
use openpgp::crypto::KeyPair;
use openpgp::packet::key::{Key4, PrimaryRole, SecretParts, SubordinateRole};
use openpgp::packet::signature::SignatureBuilder;
use openpgp::packet::{Key, UserID};
use openpgp::serialize::SerializeInto;
use openpgp::types::{HashAlgorithm, KeyFlags, ReasonForRevocation, SignatureType};
use openpgp::{Packet, Profile};

pub const DAY: Duration = Duration::from_secs(86_400);

/// An ordinary one, with its secret key.
pub fn ordinary(address: &str) -> Cert {
    CertBuilder::general_purpose(Some(format!("<{address}>"))).generate().expect("a key").0
}

/// An ordinary one of version 6 (RFC 9580).
pub fn version_6(address: &str) -> Cert {
    let builder = CertBuilder::general_purpose(Some(format!("<{address}>"))).set_profile(Profile::RFC9580);
    builder.expect("the profile").generate().expect("a key").0
}

/// One that was made `age` ago for `validity`.
pub fn of_age(address: &str, age: Duration, validity: Duration) -> Cert {
    let builder = CertBuilder::general_purpose(Some(format!("<{address}>")));
    builder.set_creation_time(SystemTime::now() - age).set_validity_period(validity).generate().expect("a key").0
}

/// One from the future.
pub fn of_the_future(address: &str) -> Cert {
    let builder = CertBuilder::general_purpose(Some(format!("<{address}>")));
    builder.set_creation_time(SystemTime::now() + 30 * DAY).generate().expect("a key").0
}

/// One that can only sign.
pub fn sign_only(address: &str) -> Cert {
    CertBuilder::new().add_userid(format!("<{address}>")).add_signing_subkey().generate().expect("a key").0
}

/// One whose encryption subkey expired `ago`, and whose primary key did not.
pub fn with_expired_subkey(address: &str, ago: Duration) -> Cert {
    CertBuilder::new()
        .set_creation_time(SystemTime::now() - ago - 100 * DAY)
        .add_userid(format!("<{address}>"))
        .add_subkey(KeyFlags::empty().set_transport_encryption(), 100 * DAY, None)
        .generate()
        .expect("a key")
        .0
}

/// The same certificate, revoked by itself.
pub fn revoked(certificate: &Cert) -> Cert {
    revoked_by(certificate, certificate)
}

/// The same certificate with a revocation that `other` made.
pub fn revoked_by(certificate: &Cert, other: &Cert) -> Cert {
    let revocation = CertRevocationBuilder::new()
        .set_reason_for_revocation(ReasonForRevocation::KeyCompromised, b"stolen")
        .expect("a reason")
        .build(&mut signer(other), certificate, None)
        .expect("a revocation");
    certificate.clone().insert_packets(revocation).expect("inserted").0
}

/// The same certificate with its encryption subkeys revoked.
pub fn with_revoked_subkeys(certificate: &Cert) -> Cert {
    let revocations: Vec<Packet> = encryption_subkeys(certificate)
        .iter()
        .map(|subkey| {
            SubkeyRevocationBuilder::new()
                .set_reason_for_revocation(ReasonForRevocation::KeyRetired, b"old")
                .expect("a reason")
                .build(&mut signer(certificate), certificate, subkey, None)
                .expect("a revocation")
                .into()
        })
        .collect();
    certificate.clone().insert_packets(revocations).expect("inserted").0
}

/// The encryption subkeys of an ordinary certificate.
pub fn encryption_subkeys(certificate: &Cert) -> Vec<Key<openpgp::packet::key::PublicParts, SubordinateRole>> {
    let policy = openpgp::policy::StandardPolicy::new();
    let keys = certificate.keys().subkeys().with_policy(&policy, None).for_transport_encryption();
    keys.map(|key| key.key().clone()).collect()
}

/// What is weak in a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Weak {
    /// The user id's binding is made with SHA-1.
    UserId,
    /// The subkey's binding is made with SHA-1.
    SubkeyBinding,
    /// The primary key has 1024 bits.
    Primary,
    /// The subkey has 1024 bits.
    Subkey,
}

/// One with that fault.
pub fn weak(address: &str, what: Weak) -> Cert {
    weak_since(address, what, SystemTime::now() - DAY)
}

/// The same, made at `made`.
pub fn weak_since(address: &str, what: Weak, made: SystemTime) -> Cert {
    let hash = |weak: bool| if weak { HashAlgorithm::SHA1 } else { HashAlgorithm::SHA256 };
    let mut primary: Key<SecretParts, PrimaryRole> = match what {
        Weak::Primary => Key4::generate_rsa(1024).expect("a key").into(),
        _ => Key4::generate_rsa(2048).expect("a key").into(),
    };
    let mut subkey: Key<SecretParts, SubordinateRole> = match what {
        Weak::Subkey => Key4::generate_rsa(1024).expect("a key").into(),
        _ => Key4::generate_rsa(2048).expect("a key").into(),
    };
    primary.set_creation_time(made).expect("a time");
    subkey.set_creation_time(made).expect("a time");
    let mut signer: KeyPair = primary.clone().into_keypair().expect("a key pair");
    let certificate = Cert::try_from(Packet::SecretKey(primary)).expect("a certificate");
    let user = UserID::from(format!("<{address}>"));
    let of_user = SignatureBuilder::new(SignatureType::PositiveCertification)
        .set_hash_algo(hash(what == Weak::UserId))
        .set_signature_creation_time(made)
        .expect("a time")
        .set_key_flags(KeyFlags::empty().set_certification().set_signing())
        .expect("flags");
    let of_user = user.bind(&mut signer, &certificate, of_user).expect("bound");
    let of_subkey = SignatureBuilder::new(SignatureType::SubkeyBinding)
        .set_hash_algo(hash(what == Weak::SubkeyBinding))
        .set_signature_creation_time(made)
        .expect("a time")
        .set_key_flags(KeyFlags::empty().set_transport_encryption())
        .expect("flags");
    let of_subkey = subkey.bind(&mut signer, &certificate, of_subkey).expect("bound");
    let packets: [Packet; 4] = [user.into(), of_user.into(), subkey.into(), of_subkey.into()];
    certificate.insert_packets(packets).expect("inserted").0
}

fn signer(certificate: &Cert) -> KeyPair {
    let key = certificate.primary_key().key().clone().parts_into_secret().expect("the secret key");
    key.into_keypair().expect("a key pair")
}

pub fn armored(certificate: &Cert) -> Vec<u8> {
    certificate.armored().to_vec().expect("armored")
}

pub fn binary(certificate: &Cert) -> Vec<u8> {
    certificate.to_vec().expect("serialized")
}

/// With the secret key.
pub fn secret(certificate: &Cert) -> Vec<u8> {
    certificate.as_tsk().to_vec().expect("serialized")
}

pub fn armored_secret(certificate: &Cert) -> Vec<u8> {
    certificate.as_tsk().armored().to_vec().expect("armored")
}

pub fn fingerprint(certificate: &Cert) -> String {
    certificate.fingerprint().to_hex()
}
