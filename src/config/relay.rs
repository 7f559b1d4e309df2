//! `[[relay]]`: a relay host, the way to it, the login, and what makes it the right one.

use std::path::PathBuf;
use std::time::Duration;

use super::{Secret, TlsPin};

/// `[[relay]]`
#[derive(Debug, Clone)]
pub struct Relay {
    /// The name that is connected to and verified.
    pub host: String,
    /// The port.
    pub port: u16,
    /// When TLS begins.
    pub tls: TlsMode,
    /// The login; `None` for a relay host that asks for none.
    pub login: Option<Login>,
    /// What makes the relay host the right one.
    pub trust: Trust,
    /// EHLO's argument.
    pub ehlo: String,
    /// Sessions at once.
    pub connections: usize,
    /// How long the relay host may take for a reply; five times that for the last one.
    pub timeout: Duration,
    /// At most so many messages in any hour; `None` for no cap.
    pub per_hour: Option<u32>,
    /// At most so many messages in any day; `None` for no cap.
    pub per_day: Option<u32>,
}

impl Relay {
    /// Name and port, as they stand in the log and in `status`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// After STARTTLS (RFC 3207).
    Starttls,
    /// At once (RFC 8314).
    Implicit,
}

/// A login at a relay host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Who.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// What makes a relay host the right one; exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The system's roots.
    System,
    /// The certificates of this file and nothing else.
    CaFile(PathBuf),
    /// The server's own certificate or key.
    Pins(Vec<TlsPin>),
}
