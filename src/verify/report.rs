//! What `verify` says: of single messages, and of each run of numbers.
//!
//! Guarantees: texts are printable ASCII. A report is [`Verdict::Well`] only if every message that claims to be the relay's
//! is, no number is missing or unexplained, and no heartbeat is late.

use std::collections::BTreeMap;

use serde::Serialize;

use super::letter::Letter;
use super::memory::Memory;
use super::runs::{Judged, Last, RunId, digest};
use crate::envelope::printable;
use crate::ranges::Ranges;

/// The most findings that are listed: a flood of forgeries must not fill a terminal or a log.
const LISTED: usize = 1000;

/// How it is.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All came, and nothing else did.
    #[default]
    Well,
    /// Nothing is known to be lost, and something is to be looked at or waited for.
    Open,
    /// Something was suppressed, forged or lost.
    Wrong,
}

/// What is to be said of a message.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It claims to be the relay's and is not.
    Forged,
    /// It was meant for somebody else.
    WrongRecipient,
    /// Its number came before with another content.
    Rollback,
    /// The relay signed it, and it makes no sense.
    Malformed,
    /// It may be the relay's and cannot be decrypted here.
    Unreadable,
    /// It was not looked at.
    TooLarge,
    /// The fixed text that sealing was not possible.
    Notice,
    /// The relay named its next key.
    NewSigner,
    /// It is here twice.
    Repeat,
}

impl Kind {
    fn verdict(self) -> Verdict {
        match self {
            Self::Forged | Self::WrongRecipient | Self::Rollback | Self::Malformed => Verdict::Wrong,
            Self::Unreadable | Self::TooLarge | Self::Notice => Verdict::Open,
            Self::NewSigner | Self::Repeat => Verdict::Well,
        }
    }
}

/// One message that is to be listed.
#[derive(Serialize, Debug)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Where it lies.
    pub place: String,
    /// Its From and Date, as they stand there: anybody can write them.
    pub from: String,
    /// As above.
    pub date: String,
    /// Why it is listed.
    pub why: String,
    #[serde(skip)]
    digest: String,
}

/// One run of numbers.
#[derive(Serialize, Debug)]
pub struct RunReport {
    /// Which.
    #[serde(flatten)]
    pub id: RunId,
    /// How it is.
    pub verdict: Verdict,
    /// Whether no younger run of this relay for this recipient has taken its place.
    pub current: bool,
    /// How many messages came, ever, and the highest number.
    pub seen: u64,
    /// As above.
    pub highest: u64,
    /// Numbers that did not come and should have.
    pub missing: Ranges,
    /// Numbers that did not come; the next heartbeat will tell of them.
    pub open: Ranges,
    /// Numbers that waited in the relay's spool when it last told.
    pub waiting: Ranges,
    /// Numbers that will not come, by why.
    pub never: BTreeMap<String, Ranges>,
    /// The last heartbeat.
    pub last_heartbeat: Option<Last>,
    /// Seconds by which the next one is late.
    pub late: Option<u64>,
    #[serde(skip)]
    judged: Judged,
}

/// Everything.
#[derive(Serialize, Default, Debug)]
pub struct Report {
    /// The version of this form.
    pub format: u32,
    /// How it is.
    pub verdict: Verdict,
    /// Messages that were looked at.
    pub messages: u64,
    /// Those the relay signed for the recipient.
    pub verified: u64,
    /// Those of them that are heartbeats and were not known before.
    pub heartbeats: u64,
    /// Those that are somebody else's and do not claim to be the relay's.
    pub foreign: u64,
    /// Whose signature counts.
    pub signers: Vec<String>,
    /// The runs of numbers.
    pub runs: Vec<RunReport>,
    /// Messages to be listed.
    pub findings: Vec<Finding>,
    /// Those beyond the first thousand.
    pub unlisted: u64,
    /// The numbers of each run that were met in these mailboxes.
    #[serde(skip)]
    pub(super) here: BTreeMap<RunId, std::collections::BTreeSet<u64>>,
}

impl Report {
    /// Lists `letter`.
    pub(super) fn add(&mut self, letter: &Letter, kind: Kind, why: &str) {
        if self.findings.len() == LISTED {
            self.unlisted += 1;
            self.verdict = self.verdict.max(kind.verdict());
            return;
        }
        self.findings.push(Finding {
            kind,
            place: printable(letter.place.as_bytes()),
            from: letter.from(),
            date: letter.field("date:"),
            why: printable(why.as_bytes()).chars().take(500).collect(),
            digest: digest(&letter.octets),
        });
    }

    /// Forgets all but the signers that were found.
    pub(super) fn begin_again(&mut self) {
        let mut findings = std::mem::take(&mut self.findings);
        findings.retain(|finding| finding.kind == Kind::NewSigner);
        let heartbeats = self.heartbeats;
        *self = Self { findings, heartbeats, ..Self::default() };
    }

    /// What is to be said when all is read.
    pub(super) fn judge(&mut self, memory: &Memory, now: u64) {
        self.format = 1;
        self.signers = memory.signers.fingerprints();
        self.findings.retain(|finding| !memory.looked_into.contains(&finding.digest));
        for (id, run) in &memory.runs {
            let younger = memory.runs.iter().any(|(other, theirs)| id.is_before(other) && theirs.newest > run.newest);
            let judged = run.judge(now, !younger);
            self.runs.push(RunReport {
                verdict: verdict(&judged, &run.never, run.last.as_ref()),
                id: id.clone(),
                current: !younger,
                seen: run.seen.count(),
                highest: run.seen.last().unwrap_or(0),
                missing: judged.missing.clone(),
                open: judged.open.clone(),
                waiting: judged.waiting.clone(),
                never: run.all_never(),
                last_heartbeat: run.last.clone(),
                late: judged.late,
                judged,
            });
        }
        let worst = self.findings.iter().map(|finding| finding.kind.verdict());
        self.verdict = worst.chain(self.runs.iter().map(|run| run.verdict)).fold(self.verdict, Verdict::max);
    }

    /// A person has looked into all of it.
    pub fn acknowledge(&self, memory: &mut Memory) {
        self.findings.iter().for_each(|finding| memory.look_into(&finding.digest));
        for report in &self.runs {
            if let Some(run) = memory.runs.get_mut(&report.id) {
                run.acknowledge(&report.judged);
            }
        }
    }
}

impl RunId {
    /// Whether `other` is another run of the same relay for the same recipient.
    fn is_before(&self, other: &Self) -> bool {
        self.epoch != other.epoch
            && (&self.signer, &self.instance, &self.recipient) == (&other.signer, &other.instance, &other.recipient)
    }
}

fn verdict(judged: &Judged, never: &BTreeMap<String, Ranges>, last: Option<&Last>) -> Verdict {
    // An operator's decision and a number without an alert are no loss; anything else that does not come is one.
    let lost = |(why, numbers): (&String, &Ranges)| {
        !numbers.is_empty() && !matches!(why.as_str(), "unused" | "removed" | "contained")
    };
    if !judged.missing.is_empty() || judged.late.is_some() {
        return Verdict::Wrong;
    }
    let unsealed = last.is_some_and(|last| last.not_sealed > 0);
    let waits = !judged.open.is_empty() || !judged.waiting.is_empty();
    if waits || unsealed || never.iter().any(lost) { Verdict::Open } else { Verdict::Well }
}
