//! What is remembered of heartbeats over restarts: `heartbeat.json` in the state directory.
//!
//! On failure to read it a heartbeat says that the state is new; on failure to write it one may come twice, and totals may
//! be too small and say so. Nothing an attacker controls gets here but how high counters are.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::facts::Totals;
use crate::envelope::QueueId;
use crate::spool::replace;

/// The file and what it says.
pub struct Record {
    file: PathBuf,
    /// What all processes counted since the state directory is there.
    pub kept: Kept,
}

#[derive(Serialize, Deserialize, Default, Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// What earlier processes counted, and this one up to the last writing.
    pub totals: Totals,
    /// Whether the last process wrote its totals when it ended.
    pub farewell: bool,
    /// The last heartbeat of each recipient.
    pub told: BTreeMap<String, Told>,
}

/// A heartbeat that is durable.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// When it was made, seconds since 1970.
    pub at: u64,
    /// Seconds until the next one, as it said.
    pub every: Option<u64>,
    /// The run of numbers it belongs to.
    pub epoch: String,
    /// The configuration it was made under.
    pub configuration: String,
    /// All that was counted until then.
    pub totals: Totals,
    /// Whether nothing counted since then can have been lost.
    pub complete: bool,
    /// The number and the name it got in the spool.
    #[serde(default)]
    pub entry: Option<(u64, QueueId)>,
}

impl Record {
    /// Reads the record in `state`.
    pub fn open(state: &Path) -> Self {
        let file = state.join("heartbeat.json");
        let kept = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice::<Kept>(&json).ok());
        let mut kept = kept.unwrap_or_else(|| Kept { farewell: true, ..Kept::default() });
        if !kept.farewell {
            kept.told.values_mut().for_each(|told| told.complete = false);
        }
        Self { file, kept }
    }

    /// Writes it. `farewell` says that nothing will be counted any more.
    ///
    /// # Errors
    /// The system refuses; what was written before stands.
    pub fn write(&mut self, farewell: bool) -> io::Result<()> {
        self.kept.farewell = farewell;
        replace(&self.file, &serde_json::to_vec(&self.kept)?)
    }
}

/// `more` added to `totals`.
pub fn plus(totals: &Totals, more: &Totals) -> Totals {
    let mut sum = totals.clone();
    for (name, count) in more {
        let total = sum.entry(name.clone()).or_default();
        *total = total.saturating_add(*count);
    }
    sum
}

/// What `totals` has more than `before`.
pub fn since(totals: &Totals, before: &Totals) -> Totals {
    let more = |(name, count): (&String, &u64)| {
        (name.clone(), count.saturating_sub(before.get(name).copied().unwrap_or_default()))
    };
    totals.iter().map(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(accepted: u64) -> Totals {
        [("accepted".to_owned(), accepted)].into()
    }

    #[test]
    fn totals_go_on_over_restarts_and_a_death_without_farewell_is_remembered() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut record = Record::open(folder.path());
        let told = Told {
            at: 1,
            every: None,
            epoch: "e".into(),
            configuration: "c".into(),
            totals: totals(5),
            complete: true,
            entry: None,
        };
        record.kept.told.insert("a@b".into(), told);
        record.kept.totals = plus(&totals(5), &totals(2));
        record.write(true).expect("written");
        let mut again = Record::open(folder.path());
        assert!(again.kept.told["a@b"].complete);
        assert_eq!(since(&again.kept.totals, &again.kept.told["a@b"].totals), totals(2));
        again.write(false).expect("written");
        assert!(!Record::open(folder.path()).kept.told["a@b"].complete);
    }
}
