//! Digests made, slots filled: the tasks, the operator's flush, the end.
//!
//! Guarantees: single entries go only after the digest that names them is durable, and that one is offered only after they
//! are gone or are offered again. On failure whatever is left of a batch is released singly; in slots it stays and waits
//! for slots of its own. A fault here ends one piece of work, not the tasks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;

use super::batch::Batch;
use super::parked::Entry;
use super::slots::{LEAD, Turn};
use super::{Slot, Work, digest};
use crate::envelope::QueueId;
use crate::mail::Mail;
use crate::maillog;
use crate::pipeline::Pipeline;
use crate::ranges::Ranges;
use crate::shutdown::Shutdown;

/// At least this often is looked what is due: clocks jump, and settings change.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Octets of a digest that waits for no slot. Readers open it on a telephone, too.
const DIGEST_LIMIT: usize = 4 * 1024 * 1024;
/// News that takes more slots than this has the text of its repeats left out: whoever makes a flood must not put off for
/// hours what comes behind it.
const FEW_SLOTS: usize = 4;

/// Does what is due until `shutdown`.
pub async fn run(pipeline: Arc<Pipeline>, shutdown: Shutdown) {
    // Apart from each other: digests take their time, and no slot may be late because there is news.
    tokio::join!(make_digests(&pipeline, shutdown.clone()), fill_slots(&pipeline, shutdown));
}

async fn make_digests(pipeline: &Arc<Pipeline>, mut shutdown: Shutdown) {
    while !shutdown.is_ending() {
        let wait = pipeline.gatherer().until_digests().map_or(LOOK_AGAIN, |wait| wait.min(LOOK_AGAIN));
        tokio::select! {
            () = shutdown.wait() => return,
            () = pipeline.gatherer().changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
        // One after the other: they take memory. Each by itself: a fault in one must not take the others with it.
        for work in pipeline.gatherer().digests_due() {
            let own = Arc::clone(pipeline);
            let made = spawn_blocking(move || match work {
                Work::Digests(batch) => digests(&own, batch),
                Work::Pack { batch, size } => pack(&own, batch, size),
            });
            let _ = made.await;
        }
    }
}

async fn fill_slots(pipeline: &Arc<Pipeline>, mut shutdown: Shutdown) {
    while !shutdown.is_ending() {
        let wait = pipeline.gatherer().until_slot().map_or(LOOK_AGAIN, |wait| wait.min(LOOK_AGAIN));
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(wait) => {}
        }
        // At the same time: one recipient's news must not be seen in another one's slot.
        let filled = pipeline.gatherer().slots_due().into_iter().map(|slot| {
            let own = Arc::clone(pipeline);
            spawn_blocking(move || fill(&own, slot))
        });
        for one in filled.collect::<Vec<_>>() {
            let _ = one.await;
        }
    }
}

/// Makes digests of all that waits for the end of a window, now. Slots stay as they are: a flush must not show anybody
/// that there is news.
pub fn flush(pipeline: &Pipeline) {
    pipeline.gatherer().take_floods().into_iter().for_each(|batch| digests(pipeline, batch));
}

/// Makes digests of all that waits, so that the next start need not send it singly.
pub fn farewell(pipeline: &Pipeline) {
    flush(pipeline);
    for (size, batch) in pipeline.gatherer().take_news() {
        pack(pipeline, batch, size);
    }
}

fn digests(pipeline: &Pipeline, mut batch: Batch) {
    while let [(_, first), rest @ ..] = batch.entries() {
        // One that waits alone goes as it is.
        let is_alone = rest.is_empty() && first.text.is_some();
        let count = fitting(pipeline, &batch, DIGEST_LIMIT).filter(|_| !is_alone);
        let Some(count) = count else {
            let single = batch.park(1);
            pipeline.spool().release_parked(single.iter().map(|(id, _)| id));
            continue;
        };
        match digest_of(pipeline, &mut batch, count) {
            Some((id, _)) => pipeline.spool().release_parked([&id]),
            None => return,
        }
    }
}

/// Makes messages for slots of so many octets of all of `batch`. They wait for slots of their own, as does what goes
/// singly; if the process ends, the next one finds them.
fn pack(pipeline: &Pipeline, mut batch: Batch, size: usize) {
    let recipient = batch.recipient.clone();
    while !batch.entries().is_empty() {
        let id = match fitting_slot(pipeline, &mut batch, size) {
            Some(count) => digest_of(pipeline, &mut batch, count).map(|(id, _)| id),
            None => batch.park(1).pop().map(|(id, _)| id),
        };
        let Some(id) = id else {
            let rest = batch.entries().len();
            return give_back(pipeline, &recipient, batch.park(rest));
        };
        pipeline.gatherer().stored_alone(&recipient, &id);
    }
}

/// How many of the first entries a message for a slot holds; `None` if not two.
fn fitting_slot(pipeline: &Pipeline, batch: &mut Batch, size: usize) -> Option<usize> {
    let count = fitting(pipeline, batch, size);
    // Also by octets: one large alert in front must not cost the repeats behind it their text. (Sealed, a text takes up to
    // about twice its octets.)
    if batch.octets() <= FEW_SLOTS * size / 2 || batch.entries().len() <= FEW_SLOTS * count.unwrap_or(1) {
        return count.filter(|count| *count > 1);
    }
    batch.count_repeats();
    fitting(pipeline, batch, size).filter(|count| *count > 1)
}

/// How many of the first entries one message of at most `limit` octets holds; `None` if not even one.
fn fitting(pipeline: &Pipeline, batch: &Batch, limit: usize) -> Option<usize> {
    // Sealed it is longer than its text in any case.
    let mut count = batch.within(limit);
    while count > 0 {
        let numbers = batch.numbers(count);
        let mail = digest::mail(&batch.entries()[..count], &numbers, SystemTime::now());
        if pipeline.fits(&batch.recipient, &mail, &numbers, limit) {
            return Some(count);
        }
        count = count * 3 / 4;
    }
    None
}

/// Puts a digest, parked, in the place of the first `count` entries; its id and octets. `None` if that could not be done:
/// then the entries are still in the batch.
fn digest_of(pipeline: &Pipeline, batch: &mut Batch, count: usize) -> Option<(QueueId, u64)> {
    let numbers = batch.numbers(count);
    let mail = digest::mail(&batch.entries()[..count], &numbers, SystemTime::now());
    let made = pipeline.park_own(&batch.recipient, &mail, Some(numbers.clone()));
    let made = made.inspect_err(|why| maillog::hindered("a digest could not be made", &why.to_string())).ok()?;
    // Responsibility moves on: the digest is durable and holds them. A crash before the next line sends them once more.
    match pipeline.spool().replace(&batch.recipient, &batch.ids(count), &numbers) {
        Ok(()) => batch.replaced(count),
        Err(error) => {
            maillog::hindered("what a digest holds cannot be removed and comes once more", &error.to_string());
            give_back(pipeline, &batch.recipient.clone(), batch.park(count));
        }
    }
    maillog::gathered(&made.0, &batch.recipient, count, &numbers.to_string());
    pipeline.counters().digests.up();
    (0..count).for_each(|_| pipeline.counters().gathered.up());
    Some(made)
}

/// Entries that are to go singly: at once, or in slots.
fn give_back(pipeline: &Pipeline, recipient: &str, entries: Vec<Entry>) {
    entries.iter().for_each(|(id, _)| pipeline.gatherer().stored_alone(recipient, id));
    pipeline.spool().wake();
}

/// Offers one message for a slot.
fn fill(pipeline: &Pipeline, slot: Slot) {
    let Slot { recipient, size, turn, leaves } = slot;
    let recipient = recipient.as_str();
    let id = match turn {
        Turn::Sealed(id) => Some(id),
        Turn::News(news) => of_news(pipeline, recipient, size, news),
        Turn::Nothing => None,
    };
    let Some(id) = id.or_else(|| filler(pipeline, recipient)) else { return };
    if let Some((octets, _)) = pipeline.spool().in_queue(&id).filter(|(octets, _)| *octets > size as u64) {
        pipeline.counters().larger_than_slot.up();
        maillog::larger_than_slot(&id, recipient, octets);
    }
    let lead = leaves.duration_since(SystemTime::now()).unwrap_or_default();
    std::thread::sleep(lead.min(LEAD));
    pipeline.gatherer().offered(recipient, id.clone());
    pipeline.spool().release_parked([&id]);
}

/// A message with as much of `news` as there is room for; the rest waits on. One alone goes as it was sealed, which is
/// what is done too if no digest can be made.
fn of_news(pipeline: &Pipeline, recipient: &str, size: usize, news: Vec<Entry>) -> Option<QueueId> {
    let mut batch = pipeline.gatherer().batch(recipient, news);
    let count = fitting_slot(pipeline, &mut batch, size);
    let made = count.and_then(|count| digest_of(pipeline, &mut batch, count)).map(|(id, _)| id);
    let id = made.or_else(|| batch.park(1).into_iter().map(|(id, _)| id).next());
    let rest = batch.entries().len();
    pipeline.gatherer().put_back(recipient, batch.park(rest));
    id
}

fn filler(pipeline: &Pipeline, recipient: &str) -> Option<QueueId> {
    let text = "Nothing happened. This message keeps the times and sizes of messages from telling when something does.";
    let mail = Mail::own(format!("Subject: Nothing happened\r\n\r\n{text}\r\n").into_bytes(), SystemTime::now());
    let made = pipeline.park_own(recipient, &mail, None::<Ranges>);
    let made = made.inspect_err(|why| maillog::hindered("a slot stays empty", &why.to_string())).ok()?;
    pipeline.counters().fillers.up();
    Some(made.0)
}
