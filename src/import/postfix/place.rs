//! Where Postfix's files lie, and its tables as text.
//!
//! A directory that ends in `etc/postfix` is part of a tree, whose root is above it: that of this machine, or a copy of
//! another one's. Otherwise files are looked for beside main.cf, by their last names: those of this machine are none of
//! the business of a main.cf from elsewhere.

use std::path::{Path, PathBuf};

use crate::import::source::{self, ImportError};

/// The directory with main.cf, and the root above it.
pub struct Place {
    /// main.cf as the operator named it.
    pub shown: PathBuf,
    main: PathBuf,
    folder: PathBuf,
    root: Option<PathBuf>,
}

/// What came of looking for a table.
pub enum Table {
    /// Its lines: key and value, with their number.
    Text(Vec<(String, String, usize)>),
    /// Only what postmap made of it is there.
    Compiled(String),
    /// Neither.
    Missing(String),
    /// A kind that is not read: a database, a program, an expression.
    Other(&'static str),
}

/// Kinds that are read, as text.
const READ: [&str; 7] = ["hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash"];
/// Kinds that are not (DATABASE_README). No other name is repeated: with `inline:` and `static:` a piece of a password may
/// stand where a kind should.
const NOT_READ: [&str; 21] = [
    "cidr", "environ", "fail", "inline", "internal", "ldap", "memcache", "mongodb", "mysql", "netinfo", "nis",
    "nisplus", "pcre", "pgsql", "pipemap", "proxy", "randmap", "regexp", "sqlite", "static", "unionmap",
];

impl Place {
    pub fn of(place: &Path) -> Self {
        let shown = if place.is_dir() { place.join("main.cf") } else { place.to_owned() };
        let place = std::path::absolute(place).unwrap_or_else(|_| place.to_owned());
        let (main, folder) = match place.is_dir() {
            true => (place.join("main.cf"), place),
            false => (place.clone(), place.parent().unwrap_or(Path::new("/")).to_owned()),
        };
        let root = folder.ends_with("etc/postfix") && main.ends_with("etc/postfix/main.cf");
        let root = root.then(|| folder.ancestors().nth(2).unwrap_or(Path::new("/")).to_owned());
        Self { shown, main, folder, root }
    }

    /// A place where nothing lies.
    #[cfg(any(test, fuzzing))]
    pub fn nowhere() -> Self {
        Self { shown: "main.cf".into(), main: "/nowhere/main.cf".into(), folder: "/nowhere".into(), root: None }
    }

    /// Where the file that Postfix calls `name` is looked for.
    fn path(&self, name: &str) -> PathBuf {
        let name = Path::new(name);
        match (name.strip_prefix("/etc/postfix"), &self.root) {
            (Ok(inside), _) if self.folder.join(inside).exists() => self.folder.join(inside),
            (_, Some(root)) => root.join(name.strip_prefix("/").unwrap_or(name)),
            _ => self.folder.join(name.file_name().unwrap_or_default()),
        }
    }

    /// The text of a file that may be there.
    pub fn file(&self, name: &str) -> Option<String> {
        source::read(&self.path(name)).ok()
    }

    /// main.cf itself.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn main(&self) -> Result<String, ImportError> {
        source::read(&self.main)
    }

    /// The table that a parameter names: `hash:/etc/postfix/sasl_passwd`. `separator` parts key and value beside blanks.
    pub fn table(&self, map: &str, separator: Option<char>) -> Table {
        let (kind, name) = map.split_once(':').unwrap_or(("hash", map));
        if !READ.contains(&kind) || !name.starts_with('/') {
            let known = NOT_READ.iter().chain(&READ).find(|known| **known == kind);
            return Table::Other(known.copied().unwrap_or("strange"));
        }
        if name.split('/').any(|part| part == "..") {
            return Table::Missing(name.to_owned());
        }
        let path = self.path(name);
        let compiled = ["db", "lmdb", "cdb", "dir"].map(|end| PathBuf::from(format!("{}.{end}", path.display())));
        match (source::read(&path), compiled.into_iter().find(|path| path.exists())) {
            (Ok(text), _) => Table::Text(lines(&text, separator)),
            (Err(_), Some(_)) => Table::Compiled(name.to_owned()),
            (Err(_), None) => Table::Missing(name.to_owned()),
        }
    }
}

/// Logical lines as in main.cf: key, blanks (or `separator`), value.
fn lines(text: &str, separator: Option<char>) -> Vec<(String, String, usize)> {
    let mut all: Vec<(String, String, usize)> = Vec::new();
    for (physical, line) in text.lines().zip(1..) {
        if physical.trim().is_empty() || physical.trim_start().starts_with('#') {
            continue;
        }
        if physical.starts_with(char::is_whitespace) {
            if let Some((_, value, _)) = all.last_mut() {
                let blank = if value.is_empty() { "" } else { " " };
                // In place: a table may be one endless logical line.
                value.push_str(blank);
                value.push_str(physical.trim());
            }
            continue;
        }
        let end = |c: char| c.is_whitespace() || Some(c) == separator;
        let (key, value) = physical.split_at(physical.find(end).unwrap_or(physical.len()));
        let value = value.trim_start_matches(end).trim();
        all.push((key.trim_matches('"').to_owned(), value.to_owned(), line));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn lines_of_a_table_continue_and_one_without_end_takes_no_time() {
        let table =
            |text: &str| lines(text, Some(':')).into_iter().map(|(key, value, _)| (key, value)).collect::<Vec<_>>();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(table("# x\nroot:\n a,\n\n # no\n\tb\n\"c d: e\n"), [pair("root", "a, b"), pair("c", "d: e")]);
        let began = Instant::now();
        let endless = format!("root:{}", "\n a".repeat(600_000));
        assert_eq!(table(&endless)[0].1.len(), 2 * 600_000 - 1);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn of_a_table_that_is_not_read_no_foreign_word_is_repeated() {
        let kind = |map: &str| match Place::nowhere().table(map, None) {
            Table::Other(kind) => kind,
            _ => "read",
        };
        assert_eq!(
            [kind("inline:{"), kind("static:u:p"), kind("secret:word"), kind("word}}")],
            ["inline", "static", "strange", "hash"]
        );
        assert_eq!(kind("hash:/etc/aliases"), "read");
    }
}
