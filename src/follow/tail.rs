//! One file of a log, read from an offset on.
//!
//! Guarantees: what [`Tail::fill`] leaves in the buffer was in this very file, in one piece behind what was read before:
//! it is looked at only after the file's head and size were found unchanged *behind* the read. Memory is bounded
//! by [`CHUNK`] and what the caller leaves in the buffer, which need not be more than a line. Nothing but a regular file is opened.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::position::{FileId, HEAD, Position};

/// The longest line that is taken as one, octets; a longer one is taken in pieces of this size. Wazuh's are below 128 KiB.
pub const LINE_LIMIT: usize = 1024 * 1024;
/// Read at once, octets.
const CHUNK: usize = 256 * 1024;

/// A file that is being read.
pub struct Tail {
    file: File,
    inode: u64,
    generation: u64,
    /// Of the buffer's first octet: everything before it is done with.
    offset: u64,
    buffer: Vec<u8>,
    /// The file's first octets, as far as they are done with.
    head: Vec<u8>,
}

/// What a read came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// So many octets more.
    With(usize),
    /// The file is no longer what was read: it was truncated.
    Truncated,
}

impl Tail {
    /// The file at `path`, from `position` on. `known` is what is known of it: if it is another file, `None`.
    ///
    /// # Errors
    /// It cannot be opened or read.
    pub fn open(path: &Path, position: Position, known: Option<&FileId>) -> io::Result<Option<Self>> {
        let file = open(path)?;
        let (read, known_size) = (size(position.offset).min(HEAD), known.map_or(0, |id| size(id.head_size).min(HEAD)));
        let mut head = crate::position::head(&file, read.max(known_size))?;
        let data = file.metadata()?;
        let inode = data.ino();
        if let Some(id) = known
            && !(id.is(inode, &head) && is_behind_a_line(&file, position.offset, data.len())?)
        {
            return Ok(None);
        }
        head.truncate(read);
        let Position { generation, offset } = position;
        Ok(Some(Self { file, inode, generation, offset, buffer: Vec::new(), head }))
    }

    /// Reads on.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn fill(&mut self) -> io::Result<Filled> {
        let before = self.buffer.len();
        let seen = self.seen(before);
        self.buffer.resize(before + CHUNK, 0);
        let read = self.file.read_at(&mut self.buffer[before..], self.offset + before as u64);
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        read?;
        // Only now: had it been truncated and written anew before or under the read, this would show.
        let is_longer = self.file.metadata()?.len() >= self.offset + self.buffer.len() as u64;
        if !is_longer || crate::position::head(&self.file, seen.len())? != seen {
            self.buffer.truncate(before);
            return Ok(Filled::Truncated);
        }
        Ok(Filled::With(self.buffer.len() - before))
    }

    /// What was read and not consumed.
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// The first line of `rest`, without its end, and how much of `rest` it takes with it; `None` while it has no end and
    /// is not longer than a line may be. `is_last`: nothing will follow, so what is there is a line.
    pub fn first_line(rest: &[u8], is_last: bool) -> Option<(Range<usize>, usize)> {
        let (text, taken) = match rest.iter().take(LINE_LIMIT).position(|&octet| octet == b'\n') {
            Some(end) => (end, end + 1),
            None if rest.len() >= LINE_LIMIT => (LINE_LIMIT, LINE_LIMIT),
            None if is_last && !rest.is_empty() => (rest.len(), rest.len()),
            None => return None,
        };
        // A machine that lost its power may leave a hole where a line was to be.
        let holes = rest[..text].iter().take_while(|&&octet| octet == 0).count();
        let text = holes..text - usize::from(rest[holes..text].ends_with(b"\r"));
        Some((text, taken))
    }

    /// The first `count` octets of the buffer are done with.
    pub fn consume(&mut self, count: usize) {
        let missing = HEAD.saturating_sub(self.head.len()).min(count);
        // The head grows only from the file's beginning on, without a gap.
        if self.head.len() as u64 == self.offset {
            self.head.extend_from_slice(&self.buffer[..missing]);
        }
        self.buffer.drain(..count);
        self.offset += count as u64;
    }

    /// The file is read from its beginning, as another: whatever its name is by now, it is the one that was truncated.
    pub fn begin_anew(&mut self) {
        (self.generation, self.offset) = (self.generation + 1, 0);
        self.buffer.clear();
        self.head.clear();
    }

    /// Up to where the file is done with.
    pub fn position(&self) -> Position {
        Position { generation: self.generation, offset: self.offset }
    }

    /// The file, as it is known to who has seen the first `ahead` octets of the buffer.
    pub fn id(&self, ahead: usize) -> FileId {
        FileId::from_head(self.inode, &self.seen(ahead))
    }

    /// What is known of the file's first octets, by who has seen the first `ahead` of the buffer.
    fn seen(&self, ahead: usize) -> Vec<u8> {
        if self.head.len() as u64 != self.offset {
            return self.head.clone();
        }
        let more = &self.buffer[..ahead.min(HEAD - self.head.len())];
        [&self.head, more].concat()
    }

    /// What the file ends with, at most as much as is known of what it begins with.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn last_octets(&self) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len();
        let count = size(length).min(HEAD);
        let mut last = vec![0; count];
        self.file.read_exact_at(&mut last, length - count as u64)?;
        Ok(last)
    }

    /// What the system knows of the file.
    ///
    /// # Errors
    /// The system does not say.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }
}

/// Behind the last whole line of the file at `path`: where to begin if what stands there is not to be read. A line that is
/// just being written counts as new.
///
/// # Errors
/// It cannot be read.
pub fn last_line_end(path: &Path) -> io::Result<u64> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(CHUNK as u64);
    let mut last = vec![0; size(length - from)];
    // It may be truncated right now: then its end is its beginning.
    if file.read_exact_at(&mut last, from).is_err() {
        return Ok(0);
    }
    let end = last.iter().rposition(|&octet| octet == b'\n');
    Ok(end.map_or(if from == 0 { 0 } else { length }, |at| from + at as u64 + 1))
}

/// Whether what was read can have ended at `offset`. If a machine lost its power, a file may have lost its end with it, and
/// have grown again behind that.
fn is_behind_a_line(file: &File, offset: u64, length: u64) -> io::Result<bool> {
    let mut last = [0];
    if offset == 0 || offset >= length {
        return Ok(offset <= length);
    }
    file.read_exact_at(&mut last, offset - 1)?;
    if matches!(last, [b'\n' | 0]) {
        return Ok(true);
    }
    // A line that is too long is taken in pieces, and may have been left between two.
    let Some(from) = offset.checked_sub(LINE_LIMIT as u64) else { return Ok(false) };
    let mut piece = vec![0; LINE_LIMIT];
    file.read_exact_at(&mut piece, from)?;
    Ok(!piece.contains(&b'\n'))
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe in the place of a log must not stop the reading of it for ever.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

fn size(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tail(path: &Path, offset: u64) -> Tail {
        Tail::open(path, Position { generation: 1, offset }, None).expect("opened").expect("the file")
    }

    #[test]
    fn a_file_is_read_on_as_it_grows_and_a_truncation_is_noticed_whatever_follows_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        fs::write(&path, "one\ntw").expect("written");
        let mut tail = tail(&path, 0);
        assert_eq!(tail.fill().expect("read"), Filled::With(6));
        assert_eq!(Tail::first_line(tail.buffer(), false), Some((0..3, 4)));
        tail.consume(4);
        assert_eq!(Tail::first_line(tail.buffer(), false), None);
        assert_eq!(Tail::first_line(tail.buffer(), true), Some((0..2, 2)));
        fs::write(&path, "one\ntwo\n").expect("written");
        assert_eq!((tail.fill().expect("read"), tail.buffer()), (Filled::With(2), b"two\n".as_slice()));
        // As long as before, and longer.
        for text in ["new\ntext", "another text, longer than before\n", ""] {
            fs::write(&path, text).expect("written");
            assert_eq!(tail.fill().expect("read"), Filled::Truncated, "{text}");
            assert_eq!(tail.buffer(), b"two\n");
        }
        fs::write(&path, "new\n").expect("written");
        fs::rename(&path, folder.path().join("another name")).expect("renamed");
        tail.begin_anew();
        assert_eq!((tail.fill().expect("read"), tail.buffer()), (Filled::With(4), b"new\n".as_slice()));
        assert_eq!(tail.position(), Position { generation: 2, offset: 0 });
    }

    #[test]
    fn half_a_first_line_does_not_go_on_in_what_was_written_over_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        fs::write(&path, "half a li").expect("written");
        let mut tail = tail(&path, 0);
        assert_eq!(tail.fill().expect("read"), Filled::With(9));
        fs::write(&path, "a new line\nand another\n").expect("written");
        assert_eq!((tail.fill().expect("read"), tail.buffer()), (Filled::Truncated, b"half a li".as_slice()));
    }

    #[test]
    fn whoever_opens_it_again_knows_it_by_its_head() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let text = format!("{}\n", "x".repeat(9));
        fs::write(&path, text.repeat(300)).expect("written");
        let mut first = tail(&path, 0);
        first.fill().expect("read");
        for count in [10, 700, 900] {
            first.consume(count);
            let (id, position) = (first.id(0), first.position());
            assert_eq!(id.head_size, position.offset.min(1024));
            let again = Tail::open(&path, position, Some(&id)).expect("opened").expect("the file");
            assert_eq!((again.id(0), again.position()), (id, position));
            // By what was read and is not done with; and from a place behind that.
            let (ahead, behind) = (first.id(50), Position { offset: position.offset + 90, ..position });
            assert!(ahead.head_size > position.offset.min(1023));
            for position in [position, behind] {
                let again = Tail::open(&path, position, Some(&ahead)).expect("opened").expect("the file");
                assert_eq!(again.id(0).head_size, position.offset.min(1024));
            }
        }
        let (id, position) = (first.id(0), first.position());
        let open = |text: &str| {
            fs::write(&path, text).expect("written");
            Tail::open(&path, position, Some(&id)).expect("opened")
        };
        assert!(open(&"y".repeat(3000)).is_none());
        // A machine lost its power, and the file what was not on the disk yet; then it grew again.
        assert!(open(&text.repeat(150)).is_none());
        assert!(open(&(text.repeat(150) + &"a longer line\n".repeat(90))).is_none());
        assert!(open(&text.repeat(301)).is_some());
    }

    #[test]
    fn a_line_without_an_end_comes_in_pieces_and_a_hole_is_no_text() {
        let long = vec![b'x'; LINE_LIMIT + 5];
        assert_eq!(Tail::first_line(&long, false), Some((0..LINE_LIMIT, LINE_LIMIT)));
        assert_eq!(Tail::first_line(b"\0\0\0{}\r\nrest", false), Some((3..5, 7)));
        assert_eq!(Tail::first_line(b"\n", false), Some((0..0, 1)));
        assert_eq!(Tail::first_line(b"", true), None);
    }

    #[test]
    fn a_place_between_two_pieces_of_a_line_is_found_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        let begun = format!("a line\n{}", "x".repeat(LINE_LIMIT + 5));
        fs::write(&path, &begun).expect("written");
        let id = Tail::open(&path, Position::default(), None).expect("opened").expect("the file").id(0);
        let open = |offset: usize| {
            let position = Position { generation: 1, offset: offset as u64 };
            Tail::open(&path, position, Some(&id)).expect("opened").is_some()
        };
        assert!(open(7 + LINE_LIMIT) && open(7));
        assert!(!open(6 + LINE_LIMIT) && !open(20), "no piece ends there");
    }

    #[test]
    fn a_pipe_is_no_log() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .expect("made");
        assert!(Tail::open(&path, Position::default(), None).is_err());
    }
}
