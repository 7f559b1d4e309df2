//! What is sent at the same time: some lines of a log, in their order.
//!
//! Lines that are no alerts, one behind the other, are sent as one: whoever follows the wrong file shall not get a mail
//! for each of its lines. **Where such a group ends is decided by the log and the positions that are known, not by how it
//! was read**, so that after a crash the same groups come about and nobody gets one twice: before an alert, at a multiple
//! of [`GROUP`] octets, where the log ended when the group was sent (which, if anybody has it, is known).

use std::collections::BTreeSet;
use std::ops::Range;

use crate::alert::json::{self, Alert};
use crate::config::Follow;
use crate::position::Position;

use super::rules;

/// A group of lines that are no alerts does not cross a multiple of this, octets.
const GROUP: u64 = 64 * 1024;
/// Lines that are sealed at the same time: so that their syncs share the disk's work, and few are read again after a crash.
const LINES: usize = 8;

/// What becomes of a line.
pub enum Judged {
    /// There is nothing in it.
    Empty,
    /// It is an alert that nobody is mailed about.
    NotSent,
    /// It is sent.
    Alert(Box<Alert>),
    /// It is none, and is sent as it is.
    NoAlert,
}

/// What `follow` says of `line`.
pub fn judge(follow: &Follow, line: &[u8]) -> Judged {
    match json::weigh(line) {
        _ if line.is_empty() => Judged::Empty,
        Some(weight) if !rules::is_sent(follow, &weight) => Judged::NotSent,
        Some(_) => json::read(line).map_or(Judged::NoAlert, |alert| Judged::Alert(Box::new(alert))),
        None => Judged::NoAlert,
    }
}

/// One mail to be made.
pub struct Item {
    /// Where it lies in the buffer, its line end included.
    pub whole: Range<usize>,
    /// Where its text lies.
    pub text: Range<usize>,
    /// The alert, or how many lines that are none.
    pub alert: Result<Box<Alert>, u64>,
}

/// The items, and where the buffer they lie in begins.
pub struct Lot<'a> {
    items: Vec<Item>,
    start: Position,
    known: &'a BTreeSet<Position>,
}

impl<'a> Lot<'a> {
    /// An empty one; the buffer begins at `start`, and `known` are the ends of what somebody has already.
    pub fn new(start: Position, known: &'a BTreeSet<Position>) -> Self {
        Self { items: Vec::new(), start, known }
    }

    /// Adds the line at `whole`, whose text is at `text`.
    pub fn add(&mut self, whole: Range<usize>, text: Range<usize>, judged: Judged) {
        match judged {
            Judged::NotSent => {}
            Judged::Empty => _ = self.join_group(&whole),
            Judged::Alert(alert) => self.items.push(Item { whole, text, alert: Ok(alert) }),
            Judged::NoAlert => self.add_no_alert(whole, text),
        }
    }

    fn add_no_alert(&mut self, whole: Range<usize>, text: Range<usize>) {
        match self.join_group(&whole) {
            Some((group_text, lines)) => (group_text.end, *lines) = (text.end, *lines + 1),
            None => self.items.push(Item { whole, text, alert: Err(1) }),
        }
    }

    /// Adds what is at `whole` to the group before it, if it belongs to it: the group's text and number of lines.
    fn join_group(&mut self, whole: &Range<usize>) -> Option<(&mut Range<usize>, &mut u64)> {
        let start = self.start;
        let at = |octet: usize| Position { offset: start.offset + octet as u64, ..start };
        let Item { whole: group, text, alert: Err(lines) } = self.items.last_mut()? else { return None };
        let joins = group.end == whole.start
            && !self.known.contains(&at(group.end))
            && at(group.start).offset / GROUP == at(whole.end).offset / GROUP;
        joins.then(|| {
            group.end = whole.end;
            (text, lines)
        })
    }

    /// What is to be sent now, if there is enough of it. The last item stays: it may be a group that grows.
    pub fn full(&mut self) -> Option<Vec<Item>> {
        (self.items.len() > LINES).then(|| self.items.drain(..LINES).collect())
    }

    /// All the rest, read up to `end`; but for a group that what follows may belong to, unless the log `is_at_end`.
    pub fn rest(mut self, end: usize, is_at_end: bool) -> Rest {
        let open = self.items.pop_if(|item| !is_at_end && item.alert.is_err() && item.whole.end == end);
        let done = open.as_ref().map_or(end, |open| open.whole.start);
        Rest { items: self.items, done, open_lines: open.and_then(|open| open.alert.err()).unwrap_or(0) }
    }
}

/// What is left when the buffer was read.
pub struct Rest {
    /// What is to be sent.
    pub items: Vec<Item>,
    /// When that is done, everything up to here in the buffer is.
    pub done: usize,
    /// Lines behind that.
    pub open_lines: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The groups of lines of ten octets each, by how many lines they have.
    fn groups(start: u64, lines: usize, known: &[u64], sent_between: usize) -> Vec<u64> {
        let at = |offset| Position { generation: 1, offset };
        let known = known.iter().map(|offset| at(*offset)).collect();
        let mut lot = Lot::new(at(start), &known);
        for nth in 0..lines {
            let judged = if nth == sent_between { Judged::NotSent } else { Judged::NoAlert };
            lot.add(nth * 10..nth * 10 + 10, nth * 10..nth * 10 + 9, judged);
        }
        lot.items.iter().map(|item| *item.alert.as_ref().expect_err("no alert")).collect()
    }

    #[test]
    fn groups_end_where_the_log_and_what_is_known_say_so() {
        assert_eq!(groups(0, 6, &[], 99), [6]);
        assert_eq!(groups(0, 6, &[20, 30], 99), [2, 1, 3]);
        assert_eq!(groups(0, 6, &[], 2), [2, 3]);
        assert_eq!(groups(GROUP - 25, 6, &[], 99), [2, 1, 3]);
    }

    #[test]
    fn a_group_that_may_grow_waits_until_the_log_ends() {
        let known = BTreeSet::new();
        let lot = || {
            let mut lot = Lot::new(Position::default(), &known);
            lot.add(0..5, 0..4, Judged::NoAlert);
            lot
        };
        let rest = |end, is_at_end| {
            let Rest { items, done, open_lines } = lot().rest(end, is_at_end);
            (items.len(), done, open_lines)
        };
        assert_eq!((rest(5, false), rest(5, true), rest(9, false)), ((0, 0, 1), (1, 5, 0), (1, 9, 0)));
    }
}
