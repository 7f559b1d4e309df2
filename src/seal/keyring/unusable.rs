//! Why a certificate cannot be used, in words for its operator, and what to do next.

use std::path::PathBuf;

use crate::config::OpenPgpFingerprint;

/// Why a certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Its secret key is public.
    #[error("{0} is one of {1}: everybody can have its secret key")]
    Published(OpenPgpFingerprint, &'static str),
    /// The file cannot be read.
    #[error("cannot read the encryption certificate {0}: {1}")]
    Unreadable(PathBuf, String),
    /// Others than its owner can change the file.
    #[error("the encryption certificate {0} can be changed by others than its owner (mode {1:04o})")]
    Writable(PathBuf, u32),
    /// It is no OpenPGP certificate.
    #[error("{0} is no OpenPGP certificate: {1}")]
    NotACertificate(PathBuf, String),
    /// It holds a secret key.
    #[error("{0} holds a SECRET key where a certificate belongs")]
    SecretKey(PathBuf),
    /// No certificate in the files has the fingerprint.
    #[error("no certificate with the fingerprint {wanted} in {files}; there: {present}")]
    NotFound {
        /// As configured.
        wanted: OpenPgpFingerprint,
        /// The files' names.
        files: String,
        /// The fingerprints that are there.
        present: String,
    },
    /// The fingerprint is that of a subkey.
    #[error("{wanted} is the fingerprint of a subkey of the certificate {primary}")]
    Subkey {
        /// As configured.
        wanted: OpenPgpFingerprint,
        /// The certificate's own.
        primary: String,
    },
    /// Its owner has revoked it.
    #[error("the certificate {0} is revoked")]
    Revoked(OpenPgpFingerprint),
    /// Its owner has revoked whatever in it could be encrypted to.
    #[error("the certificate {0} has no subkey left that can encrypt: {1} is revoked")]
    SubkeysRevoked(OpenPgpFingerprint, String),
    /// Its time has not come.
    #[error("the certificate {0} is of the future: it was made on {1}")]
    NotYetValid(OpenPgpFingerprint, String),
    /// Its time is over.
    #[error("the certificate {fingerprint} expired on {on}")]
    Expired {
        /// The certificate's.
        fingerprint: OpenPgpFingerprint,
        /// The subkey that would be encrypted to, which must be extended too.
        subkey: String,
        /// The day.
        on: String,
    },
    /// The time of whatever in it could be encrypted to is over.
    #[error("the certificate {fingerprint} has no subkey left that can encrypt: {subkey} expired on {on}")]
    SubkeysExpired {
        /// The certificate's.
        fingerprint: OpenPgpFingerprint,
        /// The last one.
        subkey: String,
        /// The day.
        on: String,
    },
    /// It has no subkey for encryption.
    #[error("the certificate {0} has no subkey that can encrypt")]
    NoEncryptionSubkey(OpenPgpFingerprint),
    /// Its holder's signatures on it can be forged.
    #[error("the certificate {0} is held together by signatures that can be forged: {1}")]
    WeakSignature(OpenPgpFingerprint, String),
    /// Its keys can be broken.
    #[error("the certificate {0} has a key that is too weak: {1}")]
    WeakKey(OpenPgpFingerprint, String),
    /// Nothing in it can be understood or verified.
    #[error("the certificate {0} cannot be used here: {1}")]
    Unsupported(OpenPgpFingerprint, String),
}

impl Unusable {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Published(..) => "Use a certificate whose secret key its holder alone has.".to_owned(),
            Self::Unreadable(path, _) => {
                format!("Export it with `gpg --export --armor FINGERPRINT > {}`.", path.display())
            }
            Self::Writable(path, _) => format!("Run: chmod go-w {}", path.display()),
            Self::NotACertificate(..) | Self::NotFound { .. } => {
                "Export the right one with `gpg --export --armor FINGERPRINT`, and compare the fingerprint with its holder."
                    .to_owned()
            }
            Self::SecretKey(path) => format!(
                "Remove {} from this machine; export the public part with `gpg --export --armor FINGERPRINT`.",
                path.display()
            ),
            Self::Subkey { primary, .. } => {
                format!("Write the certificate's own: {primary}, after comparing it with its holder.")
            }
            Self::Revoked(_) => "Ask its holder for a new certificate.".to_owned(),
            Self::SubkeysRevoked(..) | Self::NoEncryptionSubkey(_) => {
                "Ask its holder to add an encryption subkey and export it again.".to_owned()
            }
            Self::NotYetValid(..) => "Is this machine's clock right? `date` says; else wait until then.".to_owned(),
            // gpg's '*' passes over subkeys that have expired: they must be named.
            Self::Expired { fingerprint, subkey, .. } => format!(
                "Ask its holder to extend it (`gpg --quick-set-expire {fingerprint} 2y` and \
                 `gpg --quick-set-expire {fingerprint} 2y {subkey}`) and to export it again."
            ),
            Self::SubkeysExpired { fingerprint, subkey, .. } => format!(
                "Ask its holder to extend it (`gpg --quick-set-expire {fingerprint} 2y {subkey}`) and to export it again."
            ),
            Self::WeakSignature(fingerprint, _) => format!(
                "Ask its holder to sign it anew (`gpg --cert-digest-algo SHA256 --quick-set-expire {fingerprint} 2y` and \
                 `gpg --cert-digest-algo SHA256 --quick-set-expire {fingerprint} 2y '*'`) and to export it again."
            ),
            Self::WeakKey(..) | Self::Unsupported(..) => {
                "Ask its holder for a new certificate: Curve25519, or RSA of 3072 bits or more.".to_owned()
            }
        }
    }

    /// Its kind in a word, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Published(..) => "published",
            Self::Unreadable(..) => "unreadable",
            Self::Writable(..) => "writable-by-others",
            Self::NotACertificate(..) => "not-a-certificate",
            Self::SecretKey(_) => "secret-key",
            Self::NotFound { .. } => "not-found",
            Self::Subkey { .. } => "subkey",
            Self::Revoked(_) => "revoked",
            Self::SubkeysRevoked(..) => "subkeys-revoked",
            Self::NotYetValid(..) => "not-yet-valid",
            Self::Expired { .. } => "expired",
            Self::SubkeysExpired { .. } => "subkeys-expired",
            Self::NoEncryptionSubkey(_) => "no-encryption-subkey",
            Self::WeakSignature(..) => "weak-signature",
            Self::WeakKey(..) => "weak-key",
            Self::Unsupported(..) => "unsupported",
        }
    }

    /// Whether only a rule made it unusable that a later version, or a later day, brought: its holder can read as ever.
    pub(super) fn is_policy(&self) -> bool {
        matches!(self, Self::WeakSignature(..) | Self::WeakKey(..))
    }
}
