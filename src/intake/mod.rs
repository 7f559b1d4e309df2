//! Intake: the SMTP listener that alert clients talk to.
//!
//! `listener` takes connections within limits, `session` holds one dialog, `places` keeps memory within its bound,
//! `surplus` judges what follows a lone dot, `room` says which session is closed when there is none.
//!
//! Guarantees: 250 after the end of data is said only when the pipeline has made the mail durable. Every reply is one
//! line (but EHLO's) in one write, and no refusal holds the digits 220, 250 or 354. OSSEC and Wazuh send an alert once
//! and never again, so what can be taken is taken, and at overload clients wait before any is refused.
//!
//! An attacker who writes log lines on a monitored host controls octets of the mails; one with an account on this
//! machine controls whole sessions. Neither chooses where mail goes beyond the configured recipients.

mod listener;
mod places;
mod reply;
mod room;
mod session;
mod surplus;

pub use listener::{Bound, Listener, bind};
pub use session::Keeper;

#[cfg(any(test, fuzzing))]
pub(crate) use places::Places;
#[cfg(any(test, fuzzing))]
pub(crate) use room::Activity;
#[cfg(any(test, fuzzing))]
pub(crate) use session::{Client, Intake, serve};
