//! Sequence numbers, per recipient, over restarts and crashes: every number is accounted for.
//!
//! A number stands in the header line of its entry. The record (`numbers.0` and `numbers.1` in the state directory, JSON)
//! holds for each recipient the highest number, the unused ones below it, those an operator removed and those a digest
//! contains. **It is synced before an entry leaves the spool**, so at any time spool and record together know the last
//! number, and no sync is needed before our 250. `count` keeps the accounts, this file says when they are written.
//!
//! What a crash leaves: numbers above the record that are in the spool (they count), and gaps between those (never
//! durable, so never sent: they become unused ones). A number is never given out twice, not even one whose entry could
//! not be stored, because an unlinked file may come back after a power cut.
//!
//! A new state directory begins a new random epoch.
//!
//! On failure to write the record the entry stays in the spool. An attacker chooses none of this; one who can write the
//! state directory can make numbers come twice, which `verify` tells.

mod count;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use count::Known;

use super::slots::Slots;
use super::sources::Sources;
use crate::envelope::{hex, random};
use crate::position::{FileId, Position, Source};
use crate::ranges::Ranges;
use count::{Count, Counts, Record};

/// Ranges of contained numbers that are remembered for a recipient: who mixes repeats and new alerts makes one of each
/// repeat, and the record is written whole. A heartbeat tells fewer; older ones are known by their digests.
const CONTAINED: usize = 1000;

/// The numbers of all recipients.
pub struct Numbers {
    epoch: String,
    known: Mutex<Counts>,
    /// Held while the record is written, so that two writers cannot put an older one over a newer one.
    slots: Mutex<Slots>,
}

/// A number that was taken. If it goes without [`Number::stored`], it is an unused one.
pub struct Number<'a> {
    numbers: &'a Numbers,
    recipient: String,
    value: u64,
}

impl Numbers {
    /// Reads the record in `state`, or begins a new epoch, and adds what the entries of the spool say:
    /// `(epoch, recipient, number)`, and who has what of followed logs.
    ///
    /// # Errors
    /// The record cannot be read, is damaged, or cannot be written.
    pub fn open<'a>(
        state: &Path,
        spooled: impl Iterator<Item = (&'a str, &'a str, u64)>,
        mut sources: Sources,
    ) -> io::Result<Self> {
        let (mut slots, newest) = Slots::open(state, "numbers")?;
        let record = match newest {
            Some(json) => serde_json::from_slice::<Record>(&json)?,
            None => {
                let record =
                    Record { epoch: hex(&random::<8>()), recipients: BTreeMap::new(), sources: Sources::default() };
                // Both slots get their room now, while there is some.
                slots.write(&serde_json::to_vec(&record)?)?;
                slots.write(&serde_json::to_vec(&record)?)?;
                record
            }
        };
        let mut recipients = record.recipients.clone();
        for (epoch, recipient, number) in spooled {
            if epoch == record.epoch {
                recipients.entry(recipient.to_owned()).or_default().spooled(number);
            }
        }
        sources.add_all(&record.sources);
        let has_news = sources != record.sources;
        let known = Mutex::new(Counts { recipients, sources, recorded: record.recipients });
        let numbers = Self { epoch: record.epoch, known, slots: Mutex::new(slots) };
        if has_news {
            // An entry of another epoch leaves without a record being written, and a recorded number does not tell
            // whether its place in the log was recorded with it: so what the spool says of logs is recorded now.
            numbers.write(&mut numbers.slots())?;
        }
        Ok(numbers)
    }

    /// The run of numbers this state directory began.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The next number for `recipient`.
    pub fn take(&self, recipient: &str) -> Number<'_> {
        let mut known = self.known();
        let value = known.entry(recipient).take();
        Number { numbers: self, recipient: recipient.to_owned(), value }
    }

    /// Must return `Ok` before the entry with this number leaves the spool.
    ///
    /// # Errors
    /// The record cannot be written; then the entry must stay.
    pub fn record_before_leaving(&self, epoch: &str, recipient: &str, number: u64) -> io::Result<()> {
        if epoch != self.epoch {
            return Ok(());
        }
        // A removal may not have succeeded: what leaves now is not removed, and nobody may say so.
        if let Some(count) = self.known().recipients.get_mut(recipient) {
            count.comes_after_all(number);
        }
        if self.known().is_recorded(recipient, number) {
            return Ok(());
        }
        let mut slots = self.slots();
        if self.known().is_recorded(recipient, number) {
            return Ok(());
        }
        self.write(&mut slots)
    }

    /// An operator removes the entries that carry these numbers, `(epoch, recipient, number)`. Must return `Ok` before
    /// they go, so that whoever misses one later is told why.
    ///
    /// # Errors
    /// The record cannot be written; then the entries must stay.
    pub fn record_removed<'a>(&self, gone: impl Iterator<Item = (&'a str, &'a str, u64)>) -> io::Result<()> {
        let gone: Vec<_> = gone.filter(|(epoch, ..)| *epoch == self.epoch).collect();
        let mut slots = self.slots();
        for (_, recipient, number) in &gone {
            self.known().entry(recipient).removed.insert(*number);
        }
        self.write(&mut slots).inspect_err(|_| {
            // They stay, and nobody may be told that they will not come.
            for (_, recipient, number) in &gone {
                self.known().entry(recipient).removed.remove(*number);
            }
        })
    }

    /// A durable digest for `recipient` takes the place of the entries of this run that carry `numbers`. As
    /// [`Numbers::record_removed`].
    ///
    /// # Errors
    /// The record cannot be written; then the entries must stay.
    pub fn record_contained(&self, recipient: &str, numbers: &Ranges) -> io::Result<()> {
        let mut slots = self.slots();
        let mut known = self.known();
        let contained = &mut known.entry(recipient).contained;
        contained.add_all(numbers);
        contained.keep_newest(CONTAINED);
        drop(known);
        self.write(&mut slots)
    }

    fn write(&self, slots: &mut Slots) -> io::Result<()> {
        let record = {
            let mut known = self.known();
            // If it does not succeed, any part of it may be on the disk: nothing counts as recorded until it is written
            // again. The place in a log needs no more than that: it is recorded with the number that came from it.
            known.recorded.clear();
            let (recipients, sources) = (known.recipients.clone(), known.sources.clone());
            Record { epoch: self.epoch.clone(), recipients, sources }
        };
        slots.write(&serde_json::to_vec(&record)?)?;
        self.known().recorded = record.recipients;
        Ok(())
    }

    /// What is known of `recipient`'s numbers now.
    pub fn of(&self, recipient: &str) -> Known {
        self.known().recipients.get(recipient).map(Count::known).unwrap_or_default()
    }

    /// Where to go on reading the followed `log`: everything up to there is durable.
    pub fn done(&self, log: &str) -> Option<(FileId, Position)> {
        self.known().sources.done(log)
    }

    /// The ends of lines of the followed `log` that some recipient has, beyond [`Numbers::done`].
    pub fn beyond(&self, log: &str) -> BTreeSet<Position> {
        self.known().sources.beyond(log)
    }

    /// Whether what comes from `source` was stored for `recipient` before.
    pub fn has(&self, source: &Source, recipient: &str) -> bool {
        self.known().sources.has(&source.log, source.at, recipient)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Counts> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Number<'_> {
    /// The number.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Its entry is durable.
    pub fn stored(self) {
        self.stored_from(None);
    }

    /// The same for an entry that came from a followed log. Both are known at once: whoever finds the number recorded
    /// may rely on its place in the log being recorded too.
    pub fn stored_from(self, source: Option<&Source>) {
        let mut known = self.numbers.known();
        if let Some(count) = known.recipients.get_mut(&self.recipient) {
            count.unused.remove(self.value);
        }
        if let Some(source) = source {
            known.sources.stored(source, &self.recipient);
        }
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.numbers.known().recipients.get_mut(&self.recipient) {
            count.under_way.remove(&self.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path, spooled: &[(&str, &str, u64)]) -> Numbers {
        Numbers::open(folder, spooled.iter().copied(), Sources::default()).expect("opened")
    }

    fn count(numbers: &Numbers, recipient: &str) -> Count {
        numbers.known().recipients.get(recipient).cloned().unwrap_or_default()
    }

    #[test]
    fn numbers_go_on_after_a_restart_with_an_empty_spool() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let numbers = open(folder.path(), &[]);
        let epoch = numbers.epoch().to_owned();
        numbers.take("a@b").stored();
        numbers.take("a@b").stored();
        numbers.record_before_leaving(&epoch, "a@b", 1).expect("recorded");
        numbers.record_before_leaving(&epoch, "a@b", 2).expect("recorded");
        let again = open(folder.path(), &[]);
        assert_eq!(again.epoch(), epoch);
        assert_eq!(again.take("a@b").value(), 3);
        assert_eq!(again.take("c@d").value(), 1);
    }

    #[test]
    fn a_gap_above_the_record_is_an_unused_number() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let epoch = open(folder.path(), &[]).epoch().to_owned();
        let numbers = open(folder.path(), &[(&epoch, "a@b", 2), (&epoch, "a@b", 5), ("other", "a@b", 9)]);
        assert_eq!(
            count(&numbers, "a@b"),
            Count { highest: 5, unused: [1, 3, 4].into_iter().collect(), ..Count::default() }
        );
    }

    #[test]
    fn a_number_under_way_while_the_record_is_written_is_recorded_before_it_leaves() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let numbers = open(folder.path(), &[]);
        let epoch = numbers.epoch().to_owned();
        let slow = numbers.take("a@b");
        numbers.take("a@b").stored();
        numbers.record_before_leaving(&epoch, "a@b", 2).expect("recorded");
        // A crash here: number 1 was never durable.
        assert_eq!(count(&open(folder.path(), &[(&epoch, "a@b", 2)]), "a@b").unused, Ranges::of(1, 1));
        slow.stored();
        numbers.record_before_leaving(&epoch, "a@b", 1).expect("recorded");
        assert_eq!(count(&open(folder.path(), &[]), "a@b"), Count { highest: 2, ..Count::default() });
    }

    #[test]
    fn a_number_whose_entry_could_not_be_stored_is_never_given_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let numbers = open(folder.path(), &[]);
        drop(numbers.take("a@b"));
        assert_eq!(numbers.take("a@b").value(), 2);
        assert!(count(&numbers, "a@b").unused.contains(1));
    }

    #[test]
    fn a_number_under_way_is_not_said_to_be_unused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let numbers = open(folder.path(), &[]);
        let (first, second) = (numbers.take("a@b"), numbers.take("a@b"));
        assert_eq!(numbers.of("a@b").under_way, Ranges::of(1, 2));
        drop(first);
        second.stored();
        let known = Known { highest: 2, unused: Ranges::of(1, 1), ..Known::default() };
        assert_eq!(numbers.of("a@b"), known);
        assert_eq!(numbers.of("nobody"), Known::default());
    }

    #[test]
    fn numbers_of_removed_entries_are_kept_as_ranges_and_one_that_is_still_there_is_not_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let numbers = open(folder.path(), &[]);
        let epoch = numbers.epoch().to_owned();
        (0..9).for_each(|_| numbers.take("a@b").stored());
        let gone = [7, 3, 2, 4, 8, 3].map(|number| (epoch.as_str(), "a@b", number));
        numbers.record_removed(gone.into_iter().chain([("other", "a@b", 9)])).expect("recorded");
        assert_eq!(count(&open(folder.path(), &[]), "a@b").removed.to_string(), "2-4, 7-8");
        let again = open(folder.path(), &[(&epoch, "a@b", 3), (&epoch, "a@b", 8)]);
        assert_eq!(count(&again, "a@b").removed.to_string(), "2, 4, 7");
        assert_eq!(again.take("a@b").value(), 10);
    }

    #[test]
    fn what_was_to_be_removed_and_leaves_all_the_same_is_not_recorded_as_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let numbers = open(folder.path(), &[]);
        let epoch = numbers.epoch().to_owned();
        (0..2).for_each(|_| numbers.take("a@b").stored());
        numbers.record_removed([1, 2].map(|number| (epoch.as_str(), "a@b", number)).into_iter()).expect("recorded");
        // The first removal did not succeed, the second was ended by a crash.
        numbers.record_before_leaving(&epoch, "a@b", 1).expect("recorded");
        let again = open(folder.path(), &[(&epoch, "a@b", 2)]);
        again.record_before_leaving(&epoch, "a@b", 2).expect("recorded");
        assert_eq!(count(&open(folder.path(), &[]), "a@b"), Count { highest: 2, ..Count::default() });
    }

    #[test]
    fn what_stays_because_its_removal_cannot_be_recorded_is_not_said_to_be_removed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let numbers = open(folder.path(), &[]);
        let epoch = numbers.epoch().to_owned();
        (0..3).for_each(|_| numbers.take("a@b").stored());
        numbers.record_removed([(epoch.as_str(), "a@b", 1)].into_iter()).expect("recorded");
        for nth in [0, 1] {
            std::os::unix::fs::symlink("/dev/full", folder.path().join(format!("full.{nth}"))).expect("linked");
        }
        *numbers.slots() = Slots::open(folder.path(), "full").expect("opened").0;
        numbers.record_removed([(epoch.as_str(), "a@b", 2)].into_iter()).expect_err("the disk is full");
        assert_eq!(numbers.of("a@b").removed, Ranges::of(1, 1));
    }

    #[test]
    fn what_a_digest_contains_is_recorded_until_it_leaves_or_is_found_all_the_same() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let numbers = open(folder.path(), &[]);
        let epoch = numbers.epoch().to_owned();
        (0..5).for_each(|_| numbers.take("a@b").stored());
        numbers.record_contained("a@b", &Ranges::of(1, 4)).expect("recorded");
        assert_eq!(numbers.of("a@b").contained, Ranges::of(1, 4));
        // One could not be removed and is sent; another was not removed before a crash.
        numbers.record_before_leaving(&epoch, "a@b", 2).expect("recorded");
        let again = open(folder.path(), &[(&epoch, "a@b", 4)]);
        assert_eq!(again.of("a@b").contained.to_string(), "1, 3");
        again.record_before_leaving(&epoch, "a@b", 4).expect("recorded");
        assert_eq!(open(folder.path(), &[]).of("a@b").contained.to_string(), "1, 3");
    }

    #[test]
    fn who_mixes_what_is_counted_with_what_is_sent_makes_no_long_record() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let numbers = open(folder.path(), &[]);
        (0..20_000).for_each(|_| numbers.take("a@b").stored());
        let counted: Ranges = (1..=10_000).map(|n| 2 * n).collect();
        numbers.record_contained("a@b", &counted).expect("recorded");
        let known = open(folder.path(), &[]).of("a@b");
        assert_eq!((known.contained.iter().count(), known.contained.contains(20_000)), (1000, true));
        assert!(std::fs::metadata(folder.path().join("numbers.1")).expect("there").len() < 32_768);
    }

    #[test]
    fn a_disk_that_is_full_for_long_makes_one_range_and_not_a_long_record() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let numbers = open(folder.path(), &[]);
        let epoch = numbers.epoch().to_owned();
        (0..100_000).for_each(|_| drop(numbers.take("a@b")));
        numbers.take("a@b").stored();
        numbers.record_before_leaving(&epoch, "a@b", 100_001).expect("recorded");
        assert_eq!(count(&open(folder.path(), &[]), "a@b").unused, Ranges::of(1, 100_000));
        assert_eq!(std::fs::metadata(folder.path().join("numbers.1")).expect("there").len(), 8192);
    }

    #[test]
    fn what_leaves_the_spool_leaves_its_place_in_the_log_in_the_record() {
        use crate::position::tests::source;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |offset| Position { generation: 1, offset };
        let numbers = open(folder.path(), &[]);
        let epoch = numbers.epoch().to_owned();
        // Two lines under way at once; the second is durable first, and leaves.
        let slow = numbers.take("a@b");
        numbers.take("a@b").stored_from(Some(&source(1, 300, 100)));
        numbers.record_before_leaving(&epoch, "a@b", 2).expect("recorded");
        let again = open(folder.path(), &[]);
        assert_eq!(again.done("/log").expect("known").1, at(100));
        assert!(again.has(&source(1, 300, 100), "a@b") && !again.has(&source(1, 200, 100), "a@b"));
        assert_eq!(again.beyond("/log"), [at(300)].into());
        drop(slow);
        // An entry of an epoch that is lost: its place is recorded before it can leave.
        let mut spooled = Sources::default();
        spooled.stored(&source(1, 700, 600), "c@d");
        Numbers::open(folder.path(), std::iter::empty(), spooled).expect("opened");
        assert_eq!(open(folder.path(), &[]).done("/log").expect("known").1, at(600));
    }
}
