//! `sealrelay import`: a configuration of ours from what another program was told.
//!
//! Guarantees: nothing is changed and nothing is connected to; what comes out is TOML of ours and nothing else, whatever
//! the files hold; no password is in it. Each line of the other program that is not taken over as it is has a comment.
//! What cannot be known stands in angle brackets, which `config check` refuses. On failure nothing comes out.
//! An attacker may have written every octet of the files: reading is bounded, and only regular files are read.

mod draft;
mod ossec;
mod postfix;
mod securedrop;
mod source;

use std::path::Path;

pub use draft::{Draft, Table, Wishes};
pub use source::ImportError;

/// From Postfix: `place` is its directory, or a file as `postconf -n` prints it; `ids` is an ossec.conf, which says who
/// gets the alerts.
///
/// # Errors
/// main.cf, or the file that is named, cannot be read.
pub fn from_postfix(place: &Path, ids: Option<&Path>) -> Result<Draft, ImportError> {
    let ids = ids.map(ossec::Ids::read).transpose()?;
    postfix::import(place, ids)
}

/// From the ossec.conf of OSSEC or Wazuh.
///
/// # Errors
/// It cannot be read.
pub fn from_ossec(file: &Path) -> Result<Draft, ImportError> {
    Ok(ossec::import(file, ossec::Ids::read(file)?))
}

/// From SecureDrop's site-specific.
///
/// # Errors
/// It cannot be read, or is no YAML.
pub fn from_securedrop(file: &Path) -> Result<Draft, ImportError> {
    securedrop::import(file)
}

/// For the fuzz target: what would be made of these texts.
#[cfg(any(test, fuzzing))]
pub fn of_texts(kind: usize, text: &str) -> Draft {
    let file = Path::new("/nowhere/input");
    match kind % 3 {
        0 => postfix::of_text(text),
        1 => ossec::import(file, ossec::Ids::parse(text)),
        _ => securedrop::of_text(file, text).unwrap_or_else(|_| Draft::new("nothing")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Parts of the three formats, and what is special to TOML.
    const PARTS: [&str; 40] = [
        "relayhost = ",
        "[a.example.org]:587",
        "\n",
        "\n ",
        "smtp_sasl_auth_enable = yes\n",
        "smtp_sasl_password_maps = ",
        "static:a:b",
        "smtp_tls_security_level = ",
        "fingerprint\n",
        "secure\n",
        "smtp_tls_fingerprint_cert_match = ",
        "smtp_tls_CAfile = ",
        "/x/\"y\"",
        "myhostname = ",
        "$myhostname",
        "${",
        "}",
        "$",
        "message_size_limit = ",
        "<global>",
        "</global>",
        "<email_to>",
        "</email_to>",
        "a@example.org",
        "<email_alerts>",
        "</email_alerts>",
        "<level>7</level>",
        "<group>",
        "&quot;",
        "&#10;",
        "ossec_alert_email: ",
        "smtp_relay: ",
        "smtp_relay_fingerprint: ",
        "\"\"\"",
        "'''",
        "]]\n[[relay]]\n",
        "# ",
        "\u{2028}",
        "\u{0}",
        "\\",
    ];

    proptest! {
        #[test]
        fn nothing_that_is_imported_escapes(
            kind in 0..3_u8,
            parts in prop::collection::vec(0..PARTS.len(), 0..60),
            any in "\\PC{0,20}",
        ) {
            let text: String = parts.iter().map(|nth| PARTS[*nth]).chain([any.as_str()]).collect();
            crate::fuzzing::import(&[[kind].as_slice(), text.as_bytes()].concat());
        }
    }
}
