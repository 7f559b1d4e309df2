//! What the daemon counts.
//!
//! Guarantees: a number only grows while the daemon runs; nothing but numbers. Counting cannot fail. An attacker can raise
//! most of them and do no more.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// One number that only grows.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happened, each kind as a `T`.
#[derive(Serialize, Deserialize, Default, Debug, Clone, PartialEq, Eq)]
#[serde(default)]
pub struct Tally<T> {
    /// Mails answered with 250.
    pub accepted: T,
    /// Alerts of followed logs that are stored.
    pub followed: T,
    /// Alerts left out of mail because a followed log had brought them.
    pub left_out: T,
    /// Entries made from both.
    pub entries: T,
    /// Messages a relay host took.
    pub sent: T,
    /// Attempts after which a message waits on.
    pub deferred: T,
    /// Messages moved to `failed/`.
    pub undeliverable: T,
    /// Mails with a lone dot in their text.
    pub early_dots: T,
    /// Second mails in a HELO session.
    pub second_transactions: T,
    /// Mails over the size limit.
    pub oversize: T,
    /// Mails answered with 451, and banners with 421.
    pub not_taken: T,
    /// Sessions closed to make room.
    pub closed_for_room: T,
    /// Alerts that could not be sealed for a recipient.
    pub not_sealed: T,
    /// Heartbeats made; they are entries too, and are sent like any.
    pub heartbeats: T,
    /// Digests made, each in the place of several messages.
    pub digests: T,
    /// Messages whose place digests took.
    pub gathered: T,
    /// Messages without news, made to fill a slot.
    pub fillers: T,
    /// Messages that were larger than the size of their slots.
    pub larger_than_slot: T,
}

/// What has happened since the daemon started, counted by whoever sees it.
pub type Counters = Tally<Counter>;

/// The same as plain numbers, at one moment or between two.
pub type Counts = Tally<u64>;

impl<T> Tally<T> {
    /// What `of` makes of each number and that of `other`.
    fn each<U>(&self, other: &Self, of: impl Fn(&T, &T) -> U) -> Tally<U> {
        Tally {
            accepted: of(&self.accepted, &other.accepted),
            followed: of(&self.followed, &other.followed),
            left_out: of(&self.left_out, &other.left_out),
            entries: of(&self.entries, &other.entries),
            sent: of(&self.sent, &other.sent),
            deferred: of(&self.deferred, &other.deferred),
            undeliverable: of(&self.undeliverable, &other.undeliverable),
            early_dots: of(&self.early_dots, &other.early_dots),
            second_transactions: of(&self.second_transactions, &other.second_transactions),
            oversize: of(&self.oversize, &other.oversize),
            not_taken: of(&self.not_taken, &other.not_taken),
            closed_for_room: of(&self.closed_for_room, &other.closed_for_room),
            not_sealed: of(&self.not_sealed, &other.not_sealed),
            heartbeats: of(&self.heartbeats, &other.heartbeats),
            digests: of(&self.digests, &other.digests),
            gathered: of(&self.gathered, &other.gathered),
            fillers: of(&self.fillers, &other.fillers),
            larger_than_slot: of(&self.larger_than_slot, &other.larger_than_slot),
        }
    }
}

impl Counters {
    /// The numbers now.
    pub fn counts(&self) -> Counts {
        self.each(self, |counter, _| counter.get())
    }
}

impl Counts {
    /// These and `more` together.
    pub fn plus(&self, more: &Self) -> Self {
        self.each(more, |own, more| own.saturating_add(*more))
    }

    /// What was counted since they were `before`.
    pub fn since(&self, before: &Self) -> Self {
        self.each(before, |now, before| now.saturating_sub(*before))
    }

    /// What in the numbers of a day an operator should know.
    pub(super) fn warnings(&self) -> Vec<String> {
        let told = [
            (
                self.early_dots,
                "mail(s) held a lone dot in their text: somebody may be writing log lines to cut alerts; read those, they say so",
            ),
            (
                self.second_transactions,
                "mail(s) were the second of a session that sends one: they may be forged; read those, they say so",
            ),
            (self.oversize, "mail(s) were over the size limit and not taken: raise listen.message_size"),
            (self.not_taken, "mail(s) or sessions were not taken: see the log for why"),
            (self.closed_for_room, "silent session(s) were closed to make room: raise listen.sessions"),
            (
                self.larger_than_slot,
                "message(s) were larger than the size of their slots, which shows that there was news: raise release.size",
            ),
            (self.not_sealed, "alert(s) could not be sealed for a recipient: see the certificates"),
        ];
        let told = told.iter().filter(|(count, _)| *count > 0);
        told.map(|(count, text)| format!("in the last day {count} {text}")).collect()
    }
}

/// Whatever is counted from the start of the daemon and is a reason to warn.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// What became of mails and sessions.
    pub counts: Counts,
    /// Lines of log that could not be written.
    pub log_lines_dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another number for each kind.
    fn distinct() -> Counts {
        let mut kinds = serde_json::to_value(Counts::default()).expect("JSON");
        let all = kinds.as_object_mut().expect("an object");
        all.values_mut().enumerate().for_each(|(nth, count)| *count = (nth + 1).into());
        serde_json::from_value(kinds).expect("counts")
    }

    #[test]
    fn each_kind_is_added_and_subtracted_by_itself_and_never_goes_below_nothing() {
        let (none, some) = (Counts::default(), distinct());
        assert_eq!(some.plus(&none), some);
        assert_eq!(none.plus(&some), some);
        assert_eq!(some.plus(&some).since(&some), some);
        assert_eq!(none.since(&some), none);
    }

    #[test]
    fn a_kind_that_an_older_version_did_not_count_is_none() {
        let counts: Counts = serde_json::from_str(r#"{"accepted": 3}"#).expect("counts");
        assert_eq!(counts, Counts { accepted: 3, ..Counts::default() });
    }

    #[test]
    fn what_was_counted_in_a_day_is_a_warning_only_if_an_operator_should_know() {
        assert_eq!(
            Counts { accepted: 5, sent: 5, deferred: 9, heartbeats: 1, ..Counts::default() }.warnings(),
            [""; 0]
        );
        let told = Counts { early_dots: 2, not_sealed: 1, ..Counts::default() }.warnings();
        assert!(told[0].starts_with("in the last day 2 mail(s) held a lone dot"), "{told:?}");
        assert!(told[1].starts_with("in the last day 1 alert(s) could not be sealed") && told.len() == 2, "{told:?}");
    }
}
