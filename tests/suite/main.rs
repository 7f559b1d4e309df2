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
mod fault_walk;
mod intake;
mod invariants;
mod keys;
mod overload;
mod peers;
mod queue;
mod quota;
mod replies;
mod sendmail;
mod sockets;
mod spool;
mod stop;
mod support;
