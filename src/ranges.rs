//! Sets of sequence numbers, kept as ranges: a full disk, a purge or a year of mail makes many numbers in a row.
//!
//! Guarantees: ranges neither touch nor overlap, so a set is as long as it has gaps and two equal sets are written
//! alike. In JSON a set is a list of `[first, last]`; one from a stranger is refused if a range is upside down.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of numbers.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// All numbers from `first` to `last`; none if `last` is smaller.
    pub fn of(first: u64, last: u64) -> Self {
        let mut ranges = Self::default();
        ranges.add(first, last);
        ranges
    }

    /// Adds one number.
    pub fn insert(&mut self, number: u64) {
        self.add(number, number);
    }

    /// Adds all numbers from `first` to `last`.
    pub fn add(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let (mut first, mut last) = (first, last);
        // Whatever overlaps or touches becomes one range with the new one.
        while let Some((start, end)) = self.touching(first, last) {
            (first, last) = (first.min(start), last.max(end));
            self.0.remove(&start);
        }
        self.0.insert(first, last);
    }

    fn touching(&self, first: u64, last: u64) -> Option<(u64, u64)> {
        let (start, end) = self.0.range(..=last.saturating_add(1)).next_back()?;
        (end.saturating_add(1) >= first).then_some((*start, *end))
    }

    /// Keeps the `limit` highest ranges.
    pub fn keep_newest(&mut self, limit: usize) {
        while self.0.len() > limit {
            self.0.pop_first();
        }
    }

    /// Takes one number out.
    pub fn remove(&mut self, number: u64) {
        self.take_out(number, number);
    }

    fn take_out(&mut self, first: u64, last: u64) {
        while let Some((&start, &end)) = self.0.range(..=last).next_back().filter(|(_, end)| **end >= first) {
            self.0.remove(&start);
            if end > last {
                self.0.insert(last + 1, end);
            }
            if start < first {
                self.0.insert(start, first - 1);
            }
        }
    }

    /// Whether `number` is in it.
    pub fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// Adds all of `other`.
    pub fn add_all(&mut self, other: &Self) {
        other.iter().for_each(|(first, last)| self.add(first, last));
    }

    /// What is in it and not in `other`.
    #[must_use]
    pub fn without(mut self, other: &Self) -> Self {
        other.iter().for_each(|(first, last)| self.take_out(first, last));
        self
    }

    /// What is in both.
    #[must_use]
    pub fn within(self, other: &Self) -> Self {
        let outside = self.clone().without(other);
        self.without(&outside)
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers.
    pub fn count(&self) -> u64 {
        self.iter().fold(0, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// The greatest number.
    pub fn last(&self) -> Option<u64> {
        self.0.last_key_value().map(|(_, last)| *last)
    }

    /// Each range, first and last number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(first, last)| (*first, *last))
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<T: IntoIterator<Item = u64>>(numbers: T) -> Self {
        let mut ranges = Self::default();
        numbers.into_iter().for_each(|number| ranges.insert(number));
        ranges
    }
}

/// `1-3, 7`, and a word when there is none.
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (nth, (first, last)) in self.iter().enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut ranges = Self::default();
        for (first, last) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            if first > last {
                return Err(D::Error::custom("a range that ends before it begins"));
            }
            ranges.add(first, last);
        }
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ranges_join_and_part() {
        let mut ranges: Ranges = [7, 3, 2, 4, 8, 3].into_iter().collect();
        assert_eq!(ranges.to_string(), "2-4, 7-8");
        ranges.add(5, 6);
        assert_eq!(ranges.to_string(), "2-8");
        ranges.remove(5);
        assert_eq!(serde_json::to_string(&ranges).expect("JSON"), "[[2,4],[6,8]]");
        assert_eq!(serde_json::from_str::<Ranges>("[[6,8],[2,4]]").expect("ranges"), ranges);
        assert!(serde_json::from_str::<Ranges>("[[8,6]]").is_err());
        assert_eq!((Ranges::default().to_string(), Ranges::of(2, 1).is_empty()), ("none".to_owned(), true));
    }

    #[test]
    fn the_greatest_numbers_there_are_do_no_harm() {
        let mut all = Ranges::of(0, u64::MAX);
        all.insert(u64::MAX);
        assert_eq!((all.count(), all.contains(u64::MAX)), (u64::MAX, true));
        assert_eq!(all.without(&Ranges::of(1, u64::MAX)), Ranges::of(0, 0));
    }

    proptest::proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set(
            steps in proptest::collection::vec((0_u64..40, 0_u64..6, proptest::bool::ANY), 0..40), other in 0_u64..40,
        ) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (first, length, add) in steps {
                let last = first + length;
                if add {
                    ranges.add(first, last);
                    set.extend(first..=last);
                } else {
                    ranges = ranges.without(&Ranges::of(first, last));
                    set.retain(|number| !(first..=last).contains(number));
                }
            }
            proptest::prop_assert_eq!(&set.iter().copied().collect::<Ranges>(), &ranges);
            proptest::prop_assert_eq!(ranges.count(), set.len() as u64);
            proptest::prop_assert!((0..50).all(|number| ranges.contains(number) == set.contains(&number)));
            let both = ranges.within(&Ranges::of(other, other + 9));
            proptest::prop_assert!((0..50).all(|n| both.contains(n) == (set.contains(&n) && n >= other && n <= other + 9)));
        }
    }
}
