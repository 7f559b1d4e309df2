//! The accounts of sequence numbers: which were given out, and what became of those that will never come.
//!
//! Guarantees: a number counts as removed or contained only until its entry is found or leaves all the same. A disk that
//! refuses for long makes one range, not a long list. Nothing here fails. An attacker who can write to the spool chooses what
//! header lines say, and can make gaps, but not use up the numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::sources::Sources;
use crate::ranges::Ranges;

/// So far above the highest number that is known no entry was ever written: its header line was changed on the disk, and
/// would use up the numbers. Entries above the record are those that wait in the spool.
const FARTHEST: u64 = 1 << 32;

/// What is known of all recipients' numbers, and of followed logs.
#[derive(Default)]
pub struct Counts {
    pub recipients: BTreeMap<String, Count>,
    /// How far followed logs were dealt with.
    pub sources: Sources,
    /// What the file on disk says for certain.
    pub recorded: BTreeMap<String, Count>,
}

/// One recipient's numbers.
#[derive(Serialize, Deserialize, Default, Clone, PartialEq, Eq, Debug)]
pub struct Count {
    /// The highest that was given out.
    pub highest: u64,
    /// Numbers up to `highest` that no durable entry carries, as far as is known: given back, or not stored yet.
    pub unused: Ranges,
    /// Numbers whose entries an operator removed: they will never come.
    #[serde(default)]
    pub removed: Ranges,
    /// Numbers whose entries a durable digest, which names them, has replaced: they will never come.
    #[serde(default)]
    pub contained: Ranges,
    /// Those of `unused` whose entries are being made.
    #[serde(skip)]
    pub under_way: BTreeSet<u64>,
}

/// What is known of one recipient's numbers.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// The highest that was given out.
    pub highest: u64,
    /// Those whose entries are being made.
    pub under_way: Ranges,
    /// Those that were never used.
    pub unused: Ranges,
    /// Those whose entries an operator removed.
    pub removed: Ranges,
    /// Those whose entries a digest has replaced.
    pub contained: Ranges,
}

/// What the file on disk says.
#[derive(Serialize, Deserialize)]
pub struct Record {
    pub epoch: String,
    pub recipients: BTreeMap<String, Count>,
    #[serde(default, skip_serializing_if = "Sources::is_empty")]
    pub sources: Sources,
}

impl Counts {
    /// The numbers of `recipient`; none were given out for one that is new.
    pub fn entry(&mut self, recipient: &str) -> &mut Count {
        self.recipients.entry(recipient.to_owned()).or_default()
    }

    /// Whether the file says that `number` was given out, and not that it will never come: then its entry may leave.
    pub fn is_recorded(&self, recipient: &str, number: u64) -> bool {
        self.recorded.get(recipient).is_some_and(|count| {
            let will_not_come = [&count.unused, &count.removed, &count.contained];
            number <= count.highest && !will_not_come.iter().any(|numbers| numbers.contains(number))
        })
    }
}

impl Count {
    /// Gives out the next number.
    pub fn take(&mut self) -> u64 {
        self.highest += 1;
        // Until its entry is durable nothing carries it.
        self.unused.insert(self.highest);
        self.under_way.insert(self.highest);
        self.highest
    }

    /// An entry in the spool carries `number`.
    pub fn spooled(&mut self, number: u64) {
        if number.saturating_sub(self.highest) > FARTHEST {
            return;
        }
        if number > self.highest {
            self.unused.add(self.highest + 1, number - 1);
            self.highest = number;
        }
        self.unused.remove(number);
        // It was to be removed, and a crash came first.
        self.comes_after_all(number);
    }

    /// The entry of `number` was found, or leaves: nobody may say that it never will.
    pub fn comes_after_all(&mut self, number: u64) {
        self.removed.remove(number);
        self.contained.remove(number);
    }

    /// What others may know of it.
    pub fn known(&self) -> Known {
        let under_way: Ranges = self.under_way.iter().copied().collect();
        Known {
            highest: self.highest,
            unused: self.unused.clone().without(&under_way),
            removed: self.removed.clone(),
            contained: self.contained.clone(),
            under_way,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_line_cannot_use_up_all_numbers() {
        let mut count = Count::default();
        [5, u64::MAX].into_iter().for_each(|number| count.spooled(number));
        assert_eq!(count.take(), 6);
        // A long outage, in which nothing leaves and nothing is recorded, is none of that.
        count.spooled(10_000_000);
        assert_eq!(count.take(), 10_000_001);
    }
}
