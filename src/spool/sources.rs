//! How far each followed log was dealt with, and who has what beyond.
//!
//! A message that came from a log says in its header line where, and up to where everything before it was already durable
//! ([`Source::done`]). Lines are sealed several at a time, so behind that mark some are durable and some are not: those
//! that are stand in `beyond`, with their recipient. This is kept with the record of numbers and is written with it, so
//! before an entry leaves the spool: **spool and record together always know what was stored**.
//!
//! What a crash leaves: the greatest mark that an entry or the record names, and beyond it the lines whose entries are
//! there. The log is read again from the mark; who has a line already does not get it again, who has not gets it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::position::{FileId, Position, Source};

/// All followed logs, by their configured names.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
#[serde(transparent)]
pub struct Sources(BTreeMap<String, Progress>);

/// How far one log was dealt with.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
struct Progress {
    /// The file of `done`.
    file: FileId,
    /// Everything up to here was durable.
    done: Position,
    /// Lines beyond that are durable, and for whom. At most a few: what is sealed at the same time.
    #[serde(default)]
    beyond: BTreeSet<(Position, String)>,
}

impl Sources {
    /// An entry for `recipient` that came from `source` is durable.
    pub fn stored(&mut self, source: &Source, recipient: &str) {
        let progress = self.0.entry(source.log.clone()).or_default();
        let done = Position { generation: source.at.generation, offset: source.done };
        if done >= progress.done {
            (progress.file, progress.done) = (source.file.clone(), done);
            progress.beyond.retain(|(at, _)| *at > done);
        }
        if source.at > progress.done {
            progress.beyond.insert((source.at, recipient.to_owned()));
        }
    }

    /// Adds what `other` knows.
    pub fn add_all(&mut self, other: &Self) {
        for (log, theirs) in &other.0 {
            let progress = self.0.entry(log.clone()).or_default();
            if theirs.done >= progress.done {
                (progress.file, progress.done) = (theirs.file.clone(), theirs.done);
            }
            let done = progress.done;
            progress.beyond.extend(theirs.beyond.iter().cloned());
            progress.beyond.retain(|(at, _)| *at > done);
        }
    }

    /// Whether `recipient` has the line before `at` of `log`, or it was dealt with long ago.
    pub fn has(&self, log: &str, at: Position, recipient: &str) -> bool {
        self.0
            .get(log)
            .is_some_and(|progress| at <= progress.done || progress.beyond.contains(&(at, recipient.to_owned())))
    }

    /// Where to go on reading `log`.
    pub fn done(&self, log: &str) -> Option<(FileId, Position)> {
        self.0.get(log).map(|progress| (progress.file.clone(), progress.done))
    }

    /// The ends of lines of `log` that somebody has, beyond the mark.
    pub fn beyond(&self, log: &str) -> BTreeSet<Position> {
        self.0.get(log).into_iter().flat_map(|progress| progress.beyond.iter().map(|(at, _)| *at)).collect()
    }

    /// Whether no log was ever followed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::tests::source;

    fn at(generation: u64, offset: u64) -> Position {
        Position { generation, offset }
    }

    #[test]
    fn what_some_have_beyond_the_mark_is_known_until_the_mark_passes_it() {
        let mut sources = Sources::default();
        sources.stored(&source(1, 300, 100), "b@x");
        sources.stored(&source(1, 200, 100), "a@x");
        assert_eq!(sources.done("/log").expect("known").1, at(1, 100));
        assert!(sources.has("/log", at(1, 200), "a@x") && !sources.has("/log", at(1, 200), "b@x"));
        assert!(sources.has("/log", at(1, 300), "b@x") && sources.has("/log", at(1, 100), "anybody"));
        assert!(!sources.has("/other", at(1, 100), "anybody"));
        sources.stored(&source(1, 500, 300), "a@x");
        assert!(sources.has("/log", at(1, 200), "b@x"), "the mark says that nothing is missing up to it");
        assert_eq!(sources.beyond("/log").into_iter().collect::<Vec<_>>(), [at(1, 500)]);
        sources.stored(&source(2, 70, 0), "a@x");
        assert_eq!(sources.done("/log").expect("known").1, at(2, 0));
        assert!(sources.has("/log", at(1, 900), "a@x"));
    }

    proptest::proptest! {
        /// A spool is read in no order, and beside a record that may be older or newer.
        #[test]
        fn the_order_in_which_entries_are_found_does_not_matter(
            found in proptest::collection::vec((0_u64..3, 0_u64..6, 0_u64..3, 0_usize..2), 0..12), seed in 0_usize..12,
        ) {
            let stored = |order: &mut dyn Iterator<Item = &(u64, u64, u64, usize)>| {
                let mut sources = Sources::default();
                for (generation, done, more, recipient) in order {
                    sources.stored(&source(*generation, done + more + 1, *done), ["a@x", "b@x"][*recipient]);
                }
                sources
            };
            let turned = seed % found.len().max(1);
            let once = stored(&mut found.iter());
            let again = stored(&mut found[turned..].iter().chain(&found[..turned]).rev());
            proptest::prop_assert_eq!(&once, &again);
            let mut both = stored(&mut found[..turned].iter());
            both.add_all(&stored(&mut found[turned..].iter()));
            proptest::prop_assert_eq!(once, both);
        }
    }
}
