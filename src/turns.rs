//! Whose turn it is to get a fixed text: at most one in `every`, remembered over restarts.
//!
//! Guarantees: nobody gets two within the time, but for a crash between storing a message and remembering it, or a file
//! that cannot be written, which may bring one more. On failure no alert is touched: fixed texts stand for alerts that
//! others get whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::maillog;
use crate::spool::replace;

/// When each recipient last got its text, seconds since 1970.
type Last = BTreeMap<String, u64>;

/// What is remembered.
pub struct Turns {
    file: PathBuf,
    last: Mutex<Last>,
}

/// A turn that was taken. Unless it is [`Turn::used`], it is given back.
pub struct Turn<'a> {
    turns: &'a Turns,
    recipient: String,
    before: Option<u64>,
    used: bool,
}

impl Turns {
    /// Reads what is remembered in `state`.
    pub fn open(state: &Path) -> Self {
        let file = state.join("fixed.json");
        let last = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok());
        Self { file, last: Mutex::new(last.unwrap_or_default()) }
    }

    /// Takes the turn of `recipient`, who gets one text in `every`; `None` while it is not due.
    pub fn take(&self, recipient: &str, every: Duration, now: SystemTime) -> Option<Turn<'_>> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let mut last = self.last();
        // A clock that was set back must not silence it for long.
        let is_due = last.get(recipient).is_none_or(|last| now.abs_diff(*last) >= every.as_secs());
        is_due.then(|| {
            let before = last.insert(recipient.to_owned(), now);
            Turn { turns: self, recipient: recipient.to_owned(), before, used: false }
        })
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The text is durable in the spool.
    pub fn used(mut self) {
        self.used = true;
        // Two at once would be in each other's way, and the later file must be the later state.
        let last = self.turns.last();
        let kept = serde_json::to_vec(&*last).map_err(std::io::Error::from);
        if let Err(error) = kept.and_then(|json| replace(&self.turns.file, &json)) {
            maillog::hindered("fixed.json cannot be written", &error.to_string());
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.used {
            let mut last = self.turns.last();
            match self.before {
                Some(before) => _ = last.insert(self.recipient.clone(), before),
                None => _ = last.remove(&self.recipient),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_comes_once_in_its_time_over_restarts_and_one_that_is_not_used_comes_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds);
        let day = Duration::from_secs(86_400);
        let turns = Turns::open(folder.path());
        drop(turns.take("a@b", day, at(0)).expect("due"));
        turns.take("a@b", day, at(1)).expect("due: the first was not used").used();
        assert!(turns.take("a@b", day, at(86_400)).is_none());
        assert!(turns.take("c@d", day, at(2)).is_some());
        let turns = Turns::open(folder.path());
        assert!(turns.take("a@b", day, at(86_400)).is_none());
        assert!(turns.take("a@b", day, at(86_401)).is_some());
        assert!(turns.take("a@b", day, UNIX_EPOCH).is_some(), "a clock set back");
    }

    #[test]
    fn turns_that_are_used_at_once_are_all_remembered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let day = Duration::from_secs(86_400);
        let now = UNIX_EPOCH + day * 20_000;
        let (turns, names) = (Turns::open(folder.path()), (0..32).map(|nth| format!("{nth}@b")));
        let names: Vec<String> = names.collect();
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| turns.take(name, day, now).expect("due").used());
            }
        });
        let turns = Turns::open(folder.path());
        assert!(names.iter().all(|name| turns.take(name, day, now).is_none()));
    }
}
