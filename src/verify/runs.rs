//! The numbers of one run: those that were seen, those that heartbeats explain, and what is missing.
//!
//! A run is what one relay (signer and instance) numbered for one recipient out of one state directory (epoch). Runs are
//! kept apart: a gap in one is not filled by another.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::envelope::hex;
use crate::heartbeat::Facts;
use crate::ranges::Ranges;

/// Contents that are remembered of one run, newest first: to tell a repeat from another content, and to skip what was
/// verified before.
const CONTENTS: usize = 20_000;
/// A message may be on its way this long after a heartbeat that counts it as sent, seconds (greylisting), and a heartbeat
/// this long after it was due.
const GRACE: u64 = 3600;

/// Which run.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RunId {
    /// The first signer of the relay that was named to us.
    pub signer: String,
    /// The relay's host.
    pub instance: String,
    /// The run of numbers.
    pub epoch: String,
    /// Whom it is for.
    pub recipient: String,
}

/// What a message is known by.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Digests {
    /// Of what was signed.
    pub content: String,
    /// Of the armored text it came in.
    pub sealed: String,
}

/// 128 bits of SHA-256: as many as it takes that nobody makes another text with the same.
pub fn digest(octets: &[u8]) -> String {
    hex(&Sha256::digest(octets)[..16])
}

/// One run.
#[derive(Serialize, Deserialize, Default)]
pub struct Run {
    /// Numbers that came, ever.
    pub seen: Ranges,
    /// Numbers that will not come, by why, as heartbeats said.
    pub never: BTreeMap<String, Ranges>,
    /// Numbers whose place verified digests take.
    #[serde(default)]
    contained: Ranges,
    /// Missing ones that a person has looked into.
    acknowledged: Ranges,
    contents: BTreeMap<u64, Digests>,
    /// The last heartbeat.
    pub last: Option<Last>,
    /// The number of the heartbeat after which no other is waited for, because a person says so.
    ended_after: Option<u64>,
    /// When the newest alert arrived at the relay, seconds since 1970.
    pub newest: u64,
}

/// What the last heartbeat said.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub struct Last {
    /// Its number.
    pub sequence: u64,
    /// When it was made, seconds since 1970.
    pub made: u64,
    /// Seconds until the next one.
    pub every: Option<u64>,
    /// The lowest number it accounts for.
    pub from: u64,
    /// The highest.
    pub highest: u64,
    /// Those that still waited.
    pub waiting: Ranges,
    /// Alerts that could not be sealed for this recipient.
    pub not_sealed: u64,
}

/// How a number came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// For the first time.
    New,
    /// Once more.
    Again,
    /// Once more, with another content.
    Another,
}

/// What is to be said of a run.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Judged {
    /// The relay host took them and they did not come.
    pub missing: Ranges,
    /// They did not come, and no heartbeat has told of them yet.
    pub open: Ranges,
    /// They waited in the spool when the last heartbeat was made.
    pub waiting: Ranges,
    /// Seconds by which the next heartbeat is late.
    pub late: Option<u64>,
}

impl Run {
    /// A message came.
    pub fn arrive(&mut self, number: u64, digests: Digests, arrived: SystemTime) -> Arrival {
        let arrived = arrived.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        match self.contents.get(&number) {
            Some(known) if known.content != digests.content => return Arrival::Another,
            Some(_) => return Arrival::Again,
            None => {}
        }
        self.newest = self.newest.max(arrived);
        self.contents.insert(number, digests);
        while self.contents.len() > CONTENTS {
            self.contents.pop_first();
        }
        let again = self.seen.contains(number);
        self.seen.insert(number);
        if again { Arrival::Again } else { Arrival::New }
    }

    /// Message `sequence` is a heartbeat that tells `facts`.
    pub fn heartbeat(&mut self, sequence: u64, facts: &Facts) {
        let is_final = |why: &str| matches!(why, "unused" | "removed" | "contained");
        if self.last.as_ref().is_some_and(|last| last.sequence >= sequence) {
            // An older one, late: what may have been sent since explains nothing any more.
            for (why, numbers) in facts.never.iter().filter(|(why, _)| is_final(why)) {
                self.never.entry(why.clone()).or_default().add_all(numbers);
            }
            return;
        }
        // What it lists now it knows better than those before it: an operator may have sent what had failed. Of what is
        // below its lists, which may have been cut, those before it still hold.
        let below = Ranges::of(0, facts.from.saturating_sub(1));
        for (why, numbers) in &mut self.never {
            let lasts = is_final(why) && !facts.never.contains_key(why);
            if !lasts {
                *numbers = std::mem::take(numbers).within(&below);
            }
        }
        for (why, numbers) in &facts.never {
            self.never.entry(why.chars().take(40).collect()).or_default().add_all(numbers);
        }
        self.never.retain(|_, numbers| !numbers.is_empty());
        self.last = Some(Last {
            sequence,
            made: facts.made,
            every: facts.every,
            from: facts.from,
            highest: facts.highest.min(sequence),
            waiting: facts.waiting.clone(),
            not_sealed: facts.not_sealed,
        });
    }

    /// Message `sequence` takes the place of `numbers`. Only smaller ones can be in it.
    pub fn contain(&mut self, sequence: u64, numbers: &Ranges) {
        self.contained.add_all(&numbers.clone().within(&Ranges::of(1, sequence.saturating_sub(1))));
    }

    /// Numbers that will not come, by why, as heartbeats and digests said.
    pub fn all_never(&self) -> BTreeMap<String, Ranges> {
        let mut never = self.never.clone();
        if !self.contained.is_empty() {
            never.entry("contained".to_owned()).or_default().add_all(&self.contained);
        }
        never
    }

    /// What is known of the contents, by number.
    pub fn contents(&self) -> impl Iterator<Item = (u64, &Digests)> {
        self.contents.iter().map(|(number, digests)| (*number, digests))
    }

    /// What is to be said at `now`. `is_current` tells whether no younger run of the same relay has taken its place.
    pub fn judge(&self, now: u64, is_current: bool) -> Judged {
        let highest = self.last.as_ref().map_or(0, |last| last.highest);
        let top = self.seen.last().unwrap_or(0).max(highest);
        let explained = self.never.values();
        let absent = explained.fold(Ranges::of(1, top), |rest, numbers| rest.without(numbers)).without(&self.contained);
        let absent = absent.without(&self.seen).without(&self.acknowledged);
        let Some(last) = &self.last else {
            // Nobody will ever tell what became of them.
            return Judged { missing: absent, ..Judged::default() };
        };
        let due = last.every.map(|every| last.made.saturating_add(every).saturating_add(GRACE));
        let is_awaited = is_current && self.ended_after != Some(last.sequence);
        let late = due.filter(|due| is_awaited && *due < now).map(|due| now - due + GRACE);
        let waiting = absent.clone().within(&last.waiting);
        let told = absent.clone().within(&Ranges::of(last.from, last.highest)).without(&waiting);
        let untold = absent.without(&told).without(&waiting);
        let will_be_told = is_current && late.is_none() && last.every.is_some();
        let (mut missing, mut open) = (Ranges::default(), Ranges::default());
        // What left just before the heartbeat may still be behind it.
        if last.made.saturating_add(GRACE) > now { &mut open } else { &mut missing }.add_all(&told);
        if will_be_told { &mut open } else { &mut missing }.add_all(&untold);
        Judged { missing, open, waiting, late }
    }

    /// A person has looked into what is missing and late: it is not said again.
    pub fn acknowledge(&mut self, judged: &Judged) {
        self.acknowledged.add_all(&judged.missing);
        if judged.late.is_some() {
            self.ended_after = self.last.as_ref().map(|last| last.sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn run(numbers: impl IntoIterator<Item = u64>) -> Run {
        let mut run = Run::default();
        for number in numbers {
            let arrival = run.arrive(number, digests(number, ""), SystemTime::UNIX_EPOCH);
            assert_eq!(arrival, Arrival::New);
        }
        run
    }

    #[test]
    fn what_a_digest_contains_is_no_gap_and_a_digest_cannot_speak_for_later_numbers() {
        let mut run = run([1, 5, 7]);
        run.contain(5, &Ranges::of(2, 6));
        assert_eq!(run.all_never()["contained"], Ranges::of(2, 4));
        assert_eq!(run.judge(0, true).missing, Ranges::of(6, 6));
        // A heartbeat that was made before the digest does not make it forgotten.
        run.heartbeat(8, &facts(0, 7, Ranges::default(), &[("contained", Ranges::of(2, 2))]));
        assert_eq!(run.all_never()["contained"], Ranges::of(2, 4));
    }

    fn digests(number: u64, other: &str) -> Digests {
        Digests { content: format!("{number}{other}"), sealed: number.to_string() }
    }

    fn facts(made: u64, highest: u64, waiting: Ranges, never: &[(&str, Ranges)]) -> Facts {
        let never: BTreeMap<_, _> = never.iter().map(|(why, numbers)| ((*why).to_owned(), numbers.clone())).collect();
        let json = serde_json::json!({
            "reason": "regular", "made": made, "every": DAY, "version": "1", "since": null, "totals": {}, "complete": true,
            "from": 1, "highest": highest, "waiting": waiting, "never": never, "not_sealed": 0,
            "spool": crate::spool::Totals::default(), "certificates": [], "relays": [], "warnings": [],
        });
        serde_json::from_value(json).expect("facts")
    }

    #[test]
    fn a_heartbeat_whose_lists_were_cut_leaves_what_earlier_ones_told_of_the_numbers_below() {
        let mut run = run([1, 10, 12, 20]);
        run.heartbeat(
            10,
            &facts(1000, 9, Ranges::default(), &[("unused", Ranges::of(2, 5)), ("failed", Ranges::of(6, 9))]),
        );
        let cut = facts(2000, 19, Ranges::default(), &[("unused", Ranges::of(11, 11)), ("failed", Ranges::of(13, 19))]);
        run.heartbeat(20, &Facts { from: 8, ..cut });
        assert_eq!(
            (run.never["unused"].to_string(), run.never["failed"].to_string()),
            ("2-5, 11".into(), "6-7, 13-19".into())
        );
        assert_eq!(run.judge(2000 + GRACE, true).missing.to_string(), "8-9");
    }

    #[test]
    fn a_repeat_is_told_from_another_content() {
        let mut run = run([1, 2]);
        assert_eq!(run.arrive(2, digests(2, ""), SystemTime::UNIX_EPOCH), Arrival::Again);
        assert_eq!(run.arrive(2, digests(2, "x"), SystemTime::UNIX_EPOCH), Arrival::Another);
    }

    #[test]
    fn a_gap_without_heartbeats_is_missing_and_can_be_acknowledged() {
        let mut run = run([2, 5]);
        let judged = run.judge(0, true);
        assert_eq!(judged.missing.to_string(), "1, 3-4");
        run.acknowledge(&judged);
        assert_eq!(run.judge(0, true), Judged::default());
    }

    #[test]
    fn heartbeats_tell_what_waits_what_never_comes_and_what_is_missing() {
        let mut run = run([1, 3, 10, 12]);
        run.heartbeat(
            10,
            &facts(1000, 9, Ranges::of(5, 6), &[("unused", Ranges::of(2, 2)), ("failed", Ranges::of(4, 4))]),
        );
        let fresh = run.judge(1000, true);
        assert_eq!((fresh.missing.to_string(), fresh.open.to_string()), ("none".into(), "7-9, 11".into()));
        let later = run.judge(1000 + GRACE, true);
        assert_eq!((later.missing.to_string(), later.open.to_string()), ("7-9".into(), "11".into()));
        assert_eq!((later.waiting.to_string(), later.late), ("5-6".into(), None));
        let late = run.judge(1000 + DAY + GRACE + 1, true);
        assert_eq!((late.missing.to_string(), late.late), ("7-9, 11".into(), Some(GRACE + 1)));
        assert_eq!(run.judge(1000 + 9 * DAY, false).late, None, "a younger run has taken its place");
        // An operator sent what had failed; the heartbeat after that does not list it any more.
        run.arrive(13, digests(13, ""), SystemTime::UNIX_EPOCH);
        run.heartbeat(13, &facts(1000 + DAY, 12, Ranges::default(), &[]));
        assert_eq!(run.judge(1000 + DAY + GRACE, true).missing.to_string(), "4-9, 11");
        assert!(run.never["unused"].contains(2));
    }

    #[test]
    fn a_late_heartbeat_that_was_acknowledged_is_silent_until_another_comes() {
        let mut run = run([1]);
        run.heartbeat(1, &facts(0, 0, Ranges::default(), &[]));
        let judged = run.judge(9 * DAY, true);
        assert!(judged.late.is_some());
        run.acknowledge(&judged);
        assert_eq!(run.judge(9 * DAY, true).late, None);
        run.arrive(2, digests(2, ""), SystemTime::UNIX_EPOCH);
        run.heartbeat(2, &facts(9 * DAY, 1, Ranges::default(), &[]));
        assert!(run.judge(20 * DAY, true).late.is_some());
    }
}
