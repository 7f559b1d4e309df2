//! Entries that are written and not yet ours: one mail may become many, and their messages must not be in memory together.
//!
//! Guarantees: what is dropped without having been published is removed, and its number becomes an unused one. A crash
//! leaves it in `incoming/`, which the next start empties.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::durable::{self, Directory};
use super::{Header, NewEntry, Number, entry};
use crate::envelope::QueueId;

/// An entry in `incoming/`, its content synced.
pub struct Staged<'a> {
    id: QueueId,
    /// Its header.
    pub header: Header,
    number: Option<Number<'a>>,
    /// Whether it waits for its digest or slot when it is ours.
    pub parked: bool,
    /// Where it lies, while it may have to be removed.
    file: Option<PathBuf>,
}

impl<'a> Staged<'a> {
    /// Writes `new` into `incoming`.
    pub(super) fn write(incoming: &Directory, new: NewEntry<'a>) -> io::Result<Self> {
        let id = QueueId::new(new.header.arrival);
        let file = incoming.file(id.as_str());
        let line = entry::encode(&new.header, &new.message);
        durable::write_new(&file, &[&line, &new.message])?;
        Ok(Self { id, header: new.header, number: new.number, parked: new.parked, file: Some(file) })
    }

    /// Moves it; its name there is not synced yet.
    pub(super) fn move_to(&mut self, queue: &Directory) -> io::Result<()> {
        let there = queue.file(self.id.as_str());
        if let Some(file) = &mut self.file {
            fs::rename(&*file, &there)?;
            *file = there;
        }
        Ok(())
    }

    /// Removes it, wherever it is. If that cannot be done, the next start does it.
    pub(super) fn remove(&mut self) {
        self.file.take().into_iter().for_each(|file| drop(fs::remove_file(file)));
    }

    /// It is ours now: what it is made of.
    pub(super) fn stored(mut self) -> (QueueId, Header, Option<Number<'a>>, bool) {
        self.file = None;
        (self.id.clone(), self.header.clone(), self.number.take(), self.parked)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}
