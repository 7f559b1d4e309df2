//! The certificates whose signatures count: those the recipient named, and those that they in turn certify.
//!
//! Guarantees: a signer gets here by the recipient's word (a file, or a full fingerprint) or by a message that a
//! remembered signer signed *and* a certification by it on the new certificate. What the user's keyring trusts is of no
//! account. A stranger's certificate in a mail is never taken.

use std::path::{Path, PathBuf};

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::CertParser;
use openpgp::parse::Parse;
use openpgp::serialize::SerializeInto;
use serde::{Deserialize, Serialize};

use super::gpg::{Gpg, GpgError};
use super::manifest::NextSigner;
use crate::config::OpenPgpFingerprint;

/// The largest certificate that is taken out of a message, octets.
const LIMIT: usize = 256 * 1024;
/// Signers at most: each must verify every message.
const MOST: usize = 64;

/// Why a signer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The file cannot be read.
    #[error("cannot read the signer's certificate {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// It is no OpenPGP certificate.
    #[error("{0} is neither a full fingerprint nor a file with one OpenPGP certificate: {1}")]
    NotACertificate(PathBuf, String),
    /// gpg does not have it.
    #[error("gpg has no certificate with the fingerprint {0}")]
    NotInGpg(OpenPgpFingerprint),
    /// gpg cannot be asked.
    #[error(transparent)]
    Gpg(#[from] GpgError),
    /// What is announced is not what it says, or nobody vouches for it.
    #[error("{0}")]
    NotCertified(String),
}

/// All signers.
#[derive(Default)]
pub struct Signers {
    certificates: Vec<Cert>,
    /// For each the one that the recipient named, from which it descends.
    lineage: Vec<String>,
}

/// How a signer is remembered.
#[derive(Serialize, Deserialize)]
pub struct Remembered {
    /// Its full fingerprint, for people.
    pub fingerprint: String,
    /// The one that was named, from which it descends.
    pub lineage: String,
    /// Armored.
    pub certificate: String,
}

impl Signers {
    /// Those that are remembered.
    ///
    /// # Errors
    /// One of them is no certificate.
    pub fn recall(remembered: &[Remembered]) -> openpgp::Result<Self> {
        let mut signers = Self::default();
        for one in remembered {
            signers.insert(Cert::from_bytes(one.certificate.as_bytes())?, one.lineage.clone());
        }
        Ok(signers)
    }

    /// In the form in which they are remembered.
    pub fn remember(&self) -> Vec<Remembered> {
        let all = self.certificates.iter().zip(&self.lineage);
        all.filter_map(|(certificate, lineage)| {
            let armored = certificate.armored().to_vec().ok()?;
            Some(Remembered {
                fingerprint: certificate.fingerprint().to_hex(),
                lineage: lineage.clone(),
                certificate: String::from_utf8_lossy(&armored).into_owned(),
            })
        })
        .collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Their certificates.
    pub fn certificates(&self) -> &[Cert] {
        &self.certificates
    }

    /// Their full fingerprints.
    pub fn fingerprints(&self) -> Vec<String> {
        self.certificates.iter().map(|certificate| certificate.fingerprint().to_hex()).collect()
    }

    /// The signer that was named, from which `fingerprint` descends.
    pub fn lineage(&self, fingerprint: &str) -> String {
        let nth = self.certificates.iter().position(|certificate| certificate.fingerprint().to_hex() == fingerprint);
        nth.map_or_else(|| fingerprint.to_owned(), |nth| self.lineage[nth].clone())
    }

    /// Whether `from`, the From of a message, names the address of a signer: those are the relay's senders.
    pub fn are_named_in(&self, from: &str) -> bool {
        let from = from.to_ascii_lowercase();
        let users = self.certificates.iter().flat_map(Cert::userids);
        users
            .filter_map(|user| user.userid().email().ok().flatten().map(str::to_ascii_lowercase))
            .any(|a| from.contains(&a))
    }

    /// Adds what the recipient named: a file, or a full fingerprint that `gpg` has a certificate for.
    ///
    /// # Errors
    /// It is neither.
    pub fn name(&mut self, what: &Path, gpg: &Gpg) -> Result<(), SignerError> {
        let fingerprint = what.to_str().and_then(|text| text.parse::<OpenPgpFingerprint>().ok());
        let certificate = match fingerprint {
            Some(fingerprint) => {
                // By the fingerprint alone: gpg is a place to fetch it from, and vouches for nothing.
                let octets = gpg.export(fingerprint.as_str())?;
                let parsed = CertParser::from_bytes(&octets).ok().into_iter().flatten().flatten();
                let mut found = parsed.filter(|certificate| certificate.fingerprint().to_hex() == fingerprint.as_str());
                found.next().ok_or(SignerError::NotInGpg(fingerprint))?
            }
            None => {
                let octets = std::fs::read(what).map_err(|source| SignerError::Unreadable(what.to_owned(), source))?;
                let not_one = |why: String| SignerError::NotACertificate(what.to_owned(), why);
                Cert::from_bytes(&octets).map_err(|error| not_one(format!("{error:#}")))?
            }
        };
        let own = certificate.fingerprint().to_hex();
        self.insert(certificate.strip_secret_key_material(), own);
        Ok(())
    }

    /// `next` is announced in a message that `by` signed; whether it is new.
    ///
    /// # Errors
    /// It is not what it says, or `by` has not certified it.
    pub fn announced(&mut self, next: &NextSigner, by: &str) -> Result<bool, SignerError> {
        let refuse = |why: &str| Err(SignerError::NotCertified(why.to_owned()));
        if self.fingerprints().iter().any(|own| own.eq_ignore_ascii_case(&next.fingerprint)) {
            return Ok(false);
        }
        if next.certificate.len() > LIMIT || self.certificates.len() >= MOST {
            return refuse("there is too much of it");
        }
        let Ok(certificate) = Cert::from_bytes(next.certificate.as_bytes()) else {
            return refuse("it is no OpenPGP certificate");
        };
        let own = certificate.fingerprint().to_hex();
        if !own.eq_ignore_ascii_case(&next.fingerprint) {
            return refuse("its fingerprint is another one");
        }
        let Some(signer) = self.certificates.iter().find(|certificate| certificate.fingerprint().to_hex() == by) else {
            return refuse("nobody known announces it");
        };
        if !is_certified(&certificate, signer) {
            return refuse("the key that announces it has not certified it");
        }
        let lineage = self.lineage(by);
        self.insert(certificate.strip_secret_key_material(), lineage);
        Ok(true)
    }

    fn insert(&mut self, certificate: Cert, lineage: String) {
        let known = self.certificates.iter_mut().find(|known| known.fingerprint() == certificate.fingerprint());
        match known {
            // A newer copy may know a revocation.
            Some(known) => *known = known.clone().merge_public(certificate).unwrap_or_else(|_| known.clone()),
            None => {
                self.certificates.push(certificate);
                self.lineage.push(lineage);
            }
        }
    }
}

/// Whether `signer` has certified a user id of `certificate` (RFC 9580 5.2.1.6).
fn is_certified(certificate: &Cert, signer: &Cert) -> bool {
    let (primary, by) = (certificate.primary_key().key(), signer.primary_key().key());
    certificate.userids().any(|user| {
        user.certifications().any(|signature| {
            let binds = signature.verify_userid_binding(by, primary, user.userid()).is_ok();
            binds && signature.typ() != openpgp::types::SignatureType::CertificationRevocation
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use openpgp::cert::CertBuilder;
    use openpgp::types::SignatureType;

    fn certificate(user: &str) -> Cert {
        CertBuilder::new().add_userid(user).generate().expect("a key").0
    }

    fn next(certificate: &Cert, fingerprint: &Cert) -> NextSigner {
        let armored = certificate.armored().to_vec().expect("armored");
        NextSigner {
            fingerprint: fingerprint.fingerprint().to_hex(),
            certificate: String::from_utf8(armored).expect("ASCII"),
        }
    }

    /// `certificate` with a signature of `by` on its user id.
    fn certified(certificate: &Cert, by: &Cert, kind: SignatureType) -> Cert {
        let mut key =
            by.primary_key().key().clone().parts_into_secret().expect("secret").into_keypair().expect("a pair");
        let user = certificate.userids().next().expect("a user id");
        let signature = user.userid().certify(&mut key, certificate, kind, None, None).expect("certified");
        certificate.clone().insert_packets(signature).expect("inserted").0
    }

    #[test]
    fn an_announced_signer_counts_only_if_the_one_that_announces_it_has_certified_it() {
        let (old, stranger) = (certificate("<relay@b>"), certificate("<relay@b>"));
        let mut signers = Signers::default();
        signers.insert(old.clone(), old.fingerprint().to_hex());
        let by = old.fingerprint().to_hex();
        let new = certificate("<relay@b>");
        let good = certified(&new, &old, SignatureType::PositiveCertification);
        for refused in [
            next(&new, &new),
            next(&certified(&new, &stranger, SignatureType::PositiveCertification), &new),
            next(&good, &stranger),
            NextSigner { fingerprint: new.fingerprint().to_hex(), certificate: "-----BEGIN".to_owned() },
        ] {
            assert!(signers.announced(&refused, &by).is_err());
        }
        assert!(signers.announced(&next(&good, &good), &stranger.fingerprint().to_hex()).is_err());
        assert!(signers.announced(&next(&good, &good), &by).expect("taken"));
        assert!(!signers.announced(&next(&good, &good), &by).expect("known"));
        assert_eq!(signers.lineage(&new.fingerprint().to_hex()), by);
        let again = Signers::recall(&signers.remember()).expect("recalled");
        assert_eq!((again.fingerprints(), again.lineage), (signers.fingerprints(), signers.lineage));
    }

    #[test]
    fn a_sender_is_known_by_the_user_ids_of_the_signers() {
        let mut signers = Signers::default();
        signers.insert(certificate("Relay <ossec@example.org>"), String::new());
        assert!(signers.are_named_in("OSSEC <Ossec@Example.org>"));
        assert!(!signers.are_named_in("<other@example.org>"));
    }
}
