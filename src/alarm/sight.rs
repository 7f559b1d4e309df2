//! What is told of the daemon: a state and a few numbers, no name and no foreign word.

use crate::status::{State, Status, seconds_now};

/// How the daemon looked at a moment.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Well, or not.
    pub state: State,
    /// Messages that wait.
    waiting: usize,
    /// Minutes that the oldest of them has waited.
    oldest: u64,
    held: usize,
    /// In `failed/` and `damaged/`.
    undeliverable: usize,
    relays: usize,
    relays_in_trouble: usize,
    /// It did not say how it is.
    is_silent: bool,
}

impl Sight {
    /// What `status` says.
    pub fn of(status: &Status) -> Self {
        let spool = &status.spool;
        Self {
            state: status.state,
            waiting: spool.queued,
            oldest: spool.oldest.map_or(0, |oldest| seconds_now().saturating_sub(oldest) / 60),
            held: spool.held,
            undeliverable: spool.failed + spool.damaged,
            relays: status.relays.len(),
            relays_in_trouble: status.relays.iter().filter(|relay| relay.trouble.is_some()).count(),
            is_silent: false,
        }
    }

    /// The same with the state that is to be told.
    pub fn with(self, state: State) -> Self {
        Self { state, ..self }
    }

    /// The file system of the spool does not answer.
    pub fn of_silence() -> Self {
        Self { state: State::Broken, is_silent: true, ..Self::default() }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        if self.is_silent {
            return "the spool's disk does not answer".to_owned();
        }
        let oldest = if self.waiting == 0 { String::new() } else { format!(", the oldest for {} min", self.oldest) };
        format!(
            "{} waiting{oldest}; {} held, {} undeliverable; {} of {} relay host(s) in trouble",
            self.waiting, self.held, self.undeliverable, self.relays_in_trouble, self.relays
        )
    }

    /// For programs, on one line.
    pub fn fields(&self) -> String {
        if self.is_silent {
            return "disk=silent".to_owned();
        }
        format!(
            "waiting={}, oldest_minutes={}, held={}, undeliverable={}, relays={}, relays_in_trouble={}",
            self.waiting, self.oldest, self.held, self.undeliverable, self.relays, self.relays_in_trouble
        )
    }
}
