//! SMTP's lines, commands and replies (RFC 5321): octets in, values out, no sockets.
//!
//! Guarantees: whatever the peer sends is bounded and becomes a value or an error; nothing here waits or allocates
//! beyond the stated limits. An attacker controls every octet that is parsed here.

pub mod command;
pub mod data;
pub mod line;
pub mod reply;
