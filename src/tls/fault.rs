//! What is wrong with a server's certificates: one fault, the first real one, with openssl's number and text for it.
//!
//! openssl's own order decides which is the first: a key too weak for anything, the way to an anchor, what the certificates may be used for, how
//! strong they are, the name, signatures and dates, name constraints. Its `Verify return code` line shows the last one
//! it met instead, which hides an unknown issuer behind an expired date. No fault has the number 0.

use std::fmt;

/// openssl's number and text.
pub type Code = (u32, &'static str);

/// The faults, in the order in which openssl looks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Its RSA key has less than 2048 bits: signatures by it are not taken.
    WeakKey,
    /// Signed by its own key, and not among what is trusted.
    SelfSigned,
    /// The chain ends with a root that is not trusted.
    UntrustedRoot,
    /// The chain ends where nobody trusted and nobody presented has signed.
    UnknownIssuer,
    /// More certificates than anybody needs, or too many ways to combine them.
    ChainTooLong,
    /// An extension that must be understood and is not.
    CriticalExtension,
    /// A certificate that is no authority signed another one.
    InvalidCa,
    /// More authorities below one another than one of them allows.
    PathLength,
    /// Not for a server, or an authority's own certificate that is not trusted by itself.
    Purpose,
    /// An RSA key in its chain has less than 2048 bits.
    WeakIssuerKey,
    /// Signed with MD5, SHA-1 or something else that is not taken.
    WeakSignature,
    /// For another host name.
    HostName,
    /// For another IP address.
    Address,
    /// A signature that the issuer's key did not make.
    BadSignature,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// A name outside of those an authority is confined to.
    NotPermitted,
    /// A name that an authority is kept from.
    Excluded,
    /// Cannot be read.
    Unreadable,
    /// None of the pins.
    NotPinned,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::WeakKey,
        Self::SelfSigned,
        Self::UntrustedRoot,
        Self::UnknownIssuer,
        Self::ChainTooLong,
        Self::CriticalExtension,
        Self::InvalidCa,
        Self::PathLength,
        Self::Purpose,
        Self::WeakIssuerKey,
        Self::WeakSignature,
        Self::HostName,
        Self::Address,
        Self::BadSignature,
        Self::NotYetValid,
        Self::Expired,
        Self::NotPermitted,
        Self::Excluded,
        Self::Unreadable,
        Self::NotPinned,
    ];

    /// What openssl calls it.
    pub fn code(self) -> Code {
        match self {
            Self::Unreadable => (1, "unspecified certificate verification error"),
            Self::BadSignature => (7, "certificate signature failure"),
            Self::NotYetValid => (9, "certificate is not yet valid"),
            Self::Expired => (10, "certificate has expired"),
            Self::SelfSigned => (18, "self-signed certificate"),
            Self::UntrustedRoot => (19, "self-signed certificate in certificate chain"),
            Self::UnknownIssuer => (20, "unable to get local issuer certificate"),
            Self::ChainTooLong => (22, "certificate chain too long"),
            Self::PathLength => (25, "path length constraint exceeded"),
            Self::Purpose => (26, "unsuitable certificate purpose"),
            Self::CriticalExtension => (34, "unhandled critical extension"),
            Self::NotPermitted => (47, "permitted subtree violation"),
            Self::Excluded => (48, "excluded subtree violation"),
            Self::NotPinned => (50, "application verification failure"),
            Self::HostName => (62, "hostname mismatch"),
            Self::Address => (64, "IP address mismatch"),
            Self::WeakKey => (66, "EE certificate key too weak"),
            Self::WeakIssuerKey => (67, "CA certificate key too weak"),
            Self::WeakSignature => (68, "CA signature digest algorithm too weak"),
            Self::InvalidCa => (79, "invalid CA certificate"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SelfSigned => "it is self-signed and not among the trusted ones",
            Self::UntrustedRoot => "its chain ends with a root that is not trusted",
            Self::UnknownIssuer => "its issuer is neither trusted nor presented",
            Self::ChainTooLong => "its chain is too long",
            Self::CriticalExtension => "it has an extension that must be understood and is not",
            Self::InvalidCa => "it is signed by a certificate that is no authority",
            Self::PathLength => "there are more authorities in its chain than one of them allows",
            Self::Purpose => "it is not for a server",
            Self::WeakKey => "its RSA key has less than 2048 bits",
            Self::WeakIssuerKey => "an RSA key in its chain has less than 2048 bits",
            Self::WeakSignature => "it is signed by an algorithm that is not taken (MD5, SHA-1 or an unknown one)",
            Self::HostName => "it is for another host name",
            Self::Address => "it is for another IP address",
            Self::BadSignature => "a signature in its chain is not by the issuer's key",
            Self::NotYetValid => "it is not yet valid",
            Self::Expired => "it has expired",
            Self::NotPermitted => "an authority in its chain may not issue for this name",
            Self::Excluded => "an authority in its chain is kept from this name",
            Self::Unreadable => "it cannot be read",
            Self::NotPinned => "it is not the pinned one",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_own_number_and_none_has_openssls_ok() {
        let mut numbers: Vec<u32> = Fault::ALL.iter().map(|fault| fault.code().0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Fault::ALL.len());
        assert!(!numbers.contains(&0));
    }
}
