//! Reads the configuration: the file strictly by `toml` first (line, column, no coercion), then file and `SEALRELAY_*`
//! variables layered by the `config` crate into the same strict types.
//!
//! Guarantees: a key or variable that is not known is refused, never ignored. On failure nothing is loaded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};

use super::places::Places;
use super::raw::{RawAlarm, RawConfig, RawRelay, RawSender};
use crate::envelope::Address;

/// The configuration file when none is named.
pub const DEFAULT_FILE: &str = "/etc/sealrelay/sealrelay.toml";

/// Variables that are not keys of the file: the file's own name.
const FILE_VARIABLE: &str = "SEALRELAY_CONFIG";

/// Why a configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}: {source}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no TOML, or holds a key or value that is not ours.
    #[error("{file}:{line}:{column}: {what}")]
    Invalid {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser said, in one line.
        what: String,
        /// The nearest known name, if a name was not known.
        meant: Option<String>,
    },
    /// The same in a variable.
    #[error("a SEALRELAY_* variable is not usable: {what}")]
    Variable {
        /// What `config` said.
        what: String,
        /// The nearest known name, if a name was not known.
        meant: Option<String>,
    },
}

impl LoadError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                format!(
                    "Name the file with --config, or make {DEFAULT_FILE} with `sealrelay config init` or from deploy/sealrelay.toml."
                )
            }
            Self::Invalid { meant: Some(meant), .. } | Self::Variable { meant: Some(meant), .. } => {
                format!("Did you mean `{meant}`?")
            }
            Self::Invalid { .. } => "Correct that line; deploy/sealrelay.toml explains every key.".to_owned(),
            Self::Variable { .. } => {
                "Variables are SEALRELAY_SECTION__KEY, such as SEALRELAY_SPOOL__DIRECTORY; unset what is not one."
                    .to_owned()
            }
        }
    }
}

/// Reads `file` and the environment: what they say, and where.
///
/// # Errors
/// The file is unreadable, or anything in it or in a `SEALRELAY_*` variable is not known.
pub fn load(file: &Path) -> Result<(RawConfig, Places), LoadError> {
    let text = std::fs::read_to_string(file).map_err(|source| LoadError::Unreadable { file: file.into(), source })?;
    let raw = read(file, &text)?;
    Ok((raw, Places::of(&text, variables().keys())))
}

/// The same for commands that every local account may call: a file that is not there, or is none of the caller's
/// business, counts as empty.
///
/// # Errors
/// As for [`load`], but for the unreadable file.
pub fn load_if_readable(file: &Path) -> Result<RawConfig, LoadError> {
    read(file, &std::fs::read_to_string(file).unwrap_or_default())
}

/// What is left for commands that neither connect nor tell anybody: no key of it names a file with a secret. Whom alerts
/// come from is still known.
pub fn without_secrets(raw: RawConfig) -> RawConfig {
    let login = raw.relay.first().and_then(|relay| relay.username.clone());
    let login = login.filter(|login| login.parse::<Address>().is_ok());
    let relay = |relay: RawRelay| RawRelay {
        host: relay.host,
        port: relay.port,
        tls: relay.tls,
        proxy: relay.proxy,
        ca_file: relay.ca_file,
        pins: relay.pins,
        ..RawRelay::default()
    };
    RawConfig {
        sender: RawSender { address: raw.sender.address.or(login), ..raw.sender },
        relay: raw.relay.into_iter().map(relay).collect(),
        alarm: RawAlarm::default(),
        ..raw
    }
}

fn read(file: &Path, text: &str) -> Result<RawConfig, LoadError> {
    toml::from_str::<RawConfig>(text).map_err(|error| invalid(file, text, &error))?;
    layered(text).map_err(|error| {
        let what = error.to_string();
        LoadError::Variable { meant: nearest_name(&what), what: without_known_names(&what) }
    })
}

/// Ours, by name.
fn variables() -> HashMap<String, String> {
    // One that is not UTF-8 is none of ours.
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("SEALRELAY_") && name != FILE_VARIABLE)
        .collect()
}

fn layered(text: &str) -> Result<RawConfig, config::ConfigError> {
    // `try_parsing` stays off: it turns 0123 into 123.
    let environment =
        Environment::with_prefix("SEALRELAY").prefix_separator("_").separator("__").source(Some(variables()));
    config::Config::builder()
        .add_source(File::from_str(text, FileFormat::Toml))
        .add_source(environment)
        .build()?
        .try_deserialize()
}

fn invalid(file: &Path, text: &str, error: &toml::de::Error) -> LoadError {
    let offset = error.span().map_or(0, |span| span.start).min(text.len());
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    LoadError::Invalid {
        file: file.into(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        what: without_known_names(&error.message().lines().collect::<Vec<_>>().join(" ")),
        meant: nearest_name(error.message()),
    }
}

/// The known name nearest to the unknown one. serde gives both only in its message's text: "unknown field `prt`,
/// expected one of `host`, `port`". If that form ever changes, the suggestion is lost and nothing else.
fn nearest_name(message: &str) -> Option<String> {
    let (_, names) = message.split_once("unknown ")?;
    let mut names = names.split('`').skip(1).step_by(2);
    let unknown = names.next()?;
    names
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(3) / 2)
        .min()
        .map(|(_, known)| known.to_owned())
}

/// Without the list of all known names: the nearest one is named, and the sample explains them all.
fn without_known_names(message: &str) -> String {
    match (message.contains("unknown field"), message.split_once(", expected ")) {
        (true, Some((what, _))) => what.to_owned(),
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_known_name_is_suggested() {
        let message = "unknown field `prt`, expected one of `host`, `port`, `tls`";
        assert_eq!(nearest_name(message).as_deref(), Some("port"));
        assert_eq!(nearest_name("unknown field `zzzzzzzzz`, expected one of `host`, `port`"), None);
    }
}
