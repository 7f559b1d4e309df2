//! `smtp_tls_security_level` and what belongs to it: what makes the relay host the right one.
//!
//! Levels below `secure` become it. Pins stay pins, and what cannot be one (MD5) is left to be filled in: it must not
//! turn into trust in the system's roots unnoticed.

use super::relay::NextHop;
use super::{MAPS, Stack, list};
use crate::config::TlsPin;
use crate::import::draft::{Draft, Table, UNKNOWN_PIN};
use crate::import::postfix::place;

/// Files and directories that hold the system's own roots.
const SYSTEM: [&str; 8] = [
    "/etc/ssl/certs",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/usr/share/ca-certificates",
];

/// The level of a policy that cannot be read: it may be a stricter one, so it is not passed over.
const UNREADABLE: &str = "?";
/// Levels that verified nothing; the first is that of a Postfix that was told none.
const WEAK: [&str; 4] = ["", "none", "may", "encrypt"];

impl Stack {
    pub(super) fn trust(&self, draft: &mut Draft, relay: &mut Table, hop: &NextHop) {
        let (level, more) = self.level(relay, hop);
        match level.as_str() {
            "fingerprint" => self.pins(relay, &more),
            UNREADABLE => {
                relay.note("smtp_tls_policy_maps cannot be read here. If it pins this relay host, pin it here too;");
                relay.note("otherwise take this line out to trust by the system's roots.");
                relay.set("pins", vec![UNKNOWN_PIN.to_owned()]);
            }
            "verify" | "secure" => {
                relay.note(format!(
                    "Level {level}: the chain is verified as before. The name must be the relay host's own; Postfix took {}.",
                    if level == "secure" { "names under it too" } else { "that of its mail exchanger" }
                ));
                self.matches(relay);
                self.authorities(draft, relay);
            }
            "dane" | "dane-only" | "half-dane" => {
                relay.note(format!(
                    "Level {level}: TLSA records are not looked up. The chain and the name are verified instead; a relay \
                     host whose certificate no authority issued needs pins (`sealrelay check` prints them)."
                ));
                self.unused_authorities(relay);
            }
            strange if !WEAK.contains(&strange) => {
                relay.note(format!("smtp_tls_security_level {strange:?} is none that is known: it may mean a pin."));
                relay.note("Otherwise take this line out to trust by the system's roots.");
                relay.set("pins", vec![UNKNOWN_PIN.to_owned()]);
            }
            weak => {
                relay.note(format!(
                    "Becomes stricter: at level {} Postfix {} sealrelay sends only over TLS whose certificate is verified.",
                    if weak.is_empty() { "none" } else { weak },
                    match weak {
                        "encrypt" => "took any certificate, also a forged one.",
                        "may" => "sent in clear if TLS did not come about.",
                        _ => "sent in clear, the password too.",
                    },
                ));
                self.unused_authorities(relay);
            }
        }
    }

    /// The level for `hop`, in small letters, since Postfix takes any; and the attributes a policy gives it.
    fn level(&self, relay: &mut Table, hop: &NextHop) -> (String, String) {
        let (level, more) = self.level_as_written(relay, hop);
        (level.to_ascii_lowercase(), more)
    }

    fn level_as_written(&self, relay: &mut Table, hop: &NextHop) -> (String, String) {
        let old = [("smtp_enforce_tls", "encrypt"), ("smtp_use_tls", "may")];
        let old = old.map(|(name, level)| self.main.is_yes(name).then(|| level.to_owned()));
        let general =
            self.main.get("smtp_tls_security_level").or_else(|| old.into_iter().flatten().next()).unwrap_or_default();
        for map in list(&self.main.get("smtp_tls_policy_maps").unwrap_or_default()).into_iter().take(MAPS) {
            let place::Table::Text(lines) = self.place.table(map, None) else {
                return (UNREADABLE.to_owned(), String::new());
            };
            let is_it = |key: &String| [&hop.written, &hop.host].iter().any(|own| key.eq_ignore_ascii_case(own));
            if let Some((_, policy, line)) = lines.into_iter().find(|(key, ..)| is_it(key)) {
                relay.note(format!("By smtp_tls_policy_maps, line {line}."));
                let (level, more) = policy.split_once(char::is_whitespace).unwrap_or((policy.as_str(), ""));
                return (level.to_owned(), more.to_owned());
            }
        }
        (general, String::new())
    }

    /// `match=` of a policy wins over main.cf.
    fn pins(&self, relay: &mut Table, policy: &str) {
        let of_main = self.main.get("smtp_tls_fingerprint_cert_match").unwrap_or_default();
        let of_policy: Vec<&str> = list(policy).into_iter().filter_map(|part| part.strip_prefix("match=")).collect();
        let prints = if of_policy.is_empty() { of_main } else { of_policy.join("|") };
        let digest = self.main.get("smtp_tls_fingerprint_digest").map(|name| name.to_ascii_lowercase());
        let prints: Vec<&str> = prints.split([',', ' ', '|', '\t']).filter(|print| !print.is_empty()).collect();
        let mut pins: Vec<String> =
            prints.iter().take(16).flat_map(|print| pins_of(print, digest.as_deref(), relay)).collect();
        if pins.is_empty() {
            relay.note("Level fingerprint, and no fingerprint: Postfix could not deliver.");
            pins.push(UNKNOWN_PIN.to_owned());
        }
        pins.dedup();
        relay.set("pins", pins);
        for name in ["smtp_tls_CAfile", "smtp_tls_CApath"] {
            if self.main.get(name).is_some() {
                relay.note(format!("{name} does not count where a fingerprint does, as in Postfix."));
            }
        }
    }

    fn matches(&self, relay: &mut Table) {
        for name in ["smtp_tls_secure_cert_match", "smtp_tls_verify_cert_match"] {
            if let Some(names) = self.main.get(name) {
                relay.note(format!("{name} = {names}: no equivalent. The certificate must name the relay host."));
            }
        }
    }

    /// Levels that verify: the file that Postfix trusted is trusted, and nothing else.
    fn authorities(&self, draft: &mut Draft, relay: &mut Table) {
        let anchor = self.main.get("smtp_tls_trust_anchor_file");
        let is_anchor = anchor.is_some();
        let file = anchor.or_else(|| self.main.get("smtp_tls_CAfile")).filter(|file| !is_system(file));
        let directory = self.main.get("smtp_tls_CApath").filter(|path| !is_system(path));
        let adds_system = self.main.is_yes("tls_append_default_CA")
            || self.main.get("smtp_tls_CApath").is_some_and(|p| is_system(&p));
        match (file, directory) {
            (Some(file), _) => {
                let name = file.rsplit('/').next().unwrap_or(&file).to_owned();
                draft.step(format!("Copy {file} to certs/{name} beside this file."));
                if adds_system && !is_anchor {
                    relay.note("Becomes stricter: Postfix trusted the system's authorities beside this file.");
                } else {
                    relay.note("Only this authority is trusted, as before.");
                }
                relay.set("ca_file", format!("certs/{name}"));
            }
            (None, Some(directory)) => {
                draft.step(format!(
                    "Write the certificates of {directory} into one file: cat {directory}/*.pem > certs/relay-ca.pem"
                ));
                relay.note(format!("smtp_tls_CApath = {directory}: sealrelay trusts one file."));
                relay.set("ca_file", "certs/relay-ca.pem");
            }
            (None, None) => {
                relay.note("Trust by the system's roots.");
            }
        }
    }

    /// Levels that did not verify: the file never mattered, so it may be wrong. The system's roots are tried first.
    fn unused_authorities(&self, relay: &mut Table) {
        let file = self.main.get("smtp_tls_CAfile").filter(|file| !is_system(file));
        self.main.get("smtp_tls_CApath");
        if let Some(file) = file {
            relay.note("smtp_tls_CAfile did not decide anything at that level. To trust only its authorities:");
            relay.off("ca_file", file);
        }
    }
}

fn is_system(path: &str) -> bool {
    SYSTEM.contains(&path.trim_end_matches('/'))
}

/// One fingerprint as pins. Postfix takes it as that of the certificate or of the public key; so do two pins.
fn pins_of(print: &str, digest: Option<&str>, relay: &mut Table) -> Vec<String> {
    let digits = print.chars().filter(|c| *c != ':').count();
    // Without the parameter: md5 up to Postfix 3.5, sha256 since.
    let digest = digest.unwrap_or(match digits {
        32 => "md5",
        40 => "sha1",
        _ => "sha256",
    });
    let pins: Vec<TlsPin> = match digest {
        "sha256" => {
            ["sha256", "spki-sha256"].iter().filter_map(|kind| format!("{kind}:{print}").parse().ok()).collect()
        }
        "sha1" => format!("sha1:{print}").parse().into_iter().collect(),
        _ => Vec::new(),
    };
    match pins.as_slice() {
        [] => {
            relay.note(format!(
                "{print} ({digest}) is no pin: `sealrelay check` prints sha256: and spki-sha256: of what the relay host \
                 presents; compare with its administrator."
            ));
            return vec![UNKNOWN_PIN.to_owned()];
        }
        [TlsPin::Sha1(_)] => {
            relay.note(
                "SHA-1 is weak, and names the certificate alone; Postfix also took it as that of the public key.",
            );
            relay.note("`sealrelay check` prints the sha256: and spki-sha256: pins to put in its place.");
        }
        _ => {
            relay.note(
                "Postfix took a fingerprint as that of the certificate or of the public key: here both are named.",
            );
        }
    }
    pins.iter().map(TlsPin::to_string).collect()
}

#[cfg(test)]
mod tests {
    use crate::import::of_texts;

    fn imported(level: &str) -> String {
        let main = "relayhost = [mail.example.org]:587\nsmtp_tls_fingerprint_digest = SHA256\n\
                    smtp_tls_fingerprint_cert_match = ";
        of_texts(0, &format!("{main}{}\nsmtp_tls_security_level = {level}\n", "AB:".repeat(31) + "AB")).to_string()
    }

    #[test]
    fn a_pin_stays_one_whatever_the_letters_of_the_level_are_and_an_unknown_level_is_no_weak_one() {
        for level in ["fingerprint", "Fingerprint", "FINGERPRINT"] {
            assert!(imported(level).contains("pins = [\"sha256:AB:AB"), "{}", imported(level));
        }
        for level in ["fingerprints", "fingerprint,", "$nothing x"] {
            let text = imported(level);
            assert!(text.contains("pins = [\"<sha256: as") && !text.contains("in clear"), "{text}");
        }
        assert!(!imported("Encrypt").contains("pins") && imported("Encrypt").contains("took any certificate"));
    }
}
