//! Where the daemon of this machine can be reached, for commands that every local account may call.
//!
//! Guarantees: no secret is read, so neither the configuration nor the password need be readable for the caller. What
//! cannot be read is at its default. An attacker who controls the caller's environment only leads the caller astray.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::raw::RawConfig;
use super::validate::Validator;
use super::{ConfigError, load};

/// The daemon's doors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doors {
    /// Its Unix socket for mail, if it has one.
    pub socket: Option<PathBuf>,
    /// Its addresses for mail.
    pub addresses: Vec<SocketAddr>,
    /// Its control socket.
    pub control: PathBuf,
}

impl Doors {
    /// As `file`, if it is readable, and the `SEALRELAY_*` variables say.
    ///
    /// # Errors
    /// Something there is not known or not usable; the other sections of the file are not looked at.
    pub fn find(file: &Path) -> Result<Self, ConfigError> {
        Self::of(file, load::load_if_readable(file)?)
    }

    /// Where a daemon is that was told nothing.
    pub fn usual() -> Self {
        Self::of(Path::new(super::DEFAULT_FILE), RawConfig::default()).expect("the defaults are usable")
    }

    fn of(file: &Path, raw: RawConfig) -> Result<Self, ConfigError> {
        let validator = Validator::of(file);
        let control = validator.control(raw.control);
        Ok(Self {
            socket: validator.socket(raw.listen.socket.as_deref(), &control),
            addresses: validator.addresses(raw.listen.addresses)?,
            control,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_doors_need_no_file() {
        let doors = Doors::usual();
        assert_eq!(doors.socket.as_deref(), Some(Path::new("/run/sealrelay/smtp.sock")));
        assert_eq!(doors.control, Path::new("/run/sealrelay/control.sock"));
        assert_eq!(doors.addresses[0].to_string(), "127.0.0.1:25");
    }

    #[test]
    fn the_mail_socket_lies_beside_the_control_socket_unless_it_is_named_or_switched_off() {
        let doors =
            |text: &str| Doors::of(Path::new("/etc/x/s.toml"), toml::from_str(text).expect("TOML")).expect("doors");
        assert_eq!(doors("[control]\nsocket = \"/run/b/c\"").socket, Some("/run/b/smtp.sock".into()));
        assert_eq!(doors("[listen]\nsocket = \"mail\"").socket, Some("/etc/x/mail".into()));
        assert_eq!(doors("[listen]\nsocket = \"\"").socket, None);
    }
}
