//! Messages of the relay's own: heartbeats, digests, what fills a slot. They are numbered, sealed and stored like alerts.

use super::{AcceptError, Pipeline, Told};
use crate::envelope::QueueId;
use crate::mail::{Mail, Note};
use crate::maillog;
use crate::ranges::Ranges;
use crate::spool::NewEntry;

impl Pipeline {
    /// Seals `mail`, a heartbeat with `facts`, for `recipient` and stores it; its number and its name.
    ///
    /// # Errors
    /// It cannot be sealed, or the disk does not take it.
    pub fn beat(
        &self,
        recipient: &str,
        mail: &Mail,
        facts: serde_json::Value,
    ) -> Result<(u64, Option<QueueId>), AcceptError> {
        let sealing = self.sealing();
        let nth = sealing.nth(recipient).ok_or(AcceptError::Unsealable)?;
        let untold = self.notices.untold(recipient);
        let notes = (untold > 0).then_some(Note::NotSealedBefore(untold)).into_iter().collect();
        let told = Told { heartbeat: Some(facts), ..Told::default() };
        let (sealed, number) = self.seal_one(&sealing, mail, nth, notes, told).map_err(|why| {
            maillog::unsealable(recipient, &why.to_string());
            AcceptError::Unsealable
        })?;
        let value = number.value();
        let entry = sealing.entry(&self.spool, mail, recipient.to_owned(), sealed, Some(number));
        let header = entry.header.clone();
        let ids = self.store_alone(entry)?;
        self.counters.heartbeats.up();
        self.notices.told(recipient, untold);
        ids.iter().for_each(|id| self.say_accepted(id, mail, &header, "heartbeat"));
        Ok((value, ids.into_iter().next()))
    }

    /// Stores one entry of the relay's own, which takes a slot if its recipient has slots.
    fn store_alone(&self, entry: NewEntry<'_>) -> std::io::Result<Vec<QueueId>> {
        let recipient = entry.header.recipient.clone();
        let parked = self.gatherer.is_in_slots(&recipient);
        let ids = self.spool.store(vec![NewEntry { parked, ..entry }])?;
        ids.iter().filter(|_| parked).for_each(|id| self.gatherer.stored_alone(&recipient, id));
        Ok(ids)
    }

    /// Whether the digest `mail` would be a message of at most `limit` octets for `recipient`.
    pub fn fits(&self, recipient: &str, mail: &Mail, contains: &Ranges, limit: usize) -> bool {
        let sealing = self.sealing();
        sealing.sealer.set_size_ceiling((self.size_limit)());
        sealing.nth(recipient).is_some_and(|nth| sealing.sealer.fits(mail, nth, contains, limit))
    }

    /// Seals `mail`, of the relay's own, for `recipient` and stores it parked, so that what it takes the place of can go
    /// before it comes; its id and the octets of its message.
    ///
    /// # Errors
    /// It cannot be sealed, or the disk does not take it.
    pub fn park_own(
        &self,
        recipient: &str,
        mail: &Mail,
        contains: Option<Ranges>,
    ) -> Result<(QueueId, u64), AcceptError> {
        let sealing = self.sealing();
        let nth = sealing.nth(recipient).ok_or(AcceptError::Unsealable)?;
        let kind = if contains.is_some() { "digest" } else { "filler" };
        let told = Told { contains, ..Told::default() };
        let (sealed, number) = self.seal_one(&sealing, mail, nth, Vec::new(), told).map_err(|why| {
            maillog::unsealable(recipient, &why.to_string());
            AcceptError::Unsealable
        })?;
        let entry = sealing.entry(&self.spool, mail, recipient.to_owned(), sealed, Some(number));
        let header = entry.header.clone();
        let id = self.spool.store(vec![NewEntry { parked: true, ..entry }])?.remove(0);
        self.say_accepted(&id, mail, &header, kind);
        Ok((id, header.size))
    }
}
