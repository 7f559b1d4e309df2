//! What of a mail's alerts is counted: rule, location, level, description.

use crate::alert::{Block, Kind, Reading};

/// Octets of a description and of a location that are kept.
const DESCRIPTION: usize = 200;
const LOCATION: usize = 300;

/// A rule that fired at a location.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key {
    pub rule: u32,
    pub location: Vec<u8>,
}

/// One alert.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub key: Key,
    pub level: u32,
    pub description: Vec<u8>,
}

/// All alerts of a mail that are for one recipient. Nothing in it can be trusted unless it is certain.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gist {
    pub lines: Vec<Line>,
    /// Whether all of them can be told with certainty, and there is one at least.
    pub is_certain: bool,
    /// The highest level of any of them.
    pub highest: u32,
    /// Whether it is the one alert of its mail, whole.
    is_single: bool,
}

impl Gist {
    /// Of the alerts of `reading` whose numbers `are_meant`.
    pub fn of(reading: &Reading<'_>, are_meant: impl Fn(usize) -> bool) -> Self {
        let numbers: Vec<usize> = (0..reading.blocks.len()).filter(|nth| are_meant(*nth)).collect();
        let lines: Vec<Line> = numbers.iter().map(|&nth| line(&reading.blocks[nth])).collect();
        let is_certain = !lines.is_empty() && numbers.iter().all(|&nth| reading.is_certain(nth));
        let highest = lines.iter().map(|line| line.level).max().unwrap_or(0);
        Self { is_certain, highest, is_single: reading.kind == Kind::Alerts && reading.blocks.len() == 1, lines }
    }

    /// What a repeat would be told by: the rule and location of a mail that holds one alert and can be read without doubt.
    pub fn key(&self) -> Option<&Key> {
        let [line] = self.lines.as_slice() else { return None };
        // A location that was cut may be another's.
        let is_whole = (1..LOCATION).contains(&line.key.location.len());
        (self.is_certain && self.is_single && is_whole).then_some(&line.key)
    }

    /// How many alerts; what cannot be read is one.
    pub fn count(&self) -> usize {
        self.lines.len().max(1)
    }

    /// About what it takes in memory.
    pub fn octets(&self) -> usize {
        self.lines.iter().map(|line| 100 + line.key.location.len() + line.description.len()).sum()
    }
}

fn line(block: &Block<'_>) -> Line {
    let cut = |text: &[u8], limit: usize| text[..text.len().min(limit)].to_vec();
    let key = Key { rule: block.rule, location: cut(block.location.as_bytes(), LOCATION) };
    Line { key, level: block.level, description: cut(&block.description, DESCRIPTION) }
}
