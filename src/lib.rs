//! **sealrelay**: takes plain alerts over local SMTP, seals them to OpenPGP certificates named by full fingerprint, keeps
//! them safely on disk, and relays them over verified TLS.
//!
//! The modules below stand in the order mail travels: intake > route > seal > spool > deliver. Intake, follow, route,
//! seal and spool do not call each other; `pipeline` joins them, `daemon` starts delivery, which knows the spool alone.
//! (Small state files are written by the spool's `replace`, whoever keeps them.)
//!
//! Each module says itself what it does, guarantees and does on failure, and what an attacker controls in it.

#![forbid(unsafe_code)]

// --- What mail carries ---

// Envelopes, configured addresses, queue ids.
pub mod envelope;

// One accepted mail, and what was noticed about it.
pub mod mail;

// Where in a followed log a message came from.
pub mod position;

// Sets of sequence numbers.
pub mod ranges;

// --- The way of a message ---

// SMTP's lines, commands, replies and end of data: octets in, values out.
pub mod smtp;

// Alert clients' sessions.
pub mod intake;

// What an alert says of itself.
pub mod alert;

// The IDS's own logs of alerts, read as they grow.
pub mod follow;

// Who gets a mail, and which of its alerts.
pub mod route;

// A mail as it is handed to each of its recipients.
pub mod share;

// What waits for its digest or slot.
pub mod gather;

// Whose turn it is to get a fixed text.
mod turns;

// Alerts that came by a log, known again when they come by mail.
pub mod twins;

// OpenPGP: a mail becomes a message only its recipient can read.
pub mod seal;

// Sealed messages on disk.
pub mod spool;

// Sealed messages to the relay host.
pub mod deliver;

// Who the relay host must be.
pub mod tls;

// TCP to a host, by both IP families or through a proxy.
pub mod connect;

// The one HTTP client: token servers, pings, webhooks.
pub mod https;

// --- What joins and watches them ---

// Route, seal and spool in one call; when it returns, 250 may be said.
pub mod pipeline;

// Start, tasks, signals, the end.
pub mod daemon;

// What the daemon takes from itself before the first client.
pub mod sandbox;

// What systemd is told.
pub mod systemd;

// One signal, many listeners.
pub mod shutdown;

// What operators set.
pub mod config;

// One function for each event in a message's life.
pub mod maillog;

// What the daemon counts and how it is.
pub mod status;

// The last hour and day of it, over restarts.
pub mod activity;

// What the relay tells each recipient of itself, day by day.
pub mod heartbeat;

// Who is told, beside mail, how the relay is: ping, webhook, syslog.
pub mod alarm;

// The numbers of `status` for Prometheus.
pub mod metrics;

// What `sealrelay queue` asks, answered by whoever holds the spool.
pub mod queue;

// The local socket `status` and `queue` ask through.
pub mod control;

// Sockets in the file system, and their folders.
mod unix_socket;

// The way to the relay host, tried and told.
pub mod check;

// The sendmail personality: hands mail to the daemon of this machine.
pub mod sendmail;

// The recipient's side: whether all came, and came from the relay.
pub mod verify;

// Configurations from what other programs were told.
pub mod import;

// The command line.
pub mod cli;

// Not in the program: for `fuzz/`, and the replay of its seeds.
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
