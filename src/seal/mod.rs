//! Sealing: an alert in memory becomes a finished message that only its recipient can read, signed by this relay.
//!
//! Guarantees: what [`Sealer::seal`] returns is safe to put on disk and to hand to any relay host. On failure it
//! returns why, and nothing of the alert anywhere. An attacker who writes log lines controls the alert's text, and can
//! neither leave the sealed part nor reach an outer header.

mod armor;
mod container;
mod expiry;
mod inline;
mod keyring;
mod manifest;
mod message;
mod mime;
mod notice;
mod original;
mod outside;
mod padding;
pub mod signer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use expiry::Expiry;
pub use keyring::{Described, Unusable, day, lint as lint_certificate};
pub use manifest::Blocks;
pub use notice::{Notices, TEXT as NOTICE};
pub use original::Original;
#[cfg(any(test, fuzzing))]
pub(crate) use original::has_controls;
pub use padding::class_of;
pub use signer::{SignerError, Signers};

use crate::config::{Config, Format, OpenPgpFingerprint, Recipient, Sender};
use crate::mail::{Mail, Note};
use crate::maillog;
use crate::ranges::Ranges;
use expiry::Announced;
use keyring::RecipientKeys;
use manifest::{Client, Manifest, NextSigner};
use message::Filler;
use outside::Outside;
use padding::Padding;

/// Nothing is filled up above this, octets, while no relay host has said what it takes: Postfix's default, the least of
/// the usual limits. A message that filler alone makes too large would end in `failed/`.
const UNKNOWN_CEILING: u64 = 10_240_000;

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
    /// What a heartbeat tells, for programs.
    pub heartbeat: Option<serde_json::Value>,
    /// How many alerts the mail held, if it held any.
    pub blocks: Option<Blocks>,
    /// The numbers of the same run that a digest takes the place of.
    pub contains: Option<Ranges>,
}

/// Seals to all configured recipients.
pub struct Sealer {
    sender: Sender,
    instance: String,
    signers: Signers,
    recipients: Vec<(Recipient, RecipientKeys, Padding)>,
    announced: Announced,
    /// Messages are not filled up above this, octets.
    size_ceiling: AtomicU64,
}

impl Sealer {
    /// Reads all certificates; `signers` sign.
    ///
    /// # Errors
    /// A certificate that is broken and never was usable.
    pub fn open(config: &Config, signers: Signers, now: SystemTime) -> Result<Self, Unusable> {
        let recipients = config.recipients.iter().map(|recipient| {
            let keys = RecipientKeys::load(recipient, &config.state, now)?;
            Ok((recipient.clone(), keys, Padding::of(floor(recipient))))
        });
        Ok(Self {
            sender: config.sender.clone(),
            instance: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            signers,
            recipients: recipients.collect::<Result<_, Unusable>>()?,
            announced: Announced::open(&config.state),
            size_ceiling: AtomicU64::new(UNKNOWN_CEILING),
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
        let now = SystemTime::now();
        let (recipient, keys, padding) = &self.recipients[to];
        let usable = keys.usable(now)?;
        // One key for the whole message, even if the next one takes over meanwhile.
        let signer = self.signers.at(now);
        let next = self.signers.announced(now);
        notes.extend(next.map(|next| Note::SignerChanges(next.signer().fingerprint().to_string(), day(next.from))));
        notes.extend(usable.expired.iter().map(|fingerprint| Note::Expired(fingerprint.to_string())));
        let sealed_to: Vec<String> = usable.certificates.iter().map(|c| c.fingerprint().to_hex()).collect();
        let outside = outside(&self.sender, recipient, mail.arrival);
        let next_signer = next.map(NextSigner::of);
        let signed_by = signer.fingerprint().to_string();
        let manifest = Manifest {
            instance: self.instance.clone(),
            next_signer,
            ..manifest(mail, recipient, &sealed_to, &notes, number, signed_by)
        };
        let all_v6 = recipient.fingerprints.iter().all(crate::config::OpenPgpFingerprint::is_v6);
        let to = message::To {
            certificates: &usable.certificates,
            keys: &usable.keys,
            seipd_v2: all_v6 || recipient.seipd_v2,
        };
        let text = inside(recipient.format, mail, &notes, &manifest, &outside);
        let message = self.fill(recipient.format, text, padding, |text, filler| {
            outside.around(recipient.format, |sink| message::write(sink, &to, signer, text, filler))
        });
        let message = message.map_err(|error| SealError::OpenPgp(format!("{error:#}")))?;
        Ok(Sealed { message_id: outside.message_id, sealed_to, message })
    }

    /// Calls `write` with `text` and the filler of its format until the message has the size of its class.
    fn fill<E>(
        &self,
        format: Format,
        mut text: Vec<u8>,
        padding: &Padding,
        write: impl Fn(&[u8], Option<&Filler>) -> Result<(Vec<u8>, usize), E>,
    ) -> Result<Vec<u8>, E> {
        let bare = text.len();
        let ceiling = self.size_ceiling();
        match format {
            Format::PgpMime => padding.fill(bare, &(0..=usize::MAX), ceiling, |filler| {
                text.truncate(bare);
                padding::pad(&mut text, bare + filler);
                write(&text, None)
            }),
            Format::Inline => {
                let notation = format!("sealrelay-padding@{}", self.sender.address.domain());
                padding.fill(bare, &Filler::ROOM, ceiling, |octets| {
                    write(&text, Some(&Filler { notation: notation.clone(), octets }))
                })
            }
        }
    }

    /// From now on nothing is filled up above `octets`, the largest message that some relay host takes; `None` if that
    /// is not known. What is larger by itself is sealed all the same.
    pub fn set_size_ceiling(&self, octets: Option<u64>) {
        self.size_ceiling.store(octets.unwrap_or(UNKNOWN_CEILING), Ordering::Relaxed);
    }

    /// The fixed text for recipient number `to`, which holds nothing of any alert.
    pub fn notice(&self, to: usize, now: SystemTime) -> Sealed {
        let outside = outside(&self.sender, &self.recipients[to].0, now);
        let message = outside.plain(notice::TEXT);
        Sealed { message_id: outside.message_id, sealed_to: Vec::new(), message }
    }

    /// Whether `mail`, a digest in the place of `contains`, would be a message of at most `limit` octets for recipient
    /// number `to`: surely, if so.
    pub fn fits(&self, mail: &Mail, to: usize, contains: &Ranges, limit: usize) -> bool {
        let recipient = &self.recipients[to].0;
        let epoch = "0123456789abcdef";
        let number =
            Numbered { epoch, sequence: u64::MAX, heartbeat: None, blocks: None, contains: Some(contains.clone()) };
        let sealed_to: Vec<String> = recipient.fingerprints.iter().map(ToString::to_string).collect();
        let manifest = manifest(mail, recipient, &sealed_to, &[], &number, "0".repeat(64));
        let outside = outside(&self.sender, recipient, mail.arrival);
        let text = inside(recipient.format, mail, &[], &manifest, &outside);
        // What is not known here: notes on certificates, the next signer with its certificate, long keys.
        let reserve = 4096 + 1024 * sealed_to.len();
        padding::unfilled(text.len()) + reserve <= limit.min(self.size_ceiling())
    }

    fn size_ceiling(&self) -> usize {
        usize::try_from(self.size_ceiling.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
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

    /// What about them has time: ends that are announced and not close.
    pub fn advice(&self) -> Vec<String> {
        let now = SystemTime::now();
        let of_one = |(recipient, keys, _): &(Recipient, RecipientKeys, Padding)| {
            let advice = keys.advice(now).into_iter();
            advice.map(|text| format!("recipient {}: {text}", recipient.address)).collect::<Vec<_>>()
        };
        self.recipients.iter().flat_map(of_one).collect()
    }

    /// The certificates of recipient number `to`, with their ends; `None` for those without one, and those that cannot be
    /// used.
    pub fn certificates(&self, to: usize) -> Vec<(OpenPgpFingerprint, Option<SystemTime>)> {
        self.recipients[to].1.ends(SystemTime::now())
    }

    /// Which relay this is: its host's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Until when the recipients' certificates hold; those without an end are left out.
    pub fn expiries(&self) -> Vec<Expiry> {
        let now = SystemTime::now();
        let of_one = |(recipient, keys, _): &(Recipient, RecipientKeys, Padding)| {
            let recipient = recipient.address.to_string();
            let expiry = move |(fingerprint, until)| Expiry { recipient: recipient.clone(), fingerprint, until };
            keys.expiries(now).into_iter().map(expiry).collect::<Vec<_>>()
        };
        self.recipients.iter().flat_map(of_one).collect()
    }

    /// Says in the log which certificates will expire, each some days ahead and once. To be called now and then.
    pub fn announce_expiries(&self) {
        let now = SystemTime::now();
        for Expiry { recipient, fingerprint, until } in self.announced.due(self.expiries(), now) {
            maillog::expiring(&recipient, fingerprint.as_str(), &day(until), &expiry::in_days(until, now));
        }
    }

    /// The fingerprint of the key that signs.
    pub fn signer(&self) -> String {
        self.signers.at(SystemTime::now()).fingerprint().to_string()
    }

    /// Whether the key that signs was made by this start: the state directory is new, or was lost.
    pub fn signer_is_new(&self) -> bool {
        self.signers.is_new()
    }
}

/// The size class of the message that `mail` would become for `recipient`, octets, as far as it can be told without
/// sealing: near the end of a class it may be the next one. `None` if it would not be filled up.
pub fn size_class(
    sender: &Sender,
    recipient: &Recipient,
    mail: &Mail,
    notes: &[Note],
    blocks: Option<Blocks>,
) -> Option<usize> {
    // As long as the true ones.
    let number = Numbered { epoch: "0123456789abcdef", sequence: 1000, heartbeat: None, blocks, contains: None };
    let sealed_to: Vec<String> = recipient.fingerprints.iter().map(ToString::to_string).collect();
    let manifest = manifest(mail, recipient, &sealed_to, notes, &number, "0".repeat(40));
    let outside = outside(sender, recipient, mail.arrival);
    let text = inside(recipient.format, mail, notes, &manifest, &outside);
    let room = match recipient.format {
        Format::PgpMime => 0..=usize::MAX,
        Format::Inline => Filler::ROOM,
    };
    padding::expected(text.len(), &room, usize::try_from(UNKNOWN_CEILING).unwrap_or(usize::MAX), floor(recipient))
}

/// What a relay host sees of a message that arrived at `arrival`. In slots the day is all it learns: the time would tell
/// news from none, and what a crash left behind from what came after it.
fn outside(sender: &Sender, recipient: &Recipient, arrival: SystemTime) -> Outside {
    const DAY: u64 = 24 * 3600;
    let days = arrival.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() / DAY);
    let day = UNIX_EPOCH + Duration::from_secs(days * DAY);
    Outside::new(sender, &recipient.address, if recipient.release.slots().is_some() { day } else { arrival })
}

/// No message for `recipient` is smaller, octets: in slots all have one size, those that leave after a crash too.
fn floor(recipient: &Recipient) -> usize {
    recipient.release.slots().map_or(0, |slots| slots.size)
}

/// What is signed and encrypted, without filler.
fn inside(format: Format, mail: &Mail, notes: &[Note], manifest: &Manifest, outside: &Outside) -> Vec<u8> {
    match format {
        Format::PgpMime => mime::inside(mail, notes, manifest, outside),
        Format::Inline => inline::inside(mail, notes, manifest),
    }
}

fn manifest(
    mail: &Mail,
    recipient: &Recipient,
    sealed_to: &[String],
    notes: &[Note],
    number: &Numbered<'_>,
    signer: String,
) -> Manifest {
    Manifest {
        format: 1,
        generator: format!("sealrelay {}", env!("CARGO_PKG_VERSION")),
        instance: String::new(),
        epoch: number.epoch.to_owned(),
        sequence: number.sequence,
        recipient: recipient.address.to_string(),
        certificates: sealed_to.to_vec(),
        signer,
        next_signer: None,
        arrived: manifest::rfc3339(mail.arrival),
        client: Client::of(mail),
        noticed: manifest::in_words(notes),
        heartbeat: number.heartbeat.clone(),
        blocks: number.blocks,
        contains: number.contains.clone(),
    }
}
