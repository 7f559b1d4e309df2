//! A mail as it is handed to each of its recipients: read, routed, and cut to a recipient's own alerts where it gets no
//! more.
//!
//! Guarantees: reading is total; a mail that cannot be read is routed by its envelope and handed over as it came. A part
//! holds its blocks octet for octet, under the header of the mail with a Subject of its own: the mail's names the highest
//! alert, which may be somebody else's, and may go on in fields that its description made. An attacker who writes log lines
//! can add recipients and take nothing from the default ones (see `route`).

use std::collections::BTreeMap;

use crate::alert::{self, Block, Doubt, Groups, Kind, Reading};
use crate::config::{Config, Recipient};
use crate::gather::Gist;
use crate::mail::{Mail, Note};
use crate::route::{self, Chosen, Reason, Share};
use crate::seal::{Blocks, Original};

/// A larger mail is not divided: a part is one more copy of it in memory. OSSEC's and Wazuh's largest have 7 MB.
const DIVIDED_LIMIT: usize = 8 * 1024 * 1024;
/// Larger MIME bodies are not decoded to look for alerts in them: the IDS writes none, and memory is short.
const DECODED_LIMIT: usize = 1024 * 1024;

/// The groups of the rules, if any recipient asks for them, and what an operator should know about the routes.
pub fn groups(config: &Config) -> (Groups, Vec<String>) {
    let asked = config.recipients.iter().flat_map(|recipient| &recipient.accept).any(|accept| accept.group.is_some());
    let (groups, troubles) = if asked { Groups::read(&config.alerts.rules) } else { Default::default() };
    let troubles = troubles.iter().map(|trouble| format!("alerts.rules: cannot read {trouble}"));
    let warnings = troubles.chain(route::warnings(&config.recipients, &groups, !config.follows.is_empty())).collect();
    (groups, warnings)
}

/// Who gets what of a mail.
pub struct Shares<'m> {
    mail: &'m Mail,
    recipients: &'m [Recipient],
    /// What was read. Of a MIME mail blocks are owned and cannot be cut out.
    pub reading: Reading<'m>,
    /// Everybody who gets it; never empty.
    pub chosen: Vec<Chosen>,
    /// How many alerts were left out, by the number of the recipient.
    left_out: BTreeMap<usize, usize>,
}

impl<'m> Shares<'m> {
    /// Reads `mail` and routes it.
    pub fn of(mail: &'m Mail, recipients: &'m [Recipient], groups: &Groups) -> Self {
        let reading = read(mail);
        let chosen = route::route(recipients, &mail.envelope, &reading, groups);
        Self { mail, recipients, reading, chosen, left_out: BTreeMap::new() }
    }

    /// Whether recipient number `nth` gets any of it.
    pub fn are_for(&self, nth: usize) -> bool {
        self.chosen.iter().any(|chosen| chosen.nth == nth)
    }

    /// The mail for somebody who gets something else than the whole.
    pub fn part(&self, chosen: &Chosen) -> Option<Mail> {
        match &chosen.share {
            Share::Whole => None,
            Share::Blocks(own) => self.blocks_of(own),
            Share::Fixed(text) => self.fixed(chosen.nth, *text),
        }
    }

    /// A text of the operator's, with nothing of the mail but when it came.
    fn fixed(&self, nth: usize, text: usize) -> Option<Mail> {
        let fixed = self.recipients[nth].fixed.as_ref()?;
        let text = fixed.texts[text].text.replace('\n', "\r\n");
        let octets = format!("Subject: {}\r\n\r\n{text}\r\n", fixed.subject).into_bytes();
        // Its source is not told to anybody: by it a text is known that was stored before a crash.
        Some(Mail { source: self.mail.source.clone(), ..Mail::own(octets, self.mail.arrival) })
    }

    fn blocks_of(&self, own: &[usize]) -> Option<Mail> {
        let blocks = || own.iter().filter_map(|&nth| self.reading.blocks.get(nth));
        let highest = blocks().max_by_key(|block| block.level)?;
        let original = Original::read(&self.mail.octets);
        let subject = alert::subject_of_part(&original.subject(), highest);
        let header = original.header_block_with(&subject);
        let octets: Vec<&[u8]> = [header.as_slice(), b"\r\n"].into_iter().chain(blocks().map(|b| &*b.octets)).collect();
        Some(Mail {
            envelope: self.mail.envelope.clone(),
            octets: octets.concat(),
            arrival: self.mail.arrival,
            client: self.mail.client.clone(),
            greeting: self.mail.greeting.clone(),
            notes: self.mail.notes.clone(),
            source: self.mail.source.clone(),
            block: self.mail.block.clone(),
        })
    }

    /// Takes from everybody the alerts that `has` says the recipient of that number has; those that are left with none
    /// get nothing of the mail. How many were left out in all. Of a mail that cannot be divided with certainty nothing is.
    pub fn leave_out(&mut self, has: impl Fn(usize, &Block<'_>) -> bool) -> usize {
        let blocks = &self.reading.blocks;
        let is_certain = self.reading.kind == Kind::Alerts && self.reading.any_doubt().is_none() && !blocks.is_empty();
        if !is_certain {
            return 0;
        }
        let left_out = &mut self.left_out;
        self.chosen.retain_mut(|chosen| {
            let own: Vec<usize> = match &chosen.share {
                Share::Whole => (0..blocks.len()).collect(),
                Share::Blocks(own) => own.clone(),
                // Who got a text for an alert gets no second one for it.
                Share::Fixed(_) => route::accepted_blocks(&chosen.reasons),
            };
            let missing: Vec<usize> = own.iter().copied().filter(|&nth| !has(chosen.nth, &blocks[nth])).collect();
            let is_left = !missing.is_empty();
            if missing.len() < own.len() && !chosen.is_fixed() {
                left_out.insert(chosen.nth, own.len() - missing.len());
                chosen.share = Share::Blocks(missing);
            }
            is_left
        });
        left_out.values().sum()
    }

    /// What somebody is told of how the mail was divided. Whoever gets a fixed text is told nothing of the mail.
    pub fn notes(&self, chosen: &Chosen) -> Vec<Note> {
        let divided = match &chosen.share {
            Share::Fixed(_) => return Vec::new(),
            Share::Blocks(own) => Some(Note::Divided(self.reading.blocks.len(), own.len())),
            Share::Whole => None,
        };
        let not_certain = chosen.reasons.contains(&Reason::NotCertain);
        let left_out = self.left_out.get(&chosen.nth).map(|count| Note::LeftOut(*count));
        divided
            .into_iter()
            .chain(left_out)
            .chain(self.reading.any_doubt().filter(|_| not_certain).map(Note::NotDivided))
            .collect()
    }

    /// How many alerts there are, and how many somebody gets.
    pub fn blocks(&self, chosen: &Chosen) -> Option<Blocks> {
        match &chosen.share {
            Share::Fixed(_) => None,
            Share::Whole => self.all_blocks(),
            Share::Blocks(own) => self.all_blocks().map(|all| Blocks { to_me: own.len(), ..all }),
        }
    }

    /// What of somebody's alerts can be counted; of a fixed text nothing.
    pub fn gist(&self, chosen: &Chosen) -> Option<Gist> {
        match &chosen.share {
            Share::Fixed(_) => None,
            Share::Whole => Some(self.whole_gist()),
            Share::Blocks(own) => Some(Gist::of(&self.reading, |nth| own.contains(&nth))),
        }
    }

    /// What of all alerts can be counted.
    pub fn whole_gist(&self) -> Gist {
        Gist::of(&self.reading, |_| true)
    }

    /// How many alerts there are, for somebody who gets all.
    pub fn all_blocks(&self) -> Option<Blocks> {
        let count = self.reading.blocks.len();
        (count > 0).then_some(Blocks { received: count, to_me: count })
    }
}

/// Reads a mail: its text as it came, or decoded if it is MIME. Those who write blocks write no MIME, so what is found in
/// it is doubted.
fn read(mail: &Mail) -> Reading<'_> {
    if let Some(block) = &mail.block {
        return Reading { kind: Kind::Alerts, blocks: vec![block.clone()], doubt: None };
    }
    let original = Original::read(&mail.octets);
    let subject = original.subject();
    let is_mime = original.mime_fields().is_some();
    let decoded = (is_mime && original.body.len() <= DECODED_LIMIT).then(|| original.decoded_body()).flatten();
    let mut reading = match decoded {
        None => alert::read(&subject, original.body),
        Some(decoded) => alert::read(&subject, &decoded).into_owned(),
    };
    let doubt = match mail.octets.len() > DIVIDED_LIMIT {
        _ if reading.blocks.is_empty() => None,
        true => Some(Doubt::Large),
        false => is_mime.then_some(Doubt::Encoded),
    };
    reading.doubt = reading.doubt.or(doubt);
    reading
}
