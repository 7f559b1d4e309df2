//! How many messages a relay host may get in an hour and in a day: providers block accounts that send more.
//!
//! A quarter of the cap may go at once, so that a single alert never waits; the rest is spread evenly. In no hour (or
//! day) more than the cap is sent. What does not fit waits; nothing is dropped.
//!
//! Guarantees: the cap holds over reloads and restarts (the state is kept by [`Cap::keep`]; a crash forgets at most what
//! was sent since). A clock that jumps forward frees the cap; one that jumps back cannot block it for longer than two of
//! its periods.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The caps of one relay host.
pub struct Cap {
    paces: Mutex<Vec<Pace>>,
    /// Something was sent since it was kept.
    changed: AtomicBool,
}

/// One cap, by the generic cell rate algorithm: one moment says all.
#[derive(Clone)]
struct Pace {
    period: Duration,
    /// Between two messages, once the burst is used up.
    interval: Duration,
    /// How far the moment below may lie ahead.
    tolerance: Duration,
    /// When all that was sent would have gone at the even pace.
    paid_until: SystemTime,
}

impl Pace {
    fn new(period: Duration, cap: u32) -> Self {
        let burst = (cap / 4).max(1);
        // In no period more than the burst and what the even pace adds to it; rounded up, so that the last one of a
        // period does not slip in.
        let interval = period / (cap - burst + 1) + Duration::from_nanos(1);
        Self { period, interval, tolerance: interval * (burst - 1), paid_until: UNIX_EPOCH }
    }

    /// When the next message may go.
    fn next(&self, now: SystemTime) -> SystemTime {
        let next = self.paid_until.checked_sub(self.tolerance).unwrap_or(UNIX_EPOCH);
        // Further ahead than it can come means that the clock was set back.
        if next > now + self.period * 2 { now } else { next }
    }

    fn take(&mut self, now: SystemTime) {
        let from =
            if self.paid_until > now + self.period * 2 + self.tolerance { now } else { self.paid_until.max(now) };
        self.paid_until = from + self.interval;
    }
}

impl Cap {
    /// At most so many messages an hour and a day; what was sent `before` a reload counts.
    pub fn new(per_hour: Option<u32>, per_day: Option<u32>, before: Option<&Self>) -> Self {
        let paces = [(HOUR, per_hour), (DAY, per_day)];
        let mut paces: Vec<Pace> =
            paces.into_iter().filter_map(|(period, cap)| Some(Pace::new(period, cap?))).collect();
        for pace in &mut paces {
            let kept = before.and_then(|before| before.paces().iter().find(|p| p.period == pace.period).cloned());
            pace.paid_until = kept.map_or(UNIX_EPOCH, |kept| kept.paid_until);
        }
        Self { paces: Mutex::new(paces), changed: AtomicBool::new(false) }
    }

    /// Takes leave for one message at `now`; whether it may go.
    pub fn take(&self, now: SystemTime) -> bool {
        let mut paces = self.paces();
        let free = paces.iter().all(|pace| pace.next(now) <= now);
        if free {
            paces.iter_mut().for_each(|pace| pace.take(now));
            self.changed.store(!paces.is_empty(), Ordering::Relaxed);
        }
        free
    }

    /// How long the next message has to wait; `None` if it may go.
    pub fn wait(&self, now: SystemTime) -> Option<Duration> {
        self.next(now).duration_since(now).ok().filter(|wait| !wait.is_zero())
    }

    /// Until when messages wait, seconds since 1970; `None` if they do not.
    pub fn until(&self, now: SystemTime) -> Option<u64> {
        self.wait(now)?;
        Some(seconds(self.next(now)))
    }

    /// Whether anything was sent under a cap since the last call.
    pub fn has_changed(&self) -> bool {
        self.changed.swap(false, Ordering::Relaxed)
    }

    /// What has to outlive the process: for each period in seconds, the moment that says all.
    pub fn keep(&self) -> Vec<(u64, u64)> {
        self.paces().iter().map(|pace| (pace.period.as_secs(), seconds(pace.paid_until) + 1)).collect()
    }

    /// Takes up what was kept.
    pub fn take_up(&self, kept: &[(u64, u64)]) {
        for pace in self.paces().iter_mut() {
            let of_this = kept.iter().find(|(period, _)| *period == pace.period.as_secs());
            let paid = of_this.and_then(|(_, paid)| UNIX_EPOCH.checked_add(Duration::from_secs(*paid)));
            pace.paid_until = paid.unwrap_or(pace.paid_until);
        }
    }

    fn next(&self, now: SystemTime) -> SystemTime {
        self.paces().iter().map(|pace| pace.next(now)).max().unwrap_or(UNIX_EPOCH)
    }

    fn paces(&self) -> MutexGuard<'_, Vec<Pace>> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    /// The moments, in seconds, at which messages go that always wait.
    fn sent(cap: &Cap, until: u64) -> Vec<u64> {
        let mut sent = Vec::new();
        let mut now = 0;
        while now < until {
            while cap.take(at(now)) {
                sent.push(now);
            }
            now += cap.wait(at(now)).map_or(1, |wait| wait.as_secs().max(1));
        }
        sent
    }

    proptest! {
        #[test]
        fn no_hour_and_no_day_has_more_than_its_cap(per_hour in 1_u32..400, per_day in 1_u32..3000) {
            let sent = sent(&Cap::new(Some(per_hour), Some(per_day), None), 2 * 24 * 3600);
            for (period, cap) in [(3600, per_hour), (24 * 3600, per_day)] {
                for (nth, first) in sent.iter().enumerate() {
                    let within = sent[nth..].iter().take_while(|moment| **moment < first + period).count();
                    prop_assert!(within <= cap as usize, "{within} in {period} s, the cap is {cap}");
                }
            }
        }
    }

    #[test]
    fn a_quarter_may_go_at_once_and_the_rest_evenly_up_to_nearly_the_cap() {
        let sent = sent(&Cap::new(Some(100), None, None), 3600);
        assert_eq!(sent.iter().filter(|moment| **moment == 0).count(), 25);
        assert!((98..=100).contains(&sent.len()), "{}", sent.len());
    }

    #[test]
    fn without_a_cap_nothing_waits() {
        let cap = Cap::new(None, None, None);
        assert!((0..10_000).all(|_| cap.take(at(0))));
        assert_eq!((cap.wait(at(0)), cap.until(at(0))), (None, None));
    }

    #[test]
    fn what_was_sent_counts_after_a_reload_and_after_a_restart() {
        let cap = Cap::new(Some(4), None, None);
        assert!(cap.take(at(0)) && !cap.take(at(0)));
        assert!(!Cap::new(Some(4), None, Some(&cap)).take(at(0)));
        let restarted = Cap::new(Some(4), None, None);
        restarted.take_up(&cap.keep());
        assert!(!restarted.take(at(0)) && restarted.take(at(1300)));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_block_a_relay_host() {
        let cap = Cap::new(Some(1), None, None);
        assert!(cap.take(at(365 * 24 * 3600)));
        assert!(cap.take(at(0)));
    }

    #[test]
    fn a_cap_of_one_is_one() {
        assert_eq!(
            sent(&Cap::new(Some(1), None, None), 2 * 3600 + 10),
            [0, 3601, 7202],
            "a moment above the hour, so that none slips in"
        );
    }
}
