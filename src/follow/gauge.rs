//! What `status` says of a followed log.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::mark::{Gap, TOLD};
use crate::maillog;
use crate::status::FollowStatus;

/// Shared by who reads the log and who asks.
pub struct Gauge(Mutex<Inner>);

struct Inner {
    status: FollowStatus,
    gap: Option<Gap>,
    /// When a line that is no alert was read last.
    odd: Option<Instant>,
    /// When the end of the log was reached last.
    reached: Instant,
}

impl Inner {
    fn is_odd_lately(&self) -> bool {
        self.odd.is_some_and(|at| at.elapsed() < TOLD)
    }
}

impl Gauge {
    /// For `log`, of which an earlier process may have found a `gap`.
    pub fn new(log: &str, gap: Option<Gap>) -> Self {
        let status = FollowStatus { log: log.to_owned(), ..FollowStatus::default() };
        Self(Mutex::new(Inner { status, gap, odd: None, reached: Instant::now() }))
    }

    /// How it is now.
    pub fn status(&self) -> FollowStatus {
        let inner = self.inner();
        let behind_seconds = if inner.status.behind_octets == 0 { 0 } else { inner.reached.elapsed().as_secs() };
        let gap = inner.gap.as_ref().and_then(Gap::told);
        let no_alerts_lately = if inner.is_odd_lately() { inner.status.no_alerts_lately } else { 0 };
        FollowStatus { behind_seconds, gap, no_alerts_lately, ..inner.status.clone() }
    }

    /// The log can be read.
    pub fn usable(&self) {
        let mut inner = self.inner();
        if inner.status.trouble.take().is_some() {
            maillog::log_usable(&inner.status.log);
        }
    }

    /// The log cannot be read, and what to do.
    pub fn trouble(&self, why: String) {
        let mut inner = self.inner();
        if inner.status.trouble.as_ref() != Some(&why) {
            maillog::log_not_usable(&inner.status.log, &why);
            inner.status.trouble = Some(why);
        }
    }

    /// Alerts in the log must wait, because ...
    pub fn waits(&self, why: String) {
        let mut inner = self.inner();
        if inner.status.waits.is_none() {
            maillog::log_waits(&inner.status.log, &why);
        }
        inner.status.waits = Some(why);
    }

    /// An alert was stored.
    pub fn stored(&self) {
        let mut inner = self.inner();
        inner.status.stored += 1;
        inner.status.waits = None;
    }

    /// So many lines were read; so many of them are no alerts.
    pub fn read(&self, lines: u64, no_alerts: u64) {
        let mut inner = self.inner();
        inner.status.lines += lines;
        if no_alerts == 0 {
            return;
        }
        if !inner.is_odd_lately() {
            maillog::log_holds_no_alerts(&inner.status.log);
            inner.status.no_alerts_lately = 0;
        }
        inner.odd = Some(Instant::now());
        inner.status.no_alerts += no_alerts;
        inner.status.no_alerts_lately += no_alerts;
    }

    /// So far behind the end, octets.
    pub fn behind(&self, octets: u64) {
        let mut inner = self.inner();
        inner.status.behind_octets = octets;
        if octets == 0 {
            inner.reached = Instant::now();
        }
    }

    /// Something of the log was not found.
    pub fn gap(&self, gap: Gap) {
        self.inner().gap = Some(gap);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_lines_are_told_for_a_day_and_counted_for_ever() {
        let gauge = Gauge::new("/log", None);
        let counted = || (gauge.status().no_alerts, gauge.status().no_alerts_lately);
        gauge.read(5, 2);
        gauge.read(9, 0);
        assert_eq!(counted(), (2, 2));
        // A machine that is up for less than a day knows no earlier moment.
        let Some(yesterday) = Instant::now().checked_sub(TOLD) else { return };
        gauge.inner().odd = Some(yesterday);
        assert_eq!(counted(), (2, 0));
        gauge.read(1, 1);
        assert_eq!(counted(), (3, 1));
    }
}
