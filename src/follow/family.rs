//! The other files of a log: what rotation has made of it.
//!
//! Beside `alerts.json`: `alerts.json.1`, `alerts.json-20261120` and the like (logrotate, by renaming or by copying). Below
//! its folder: `YYYY/MMM/ossec-alerts-DD.json` (OSSEC and Wazuh link each day's file there, and the log's own name to the
//! newest). Compressed ones cannot be read on; those that were never read before are named.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::tail::Tail;
use crate::position::{FileId, Position};

/// Endings of files that hold no lines, or that an editor left.
const FOREIGN: [&str; 4] = [".sum", ".swp", ".tmp", "~"];
/// Endings of files whose lines cannot be read.
const COMPRESSED: [&str; 5] = [".gz", ".bz2", ".xz", ".zst", ".lz4"];

/// A file of a log.
pub struct Member {
    /// Its name when it was looked at,
    pub path: PathBuf,
    /// and what it was then.
    pub data: Metadata,
}

/// What will do in place of a file that was read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// Only itself. While it is renamed, a folder may be listed without it, and another may begin alike.
    Itself,
    /// A copy too.
    OrCopy,
}

/// The file of `log` that is `id`, whatever its name is now, from `position` on: itself, or one of its family. If several
/// begin alike, the one with its inode; else it is a copy.
///
/// # Errors
/// `log` itself cannot be looked at: it may be the one, and must not be taken for another and read from its beginning.
pub fn find(log: &Path, id: &FileId, position: Position, sought: Sought) -> io::Result<Option<Tail>> {
    let mut members = readable(log);
    // The newest first: that is the likeliest.
    members.sort_by_key(|member| std::cmp::Reverse(written(&member.data)));
    let mut paths: Vec<_> = std::iter::once(log.to_owned()).chain(members.into_iter().map(|m| m.path)).collect();
    let is_other = |path: &PathBuf| fs::metadata(path).map_or(true, |data| data.ino() != id.inode);
    paths.sort_by_cached_key(is_other);
    for path in paths {
        match Tail::open(&path, position, Some(id)) {
            Ok(Some(tail)) if sought == Sought::OrCopy || tail.id(0).inode == id.inode => return Ok(Some(tail)),
            Err(error) if path == log && error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

/// The file that was written next behind `done`, at last `log` itself: while nobody read, the log may have been rotated
/// more than once. Names are only true for a moment: whoever opens it must see that it is still the one.
///
/// # Errors
/// There is none, or the system does not say.
pub fn next(log: &Path, done: &Tail) -> io::Result<Member> {
    let newest = fs::metadata(log);
    match rotated_behind(log, done, newest.as_ref().ok())? {
        Some(rotated) => Ok(rotated),
        None => Ok(Member { path: log.to_owned(), data: newest? }),
    }
}

/// The file of `log` that was left first of those that were written to after `since`.
pub fn oldest_since(log: &Path, since: SystemTime) -> Option<PathBuf> {
    let later = readable(log).into_iter().filter(|member| written(&member.data) > since);
    later.min_by_key(|member| written(&member.data)).map(|member| member.path)
}

/// Whether both are the same file.
pub fn is(data: &Metadata, other: &Metadata) -> bool {
    (data.dev(), data.ino()) == (other.dev(), other.ino())
}

fn rotated_behind(log: &Path, done: &Tail, newest: Option<&Metadata>) -> io::Result<Option<Member>> {
    let (data, id, end) = (done.metadata()?, done.id(0), done.last_octets()?);
    // Somebody's copy of all of it is not its continuation.
    let is_copy = |member: &Member| {
        member.data.len() == data.len()
            && Tail::open(&member.path, Position::default(), Some(&id))
                .is_ok_and(|same| same.is_some_and(|same| same.last_octets().is_ok_and(|own| own == end)))
    };
    let mut later: Vec<Member> = readable(log)
        .into_iter()
        .filter(|member| written(&member.data) > written(&data))
        .filter(|Member { data: own, .. }| !is(own, &data) && !newest.is_some_and(|newest| is(own, newest)))
        .collect();
    later.sort_by_key(|member| written(&member.data));
    Ok(later.into_iter().find(|member| !is_copy(member)))
}

/// Compressed files that were written behind `done` and before `next`: whoever read so slowly never saw their lines.
pub fn never_read(log: &Path, done: &Metadata, next: Option<&Path>) -> Vec<PathBuf> {
    let until = next.and_then(|next| fs::metadata(next).ok()).map(|data| written(&data));
    // While the plain file lies beside it, it is being compressed right now: that one is `done`, or will be read.
    let is_whole = |member: &Member| !member.path.with_extension("").exists();
    let packed = members(log).into_iter().filter(is_compressed).filter(is_whole);
    let packed = packed.map(|member| (written(&member.data), member.path));
    let mut later: Vec<_> = packed.filter(|(at, _)| *at + Duration::from_secs(1) > written(done)).collect();
    later.sort();
    // `done` itself may be among them, compressed while it was read: programs keep its time, some of them to the second,
    // but Wazuh does not.
    let own = later.iter().take_while(|(at, _)| *at <= written(done)).count();
    let own = if done.nlink() == 0 { own.max(1) } else { own };
    later.into_iter().skip(own).filter(|(at, _)| until.is_none_or(|until| *at < until)).map(|(_, path)| path).collect()
}

/// Whether the IDS has gone on from the file of `data` to another one.
///
/// After logrotate has made a new file, the IDS may write into the old one for a while, until it is told: so the old one
/// is left only when something stands in a later one.
pub fn is_left(log: &Path, tail: &Tail) -> io::Result<bool> {
    let data = tail.metadata()?;
    match fs::metadata(log) {
        Ok(newest) if is(&newest, &data) => Ok(false),
        Ok(newest) if newest.len() > 0 => Ok(true),
        // There is none of that name while a rotation is under way.
        newest => Ok(rotated_behind(log, tail, newest.as_ref().ok())?.is_some()),
    }
}

fn written(data: &Metadata) -> SystemTime {
    data.modified().unwrap_or(SystemTime::UNIX_EPOCH)
}

fn readable(log: &Path) -> Vec<Member> {
    members(log).into_iter().filter(|member| !is_compressed(member)).collect()
}

fn is_compressed(member: &Member) -> bool {
    COMPRESSED.iter().any(|ending| named(&member.path).ends_with(ending))
}

fn members(log: &Path) -> Vec<Member> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let rotated = list(folder).filter(|path| {
        let own = named(path);
        own.len() > name.len() && own.starts_with(name)
    });
    let digits = |path: &PathBuf| named(path).len() == 4 && named(path).bytes().all(|octet| octet.is_ascii_digit());
    let daily = list(folder).filter(digits).flat_map(|year| list(&year)).flat_map(|month| list(&month));
    let daily = daily.filter(|path| named(path).starts_with("ossec-alerts-") && named(path).contains(".json"));
    let known = rotated.chain(daily).filter(|path| !FOREIGN.iter().any(|ending| named(path).ends_with(ending)));
    known.filter_map(|path| Some(Member { data: fs::metadata(&path).ok().filter(Metadata::is_file)?, path })).collect()
}

fn named(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn list(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_files_that_begin_alike_the_one_with_the_inode_is_meant() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("alerts.json");
        fs::write(&log, "same\nold\n").expect("written");
        let inode = fs::metadata(&log).expect("data").ino();
        fs::rename(&log, folder.path().join("alerts.json.1")).expect("renamed");
        fs::write(&log, "same\nnew\n").expect("written");
        let found = |inode| {
            let position = Position { generation: 1, offset: 5 };
            let found = find(&log, &FileId::from_head(inode, b"same\n"), position, Sought::OrCopy);
            let found = found.expect("looked at");
            let mut tail = found.expect("found");
            tail.fill().expect("read");
            tail.buffer().to_vec()
        };
        assert_eq!(found(inode), b"old\n");
        assert_eq!(found(0), b"new\n", "a copy: the log itself is the likeliest");
    }

    /// A file that was written so many seconds ago.
    fn write(path: &Path, text: &str, age: u64) {
        fs::write(path, text).expect("written");
        let at = SystemTime::now() - Duration::from_secs(age);
        fs::File::options().append(true).open(path).expect("opened").set_modified(at).expect("set");
    }

    /// The file at `path`, read to its end.
    fn read(path: &Path) -> Tail {
        let mut tail = Tail::open(path, Position::default(), None).expect("opened").expect("the file");
        tail.fill().expect("read");
        tail.consume(tail.buffer().len());
        tail
    }

    #[test]
    fn rotated_files_are_found_by_what_they_begin_with_and_follow_in_the_order_of_writing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("alerts.json");
        let months = folder.path().join("2026/Nov");
        fs::create_dir_all(&months).expect("made");
        write(&months.join("ossec-alerts-19.json"), "first\nday\n", 300);
        write(&months.join("ossec-alerts-20.json"), "second\nday\n", 200);
        write(&months.join("ossec-alerts-20.json.gz"), "packed", 150);
        write(&months.join("ossec-alerts-20.log"), "no json", 150);
        write(&folder.path().join("alerts.json.1"), "third\n", 100);
        write(&log, "newest\n", 0);
        fs::hard_link(&log, months.join("ossec-alerts-21.json")).expect("linked");
        let id = FileId::from_head(0, b"first\n");
        let at = |offset| Position { generation: 4, offset };
        let found = |id: &FileId, offset| find(&log, id, at(offset), Sought::OrCopy).expect("looked at");
        let mut tail = found(&id, 6).expect("found");
        tail.fill().expect("read");
        assert_eq!(tail.buffer(), b"day\n");
        assert!(find(&log, &id, at(6), Sought::Itself).expect("looked at").is_none(), "its inode is another");
        assert!(find(&log, &tail.id(0), at(6), Sought::Itself).expect("looked at").is_some());
        let mut chain = Vec::new();
        while chain.last().is_none_or(|name| name != "alerts.json") {
            let path = next(&log, &tail).expect("known").path;
            tail = read(&path);
            chain.push(named(&path).to_owned());
        }
        assert_eq!(chain, ["ossec-alerts-20.json", "alerts.json.1", "alerts.json"]);
        tail = read(&folder.path().join("alerts.json.1"));
        let newest = read(&log);
        assert!(is_left(&log, &tail).expect("known") && !is_left(&log, &newest).expect("known"));
        fs::remove_file(&log).expect("removed");
        fs::write(&log, "").expect("written");
        assert!(!is_left(&log, &newest).expect("known"), "nothing stands in the new one yet");
        assert!(found(&FileId::from_head(0, b"gone\n"), 5).is_none());
        fs::remove_file(&log).expect("removed");
        assert!(found(&FileId::from_head(0, b"gone\n"), 5).is_none());
        fs::create_dir(&log).expect("made");
        assert!(find(&log, &id, at(6), Sought::Itself).is_err(), "nobody knows what it was");
    }

    #[test]
    fn a_copy_that_somebody_made_is_not_read_as_what_follows() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("alerts.json");
        let beside = |name: &str| folder.path().join(name);
        write(&beside("alerts.json.1"), "one\ntwo\n", 300);
        write(&beside("alerts.json.bak"), "one\ntwo\n", 200);
        write(&log, "three\n", 0);
        let done = read(&beside("alerts.json.1"));
        assert_eq!(next(&log, &done).expect("known").path, log);
        // What only begins alike is another.
        for (text, age) in [("one\ntwo\nand more\n", 100), ("one\ntoo\n", 150)] {
            write(&beside("alerts.json.0"), text, age);
            assert_eq!(next(&log, &done).expect("known").path, beside("alerts.json.0"), "{text}");
        }
    }

    #[test]
    fn compressed_files_between_are_named_but_for_the_one_that_was_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("alerts.json");
        let days = folder.path().join("2026/Nov");
        fs::create_dir_all(&days).expect("made");
        let day = |name: &str| days.join(format!("ossec-alerts-{name}"));
        write(&day("19.json"), "19\n", 300);
        write(&day("18.json.gz"), "18", 310);
        write(&log, "22\n", 0);
        let done = read(&day("19.json"));
        let skipped = |next: Option<&Path>| never_read(&log, &done.metadata().expect("data"), next);
        assert_eq!(skipped(None), [] as [PathBuf; 0]);
        // It is being compressed, and has been read.
        write(&day("19.json.gz"), "1", 250);
        assert_eq!(skipped(None), [] as [PathBuf; 0]);
        // It was compressed when it was read, and the next days' too.
        write(&day("19.json.gz"), "19", 250);
        fs::remove_file(day("19.json")).expect("removed");
        assert_eq!(skipped(None), [] as [PathBuf; 0]);
        write(&day("20.json.gz"), "20", 200);
        write(&day("21.json"), "21", 100);
        assert_eq!(skipped(None), [day("20.json.gz")]);
        assert_eq!(skipped(Some(&day("21.json"))), [day("20.json.gz")]);
        // A program that keeps the time.
        write(&day("19.json.gz"), "19", 300);
        assert_eq!(skipped(None), [day("20.json.gz")]);
        write(&day("20.json.gz"), "20", 50);
        assert_eq!(skipped(Some(&day("21.json"))), [] as [PathBuf; 0], "it is told when that is left");
    }
}
