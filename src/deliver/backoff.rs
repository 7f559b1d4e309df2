//! When to try again: exponential with jitter, 30 s to 1 h; one timer for a relay host, one for each message.
//!
//! Guarantees: no delay is above [`LONGEST_BACKOFF`]; two messages that wait for the same trouble are spread.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::envelope::random;
use crate::spool::LONGEST_BACKOFF;

/// The first delay.
const FIRST: Duration = Duration::from_secs(30);
/// The least delay after a login was refused: providers lock accounts that repeat it.
pub const AFTER_LOGIN: Duration = Duration::from_secs(15 * 60);
/// The delay for what an operator has to repair.
pub const AFTER_SETTING: Duration = Duration::from_secs(3600);

/// The delay after attempt number `attempts` (from 1) did not succeed.
pub fn delay(attempts: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
    jittered(doubled.min(LONGEST_BACKOFF))
}

/// `delay` less up to a fifth of it.
pub fn jittered(delay: Duration) -> Duration {
    let [octet] = random();
    delay - delay.mul_f64(f64::from(octet) / 255.0 / 5.0)
}

/// Seconds since 1970, `delay` from `now`.
pub fn seconds_at(now: SystemTime, delay: Duration) -> u64 {
    (now + delay).duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_from_half_a_minute_to_an_hour_and_stay_there() {
        for (attempts, seconds) in [(1, 30), (2, 60), (3, 120), (8, 3600), (9, 3600), (40, 3600), (u32::MAX, 3600)] {
            let delay = delay(attempts).as_secs_f64();
            let seconds = f64::from(seconds);
            assert!((seconds * 0.8..=seconds).contains(&delay), "attempt {attempts}: {delay}");
        }
    }
}
