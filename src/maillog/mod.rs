//! The log: one function for each event in a message's life, one line for each event.
//!
//! The lines have Postfix's fields in Postfix's order, under our own name; to the journal the fields go by themselves too.
//! The IDS reads them, and must never mail about us because of them: its rules fire on words such as those in
//! [`TRIGGERS`]. Our own vocabulary has none of them (`undeliverable`, `crit`, `did not work` ...), and [`quiet()`] is the
//! one door to the log: whatever a relay host, the system or a client put into a line leaves it in a form that fires
//! nothing, with the second letter as `\xNN`.
//!
//! Guarantees: below 1,000 octets, printable ASCII, no Subject, no alert text, no password. Logging never blocks and
//! never ends a stage: a line that the log does not take is dropped and counted (see `output`). An attacker controls
//! parts of lines, quoted.

#![allow(clippy::disallowed_methods, reason = "this is the door to the log")]

mod output;
mod quiet;

use tracing::{debug, error, info, trace, warn};

use crate::envelope::{QueueId, printable};

pub use output::{Output, dropped, finish, start};
pub use quiet::{TRIGGERS, quiet};

/// The daemon is up.
pub fn started(version: &str, summary: &str) {
    info!("started, version {version}, {summary}");
}

/// What files, ports and system calls the daemon has left itself.
pub fn confined(landlock: &str, seccomp: &str, complete: bool) {
    match complete {
        true => info!("confined: Landlock {landlock}, seccomp {seccomp}"),
        false => warn!("not wholly confined: Landlock {landlock}, seccomp {seccomp}; mail is relayed all the same"),
    }
}

/// A changed configuration is in force.
pub fn reloaded(summary: &str) {
    info!("configuration reloaded, {summary}");
}

/// A changed configuration is not taken.
pub fn not_reloaded(why: &str, what_to_do: &str) {
    error!("configuration not reloaded, the old one stays in force: {why}. {what_to_do}");
}

/// The daemon was asked to end.
pub fn stopping(signal: &str) {
    info!("stopping on {signal}: taking no more clients, ending deliveries");
}

/// The daemon is down.
pub fn stopped(queued: usize) {
    info!("stopped, {queued} waiting in the spool");
}

/// A socket accepts clients.
pub fn listening(address: &str) {
    info!("listening on {address}");
}

/// A socket of that name was handed over.
pub fn handed_over(name: &str, address: &str) {
    info!("taking over the socket {name}, which listens on {address}");
}

/// An address is not there (IPv6 switched off); the others serve.
pub fn not_listening(address: &str, why: &str) {
    warn!("not listening on {address}: {why}");
}

/// A session began.
pub fn connected(client: &str) {
    debug!("connect from {client}");
}

/// A session ended.
pub fn disconnected(client: &str, why: &str) {
    debug!("disconnect from {client}: {why}");
}

/// Something of a client's was not taken.
pub fn not_accepted(client: &str, reply: &str, why: &str) {
    warn!("NOQUEUE: client={client}, reply={reply}, why={why}");
}

/// An alert is ours: its entries are durable.
pub fn accepted(id: &QueueId, client: &str, from: &str, to: &str, size: u64, message_id: &str) {
    info!(
        queue_id = %id, status = "accepted", recipient = to, size, message_id,
        "{id}: client={client}, from=<{from}>, to=<{to}>, size={size}, message-id={message_id}, status=accepted"
    );
}

/// Something about an alert is worth a reader's attention.
pub fn noticed(client: &str, what: &str) {
    warn!("client={client}, noticed={what}");
}

/// An alert could not be sealed for a recipient.
pub fn unsealable(recipient: &str, why: &str) {
    error!("to=<{recipient}>, sealing is not possible: {why}");
}

/// The relay made itself a signing key: the state directory is new, or was lost.
pub fn signer_made(fingerprint: &str) {
    warn!(
        "made the signing key {fingerprint}: the recipients need its public half, which `sealrelay keys signer` prints"
    );
}

/// A recipient's certificate will expire, or has.
pub fn expiring(recipient: &str, fingerprint: &str, day: &str, when: &str) {
    warn!(
        "to=<{recipient}>, the end of certificate {fingerprint} is {day}, {when}; its holder must extend it and export it again"
    );
}

/// A relay host took a message for good.
pub fn sent(id: &QueueId, to: &str, relay: &str, delay: f64, reply: &str) {
    info!(
        queue_id = %id, status = "sent", recipient = to, relay, delay = %format_args!("{delay:.2}"), dsn = "2.0.0", reply = cut(reply),
        "{id}: to=<{to}>, relay={relay}, delay={delay:.2}, dsn=2.0.0, status=sent ({})", cut(reply)
    );
}

/// A digest took the place of so many messages.
pub fn gathered(id: &QueueId, recipient: &str, count: usize, numbers: &str) {
    info!(queue_id = %id, recipient, "{id}: to=<{recipient}>, takes the place of {count} message(s), numbers {}", cut(numbers));
}

/// A message is larger than the size of its slot.
pub fn larger_than_slot(id: &QueueId, recipient: &str, size: u64) {
    warn!(queue_id = %id, recipient, "{id}: to=<{recipient}>, size={size} is larger than that of its slots");
}

/// A message will be tried again.
pub fn deferred(id: &QueueId, to: &str, relay: &str, delay: f64, dsn: &str, why: &str) {
    warn!(
        queue_id = %id, status = "deferred", recipient = to, relay, delay = %format_args!("{delay:.2}"), dsn, reply = cut(why),
        "{id}: to=<{to}>, relay={relay}, delay={delay:.2}, dsn={dsn}, status=deferred ({})", cut(why)
    );
}

/// The oldest message has waited for long.
pub fn late(minutes: u64, waiting: usize) {
    error!(
        "late: the oldest of {waiting} waiting message(s) has waited for {minutes} minutes; `sealrelay status` says why"
    );
}

/// No message has waited for long any more.
pub fn late_no_more() {
    info!("no message is late any more");
}

/// A message will not be tried again and lies in `failed/`.
pub fn undeliverable(id: &QueueId, to: &str, relay: &str, delay: f64, dsn: &str, status: &str, why: &str) {
    error!(
        queue_id = %id, status, recipient = to, relay, delay = %format_args!("{delay:.2}"), dsn, reply = cut(why),
        "{id}: to=<{to}>, relay={relay}, delay={delay:.2}, dsn={dsn}, status={status} ({})", cut(why)
    );
}

/// A sent message is off the disk.
pub fn removed(id: &QueueId) {
    debug!(queue_id = %id, "{id}: removed");
}

/// A sent message could not be taken off the disk yet.
pub fn removal_deferred(id: &str, why: &std::io::Error) {
    error!("{id}: sent, but its file cannot be removed yet: {why}");
}

/// A message could not be moved to `failed/`.
pub fn not_moved(id: &QueueId, why: &str) {
    error!("{id}: cannot be moved: {why}");
}

/// The relay host cannot be used for now.
pub fn relay_unavailable(relay: &str, why: &str, advice: &str) {
    error!(relay, "relay={relay}, not usable: {}; {advice}", cut(why));
}

/// The state that is told beside mail is another one.
pub fn state_changed(state: &str, before: &str, sight: &str) {
    match state {
        "ok" => info!("state={state}, before={before}, {sight}"),
        _ => warn!("state={state}, before={before}, {sight}"),
    }
}

/// A way to tell somebody beside mail does not work.
pub fn alarm_unusable(channel: &str, to: &str, why: &str) {
    warn!("{channel} {to}, not usable: {}", cut(why));
}

/// It works again.
pub fn alarm_usable(channel: &str, to: &str) {
    info!("{channel} {to}, usable again");
}

/// The dead-man switch is not fed, on purpose.
pub fn ping_withheld(to: &str, why: &str) {
    warn!("ping {to}, not called for now: {why}");
}

/// It is fed again.
pub fn ping_resumed(to: &str) {
    info!("ping {to}, called again");
}

/// The relay host can be used again.
pub fn relay_usable(relay: &str) {
    info!(relay, "relay={relay}, usable again");
}

/// A relay host took TLS only without the post-quantum key exchange.
pub fn classic_exchange(relay: &str, why: &str) {
    warn!(
        "relay={relay}, TLS came about only without the post-quantum key exchange, which is not offered for an hour; \
         with it: {}",
        cut(why)
    );
}

/// A fresh access token is at hand.
pub fn token_renewed(server: &str, seconds: u64) {
    info!("token server={server}, a fresh access token for {seconds} s");
}

/// The refresh token that replaces the old one could not be written.
pub fn token_not_kept(path: &str, why: &str) {
    error!(
        "the new refresh token is only in memory, {path} cannot be written: {why}; make room, or a restart loses it"
    );
}

/// The relay host presents a certificate that it never had before.
pub fn certificate_changed(relay: &str, now: &str, before: &str) {
    warn!(relay, "relay={relay}, presents another certificate than before, verified: {now}; before: {before}");
}

/// Its certificate is the same, those above it are not.
pub fn chain_changed(relay: &str, own: &str) {
    warn!(relay, "relay={relay}, presents other issuers than before, verified: {own}");
}

/// The relay host's certificate expires soon.
pub fn certificate_expires(relay: &str, days: u64) {
    warn!(relay, "relay={relay}, its certificate expires in {days} day(s); its operator should renew it");
}

/// An entry is not what was written.
pub fn damaged(id: &str, why: &str) {
    error!("{id}: damaged, set aside: {why}");
}

/// An entry could not be read, or not be set aside, when the daemon started.
pub fn unreadable(id: &str, why: &str) {
    error!("{id}: cannot be read, left where it is until the next start: {why}");
}

/// What was being written when the last process ended.
pub fn fragments_removed(count: usize) {
    info!("{count} fragment(s) of mails that were never acknowledged removed");
}

/// A state file says nothing that can be read.
pub fn state_file_lost(id: &QueueId) {
    warn!("{id}: its state file cannot be read: it is tried now, as if for the first time");
}

/// The quota or the disk is nearly used up.
pub fn room_is_scarce(usage: &str) {
    warn!("the spool has little room left: {usage}");
}

/// The quota or the disk is used up.
pub fn no_room(usage: &str) {
    error!("the spool has no room: alerts are not taken (421) until there is some: {usage}");
}

/// There is room again.
pub fn room_again() {
    info!("the spool has room again");
}

/// An operator moved a message.
pub fn moved(id: &QueueId, how: &str) {
    info!("{id}: {how} by the operator");
}

/// An operator removed a message that was not sent.
pub fn removed_unsent(id: &QueueId, to: &str, message_id: &str) {
    warn!("{id}: to=<{to}>, message-id={message_id}, removed unsent by the operator");
}

/// A log of alerts is followed from here on.
pub fn following(log: &str, generation: u64, offset: u64) {
    info!("following {log} from octet {offset} on, file {generation} of it");
}

/// A followed log cannot be read now.
pub fn log_not_usable(log: &str, why: &str) {
    warn!("following {log}: {why}");
}

/// It can be read again.
pub fn log_usable(log: &str) {
    info!("following {log}: it can be read now");
}

/// Alerts in a followed log cannot be stored now; they wait in it.
pub fn log_waits(log: &str, why: &str) {
    warn!("following {log}: alerts wait in it, {why}");
}

/// Alerts of a mail are left out, because a followed log has brought the same ones.
pub fn left_out(client: &str, count: usize) {
    info!("client={client}, {count} alert(s) left out: a followed log has brought the same to the same recipient");
}

/// The IDS has gone on to another file.
pub fn log_rotated(log: &str, next: &str) {
    info!("following {log}: it was rotated, going on in {next}");
}

/// The file was truncated.
pub fn log_truncated(log: &str, what: &str) {
    info!("following {log}: it was truncated, {what}");
}

/// Something of a followed log could not be read any more.
pub fn log_has_a_gap(log: &str, what: &str) {
    error!("following {log}: {what}");
}

/// A followed log holds lines that are none of the IDS's.
pub fn log_holds_no_alerts(log: &str) {
    warn!("following {log}: it holds lines that are no alerts in JSON, which are sent as they are");
}

/// A part of the program broke off; only where, because what it was doing may hold an alert's words.
pub fn broke_off(place: &str) {
    error!("broke off at {place}; this is a fault of sealrelay, please report it");
}

/// A file that is none of ours lies in the spool.
pub fn foreign_file(name: &str) {
    warn!("the spool holds a file that is not ours, left alone: {}", printable(name.as_bytes()));
}

/// There are more of them.
pub fn foreign_files(directory: &str, more: usize) {
    warn!("{} holds {more} more files that are not ours", printable(directory.as_bytes()));
}

/// A setting is usable but should be changed.
pub fn advice(what: &str) {
    warn!("{what}");
}

/// The control socket or another part that carries no alerts is not usable.
pub fn hindered(what: &str, why: &str) {
    warn!("{what}: {why}");
}

/// What was said to or by a relay host. Callers redact AUTH before this.
pub fn dialog(relay: &str, direction: char, line: &str) {
    trace!("relay={relay} {direction} {}", cut(line));
}

/// Foreign words, cut so that the fields in front of them stay.
fn cut(text: &str) -> String {
    text.chars().take(500).collect()
}
