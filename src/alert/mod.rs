//! What an alert says of itself: date, location, rule, level, addresses, user, log text.
//!
//! One type, [`Block`], whether it was read from the text of a mail or from a line of `alerts.json`; routes look at nothing
//! else. Guarantees: reading is total. It takes time and memory in proportion to the text, gives no error and never
//! panics; what is no alert has no blocks. An attacker who writes log lines controls the log text, and with it whatever
//! imitates structure in it: what is read here may add recipients and never takes a mail from anybody.

/// Alerts of the IDS's JSON log.
pub mod json;

mod groups;
mod head;
mod mail;
mod pattern;
mod subject;

use std::borrow::Cow;
use std::fmt;

pub use groups::Groups;
pub use mail::{BLOCKS_LIMIT, Kind, Reading, read};
pub use pattern::{Pattern, PatternError};
pub use subject::of_part as subject_of_part;

/// Octets of a mail where they stand, or made from an escaped text.
pub type Text<'a> = Cow<'a, [u8]>;

/// One alert. Nothing in it can be trusted but by what [`Block::doubt`] says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Block<'a> {
    /// The whole of it as received, from its first line to the end of its last; empty if it has no text of its own.
    pub octets: Text<'a>,
    /// When, as written: `2026 Nov 20 19:26:45` without a zone, or ISO 8601 with one.
    pub date: Text<'a>,
    /// Where it was seen; empty in an sms.
    pub location: Location<'a>,
    /// The rule that fired.
    pub rule: u32,
    /// Its level.
    pub level: u32,
    /// Its description.
    pub description: Text<'a>,
    /// Its groups, where the source names them (`alerts.json` does, mail does not). `pci_dss` and its like as the rules
    /// write them: `pci_dss_10.6.1`.
    pub groups: Vec<Text<'a>>,
    /// `Src IP`.
    pub source_ip: Option<Text<'a>>,
    /// `Dst IP`.
    pub destination_ip: Option<Text<'a>>,
    /// `Src Location`.
    pub source_location: Option<Text<'a>>,
    /// `Dst Location`.
    pub destination_location: Option<Text<'a>>,
    /// `User`.
    pub user: Option<Text<'a>>,
    /// The log lines, without the line ends behind the last one.
    pub log: Text<'a>,
    /// Why it may not be what it seems; `None` if it can be told from the text around it.
    pub doubt: Option<Doubt>,
}

impl Block<'_> {
    /// The same without the text it was read from.
    pub fn into_owned(self) -> Block<'static> {
        let owned = |text: Text<'_>| Cow::Owned(text.into_owned());
        Block {
            octets: owned(self.octets),
            date: owned(self.date),
            location: Location(owned(self.location.0)),
            rule: self.rule,
            level: self.level,
            description: owned(self.description),
            groups: self.groups.into_iter().map(owned).collect(),
            source_ip: self.source_ip.map(owned),
            destination_ip: self.destination_ip.map(owned),
            source_location: self.source_location.map(owned),
            destination_location: self.destination_location.map(owned),
            user: self.user.map(owned),
            log: owned(self.log),
            doubt: self.doubt,
        }
    }
}

/// Why a block, or a mail, cannot be read with certainty; its `Display` is what a reader sees.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Doubt {
    /// The block's log text holds lines that look like the end or the head of another.
    Imitation,
    /// The block has no end.
    Cut,
    /// There are more blocks than are read.
    Many,
    /// The blocks are of different programs or times of different forms.
    Mixed,
    /// A block has a higher level than the Subject, which names the highest.
    Subject,
    /// The mail is larger than any the IDS writes.
    Large,
    /// The mail is MIME; those who write blocks write none.
    Encoded,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Imitation => "log text looks like the end or the head of an alert",
            Self::Cut => "an alert has no end",
            Self::Many => "there are more alerts than any IDS puts into one mail",
            Self::Mixed => "the alerts differ in form, as if they came from different programs",
            Self::Subject => "an alert has a higher level than the Subject says",
            Self::Large => "the mail is larger than any the IDS writes",
            Self::Encoded => "the mail is MIME, as the IDS would not write it",
        })
    }
}

/// `(agent) address->source`, or `host->source`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Location<'a>(pub Text<'a>);

impl<'a> Location<'a> {
    /// As the IDS writes it: of an agent if there is an address, else of a host.
    pub fn of(name: &[u8], address: Option<&[u8]>, source: &[u8]) -> Location<'static> {
        let text = match address {
            Some(address) => [b"(".as_slice(), name, b") ", address, b"->", source].concat(),
            None => [name, b"->", source].concat(),
        };
        Location(text.into())
    }

    /// The very text that `event_location` is compared with.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name of the agent or host.
    pub fn agent(&self) -> &[u8] {
        self.parts().0
    }

    /// The agent's address; `any` is one.
    pub fn address(&self) -> Option<&[u8]> {
        self.parts().1
    }

    /// The log file or the part of the IDS.
    pub fn source(&self) -> &[u8] {
        self.parts().2
    }

    /// A source may hold blanks, `|` and `>`: the first arrow counts.
    fn parts(&self) -> (&[u8], Option<&[u8]>, &[u8]) {
        let (origin, source) = split_at_first(&self.0, b"->").unwrap_or((&self.0, b""));
        match origin.strip_prefix(b"(").and_then(|origin| split_at_first(origin, b") ")) {
            Some((agent, address)) => (agent, Some(address), source),
            None => (origin, None, source),
        }
    }
}

fn split_at_first<'t>(text: &'t [u8], mark: &[u8; 2]) -> Option<(&'t [u8], &'t [u8])> {
    let at = text.windows(2).position(|two| two == mark)?;
    Some((&text[..at], &text[at + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_taken_apart_at_its_first_arrow() {
        let read = |text: &'static [u8]| Location(Cow::Borrowed(text));
        let agent = read(b"(app) 10.20.2.2->/var/log/a->b|c d.log");
        assert_eq!(agent.agent(), b"app");
        assert_eq!(agent.address(), Some(b"10.20.2.2".as_slice()));
        assert_eq!(agent.source(), b"/var/log/a->b|c d.log");
        assert_eq!(agent, Location::of(b"app", Some(b"10.20.2.2"), b"/var/log/a->b|c d.log"));
        let host = read(b"monitor->ossec-monitord");
        assert_eq!((host.agent(), host.address(), host.source()), (&b"monitor"[..], None, &b"ossec-monitord"[..]));
        assert_eq!(read(b"(x").agent(), b"(x");
        assert_eq!(read(b"").source(), b"");
    }
}
