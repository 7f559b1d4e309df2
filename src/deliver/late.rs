//! Says in the log that messages wait too long: once when the oldest has waited for an hour, again each day that it
//! lasts, and once when it is over. The rules for the IDS (`deploy/ids`) go by these lines.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::maillog;

/// What waits longer is late.
const LATE: Duration = Duration::from_secs(3600);
/// It is said again after this time.
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// What was said last.
#[derive(Default)]
pub struct Late {
    told: Option<Instant>,
}

impl Late {
    /// Looks at how many messages wait, and since when the oldest.
    pub fn look(&mut self, (waiting, oldest): (usize, Option<SystemTime>)) {
        // An arrival in the future is a clock that jumped: not late as far as anybody can tell.
        let age = oldest.and_then(|arrival| arrival.elapsed().ok()).unwrap_or_default();
        if age < LATE {
            if self.told.take().is_some() {
                maillog::late_no_more();
            }
        } else if self.told.is_none_or(|told| told.elapsed() >= AGAIN) {
            self.told = Some(Instant::now());
            maillog::late(age.as_secs() / 60, waiting);
        }
    }
}
