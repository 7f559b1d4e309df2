//! What the spool needs beside the way of its entries: removals made durable, room measured, the disk asked for a sign.
//!
//! Guarantees: a removal is synced, or tried again, at each [`Spool::tidy`]; whether there is room is known anew after each
//! change. On failure nothing is lost: a sent entry stays claimed and is not sent again by this process. An attacker who
//! keeps messages from leaving fills the room, and then alerts are refused before they are half taken.

use std::fs;
use std::io;
use std::sync::atomic::Ordering;

use super::room::{Room, Usage};
use super::{Spool, durable};

impl Spool {
    /// Syncs removals, repeats those that did not succeed, and writes the history. Called at least once a second while
    /// anything is sent.
    pub fn tidy(&self) {
        self.history.flush();
        let again = std::mem::take(&mut *self.sent());
        let still = again.into_iter().filter(|(id, header)| self.remove(id, header).is_err());
        let still: Vec<_> = still.collect();
        self.sent().extend(still);
        if self.unsynced.swap(false, Ordering::AcqRel) && self.sync(&self.queue).is_err() {
            self.unsynced.store(true, Ordering::Release);
        }
        self.measure();
    }

    /// Whether intake may take mail: the quota is not reached, and the disk has its reserve.
    pub fn has_room(&self) -> bool {
        self.gauge.room() != Room::None
    }

    /// Measures the room, and says in the log when there is too little.
    pub(super) fn measure(&self) -> Usage {
        let used = self.index().octets().saturating_add(self.held.tally().octets);
        self.gauge.measure(used, self.failed.tally().octets)
    }

    /// Asks the disk for an answer: writes, syncs and removes a small file.
    ///
    /// # Errors
    /// It does not take it, which is an answer too.
    pub fn probe(&self) -> io::Result<()> {
        let path = self.root.join("probe");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => durable::write_new(&path, &[b"alive"])?,
        }
        fs::remove_file(&path)
    }

    /// The disk may have filled up just now: the next client must hear it in the banner.
    pub(super) fn refused(&self) {
        self.gauge.ask_anew();
        self.measure();
    }
}
