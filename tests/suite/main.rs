//! The tests through the public face: the binary, its sockets, its files. `support` has what they share.

mod bad_configs;
mod captures;
mod check;
mod commands;
mod crashes;
mod delivery;
mod examples;
mod intake;
mod invariants;
mod keys;
mod peers;
mod sendmail;
mod sockets;
mod support;
