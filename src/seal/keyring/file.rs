//! Files with certificates: armored or binary, one or many in each, several armored blocks in one file.
//!
//! Guarantees: no secret key, nothing from a file that others can write to, nothing beyond [`SIZE_LIMIT`]. The *folder*
//! may be open to others: who can rename files there can take a certificate away or bring an older copy of it back, and
//! the last usable copy answers both; a certificate of their own has another fingerprint. Demanding more would refuse
//! the folders of ordinary desktops (umask 002), where administrators are to lint.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::CertParser;
use openpgp::parse::Parse;

use super::unusable::Unusable;
use crate::config::OpenPgpFingerprint;

/// The largest file that is read, octets: certificates with hundreds of foreign signatures have a few hundred thousand.
const SIZE_LIMIT: u64 = 8 * 1024 * 1024;

/// What stands in front of each armored block (RFC 9580 6.2).
const ARMOR: &[u8] = b"-----BEGIN PGP ";

/// What a recipient's files hold.
pub struct Files<'a> {
    paths: &'a [PathBuf],
    certificates: Vec<Cert>,
    /// The first file that cannot be used.
    pub trouble: Option<Unusable>,
}

impl<'a> Files<'a> {
    /// Reads all of `paths`; one that cannot be used does not keep back the others.
    pub fn read(paths: &'a [PathBuf]) -> Self {
        let mut files = Self { paths, certificates: Vec::new(), trouble: None };
        for path in paths {
            match read(path) {
                Ok(certificates) => files.certificates.extend(certificates),
                Err(trouble) => files.trouble = files.trouble.take().or(Some(trouble)),
            }
        }
        files
    }

    /// The certificate with this fingerprint.
    ///
    /// # Errors
    /// It is not there: because of a file that cannot be used, because it is a subkey's, or at all.
    pub fn find(&self, fingerprint: &OpenPgpFingerprint) -> Result<Cert, Unusable> {
        let own = |certificate: &&Cert| certificate.fingerprint().to_hex() == fingerprint.as_str();
        if let Some(certificate) = self.certificates.iter().find(own) {
            return Ok(certificate.clone());
        }
        Err(self
            .trouble
            .clone()
            .or_else(|| self.is_of_subkey(fingerprint))
            .unwrap_or_else(|| self.not_found(fingerprint)))
    }

    fn is_of_subkey(&self, fingerprint: &OpenPgpFingerprint) -> Option<Unusable> {
        let holder = self.certificates.iter().find(|certificate| {
            certificate.keys().subkeys().any(|subkey| subkey.key().fingerprint().to_hex() == fingerprint.as_str())
        })?;
        Some(Unusable::Subkey { wanted: fingerprint.clone(), primary: holder.fingerprint().to_hex() })
    }

    fn not_found(&self, fingerprint: &OpenPgpFingerprint) -> Unusable {
        let present: Vec<String> = self.certificates.iter().map(|there| there.fingerprint().to_hex()).collect();
        let files: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
        Unusable::NotFound { wanted: fingerprint.clone(), files: files.join(", "), present: present.join(", ") }
    }
}

/// All certificates of one file; at least one.
fn read(path: &Path) -> Result<Vec<Cert>, Unusable> {
    let octets = octets(path)?;
    let not_one = |error: openpgp::anyhow::Error| Unusable::NotACertificate(path.into(), format!("{error:#}"));
    let mut certificates = Vec::new();
    for block in blocks(&octets) {
        for certificate in CertParser::from_bytes(block).map_err(not_one)? {
            certificates.push(certificate.map_err(not_one)?);
        }
    }
    if certificates.iter().any(Cert::is_tsk) {
        return Err(Unusable::SecretKey(path.into()));
    }
    if certificates.is_empty() {
        let what =
            if octets.is_empty() { "it is empty" } else { "there is no `-----BEGIN PGP PUBLIC KEY BLOCK-----` in it" };
        return Err(Unusable::NotACertificate(path.into(), what.to_owned()));
    }
    Ok(certificates)
}

fn octets(path: &Path) -> Result<Vec<u8>, Unusable> {
    let unreadable = |error: io::Error| Unusable::Unreadable(path.into(), error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Unusable::Writable(path.into(), mode));
    }
    let mut octets = Vec::new();
    let length = file.take(SIZE_LIMIT + 1).read_to_end(&mut octets).map_err(unreadable)?;
    if length as u64 > SIZE_LIMIT {
        return Err(unreadable(io::Error::other(format!("it has more than {SIZE_LIMIT} octets"))));
    }
    Ok(octets)
}

/// The armored blocks, or the whole if it is binary: then its first octet has the high bit set (RFC 9580 4.2).
/// Sequoia's parser reads one block only, and operators do `cat a.asc b.asc > both.asc`.
fn blocks(octets: &[u8]) -> Vec<&[u8]> {
    if octets.first().is_some_and(|first| first & 0x80 != 0) {
        return vec![octets];
    }
    let starts: Vec<usize> =
        octets.windows(ARMOR.len()).enumerate().filter(|(_, window)| *window == ARMOR).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([octets.len()]);
    starts.iter().zip(ends).map(|(start, end)| &octets[*start..end]).collect()
}
