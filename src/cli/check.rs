//! `sealrelay check`.

use std::path::Path;

use super::{EX_CONFIG, Failure, load, runtime, say, say_json};
use crate::check::{self, Login};
use crate::tls::TrustStore;

/// Exit codes: 0 usable, 68 no such host, 69 refused, 75 try later, 76 no proper SMTP or TLS, 77 not verified or login
/// refused, 78 configuration.
#[derive(clap::Args)]
pub struct Arguments {
    /// Try the credentials too
    #[arg(long)]
    login: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(file: &Path, arguments: &Arguments) -> Result<u8, Failure> {
    let config = load(file)?;
    let store =
        TrustStore::load(&config.relays[0].trust).map_err(|error| Failure::new(&error, error.hint(), EX_CONFIG))?;
    let login = if arguments.login { Login::Try } else { Login::Skip };
    let report = runtime()?.block_on(check::check(&config.relays[0], store, login, config.listen.message_size));
    if arguments.json {
        say_json(&report)?
    } else {
        say(&report)
    }
    Ok(report.exit_code)
}
