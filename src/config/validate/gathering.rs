//! `[recipient.flood]` and `release`.

use std::time::Duration;

use super::accept::LEVEL;
use super::{HOUR, KIB, MIB, Validator};
use crate::config::raw::{RawFlood, RawRelease};
use crate::config::{ConfigError, Flood, Format, Recipient, Release, Slots};

/// Alerts of a burst.
const BURST: std::ops::RangeInclusive<usize> = 1..=100_000;
/// Seconds: what waits longer than an hour is no alert any more.
const WINDOW: std::ops::RangeInclusive<u64> = 1..=HOUR;
/// Seconds: counts are told once a day at least.
const REALERT: std::ops::RangeInclusive<u64> = 1..=24 * HOUR;
const SLOT: std::ops::RangeInclusive<u64> = 1..=24 * HOUR;
/// So many slots at least must lie between two heartbeats.
const SLOTS_OF_A_HEARTBEAT: u32 = 4;
/// Octets: the least size class, and what every relay host takes.
const SIZE: std::ops::RangeInclusive<usize> = 16 * KIB..=8 * MIB;

impl Validator<'_> {
    pub(super) fn flood(&self, raw: Option<RawFlood>, of: &str) -> Result<Option<Flood>, ConfigError> {
        let Some(raw) = raw else { return Ok(None) };
        let key = |name: &str| format!("{of}.{name}");
        Ok(Some(Flood {
            burst: self.within(&key("burst"), raw.burst.unwrap_or(20), BURST)?,
            window: self.duration(&key("window"), raw.window, "1m", WINDOW)?,
            urgent_level: self.urgent_level(&key("urgent_level"), raw.urgent_level.unwrap_or(12))?,
            realert: self.realert(&key("realert"), raw.realert)?,
        }))
    }

    fn realert(&self, key: &str, raw: Option<String>) -> Result<Option<Duration>, ConfigError> {
        match raw.as_deref() {
            Some("off") => Ok(None),
            Some(text) if humantime::parse_duration(text).is_err() => {
                let what = format!("{text:?} is neither a duration nor \"off\"");
                Err(self.wrong(key, what, "Write it with its unit: 15m, 1h."))
            }
            _ => self.duration(key, raw, "1h", REALERT).map(Some),
        }
    }

    pub(super) fn release(&self, raw: Option<RawRelease>, of: &str) -> Result<Release, ConfigError> {
        let Some(RawRelease::InSlots(raw)) = raw else { return Ok(Release::Immediate) };
        let key = |name: &str| format!("{of}.{name}");
        let urgent = raw.urgent_level.map(|level| self.urgent_level(&key("urgent_level"), level));
        Ok(Release::InSlots(Slots {
            every: self.duration(&key("slots"), Some(raw.slots), "", SLOT)?,
            size: self.size(&key("size"), raw.size, "64KiB", SIZE)?,
            urgent_level: urgent.transpose()?,
        }))
    }

    /// Level 0 is never mailed; above the highest none would be urgent.
    fn urgent_level(&self, key: &str, level: u32) -> Result<u32, ConfigError> {
        if (1..=LEVEL).contains(&level) {
            return Ok(level);
        }
        let what = format!("there is no level {level}");
        Err(self.wrong(key, what, format!("Levels go from 1 to {LEVEL}; the one here and higher ones go at once.")))
    }

    /// A heartbeat takes a slot, and while there is news every other slot is for what is not news: heartbeats that come
    /// faster than that would wait for ever longer, and everything else behind them.
    pub(super) fn refuse_slots_too_long(&self, recipient: &Recipient, heartbeat: Duration) -> Result<(), ConfigError> {
        let Some(slots) = recipient.release.slots() else { return Ok(()) };
        if heartbeat >= slots.every * SLOTS_OF_A_HEARTBEAT {
            return Ok(());
        }
        let [every, heartbeat] = [slots.every, heartbeat].map(humantime::format_duration);
        let what = format!("slots of {every} are too long for heartbeats every {heartbeat}, each of which takes one");
        let hint = format!("Make the slots shorter or heartbeat.every longer: {SLOTS_OF_A_HEARTBEAT} slots at least.");
        Err(self.wrong(format!("recipient {}: release", recipient.address), what, hint))
    }

    /// Settings that would undo each other.
    pub(super) fn refuse_idle_gathering(&self, recipient: &Recipient) -> Result<(), ConfigError> {
        let key = |name: &str| format!("recipient {}: {name}", recipient.address);
        let in_slots = recipient.release.slots().is_some();
        if recipient.flood.is_some() && in_slots {
            let what = "its messages go in slots, which gather everything already";
            return Err(self.wrong(key("flood"), what, "Remove [recipient.flood], or release."));
        }
        if recipient.flood.is_some() && recipient.fixed.is_some() {
            let what = "it gets a fixed text, of which no flood can come";
            return Err(self.wrong(
                key("flood"),
                what,
                "Remove [recipient.flood]; fixed.every says how often it comes.",
            ));
        }
        if in_slots && recipient.format == Format::Inline {
            let what = "inline messages cannot all be filled up to one size";
            return Err(self.wrong(key("release"), what, "Set format = \"pgp-mime\", or remove release."));
        }
        Ok(())
    }
}
