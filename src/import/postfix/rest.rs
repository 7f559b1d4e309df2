//! Limits, and every line of main.cf that has no place in ours, with what becomes of it.

use super::Stack;
use crate::import::draft::Draft;

/// What becomes of a parameter; a name that ends in `*` stands for all that begin so. The first that fits counts.
const FATES: [(&str, &str); 58] = [
    ("always_bcc", "no equivalent: give that address a [[recipient]] of its own, with its own certificate"),
    ("recipient_bcc_maps", "no equivalent: give those addresses a [[recipient]] of their own"),
    ("sender_bcc_maps", "no equivalent: give those addresses a [[recipient]] of their own"),
    ("transport_maps", "no equivalent: all mail goes to the relay hosts above, in their order"),
    ("sender_dependent_*", "no equivalent: there is one sender"),
    ("default_transport", "no equivalent: all mail goes to the relay hosts above"),
    ("relay_transport", "no equivalent: all mail goes to the relay hosts above"),
    ("content_filter", "no equivalent: alerts are sealed as they come, in memory"),
    ("inet_interfaces", "alerts are taken on loopback only; listen.addresses and listen.networks for more"),
    ("mynetworks*", "other machines are named in listen.networks"),
    ("inet_protocols", "IPv4 and IPv6 are tried side by side, and one that is missing costs a moment"),
    ("mydestination", "nothing is delivered on this machine; all that is accepted goes to configured recipients"),
    ("alias_*", "nothing is delivered on this machine, nor to programs and files; recipients are addresses elsewhere"),
    ("virtual_*", "recipients are configured; the envelope chooses among them (recipient.accept)"),
    ("local_*", "nothing is delivered on this machine"),
    ("mailbox_*", "nothing is delivered on this machine"),
    ("home_mailbox", "nothing is delivered on this machine"),
    ("recipient_delimiter", "nothing is delivered on this machine; recipient.accept names addresses whole"),
    ("biff", "nothing is delivered on this machine"),
    (
        "smtp_header_checks",
        "nothing of the client's header goes out, so nothing is left to strip; what they add or rewrite has no equivalent",
    ),
    ("header_checks", "the alert travels whole, inside the sealed part"),
    ("body_checks", "the alert travels whole, inside the sealed part"),
    ("mime_header_checks", "the alert travels whole, inside the sealed part"),
    ("smtp_generic_maps", "there is one sender"),
    ("canonical_maps", "there is one sender, and recipients are configured"),
    ("sender_canonical_maps", "there is one sender"),
    ("recipient_canonical_maps", "recipients are configured"),
    ("masquerade_*", "there is one sender"),
    ("smtp_tls_protocols", "TLS 1.2 at least, always"),
    ("smtp_tls_mandatory_protocols", "TLS 1.2 at least, always"),
    ("smtp_tls_*ciphers", "only strong ones are there to choose"),
    ("smtp_tls_ciphers", "only strong ones are there to choose"),
    ("smtp_tls_mandatory_*", "only strong ciphers are there to choose"),
    ("smtp_tls_exclude_ciphers", "only strong ones are there to choose"),
    ("tls_*", "only strong ciphers and TLS 1.2 at least are there to choose"),
    ("smtp_tls_session_cache_*", "each session is verified anew; connections are kept instead"),
    ("smtp_tls_loglevel", "log.level; `sealrelay check` shows what a session agreed on"),
    ("smtp_tls_note_starttls_offer", "`sealrelay check` shows it"),
    ("smtp_use_tls", "TLS always"),
    ("smtp_enforce_tls", "TLS always"),
    ("smtp_tls_*", "no equivalent: what makes the relay host the right one stands in its [[relay]]"),
    ("smtp_sasl_*", "no equivalent: the login stands in its [[relay]], and is only shown to a verified relay host"),
    ("smtp_*_timeout", "relay.timeout"),
    ("smtp_destination_*", "relay.connections, messages_per_hour and messages_per_day"),
    ("default_destination_*", "relay.connections, messages_per_hour and messages_per_day"),
    (
        "minimal_backoff_time",
        "from 30 seconds to an hour, with jitter; a relay host that refuses the login waits 15 minutes",
    ),
    ("maximal_backoff_time", "from 30 seconds to an hour, with jitter"),
    ("queue_run_delay", "each message has its own time"),
    ("bounce_queue_lifetime", "nothing bounces: what is refused lies in failed/, and `sealrelay status` says so"),
    ("delay_warning_time", "`sealrelay status`, metrics and the heartbeat tell of what waits"),
    ("notify_classes", "`sealrelay status`, metrics and the log tell"),
    ("smtpd_tls_*", "alerts come over loopback, where no TLS is needed; there is no relay for others"),
    ("smtpd_*", "intake takes every alert from this machine and sends to configured recipients only"),
    ("my*", "nothing here says this machine's name"),
    ("milter_*", "no equivalent: alerts are sealed as they come, in memory"),
    ("smtp_*", "no equivalent"),
    ("compatibility_level", "Postfix's own"),
    ("*_directory", "Postfix's own"),
];

/// As many remarks; more main.cf has no one read.
const REMARKS: usize = 300;

impl Stack {
    pub(super) fn limits(&self, draft: &mut Draft) {
        if let Some(size) = self.main.get("message_size_limit") {
            self.size(draft, &size);
        }
        if let Some(lifetime) = self.main.get("maximal_queue_lifetime") {
            self.lifetime(draft, &lifetime);
        }
    }

    fn size(&self, draft: &mut Draft, text: &str) {
        let (least, most) = (64 * 1024, 64 * 1024 * 1024);
        let table = &mut draft.listen;
        match text.parse::<u64>() {
            // Postfix: no limit.
            Ok(0) => {
                table.note("message_size_limit = 0 meant no limit.").set("message_size", "64MiB");
            }
            Ok(size) if (least..=most).contains(&size) => {
                table.note("message_size_limit, in octets. The default is 16MiB: OSSEC's reports have no bound.");
                table.set("message_size", size.to_string());
            }
            Ok(size) => {
                let nearest = size.clamp(least, most);
                table
                    .note(format!("message_size_limit was {size}; this is the nearest there is."))
                    .set("message_size", nearest.to_string());
            }
            Err(_) => {
                table.note("message_size_limit is no number; the default stands.");
            }
        }
    }

    fn lifetime(&self, draft: &mut Draft, text: &str) {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let seconds = match unit.trim() {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            "" | "d" => Some(86_400),
            "w" => Some(7 * 86_400),
            _ => None,
        };
        let seconds = seconds.and_then(|unit| number.parse::<u64>().ok()?.checked_mul(unit));
        let table = &mut draft.spool;
        match seconds {
            Some(seconds @ 3600..=31_536_000) => {
                table.note("maximal_queue_lifetime. What is older moves to failed/, where it stays; nothing bounces.");
                let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
                let (unit, name) = units.into_iter().find(|(unit, _)| seconds % unit == 0).unwrap_or((1, "s"));
                table.set("lifetime", format!("{}{name}", seconds / unit));
            }
            _ => {
                table.note("maximal_queue_lifetime is out of bounds (1h to 365d); the default of 14d stands.");
            }
        }
    }

    /// What nobody took; what becomes of it is said once.
    pub(super) fn rest(&self, draft: &mut Draft) {
        let untaken = self.main.untaken();
        let mut fates: Vec<(&str, Vec<String>)> = Vec::new();
        for (name, line) in untaken.iter().take(REMARKS) {
            let (name, fate) = (format!("{name} (line {line})"), fate(name));
            match fates.iter_mut().find(|(known, _)| *known == fate) {
                Some((_, names)) => names.push(name),
                None => fates.push((fate, vec![name])),
            }
        }
        fates.iter().for_each(|(fate, names)| draft.besides(format!("{}: {fate}.", names.join(", "))));
        if untaken.len() > REMARKS {
            draft.besides(format!("{} more lines: not looked at.", untaken.len() - REMARKS));
        }
        if self.place.file("/etc/postfix/master.cf").is_some_and(|text| text.contains("-o smtp_")) {
            draft.besides("master.cf: it gives a service `-o smtp_...` of its own, which is not read; compare it with the [[relay]].");
        }
    }
}

fn fate(name: &str) -> &'static str {
    let fits = |pattern: &str| match pattern.split_once('*') {
        Some((head, tail)) => name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail),
        None => name == pattern,
    };
    FATES.iter().find(|(pattern, _)| fits(pattern)).map_or("no equivalent", |(_, fate)| fate)
}
