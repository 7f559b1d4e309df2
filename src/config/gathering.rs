//! `[recipient.flood]` and `release`: alerts that are gathered into digests before they go.

use std::time::Duration;

/// How a flood is gathered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flood {
    /// Alerts that go singly within a window; further ones wait for its end.
    pub burst: usize,
    /// How long a window is.
    pub window: Duration,
    /// Alerts of this level or a higher one go at once.
    pub urgent_level: u32,
    /// For how long repeats of a rule at a location are only counted; `None` for not at all.
    pub realert: Option<Duration>,
}

/// When messages go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Release {
    /// As soon as they are there.
    #[default]
    Immediate,
    /// One in each slot, whether or not there is news.
    InSlots(Slots),
}

/// Slots of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// How long each is; they are aligned to the clock.
    pub every: Duration,
    /// The size of every message, octets.
    pub size: usize,
    /// Alerts of this level or a higher one go at once; `None`: all wait.
    pub urgent_level: Option<u32>,
}

impl Release {
    /// Its slots.
    pub fn slots(&self) -> Option<&Slots> {
        match self {
            Self::Immediate => None,
            Self::InSlots(slots) => Some(slots),
        }
    }
}
