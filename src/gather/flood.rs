//! One recipient's floods: what goes at once, what waits for the end of the window, what is only counted.
//!
//! A window begins with the first alert that is behind the last one. Up to `burst` alerts go singly in it, the rest waits
//! for its end. A repeat of a rule at a location within `realert` of the one that was delivered is counted; the count goes
//! with the next digest, at the latest when that time is over.

use std::collections::HashMap;
use std::time::Instant;

use super::gist::{Gist, Key};
use super::parked::{Entry, Fate, Kept, Parked};
use crate::config;
use crate::envelope::QueueId;
use crate::mail::Note;

/// Rules at locations that are remembered; others are never repeats.
const KEYS_LIMIT: usize = 4096;

/// What waits, and what was seen.
pub struct Flood {
    settings: config::Flood,
    /// The end of the window, and the alerts that came in it.
    window: Option<(Instant, usize)>,
    /// Until when repeats are counted.
    known: HashMap<Key, Instant>,
    kept: Kept,
    /// The end of the window in which the first text came that waits: a later window must not put it off.
    text_due: Option<Instant>,
    /// When a count must be told.
    count_due: Option<Instant>,
}

impl Flood {
    pub fn new(settings: config::Flood) -> Self {
        let (window, known, kept) = (None, HashMap::new(), Kept::default());
        Self { settings, window, known, kept, text_due: None, count_due: None }
    }

    /// The same under other settings: what waits goes on waiting, for no longer than it would have.
    pub fn adjusted(mut self, settings: &config::Flood) -> Self {
        if self.settings != *settings {
            self.window = None;
            self.known.clear();
            self.settings = settings.clone();
        }
        self
    }

    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// All that waits becomes digests at once.
    pub fn hurry(&mut self, now: Instant) {
        self.text_due = Some(now);
    }

    /// What becomes of a mail that comes at `now`; it `has_room` if it may be kept.
    pub fn decide(&mut self, gist: &Gist, notes: &[Note], has_room: bool, now: Instant) -> Fate {
        if gist.highest >= self.settings.urgent_level {
            return Fate::Send;
        }
        // What was noticed of a mail is told with it.
        let key = gist.key().filter(|_| notes.is_empty());
        if has_room && key.is_some_and(|key| self.known.get(key).is_some_and(|until| now < *until)) {
            return Fate::Count;
        }
        let window = self.window.filter(|(end, _)| now < *end);
        let (end, arrivals) = window.unwrap_or((now + self.settings.window, 0));
        self.window = Some((end, arrivals + 1));
        if arrivals < self.settings.burst || !has_room { Fate::Send } else { Fate::Park }
    }

    /// An entry is durable. Not before that a repeat may rest on it.
    pub fn stored(&mut self, id: QueueId, fate: Fate, parked: Parked, now: Instant) {
        match (fate, parked.key().cloned()) {
            (Fate::Count, key) => {
                let until = key.and_then(|key| self.known.get(&key).copied()).unwrap_or(now);
                self.count_due = Some(self.count_due.map_or(until, |due| due.min(until)));
            }
            (Fate::Send | Fate::Park, Some(key)) => self.know(key, now),
            (Fate::Send | Fate::Park, None) => {}
        }
        if fate.waits() {
            // Its window may have ended, and been taken, while it was sealed: then it is due now.
            let end = (fate == Fate::Park).then(|| self.window.map_or(now, |(end, _)| end));
            self.text_due = self.text_due.or(end);
            self.kept.push(id, parked);
        }
    }

    fn know(&mut self, key: Key, now: Instant) {
        let Some(realert) = self.settings.realert else { return };
        if self.known.len() >= KEYS_LIMIT {
            self.known.retain(|_, until| now < *until);
        }
        // The time runs from the one that was delivered: repeats do not make it longer.
        let is_known = self.known.get(&key).is_some_and(|until| now < *until);
        if !is_known && self.known.len() < KEYS_LIMIT {
            self.known.insert(key, now + realert);
        }
    }

    /// When a digest is due.
    pub fn due(&self) -> Option<Instant> {
        self.text_due.into_iter().chain(self.count_due).min()
    }

    /// Takes all that waits.
    pub fn take(&mut self, now: Instant) -> Vec<Entry> {
        self.window = self.window.filter(|(end, _)| now < *end);
        self.known.retain(|_, until| now < *until);
        (self.text_due, self.count_due) = (None, None);
        self.kept.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    use crate::alert::{self, Block, Kind, Location, Reading};

    fn gist(rule: u32, level: u32, doubt: Option<alert::Doubt>) -> Gist {
        let block = Block { rule, level, location: Location(b"a->/x".into()), doubt, ..Block::default() };
        Gist::of(&Reading { kind: Kind::Alerts, blocks: vec![block], doubt: None }, |_| true)
    }

    fn flood(burst: usize) -> Flood {
        let (window, realert) = (Duration::from_secs(60), Some(Duration::from_secs(3600)));
        Flood::new(config::Flood { burst, window, urgent_level: 12, realert })
    }

    fn come(flood: &mut Flood, gist: &Gist, now: Instant) -> Fate {
        let fate = flood.decide(gist, &[], true, now);
        let text = (fate == Fate::Park).then(|| b"text".to_vec());
        let parked =
            Parked { number: 1, arrival: SystemTime::now(), notes: Vec::new(), gist: Some(gist.clone()), text };
        flood.stored(QueueId::new(SystemTime::now()), fate, parked, now);
        fate
    }

    #[test]
    fn above_the_burst_alerts_wait_for_the_end_of_the_window_but_urgent_ones_never_do() {
        let (mut flood, now) = (flood(2), Instant::now());
        let fates: Vec<Fate> = (1..5).map(|rule| come(&mut flood, &gist(rule, 5, None), now)).collect();
        assert_eq!(fates, [Fate::Send, Fate::Send, Fate::Park, Fate::Park]);
        assert_eq!(come(&mut flood, &gist(9, 12, None), now), Fate::Send);
        let end = now + Duration::from_secs(60);
        assert_eq!(flood.due(), Some(end));
        assert_eq!(come(&mut flood, &gist(6, 5, None), end), Fate::Send, "a new window");
        assert_eq!(flood.due(), Some(end), "which puts nothing off");
        assert_eq!((flood.take(end).len(), flood.due()), (2, None));
    }

    #[test]
    fn what_is_stored_when_its_window_has_been_taken_is_due_at_once() {
        let (mut flood, now) = (flood(1), Instant::now());
        for rule in 1..3 {
            come(&mut flood, &gist(rule, 5, None), now);
        }
        let late = gist(3, 5, None);
        assert_eq!(flood.decide(&late, &[], true, now), Fate::Park);
        let end = now + Duration::from_secs(60);
        assert_eq!(flood.take(end).len(), 1);
        let parked = Parked { number: 3, arrival: SystemTime::now(), notes: Vec::new(), gist: Some(late), text: None };
        flood.stored(QueueId::new(SystemTime::now()), Fate::Park, parked, end);
        assert_eq!(flood.due(), Some(end), "it would wait until the next flood");
    }

    #[test]
    fn repeats_are_counted_from_the_one_that_was_delivered_and_only_if_they_are_certain() {
        let (mut flood, now) = (flood(100), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(come(&mut flood, &gist(1, 5, None), now), Fate::Send);
        assert_eq!(come(&mut flood, &gist(1, 5, None), at(1)), Fate::Count);
        assert_eq!(come(&mut flood, &gist(1, 12, None), at(1)), Fate::Send, "urgent");
        assert_eq!(come(&mut flood, &gist(1, 5, Some(alert::Doubt::Imitation)), at(2)), Fate::Send);
        let noticed = flood.decide(&gist(1, 5, None), &[Note::EarlyDot(1)], true, at(2));
        assert_eq!(noticed, Fate::Send, "what was noticed must be read");
        assert_eq!(come(&mut flood, &gist(1, 5, None), at(3000)), Fate::Count);
        assert_eq!(flood.due(), Some(at(3600)));
        assert_eq!(flood.take(at(3600)).len(), 2);
        assert_eq!(come(&mut flood, &gist(1, 5, None), at(3600)), Fate::Send, "repeats did not make it longer");
    }

    #[test]
    fn what_there_is_no_room_for_goes_singly_and_hurry_makes_room() {
        let (mut flood, now) = (flood(1), Instant::now());
        come(&mut flood, &gist(1, 5, None), now);
        assert_eq!(flood.decide(&gist(2, 5, None), &[], false, now), Fate::Send);
        assert_eq!(flood.decide(&gist(1, 5, None), &[], false, now), Fate::Send, "a repeat");
        assert_eq!(come(&mut flood, &gist(2, 5, None), now), Fate::Park);
        flood.hurry(now);
        assert_eq!((flood.due(), flood.take(now).len()), (Some(now), 1));
    }

    #[test]
    fn other_settings_put_nothing_off_and_lose_nothing() {
        let (mut flood, now) = (flood(1), Instant::now());
        for rule in 1..4 {
            come(&mut flood, &gist(rule, 5, None), now);
        }
        let end = now + Duration::from_secs(60);
        let settings = config::Flood { window: Duration::from_secs(3600), realert: None, ..flood.settings.clone() };
        let mut flood = flood.adjusted(&settings);
        assert_eq!(come(&mut flood, &gist(1, 5, None), now), Fate::Send, "repeats are not counted any more");
        assert_eq!(come(&mut flood, &gist(4, 5, None), now), Fate::Park);
        assert_eq!((flood.due(), flood.take(end).len()), (Some(end), 3));
    }
}
