//! One recipient's slots: in each exactly one message of one size goes, whether or not there is news.
//!
//! Slots are aligned to the clock. While the message of a slot still waits for a relay host that is out, no other is
//! offered: when the relay host is back it gets one, not as many as there were slots or news.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::gist::Gist;
use super::parked::{Entry, Fate, Kept, Parked};
use crate::config;
use crate::envelope::QueueId;

/// A message leaves this long after its slot began: what took long to seal and what was sealed before leave alike.
pub const LEAD: Duration = Duration::from_millis(500);

/// What waits.
pub struct Slots {
    settings: config::Slots,
    next: SystemTime,
    news: Kept,
    /// Messages that go as they are: heartbeats, notices, large ones, what a crash left.
    sealed: VecDeque<QueueId>,
    /// Whose turn it is when both wait: neither must keep the other from its readers.
    news_first: bool,
    last: Option<QueueId>,
    /// The news is to be packed now.
    hurried: bool,
}

/// What a slot is for.
pub enum Turn {
    /// As much of this as there is room for.
    News(Vec<Entry>),
    /// This.
    Sealed(QueueId),
    /// A message without news.
    Nothing,
}

impl Slots {
    /// With what is `left` in the spool from before.
    pub fn new(settings: config::Slots, left: Vec<QueueId>, now: SystemTime) -> Self {
        let next = next_after(now, settings.every);
        let (news, last, hurried) = (Kept::default(), None, false);
        Self { settings, next, news, sealed: left.into(), news_first: true, last, hurried }
    }

    /// The same under other settings: what waits goes on waiting.
    pub fn adjusted(mut self, settings: &config::Slots, now: SystemTime) -> Self {
        if self.settings != *settings {
            self.next = next_after(now, settings.every);
            self.settings = settings.clone();
        }
        self
    }

    pub fn settings(&self) -> &config::Slots {
        &self.settings
    }

    pub fn next(&self) -> SystemTime {
        self.next
    }

    /// When the message of the next slot is offered.
    pub fn leaves(&self) -> SystemTime {
        self.next + LEAD.min(self.settings.every / 2)
    }

    pub fn decide(&self, gist: Option<&Gist>) -> Fate {
        let is_urgent = gist.zip(self.settings.urgent_level).is_some_and(|(gist, level)| gist.highest >= level);
        if is_urgent { Fate::Send } else { Fate::Park }
    }

    /// An entry is durable, and parked. One that cannot be kept goes as it is.
    pub fn stored(&mut self, id: QueueId, parked: Parked, has_room: bool) {
        match parked.text.is_some() && has_room {
            true => self.news.push(id, parked),
            false => self.sealed.push_back(id),
        }
    }

    pub fn add_sealed(&mut self, id: QueueId) {
        // Offered once, then held and released: it is under way no more, and must not keep itself from its slot.
        self.last.take_if(|last| *last == id);
        self.sealed.push_back(id);
    }

    /// What the slot that has come is for, if one has; `waiting` tells octets and attempts of what still lies in the queue.
    pub fn turn(&mut self, now: SystemTime, waiting: impl Fn(&QueueId) -> Option<(u64, u32)>) -> Option<Turn> {
        // Further ahead than a slot is long: the clock was set back.
        let was_set_back = self.next.duration_since(now).is_ok_and(|ahead| ahead > self.settings.every);
        if now < self.next && !was_set_back {
            return None;
        }
        self.next = next_after(now, self.settings.every);
        // What is gone must not cost a slot.
        while self.sealed.front().is_some_and(|id| waiting(id).is_none()) {
            self.sealed.pop_front();
        }
        // One that the relay host would not take for its own sake must not keep the others.
        let is_under_way = self.last.as_ref().and_then(waiting).is_some_and(|(_, attempts)| attempts == 0);
        if is_under_way || was_set_back {
            return None;
        }
        let is_news = !self.news.entries.is_empty() && (self.news_first || self.sealed.is_empty());
        if is_news {
            self.news_first = false;
            return Some(Turn::News(self.news.take()));
        }
        self.news_first = true;
        Some(self.sealed.pop_front().map_or(Turn::Nothing, Turn::Sealed))
    }

    /// Gives back what there was no room for.
    pub fn put_back(&mut self, news: Vec<Entry>) {
        let behind = self.news.take();
        news.into_iter().chain(behind).for_each(|(id, parked)| self.news.push(id, parked));
    }

    pub fn offered(&mut self, id: QueueId) {
        self.last = Some(id);
    }

    /// All the news.
    pub fn take(&mut self) -> Vec<Entry> {
        self.hurried = false;
        self.news.take()
    }

    pub fn kept(&self) -> &Kept {
        &self.news
    }

    /// What waits is to be packed into messages, to make room.
    pub fn hurry(&mut self) {
        self.hurried = true;
    }

    pub fn is_hurried(&self) -> bool {
        self.hurried
    }

    pub fn len(&self) -> usize {
        self.news.entries.len() + self.sealed.len()
    }

    /// How long it takes until all that waits is gone, about, if that is many slots.
    pub fn long_span(&self) -> Option<Duration> {
        let slots = self.sealed.len() + self.news.octets / self.settings.size;
        let span = self.settings.every.saturating_mul(u32::try_from(slots).unwrap_or(u32::MAX));
        (slots > super::MANY_SLOTS).then_some(span)
    }

    /// All that waits.
    pub fn ids(&self) -> impl Iterator<Item = &QueueId> {
        self.news.ids().chain(&self.sealed)
    }
}

/// The first beginning of a slot behind `now`.
fn next_after(now: SystemTime, every: Duration) -> SystemTime {
    let (now, every) = (now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(), every.as_millis().max(1));
    let next = u64::try_from((now / every + 1) * every).unwrap_or(u64::MAX);
    UNIX_EPOCH + Duration::from_millis(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn slots(left: Vec<QueueId>) -> Slots {
        let settings = config::Slots { every: Duration::from_secs(60), size: 65_536, urgent_level: Some(14) };
        Slots::new(settings, left, at(10))
    }

    fn news(slots: &mut Slots) {
        let text = Some(b"text".to_vec());
        let parked = Parked { number: 1, arrival: at(0), notes: Vec::new(), gist: Some(Gist::default()), text };
        slots.stored(QueueId::new(at(0)), parked, true);
    }

    /// All lie in the queue, and none is under way.
    fn all_wait(_: &QueueId) -> Option<(u64, u32)> {
        Some((1, 1))
    }

    fn kind(turn: Option<Turn>) -> &'static str {
        match turn {
            None => "none",
            Some(Turn::Nothing) => "nothing",
            Some(Turn::News(_)) => "news",
            Some(Turn::Sealed(_)) => "sealed",
        }
    }

    #[test]
    fn a_slot_comes_once_at_its_time_and_news_and_what_was_left_take_turns() {
        let mut slots = slots(vec![QueueId::new(at(0)), QueueId::new(at(1))]);
        news(&mut slots);
        let mut turn = |seconds| kind(slots.turn(at(seconds), all_wait));
        assert_eq!([turn(59), turn(60), turn(61), turn(119)], ["none", "news", "none", "none"]);
        assert_eq!([turn(120), turn(181), turn(240)], ["sealed", "sealed", "nothing"]);
        news(&mut slots);
        assert_eq!(kind(slots.turn(at(1000), all_wait)), "news", "slots that were slept through are over");
        assert_eq!(slots.next(), at(1020));
    }

    #[test]
    fn while_the_last_message_waits_for_the_relay_host_no_other_is_offered() {
        let mut slots = slots(Vec::new());
        slots.offered(QueueId::new(at(0)));
        assert_eq!(kind(slots.turn(at(60), |_| Some((1, 0)))), "none");
        assert_eq!(kind(slots.turn(at(120), |_| Some((1, 1)))), "nothing", "it is refused for its own sake");
        assert_eq!(kind(slots.turn(at(180), |_| None)), "nothing");
    }

    #[test]
    fn what_was_offered_and_is_held_and_released_gets_another_slot() {
        let mut slots = slots(Vec::new());
        slots.offered(QueueId::new(at(0)));
        let id = slots.last.clone().expect("offered");
        slots.add_sealed(id);
        assert_eq!(kind(slots.turn(at(60), |_| Some((1, 0)))), "sealed");
    }

    #[test]
    fn what_is_gone_from_the_queue_costs_no_slot() {
        let [gone, there] = [0, 1].map(|nth| QueueId::new(at(nth)));
        let mut slots = slots(vec![gone.clone(), there.clone(), gone.clone()]);
        let waiting = |id: &QueueId| (*id != gone).then_some((1, 1));
        assert!(matches!(slots.turn(at(60), waiting), Some(Turn::Sealed(id)) if id == there));
        assert_eq!(kind(slots.turn(at(120), waiting)), "nothing", "which makes a message");
        assert_eq!(slots.len(), 0);
    }

    #[test]
    fn what_waits_goes_on_waiting_under_other_settings() {
        let mut slots = slots(vec![QueueId::new(at(0))]);
        news(&mut slots);
        let settings = config::Slots { every: Duration::from_secs(3600), ..slots.settings().clone() };
        let mut slots = slots.adjusted(&settings, at(10));
        assert_eq!((slots.len(), slots.next(), slots.long_span()), (2, at(3600), None));
        (0..30).for_each(|nth| slots.add_sealed(QueueId::new(at(nth))));
        assert_eq!(slots.long_span(), Some(Duration::from_secs(31 * 3600)));
    }

    #[test]
    fn a_clock_that_was_set_back_stops_no_slots() {
        let mut slots = slots(Vec::new());
        assert_eq!(kind(slots.turn(UNIX_EPOCH + Duration::from_secs(5), |_| None)), "none");
        assert_eq!(slots.next(), UNIX_EPOCH + Duration::from_secs(60));
    }
}
