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
mod heartbeat;
mod intake;
mod invariants;
mod keys;
mod memory;
mod numbers;
mod overload;
mod peers;
mod relays;
mod reload;
mod replies;
mod sendmail;
mod sockets;
mod support;
mod verify;
