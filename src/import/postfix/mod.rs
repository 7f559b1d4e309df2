//! Postfix: main.cf and the tables it names.
//!
//! What decides whether mail is safe is decided anew: where Postfix sent without verification, sealrelay verifies, and
//! the comment says so. MX records, TLSA records and policies by destination are not looked up: sealrelay knows its relay
//! hosts by name.

mod login;
mod main_cf;
mod people;
mod place;
mod relay;
mod rest;
mod trust;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::Path;

use super::draft::Draft;
use super::ossec::Ids;
use super::source::ImportError;
use main_cf::MainCf;
use place::Place;

pub fn import(place: &Path, ids: Option<Ids>) -> Result<Draft, ImportError> {
    let place = Place::of(place);
    let main = MainCf::parse(&place.main()?);
    Ok(Stack::new(place, main, ids).draft())
}

/// For the fuzz target: `text` is main.cf, and each table it may name.
#[cfg(any(test, fuzzing))]
pub fn of_text(text: &str) -> Draft {
    Stack::new(Place::nowhere(), MainCf::parse(text), None).draft()
}

/// Tables of one parameter that are read.
const MAPS: usize = 10;
/// Where OSSEC and Wazuh keep theirs.
const OSSEC_CONF: &str = "/var/ossec/etc/ossec.conf";

/// A table for many questions: keys in small letters.
type ByKey = HashMap<String, String>;

/// What is read.
struct Stack {
    place: Place,
    main: MainCf,
    ids: Option<Ids>,
    /// Tables of aliases that were read, by their names in main.cf.
    tables: RefCell<HashMap<(String, Option<char>), ByKey>>,
    /// How many names of them were followed.
    followed: Cell<usize>,
}

impl Stack {
    fn new(place: Place, main: MainCf, ids: Option<Ids>) -> Self {
        Self { place, main, ids, tables: RefCell::default(), followed: Cell::default() }
    }

    fn draft(&self) -> Draft {
        let with = if self.ids.is_some() { ", with the IDS's ossec.conf" } else { "" };
        let mut draft = Draft::new(format!("`sealrelay import` from Postfix's {}{with}", self.place.shown.display()));
        self.relays(&mut draft);
        self.recipients(&mut draft);
        self.sender(&mut draft);
        self.limits(&mut draft);
        match &self.ids {
            Some(ids) => ids.remarks_into(&mut draft),
            None if self.place.file(OSSEC_CONF).is_some() => {
                draft.besides(format!("{OSSEC_CONF} is there: with --ossec it says who gets the alerts."));
            }
            None => {}
        }
        self.rest(&mut draft);
        draft
    }
}

/// The parts of a list: Postfix separates by commas and blanks alike.
fn list(text: &str) -> Vec<&str> {
    text.split([',', ' ', '\t']).filter(|part| !part.is_empty()).collect()
}
