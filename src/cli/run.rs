//! `sealrelay run`.

use std::path::Path;

use super::{Failure, load};
use crate::{daemon, maillog};

pub fn run(file: &Path) -> Result<u8, Failure> {
    let config = load(file)?;
    maillog::to_standard_error(config.level);
    daemon::run(&config).map_err(|error| Failure::new(&error, error.hint(), error.exit_code()))?;
    Ok(0)
}
