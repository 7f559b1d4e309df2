//! The other files of a log: what rotation has made of it.
//!
//! Beside `alerts.json`: `alerts.json.1`, `alerts.json-20261120` and the like (logrotate, by renaming or by copying). Below
//! its folder: `YYYY/MMM/ossec-alerts-DD.json` (OSSEC and Wazuh link each day's file there, and the log's own name to the
//! newest). Compressed ones cannot be read on, and are not looked at.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::tail::Tail;
use crate::position::{FileId, Position};

/// Endings of files that hold no lines, or that an editor left.
const FOREIGN: [&str; 9] = [".gz", ".bz2", ".xz", ".zst", ".lz4", ".sum", ".swp", ".tmp", "~"];

/// A rotated file.
struct Member {
    path: PathBuf,
    data: Metadata,
}

/// The file of `log` that is `id`, whatever its name is now, from `position` on: itself, or one of its family. If several
/// begin alike, the one with its inode; else it is a copy.
pub fn find(log: &Path, id: &FileId, position: Position) -> Option<Tail> {
    let mut members = members(log);
    // The newest first: that is the likeliest.
    members.sort_by_key(|member| std::cmp::Reverse(written(&member.data)));
    let mut paths: Vec<_> = std::iter::once(log.to_owned()).chain(members.into_iter().map(|m| m.path)).collect();
    let is_other = |path: &PathBuf| fs::metadata(path).map_or(true, |data| data.ino() != id.inode);
    paths.sort_by_cached_key(is_other);
    paths.into_iter().find_map(|path| Tail::open(&path, position, Some(id)).ok().flatten())
}

/// The file that was written next behind `done`, if it is not `log` itself: while nobody read, the log may have been
/// rotated more than once.
pub fn next(log: &Path, done: &Metadata) -> Option<PathBuf> {
    let newest = fs::metadata(log).ok();
    let is = |data: &Metadata, other: &Metadata| (data.dev(), data.ino()) == (other.dev(), other.ino());
    let later = members(log).into_iter().filter(|member| {
        let data = &member.data;
        written(data) > written(done) && !is(data, done) && !newest.as_ref().is_some_and(|newest| is(data, newest))
    });
    later.min_by_key(|member| written(&member.data)).map(|member| member.path)
}

/// Whether the IDS has gone on from the file of `data` to another one.
///
/// After logrotate has made a new file, the IDS may write into the old one for a while, until it is told: so the old one
/// is left only when something stands in a later one.
pub fn is_left(log: &Path, data: &Metadata) -> bool {
    match fs::metadata(log) {
        Ok(newest) if (newest.dev(), newest.ino()) == (data.dev(), data.ino()) => false,
        Ok(newest) if newest.len() > 0 => true,
        // There is none of that name while a rotation is under way.
        _ => next(log, data).is_some(),
    }
}

fn written(data: &Metadata) -> SystemTime {
    data.modified().unwrap_or(SystemTime::UNIX_EPOCH)
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
    use std::time::Duration;

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
            let mut tail = find(&log, &FileId::from_head(inode, b"same\n"), position).expect("found");
            tail.fill().expect("read");
            tail.buffer().to_vec()
        };
        assert_eq!(found(inode), b"old\n");
        assert_eq!(found(0), b"new\n", "a copy: the log itself is the likeliest");
    }

    #[test]
    fn rotated_files_are_found_by_what_they_begin_with_and_follow_in_the_order_of_writing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("alerts.json");
        let months = folder.path().join("2026/Nov");
        fs::create_dir_all(&months).expect("made");
        let write = |path: &Path, text: &str, age: u64| {
            fs::write(path, text).expect("written");
            let at = SystemTime::now() - Duration::from_secs(age);
            fs::File::options().append(true).open(path).expect("opened").set_modified(at).expect("set");
        };
        write(&months.join("ossec-alerts-19.json"), "first\nday\n", 300);
        write(&months.join("ossec-alerts-20.json"), "second\nday\n", 200);
        write(&months.join("ossec-alerts-20.json.gz"), "packed", 150);
        write(&months.join("ossec-alerts-20.log"), "no json", 150);
        write(&folder.path().join("alerts.json.1"), "third\n", 100);
        write(&log, "newest\n", 0);
        fs::hard_link(&log, months.join("ossec-alerts-21.json")).expect("linked");
        let id = FileId::from_head(0, b"first\n");
        let mut tail = find(&log, &id, Position { generation: 4, offset: 6 }).expect("found");
        tail.fill().expect("read");
        assert_eq!(tail.buffer(), b"day\n");
        let mut chain = Vec::new();
        let mut done = tail.metadata().expect("data");
        while let Some(path) = next(&log, &done) {
            done = fs::metadata(&path).expect("data");
            chain.push(named(&path).to_owned());
        }
        assert_eq!(chain, ["ossec-alerts-20.json", "alerts.json.1"]);
        let newest = fs::metadata(&log).expect("data");
        assert!(is_left(&log, &done) && !is_left(&log, &newest));
        fs::remove_file(&log).expect("removed");
        fs::write(&log, "").expect("written");
        assert!(!is_left(&log, &newest), "nothing stands in the new one yet");
        assert!(find(&log, &FileId::from_head(0, b"gone\n"), Position { generation: 4, offset: 5 }).is_none());
    }
}
