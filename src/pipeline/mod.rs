//! The way of a mail from intake to the spool: route, seal, store. What waits for a digest or a slot is parked there
//! (`gather`), and comes back here to be sealed as one.
//!
//! Guarantees: when [`Pipeline::accept`] returns `Ok`, every sealed message made from the mail is durable and 250 may be
//! said; nothing of the mail was written anywhere before it was sealed. On failure nothing of it is offered to
//! deliver, but for the fixed notice that sealing is impossible.

mod own;
mod sealing;
mod state;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use crate::config::{Config, Recipient};
use crate::envelope::QueueId;
use crate::gather::{Fate, Gatherer, Gist, Parked};
use crate::mail::{Mail, Note};
use crate::maillog;
use crate::position::{FileId, Position};
use crate::ranges::Ranges;
use crate::route::{self, Chosen};
use crate::seal::{Blocks, Notices, Numbered, SealError, Sealed, Sealer};
use crate::share::Shares;
use crate::spool::{Event, Header, NewEntry, Number, Spool, Staged};
use crate::status::Counters;
use crate::turns::{Turn, Turns};
use crate::twins::Twins;
use sealing::Sealing;

/// Route, seal and spool, joined.
pub struct Pipeline {
    sealing: RwLock<Arc<Sealing>>,
    notices: Notices,
    turns: Turns,
    twins: Twins,
    spool: Arc<Spool>,
    gatherer: Gatherer,
    counters: Arc<Counters>,
    size_limit: SizeLimit,
}

/// The largest message that every relay host takes, octets, as far as that is known: nothing is filled up above it.
pub type SizeLimit = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// What programs are told of a message besides whose it is.
#[derive(Default)]
struct Told {
    heartbeat: Option<serde_json::Value>,
    blocks: Option<Blocks>,
    contains: Option<Ranges>,
    /// What may be counted; `None` for what is no mail of an IDS.
    gist: Option<Gist>,
}

/// Why a mail is not ours.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// It could be sealed for nobody it was for, and for no default recipient.
    #[error("nothing can be sealed to any recipient at the moment")]
    Unsealable,
    /// The disk does not take it.
    #[error("the spool does not take it: {0}")]
    Disk(#[from] std::io::Error),
}

/// Sealed messages of one mail, on their way into the spool.
#[derive(Default)]
struct Batch<'a> {
    entries: Vec<Staged<'a>>,
    /// What is to be remembered of each of them once it is stored.
    fates: Vec<Option<(Fate, Parked)>>,
    /// Who was told of how many alerts that were not sealed.
    told: Vec<(String, u64)>,
    /// Who could not be sealed to.
    unsealable: Vec<usize>,
    notices: Vec<Staged<'a>>,
    /// The fixed texts among them.
    turns: Vec<Turn<'a>>,
    /// Somebody has it already: from before a crash, or from a log. Then it is stored, whatever becomes of the rest.
    is_stored: bool,
}

impl Pipeline {
    /// Joins the stages.
    pub fn new(
        config: &Config,
        sealer: Sealer,
        spool: Arc<Spool>,
        counters: Arc<Counters>,
        size_limit: SizeLimit,
    ) -> Self {
        Self {
            sealing: RwLock::new(Arc::new(Sealing::new(config, sealer))),
            notices: Notices::open(&config.state),
            turns: Turns::open(&config.state),
            twins: Twins::default(),
            gatherer: Gatherer::open(config, Arc::clone(&spool)),
            spool,
            counters,
            size_limit,
        }
    }

    /// From now on mails are routed and sealed by `config` and `sealer`.
    pub fn reload(&self, config: &Config, sealer: Sealer) {
        *self.sealing.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Sealing::new(config, sealer));
        self.gatherer.reload(config);
    }

    /// What waits for digests and slots.
    pub fn gatherer(&self) -> &Gatherer {
        &self.gatherer
    }

    /// The spool.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn sealing(&self) -> Arc<Sealing> {
        Arc::clone(&self.sealing.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes responsibility for `mail`, or says why not. Blocks: sealing is work and the disk is slow.
    ///
    /// # Errors
    /// It cannot be sealed for anybody, or the disk does not take it.
    pub fn accept(&self, mail: &Mail) -> Result<Vec<QueueId>, AcceptError> {
        let sealing = self.sealing();
        let mut shares = Shares::of(mail, &sealing.recipients, &sealing.groups);
        let mut batch = Batch::default();
        self.leave_out(&sealing, mail, &mut shares, &mut batch);
        self.seal_shares(&sealing, mail, &shares, |chosen| !chosen.is_added(), &mut batch)?;
        if batch.entries.is_empty() && !batch.is_stored {
            self.seal_for_defaults(&sealing, mail, &shares, &mut batch)?;
        }
        // Only now: log text can forge what adds these, and they may get a part. They stand in nobody's place.
        self.seal_shares(&sealing, mail, &shares, |chosen| chosen.is_added() && !chosen.is_fixed(), &mut batch)?;
        // A fixed text is no alert, and nobody has the alert by it.
        if !batch.entries.is_empty() || batch.is_stored {
            self.seal_fixed(&sealing, mail, &shares, &mut batch)?;
        }
        self.store(&sealing, mail, batch)
    }

    /// Those of `shares` that are to be sealed now.
    fn seal_shares<'a>(
        &'a self,
        sealing: &Sealing,
        mail: &Mail,
        shares: &Shares<'_>,
        now: impl Fn(&Chosen) -> bool,
        batch: &mut Batch<'a>,
    ) -> io::Result<()> {
        for chosen in shares.chosen.iter().filter(|chosen| now(chosen)) {
            let part = shares.part(chosen);
            let told = Told { blocks: shares.blocks(chosen), gist: shares.gist(chosen), ..Told::default() };
            self.seal(sealing, part.as_ref().unwrap_or(mail), chosen.nth, &shares.notes(chosen), told, batch)?;
        }
        Ok(())
    }

    /// Nobody the envelope names can be sealed to: the default recipients get it, marked.
    fn seal_for_defaults<'a>(
        &'a self,
        sealing: &Sealing,
        mail: &Mail,
        shares: &Shares<'_>,
        batch: &mut Batch<'a>,
    ) -> io::Result<()> {
        let cannot = |&nth: &usize| Note::CannotSealTo(sealing.recipients[nth].address.to_string());
        let notes: Vec<Note> = batch.unsealable.iter().map(cannot).collect();
        for nth in route::defaults(&sealing.recipients).into_iter().filter(|nth| !shares.are_for(*nth)) {
            if self.has(sealing, mail, nth) {
                batch.is_stored = true;
                continue;
            }
            let told = Told { blocks: shares.all_blocks(), gist: Some(shares.whole_gist()), ..Told::default() };
            self.seal(sealing, mail, nth, &notes, told, batch)?;
        }
        Ok(())
    }

    /// The fixed texts whose turn it is.
    fn seal_fixed<'a>(
        &'a self,
        sealing: &Sealing,
        mail: &Mail,
        shares: &Shares<'_>,
        batch: &mut Batch<'a>,
    ) -> io::Result<()> {
        for chosen in shares.chosen.iter().filter(|chosen| chosen.is_fixed()) {
            let turn = self.turn(&sealing.recipients[chosen.nth], mail.arrival);
            let (Some(text), Some(turn)) = (shares.part(chosen), turn) else { continue };
            let before = batch.entries.len();
            self.seal(sealing, &text, chosen.nth, &[], Told::default(), batch)?;
            // One that could not be sealed has its turn still.
            batch.turns.extend((batch.entries.len() > before).then_some(turn));
        }
        Ok(())
    }

    /// Leaves out of `shares` what its recipient has already.
    ///
    /// What is read from a log is read again after a crash, which may have come between two recipients' entries. And if
    /// the IDS's mail is the second way only, a recipient needs of it no alert that a log has brought it, field for field.
    fn leave_out(&self, sealing: &Sealing, mail: &Mail, shares: &mut Shares<'_>, batch: &mut Batch<'_>) {
        let alerts = |shares: &Shares<'_>| shares.chosen.iter().filter(|chosen| !chosen.is_fixed()).count();
        let before = alerts(shares);
        shares.chosen.retain(|chosen| !self.has(sealing, mail, chosen.nth));
        if mail.source.is_none() && !sealing.secondary_to.is_empty() {
            let address = |nth: usize| sealing.recipients[nth].address.as_str();
            let left_out = shares.leave_out(|nth, block| self.twins.knows(address(nth), block));
            if left_out > 0 {
                maillog::left_out(&mail.client, left_out);
                (0..left_out).for_each(|_| self.counters.left_out.up());
            }
        }
        batch.is_stored = alerts(shares) < before;
    }

    /// Whether recipient number `nth` has what stands at this very place of a followed log.
    fn has(&self, sealing: &Sealing, mail: &Mail, nth: usize) -> bool {
        let recipient = sealing.recipients[nth].address.as_str();
        mail.source.as_ref().is_some_and(|source| self.spool.numbers().has(source, recipient))
    }

    /// Where to go on reading the followed `log`: everything up to there is durable. And the ends of lines beyond that
    /// somebody has already.
    pub fn progress(&self, log: &str) -> (Option<(FileId, Position)>, BTreeSet<Position>) {
        let numbers = self.spool.numbers();
        (numbers.done(log), numbers.beyond(log))
    }

    /// The turn of a recipient with a fixed text, if it is due.
    fn turn(&self, recipient: &Recipient, now: SystemTime) -> Option<Turn<'_>> {
        let every = recipient.fixed.as_ref()?.every;
        self.turns.take(recipient.address.as_str(), every, now)
    }

    fn seal<'a>(
        &'a self,
        sealing: &Sealing,
        mail: &Mail,
        nth: usize,
        extra: &[Note],
        told: Told,
        batch: &mut Batch<'a>,
    ) -> io::Result<()> {
        let recipient = sealing.recipients[nth].address.to_string();
        let untold = self.notices.untold(&recipient);
        let mut notes = [&mail.notes, extra].concat();
        notes.extend((untold > 0).then_some(Note::NotSealedBefore(untold)));
        let gist = told.gist.clone();
        match self.seal_one(sealing, mail, nth, notes.clone(), told) {
            Ok((sealed, number)) => {
                let fate = self.gatherer.decide(&recipient, gist.as_ref(), &notes, mail.octets.len());
                let parked = Parked::of(mail, number.value(), notes, gist, fate);
                let entry = sealing.entry(&self.spool, mail, recipient.clone(), sealed, Some(number));
                // On the disk, though not ours yet: the next recipient's message needs the memory.
                batch.entries.push(self.spool.stage(NewEntry { parked: fate.waits(), ..entry })?);
                batch.fates.push(Some((fate, parked)));
                batch.told.push((recipient, untold));
            }
            Err(why) => {
                maillog::unsealable(&recipient, &why.to_string());
                self.counters.not_sealed.up();
                batch.unsealable.push(nth);
                if self.notices.not_sealed(&recipient, SystemTime::now()) {
                    let notice = sealing.sealer.notice(nth, mail.arrival);
                    let parked = self.gatherer.is_in_slots(&recipient);
                    let entry = sealing.entry(&self.spool, mail, recipient, notice, None);
                    batch.notices.push(self.spool.stage(NewEntry { parked, ..entry })?);
                }
            }
        }
        Ok(())
    }

    /// A number is only taken when nothing but a fault of ours can keep it from being used.
    fn seal_one(
        &self,
        sealing: &Sealing,
        mail: &Mail,
        nth: usize,
        notes: Vec<Note>,
        told: Told,
    ) -> Result<(Sealed, Number<'_>), SealError> {
        sealing.sealer.can_seal_to(nth)?;
        sealing.sealer.set_size_ceiling((self.size_limit)());
        let number = self.spool.numbers().take(sealing.recipients[nth].address.as_str());
        let Told { heartbeat, blocks, contains, gist: _ } = told;
        let epoch = self.spool.numbers().epoch();
        let numbered = Numbered { epoch, sequence: number.value(), heartbeat, blocks, contains };
        let sealed = sealing.sealer.seal(mail, nth, notes, &numbered)?;
        Ok((sealed, number))
    }

    fn say_accepted(&self, id: &QueueId, mail: &Mail, header: &Header, kind: &str) {
        let Header { recipient, reverse_path, size, message_id, .. } = header;
        maillog::accepted(id, &mail.client, reverse_path, recipient, *size, message_id);
        self.spool.history().note(Event { kind: kind.to_owned(), ..Event::of(id, "accepted", header) });
    }

    fn store(&self, sealing: &Sealing, mail: &Mail, batch: Batch<'_>) -> Result<Vec<QueueId>, AcceptError> {
        let sealed = batch.entries.len();
        let mut fates = batch.fates;
        fates.extend(batch.notices.iter().map(|_| None));
        let entries: Vec<Staged<'_>> = batch.entries.into_iter().chain(batch.notices).collect();
        let headers: Vec<Header> = entries.iter().map(|entry| entry.header.clone()).collect();
        let parked: Vec<bool> = entries.iter().map(|entry| entry.parked).collect();
        if entries.is_empty() {
            return if batch.is_stored { Ok(Vec::new()) } else { Err(AcceptError::Unsealable) };
        }
        let ids = self.spool.publish(entries)?;
        for (nth, (id, header)) in ids.iter().zip(&headers).enumerate() {
            self.say_accepted(id, mail, header, if nth < sealed { "alert" } else { "notice" });
        }
        for (((id, header), fate), parked) in ids.iter().zip(&headers).zip(fates).zip(parked) {
            match fate {
                Some((fate, entry)) => self.gatherer.stored(&header.recipient, id, fate, entry),
                None if parked => self.gatherer.stored_alone(&header.recipient, id),
                None => {}
            }
        }
        if sealed == 0 && !batch.is_stored {
            return Err(AcceptError::Unsealable);
        }
        if let (Some(source), Some(block)) = (&mail.source, &mail.block)
            && sealing.secondary_to.contains(&source.log)
        {
            batch.told.iter().for_each(|(to, _)| self.twins.add(to, block));
        }
        batch.turns.into_iter().for_each(Turn::used);
        batch.told.iter().filter(|(_, count)| *count > 0).for_each(|(to, count)| self.notices.told(to, *count));
        if mail.source.is_some() { &self.counters.followed } else { &self.counters.accepted }.up();
        ids.iter().for_each(|_| self.counters.entries.up());
        Ok(ids)
    }
}
