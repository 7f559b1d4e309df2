//! What the daemon remembers of each waiting entry: a small record, never its content.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::entry::Header;
use super::room;
use crate::envelope::QueueId;

/// The longest back-off there is. A next attempt further ahead means that the clock jumped: it is due now.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);

/// What is kept in `ID.state`: a hint, not synced. An old one means an attempt too early, no more.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Attempts so far.
    pub count: u32,
    /// Seconds since 1970; 0 is now.
    pub next: u64,
    /// What the relay host said last, or what went wrong.
    pub last_reply: String,
    /// Relay hosts that refuse it for good, and since when, seconds since 1970; 0 for one that never can take it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, u64>,
    /// The relay host it is offered to, by its place in the configuration. A new start begins at the first again.
    #[serde(skip)]
    pub lane: u8,
    /// Seconds since 1970 since which that one has deferred it; 0 if it has not.
    #[serde(skip)]
    pub lane_since: u64,
    /// Seconds since 1970 at which an operator took it out of `failed/`: its lifetime begins again. Kept by the spool,
    /// whoever writes the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_at: Option<u64>,
}

/// Relay hosts by their places in the configuration, first and last.
pub type Lanes = RangeInclusive<u8>;

impl Attempts {
    /// When the next attempt is due; now, if no clock can tell.
    pub fn due(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.next)).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// One waiting entry.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Who gets it.
    pub recipient: Arc<str>,
    /// Octets of the message.
    pub size: u64,
    /// When the alert arrived.
    pub arrival: SystemTime,
    /// What was tried.
    pub attempts: Attempts,
    due: SystemTime,
    claimed: bool,
    /// Claimed by the gatherer, not by a delivery.
    parked: bool,
}

/// The waiting entries, by name, and by the relay host they are offered to and when they are due.
#[derive(Default)]
pub struct Index {
    waiting: BTreeMap<QueueId, Waiting>,
    due: Vec<BTreeSet<(SystemTime, QueueId)>>,
    /// One text for each recipient, however many entries it has.
    recipients: BTreeSet<Arc<str>>,
    /// What all of them take on the disk, octets.
    octets: u64,
    /// Recipients whose entries wait for slots, also those that an operator offers again.
    in_slots: BTreeSet<String>,
    /// Such entries, parked, whom no gatherer knows of yet.
    offered: Vec<(String, QueueId)>,
}

impl Index {
    pub fn add(&mut self, id: QueueId, header: &Header, attempts: Attempts) {
        let recipient: Arc<str> = header.recipient.as_str().into();
        let recipient = self.recipients.get(&recipient).cloned().unwrap_or(recipient);
        self.recipients.insert(Arc::clone(&recipient));
        let due = attempts.due();
        let (size, arrival) = (header.size, header.arrival);
        self.remove(&id);
        self.lane(attempts.lane).insert((due, id.clone()));
        self.octets = self.octets.saturating_add(room::of_message(size));
        self.waiting.insert(id, Waiting { recipient, size, arrival, attempts, due, claimed: false, parked: false });
    }

    fn lane(&mut self, lane: u8) -> &mut BTreeSet<(SystemTime, QueueId)> {
        let lane = usize::from(lane);
        if self.due.len() <= lane {
            self.due.resize_with(lane + 1, BTreeSet::new);
        }
        &mut self.due[lane]
    }

    /// Takes the entry of these `lanes` that has been due longest. It is not offered again until [`Index::release`].
    pub fn claim(&mut self, now: SystemTime, lanes: Lanes) -> Option<(QueueId, Waiting)> {
        let (_, lane) = lanes.filter_map(|lane| Some((next_in(self.due.get(usize::from(lane))?, now)?, lane))).min()?;
        let lane = self.lane(lane);
        let (_, id) = match lane.last() {
            Some((due, _)) if is_too_far(*due, now) => lane.pop_last(),
            _ if lane.first().is_some_and(|(due, _)| *due <= now) => lane.pop_first(),
            _ => None,
        }?;
        let waiting = self.waiting.get_mut(&id)?;
        waiting.claimed = true;
        Some((id, waiting.clone()))
    }

    /// Takes all entries that arrived before `before` and that nobody has in hand.
    pub fn claim_older_than(&mut self, before: SystemTime) -> Vec<(QueueId, Waiting)> {
        let old = self.waiting.iter_mut().filter(|(_, waiting)| !waiting.claimed && waiting.offered_since() < before);
        let mut claimed = Vec::new();
        for (id, waiting) in old {
            waiting.claimed = true;
            self.due[usize::from(waiting.attempts.lane)].remove(&(waiting.due, id.clone()));
            claimed.push((id.clone(), waiting.clone()));
        }
        claimed
    }

    /// Offers a claimed entry again, at `due`.
    pub fn release(&mut self, id: &QueueId, due: SystemTime, attempts: Option<Attempts>) {
        if let Some(waiting) = self.waiting.get_mut(id) {
            (waiting.claimed, waiting.parked) = (false, false);
            waiting.due = due;
            waiting.attempts = attempts.unwrap_or_else(|| waiting.attempts.clone());
            let lane = waiting.attempts.lane;
            self.lane(lane).insert((due, id.clone()));
        }
    }

    pub fn remove(&mut self, id: &QueueId) -> Option<Waiting> {
        let waiting = self.waiting.remove(id)?;
        self.octets = self.octets.saturating_sub(room::of_message(waiting.size));
        self.lane(waiting.attempts.lane).remove(&(waiting.due, id.clone()));
        Some(waiting)
    }

    /// Makes every entry that nobody has claimed due now, at the first relay host.
    pub fn flush(&mut self) {
        self.restart(|_| true);
    }

    /// Offers to the first relay host again what another one has had for itself since before `before`, seconds since
    /// 1970: it may never be able to take it.
    pub fn return_to_first(&mut self, before: u64) {
        if self.due.iter().skip(1).any(|lane| !lane.is_empty()) {
            let now = before.saturating_add(LONGEST_BACKOFF.as_secs());
            // A beginning in the future means that the clock was set back.
            self.restart(|attempts| attempts.lane > 0 && !(before..=now).contains(&attempts.lane_since));
        }
    }

    fn restart(&mut self, which: impl Fn(&Attempts) -> bool) {
        let all = self.waiting.iter_mut().filter(|(_, waiting)| !waiting.claimed && which(&waiting.attempts));
        for (id, waiting) in all {
            self.due[usize::from(waiting.attempts.lane)].remove(&(waiting.due, id.clone()));
            (waiting.attempts.lane, waiting.attempts.lane_since) = (0, 0);
            waiting.due = SystemTime::UNIX_EPOCH;
            self.due[0].insert((waiting.due, id.clone()));
        }
    }

    /// When [`Index::claim`] will have something.
    pub fn next_due(&self, now: SystemTime, lanes: Lanes) -> Option<SystemTime> {
        lanes.filter_map(|lane| next_in(self.due.get(usize::from(lane))?, now)).min()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Arrival of the oldest entry but for those that are parked: these wait as they were told to, and are not late.
    pub fn oldest(&self) -> Option<SystemTime> {
        self.waiting.values().find(|waiting| !waiting.parked).map(|waiting| waiting.arrival)
    }

    /// What all waiting entries take on the disk, octets.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Takes the entry `id`, due or not, if no delivery has it in hand.
    pub fn claim_one(&mut self, id: &QueueId) -> Option<Waiting> {
        let waiting = self.waiting.get_mut(id).filter(|waiting| !waiting.claimed)?;
        waiting.claimed = true;
        self.due[usize::from(waiting.attempts.lane)].remove(&(waiting.due, id.clone()));
        Some(waiting.clone())
    }

    /// The same for an operator, who may have one that is parked, too.
    pub fn seize(&mut self, id: &QueueId) -> Option<Waiting> {
        if self.unpark(id) { self.get(id).cloned() } else { self.claim_one(id) }
    }

    /// Claims the entry `id` for the gatherer, if nobody has it in hand; whether it did.
    pub fn park(&mut self, id: &QueueId) -> bool {
        let is_free = self.claim_one(id).is_some();
        if is_free {
            self.park_again(id);
        }
        is_free
    }

    /// Takes the entry `id` in hand, if it is parked; whether it is.
    pub fn unpark(&mut self, id: &QueueId) -> bool {
        self.waiting.get_mut(id).is_some_and(|waiting| std::mem::take(&mut waiting.parked))
    }

    /// Parks the entry `id`, which the caller has in hand.
    pub fn park_again(&mut self, id: &QueueId) {
        if let Some(waiting) = self.waiting.get_mut(id) {
            waiting.parked = true;
        }
    }

    /// Parks what an operator offers again for one of these recipients, from now on.
    pub fn park_offered(&mut self, recipients: BTreeSet<String>) {
        self.in_slots = recipients;
    }

    /// As [`Index::add`], for what an operator offers again.
    pub fn offer(&mut self, id: QueueId, header: &Header, attempts: Attempts) {
        self.add(id.clone(), header, attempts);
        if self.in_slots.contains(&header.recipient) && self.park(&id) {
            self.offered.push((header.recipient.clone(), id));
        }
    }

    /// What was parked by that since the last call.
    pub fn take_offered(&mut self) -> Vec<(String, QueueId)> {
        std::mem::take(&mut self.offered)
    }

    /// All entries for `recipient` that nobody has in hand, oldest first.
    pub fn free_of(&self, recipient: &str) -> Vec<QueueId> {
        let free = self.waiting.iter().filter(|(_, waiting)| !waiting.claimed && *waiting.recipient == *recipient);
        free.map(|(id, _)| id.clone()).collect()
    }

    /// `attempts` on the entry `id`, with what the spool keeps of it.
    pub fn complete(&self, id: &QueueId, attempts: Attempts) -> Attempts {
        let retried_at = self.waiting.get(id).and_then(|waiting| waiting.attempts.retried_at);
        Attempts { retried_at, ..attempts }
    }

    /// The entry `id`.
    pub fn get(&self, id: &QueueId) -> Option<&Waiting> {
        self.waiting.get(id)
    }

    /// At most `limit` entries behind `last`, oldest first.
    pub fn page(&self, last: Option<&QueueId>, limit: usize) -> Vec<(QueueId, Waiting)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let page = self.waiting.range((from, Bound::Unbounded)).take(limit);
        page.map(|(id, waiting)| (id.clone(), waiting.clone())).collect()
    }
}

/// When the first entry of `lane` is due.
fn next_in(lane: &BTreeSet<(SystemTime, QueueId)>, now: SystemTime) -> Option<SystemTime> {
    if lane.last().is_some_and(|(due, _)| is_too_far(*due, now)) {
        return Some(now);
    }
    lane.first().map(|(due, _)| *due)
}

fn is_too_far(due: SystemTime, now: SystemTime) -> bool {
    due.duration_since(now).is_ok_and(|ahead| ahead > LONGEST_BACKOFF)
}

impl Waiting {
    /// When its lifetime began.
    pub fn offered_since(&self) -> SystemTime {
        let retried_at = Duration::from_secs(self.attempts.retried_at.unwrap_or(0));
        SystemTime::UNIX_EPOCH.checked_add(retried_at).map_or(self.arrival, |at| at.max(self.arrival))
    }

    /// Whether a delivery has it in hand.
    pub fn is_claimed(&self) -> bool {
        self.claimed && !self.parked
    }

    /// Whether it waits for its digest or slot.
    pub fn is_parked(&self) -> bool {
        self.parked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::entry::tests::sample;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn index_of(next: &[u64]) -> Index {
        let mut index = Index::default();
        for (nth, next) in (1..).zip(next) {
            let attempts = Attempts { next: 1_800_000_000 + next, ..Attempts::default() };
            index.add(QueueId::new(at(nth)), &sample("a@b", nth, b""), attempts);
        }
        index
    }

    #[test]
    fn an_entry_is_claimed_once_and_only_when_due() {
        let mut index = index_of(&[100]);
        assert!(index.claim(at(99), 0..=0).is_none());
        let (id, _) = index.claim(at(100), 0..=0).expect("due");
        assert!(index.claim(at(100), 0..=0).is_none());
        index.release(&id, at(200), None);
        assert!(index.claim(at(150), 0..=0).is_none());
        assert!(index.claim(at(200), 0..=0).is_some());
    }

    #[test]
    fn what_is_parked_is_no_delivery_s_and_makes_nothing_late() {
        let mut index = index_of(&[0, 0]);
        let [first, second]: [QueueId; 2] = index.free_of("a@b").try_into().expect("two");
        assert!(index.park(&first) && !index.park(&first));
        assert!(index.oldest().is_some() && index.park(&second) && index.oldest().is_none());
        index.release(&second, SystemTime::UNIX_EPOCH, None);
        assert_eq!(index.claim(at(0), 0..=0).map(|(id, _)| id), Some(second));
        assert!(index.claim(at(0), 0..=0).is_none() && index.claim_older_than(at(9)).is_empty());
        index.release(&first, SystemTime::UNIX_EPOCH, None);
        assert_eq!(index.claim(at(0), 0..=0).map(|(id, _)| id), Some(first));
    }

    #[test]
    fn an_operator_may_have_what_is_parked_but_not_what_somebody_has_in_hand() {
        let mut index = index_of(&[0]);
        let id = index.free_of("a@b").remove(0);
        assert!(index.park(&id) && index.seize(&id).is_some());
        assert!(index.seize(&id).is_none() && !index.unpark(&id), "it is in the operator's hand");
        index.park_again(&id);
        assert!(index.unpark(&id) && index.seize(&id).is_none(), "a digest is made of it");
        index.release(&id, SystemTime::UNIX_EPOCH, None);
        assert!(index.seize(&id).is_some() && index.claim(at(0), 0..=0).is_none());
    }

    #[test]
    fn what_an_operator_offers_again_waits_for_a_slot_if_its_recipient_has_slots() {
        let mut index = Index::default();
        index.park_offered(["a@b".to_owned()].into());
        for (nth, recipient) in (1..).zip(["a@b", "c@d"]) {
            index.offer(QueueId::new(at(nth)), &sample(recipient, nth, b""), Attempts::default());
        }
        assert_eq!(index.claim(at(9), 0..=0).map(|(_, waiting)| waiting.recipient), Some("c@d".into()));
        let offered = index.take_offered();
        assert!(matches!(&offered[..], [(recipient, id)] if recipient == "a@b" && index.unpark(id)));
        assert!(index.claim(at(9), 0..=0).is_none() && index.take_offered().is_empty());
    }

    #[test]
    fn an_attempt_further_ahead_than_any_back_off_is_due_now() {
        let year = 365 * 24 * 3600;
        let mut index = index_of(&[10, year]);
        assert_eq!(index.next_due(at(0), 0..=0), Some(at(0)), "whoever waits must wake for it");
        assert!(index.claim(at(0), 0..=0).is_some(), "the clock jumped back a year");
        assert!(index.claim(at(0), 0..=0).is_none());
    }

    #[test]
    fn flush_offers_all_but_what_is_under_way() {
        let mut index = index_of(&[0, 500, 600]);
        index.claim(at(0), 0..=0).expect("due");
        index.flush();
        assert!(index.claim(at(0), 0..=0).is_some());
        assert!(index.claim(at(0), 0..=0).is_some());
        assert!(index.claim(at(0), 0..=0).is_none());
    }

    #[test]
    fn each_relay_host_is_offered_its_own_entries_and_those_it_stands_in_for() {
        let mut index = index_of(&[0, 0]);
        let (first, waiting) = index.claim(at(0), 0..=0).expect("due");
        let moved = Attempts { lane: 1, lane_since: 1_800_000_000, ..waiting.attempts };
        index.release(&first, SystemTime::UNIX_EPOCH, Some(moved));
        assert_eq!(index.claim(at(0), 1..=1).map(|(id, _)| id), Some(first.clone()));
        assert!(index.claim(at(0), 1..=1).is_none(), "the other one is the first relay host's");
        index.release(&first, SystemTime::UNIX_EPOCH, None);
        assert!(index.claim(at(0), 0..=1).is_some() && index.claim(at(0), 0..=1).is_some(), "it stands in");
        index.release(&first, SystemTime::UNIX_EPOCH, None);
        index.return_to_first(1_800_000_000);
        assert!(index.claim(at(0), 0..=0).is_none(), "it has not waited long enough");
        index.return_to_first(1_800_000_001);
        assert!(index.claim(at(0), 0..=0).is_some());
    }
}
