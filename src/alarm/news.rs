//! What was counted is a reason to tell somebody for a while. In `status` it stays one until the daemon starts again.

use std::time::{Duration, Instant};

use crate::status::Counted;

/// What was counted is news for at least this long, and for less than twice as long.
const NEWS: Duration = Duration::from_secs(30 * 60);

/// Knows what is no news any more.
pub struct News {
    before: Counted,
    /// What was counted when the span that goes on began, and when that was.
    begun: (Counted, Instant),
}

impl News {
    /// At the start everything is.
    pub fn new(now: Instant) -> Self {
        Self { before: Counted::default(), begun: (Counted::default(), now) }
    }

    /// At `now` this is `counted`; how much of it was counted long ago.
    pub fn before(&mut self, counted: Counted, now: Instant) -> Counted {
        if now.duration_since(self.begun.1) >= NEWS {
            self.before = std::mem::replace(&mut self.begun, (counted, now)).0;
        }
        self.before.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_news_for_half_an_hour_and_for_no_more_than_an_hour() {
        let start = Instant::now();
        let mut news = News::new(start);
        let mut before = |minutes: u64, lines: u64| {
            let counted = Counted { log_lines_dropped: lines, ..Counted::default() };
            news.before(counted, start + Duration::from_secs(60 * minutes)).log_lines_dropped
        };
        assert_eq!([before(1, 5), before(29, 5), before(31, 5), before(60, 7)], [0, 0, 0, 0]);
        assert_eq!([before(61, 7), before(90, 7), before(92, 7), before(200, 7)], [5, 5, 7, 7]);
    }
}
