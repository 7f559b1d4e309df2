//! By what mails are routed and sealed: what a reload replaces, as one.

use crate::alert::Groups;
use crate::config::{Config, Recipient};
use crate::mail::Mail;
use crate::seal::{Sealed, Sealer};
use crate::share;
use crate::spool::{Header, NewEntry, Number, Spool};

/// What a reload replaces, as one: a mail is routed and sealed by what was in force when it came.
pub(super) struct Sealing {
    pub recipients: Vec<Recipient>,
    pub groups: Groups,
    /// What could not be read of the groups, or can never match.
    pub route_warnings: Vec<String>,
    reverse_path: String,
    /// Alerts that one of these logs has brought are left out of the IDS's mail.
    pub secondary_to: Vec<String>,
    pub sealer: Sealer,
}

impl Sealing {
    pub fn new(config: &Config, sealer: Sealer) -> Self {
        let (groups, route_warnings) = share::groups(config);
        let reverse_path = config.sender.envelope.to_string();
        let secondary = config.follows.iter().filter(|follow| follow.secondary);
        let secondary_to = secondary.map(|follow| follow.path.to_string_lossy().into_owned()).collect();
        Self { recipients: config.recipients.clone(), groups, route_warnings, reverse_path, secondary_to, sealer }
    }

    /// The number of the recipient with `address`, if there still is one.
    pub fn nth(&self, address: &str) -> Option<usize> {
        self.recipients.iter().position(|recipient| recipient.address.as_str() == address)
    }

    pub fn entry<'a>(
        &self,
        spool: &Spool,
        mail: &Mail,
        recipient: String,
        sealed: Sealed,
        number: Option<Number<'a>>,
    ) -> NewEntry<'a> {
        let header = Header {
            recipient,
            reverse_path: self.reverse_path.clone(),
            epoch: spool.numbers().epoch().to_owned(),
            sequence: number.as_ref().map(Number::value),
            sealed_to: sealed.sealed_to,
            message_id: sealed.message_id,
            arrival: mail.arrival,
            size: sealed.message.len() as u64,
            // A notice is not the alert: whoever got one still misses the line.
            source: number.as_ref().and_then(|_| mail.source.clone()),
        };
        NewEntry { header, message: sealed.message, number, parked: false }
    }
}
