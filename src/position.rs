//! Where in a log that is followed a message came from.
//!
//! Guarantees: positions are ordered as the lines were written, over rotation and truncation, because every new file (or
//! new beginning of one) has the next generation. A file is known by what it begins with, not by its name.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::envelope::hex;

/// What a file begins with, at most this many octets, tells it from others: an alert's first octets hold its time and id.
pub const HEAD: usize = 1024;

/// Behind a line, or at the beginning of a file.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position {
    /// Which file, counted in the order they were read.
    pub generation: u64,
    /// Octets from its beginning.
    pub offset: u64,
}

/// A file, whatever its name is now.
///
/// Inode numbers are used again, and a copy that `copytruncate` makes has another one; so the head decides, and the inode
/// only while nothing was read. The device does not count: its number may change when the machine starts.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct FileId {
    /// Its inode.
    pub inode: u64,
    /// How many of its first octets `head` is made of.
    pub head_size: u64,
    /// Their SHA-256, the first half.
    pub head: String,
}

/// Where a message came from.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The log, by its configured name.
    pub log: String,
    /// Which file that was.
    pub file: FileId,
    /// Behind the line the message was made from.
    pub at: Position,
    /// Up to here, in the same file, all that was to be sent was durable before this message was made.
    pub done: u64,
}

impl FileId {
    /// The identity of the file with this inode and these first octets.
    pub fn from_head(inode: u64, head: &[u8]) -> Self {
        Self { inode, head_size: head.len() as u64, head: hex(&Sha256::digest(head)[..16]) }
    }

    /// Whether a file with this inode, that begins with `head`, is this one.
    pub fn is(&self, inode: u64, head: &[u8]) -> bool {
        let size = usize::try_from(self.head_size).unwrap_or(usize::MAX);
        match head.get(..size) {
            _ if size == 0 => inode == self.inode,
            Some(head) => Self::from_head(self.inode, head) == *self,
            None => false,
        }
    }
}

/// The first `size` octets of `file`, or all of it.
///
/// # Errors
/// It cannot be read.
pub fn head(file: &File, size: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; size];
    let mut read = 0;
    while read < size {
        match file.read_at(&mut head[read..], read as u64)? {
            0 => break,
            count => read += count,
        }
    }
    head.truncate(read);
    Ok(head)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn source(generation: u64, offset: u64, done: u64) -> Source {
        let file = FileId { inode: generation, head_size: 0, head: String::new() };
        Source { log: "/log".into(), file, at: Position { generation, offset }, done }
    }

    #[test]
    fn a_file_is_known_by_what_it_begins_with_and_by_its_inode_only_while_nothing_was_read() {
        let id = FileId::from_head(7, b"one\n");
        assert!(id.is(8, b"one\n") && id.is(8, b"one\ntwo\n") && !id.is(7, b"two\n") && !id.is(7, b""));
        let empty = FileId::from_head(7, b"");
        assert!(empty.is(7, b"") && !empty.is(8, b""));
    }

    #[test]
    fn positions_are_in_the_order_of_writing() {
        let at = |generation, offset| Position { generation, offset };
        assert!(at(1, 900) < at(2, 0) && at(2, 0) < at(2, 1));
    }
}
