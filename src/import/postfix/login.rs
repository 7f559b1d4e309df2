//! The login: `smtp_sasl_auth_enable` and the table of passwords. The password itself goes nowhere but into a file that
//! the operator names.

use super::relay::NextHop;
use super::{MAPS, Stack, list};
use crate::config::Secret;
use crate::import::draft::{Draft, PASSWORD_FILE, Table, UNKNOWN_LOGIN};
use crate::import::postfix::place;

impl Stack {
    pub(super) fn login(&self, draft: &mut Draft, relay: &mut Table, hop: &NextHop, nth: usize) {
        let maps = self.main.get("smtp_sasl_password_maps");
        if !self.main.is_yes("smtp_sasl_auth_enable") {
            if maps.is_some() {
                relay.note("smtp_sasl_auth_enable is not \"yes\", so Postfix did not log in.");
            }
            return;
        }
        self.mechanism(relay);
        if self.main.is_yes("smtp_sender_dependent_authentication") {
            relay
                .note("smtp_sender_dependent_authentication: sealrelay has one sender, and so one login a relay host.");
        }
        let password_file = if nth == 0 { PASSWORD_FILE.to_owned() } else { format!("{PASSWORD_FILE}_{}", nth + 1) };
        match self.found(maps.as_deref().unwrap_or_default(), hop, relay) {
            Some((username, password)) => {
                relay.set("username", username).set("password_file", password_file.as_str());
                if nth == 0 && !password.reveal().is_empty() {
                    draft.password = Some(password);
                } else {
                    draft.step(format!("Write the password for {} alone into {password_file}, mode 0400.", hop.host));
                }
            }
            None => {
                draft.step(format!("Write the password for {} alone into {password_file}, mode 0400.", hop.host));
                relay.set("username", UNKNOWN_LOGIN).set("password_file", password_file);
            }
        }
    }

    /// Who logs in at `hop`; otherwise a comment says why that is not known.
    fn found(&self, maps: &str, hop: &NextHop, relay: &mut Table) -> Option<(String, Secret)> {
        if let Some(pair) = maps.strip_prefix("static:") {
            return Some(split(pair.trim_matches(['{', '}'])));
        }
        for map in list(maps).into_iter().take(MAPS) {
            match self.place.table(map, None) {
                place::Table::Text(lines) => match entry(&lines, hop) {
                    Some(pair) => return Some(split(pair)),
                    None => relay.note(format!(
                        "smtp_sasl_password_maps has no line for {}: Postfix did not log in there. Take username out if \
                         that is meant.",
                        hop.written
                    )),
                },
                place::Table::Compiled(name) => relay.note(format!(
                    "Of {name} only what postmap made of it is there, not the text. As root, `postmap -s hash:{name}` \
                     prints it."
                )),
                place::Table::Missing(name) => {
                    relay.note(format!("smtp_sasl_password_maps: {name} is not there or not readable."))
                }
                place::Table::Other(kind) => {
                    relay.note(format!("smtp_sasl_password_maps is a {kind} table, which is not read."))
                }
            };
        }
        None
    }

    /// One mechanism alone is kept; of several the strongest is tried first.
    fn mechanism(&self, relay: &mut Table) {
        let Some(filter) = self.main.get("smtp_sasl_mechanism_filter") else { return };
        let names: Vec<String> = list(&filter).iter().map(|name| name.to_ascii_lowercase()).collect();
        let line = self.main.line("smtp_sasl_mechanism_filter");
        match names.as_slice() {
            [one] if ["plain", "login", "scram-sha-256"].contains(&one.as_str()) => {
                relay.set("auth", one.as_str());
            }
            [one] if ["xoauth2", "oauthbearer"].contains(&one.as_str()) => {
                relay.note(format!(
                    "main.cf line {line}: {one} needs a token: token_file or [relay.oauth] in place of password_file."
                ));
            }
            _ => {
                relay.note(format!(
                "smtp_sasl_mechanism_filter, main.cf line {line}: the strongest of SCRAM-SHA-256, PLAIN and LOGIN that is offered is taken."
            ));
            }
        }
    }
}

/// What stands for `hop`, by the names Postfix may look it up by.
fn entry<'l>(lines: &'l [(String, String, usize)], hop: &NextHop) -> Option<&'l str> {
    let port = hop.port.map_or(String::new(), |port| format!(":{port}"));
    let host = &hop.host;
    let keys =
        [hop.written.clone(), format!("[{host}]{port}"), format!("{host}{port}"), format!("[{host}]"), host.clone()];
    let found = keys.iter().find_map(|key| lines.iter().find(|(known, ..)| known.eq_ignore_ascii_case(key)));
    found.map(|(_, pair, _)| pair.as_str())
}

/// `user:password`; a password may hold colons.
fn split(pair: &str) -> (String, Secret) {
    let (user, password) = pair.split_once(':').unwrap_or((pair, ""));
    (user.to_owned(), Secret::new(password.to_owned()))
}
