#![forbid(unsafe_code)]
pub mod envelope;
pub mod smtp;
pub mod config;
pub mod spool;
pub mod maillog;
pub mod shutdown;
