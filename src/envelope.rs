//! What MAIL and RCPT carry, configured addresses, and the names of spool entries.
//!
//! Guarantees: an [`Address`] is a mailbox that can stand in an envelope and a header as it is; a [`QueueId`] is safe
//! as a file name. A [`Path`] is only what a client said: an attacker controls every octet of it, so it chooses among
//! configured recipients and travels inside the sealed part, and never becomes an address we send to.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A configured mailbox, `local@domain`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address(lettre::Address);

/// A text that is no `local@domain`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a mail address")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || AddressError(text.to_owned());
        let address: lettre::Address = text.parse().map_err(|_| refuse())?;
        // A leading dash would be an option to any program that is handed the address; SMTPUTF8 is never asked for.
        if text.starts_with('-') || !text.is_ascii() { Err(refuse()) } else { Ok(Self(address)) }
    }
}

impl Address {
    /// The part behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.domain()
    }

    /// `local@domain`.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// The same for the message builder.
    pub(crate) fn to_lettre(&self) -> lettre::Address {
        self.0.clone()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reverse-path or forward-path as a client wrote it: the text between `<` and `>`, octets that are not printable
/// ASCII written `\xNN`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    text: String,
    readable: bool,
}

impl Path {
    /// `octets` stood where a path is expected; `readable` says whether they were one.
    pub fn new(octets: &[u8], readable: bool) -> Self {
        // A path has 256 octets (RFC 5321 4.5.3.1.3); what is longer is not readable and is only shown.
        Self { text: printable(&octets[..octets.len().min(512)]), readable }
    }

    /// As the client wrote it, printable.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it could be read as a path. Unreadable ones are accepted all the same (OSSEC abandons the whole mail
    /// when one address is refused) and noted inside the sealed message.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Whether this names `address`. Local parts are compared without regard to case, as every IDS's operator expects.
    pub fn names(&self, address: &str) -> bool {
        self.readable && self.text.eq_ignore_ascii_case(address)
    }
}

/// One mail transaction's envelope, as the client gave it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    /// MAIL's path; `None` is the null reverse-path `<>`.
    pub reverse_path: Option<Path>,
    /// RCPT's paths, without repetitions; at most [`PATHS_LIMIT`].
    pub forward_paths: Vec<Path>,
    /// Whether there were more: nobody knows whom they claimed.
    pub more_paths: bool,
}

/// Forward-paths that are remembered of one mail (RFC 5321 4.5.3.1.8). Further ones are taken too, and mean the default
/// recipients: a client must not be able to fill the memory with them.
pub const PATHS_LIMIT: usize = 100;

impl Envelope {
    /// Adds a forward-path; the same one twice counts once.
    pub fn add(&mut self, path: Path) {
        if self.forward_paths.iter().any(|known| known.text.eq_ignore_ascii_case(&path.text)) {
            return;
        }
        if self.forward_paths.len() == PATHS_LIMIT {
            self.more_paths = true;
        } else {
            self.forward_paths.push(path);
        }
    }
}

/// Octets as printable ASCII: whatever is not, and the backslash, is written `\xNN`.
pub fn printable(octets: &[u8]) -> String {
    shown(octets, |octet| octet != b'\\')
}

/// The same for a text in which backslashes stand for what was escaped before: they stay.
pub fn escaped(text: &str) -> String {
    shown(text.as_bytes(), |_| true)
}

fn shown(octets: &[u8], is_shown: impl Fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(octets.len());
    for &octet in octets {
        match octet {
            b' '..=b'~' if is_shown(octet) => text.push(octet as char),
            _ => text.push_str(&format!("\\x{octet:02x}")),
        }
    }
    text
}

/// Whether a character, though no control, changes what a text seems to say: another order, a line where there is none,
/// words that do not show.
///
/// These are Unicode's line and paragraph separators, all of its `Default_Ignorable_Code_Point` property (UAX #44, 16.0), in
/// which are all of `Bidi_Control` (UAX #9), and what other format characters (Cf) have no glyph of their own: annotation
/// marks and the joiners of hieroglyphs. Those with one stay, such as the Arabic number signs. Variation selectors and the
/// joiners of emoji do not: what can be hidden in a row of them is more than an emoji is worth.
pub fn misleads(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// `N` random octets.
///
/// # Panics
/// If the kernel has no randomness to give: nothing can be sealed then either.
pub fn random<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).expect("getrandom(2) does not fail once the kernel has booted");
    octets
}

/// Lower-case hexadecimal digits of `octets`.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The name of a spool entry: 19 characters of `0-9A-F`, the arrival time in microseconds first, so names sort by age.
///
/// Kept in place, not on the heap: a hundred thousand waiting entries have two each in memory.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueId([u8; 19]);

/// A text that is no queue id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a queue id: 19 characters of 0-9 and A-F")]
pub struct NoQueueId;

impl QueueId {
    /// A new name for an entry that arrived at `arrival`.
    pub fn new(arrival: SystemTime) -> Self {
        let micros = arrival.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_micros());
        let [a, b, c] = random();
        let text = format!("{:013X}{a:02X}{b:02X}{c:02X}", micros & 0xF_FFFF_FFFF_FFFF);
        text.parse().expect("13 and 6 hexadecimal digits")
    }

    /// As it stands in a file name and in every log line about the entry.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are UTF-8")
    }
}

impl FromStr for QueueId {
    type Err = NoQueueId;

    /// Takes only what [`QueueId::new`] could have made, so a foreign file name is never one.
    fn from_str(text: &str) -> Result<Self, NoQueueId> {
        let octets: [u8; 19] = text.as_bytes().try_into().map_err(|_| NoQueueId)?;
        let fits = octets.iter().all(|octet| octet.is_ascii_digit() || (b'A'..=b'F').contains(octet));
        if fits { Ok(Self(octets)) } else { Err(NoQueueId) }
    }
}

impl TryFrom<String> for QueueId {
    type Error = NoQueueId;

    fn try_from(text: String) -> Result<Self, NoQueueId> {
        text.parse()
    }
}

impl From<QueueId> for String {
    fn from(id: QueueId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_address_without_a_domain_or_with_a_leading_dash_is_refused() {
        assert!("root".parse::<Address>().is_err());
        assert!("-oQ/tmp@example.org".parse::<Address>().is_err());
        assert!("admin@example.org".parse::<Address>().is_ok());
    }

    #[test]
    fn the_same_forward_path_twice_counts_once() {
        let mut envelope = Envelope::default();
        envelope.add(Path::new(b"root@localhost", true));
        envelope.add(Path::new(b"Root@LOCALHOST", true));
        assert_eq!(envelope.forward_paths.len(), 1);
    }

    #[test]
    fn an_endless_list_of_recipients_is_not_kept() {
        let mut envelope = Envelope::default();
        (0..10_000).for_each(|nth| envelope.add(Path::new(format!("a{nth}@b").as_bytes(), true)));
        assert_eq!((envelope.forward_paths.len(), envelope.more_paths), (PATHS_LIMIT, true));
    }

    #[test]
    fn queue_ids_sort_by_arrival_and_read_back() {
        let early = QueueId::new(UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let late = QueueId::new(UNIX_EPOCH + Duration::from_secs(1_900_000_000));
        assert!(early < late);
        assert_eq!(early.as_str().parse(), Ok(early.clone()));
        assert!("../../etc/passwd".parse::<QueueId>().is_err());
        assert!(format!("{early}.state").parse::<QueueId>().is_err());
    }

    #[test]
    fn control_octets_and_the_backslash_print_as_escapes() {
        assert_eq!(printable(b"a\x1b[31m\\\xff"), "a\\x1b[31m\\x5c\\xff");
    }
}
