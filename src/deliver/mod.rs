//! Delivery: sealed messages from the spool to the relay host, over verified TLS.
//!
//! `runner` takes what is due, `starttls` opens a verified session, `auth` logs in, `session` sends, `outcome` decides
//! what a failure means, `backoff` and `relay` when to try again.
//!
//! Guarantees: nothing secret leaves before TLS is verified; sent means a final 250; everything else stays in the
//! spool. The relay host controls what it says, which is bounded, kept verbatim and never acted on beyond its code.

pub mod advice;
mod auth;
mod backoff;
mod dialog;
pub mod outcome;
mod relay;
mod runner;
pub mod session;
pub mod starttls;

pub use dialog::{Dialog, Show};
pub use runner::Deliver;
