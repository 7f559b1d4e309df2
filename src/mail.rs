//! One accepted mail on its way from intake to the spool, and what was noticed about it.
//!
//! It lives in memory only and is never printed: an attacker who writes log lines controls its octets, and its reader
//! must be the recipient alone.

use std::fmt;
use std::time::SystemTime;

use crate::alert::Block;
use crate::alert::Doubt;
use crate::envelope::Envelope;
use crate::position::Source;

/// A mail whose end of data was found.
pub struct Mail {
    /// Who it was for, as the client said.
    pub envelope: Envelope,
    /// Header block and body as received, dots unstuffed.
    pub octets: Vec<u8>,
    /// When its end of data came.
    pub arrival: SystemTime,
    /// Who handed it in: address and port.
    pub client: String,
    /// How the client introduced itself.
    pub greeting: Greeting,
    /// What is worth a reader's attention.
    pub notes: Vec<Note>,
    /// Where in a followed log it stands, if it was read there.
    pub source: Option<Source>,
    /// The alert it is about, where that is known otherwise than by reading it.
    pub block: Option<Block<'static>>,
}

impl Mail {
    /// One of the relay's own.
    pub fn own(octets: Vec<u8>, arrival: SystemTime) -> Self {
        Self {
            envelope: Envelope::default(),
            octets,
            arrival,
            client: "the relay itself".to_owned(),
            greeting: Greeting::None,
            notes: Vec::new(),
            source: None,
            block: None,
        }
    }
}

/// How a client introduced itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Greeting {
    /// Not at all.
    #[default]
    None,
    /// HELO and its argument: OSSEC and Wazuh.
    Helo(String),
    /// EHLO and its argument.
    Ehlo(String),
}

impl Greeting {
    /// Whether the client speaks the dialect in which rule text can inject MIME headers and dots.
    pub fn is_helo(&self) -> bool {
        !matches!(self, Self::Ehlo(_))
    }

    /// The argument.
    pub fn name(&self) -> &str {
        match self {
            Self::None => "",
            Self::Helo(name) | Self::Ehlo(name) => name,
        }
    }
}

/// What is worth a reader's attention; its `Display` is what the reader sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// Lone dots in the text that would have cut the alert.
    EarlyDot(usize),
    /// The client ended, fell silent or sent too much after such a dot.
    EndedAfterEarlyDot,
    /// A second mail in one session of a client that sends one.
    SecondTransaction,
    /// Lines of a followed log that are no alerts, and where they stand.
    NoAlert(u64, String),
    /// Addresses that could not be read.
    UnreadablePath(String),
    /// Alerts before this one that could not be sealed for this recipient.
    NotSealedBefore(u64),
    /// A recipient this alert was for cannot be sealed to.
    CannotSealTo(String),
    /// The certificate this was sealed to has expired.
    Expired(String),
    /// The relay will sign with the key of this fingerprint from this day on.
    SignerChanges(String, String),
    /// Of so many alerts in the mail, so many are this recipient's.
    Divided(usize, usize),
    /// So many alerts of the mail came by a followed log before.
    LeftOut(usize),
    /// The mail was not divided, or not all of it.
    NotDivided(Doubt),
}

impl Note {
    /// Its kind in a word, for the log: the words themselves may hold what the client wrote.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EarlyDot(_) => "early-dot",
            Self::EndedAfterEarlyDot => "ended-after-early-dot",
            Self::SecondTransaction => "second-transaction",
            Self::NoAlert(..) => "no-alert",
            Self::UnreadablePath(_) => "unreadable-address",
            Self::NotSealedBefore(_) => "not-sealed-before",
            Self::CannotSealTo(_) => "recipient-not-sealable",
            Self::Expired(_) => "certificate-expired",
            Self::SignerChanges(..) => "signer-changes",
            Self::Divided(..) => "divided",
            Self::LeftOut(_) => "left-out",
            Self::NotDivided(_) => "not-divided",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EarlyDot(count) => write!(
                f,
                "The text holds {count} line(s) that are a lone dot. They would have cut the alert short, or passed the \
                 rest of it off as another mail. Somebody may have written log lines to that end; the alert below is whole."
            ),
            Self::EndedAfterEarlyDot => write!(
                f,
                "The client ended the session or fell silent after such a line without a proper end of data. \
                 All that came is below; its last lines may be SMTP commands rather than text."
            ),
            Self::SecondTransaction => write!(
                f,
                "This is not the first mail of its session, though the client is of a kind that sends one mail a session. \
                 It may have been FORGED by log text inside the alert before it."
            ),
            Self::NoAlert(count, place) => write!(
                f,
                "{count} line(s) of {place} cannot be read as alerts in JSON. They are below as they stand there. If this \
                 goes on, the file is not the IDS's JSON log, or it is damaged."
            ),
            Self::UnreadablePath(path) => write!(f, "The client named an address that cannot be read: {path}"),
            Self::NotSealedBefore(count) => write!(
                f,
                "{count} alert(s) before this one could not be sealed for you and were not sent. See the IDS's own log."
            ),
            Self::CannotSealTo(recipient) => {
                write!(f, "This alert was for {recipient}, to whom nothing can be sealed at the moment.")
            }
            Self::Expired(fingerprint) => write!(
                f,
                "The certificate {fingerprint} has expired. Extend it and hand the new copy to whoever runs the relay."
            ),
            Self::SignerChanges(fingerprint, day) => write!(
                f,
                "From {day} on this relay signs with another key, {fingerprint}. If the signature of this message is good, \
                 the new key is genuine: import its certificate, next_signer in sealrelay.json, before that day."
            ),
            Self::Divided(all, own) => write!(
                f,
                "{own} of the {all} alerts in this mail are for you. They are below, octet for octet; the Subject was \
                 made for them."
            ),
            Self::LeftOut(count) => write!(
                f,
                "{count} alert(s) of this mail are left out: the IDS's log had brought you the same before, field for field."
            ),
            Self::NotDivided(doubt) => write!(
                f,
                "Alerts in this mail were not handed to those who get only their own: {doubt}. You have the whole mail."
            ),
        }
    }
}
