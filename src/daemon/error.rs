//! Why the daemon does not start or does not go on, in words for an operator.
//!
//! Guarantees: each error has a hint and a sysexits code. Paths and settings stand in it, so it goes to the log and to
//! the control socket, never to a client. An attacker chooses none of it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::seal::{SignerError, Unusable};
use crate::spool::SpoolError;
use crate::tls::TrustError;

/// Why the daemon does not start, or does not take a changed configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What the relay host is verified by.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A recipient's certificate that never was usable.
    #[error(transparent)]
    Certificate(#[from] Unusable),
    /// The relay's own key.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The state directory.
    #[error("cannot use the state directory {0}: {1}")]
    State(PathBuf, io::Error),
    /// A listening address.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, io::Error),
    /// The control socket.
    #[error("cannot open the control socket {0}: {1}")]
    Control(PathBuf, io::Error),
    /// A socket for metrics.
    #[error("cannot serve metrics at {0}: {1}")]
    Metrics(String, io::Error),
    /// A reload would have to change what only a start can.
    #[error("{0} changed, which needs a restart; nothing of the new configuration is in force")]
    NeedsRestart(String),
    /// A reload names what the sandbox hides.
    #[error(
        "{0} lies where the daemon, since its start, can reach nothing, which needs a restart; nothing of the new \
         configuration is in force"
    )]
    OutOfReach(PathBuf),
    /// A part ended that should not.
    #[error("{0} broke off")]
    BrokeOff(&'static str),
    /// The runtime itself.
    #[error("cannot start: {0}")]
    System(io::Error),
}

impl StartError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Config(error) => error.hint(),
            Self::Trust(error) => error.hint(),
            Self::Certificate(error) => error.hint(),
            Self::Signer(error) => error.hint(),
            Self::Spool(error) => error.hint(),
            Self::State(path, _) => format!("The service's user must own {}.", path.display()),
            Self::Bind(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                format!(
                    "Another program listens there (`ss -ltnp sport = {}` names it); stop it, or choose another address.",
                    address.port()
                )
            }
            Self::Bind(..) => {
                "Ports below 1024 need CAP_NET_BIND_SERVICE; the address must be one of this machine's.".to_owned()
            }
            Self::Control(path, _) => {
                format!("The service's user must own {}.", path.parent().unwrap_or(Path::new("/")).display())
            }
            Self::Metrics(..) => "Another program may be there; change [metrics], or remove it.".to_owned(),
            Self::NeedsRestart(_) => "Restart the service. No alert is lost by that.".to_owned(),
            Self::OutOfReach(_) => {
                "Move it beside the configuration, or restart the service. No alert is lost by that.".to_owned()
            }
            Self::BrokeOff(_) => {
                "This is a fault of sealrelay, please report it. What was accepted is in the spool.".to_owned()
            }
            Self::System(_) => "Look at this machine's limits on processes and memory.".to_owned(),
        }
    }

    /// The sysexits code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Trust(_) | Self::Certificate(_) | Self::NeedsRestart(_) => 78,
            Self::OutOfReach(_) => 78,
            Self::Signer(error) => error.exit_code(),
            Self::State(..) | Self::Control(..) => 73,
            Self::Spool(SpoolError::InUse(_)) => 75,
            Self::Spool(_) => 73,
            Self::Bind(_, error) if error.kind() == io::ErrorKind::PermissionDenied => 77,
            Self::Bind(..) => 69,
            Self::Metrics(..) => 69,
            Self::BrokeOff(_) => 70,
            Self::System(_) => 71,
        }
    }
}
