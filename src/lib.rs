#![forbid(unsafe_code)]
pub mod envelope;
pub mod mail;
pub mod smtp;
pub mod intake;
pub mod config;
pub mod seal;
pub mod spool;
pub mod route;
pub mod pipeline;
pub mod status;
pub mod tls;
pub mod deliver;
pub mod maillog;
pub mod shutdown;
pub mod check;
pub mod control;
pub mod daemon;
pub mod cli;
// Not in the program: for `fuzz/`, and the replay of its seeds.
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
