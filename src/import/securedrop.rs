//! SecureDrop's site-specific: the variables its administrators know, taken by their own names.
//!
//! It is YAML from which only scalars at the top are read; what is nested, encrypted by ansible-vault or a template is
//! named and not guessed at.

use std::collections::BTreeMap;
use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::draft::{
    Draft, PASSWORD_FILE, Table, UNKNOWN_FILE, UNKNOWN_FINGERPRINT, UNKNOWN_HOST, UNKNOWN_LOGIN, UNKNOWN_PIN,
    UNKNOWN_RECIPIENT, UNKNOWN_SENDER,
};
use super::source::{self, ImportError};
use crate::config::{OpenPgpFingerprint, Secret, TlsPin};
use crate::envelope::{Address, printable};

/// A variable: what it is set to, if that can be known, and where.
struct Variable {
    value: Result<String, &'static str>,
    line: usize,
}

/// The variables of one file.
struct Site(BTreeMap<String, Variable>);

/// Variables that mean nothing to a relay of this machine, and why.
const OTHERS: [(&str, &str); 5] = [
    (
        "monitor_hostname",
        "nothing here says this machine's name: EHLO says [127.0.0.1], and From is the sender's address",
    ),
    ("dns_server", "the system's resolver is used"),
    ("smtp_relay_cert_dir", "without ca_file and pins the system's roots are trusted"),
    ("smtp_relay_cert_override_dir", "name the file itself in ca_file"),
    ("postfix_enable_service", "enable or disable the service itself"),
];

/// What belongs to the mail path and is read here.
const TAKEN: [&str; 15] = [
    "ossec_alert_gpg_public_key",
    "ossec_gpg_fpr",
    "ossec_alert_email",
    "journalist_alert_gpg_public_key",
    "journalist_gpg_fpr",
    "journalist_alert_email",
    "smtp_relay",
    "smtp_relay_port",
    "smtp_relay_fingerprint",
    "smtp_relay_cert_override_file",
    "sasl_username",
    "sasl_domain",
    "sasl_password",
    "ossec_from_address",
    "postfix_from_address",
];

pub fn import(file: &Path) -> Result<Draft, ImportError> {
    of_text(file, &source::read(file)?)
}

pub fn of_text(file: &Path, text: &str) -> Result<Draft, ImportError> {
    let site = Site::parse(file, text)?;
    let mut draft = Draft::new(format!("`sealrelay import` from SecureDrop's {}", file.display()));
    site.recipient(&mut draft);
    site.sender(&mut draft);
    site.relay(&mut draft);
    site.journalist(&mut draft);
    site.others(&mut draft);
    Ok(draft)
}

impl Site {
    fn parse(file: &Path, text: &str) -> Result<Self, ImportError> {
        let mut variables = BTreeMap::new();
        let (mut depth, mut key, mut documents) = (0_usize, None, 0);
        for event in &mut Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| ImportError::Malformed {
                path: file.to_owned(),
                line: error.marker().line(),
                what: printable(error.info().as_bytes()),
            })?;
            let value = match event {
                // Ansible reads one document; a second one would be read by nobody else.
                Event::DocumentStart(_) if documents == 1 => break,
                Event::DocumentStart(_) => {
                    documents += 1;
                    continue;
                }
                Event::MappingStart(..) | Event::SequenceStart(..) => {
                    depth += 1;
                    if depth != 2 {
                        continue;
                    }
                    Err("it is a list or a table")
                }
                Event::MappingEnd | Event::SequenceEnd => {
                    depth = depth.saturating_sub(1);
                    continue;
                }
                Event::Alias(_) if depth == 1 => Err("it is an alias"),
                Event::Scalar(text, style, _, tag) if depth == 1 => scalar(&text, style, tag.is_some()),
                _ => continue,
            };
            match (key.take(), value) {
                (None, Ok(name)) => key = Some((name, span.start.line())),
                // A key that is no scalar has no name we could know.
                (None, Err(_)) => key = Some((String::new(), span.start.line())),
                (Some((name, line)), value) => drop(variables.insert(name, Variable { value, line })),
            }
        }
        Ok(Self(variables))
    }

    /// What `name` is set to; empty counts as not set, as it does there.
    fn get(&self, name: &str) -> Option<&str> {
        self.verbatim(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// The same with the blanks that quotes keep around it.
    fn verbatim(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.value.as_deref().ok().filter(|value| !value.is_empty())
    }

    /// The same, or what stands in its place, with a comment that says why.
    fn or(&self, name: &str, unknown: &str, table: &mut Table) -> String {
        if let Some(Variable { value: Err(why), line }) = self.0.get(name) {
            table.note(format!("line {line}: {name} is not read: {why}."));
        }
        self.get(name).unwrap_or(unknown).to_owned()
    }

    fn recipient(&self, draft: &mut Draft) {
        let mut notes = Table::default();
        let address = self.or("ossec_alert_email", UNKNOWN_RECIPIENT, &mut notes);
        let written = self.or("ossec_gpg_fpr", UNKNOWN_FINGERPRINT, &mut notes);
        let fingerprint = written.parse().map_or(written, |fingerprint: OpenPgpFingerprint| fingerprint.to_string());
        let file = self.get("ossec_alert_gpg_public_key").unwrap_or("ossec.pub");
        let name = file.rsplit('/').next().unwrap_or(file);
        draft.step(format!(
            "Copy the public key {file} to keys/{name} beside this file; `sealrelay keys lint` says whether it will do."
        ));
        let table = draft.recipient(&address);
        *table = notes;
        table.set("address", address).set("certificate", format!("keys/{name}")).set("fingerprint", fingerprint);
    }

    /// The guide's rule: its own variable, or the login.
    fn sender(&self, draft: &mut Draft) {
        let own = self.get("ossec_from_address").or_else(|| self.get("postfix_from_address"));
        let login = self.login().filter(|login| login.parse::<Address>().is_ok());
        match (own, login) {
            (Some(own), _) => {
                draft.sender.set("address", own);
            }
            (None, Some(login)) => {
                draft.sender.note("ossec_from_address is not set: the login, as there.").set("address", login);
            }
            (None, None) => {
                draft.sender.note("ossec_from_address is not set, and the login without sasl_domain is no address.");
                draft.sender.note("Postfix sent from ossec@ this machine's name, which few relay hosts take.");
                draft.sender.set("address", UNKNOWN_SENDER);
            }
        }
    }

    /// Whether `name` is set to something that cannot be known here. It must not count as not set.
    fn is_unreadable(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|variable| variable.value.is_err())
    }

    fn login(&self) -> Option<String> {
        if self.is_unreadable("sasl_username") || self.is_unreadable("sasl_domain") {
            return Some(UNKNOWN_LOGIN.to_owned());
        }
        let username = self.get("sasl_username")?;
        Some(self.get("sasl_domain").map_or_else(|| username.to_owned(), |domain| format!("{username}@{domain}")))
    }

    fn relay(&self, draft: &mut Draft) {
        let mut relay = Table::default();
        let host = self.or("smtp_relay", UNKNOWN_HOST, &mut relay);
        relay.set("host", host);
        self.port(&mut relay);
        self.login_into(draft, &mut relay);
        self.trust(draft, &mut relay);
        draft.relays.push(relay);
    }

    fn port(&self, relay: &mut Table) {
        match self.get("smtp_relay_port").map(str::parse::<u16>) {
            None => {
                relay.set("port", 587);
            }
            Some(Ok(465)) => {
                relay.note("Port 465 begins with TLS at once. Postfix as it was set up there could not do that.");
                relay.set("port", 465).set("tls", "implicit");
            }
            Some(Ok(port)) => {
                relay.set("port", i64::from(port));
            }
            Some(Err(_)) => {
                relay.note("smtp_relay_port is no port; 587 stands in its place.").set("port", 587);
            }
        }
    }

    fn login_into(&self, draft: &mut Draft, relay: &mut Table) {
        let Some(login) = self.login() else {
            relay.note("sasl_username is not set: there is no login.");
            return;
        };
        relay.set("username", login).set("password_file", PASSWORD_FILE);
        match self.verbatim("sasl_password") {
            Some(password) if !password.chars().any(char::is_control) => {
                draft.password = Some(Secret::new(password.to_owned()));
            }
            _ => draft.step(format!("Write the password (sasl_password) alone into {PASSWORD_FILE}, mode 0400.")),
        }
    }

    /// Three tiers, of which the fingerprint wins over the file, and the file over the system's roots.
    fn trust(&self, draft: &mut Draft, relay: &mut Table) {
        let file = self.get("smtp_relay_cert_override_file");
        if let Some(prints) = self.get("smtp_relay_fingerprint") {
            let pins: Vec<String> =
                prints.split([' ', ',', '|']).filter(|p| !p.is_empty()).take(16).map(|p| pin(p, relay)).collect();
            relay.set("pins", pins);
            if let Some(file) = file {
                draft.besides(format!(
                    "smtp_relay_cert_override_file ({file}): not used, the fingerprint wins, as there."
                ));
            }
        } else if self.is_unreadable("smtp_relay_fingerprint") {
            relay.note("smtp_relay_fingerprint is not read.").set("pins", vec![UNKNOWN_PIN.to_owned()]);
        } else if let Some(file) = file {
            let name = file.rsplit('/').next().unwrap_or(file);
            draft.step(format!("Copy {file} (or /etc/ssl/certs_local/{name}) to certs/{name} beside this file."));
            relay.note("Only this authority is trusted; the system's are not, as there.");
            relay.note("The name must be the relay host's own. Postfix also took names under it.");
            relay.set("ca_file", format!("certs/{name}"));
        } else if self.is_unreadable("smtp_relay_cert_override_file") {
            relay.note("smtp_relay_cert_override_file is not read.").set("ca_file", UNKNOWN_FILE);
        } else {
            relay.note(
                "Trust by the system's roots. The name must be the relay host's own; Postfix also took names under it.",
            );
        }
    }

    fn journalist(&self, draft: &mut Draft) {
        if self.get("journalist_alert_email").is_none() && !self.is_unreadable("journalist_alert_email") {
            let unused = ["journalist_alert_gpg_public_key", "journalist_gpg_fpr"]
                .into_iter()
                .filter(|name| self.get(name).is_some() || self.is_unreadable(name));
            unused.for_each(|name| {
                draft.besides(format!("{name}: not used, journalist_alert_email is empty, as there."))
            });
            return;
        }
        let mut notes = Table::default();
        notes.note("The journalist's notice: once a day one of two texts of one size, and nothing of the alert.");
        let address = self.or("journalist_alert_email", UNKNOWN_RECIPIENT, &mut notes);
        let written = self.or("journalist_gpg_fpr", UNKNOWN_FINGERPRINT, &mut notes);
        let fingerprint = written.parse().map_or(written, |fingerprint: OpenPgpFingerprint| fingerprint.to_string());
        let file = self.get("journalist_alert_gpg_public_key").unwrap_or("journalist.pub");
        let name = file.rsplit('/').next().unwrap_or(file);
        draft.step(format!("Copy the journalist's public key {file} to keys/{name} beside this file."));
        let table = draft.journalist(&address);
        table.lead_all(notes).set("certificate", format!("keys/{name}")).set("fingerprint", fingerprint);
    }

    fn others(&self, draft: &mut Draft) {
        for (name, why) in OTHERS {
            if let Some(variable) = self.0.get(name) {
                draft.besides(format!("line {}: {name}: {why}.", variable.line));
            }
        }
        let known = |name: &str| TAKEN.contains(&name) || OTHERS.iter().any(|(other, _)| *other == name);
        let rest: Vec<&str> =
            self.0.keys().map(String::as_str).filter(|name| !name.is_empty() && !known(name)).collect();
        if !rest.is_empty() {
            draft.besides(format!("{}: nothing of mail.", rest.join(", ")));
        }
        draft.besides(
            "The nightly reboot, the rules and the agents stay as they are; OSSEC goes on sending to 127.0.0.1.",
        );
    }
}

/// What stands in quotes is meant as it stands: a password may be `~`, or begin with a blank.
fn scalar(text: &str, style: ScalarStyle, is_tagged: bool) -> Result<String, &'static str> {
    match (style, text.trim()) {
        _ if is_tagged || text.starts_with("$ANSIBLE_VAULT") => Err("it is encrypted or tagged"),
        (_, template) if template.contains("{{") || template.contains("{%") => Err("it is a template"),
        (ScalarStyle::Plain, "~" | "null" | "Null" | "NULL") => Ok(String::new()),
        (ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted, _) => Ok(text.to_owned()),
        (_, other) => Ok(other.to_owned()),
    }
}

/// `smtp_tls_fingerprint_digest` is sha1 there.
fn pin(text: &str, relay: &mut Table) -> String {
    let by_length = match text.chars().filter(char::is_ascii_hexdigit).count() {
        64 => format!("sha256:{text}"),
        _ => format!("sha1:{text}"),
    };
    match by_length.parse::<TlsPin>() {
        Ok(pin @ TlsPin::Sha1(_)) => {
            relay.note(
                "SHA-1 is weak, and names the certificate alone; Postfix also took it as that of the public key.",
            );
            relay.note("`sealrelay check` prints the sha256: and spki-sha256: pins to put in its place.");
            pin.to_string()
        }
        Ok(pin) => {
            relay.note(
                "64 digits never matched there (the digest was SHA-1); they are taken as SHA-256 of the certificate.",
            );
            pin.to_string()
        }
        Err(_) => {
            relay.note("smtp_relay_fingerprint is no fingerprint of a certificate.");
            UNKNOWN_PIN.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(yaml: &str) -> Option<String> {
        let draft = of_text(Path::new("site-specific"), &format!("sasl_username: u\n{yaml}\n")).expect("YAML");
        draft.password.map(|password| password.reveal().to_owned())
    }

    #[test]
    fn a_password_in_quotes_is_taken_as_it_stands() {
        assert_eq!(password("sasl_password: ' a b '").as_deref(), Some(" a b "));
        assert_eq!(password("sasl_password: \"~\"").as_deref(), Some("~"));
        assert_eq!(password("sasl_password: plain # comment").as_deref(), Some("plain"));
        for none in ["sasl_password: ~", "sasl_password: null", "sasl_password: ''", "sasl_password: '{{ vault }}'"] {
            assert_eq!(password(none), None, "{none}");
        }
    }
}
