//! `sealrelay run`.

use std::path::Path;

use super::{Failure, load};
use crate::intake::HandedOver;
use crate::{daemon, maillog};

pub fn run(file: &Path) -> Result<u8, Failure> {
    let handed = HandedOver::take();
    let outcome = start(file, &handed);
    if outcome.is_err() {
        handed.turn_away();
    }
    outcome
}

fn start(file: &Path, handed: &HandedOver) -> Result<u8, Failure> {
    let config = load(file)?;
    maillog::start(config.log.level, config.log.output);
    daemon::run(&config, handed).map_err(|error| Failure::new(&error, error.hint(), error.exit_code()))?;
    Ok(0)
}
