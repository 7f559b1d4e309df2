//! Sealing: an alert in memory becomes a finished message that only its recipient can read, signed by this relay.
//!
//! Guarantees: what [`Sealer::seal`] returns is safe to put on disk and to hand to any relay host. On failure it
//! returns why, and nothing of the alert anywhere. An attacker who writes log lines controls the alert's text, and can
//! neither leave the sealed part nor reach an outer header.

mod container;
mod keyring;
mod manifest;
mod message;
mod mime;
mod notice;
mod original;
mod outside;
mod padding;
mod signer;

use std::path::Path;
use std::time::SystemTime;

pub use keyring::Unusable;
pub use notice::Notices;
#[cfg(any(test, fuzzing))]
pub(crate) use original::{Original, has_controls};
pub use signer::{Signer, SignerError};

use crate::config::{Config, Recipient, Sender};
use crate::mail::{Mail, Note};
use keyring::RecipientKeys;
use manifest::{Client, Manifest};
use outside::Outside;
use padding::Padding;

/// A finished message.
pub struct Sealed {
    /// Its Message-ID, with brackets.
    pub message_id: String,
    /// The full fingerprints it is sealed to; empty for a notice.
    pub sealed_to: Vec<String>,
    /// Headers and content, CRLF lines.
    pub message: Vec<u8>,
}

/// Why an alert could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// None of the recipient's certificates can be used.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// Sequoia could not make the message.
    #[error("sealing did not work: {0}")]
    OpenPgp(String),
}

/// Which message of which run of numbers is being sealed.
pub struct Numbered<'a> {
    /// The run.
    pub epoch: &'a str,
    /// The number.
    pub sequence: u64,
}

/// Seals to all configured recipients.
pub struct Sealer {
    sender: Sender,
    instance: String,
    signer: Signer,
    recipients: Vec<(Recipient, RecipientKeys, Padding)>,
}

/// Checks every recipient's certificates without touching any state: for `config check`.
///
/// # Errors
/// The first certificate that cannot be used today.
pub fn lint(config: &Config, now: SystemTime) -> Result<(), Unusable> {
    config.recipients.iter().try_for_each(|recipient| RecipientKeys::lint(recipient, now))
}

impl Sealer {
    /// Reads all certificates; `signer` signs.
    ///
    /// # Errors
    /// A certificate that is broken and never was usable.
    pub fn open(config: &Config, signer: Signer, now: SystemTime) -> Result<Self, Unusable> {
        let recipients = config.recipients.iter().map(|recipient| {
            let keys = RecipientKeys::load(recipient, &config.state, now)?;
            Ok((recipient.clone(), keys, Padding::default()))
        });
        Ok(Self {
            sender: config.sender.clone(),
            instance: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            signer,
            recipients: recipients.collect::<Result<_, Unusable>>()?,
        })
    }

    /// Seals `mail` for the recipient number `to` of the configuration.
    ///
    /// # Errors
    /// None of its certificates can be used, or Sequoia could not make the message.
    pub fn seal(
        &self,
        mail: &Mail,
        to: usize,
        mut notes: Vec<Note>,
        number: &Numbered<'_>,
    ) -> Result<Sealed, SealError> {
        let (recipient, keys, padding) = &self.recipients[to];
        let usable = keys.usable(SystemTime::now())?;
        notes.extend(usable.expired.iter().map(|fingerprint| Note::Expired(fingerprint.to_string())));
        let sealed_to: Vec<String> = usable.certificates.iter().map(|c| c.fingerprint().to_hex()).collect();
        let outside = Outside::new(&self.sender, &recipient.address, mail.arrival);
        let manifest = self.manifest(mail, recipient, &sealed_to, &notes, number);
        let mut text = mime::inside(mail, &notes, &manifest, &outside);
        let all_v6 = recipient.fingerprints.iter().all(crate::config::OpenPgpFingerprint::is_v6);
        let to = message::To {
            certificates: &usable.certificates,
            keys: &usable.keys,
            seipd_v2: all_v6 || recipient.seipd_v2,
        };
        let message = padding
            .fill(&mut text, |text| {
                outside.around(|sink| message::write(sink, &to, &self.signer, text), text.len() / 2 * 3)
            })
            .map_err(|error| SealError::OpenPgp(format!("{error:#}")))?;
        Ok(Sealed { message_id: outside.message_id, sealed_to, message })
    }

    fn manifest(
        &self,
        mail: &Mail,
        recipient: &Recipient,
        sealed_to: &[String],
        notes: &[Note],
        number: &Numbered<'_>,
    ) -> Manifest {
        Manifest {
            format: 1,
            generator: format!("sealrelay {}", env!("CARGO_PKG_VERSION")),
            instance: self.instance.clone(),
            epoch: number.epoch.to_owned(),
            sequence: number.sequence,
            recipient: recipient.address.to_string(),
            certificates: sealed_to.to_vec(),
            signer: self.signer.fingerprint().to_string(),
            arrived: manifest::rfc3339(mail.arrival),
            client: Client::of(mail),
            noticed: manifest::in_words(notes),
        }
    }

    /// The fixed text for recipient number `to`, which holds nothing of any alert.
    pub fn notice(&self, to: usize, now: SystemTime) -> Sealed {
        let outside = Outside::new(&self.sender, &self.recipients[to].0.address, now);
        let message = outside.plain(notice::TEXT);
        Sealed { message_id: outside.message_id, sealed_to: Vec::new(), message }
    }

    /// Whether anything can be sealed to recipient number `to` now.
    ///
    /// # Errors
    /// Why not.
    pub fn can_seal_to(&self, to: usize) -> Result<(), Unusable> {
        self.recipients[to].1.usable(SystemTime::now()).map(|_| ())
    }

    /// What an operator should know about the certificates now.
    pub fn warnings(&self) -> Vec<String> {
        let now = SystemTime::now();
        let of_one = |(recipient, keys, _): &(Recipient, RecipientKeys, Padding)| {
            keys.warnings(now)
                .into_iter()
                .map(|text| format!("recipient {}: {text}", recipient.address))
                .collect::<Vec<_>>()
        };
        self.recipients.iter().flat_map(of_one).collect()
    }

    /// The fingerprint of the key that signs.
    pub fn signer(&self) -> String {
        self.signer.fingerprint().to_string()
    }

    /// The public half of the key that signs.
    pub fn signer_file(state: &Path) -> std::path::PathBuf {
        state.join("signer.asc")
    }
}
