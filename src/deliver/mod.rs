//! Delivery: sealed messages from the spool to the relay host, over verified TLS.
//!
//! `runner` keeps the workers of each relay host, `worker` takes what is due, `starttls` opens a verified session,
//! `auth` logs in, `session` sends, `outcome` decides what a failure means, `settle` what becomes of the entry then, `relay`
//! which relay host gets it, `health`, `backoff` and `cap` when.
//!
//! Guarantees: nothing secret leaves before TLS is verified; sent means a final 250; everything else stays in the
//! spool. The relay host controls what it says, which is bounded, kept verbatim and never acted on beyond its code.

pub mod advice;
mod auth;
mod backoff;
mod cap;
mod caps_file;
mod dialog;
mod health;
mod late;
pub mod outcome;
mod presented;
mod recent;
mod relay;
mod runner;
pub mod session;
mod settle;
pub mod starttls;
mod worker;

pub use dialog::{Dialog, Show, expect};
pub use recent::Settled;
pub use runner::Deliver;
