//! `[[relay]]`: a relay host, the way to it, the login, and what makes it the right one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{HttpsUrl, Secret, SecretFile, TlsPin};
use crate::tls::{ClientIdentity, TrustStore};

/// `[[relay]]`
#[derive(Debug, Clone)]
pub struct Relay {
    /// The name that is connected to and verified.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The way there, if not the direct one.
    pub proxy: Option<Proxy>,
    /// When TLS begins.
    pub tls: TlsMode,
    /// What is shown to a relay host that asks for a client certificate.
    pub identity: Option<ClientIdentity>,
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

/// A SOCKS5 proxy (RFC 1928). It resolves the relay host's name; this machine never does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User name and password (RFC 1929).
    pub login: Option<(String, Secret)>,
}

/// A login at a relay host.
#[derive(Debug, Clone)]
pub struct Login {
    /// Who.
    pub username: String,
    /// What proves it.
    pub proof: Proof,
    /// The one mechanism to use; `None` for the strongest that is offered.
    pub mechanism: Option<Mechanism>,
}

impl Login {
    /// Whether trying it would repeat `other`. A token may be another one each time, so only passwords can be told.
    pub fn repeats(&self, other: &Self) -> bool {
        let same_password =
            matches!((&self.proof, &other.proof), (Proof::Password(own), Proof::Password(other)) if own == other);
        same_password && (&self.username, self.mechanism) == (&other.username, other.mechanism)
    }
}

/// What proves a login.
#[derive(Debug, Clone)]
pub enum Proof {
    /// A password.
    Password(Secret),
    /// An access token that somebody else renews.
    TokenFile(SecretFile),
    /// An access token that we get from a token server.
    OAuth(Box<OAuth>),
}

/// A login mechanism (RFC 4954).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 7677: the password itself never leaves, and the relay host must know it too.
    ScramSha256,
    /// RFC 4616.
    Plain,
    /// What came before PLAIN; some servers offer nothing else.
    Login,
    /// Google's and Microsoft's.
    Xoauth2,
    /// RFC 7628.
    Oauthbearer,
}

impl Mechanism {
    /// As EHLO and AUTH have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Xoauth2 => "XOAUTH2",
            Self::Oauthbearer => "OAUTHBEARER",
        }
    }
}

impl Proof {
    /// The mechanisms it serves, the strongest first. With a token: the one that Google and Microsoft document first.
    pub fn mechanisms(&self) -> &'static [Mechanism] {
        match self {
            Self::Password(_) => &[Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login],
            Self::TokenFile(_) | Self::OAuth(_) => &[Mechanism::Xoauth2, Mechanism::Oauthbearer],
        }
    }
}

/// `[relay.oauth]`: where access tokens come from (RFC 6749).
#[derive(Debug, Clone)]
pub struct OAuth {
    /// The token server.
    pub token_url: HttpsUrl,
    /// What is given for a token.
    pub grant: Grant,
    /// Who asks.
    pub client_id: String,
    /// What proves who asks; desktop clients have none.
    pub client_secret: Option<Secret>,
    /// What the token is for.
    pub scope: Option<String>,
    /// What makes the token server the right one.
    pub trust: Arc<TrustStore>,
    /// The way there: the relay host's.
    pub proxy: Option<Proxy>,
}

/// What is given for an access token.
#[derive(Debug, Clone)]
pub enum Grant {
    /// RFC 6749 6: consent that somebody once gave.
    RefreshToken {
        /// The operator's token.
        file: SecretFile,
        /// Where the one that replaces it is kept.
        kept: PathBuf,
    },
    /// RFC 6749 4.4: the client's own right.
    ClientCredentials,
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
