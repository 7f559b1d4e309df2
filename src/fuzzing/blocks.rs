//! Alerts in mail: no octet is lost, no log text hides the block behind its own, no part holds what is not its own.

use std::time::SystemTime;

use crate::alert::{self, Groups, Kind};
use crate::config::{Accept, Format, OnExpired, Recipient, Release};
use crate::envelope::Envelope;
use crate::mail::{Greeting, Mail};
use crate::route::Share;
use crate::seal::Original;
use crate::share::Shares;

/// Takes the input for a mail, and for log text between two honest blocks.
pub fn blocks(input: &[u8]) {
    as_log_text(input);
    let mail = Mail {
        envelope: Envelope::default(),
        octets: input.to_vec(),
        arrival: SystemTime::UNIX_EPOCH,
        client: String::new(),
        greeting: Greeting::default(),
        notes: Vec::new(),
        source: None,
        block: None,
    };
    let original = Original::read(input);
    let reading = alert::read(&original.subject(), original.body);
    let octets: Vec<u8> = reading.blocks.iter().flat_map(|block| block.octets.to_vec()).collect();
    match reading.kind {
        Kind::Alerts => assert_eq!(octets, original.body, "an octet of the mail is in no block"),
        Kind::Sms => assert_eq!(reading.blocks.len(), 1),
        Kind::Report | Kind::Other => assert!(reading.blocks.is_empty()),
    }
    for tables in [vec!["5"], vec!["1", "server"], vec!["->"]] {
        as_a_mail(&mail, &tables);
    }
}

fn as_log_text(log: &[u8]) {
    let block = |rule: u32, log: &[u8]| {
        let head = format!(
            "\r\nWazuh Notification.\r\n2026 Nov 20 19:26:45\r\n\r\nReceived From: a->/x\r\n\
             Rule: {rule} fired (level 5) -> \"x\"\r\nPortion of the log(s):\r\n\r\n"
        );
        [head.as_bytes(), log, b"\r\n\r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\n"].concat()
    };
    let (one, two) = (block(4_000_000_001, log), block(4_000_000_002, b"log"));
    let body = [one, two.clone()].concat();
    let reading = alert::read("", &body);
    let last = reading.blocks.last().expect("two honest blocks");
    assert_eq!(reading.blocks[0].rule, 4_000_000_001);
    assert!(last.rule == 4_000_000_002 && *last.octets == *two && last.doubt.is_none(), "a block was hidden");
}

/// Whoever else gets it, the default recipient gets all of it; a part is made of its own blocks.
fn as_a_mail(mail: &Mail, locations: &[&str]) {
    let accept = |text: &&str| Accept { location: text.parse().ok(), level: Some(1), ..Accept::default() };
    let recipients = [
        recipient("admin@example.org", true, vec![Accept::mail_for("admin@example.org")]),
        recipient("alice@example.org", false, locations.iter().map(accept).collect()),
    ];
    let shares = Shares::of(mail, &recipients, &Groups::default());
    assert!(shares.chosen[0].nth == 0 && shares.chosen[0].share == Share::Whole);
    for chosen in &shares.chosen {
        let Share::Blocks(own) = &chosen.share else { continue };
        let part = shares.part(chosen).expect("a part").octets;
        let expected: Vec<u8> = own.iter().flat_map(|&nth| shares.reading.blocks[nth].octets.to_vec()).collect();
        assert!(own.iter().all(|&nth| shares.reading.is_certain(nth)));
        assert_eq!(Original::read(&part).body, expected, "a part is not its blocks");
    }
}

fn recipient(address: &str, default: bool, accept: Vec<Accept>) -> Recipient {
    Recipient {
        address: address.parse().expect("an address"),
        certificates: Vec::new(),
        fingerprints: Vec::new(),
        default,
        accept,
        split: !default,
        fixed: None,
        flood: None,
        release: Release::Immediate,
        format: Format::PgpMime,
        on_expired: OnExpired::SealAndWarn,
        seipd_v2: false,
    }
}
