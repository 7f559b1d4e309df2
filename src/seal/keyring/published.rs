//! Certificates whose secret keys anybody can have: whatever is sealed to them is readable by everybody.
//!
//! They come with documentation and test suites, and end up in production by copying an example. Nothing switches this
//! off: the tests and the demo make keys of their own.

use crate::config::OpenPgpFingerprint;

/// Fingerprint, and where its secret key can be had. A test keeps the second part equal to `keys/`.
const PUBLISHED: [(&str, &str); 7] = [
    ("65A1B5FF195B56353CC63DFFCC40EF1228271441", SECUREDROP),
    ("600BC6D5142C68F35DDBCEA87B597104EDDDC102", SECUREDROP),
    ("833C30D634D3DAFD5E0211E26102145E521176F8", OURS),
    ("18E61A0865E39603984D3CA31CD453827A811692", OURS),
    ("527E90721EF9DD130696F86E86ACBFB5CED6B92C", OURS),
    ("8A0620D33AEB7C99F482943B94E2E584C02993E0", OURS),
    ("EE2A029781485FC05E3897B3A10E0D0EAF9A495C", OURS),
];

const SECUREDROP: &str = "SecureDrop's test keys";
const OURS: &str = "sealrelay's test keys";

/// Whose test key it is, if it is one.
pub fn whose(fingerprint: &OpenPgpFingerprint) -> Option<&'static str> {
    PUBLISHED.iter().find(|(published, _)| *published == fingerprint.as_str()).map(|(_, whose)| *whose)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;
    use openpgp::Cert;
    use openpgp::cert::CertParser;
    use openpgp::parse::Parse;
    use sequoia_openpgp as openpgp;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn every_certificate_in_keys_is_known_to_be_published_and_no_other() {
        let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("keys"));
        let certificates = files.iter().filter_map(|file| CertParser::from_file(file).ok()).flatten().flatten();
        let there: BTreeSet<String> =
            certificates.map(|certificate: Cert| certificate.fingerprint().to_hex()).collect();
        let known: BTreeSet<String> =
            PUBLISHED.iter().filter(|(_, whose)| *whose == OURS).map(|(known, _)| (*known).to_owned()).collect();
        assert_eq!(there, known, "keys/make-test-keys.sh was run: put its fingerprints into PUBLISHED");
    }

    #[test]
    fn what_is_published_is_found_however_it_is_written() {
        let spelled = "65a1 b5ff 195b 5635 3cc6  3dff cc40 ef12 2827 1441".parse().expect("a fingerprint");
        assert_eq!(whose(&spelled), Some(SECUREDROP));
        assert_eq!(whose(&"0".repeat(40).parse().expect("a fingerprint")), None);
    }
}
