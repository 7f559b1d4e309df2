//! What became of each number, as far as spool and record tell: for heartbeats.
//!
//! Guarantees: a number up to [`Account::highest`] that is neither waiting nor among those that will never come has been
//! taken by a relay host, but for entries whose header line cannot be read, and for those in digests older than the record
//! remembers. It walks the spool's directories; called once
//! in a while, never on the way of an alert.

use std::collections::{BTreeMap, BTreeSet};

use super::Spool;
use super::durable::Directory;
use super::start::{ids_in_order, read_header};
use crate::envelope::QueueId;
use crate::ranges::Ranges;

/// One recipient's numbers.
#[derive(Default, Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The highest number that was given out.
    pub highest: u64,
    /// Those of entries that will be sent, or are held.
    pub waiting: Ranges,
    /// Those that will never come unless an operator does something, by why: `failed`, `damaged`,
    /// `removed`, `contained` (a digest has replaced them), `unused`.
    pub never: BTreeMap<&'static str, Ranges>,
}

impl Spool {
    /// The accounts of all `recipients` now.
    pub fn accounts<'a>(&self, recipients: impl Iterator<Item = &'a str>) -> BTreeMap<String, Account> {
        // The numbers first: what is given out later is above `highest`, and is the next account's business.
        let mut accounts: BTreeMap<String, Account> =
            recipients.map(|recipient| (recipient.to_owned(), self.account(recipient))).collect();
        // `queue` again at the end, for what an operator moves back meanwhile.
        let places: [(&Directory, Option<&'static str>); 5] = [
            (&self.queue, None),
            (&self.held, None),
            (&self.failed, Some("failed")),
            (&self.damaged, Some("damaged")),
            (&self.queue, None),
        ];
        let mut seen = BTreeSet::new();
        for (directory, never) in places {
            for id in ids_in_order(directory).into_iter() {
                // What has just moved on is found where it went.
                let Ok(header) = read_header(directory, &id) else { continue };
                if !seen.insert(id) {
                    continue;
                }
                let (true, Some(number)) = (header.epoch == self.numbers.epoch(), header.sequence) else { continue };
                let Some(account) = accounts.get_mut(&header.recipient) else { continue };
                account.found(number, never);
            }
        }
        // Last of all: what a digest replaced meanwhile was found nowhere.
        for (recipient, account) in &mut accounts {
            let contained = self.numbers.of(recipient).contained.within(&Ranges::of(1, account.highest));
            account.waiting = std::mem::take(&mut account.waiting).without(&contained);
            if !contained.is_empty() {
                account.never.insert("contained", contained);
            }
        }
        accounts
    }

    /// Whether a relay host has taken the entry `id`, which carries `number`: it is nowhere any more, and no operator
    /// removed it. A few looks at the disk, however long the queue is.
    pub fn was_taken(&self, id: &QueueId, recipient: &str, number: u64) -> bool {
        self.place_of(id).is_none() && !self.numbers.of(recipient).removed.contains(number)
    }

    fn account(&self, recipient: &str) -> Account {
        let known = self.numbers.of(recipient);
        let never = [("unused", known.unused), ("removed", known.removed)];
        let never = never.into_iter().filter(|(_, numbers)| !numbers.is_empty()).collect();
        Account { highest: known.highest, waiting: known.under_way, never }
    }
}

impl Account {
    fn found(&mut self, number: u64, never: Option<&'static str>) {
        match never {
            _ if number > self.highest => {}
            Some(why) => self.never.entry(why).or_default().insert(number),
            None => self.waiting.insert(number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::spool::entry::tests::sample;
    use crate::spool::{Attempts, NewEntry};

    #[test]
    fn every_number_is_where_it_belongs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (root, file) = (folder.path().join("spool"), folder.path().join("sealrelay.toml"));
        std::fs::create_dir_all(folder.path().join("state")).expect("state");
        let text = format!(
            "[sender]\naddress = \"a@b\"\n[[recipient]]\naddress = \"a@b\"\ncertificate = \"x\"\nfingerprint = \"{}\"\n\
             [[relay]]\nhost = \"x\"\n[spool]\ndirectory = \"spool\"\n[state]\ndirectory = \"state\"\n",
            "0".repeat(40)
        );
        std::fs::write(&file, text).expect("written");
        let config = crate::config::Config::load(&file).expect("a configuration");
        let spool = Spool::open(&config, Duration::ZERO).expect("opened");
        let epoch = spool.numbers().epoch().to_owned();
        let store = || {
            let number = spool.numbers().take("a@b");
            let header = crate::spool::Header { epoch: epoch.clone(), ..sample("a@b", number.value(), b"x") };
            let entry =
                NewEntry { header: header.clone(), message: b"x".to_vec(), number: Some(number), parked: false };
            (spool.store(vec![entry]).expect("stored").remove(0), header)
        };
        let (sent, header) = store();
        spool.complete(&sent, &header);
        let (failed, header) = store();
        spool.fail(&failed, &header, &Attempts::default()).expect("moved");
        let (held, _) = store();
        std::fs::rename(root.join("queue").join(held.as_str()), root.join("held").join(held.as_str())).expect("held");
        drop(spool.numbers().take("a@b"));
        let (waiting, _) = store();
        let under_way = spool.numbers().take("a@b");
        let accounts = spool.accounts(["a@b", "c@d"].into_iter());
        assert_eq!(accounts["c@d"], Account::default());
        // One that was never an entry has no name; of the others only the first is gone for good.
        let ids = [(&sent, 1), (&failed, 2), (&held, 3), (&waiting, 5)];
        assert_eq!(ids.map(|(id, number)| spool.was_taken(id, "a@b", number)), [true, false, false, false]);
        spool.numbers().record_removed([(epoch.as_str(), "a@b", 1)].into_iter()).expect("recorded");
        assert!(!spool.was_taken(&sent, "a@b", 1), "as if an operator had removed it");
        let account = &accounts["a@b"];
        assert_eq!((account.highest, account.waiting.to_string()), (6, "3, 5-6".to_owned()));
        let never: Vec<_> = account.never.iter().map(|(why, numbers)| (*why, numbers.to_string())).collect();
        assert_eq!(never, [("failed", "2".to_owned()), ("unused", "4".to_owned())]);
        drop(under_way);
    }
}
