//! What is asked of the pipeline by `status`, heartbeats and the banner: nothing here changes anything.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Pipeline;
use crate::config::{OpenPgpFingerprint, Recipient};
use crate::route;
use crate::seal::Expiry;
use crate::status::{CertificateStatus, End, RecipientStatus};

impl Pipeline {
    /// Which relay this is: its host's name.
    pub fn instance(&self) -> String {
        self.sealing().sealer.instance().to_owned()
    }

    /// Alerts that could not be sealed for `recipient` and that it does not know of yet.
    pub fn untold(&self, recipient: &str) -> u64 {
        self.notices.untold(recipient)
    }

    /// Whether an alert for the default recipients could be sealed now.
    fn can_seal(&self) -> bool {
        let sealing = self.sealing();
        route::defaults(&sealing.recipients).into_iter().any(|nth| sealing.sealer.can_seal_to(nth).is_ok())
    }

    /// Whether a mail can be taken now: there is room for it, and it could be sealed.
    pub fn can_take(&self) -> bool {
        self.spool.has_room() && self.can_seal()
    }

    /// What an operator should know about routes, certificates and slots now.
    pub fn warnings(&self) -> Vec<String> {
        let sealing = self.sealing();
        [sealing.route_warnings.clone(), sealing.sealer.warnings(), self.gatherer.warnings()].concat()
    }

    /// What an operator should know about them in time.
    pub fn advice(&self) -> Vec<String> {
        self.sealing().sealer.advice()
    }

    /// How it stands with each recipient; when its last heartbeat was is not known here.
    pub fn recipients(&self) -> Vec<RecipientStatus> {
        let sealing = self.sealing();
        let end = |(fingerprint, until): (OpenPgpFingerprint, Option<SystemTime>)| {
            let until = until.and_then(|until| until.duration_since(UNIX_EPOCH).ok());
            End { fingerprint: fingerprint.to_string(), until: until.map(|age| age.as_secs()) }
        };
        let status = |(nth, recipient): (usize, &Recipient)| RecipientStatus {
            recipient: recipient.address.to_string(),
            default: recipient.default,
            certificates: sealing.sealer.certificates(nth).into_iter().map(end).collect(),
            unusable: sealing.sealer.can_seal_to(nth).err().map(|why| why.to_string()),
            last_number: self.spool.numbers().of(recipient.address.as_str()).highest,
            last_heartbeat: None,
        };
        sealing.recipients.iter().enumerate().map(status).collect()
    }

    /// Until when the recipients' certificates hold.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        let status = |expiry: Expiry| CertificateStatus {
            recipient: expiry.recipient,
            fingerprint: expiry.fingerprint.to_string(),
            until: expiry.until.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
        };
        self.sealing().sealer.expiries().into_iter().map(status).collect()
    }

    /// Says in the log which certificates will expire.
    pub fn announce_expiries(&self) {
        self.sealing().sealer.announce_expiries();
    }

    /// The fingerprint of the key that signs.
    pub fn signer(&self) -> String {
        self.sealing().sealer.signer()
    }

    /// Whether that key was made by this start: the state directory is new, or was lost.
    pub fn signer_is_new(&self) -> bool {
        self.sealing().sealer.signer_is_new()
    }
}
