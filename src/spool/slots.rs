//! A small record that can be rewritten even when the disk is full: two files, written in place by turns.
//!
//! A full disk must be able to empty: sent messages may only go after the record is written, so the record must not
//! need room that only their going makes. Each slot keeps the size it once had; what is written is filled up with
//! blanks. (On a file system that copies on write that is a likelihood, not a promise.)
//!
//! Guarantees: after [`Slots::write`] returned `Ok` its content is read back, whatever breaks off later; a slot that was
//! half written when power went is told by its checksum, and the other one holds the record before it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::envelope::hex;

/// The least size of a slot, octets; it grows in steps of this.
const STEP: usize = 8192;

/// The two files.
pub struct Slots {
    files: [File; 2],
    /// How many records were written so far; the last one lies in the slot of this number, modulo two.
    generation: u64,
}

impl Slots {
    /// Opens `NAME.0` and `NAME.1` in `folder`, and reads the newest record. Makes them, with room, if they are missing.
    ///
    /// # Errors
    /// They cannot be opened or made, or both are damaged.
    pub fn open(folder: &Path, name: &str) -> io::Result<(Self, Option<Vec<u8>>)> {
        let paths = [0, 1].map(|nth| folder.join(format!("{name}.{nth}")));
        let existed = paths.iter().any(|path| path.exists());
        let [a, b] = paths
            .map(|path| OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path));
        let files = [a?, b?];
        let mut records = files.iter().map(read).collect::<io::Result<Vec<_>>>()?;
        records.sort_by_key(|record| record.as_ref().map(|(generation, _)| *generation));
        let newest = records.pop().flatten();
        if newest.is_none() && existed && files.iter().any(|file| file.metadata().is_ok_and(|data| data.len() > 0)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "both halves of the record are damaged"));
        }
        let generation = newest.as_ref().map_or(0, |(generation, _)| *generation);
        File::open(folder)?.sync_all()?;
        Ok((Self { files, generation }, newest.map(|(_, content)| content)))
    }

    /// Makes `content` the newest record.
    ///
    /// # Errors
    /// It may be on the disk or not; if not, the record before it still stands.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let generation = self.generation + 1;
        let file = &self.files[usize::from(generation % 2 == 1)];
        let mut line = format!("{generation} {} ", checksum(generation, content)).into_bytes();
        line.extend_from_slice(content);
        line.push(b'\n');
        let size = usize::try_from(file.metadata()?.len()).unwrap_or(0).max(line.len().div_ceil(STEP) * STEP);
        line.resize(size, b' ');
        file.write_all_at(&line, 0)?;
        file.sync_data()?;
        self.generation = generation;
        Ok(())
    }
}

fn checksum(generation: u64, content: &[u8]) -> String {
    hex(&Sha256::new_with_prefix(generation.to_le_bytes()).chain_update(content).finalize())
}

/// Generation and content of a slot that is whole.
fn read(file: &File) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut octets = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    file.read_exact_at(&mut octets, 0)?;
    let whole = || {
        let line = octets.split(|&octet| octet == b'\n').next()?;
        let mut parts = line.splitn(3, |&octet| octet == b' ');
        let generation = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let (written, content) = (parts.next()?, parts.next()?);
        (written == checksum(generation, content).as_bytes()).then(|| (generation, content.to_vec()))
    };
    Ok(whole())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> (Slots, Option<Vec<u8>>) {
        Slots::open(folder, "record").expect("opened")
    }

    #[test]
    fn the_newest_record_is_read_back_and_a_half_written_one_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut slots, none) = open(folder.path());
        assert_eq!(none, None);
        for content in [b"one".as_slice(), b"two", b"three"] {
            slots.write(content).expect("written");
            assert_eq!(open(folder.path()).1.as_deref(), Some(content));
        }
        // Power went while "four" was being written over "two".
        slots.write(b"four").expect("written");
        let torn = folder.path().join("record.0");
        let mut octets = std::fs::read(&torn).expect("read");
        octets[68] ^= 1;
        std::fs::write(&torn, octets).expect("torn");
        assert_eq!(open(folder.path()).1.as_deref(), Some(b"three".as_slice()));
        std::fs::write(folder.path().join("record.1"), b"x").expect("torn too");
        assert!(Slots::open(folder.path(), "record").is_err());
    }

    #[test]
    fn a_slot_keeps_its_size_so_that_rewriting_needs_no_room() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (mut slots, _) = open(folder.path());
        let size = || std::fs::metadata(folder.path().join("record.1")).expect("there").len();
        slots.write(&[b'x'; 9000]).expect("written");
        assert_eq!(size(), 16384);
        slots.write(b"").expect("written");
        slots.write(b"short").expect("written");
        assert_eq!(size(), 16384);
    }
}
