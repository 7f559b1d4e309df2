//! The tests through the public face: the binary, its sockets, its files. `support` has what they share.

mod bad_configs;
mod captures;
mod check;
mod commands;
mod crashes;
mod delivery;
mod early_dot;
mod end_of_data;
mod examples;
mod expiry;
mod intake;
mod invariants;
mod key_lint;
mod keys;
mod memory;
mod overload;
mod peers;
mod recipients;
mod relays;
mod reload;
mod replies;
mod sendmail;
mod signer;
mod sockets;
mod support;
