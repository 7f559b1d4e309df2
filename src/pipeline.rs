//! The way of a mail from intake to the spool: route, seal, store.
//!
//! Guarantees: when [`Pipeline::accept`] returns `Ok`, every sealed message made from the mail is durable and 250 may be
//! said; nothing of the mail was written anywhere before it was sealed. On failure nothing of it is offered to
//! deliver, but for the fixed notice that sealing is impossible.

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{Config, Recipient};
use crate::envelope::QueueId;
use crate::mail::{Mail, Note};
use crate::maillog;
use crate::route;
use crate::seal::{Notices, Numbered, SealError, Sealed, Sealer};
use crate::spool::{Header, NewEntry, Number, Spool};
use crate::status::Counters;

/// Route, seal and spool, joined.
pub struct Pipeline {
    recipients: Vec<Recipient>,
    reverse_path: String,
    sealer: Sealer,
    notices: Notices,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
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
    entries: Vec<NewEntry<'a>>,
    /// Who was told of how many alerts that were not sealed.
    told: Vec<(String, u64)>,
    /// Who could not be sealed to.
    unsealable: Vec<usize>,
    notices: Vec<NewEntry<'a>>,
}

impl Pipeline {
    /// Joins the stages.
    pub fn new(config: &Config, sealer: Sealer, spool: Arc<Spool>, counters: Arc<Counters>) -> Self {
        Self {
            recipients: config.recipients.clone(),
            reverse_path: config.sender.envelope.to_string(),
            sealer,
            notices: Notices::open(&config.state),
            spool,
            counters,
        }
    }

    /// Takes responsibility for `mail`, or says why not. Blocks: sealing is work and the disk is slow.
    ///
    /// # Errors
    /// It cannot be sealed for anybody, or the disk does not take it.
    pub fn accept(&self, mail: &Mail) -> Result<Vec<QueueId>, AcceptError> {
        let chosen = route::route(&self.recipients, &mail.envelope);
        let mut batch = Batch::default();
        self.seal(mail, &chosen, &[], &mut batch);
        if batch.entries.is_empty() {
            let defaults: Vec<usize> =
                route::defaults(&self.recipients).into_iter().filter(|nth| !chosen.contains(nth)).collect();
            let notes: Vec<Note> = batch
                .unsealable
                .iter()
                .map(|&nth| Note::CannotSealTo(self.recipients[nth].address.to_string()))
                .collect();
            self.seal(mail, &defaults, &notes, &mut batch);
        }
        self.store(mail, batch)
    }

    /// Whether an alert for the default recipients could be sealed now.
    fn can_seal(&self) -> bool {
        route::defaults(&self.recipients).into_iter().any(|nth| self.sealer.can_seal_to(nth).is_ok())
    }

    /// Whether a mail can be taken now: there is room for it, and it could be sealed.
    pub fn can_take(&self) -> bool {
        self.spool.has_room() && self.can_seal()
    }

    /// What an operator should know about the certificates now.
    pub fn warnings(&self) -> Vec<String> {
        self.sealer.warnings()
    }

    /// The fingerprint of the key that signs.
    pub fn signer(&self) -> String {
        self.sealer.signer()
    }

    fn seal<'a>(&'a self, mail: &Mail, to: &[usize], extra: &[Note], batch: &mut Batch<'a>) {
        for &nth in to {
            let recipient = self.recipients[nth].address.to_string();
            let untold = self.notices.untold(&recipient);
            let mut notes = [&mail.notes, extra].concat();
            notes.extend((untold > 0).then_some(Note::NotSealedBefore(untold)));
            match self.seal_one(mail, nth, notes) {
                Ok((sealed, number)) => {
                    batch.entries.push(self.entry(mail.arrival, recipient.clone(), sealed, Some(number)));
                    batch.told.push((recipient, untold));
                }
                Err(why) => {
                    maillog::unsealable(&recipient, &why.to_string());
                    self.counters.not_sealed.up();
                    batch.unsealable.push(nth);
                    if self.notices.not_sealed(&recipient, SystemTime::now()) {
                        let notice = self.sealer.notice(nth, mail.arrival);
                        batch.notices.push(self.entry(mail.arrival, recipient, notice, None));
                    }
                }
            }
        }
    }

    /// A number is only taken when nothing but a fault of ours can keep it from being used.
    fn seal_one(&self, mail: &Mail, nth: usize, notes: Vec<Note>) -> Result<(Sealed, Number<'_>), SealError> {
        self.sealer.can_seal_to(nth)?;
        let number = self.spool.numbers().take(self.recipients[nth].address.as_str());
        let numbered = Numbered { epoch: self.spool.numbers().epoch(), sequence: number.value() };
        let sealed = self.sealer.seal(mail, nth, notes, &numbered)?;
        Ok((sealed, number))
    }

    fn store(&self, mail: &Mail, batch: Batch<'_>) -> Result<Vec<QueueId>, AcceptError> {
        let sealed = batch.entries.len();
        let entries: Vec<NewEntry<'_>> = batch.entries.into_iter().chain(batch.notices).collect();
        let lines: Vec<_> = entries
            .iter()
            .map(|entry| (entry.header.recipient.clone(), entry.header.size, entry.header.message_id.clone()))
            .collect();
        if entries.is_empty() {
            return Err(AcceptError::Unsealable);
        }
        let ids = self.spool.store(entries)?;
        for (id, (recipient, size, message_id)) in ids.iter().zip(&lines) {
            maillog::accepted(id, &mail.client, &self.reverse_path, recipient, *size, message_id);
        }
        if sealed == 0 {
            return Err(AcceptError::Unsealable);
        }
        batch.told.iter().filter(|(_, count)| *count > 0).for_each(|(to, count)| self.notices.told(to, *count));
        self.counters.accepted.up();
        ids.iter().for_each(|_| self.counters.entries.up());
        Ok(ids)
    }

    fn entry<'a>(
        &self,
        arrival: SystemTime,
        recipient: String,
        sealed: Sealed,
        number: Option<Number<'a>>,
    ) -> NewEntry<'a> {
        let header = Header {
            recipient,
            reverse_path: self.reverse_path.clone(),
            epoch: self.spool.numbers().epoch().to_owned(),
            sequence: number.as_ref().map(Number::value),
            sealed_to: sealed.sealed_to,
            message_id: sealed.message_id,
            arrival,
            size: sealed.message.len() as u64,
        };
        NewEntry { header, message: sealed.message, number }
    }
}
