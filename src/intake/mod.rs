//! Intake: the SMTP listener that alert clients talk to.
//!
//! `sockets` are systemd's or our own, `door` says where from and whose, `listener` takes connections within limits,
//! `owner` knows whose a TCP connection is, `session` holds one dialog, `surplus` judges what follows a lone dot, `room`
//! says which session is closed when there is none, `places` keeps memory within its bound.
//!
//! Guarantees: 250 after the end of data is said only when the pipeline has made the mail durable. Every reply is one
//! line (but EHLO's) in one write, and no refusal holds the digits 220, 250 or 354. OSSEC and Wazuh send an alert once
//! and never again, so what can be taken is taken, and at overload clients wait before any is refused.
//!
//! An attacker who writes log lines on a monitored host controls octets of the mails; one with an account on this
//! machine controls whole sessions. Neither chooses where mail goes beyond the configured recipients.

mod door;
mod listener;
mod owner;
mod places;
mod reply;
mod room;
mod session;
mod sockets;
mod surplus;

pub use listener::Listener;
pub use session::Keeper;
pub use sockets::{Bound, HandedOver, bind};

#[cfg(any(test, fuzzing))]
pub(crate) use places::Places;
#[cfg(any(test, fuzzing))]
pub(crate) use room::Activity;
#[cfg(any(test, fuzzing))]
pub(crate) use session::{Client, Intake, serve};
