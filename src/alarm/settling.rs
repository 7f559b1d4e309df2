//! What of a state that comes and goes is worth telling.
//!
//! A state that has lasted for the set time is told, whichever way it went. A worse state that comes and goes is told too,
//! once it has come back within that time of calm for so long: a relay host that flaps is in trouble. A better one is told
//! only when it has lasted, so that flapping is told once and not at every turn.

use std::time::{Duration, Instant};

use crate::status::State;

/// Finds the state that lasts.
pub struct Settling {
    settled: State,
    /// Whether this process has seen a state that lasted. Before that the settled one is what an earlier process left.
    is_sure: bool,
    /// What was seen last, and since when.
    last: (State, Instant),
    /// Since when it has not been calm: a worse state was seen, and since then the settled one has not lasted.
    uneasy_since: Option<Instant>,
}

impl Settling {
    /// Begins where an earlier process ended.
    pub fn new(settled: State, now: Instant) -> Self {
        Self { settled, is_sure: false, last: (settled, now), uneasy_since: None }
    }

    /// `state` is seen at `now`; the state that has lasted for `settle`, if any has in this process.
    pub fn observe(&mut self, state: State, now: Instant, settle: Duration) -> Option<State> {
        if state != self.last.0 {
            self.last = (state, now);
        }
        let since = self.last.1;
        let mut lasts = now.duration_since(since) >= settle;
        if state > self.settled && !lasts {
            let uneasy_since = *self.uneasy_since.get_or_insert(since);
            lasts = now.duration_since(uneasy_since) >= settle;
        }
        if lasts {
            (self.settled, self.is_sure, self.uneasy_since) = (state, true, None);
        }
        self.is_sure.then_some(self.settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Broken, Degraded, Ok};

    const SETTLE: Duration = Duration::from_secs(60);

    /// What is told of these states, seen every ten seconds.
    fn told(first: State, seen: &[State]) -> Vec<(usize, State)> {
        let start = Instant::now();
        let mut settling = Settling::new(first, start);
        let mut told = vec![(0, first)];
        for (nth, state) in seen.iter().enumerate() {
            let now = start + Duration::from_secs(10) * u32::try_from(nth).expect("a few");
            let settled = settling.observe(*state, now, SETTLE).unwrap_or(first);
            if told.last().is_some_and(|(_, last)| *last != settled) {
                told.push((nth, settled));
            }
        }
        told.split_off(1)
    }

    #[test]
    fn a_hiccup_is_not_told_and_what_lasts_is() {
        let hiccup = [Ok, Degraded, Degraded, Ok, Ok, Ok, Ok, Ok, Ok, Ok, Degraded, Ok, Ok];
        assert_eq!(told(Ok, &hiccup), []);
        let outage = [[Ok; 3].as_slice(), &[Degraded; 9], &[Ok; 9]].concat();
        assert_eq!(told(Ok, &outage), [(9, Degraded), (18, Ok)]);
        assert_eq!(told(Degraded, &[Broken; 9]), [(6, Broken)]);
    }

    #[test]
    fn flapping_is_told_once_and_its_end_once() {
        let flapping = [Degraded, Ok, Ok, Ok, Degraded, Ok, Ok].repeat(10);
        let calm = [flapping.as_slice(), &[Ok; 9]].concat();
        assert_eq!(told(Ok, &calm), [(7, Degraded), (74, Ok)]);
    }

    #[test]
    fn what_changed_over_a_restart_is_told_when_it_has_lasted() {
        assert_eq!(told(Degraded, &[Ok; 9]), [(6, Ok)]);
        assert_eq!(told(Degraded, &[Ok; 3]), [], "a process that dies soon tells nothing");
        assert_eq!(told(Degraded, &[Degraded; 9]), []);
    }

    #[test]
    fn without_a_time_to_settle_everything_is_told_at_once() {
        let (start, mut settling) = (Instant::now(), Settling::new(Ok, Instant::now()));
        for state in [Degraded, Ok, Broken, Degraded] {
            assert_eq!(settling.observe(state, start, Duration::ZERO), Some(state));
        }
    }

    #[test]
    fn nothing_is_sure_before_this_process_has_seen_it_last() {
        let start = Instant::now();
        let mut settling = Settling::new(Degraded, start);
        assert_eq!(settling.observe(Degraded, start + SETTLE / 2, SETTLE), None);
        assert_eq!(settling.observe(Degraded, start + SETTLE, SETTLE), Some(Degraded));
    }
}
