//! `relayhost` and what stands in for it.

use super::{Stack, list};
use crate::import::draft::{Draft, Table, UNKNOWN_HOST};

/// As many as a configuration takes.
const RELAYS: usize = 16;

/// A next hop as Postfix writes it.
pub struct NextHop {
    /// As it is written.
    pub written: String,
    /// The name or address alone.
    pub host: String,
    /// The port, if it is named.
    pub port: Option<u16>,
    /// Whether brackets forbid to look for its mail exchangers.
    pub is_exact: bool,
}

impl NextHop {
    /// `[host]:port`, `[host]`, `host:port`, `host`; the port may be a service's name.
    pub fn parse(written: &str) -> Self {
        let hop = |host: &str, port: Option<&str>, is_exact| Self {
            written: written.to_owned(),
            host: host.trim_start_matches("ipv6:").to_owned(),
            port: port.and_then(service),
            is_exact,
        };
        match written.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => hop(host, rest.strip_prefix(':'), true),
            None => match written.rsplit_once(':') {
                Some((host, port)) => hop(host, Some(port), false),
                None => hop(written, None, false),
            },
        }
    }
}

fn service(name: &str) -> Option<u16> {
    match name {
        "smtp" | "mail" => Some(25),
        "submission" | "msa" => Some(587),
        "smtps" | "submissions" | "ssmtp" | "urd" => Some(465),
        number => number.parse().ok().filter(|port| *port != 0),
    }
}

impl Stack {
    pub(super) fn relays(&self, draft: &mut Draft) {
        let hops = self.main.get("relayhost").unwrap_or_default();
        let fallback = self.main.get("smtp_fallback_relay").unwrap_or_default();
        let all: Vec<&str> = [list(&hops), list(&fallback)].concat();
        let hops: Vec<NextHop> = all.iter().take(RELAYS).map(|hop| NextHop::parse(hop)).collect();
        if all.len() > RELAYS {
            draft.besides(format!("relayhost beyond the first {RELAYS}: not looked at, no more are taken here."));
        }
        for (nth, hop) in hops.iter().enumerate() {
            let mut relay = Table::default();
            self.relay(draft, &mut relay, hop, nth);
            draft.relays.push(relay);
        }
        if hops.is_empty() {
            let mut relay = Table::default();
            relay.note(
                "relayhost is empty: Postfix looked up each recipient's mail exchanger and sent from port to port,",
            );
            relay.note(
                "mostly unverified. sealrelay sends to a relay host that it can verify: your provider's, with a login.",
            );
            relay.set("host", UNKNOWN_HOST).set("port", 587);
            relay.off("username", "ossec@example.org").off("password_file", crate::import::draft::PASSWORD_FILE);
            draft.relays.push(relay);
        }
    }

    fn relay(&self, draft: &mut Draft, relay: &mut Table, hop: &NextHop, nth: usize) {
        relay.note(format!("relayhost = {}", hop.written));
        if !hop.is_exact && hop.host.parse::<std::net::IpAddr>().is_err() {
            relay.note(format!(
                "Without brackets Postfix looks up the mail exchangers (MX) of {0}; sealrelay connects to {0} itself. If \
                 that is no mail server, write the name that `host -t MX {0}` prints.",
                hop.host
            ));
        }
        relay.set("host", hop.host.as_str());
        let is_implicit = self.main.is_yes("smtp_tls_wrappermode");
        self.port(relay, hop, is_implicit);
        self.login(draft, relay, hop, nth);
        self.trust(draft, relay, hop);
        self.client_certificate(draft, relay);
        self.ehlo(relay);
    }

    fn port(&self, relay: &mut Table, hop: &NextHop, is_implicit: bool) {
        let port = hop.port.unwrap_or(25);
        if hop.port.is_none() {
            relay.note("No port there means 25. Providers take mail with a login at 587.");
        }
        relay.set("port", i64::from(port));
        match (is_implicit, port) {
            (true, _) => {
                relay.set("tls", "implicit");
            }
            (false, 465) => {
                relay.note("Port 465 begins with TLS at once; Postfix without smtp_tls_wrappermode could not do that.");
                relay.set("tls", "implicit");
            }
            (false, _) => {}
        }
    }

    fn client_certificate(&self, draft: &mut Draft, relay: &mut Table) {
        let Some(certificate) = self.main.get("smtp_tls_cert_file") else { return };
        let key = self.main.get("smtp_tls_key_file").unwrap_or_else(|| certificate.clone());
        let name = |path: &str| format!("certs/{}", path.rsplit('/').next().unwrap_or(path));
        draft.step(format!(
            "Copy the client certificate {certificate} to {0}, and its key {key} to {1} with mode 0400.",
            name(&certificate),
            name(&key)
        ));
        relay.set("client_certificate", name(&certificate)).set("client_key", name(&key));
    }

    /// What was said on purpose goes on being said; this machine's name does not.
    fn ehlo(&self, relay: &mut Table) {
        if let Some(name) = self.main.get("smtp_helo_name") {
            relay.note(format!(
                "smtp_helo_name, main.cf line {}. The default says nothing about this machine.",
                self.main.line("smtp_helo_name")
            ));
            relay.set("ehlo", name);
        } else if let Some(name) = self.main.get("myhostname") {
            relay.note("Postfix said myhostname in EHLO. The default says nothing about this machine.");
            relay.off("ehlo", name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_relay_hosts_than_are_taken_are_not_passed_over_in_silence() {
        let hosts = |count: usize| (0..count).map(|nth| format!("[h{nth}.example.org]:587, ")).collect::<String>();
        let imported = |count| crate::import::of_texts(0, &format!("relayhost = {}\n", hosts(count))).to_string();
        assert!(imported(17).contains("beyond the first 16") && !imported(16).contains("beyond"), "{}", imported(17));
    }

    #[test]
    fn next_hops_are_read_as_postfix_writes_them() {
        let read = |text| {
            let hop = NextHop::parse(text);
            (hop.host, hop.port, hop.is_exact)
        };
        assert_eq!(read("[smtp.gmail.com]:587"), ("smtp.gmail.com".into(), Some(587), true));
        assert_eq!(read("[smtp.example.org]"), ("smtp.example.org".into(), None, true));
        assert_eq!(read("example.org:submission"), ("example.org".into(), Some(587), false));
        assert_eq!(read("example.org"), ("example.org".into(), None, false));
        assert_eq!(read("[ipv6:2001:db8::1]:smtps"), ("2001:db8::1".into(), Some(465), true));
        assert_eq!(read("[192.0.2.1]:0"), ("192.0.2.1".into(), None, true));
    }
}
