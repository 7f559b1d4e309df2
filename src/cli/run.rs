//! `sealrelay run`.

use std::path::Path;

use super::{Failure, load};
use crate::daemon::{self, StartError};
use crate::intake::HandedOver;
use crate::{maillog, sandbox};

pub fn run(file: &Path) -> Result<u8, Failure> {
    let handed = HandedOver::take();
    let outcome = start(file, &handed);
    if outcome.is_err() {
        handed.turn_away();
    }
    outcome
}

fn start(file: &Path, handed: &HandedOver) -> Result<u8, Failure> {
    let told = |error: StartError| Failure::new(&error, error.hint(), error.exit_code());
    // Before the first secret is read.
    sandbox::keep_memory_private().map_err(StartError::System).map_err(told)?;
    let config = load(file)?;
    // Before the first thread, which is the log's.
    let sandbox = daemon::confine(&config).map_err(told)?;
    maillog::start(config.log.level, config.log.output);
    daemon::run(&config, handed, sandbox).map_err(told)?;
    Ok(0)
}
