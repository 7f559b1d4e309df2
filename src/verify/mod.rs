//! The recipient's side: reads mailboxes, decrypts through the `gpg` that is set up there, and tells whether all messages
//! came and came from the relay.
//!
//! ```text
//! mailbox > letter > gpg --unwrap > signature > manifest > runs of numbers > report
//! ```
//!
//! Guarantees: a message counts only if a remembered signer signed it, for the very certificate that opened it; gpg's
//! keyring and trust have no say in that. What was seen is remembered, so that mail that was tidied away is no gap.
//! Messages that are bad or foreign are listed and stop nothing. On failure to run gpg at all nothing is said to be well.
//!
//! An attacker can put anything into a mailbox: sizes, times and depths are bounded, nothing goes through a shell, and what
//! is shown of a message is printable ASCII.

mod gpg;
mod letter;
mod mailbox;
mod manifest;
mod memory;
mod outside;
mod report;
mod runs;
mod signature;
mod signers;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

pub use gpg::{Gpg, GpgError};
pub use mailbox::{MailboxError, Progress};
pub use memory::{Memory, MemoryError};
pub use report::{Finding, Kind, Report, RunReport, Verdict};
pub use signers::SignerError;

use letter::Letter;
use manifest::Manifest;
use runs::{Arrival, Digests, RunId};
use signature::NotSigned;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A mailbox cannot be read.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
    /// gpg cannot be run.
    #[error(transparent)]
    Gpg(#[from] GpgError),
    /// What is remembered cannot be read or written.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A signer cannot be used.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// Goes through mailboxes with what is remembered.
pub struct Verifier<'a> {
    memory: &'a mut Memory,
    gpg: &'a Gpg,
    report: Report,
    /// Which number of which run a sealed text is that was verified before.
    known: HashMap<String, (RunId, u64)>,
}

impl<'a> Verifier<'a> {
    /// Begins with what `memory` knows.
    pub fn new(memory: &'a mut Memory, gpg: &'a Gpg) -> Self {
        let known = memory.runs.iter().flat_map(|(id, run)| {
            run.contents().map(|(number, digests)| (digests.sealed.clone(), (id.clone(), number)))
        });
        Self { known: known.collect(), memory, gpg, report: Report::default() }
    }

    /// Reads all of `paths` and judges what was found; `progress` is told how far it is.
    ///
    /// # Errors
    /// A mailbox cannot be read, or gpg cannot be run. What one message holds is never an error.
    pub fn verify(mut self, paths: &[PathBuf], progress: &mut Progress<'_>) -> Result<Report, VerifyError> {
        loop {
            let signers = self.memory.signers.certificates().len();
            mailbox::each(paths, progress, &mut |letter| self.take(&letter))?;
            if self.memory.signers.certificates().len() == signers {
                break;
            }
            // A signer was announced; what it signed may have come before the announcement. What is verified is known now,
            // and each pass but the last finds another signer, of which there is a bound.
            self.report.begin_again();
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        self.report.judge(self.memory, now);
        Ok(self.report)
    }

    /// One message of a mailbox.
    fn take(&mut self, letter: &Letter) -> Result<(), VerifyError> {
        self.report.messages += 1;
        let claims = self.memory.signers.are_named_in(&letter.from());
        if letter.too_large {
            self.report.add(letter, Kind::TooLarge, "larger than anything the relay makes; not looked at");
            return Ok(());
        }
        let Some(sealed) = letter.sealed() else {
            match claims {
                _ if letter.is_notice() => self.report.add(
                    letter,
                    Kind::Notice,
                    "the fixed notice that an alert could not be sealed; it is not signed, anybody can send it",
                ),
                true => self.report.add(letter, Kind::Forged, "claims to come from the relay and is not sealed"),
                false => self.report.foreign += 1,
            }
            return Ok(());
        };
        let digest = runs::digest(&sealed);
        if let Some((id, number)) = self.known.get(&digest).cloned() {
            self.report.verified += 1;
            self.seen_here(letter, &id, number);
            return Ok(());
        }
        let opened = match self.gpg.unwrap(&sealed) {
            Ok(opened) => opened,
            Err(GpgError::Message(why)) => {
                match claims {
                    true => self.report.add(letter, Kind::Unreadable, &format!("cannot be decrypted: {why}")),
                    false => self.report.foreign += 1,
                }
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.opened(letter, &opened, digest, claims);
        Ok(())
    }

    /// A message that gpg could decrypt; who signed it is not known yet.
    fn opened(&mut self, letter: &Letter, opened: &gpg::Unwrapped, sealed: String, claims: bool) {
        let verified = match signature::verify(&opened.octets, self.memory.signers.certificates()) {
            Ok(verified) => verified,
            Err(NotSigned { why, content }) => {
                // Somebody else's mail to the same mailbox, unless it looks like the relay's.
                match claims || content.is_some_and(|content| Manifest::read(&content).is_ok()) {
                    true => self.report.add(letter, Kind::Forged, &why),
                    false => self.report.foreign += 1,
                }
                return;
            }
        };
        let manifest = match Manifest::read(&verified.content) {
            Ok(manifest) => manifest,
            Err(why) => return self.report.add(letter, Kind::Malformed, &why),
        };
        if !verified.is_for(&opened.certificate) || !manifest.is_for(&opened.certificate) {
            let why = format!(
                "the relay sealed it for {} and not for the certificate {} that opened it: somebody passed it on",
                manifest.recipient, opened.certificate
            );
            return self.report.add(letter, Kind::WrongRecipient, &why);
        }
        let id = RunId {
            signer: self.memory.signers.lineage(&verified.signer),
            instance: manifest.instance.clone(),
            epoch: manifest.epoch.clone(),
            recipient: manifest.recipient.clone(),
        };
        self.report.verified += 1;
        self.learn_next_signer(letter, &verified.signer, &manifest);
        let digests = Digests { content: runs::digest(&verified.content), sealed: sealed.clone() };
        let run = self.memory.runs.entry(id.clone()).or_default();
        match run.arrive(manifest.sequence, digests, manifest.arrived()) {
            Arrival::New | Arrival::Again => {}
            Arrival::Another => {
                let why = format!(
                    "number {} of epoch {} came before with another content: the relay's state was restored from an old \
                     copy, or somebody else has its key",
                    manifest.sequence, manifest.epoch
                );
                return self.report.add(letter, Kind::Rollback, &why);
            }
        }
        run.contain(manifest.sequence, &manifest.contains);
        if let Some(facts) = &manifest.heartbeat {
            self.report.heartbeats += 1;
            run.heartbeat(manifest.sequence, facts);
        }
        self.known.insert(sealed, (id.clone(), manifest.sequence));
        self.seen_here(letter, &id, manifest.sequence);
    }

    fn seen_here(&mut self, letter: &Letter, id: &RunId, number: u64) {
        if !self.report.here.entry(id.clone()).or_default().insert(number) {
            let why = format!("number {number} of epoch {} is here more than once, with the same content", id.epoch);
            self.report.add(letter, Kind::Repeat, &why);
        }
    }

    fn learn_next_signer(&mut self, letter: &Letter, signer: &str, manifest: &Manifest) {
        let Some(next) = &manifest.next_signer else { return };
        match self.memory.signers.announced(next, signer) {
            Ok(true) => {
                let why =
                    format!("from now on {} may sign too: the key {signer} says so and certifies it", next.fingerprint);
                self.report.add(letter, Kind::NewSigner, &why);
            }
            Ok(false) => {}
            Err(error) => {
                let why = format!("announces another signer that is not taken: {error}");
                self.report.add(letter, Kind::Malformed, &why);
            }
        }
    }
}
