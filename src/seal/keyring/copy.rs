//! The last usable copy of a certificate, in the state directory: `certificates/FINGERPRINT.pgp`.
//!
//! It is what sealing goes on with when the configured file breaks, and it keeps every revocation ever seen. Its
//! modification time says when it was last usable: if only a newer policy refuses it, its keys are those of then.
//! Only what the certificate's own key has signed is kept: signatures of others prove nothing here, and what somebody
//! appended to the file once must not stay for ever.
//!
//! On failure to write it, it is missing later, which is no reason to stop now.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sequoia_openpgp as openpgp;

use openpgp::packet::Signature;
use openpgp::serialize::SerializeInto;
use openpgp::{Cert, Packet};

use super::file::Files;
use super::unusable::Unusable;
use crate::config::OpenPgpFingerprint;
use crate::maillog;
use crate::spool::replace;

/// Where the copy of one certificate is, and what it was at the start.
pub struct Copy {
    file: PathBuf,
    /// What is there, if it can be read.
    pub certificate: Option<Cert>,
    /// When it was last usable, if it ever was.
    pub worked_at: Option<SystemTime>,
}

impl Copy {
    /// Reads the copy of `fingerprint`'s certificate in `state`.
    pub fn read(state: &Path, fingerprint: &OpenPgpFingerprint) -> Self {
        let file = state.join("certificates").join(format!("{fingerprint}.pgp"));
        let certificate = match Files::read(std::slice::from_ref(&file)).find(fingerprint) {
            Ok(certificate) => Some(certificate),
            Err(trouble) => {
                if !matches!(&trouble, Unusable::Unreadable(..) if !file.exists()) {
                    maillog::hindered(
                        "the last usable copy cannot be used; what it knew is lost",
                        &trouble.to_string(),
                    );
                }
                None
            }
        };
        let worked_at = fs::metadata(&file).and_then(|file| file.modified()).ok();
        Self { file, certificate, worked_at }
    }

    /// Replaces the copy by `certificate`, which was last usable at `worked_at`.
    pub fn keep(&self, certificate: &Cert, worked_at: SystemTime) {
        if let Err(why) = self.write(certificate, worked_at) {
            maillog::hindered("the last usable copy of a certificate cannot be kept", &format!("{why:#}"));
        }
    }

    fn write(&self, certificate: &Cert, worked_at: SystemTime) -> openpgp::Result<()> {
        let octets = own_words(certificate)?.to_vec()?;
        fs::create_dir_all(self.file.parent().unwrap_or(Path::new(".")))?;
        replace(&self.file, &octets)?;
        Ok(File::open(&self.file)?.set_modified(worked_at)?)
    }
}

/// The certificate's keys and user ids with the signatures and revocations that its own key made.
fn own_words(certificate: &Cert) -> openpgp::Result<Cert> {
    fn bound<'a>(
        component: Packet,
        signatures: impl Iterator<Item = &'a Signature>,
        revocations: impl Iterator<Item = &'a Signature>,
    ) -> impl Iterator<Item = Packet> {
        [component].into_iter().chain(signatures.chain(revocations).cloned().map(Packet::from))
    }
    let primary = certificate.primary_key();
    let mut packets: Vec<Packet> =
        bound(primary.key().clone().into(), primary.self_signatures(), primary.self_revocations()).collect();
    for user in certificate.userids() {
        packets.extend(bound(user.userid().clone().into(), user.self_signatures(), user.self_revocations()));
    }
    for subkey in certificate.keys().subkeys() {
        packets.extend(bound(subkey.key().clone().into(), subkey.self_signatures(), subkey.self_revocations()));
    }
    Cert::from_packets(packets.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use openpgp::cert::{CertBuilder, CertRevocationBuilder};
    use openpgp::types::SignatureType;

    #[test]
    fn a_copy_keeps_what_the_certificates_own_key_signed_and_nothing_else() {
        let made =
            |address: &str| CertBuilder::general_purpose(Some(format!("<{address}>"))).generate().expect("a key");
        let ((certificate, revocation), (other, _)) = (made("a@example.org"), made("b@example.org"));
        let certificate = certificate.strip_secret_key_material();
        let primary = other.primary_key().key().clone().parts_into_secret().expect("secret");
        let mut signer = primary.into_keypair().expect("a key pair");
        let user = certificate.userids().next().expect("a user id").userid().clone();
        let word = user.certify(&mut signer, &certificate, SignatureType::PositiveCertification, None, None);
        let lie = CertRevocationBuilder::new().build(&mut signer, &certificate, None);
        let revoked = certificate.clone().insert_packets(revocation).expect("inserted").0;
        let foreign = [word.expect("certified"), lie.expect("revoked")];
        let polluted = revoked.clone().insert_packets(foreign).expect("inserted").0;
        assert_ne!(polluted, revoked);
        assert_eq!(own_words(&polluted).expect("kept"), revoked);
    }
}
