//! Prometheus metrics: the numbers of `status` in the text format 0.0.4, for node_exporter's textfile collector, at a
//! Unix socket, and at a TCP address if one is asked for.
//!
//! Guarantees: numbers, configured names and times only; nothing of an alert; few time series, however much happens. On
//! failure to write or serve them the daemon goes on and says so once. Whoever can reach the socket can read them.

mod publish;

use std::fmt::{self, Display, Write};

pub use publish::{Bound, Make, bind, publish};

use crate::status::{AlarmStatus, CertificateStatus, FollowStatus, RecipientStatus, RelayStatus, State, Status};

/// `status` as Prometheus reads it.
pub fn text(status: &Status) -> String {
    let mut page = Page::default();
    page.gauge("build_info", "Constant 1, with the version", [(&[("version", status.version.as_str())][..], 1)]);
    page.gauge("start_timestamp_seconds", "When the daemon started", [(NONE, status.since)]);
    page.gauge("state", "0 well, 1 somebody should look, 2 no alert can be taken", [(NONE, state(status.state))]);
    counters(&mut page, status);
    spool(&mut page, status);
    follows(&mut page, &status.follows);
    gathering(&mut page, status);
    relays(&mut page, &status.relays);
    alarm(&mut page, &status.alarm);
    certificates(&mut page, &status.certificates);
    heartbeats(&mut page, &status.recipients);
    page.text
}

type Labels<'a> = &'a [(&'a str, &'a str)];
const NONE: Labels<'static> = &[];

/// The page as it grows.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn gauge<'a>(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels<'a>, u64)>) {
        self.family(name, help, "gauge", values);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "counter", [(NONE, value)]);
    }

    /// A family without values is left out: a moment that has not come is not 1970.
    fn family<'a>(&mut self, name: &str, help: &str, kind: &str, values: impl IntoIterator<Item = (Labels<'a>, u64)>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        let mut lines = format!("# HELP sealrelay_{name} {help}.\n# TYPE sealrelay_{name} {kind}\n");
        for (labels, value) in values {
            // Writing to a String does not fail.
            let _ = writeln!(lines, "sealrelay_{name}{} {value}", Braces(labels));
        }
        self.text.push_str(&lines);
    }
}

/// `{name="value",...}`, or nothing.
struct Braces<'a>(Labels<'a>);

impl Display for Braces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (name, value)) in self.0.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(f, "{}{name}=\"{value}\"", if nth == 0 { '{' } else { ',' })?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_char('}') }
    }
}

fn state(state: State) -> u64 {
    match state {
        State::Ok => 0,
        State::Degraded => 1,
        State::Broken => 2,
    }
}

fn counters(page: &mut Page, status: &Status) {
    let counts = &status.counts;
    let told = [
        ("messages_accepted_total", "Mails answered with 250", counts.accepted),
        ("alerts_followed_total", "Alerts of followed logs that are stored", counts.followed),
        ("alerts_left_out_total", "Alerts left out of mail because a followed log had brought them", counts.left_out),
        ("messages_sealed_total", "Sealed messages made from both, one for each recipient", counts.entries),
        ("messages_sent_total", "Messages a relay host took", counts.sent),
        ("messages_deferred_total", "Attempts after which a message waits on", counts.deferred),
        ("messages_undeliverable_total", "Messages moved to failed/", counts.undeliverable),
        ("messages_not_sealed_total", "Alerts that could not be sealed for a recipient", counts.not_sealed),
        ("heartbeats_total", "Heartbeats made", counts.heartbeats),
        ("digests_total", "Digests made", counts.digests),
        ("messages_gathered_total", "Messages whose place digests took", counts.gathered),
        ("fillers_total", "Messages without news, made to fill a slot", counts.fillers),
        ("messages_larger_than_slot_total", "Messages larger than the size of their slots", counts.larger_than_slot),
        ("clients_not_taken_total", "Mails answered with 451 and banners with 421", counts.not_taken),
        ("clients_closed_for_room_total", "Silent sessions closed to make room", counts.closed_for_room),
        ("mails_oversize_total", "Mails over the size limit", counts.oversize),
        ("mails_early_dot_total", "Mails with a lone dot in their text", counts.early_dots),
        ("mails_second_in_session_total", "Second mails in a HELO session", counts.second_transactions),
        ("log_lines_dropped_total", "Lines of log that could not be written", status.log_lines_dropped),
    ];
    told.into_iter().for_each(|(name, help, value)| page.counter(name, help, value));
}

fn spool(page: &mut Page, status: &Status) {
    let totals = &status.spool;
    let queues: [(&str, usize); 4] =
        [("queue", totals.queued), ("held", totals.held), ("failed", totals.failed), ("damaged", totals.damaged)];
    let labels = queues.map(|(queue, _)| [("queue", queue)]);
    let values = labels.iter().zip(queues).map(|(labels, (_, count))| (&labels[..], count as u64));
    page.gauge("spool_messages", "Messages in the spool", values);
    let oldest = totals.oldest.map(|oldest| (NONE, oldest));
    page.gauge("spool_used_bytes", "What waits takes this much", [(NONE, totals.usage.used)]);
    page.gauge("spool_quota_bytes", "It may take this much", [(NONE, totals.usage.quota)]);
    page.gauge("spool_oldest_timestamp_seconds", "Arrival of the oldest message that waits", oldest);
}

fn follows(page: &mut Page, follows: &[FollowStatus]) {
    let labels: Vec<_> = follows.iter().map(|follow| [("log", follow.log.as_str())]).collect();
    let mut each = |name: &str, help: &str, kind: &str, of: &dyn Fn(&FollowStatus) -> u64| {
        page.family(name, help, kind, labels.iter().zip(follows).map(|(labels, follow)| (&labels[..], of(follow))));
    };
    each("follow_up", "1 unless the log cannot be read", "gauge", &|follow| u64::from(follow.trouble.is_none()));
    each("follow_waiting", "1 while its alerts wait for room or a certificate", "gauge", &|follow| {
        u64::from(follow.waits.is_some())
    });
    each("follow_behind_octets", "Octets of the log that are to be read", "gauge", &|follow| follow.behind_octets);
    each("follow_behind_seconds", "Time since its end was reached last", "gauge", &|follow| follow.behind_seconds);
    each("follow_lines_total", "Lines read", "counter", &|follow| follow.lines);
    each("follow_no_alerts_total", "Lines that are no alerts in JSON", "counter", &|follow| follow.no_alerts);
}

fn gathering(page: &mut Page, status: &Status) {
    let labels: Vec<_> = status.gathering.iter().map(|own| [("recipient", own.recipient.as_str())]).collect();
    let parked = labels.iter().zip(&status.gathering).map(|(labels, own)| (&labels[..], own.parked as u64));
    page.gauge("gathering_messages", "Messages that wait for their digest or slot", parked);
    let slots = labels.iter().zip(&status.gathering).filter_map(|(labels, own)| Some((&labels[..], own.next_slot?)));
    page.gauge("gathering_next_slot_timestamp_seconds", "When the next slot is", slots);
}

fn relays(page: &mut Page, relays: &[RelayStatus]) {
    let labels: Vec<_> = relays.iter().map(|relay| [("relay", relay.relay.as_str())]).collect();
    let mut each = |name: &str, help: &str, of: &dyn Fn(&RelayStatus) -> Option<u64>| {
        let values = labels.iter().zip(relays).filter_map(|(labels, relay)| Some((&labels[..], of(relay)?)));
        page.gauge(name, help, values);
    };
    each("relay_up", "1 unless the last attempt on the relay host did not succeed", &|relay| {
        Some(u64::from(relay.trouble.is_none()))
    });
    each("relay_last_success_timestamp_seconds", "When it last took a message", &|relay| relay.last_success);
    each("relay_next_attempt_timestamp_seconds", "When it is tried again", &|relay| relay.next_attempt);
    each("relay_cap_until_timestamp_seconds", "Until when its cap makes messages wait", &|relay| relay.waits_until);
    each("relay_certificate_expiry_timestamp_seconds", "When its certificate expires", &|relay| {
        relay.certificate.as_ref()?.expires
    });
    let values = labels.iter().zip(relays).map(|(labels, relay)| (&labels[..], relay.pin_mismatches));
    page.family("pin_mismatch_total", "Sessions that ended because no pin matched", "counter", values);
}

fn heartbeats(page: &mut Page, recipients: &[RecipientStatus]) {
    let labels: Vec<_> = recipients.iter().map(|one| [("recipient", one.recipient.as_str())]).collect();
    let values = labels.iter().zip(recipients).filter_map(|(labels, one)| Some((&labels[..], one.last_heartbeat?)));
    page.gauge("heartbeat_last_timestamp_seconds", "When a recipient's last heartbeat was made", values);
}

fn alarm(page: &mut Page, channels: &[AlarmStatus]) {
    let labels: Vec<_> = channels.iter().map(|one| [("channel", one.channel.as_str())]).collect();
    let mut each = |name: &str, help: &str, of: &dyn Fn(&AlarmStatus) -> Option<u64>| {
        let values = labels.iter().zip(channels).filter_map(|(labels, one)| Some((&labels[..], of(one)?)));
        page.gauge(name, help, values);
    };
    each("alarm_up", "1 unless the last use of the channel did not succeed", &|one| {
        Some(u64::from(one.trouble.is_none()))
    });
    each("alarm_withheld", "1 while the ping is not sent because mail is late", &|one| {
        (one.channel == "ping").then(|| u64::from(one.withheld.is_some()))
    });
    each("alarm_last_success_timestamp_seconds", "When the channel last took something", &|one| one.last_success);
}

fn certificates(page: &mut Page, certificates: &[CertificateStatus]) {
    let labels = certificates.iter().map(|certificate| {
        [("recipient", certificate.recipient.as_str()), ("fingerprint", certificate.fingerprint.as_str())]
    });
    let labels: Vec<_> = labels.collect();
    let values = labels.iter().zip(certificates).map(|(labels, certificate)| (&labels[..], certificate.until));
    page.gauge("certificate_expiry_timestamp_seconds", "When a recipient's certificate expires", values);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_families_without_a_value_left_out() {
        let mut page = Page::default();
        page.gauge("x", "Help", [(&[("relay", "a\"\\\nb"), ("port", "25")][..], 7)]);
        page.gauge("y", "Help", []);
        let expected =
            "# HELP sealrelay_x Help.\n# TYPE sealrelay_x gauge\nsealrelay_x{relay=\"a\\\"\\\\\\nb\",port=\"25\"} 7\n";
        assert_eq!(page.text, expected);
    }
}
