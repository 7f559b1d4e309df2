//! What became of the last messages, so that whoever sent one can ask (`check --send-test`). In memory, bounded, and
//! nothing in it that the log has not too.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::envelope::QueueId;

/// So many are remembered.
const REMEMBERED: usize = 256;

/// The outcome of an attempt on a message.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The message.
    pub queue_id: String,
    /// Whom it is for.
    pub recipient: String,
    /// The relay host.
    pub relay: String,
    /// `sent`, `deferred`, `undeliverable` or `expired`, as in the log.
    pub status: String,
    /// What the relay host said, or what went wrong.
    pub reply: String,
    /// What to do about it, if anything.
    pub advice: Option<String>,
}

/// The last of them.
#[derive(Default, Debug)]
pub struct Recent(Mutex<VecDeque<Settled>>);

impl Recent {
    /// Remembers the outcome of `id`; an earlier one is forgotten.
    pub fn settled(&self, id: &QueueId, settled: Settled) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|other| other.queue_id != id.as_str());
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(settled);
    }

    /// All that is remembered.
    pub fn list(&self) -> Vec<Settled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_outcome_of_each_of_the_last_messages_is_remembered() {
        let recent = Recent::default();
        let settle = |id: &QueueId, status: &str| {
            let settled = Settled {
                queue_id: id.to_string(),
                recipient: String::new(),
                relay: String::new(),
                status: status.to_owned(),
                reply: String::new(),
                advice: None,
            };
            recent.settled(id, settled);
        };
        let first = QueueId::new(std::time::SystemTime::now());
        settle(&first, "deferred");
        settle(&first, "sent");
        assert_eq!(recent.list().iter().map(|one| one.status.as_str()).collect::<Vec<_>>(), ["sent"]);
        for _ in 0..REMEMBERED {
            settle(&QueueId::new(std::time::SystemTime::now()), "sent");
        }
        assert_eq!(recent.list().len(), REMEMBERED);
        assert!(recent.list().iter().all(|one| one.queue_id != first.as_str()));
    }
}
