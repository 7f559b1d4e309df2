//! Which groups a rule is in: OSSEC prints them in no mail, so they are read from the files of its rules.
//!
//! These are XML of a kind: several roots in one file, text that no XML reader takes. Only elements `group` and `rule` and
//! two attributes are looked at. Reading is total and bounded; what cannot be read is named and passed over, because a
//! group only adds a recipient. The files belong to whoever runs the IDS.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Block, Pattern};

/// A larger file holds no rules, octets.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;
/// Files that are read of all folders.
const FILES_LIMIT: usize = 10_000;
/// Rules that are remembered; Wazuh has about 5,000.
const RULES_LIMIT: usize = 200_000;
/// The longest list of groups of one rule, octets.
const GROUPS_LIMIT: usize = 4096;

/// The groups of each rule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Groups(HashMap<u32, Vec<u8>>);

impl Groups {
    /// Reads all `.xml` files in `folders`; beside the groups stands what could not be read.
    pub fn read(folders: &[PathBuf]) -> (Self, Vec<String>) {
        let (mut groups, mut troubles) = (Self::default(), Vec::new());
        let mut trouble = |path: &Path, error: io::Error| troubles.push(format!("{}: {error}", path.display()));
        let mut files = Vec::new();
        for folder in folders {
            match files_in(folder) {
                Ok(found) => files.extend(found),
                Err(error) => trouble(folder, error),
            }
        }
        for file in files.iter().take(FILES_LIMIT) {
            match read_file(file) {
                Ok(text) => groups.add_file(&text),
                Err(error) => trouble(file, error),
            }
        }
        (groups, troubles)
    }

    /// How many rules are known.
    pub fn rules(&self) -> usize {
        self.0.len()
    }

    /// The groups of an alert as the IDS itself compares them, each with a comma behind it: those it names, or those of
    /// its rule.
    pub fn of_block<'t>(&'t self, block: &Block<'_>) -> Cow<'t, [u8]> {
        if block.groups.is_empty() {
            return Cow::Borrowed(self.of(block.rule));
        }
        block.groups.iter().flat_map(|name| name.iter().chain(b",").copied()).collect::<Vec<u8>>().into()
    }

    /// Whether a rule is in a group that `pattern` is found in.
    pub fn have(&self, pattern: &Pattern) -> bool {
        self.0.values().any(|groups| pattern.is_in(groups))
    }

    fn of(&self, rule: u32) -> &[u8] {
        self.0.get(&rule).map_or(&[], Vec::as_slice)
    }

    fn add_file(&mut self, text: &[u8]) {
        let mut around = Vec::new();
        let mut rule = None;
        for tag in (Tags { rest: text }) {
            match (tag.name, rule) {
                (b"group", None) => around = tag.attribute(b"name").unwrap_or_default().to_vec(),
                (b"group", Some(rule)) => self.add(rule, tag.text_behind),
                (b"rule", _) => {
                    rule = tag.attribute(b"id").and_then(|id| std::str::from_utf8(id).ok()?.trim().parse().ok());
                    rule.into_iter().for_each(|rule| self.add(rule, &around));
                }
                (b"/rule", _) => rule = None,
                _ => {}
            }
        }
    }

    /// A rule that stands in two files (`overwrite="yes"`) is in the groups of both.
    fn add(&mut self, rule: u32, names: &[u8]) {
        if self.0.len() >= RULES_LIMIT && !self.0.contains_key(&rule) {
            return;
        }
        let known = self.0.entry(rule).or_default();
        for name in names.split(|&octet| octet == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
            let is_new = !known.split(|&octet| octet == b',').any(|other| other == name);
            if is_new && known.len() + name.len() < GROUPS_LIMIT {
                known.extend_from_slice(name);
                known.push(b',');
            }
        }
    }
}

fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)?.take(FILES_LIMIT) {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "xml") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_LIMIT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(io::Error::other(format!("larger than {FILE_LIMIT} octets")));
    }
    Ok(text)
}

/// A tag, and the text up to the next one.
struct Tag<'a> {
    /// With the slash of an end tag.
    name: &'a [u8],
    attributes: &'a [u8],
    text_behind: &'a [u8],
}

/// The tags of a text, without comments.
struct Tags<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tags<'a> {
    type Item = Tag<'a>;

    fn next(&mut self) -> Option<Tag<'a>> {
        loop {
            let at = self.rest.iter().position(|&octet| octet == b'<')?;
            let tag = &self.rest[at + 1..];
            if tag.starts_with(b"!--") {
                let end = tag.windows(3).position(|three| three == b"-->")?;
                self.rest = &tag[end + 3..];
                continue;
            }
            self.rest = tag;
            let name =
                tag.iter().take_while(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'/' | b'_')).count();
            // `<` of a pattern in a rule: text.
            if name == 0 {
                continue;
            }
            let end = end_of_tag(tag)?;
            self.rest = &tag[(end + 1).min(tag.len())..];
            let text = self.rest.iter().position(|&octet| octet == b'<').unwrap_or(self.rest.len());
            let (name, attributes) = tag[..end].split_at(name.min(end));
            return Some(Tag { name, attributes, text_behind: &self.rest[..text] });
        }
    }
}

/// Where a tag's `>` stands; one in quotes is none.
fn end_of_tag(tag: &[u8]) -> Option<usize> {
    let mut quote = None;
    tag.iter().position(|&octet| match quote {
        None if matches!(octet, b'"' | b'\'') => {
            quote = Some(octet);
            false
        }
        None => octet == b'>',
        Some(open) => {
            quote = (octet != open).then_some(open);
            false
        }
    })
}

impl<'a> Tag<'a> {
    fn attribute(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut rest = self.attributes;
        loop {
            let equals = rest.iter().position(|&octet| octet == b'=')?;
            let (key, value) = (rest[..equals].trim_ascii(), rest[equals + 1..].trim_ascii_start());
            let (&quote, value) = value.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
            let end = value.iter().position(|&octet| octet == quote)?;
            if key == name {
                return Some(&value[..end]);
            }
            rest = &value[end + 1..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(text: &str) -> Groups {
        let mut groups = Groups::default();
        groups.add_file(text.as_bytes());
        groups
    }

    #[test]
    fn groups_come_from_around_the_rule_and_from_within() {
        let groups = groups(
            "<var name=\"X\">a<b</var>\n<!-- <group name=\"no\"> --><group name=\"syslog,sshd,\">\n\
             <rule id=\"5710\" level='5'><regex>\\<a> x=</regex><group>authentication_failed, pci_dss_10.6.1,</group>\n\
             <description>x</description></rule><rule level=\"3\" id = \"5711\"><match> < 5 </match></rule></group>\n\
             <group name='local'><rule id=\"5711\" overwrite=\"yes\"></rule><rule id=\"x\"></rule></group>",
        );
        assert_eq!(groups.of(5710), b"syslog,sshd,authentication_failed,pci_dss_10.6.1,");
        assert_eq!(groups.of(5711), b"syslog,sshd,local,");
        assert_eq!(groups.of(1), b"");
        assert_eq!(groups.rules(), 2);
    }

    #[test]
    fn folders_are_read_and_what_cannot_be_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        write("0095-sshd_rules.xml", "<group name=\"sshd,\"><rule id=\"5700\"/></group>");
        write("notes.txt", "<group name=\"no,\"><rule id=\"1\"/></group>");
        let gone = folder.path().join("gone");
        let (groups, troubles) = Groups::read(&[folder.path().to_owned(), gone.clone()]);
        assert_eq!((groups.of(5700), groups.rules()), (&b"sshd,"[..], 1));
        assert!(troubles.len() == 1 && troubles[0].contains(&gone.display().to_string()), "{troubles:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text in "(<|>|\"|'|=|/|group|rule|id|name|<!--|-->|[ a-z0-9,]){0,60}") {
            groups(&text);
        }
    }
}
