//! How one way to tell somebody is doing: for `status` and the metrics, and once in the log when it changes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::maillog;
use crate::status::{AlarmStatus, seconds_now};

/// How much is kept of what went wrong, characters.
const TROUBLE_LIMIT: usize = 300;

/// A channel.
pub struct Channel {
    name: &'static str,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    last_success: Option<u64>,
    trouble: Option<String>,
    withheld: Option<String>,
}

impl Channel {
    /// One of this name.
    pub fn new(name: &'static str) -> Self {
        Self { name, health: Mutex::default() }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// It was used, and this became of it.
    pub fn note(&self, to: &str, outcome: Result<(), String>) {
        let mut health = self.health();
        let was_in_trouble = health.trouble.is_some();
        match outcome {
            Ok(()) => {
                (health.trouble, health.last_success) = (None, Some(seconds_now()));
                if was_in_trouble {
                    maillog::alarm_usable(self.name, to);
                }
            }
            Err(why) => {
                if !was_in_trouble {
                    maillog::alarm_unusable(self.name, to, &why);
                }
                health.trouble = Some(why.chars().take(TROUBLE_LIMIT).collect());
            }
        }
    }

    /// It is not used, on purpose; or is again.
    pub fn withhold(&self, to: &str, why: Option<String>) {
        let mut health = self.health();
        match (&health.withheld, &why) {
            (None, Some(why)) => maillog::ping_withheld(to, why),
            (Some(_), None) => maillog::ping_resumed(to),
            _ => {}
        }
        health.withheld = why;
    }

    /// What is known of it belongs to an address that is not called any more, if `is_another`.
    pub fn forget_if(&self, is_another: bool) {
        if is_another {
            *self.health() = Health::default();
        }
    }

    /// For `status`; `to` is whom it leads to.
    pub fn status(&self, to: String) -> AlarmStatus {
        let health = self.health();
        AlarmStatus {
            channel: self.name.to_owned(),
            to,
            last_success: health.last_success,
            trouble: health.trouble.clone(),
            withheld: health.withheld.clone(),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
