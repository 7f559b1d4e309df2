//! What was counted in the last hour and day, and when each relay host last took a message: over restarts too.
//!
//! Once a minute the counters are noted; what they have more now than then is what happened since. Nothing is written on
//! the way of an alert. Between two notes time is measured by a clock that nobody sets. Over a restart only the wall clock
//! tells how long the daemon was away: one that was set forward meanwhile makes it forget early, one that was set back
//! makes it count what is a little older.
//!
//! Guarantees: bounded, in memory and in `activity.json`, whatever happens. The file is a hint and not synced: a crash
//! forgets what was counted since the last minute, and the heartbeats' totals have it. On failure to read it the last day
//! begins now. An attacker who can make alerts can raise these numbers and do no more.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::maillog;
use crate::spool::replace_hint;
use crate::status::{Counts, RelayStatus, seconds_now};

/// In minutes, as everything in a [`Past`].
const HOUR: u64 = 60;
const DAY: u64 = 24 * HOUR;
/// What is older than an hour is kept at these steps.
const STEP: u64 = 5;

/// The last day of this relay.
pub struct Activity {
    file: PathBuf,
    began: Instant,
    /// What earlier processes counted, as far as it is remembered.
    before: Counts,
    past: Mutex<Past>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

/// What was counted up to some minutes, oldest first. The process began at minute [`DAY`], so that what was before has a
/// number too.
#[derive(Default)]
struct Past {
    notes: VecDeque<(u64, Counts)>,
    /// When each relay host last took a message, seconds since 1970.
    relays: BTreeMap<String, u64>,
}

/// The file.
#[derive(Serialize, Deserialize, Default)]
struct Kept {
    /// Seconds since 1970.
    written: u64,
    /// How many minutes before that, and what had been counted by then; oldest first.
    past: VecDeque<(u64, Counts)>,
    relays: BTreeMap<String, u64>,
}

impl Activity {
    /// Takes up what an earlier process kept in `state`.
    pub fn open(state: &Path) -> Self {
        let file = state.join("activity.json");
        let kept: Option<Kept> = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let past = Past::take_up(kept.unwrap_or_default(), seconds_now());
        let before = past.notes.back().map(|(_, counts)| counts.clone()).unwrap_or_default();
        Self { file, began: Instant::now(), before, past: Mutex::new(past), writing: Mutex::default() }
    }

    /// Notes what this process has counted by now. To be called every minute.
    pub fn note(&self, counts: &Counts, relays: &[RelayStatus]) {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let mut past = self.past();
        let is_news = past.note(now, self.before.plus(counts), relays);
        let kept = past.keep(now, seconds_now());
        drop(past);
        // A daemon that has nothing to do leaves the disk alone.
        let written = is_news.then(|| serde_json::to_vec(&kept).map_err(std::io::Error::from));
        if let Some(Err(error)) = written.map(|json| json.and_then(|json| replace_hint(&self.file, &json))) {
            maillog::hindered("activity.json cannot be written", &error.to_string());
        }
    }

    /// What happened in the last hour and in the last day, when this process has counted `counts`.
    pub fn last(&self, counts: &Counts) -> (Counts, Counts) {
        let (total, now) = (self.before.plus(counts), self.now());
        let past = self.past();
        (past.within(HOUR, now, &total), past.within(DAY, now, &total))
    }

    /// When `relay` last took a message, seconds since 1970, as an earlier process kept it.
    pub fn last_success(&self, relay: &str) -> Option<u64> {
        self.past().relays.get(relay).copied()
    }

    fn now(&self) -> u64 {
        DAY + self.began.elapsed().as_secs() / 60
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    fn take_up(kept: Kept, now: u64) -> Self {
        let away = now.saturating_sub(kept.written) / 60;
        let notes = kept.past.into_iter().map(|(age, counts)| (DAY.saturating_sub(age.saturating_add(away)), counts));
        let mut past = Self { notes: notes.collect(), relays: kept.relays };
        past.thin(DAY);
        past
    }

    /// Whether there was anything to note.
    fn note(&mut self, now: u64, total: Counts, relays: &[RelayStatus]) -> bool {
        let relays: BTreeMap<String, u64> =
            relays.iter().filter_map(|relay| Some((relay.relay.clone(), relay.last_success?))).collect();
        let is_new = self.notes.back().is_none_or(|(_, counts)| *counts != total);
        if is_new {
            self.notes.push_back((now, total));
        }
        self.thin(now);
        std::mem::replace(&mut self.relays, relays) != self.relays || is_new
    }

    /// Drops what no window begins with any more.
    fn thin(&mut self, now: u64) {
        while self.notes.get(1).is_some_and(|(minute, _)| minute + DAY <= now) {
            self.notes.pop_front();
        }
        // Always the last one of a step: what was counted by its end. The first of all is where the day begins.
        let next = |nth: usize| self.notes.get(nth + 1).map(|(minute, _)| minute / STEP);
        let keep: Vec<bool> = self
            .notes
            .iter()
            .enumerate()
            .map(|(nth, (minute, _))| nth == 0 || minute + HOUR + STEP > now || next(nth) != Some(minute / STEP))
            .collect();
        let mut keep = keep.into_iter();
        self.notes.retain(|_| keep.next().unwrap_or(true));
    }

    /// What of `total` was counted in the last `minutes`.
    fn within(&self, minutes: u64, now: u64, total: &Counts) -> Counts {
        let begin = self.notes.iter().rev().find(|(minute, _)| minute + minutes <= now);
        // Without a note that old, nothing had been counted by then.
        total.since(begin.map_or(&Counts::default(), |(_, counts)| counts))
    }

    fn keep(&self, now: u64, written: u64) -> Kept {
        let past = self.notes.iter().map(|(minute, counts)| (now.saturating_sub(*minute), counts.clone()));
        Kept { written, past: past.collect(), relays: self.relays.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(accepted: u64) -> Counts {
        Counts { accepted, ..Counts::default() }
    }

    /// One alert a minute for so many minutes.
    fn busy(minutes: u64) -> Past {
        let mut past = Past::default();
        for minute in 0..=minutes {
            past.note(DAY + minute, accepted(minute), &[]);
        }
        past
    }

    fn of(past: &Past, now: u64, total: u64) -> (u64, u64) {
        let within = |minutes| past.within(minutes, now, &accepted(total)).accepted;
        (within(HOUR), within(DAY))
    }

    #[test]
    fn what_is_young_counts_and_what_is_older_does_not() {
        let past = busy(50);
        assert_eq!(of(&past, DAY + 50, 53), (53, 53));
        assert_eq!(of(&past, DAY + 50 + HOUR, 53), (3, 53), "what was counted since the last note is of now");
        let past = busy(3 * DAY);
        assert_eq!(of(&past, 4 * DAY, 3 * DAY).0, 60);
        let day = of(&past, 4 * DAY, 3 * DAY).1;
        assert!((DAY..=DAY + STEP).contains(&day), "{day}");
        assert!(past.notes.len() as u64 <= HOUR + DAY / STEP + 2 * STEP, "{}", past.notes.len());
        assert_eq!(of(&past, 40 * DAY, 3 * DAY), (0, 0));
    }

    #[test]
    fn over_a_restart_the_time_between_counts() {
        let kept = |past: &Past, now: u64| past.keep(now, 1_800_000_000);
        let past = busy(90);
        let again = |away: u64| Past::take_up(kept(&past, DAY + 90), 1_800_000_000 + away * 60);
        assert_eq!(of(&again(0), DAY, 90), (60, 90));
        assert_eq!(of(&again(30), DAY, 90), (30, 90));
        assert_eq!(of(&again(DAY - 45), DAY, 90), (0, 45), "half of it is older than a day");
        assert_eq!(of(&again(2 * DAY), DAY, 90), (0, 0));
        // Set back: as if no time had passed.
        assert_eq!(of(&Past::take_up(kept(&past, DAY + 90), 7), DAY, 90), (60, 90));
    }

    #[test]
    fn a_file_of_nonsense_is_as_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for text in
            ["{", "{\"written\":18446744073709551615,\"past\":[[18446744073709551615,{\"sent\":5}]],\"relays\":{}}"]
        {
            std::fs::write(folder.path().join("activity.json"), text).expect("written");
            let activity = Activity::open(folder.path());
            assert_eq!(activity.last(&accepted(3)), (accepted(3), accepted(3)));
            activity.note(&accepted(3), &[]);
        }
    }
}
