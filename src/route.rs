//! Who gets a mail, and which of its alerts, by configuration.
//!
//! Guarantees: the answer is never empty, and holds configured recipients only. Envelope addresses claim mail; an address
//! nobody claims adds the default recipients, who get mails whole. What alerts say only adds recipients, because log text
//! can forge it: whatever is read, nobody gets less than the envelope alone would give. A recipient with `split` gets
//! those of its alerts that can be told with certainty, and when anything cannot, the default recipients get the whole.

use crate::alert::{Block, Groups, Reading};
use crate::config::{Accept, Recipient};
use crate::envelope::{Envelope, Path};

/// Somebody who gets a mail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// The number of the recipient, in the order of the configuration.
    pub nth: usize,
    /// What of the mail.
    pub share: Share,
    /// Why; at least one.
    pub reasons: Vec<Reason>,
}

impl Chosen {
    /// Whether it gets it only for what alerts say, which log text can forge.
    pub fn is_added(&self) -> bool {
        self.reasons.iter().all(|reason| matches!(reason, Reason::Accepts { .. }))
    }

    /// Whether it gets a fixed text, and nothing of the mail.
    pub fn is_fixed(&self) -> bool {
        matches!(self.share, Share::Fixed(_))
    }
}

/// What of a mail somebody gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Share {
    /// All of it, as it came.
    Whole,
    /// Only the blocks of these numbers; some, not all.
    Blocks(Vec<usize>),
    /// In its place the fixed text of this number.
    Fixed(usize),
}

/// Why somebody gets a mail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It is a default recipient, and there is no envelope address, or one that nobody claims.
    Unclaimed,
    /// It is a default recipient, and the mail is not divided with certainty.
    NotCertain,
    /// Table number `0` claims an envelope address of the mail.
    Claims(usize),
    /// A table holds for these blocks.
    Accepts {
        /// Its number.
        table: usize,
        /// The numbers of the blocks.
        blocks: Vec<usize>,
    },
}

/// Who gets a mail with this envelope in which this was read, in the order of the configuration.
pub fn route(recipients: &[Recipient], envelope: &Envelope, reading: &Reading<'_>, groups: &Groups) -> Vec<Chosen> {
    let claimed = |path: &Path| recipients.iter().flat_map(claims).any(|(_, claim)| path.names(claim));
    let paths = &envelope.forward_paths;
    let unclaimed = paths.is_empty() || envelope.more_paths || !paths.iter().all(claimed);
    let not_certain = reading.any_doubt().is_some() && recipients.iter().any(|recipient| recipient.split);
    let choose = |(nth, recipient): (usize, &Recipient)| {
        let mut reasons = Vec::new();
        reasons.extend((recipient.default && unclaimed).then_some(Reason::Unclaimed));
        reasons.extend((recipient.default && not_certain).then_some(Reason::NotCertain));
        let own = claims(recipient).filter(|(_, claim)| paths.iter().any(|path| path.names(claim)));
        reasons.extend(own.map(|(table, _)| Reason::Claims(table)));
        let whole = !reasons.is_empty();
        reasons.extend(accepted(recipient, envelope, reading, groups));
        let share = if whole { Some(Share::Whole) } else { share(recipient, reading, &reasons) };
        share.filter(|_| !reasons.is_empty()).map(|share| Chosen { nth, share, reasons })
    };
    recipients.iter().enumerate().filter_map(choose).collect()
}

/// Tables that claim an envelope address, by number, and the address.
fn claims(recipient: &Recipient) -> impl Iterator<Item = (usize, &str)> {
    recipient.accept.iter().enumerate().filter_map(|(table, accept)| Some((table, accept.claims()?)))
}

/// Tables that look at alerts, and hold for some. For a recipient with `split` only what is certain counts.
fn accepted(recipient: &Recipient, envelope: &Envelope, reading: &Reading<'_>, groups: &Groups) -> Vec<Reason> {
    let tables = recipient.accept.iter().enumerate().filter(|(_, accept)| accept.looks_at_alerts());
    let reason = |(table, accept): (usize, &Accept)| {
        let is_meant =
            accept.recipient.as_ref().is_none_or(|to| envelope.forward_paths.iter().any(|path| path.names(to)));
        let blocks = reading.blocks.iter().enumerate().filter(|(nth, block)| {
            is_meant && (!recipient.split || reading.is_certain(*nth)) && unmet(accept, block, groups).is_empty()
        });
        let blocks: Vec<usize> = blocks.map(|(nth, _)| nth).collect();
        (!blocks.is_empty()).then_some(Reason::Accepts { table, blocks })
    };
    tables.filter_map(reason).collect()
}

/// The keys of the table whose conditions do not hold for `block`.
pub fn unmet(accept: &Accept, block: &Block<'_>, groups: &Groups) -> Vec<&'static str> {
    let in_group = accept.group.as_ref().is_none_or(|group| group.is_in(&groups.of_block(block)));
    let in_location = accept.location.as_ref().is_none_or(|location| location.is_in(block.location.as_bytes()));
    let keys = [
        ("level", accept.level.is_none_or(|level| block.level >= level)),
        ("rule", accept.rules.is_empty() || accept.rules.contains(&block.rule)),
        ("location", in_location),
        ("group", in_group),
    ];
    keys.into_iter().filter(|(_, holds)| !holds).map(|(key, _)| key).collect()
}

/// What of a mail goes to a recipient that gets it for its alerts; nothing, if it has no fixed text for them.
fn share(recipient: &Recipient, reading: &Reading<'_>, reasons: &[Reason]) -> Option<Share> {
    let blocks = accepted_blocks(reasons);
    if let Some(fixed) = &recipient.fixed {
        return blocks.iter().find_map(|&nth| fixed.text_for(&reading.blocks[nth].log)).map(Share::Fixed);
    }
    let is_whole = !recipient.split || blocks.len() == reading.blocks.len();
    Some(if is_whole { Share::Whole } else { Share::Blocks(blocks) })
}

/// The numbers of the blocks that tables hold for, in their order.
pub fn accepted_blocks(reasons: &[Reason]) -> Vec<usize> {
    let blocks = reasons.iter().flat_map(|reason| match reason {
        Reason::Accepts { blocks, .. } => blocks.as_slice(),
        _ => &[],
    });
    let mut blocks: Vec<usize> = blocks.copied().collect();
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

/// The numbers of the default recipients.
pub fn defaults(recipients: &[Recipient]) -> Vec<usize> {
    (0..recipients.len()).filter(|&nth| recipients[nth].default).collect()
}

/// Settings that cannot do what they seem to: a group in which no rule is, `split` of mail that is claimed whole.
pub fn warnings(recipients: &[Recipient], groups: &Groups, has_log: bool) -> Vec<String> {
    let of_one = |recipient: &Recipient| {
        let hopeless = recipient.accept.iter().filter_map(|accept| {
            let group = accept.group.as_ref().filter(|group| !groups.have(group))?;
            let is_unknown = groups.rules() == 0;
            if is_unknown && has_log {
                return None;
            }
            let why = if is_unknown {
                "mail names no groups; set alerts.rules to the folders with the IDS's rules"
            } else {
                "no rule in alerts.rules is in such a group"
            };
            Some(format!("group = {:?} can never match: {why}", group.to_string()))
        });
        let claimed = claims(recipient).filter(|_| recipient.split).map(|(_, address)| {
            format!("split has no effect on mail for {address}, which is claimed whole; put the address and the conditions into one table")
        });
        hopeless.chain(claimed).map(|what| format!("recipient {}: {what}", recipient.address)).collect::<Vec<_>>()
    };
    recipients.iter().flat_map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::{self, Kind};
    use crate::config::{Format, OnExpired, Release};

    fn recipient(address: &str, default: bool, accept: Vec<Accept>) -> Recipient {
        Recipient {
            address: address.parse().expect("an address"),
            certificates: Vec::new(),
            fingerprints: Vec::new(),
            default,
            accept,
            split: false,
            fixed: None,
            flood: None,
            release: Release::Immediate,
            format: Format::PgpMime,
            on_expired: OnExpired::SealAndWarn,
            seipd_v2: false,
        }
    }

    fn envelope(paths: &[&str]) -> Envelope {
        let mut envelope = Envelope::default();
        paths.iter().for_each(|path| envelope.add(Path::new(path.as_bytes(), !path.contains(' '))));
        envelope
    }

    fn routed(paths: &[&str]) -> Vec<usize> {
        let claims = |addresses: &[&str]| addresses.iter().map(|address| Accept::mail_for(address)).collect();
        let recipients = [
            recipient("admin@example.org", true, claims(&["admin@example.org"])),
            recipient("alice@example.org", false, claims(&["alice@test.com", "alice@example.org"])),
        ];
        let chosen = route(&recipients, &envelope(paths), &Reading::default(), &Groups::default());
        assert!(chosen.iter().all(|chosen| chosen.share == Share::Whole));
        chosen.iter().map(|chosen| chosen.nth).collect()
    }

    #[test]
    fn a_claimed_address_goes_to_its_recipient_only() {
        assert_eq!(routed(&["Alice@Test.com"]), [1]);
        assert_eq!(routed(&["alice@test.com", "admin@example.org"]), [0, 1]);
    }

    #[test]
    fn what_nobody_claims_or_nobody_can_read_goes_to_the_default() {
        assert_eq!(routed(&["root@localhost"]), [0]);
        assert_eq!(routed(&["alice@test.com", "victim@elsewhere.example"]), [0, 1]);
        assert_eq!(routed(&["not an address"]), [0]);
        assert_eq!(routed(&[]), [0]);
    }

    fn accept(level: u32, location: &str) -> Accept {
        Accept { level: Some(level), location: Some(location.parse().expect("a pattern")), ..Accept::default() }
    }

    fn block(level: u32, location: &'static [u8]) -> Block<'static> {
        Block { level, rule: 5710, location: alert::Location(location.into()), ..Block::default() }
    }

    fn alerts(blocks: Vec<Block<'static>>) -> Reading<'static> {
        Reading { kind: Kind::Alerts, blocks, doubt: None }
    }

    /// The share of a recipient with these tables, and whether the default one gets the mail, which is for `paths`.
    fn with(split: bool, tables: Vec<Accept>, paths: &[&str], reading: &Reading<'_>) -> (Option<Share>, bool) {
        let own = Recipient { split, ..recipient("alice@example.org", false, tables) };
        let claims = vec![Accept::mail_for("admin@example.org")];
        let recipients = [own, recipient("admin@example.org", true, claims)];
        let chosen = route(&recipients, &envelope(paths), reading, &Groups::default());
        let share = |nth| chosen.iter().find(|chosen| chosen.nth == nth).map(|chosen| chosen.share.clone());
        assert_ne!(share(1), Some(Share::Blocks(Vec::new())));
        (share(0), share(1) == Some(Share::Whole))
    }

    #[test]
    fn all_keys_of_one_table_hold_for_one_alert_or_the_table_does_not() {
        let reading = alerts(vec![block(12, b"a->/x"), block(3, b"server1->/x")]);
        assert_eq!(with(false, vec![accept(10, "server1")], &[], &reading), (None, true));
        let tables = vec![accept(13, "a"), accept(3, "SERVER1|server2")];
        assert_eq!(with(false, tables.clone(), &[], &reading), (Some(Share::Whole), true));
        assert_eq!(with(true, tables, &[], &reading), (Some(Share::Blocks(vec![1])), true));
        let both = vec![accept(12, "a"), accept(3, "server1")];
        assert_eq!(with(true, both, &[], &reading), (Some(Share::Whole), true));
    }

    #[test]
    fn what_is_read_takes_a_mail_from_nobody() {
        let reading = alerts(vec![block(12, b"a->/x")]);
        // A table with conditions claims nothing: the default recipient gets what only it was for.
        let conditional = Accept { recipient: Some("alice@test.com".to_owned()), ..accept(15, "a") };
        assert_eq!(with(true, vec![conditional.clone()], &["alice@test.com"], &reading), (None, true));
        let conditional = Accept { level: Some(1), ..conditional };
        assert_eq!(with(true, vec![conditional.clone()], &["alice@test.com"], &reading), (Some(Share::Whole), true));
        assert_eq!(with(true, vec![conditional], &["other@test.com"], &reading), (None, true));
    }

    #[test]
    fn what_is_not_certain_goes_whole_to_the_default_recipient_and_to_no_split_one() {
        let doubtful = Block { doubt: Some(alert::Doubt::Imitation), ..block(12, b"a->/x") };
        let mixed = alerts(vec![doubtful, block(12, b"a->/y"), block(12, b"b->/y")]);
        let whole = Reading { doubt: Some(alert::Doubt::Mixed), ..alerts(vec![block(12, b"a->/x")]) };
        // Even if the envelope claims the mail for another.
        let to = ["admin@example.org"];
        assert_eq!(with(true, vec![accept(1, "^a")], &to, &mixed), (Some(Share::Blocks(vec![1])), true));
        assert_eq!(with(true, vec![accept(1, "a")], &to, &whole), (None, true));
        assert_eq!(with(false, vec![accept(1, "a")], &to, &whole), (Some(Share::Whole), true));
        let claims = Accept::mail_for("alice@test.com");
        let (share, default) = with(true, vec![claims, accept(1, "a")], &["alice@test.com"], &whole);
        assert_eq!((share, default), (Some(Share::Whole), true));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_everybody_gets_what_the_envelope_gives(
            levels in proptest::collection::vec((0_u32..16, proptest::bool::ANY), 0..6),
            splits in proptest::bool::ANY,
            level in 0_u32..16,
            paths in proptest::sample::subsequence(vec!["alice@test.com", "admin@example.org", "x@y"], 0..=3),
        ) {
            let doubt = |is: bool| is.then_some(alert::Doubt::Imitation);
            let blocks = levels.iter().map(|&(level, is)| Block { doubt: doubt(is), ..block(level, b"a->/x") }).collect();
            let tables = vec![Accept::mail_for("alice@test.com"), accept(level, "a")];
            let (share, default) = with(splits, tables.clone(), &paths, &alerts(blocks));
            let (bare, bare_default) = with(splits, tables, &paths, &Reading::default());
            proptest::prop_assert!(bare.is_none() || share == bare);
            proptest::prop_assert!(default || !bare_default);
        }
    }

    #[test]
    fn settings_that_do_nothing_are_told() {
        let group = Accept { group: Some("pci_dss".parse().expect("a pattern")), ..Accept::default() };
        let own = recipient("alice@example.org", false, vec![Accept::mail_for("alice@test.com"), group]);
        let own = [Recipient { split: true, ..own }];
        let told = warnings(&own, &Groups::default(), false);
        assert!(told.len() == 2 && told[0].contains("can never match") && told[1].contains("no effect"), "{told:?}");
        // A log names the groups itself.
        let told = warnings(&own, &Groups::default(), true);
        assert!(told.len() == 1 && told[0].contains("no effect"), "{told:?}");
    }
}
