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
mod intake;
mod invariants;
mod keys;
mod outside;
mod overload;
mod peers;
mod readers;
mod replies;
mod sealing;
mod sendmail;
mod sizes;
mod sockets;
mod support;
