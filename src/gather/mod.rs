//! What waits for its digest or slot: floods, of which the rest comes as one message, and recipients whose messages go in
//! slots of time.
//!
//! ```text
//! accept > decide > sealed and stored singly, parked (spool) > stored > due > digest, durable > the single ones go
//! ```
//!
//! Guarantees: nothing waits here that is not sealed and durable in the spool by itself; text is kept in memory for the
//! window or slot only, and within one bound for all recipients: when half of that is taken, digests are made early, and
//! what comes faster than they are made goes singly. A digest names the numbers it takes the place of, and none of those
//! was ever offered to a delivery. On failure (sealing, disk, a recipient that is gone) the single ones are released; after
//! a crash a new process knows of no parking, so they go out too. An attacker who causes floods makes digests; one who
//! repeats a rule at a location hides the text of the repeats for `realert`, never their number; one who forges an urgent
//! level in log text has his alerts sent at once, one by one: none that may be urgent is ever kept back.

mod batch;
mod digest;
mod flood;
mod gist;
mod parked;
mod slots;
mod work;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

pub use gist::Gist;
pub use parked::{Fate, Parked};
pub use work::{farewell, flush, run};

use crate::config::{self, Config};
use crate::envelope::QueueId;
use crate::mail::Note;
use crate::spool::Spool;
use crate::status::Gathering;
use batch::Batch;
use flood::Flood;
use parked::{Entry, Kept, TEXT_LIMIT};
use slots::{Slots, Turn};

/// What is kept for all recipients together, octets. A flood of a thousand alerts has some two million.
const OCTETS_LIMIT: usize = 16 * 1024 * 1024;
/// Slots whose end is so many slots away are an operator's business.
const MANY_SLOTS: usize = 24;

/// What waits, for all recipients.
pub struct Gatherer {
    spool: Arc<Spool>,
    all: Mutex<BTreeMap<String, Own>>,
    changed: Notify,
}

/// What waits for one.
enum Own {
    Flood(Flood),
    Slots(Slots),
}

/// Digests that are to be made now.
enum Work {
    /// They are sent at once.
    Digests(Batch),
    /// They are for slots of this size, and wait for theirs.
    Pack { batch: Batch, size: usize },
}

/// A slot that is there.
struct Slot {
    recipient: String,
    /// Of its message, octets.
    size: usize,
    turn: Turn,
    /// When its message is offered.
    leaves: SystemTime,
}

impl Own {
    fn kept(&self) -> &Kept {
        match self {
            Self::Flood(flood) => flood.kept(),
            Self::Slots(slots) => slots.kept(),
        }
    }

    /// What is kept becomes digests now, to make room.
    fn hurry(&mut self) {
        match self {
            Self::Flood(flood) => flood.hurry(Instant::now()),
            Self::Slots(slots) => slots.hurry(),
        }
    }
}

/// Octets that may be kept still.
fn room(all: &BTreeMap<String, Own>) -> usize {
    OCTETS_LIMIT.saturating_sub(all.values().map(|own| own.kept().octets).sum())
}

impl Gatherer {
    /// For the recipients of `config`. Whatever lies in the spool for one that has slots is parked: no delivery may have
    /// begun.
    pub fn open(config: &Config, spool: Arc<Spool>) -> Self {
        let gatherer = Self { spool, all: Mutex::default(), changed: Notify::new() };
        gatherer.reload(config);
        gatherer
    }

    /// For the recipients of `config` from now on. What waits goes on waiting under the new settings; for one that has
    /// none any more, or is gone, it is released singly.
    pub fn reload(&self, config: &Config) {
        let mut all = self.all();
        let mut before = std::mem::take(&mut *all);
        for recipient in &config.recipients {
            let address = recipient.address.to_string();
            let own = before.remove(&address).and_then(|own| self.adjusted(own, recipient));
            if let Some(own) = own.or_else(|| self.new_own(recipient)) {
                all.insert(address, own);
            }
        }
        before.values().for_each(|own| self.release(own));
        let in_slots = all.iter().filter(|(_, own)| matches!(own, Own::Slots(_)));
        self.spool.park_offered(in_slots.map(|(recipient, _)| recipient.clone()).collect());
        self.changed.notify_one();
    }

    fn adjusted(&self, own: Own, recipient: &config::Recipient) -> Option<Own> {
        match (own, &recipient.flood, recipient.release.slots()) {
            (Own::Flood(flood), Some(settings), _) => Some(Own::Flood(flood.adjusted(settings))),
            (Own::Slots(slots), _, Some(settings)) => Some(Own::Slots(slots.adjusted(settings, SystemTime::now()))),
            (own, ..) => {
                self.release(&own);
                None
            }
        }
    }

    fn new_own(&self, recipient: &config::Recipient) -> Option<Own> {
        if let Some(slots) = recipient.release.slots() {
            let left = self.spool.park_all(recipient.address.as_str());
            return Some(Own::Slots(Slots::new(slots.clone(), left, SystemTime::now())));
        }
        recipient.flood.clone().map(|flood| Own::Flood(Flood::new(flood)))
    }

    fn release(&self, own: &Own) {
        match own {
            Own::Flood(flood) => self.spool.release_parked(flood.kept().ids()),
            Own::Slots(slots) => self.spool.release_parked(slots.ids()),
        }
    }

    /// What becomes of a mail of so many octets for `recipient`. Without a gist it is a fixed text.
    pub fn decide(&self, recipient: &str, gist: Option<&Gist>, notes: &[Note], octets: usize) -> Fate {
        let mut all = self.all();
        let room = room(&all);
        match all.get_mut(recipient) {
            Some(Own::Slots(slots)) => slots.decide(gist),
            Some(Own::Flood(flood)) => {
                let has_room = octets <= TEXT_LIMIT && parked::weight(octets, gist) <= room;
                gist.map_or(Fate::Send, |gist| flood.decide(gist, notes, has_room, Instant::now()))
            }
            None => Fate::Send,
        }
    }

    /// The entry `id` is durable, parked if its fate is to wait. What cannot be kept goes as it is.
    pub fn stored(&self, recipient: &str, id: &QueueId, fate: Fate, parked: Parked) {
        let mut all = self.all();
        let has_room = parked.octets() <= room(&all);
        match all.get_mut(recipient) {
            Some(Own::Slots(slots)) if fate.waits() => slots.stored(id.clone(), parked, has_room),
            Some(Own::Flood(flood)) if has_room || !fate.waits() => {
                flood.stored(id.clone(), fate, parked, Instant::now());
            }
            _ if fate.waits() => self.spool.release_parked([id]),
            _ => {}
        }
        // The other half is for what comes while digests are made of this one.
        if room(&all) < OCTETS_LIMIT / 2 {
            all.values_mut().max_by_key(|own| own.kept().octets).into_iter().for_each(Own::hurry);
        }
        if fate.waits() {
            self.changed.notify_one();
        }
    }

    /// Whether messages for `recipient` go in slots.
    pub fn is_in_slots(&self, recipient: &str) -> bool {
        matches!(self.all().get(recipient), Some(Own::Slots(_)))
    }

    /// The parked entry `id`, of the relay's own, is durable, and takes a slot.
    pub fn stored_alone(&self, recipient: &str, id: &QueueId) {
        match self.all().get_mut(recipient) {
            Some(Own::Slots(slots)) => slots.add_sealed(id.clone()),
            _ => self.spool.release_parked([id]),
        }
    }

    /// Looks after entries that an operator has offered again, and that are parked for it.
    fn take_offered_again(&self) {
        let offered = self.spool.offered_again();
        if offered.is_empty() {
            return;
        }
        let mut all = self.all();
        let in_slots =
            all.values().filter_map(|own| if let Own::Slots(slots) = own { Some(slots.ids()) } else { None });
        let mut known: HashSet<QueueId> = in_slots.flatten().cloned().collect();
        for (recipient, id) in offered {
            match all.get_mut(&recipient) {
                // It waited before it was held: then it does again, with its text.
                Some(Own::Slots(_)) if !known.insert(id.clone()) => {}
                Some(Own::Slots(slots)) => slots.add_sealed(id),
                _ => self.spool.release_parked([&id]),
            }
        }
    }

    /// What waits, for `status`.
    pub fn status(&self) -> Vec<Gathering> {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let of = |(recipient, own): (&String, &Own)| Gathering {
            recipient: recipient.clone(),
            parked: match own {
                Own::Flood(flood) => self.spool.count_parked(flood.kept().ids()),
                Own::Slots(slots) => self.spool.count_parked(slots.ids()),
            },
            next_slot: match own {
                Own::Flood(_) => None,
                Own::Slots(slots) => Some(seconds(slots.next())),
            },
        };
        self.all().iter().map(of).collect()
    }

    /// Slots that will not be through for long.
    pub fn warnings(&self) -> Vec<String> {
        let of = |(recipient, own): (&String, &Own)| {
            let Own::Slots(slots) = own else { return None };
            let span = slots.long_span()?;
            Some(format!(
                "recipient {recipient}: {} message(s) wait for their slots, the last one for about {}; to send all of them \
                 now, which shows that there is news, set release = \"immediate\" and reload",
                slots.len(),
                humantime::format_duration(span)
            ))
        };
        self.all().iter().filter_map(of).collect()
    }

    /// How long until digests are due, if any will be.
    fn until_digests(&self) -> Option<Duration> {
        let now = Instant::now();
        let until = |own: &Own| match own {
            Own::Flood(flood) => flood.due().map(|due| due.saturating_duration_since(now)),
            Own::Slots(slots) => slots.is_hurried().then_some(Duration::ZERO),
        };
        self.all().values().filter_map(until).min()
    }

    /// The digests that are due.
    fn digests_due(&self) -> Vec<Work> {
        let now = Instant::now();
        let work = |(recipient, own): (&String, &mut Own)| match own {
            Own::Flood(flood) => {
                let is_due = flood.due().is_some_and(|due| due <= now);
                is_due.then(|| Work::Digests(self.batch(recipient, flood.take(now))))
            }
            Own::Slots(slots) => slots.is_hurried().then(|| {
                let size = slots.settings().size;
                Work::Pack { batch: self.batch(recipient, slots.take()), size }
            }),
        };
        self.all().iter_mut().filter_map(work).collect()
    }

    /// How long until the next slot, if there are any.
    fn until_slot(&self) -> Option<Duration> {
        let now = SystemTime::now();
        let until = |own: &Own| match own {
            Own::Flood(_) => None,
            Own::Slots(slots) => Some(slots.next().duration_since(now).unwrap_or_default()),
        };
        self.all().values().filter_map(until).min()
    }

    /// The slots that are there.
    fn slots_due(&self) -> Vec<Slot> {
        self.take_offered_again();
        let now = SystemTime::now();
        let slot = |(recipient, own): (&String, &mut Own)| {
            let Own::Slots(slots) = own else { return None };
            let leaves = slots.leaves();
            let turn = slots.turn(now, |last| self.spool.in_queue(last))?;
            Some(Slot { recipient: recipient.clone(), size: slots.settings().size, turn, leaves })
        };
        self.all().iter_mut().filter_map(slot).collect()
    }

    /// Everything that waits for the end of a window.
    fn take_floods(&self) -> Vec<Batch> {
        let take = |(recipient, own): (&String, &mut Own)| match own {
            Own::Flood(flood) => Some(self.batch(recipient, flood.take(Instant::now()))),
            Own::Slots(_) => None,
        };
        self.all().iter_mut().filter_map(take).collect()
    }

    /// The news that waits for slots, and the size of a message in them.
    fn take_news(&self) -> Vec<(usize, Batch)> {
        let take = |(recipient, own): (&String, &mut Own)| match own {
            Own::Flood(_) => None,
            Own::Slots(slots) => Some((slots.settings().size, self.batch(recipient, slots.take()))),
        };
        self.all().iter_mut().filter_map(take).collect()
    }

    /// Gives back what a slot had no room for.
    fn put_back(&self, recipient: &str, news: Vec<Entry>) {
        match self.all().get_mut(recipient) {
            Some(Own::Slots(slots)) => slots.put_back(news),
            _ => self.spool.release_parked(news.iter().map(|(id, _)| id)),
        }
    }

    /// The entry `id` has been offered in a slot of `recipient`.
    fn offered(&self, recipient: &str, id: QueueId) {
        if let Some(Own::Slots(slots)) = self.all().get_mut(recipient) {
            slots.offered(id);
        }
    }

    fn batch(&self, recipient: &str, entries: Vec<Entry>) -> Batch {
        Batch::new(Arc::clone(&self.spool), recipient.to_owned(), entries)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Own>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
