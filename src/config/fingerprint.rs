//! The two kinds of fingerprint an operator writes down, which are never mixed: of OpenPGP certificates and of a
//! relay host's TLS certificate or key.
//!
//! Guarantees: a value of these types is complete; short key ids and truncated digests do not parse.
//! An attacker controls nothing here: the text comes from the configuration.

use std::fmt;
use std::str::FromStr;

/// The full fingerprint of an OpenPGP certificate: 40 hex digits (v4) or 64 (v6), kept in upper case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpenPgpFingerprint(String);

/// Why a text is no fingerprint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// A character that is no hex digit.
    #[error("{0:?} is no fingerprint: {1:?} is not a hexadecimal digit")]
    NotHexadecimal(String, char),
    /// A key id, or a fingerprint that was cut.
    #[error("{text:?} is not a full fingerprint: it has {digits} hexadecimal digits instead of {expected}")]
    WrongLength {
        /// As written.
        text: String,
        /// Digits found.
        digits: usize,
        /// Digits that are needed.
        expected: &'static str,
    },
    /// No known kind of pin in front.
    #[error("{0:?} does not say which digest it is")]
    UnknownDigest(String),
}

impl FingerprintError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnknownDigest(_) => {
                "Write sha256:, sha1: or spki-sha256: in front; `sealrelay check` prints all three."
            }
            Self::NotHexadecimal(..) | Self::WrongLength { .. } => {
                "Give all the digits as `gpg --fingerprint` or `sealrelay check` prints them; blanks and colons do not matter."
            }
        }
    }
}

/// Hex digits of `text`, upper case, without blanks and colons.
fn hex_digits(text: &str) -> Result<String, FingerprintError> {
    text.chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| match c.is_ascii_hexdigit() {
            true => Ok(c.to_ascii_uppercase()),
            false => Err(FingerprintError::NotHexadecimal(text.to_owned(), c)),
        })
        .collect()
}

impl FromStr for OpenPgpFingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = hex_digits(text)?;
        match digits.len() {
            40 | 64 => Ok(Self(digits)),
            count => Err(FingerprintError::WrongLength {
                text: text.to_owned(),
                digits: count,
                expected: "40 (or 64 for version 6)",
            }),
        }
    }
}

impl OpenPgpFingerprint {
    /// The digits, upper case, without blanks.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the fingerprint of a version 6 certificate (RFC 9580).
    pub fn is_v6(&self) -> bool {
        self.0.len() == 64
    }
}

impl fmt::Display for OpenPgpFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for OpenPgpFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a relay host must present: its own certificate or its own key, never an issuer's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsPin {
    /// SHA-256 over the DER of the certificate.
    Sha256([u8; 32]),
    /// SHA-1 over the DER of the certificate; taken because deployments have it, and warned about.
    Sha1([u8; 20]),
    /// SHA-256 over the DER of the public key (SubjectPublicKeyInfo); survives a renewal that keeps the key.
    SpkiSha256([u8; 32]),
}

impl FromStr for TlsPin {
    type Err = FingerprintError;

    /// Takes `sha256:AA:BB..`, openssl's `SHA1 Fingerprint=AA:BB..`, Postfix's `fingerprint=AA:BB..` and
    /// `pkey_fingerprint=AA:BB..`, in any case; and 40 digits alone, which can only be the SHA-1 of a certificate.
    /// 64 digits alone are refused: Postfix prints those of the certificate and of the key side by side.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim().trim_end_matches(',').to_ascii_lowercase();
        let split = lower.split_once('=').or_else(|| lower.split_once(':'));
        let (kind, value) = match split {
            // The first octet of a digest without a name.
            Some((octet, _)) if octet.len() == 2 => ("", lower.as_str()),
            Some((kind, value)) => (kind.trim(), value),
            None => ("", lower.as_str()),
        };
        let octets = octets(text, value);
        let length = octets.as_ref().map_or(0, Vec::len);
        match (kind, length) {
            ("sha256" | "sha256 fingerprint", _) | ("fingerprint", 32) => Ok(Self::Sha256(sized(text, octets?, "64")?)),
            ("sha1" | "sha1 fingerprint", _) | ("fingerprint" | "", 20) => Ok(Self::Sha1(sized(text, octets?, "40")?)),
            ("spki-sha256", _) | ("pkey_fingerprint", 32) => Ok(Self::SpkiSha256(sized(text, octets?, "64")?)),
            _ => Err(FingerprintError::UnknownDigest(text.to_owned())),
        }
    }
}

fn octets(text: &str, value: &str) -> Result<Vec<u8>, FingerprintError> {
    let digits = hex_digits(value).map_err(|error| match error {
        FingerprintError::NotHexadecimal(_, c) => FingerprintError::NotHexadecimal(text.to_owned(), c),
        other => other,
    })?;
    Ok(digits
        .as_bytes()
        .chunks(2)
        .map(|pair| {
            pair.iter().fold(0_u8, |octet, digit| {
                octet << 4 | (*digit as char).to_digit(16).and_then(|d| u8::try_from(d).ok()).unwrap_or(0)
            })
        })
        .collect())
}

fn sized<const N: usize>(text: &str, octets: Vec<u8>, expected: &'static str) -> Result<[u8; N], FingerprintError> {
    let found = octets.len() * 2;
    octets.try_into().map_err(|_| FingerprintError::WrongLength { text: text.to_owned(), digits: found, expected })
}

/// `AA:BB:..`, as openssl prints a digest.
pub fn colon_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
}

impl fmt::Display for TlsPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => write!(f, "sha256:{}", colon_hex(digest)),
            Self::Sha1(digest) => write!(f, "sha1:{}", colon_hex(digest)),
            Self::SpkiSha256(digest) => write!(f, "spki-sha256:{}", colon_hex(digest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "65A1B5FF195B56353CC63DFFCC40EF1228271441";

    #[test]
    fn blanks_colons_and_case_do_not_matter_in_a_fingerprint() {
        let spelled = "65a1 b5ff 195b 5635 3cc6  3dff cc40 ef12 2827 1441";
        assert_eq!(spelled.parse::<OpenPgpFingerprint>().map(|f| f.as_str().to_owned()), Ok(V4.to_owned()));
    }

    #[test]
    fn a_short_key_id_is_no_fingerprint() {
        assert!(matches!(
            "CC40EF1228271441".parse::<OpenPgpFingerprint>(),
            Err(FingerprintError::WrongLength { digits: 16, .. })
        ));
    }

    #[test]
    fn a_pin_is_read_as_openssl_and_postfix_print_it() {
        let seed = "6D:87:EE:CB:D0:37:2F:88:B8:29:06:FB:35:F4:65:00:7F:FD:84:29";
        let ours: TlsPin = format!("sha1:{seed}").parse().expect("the guide's own pin");
        let openssl: TlsPin = format!("SHA1 Fingerprint={seed}").parse().expect("openssl's spelling");
        let bare: TlsPin = format!("sha1:{}", seed.replace(':', "").to_lowercase()).parse().expect("without colons");
        assert_eq!(ours, openssl);
        assert_eq!(ours, bare);
        assert_eq!(ours.to_string(), format!("sha1:{seed}"));
        for spelled in [
            seed.to_owned(),
            seed.to_lowercase(),
            seed.replace(':', ""),
            format!("sha1 Fingerprint={}", seed.to_lowercase()),
            format!("SHA1: {}", seed.replace(':', " ")),
            format!("fingerprint={seed},"),
        ] {
            assert_eq!(spelled.parse(), Ok(ours.clone()), "{spelled}");
        }
    }

    #[test]
    fn the_sha256_of_a_certificate_and_of_a_key_are_told_apart_or_refused() {
        let digest = "AB:".repeat(32).trim_end_matches(':').to_owned();
        assert_eq!(format!("SHA256 Fingerprint={digest}").parse(), Ok(TlsPin::Sha256([0xab; 32])));
        assert_eq!(format!("fingerprint={digest}").parse(), Ok(TlsPin::Sha256([0xab; 32])));
        assert_eq!(format!("pkey_fingerprint={digest}").parse(), Ok(TlsPin::SpkiSha256([0xab; 32])));
        assert_eq!(format!("spki-sha256:{digest}").parse(), Ok(TlsPin::SpkiSha256([0xab; 32])));
        for ambiguous in [digest.clone(), digest.replace(':', ""), format!("md5:{digest}"), "sha-256".to_owned()] {
            assert!(matches!(ambiguous.parse::<TlsPin>(), Err(FingerprintError::UnknownDigest(_))), "{ambiguous}");
        }
        // The SHA-1 of a key, which Postfix prints too, is no pin of ours.
        assert!(format!("pkey_fingerprint={}", "AB:".repeat(20)).parse::<TlsPin>().is_err());
    }

    #[test]
    fn a_pin_with_an_octet_missing_is_refused() {
        assert!(matches!(
            "sha256:6D:87".parse::<TlsPin>(),
            Err(FingerprintError::WrongLength { digits: 4, expected: "64", .. })
        ));
        assert!(matches!("6D:87".parse::<TlsPin>(), Err(FingerprintError::UnknownDigest(_))));
    }
}
