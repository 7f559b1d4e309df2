//! Size classes: a relay host sees one size for all messages of a class. That no reader shows the filler is tested with
//! the readers.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, SystemTime};

use sealrelay::config::Config;
use sealrelay::envelope::Envelope;
use sealrelay::heartbeat::Facts;
use sealrelay::mail::{Greeting, Mail};
use sealrelay::seal::{Numbered, Sealer, Signers};

use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::pki::Authority;
use crate::support::relay_host::{RelayHost, Script};

const KIB: usize = 1024;
const EPOCH: &str = "0123456789abcdef";
/// The recipients' numbers.
const FORMATS: [(&str, usize); 2] = [("pgp-mime", 0), ("inline", 1)];

/// What the daemon seals with, without the daemon: 2,000 messages would take it minutes in a debug build.
fn sealer() -> Sealer {
    let setup = Setup::new(587, &Authority::new("test CA").pem)
        .recipient("inline@example.org", "default = true\nformat = \"inline\"");
    let config = Config::load(&setup.configure()).expect("a configuration");
    std::fs::create_dir(&config.state).expect("made");
    let signer = Signers::open(&config.state, &config.sender.address, SystemTime::now()).expect("a signing key");
    Sealer::open(&config, signer, SystemTime::now()).expect("certificates")
}

/// The size of a message with an alert of `length` octets.
fn size(sealer: &Sealer, to: usize, nth: usize, length: usize) -> usize {
    let line = "Nov 20 19:26:42 monitor sshd[67231]: Invalid user guest from 198.51.100.7 port 4711\r\n";
    let body = line.repeat(length / line.len() + 1);
    let subject = "Alert ".repeat(nth % 9);
    let mail = Mail {
        envelope: Envelope::default(),
        octets: format!("Subject: {subject}\r\n\r\n{}", &body[..length]).into_bytes(),
        // Days and hours of one and of two digits.
        arrival: SystemTime::now() + Duration::from_secs(nth as u64 * 3607),
        client: format!("127.0.0.1:{}", nth + 1),
        greeting: if nth.is_multiple_of(2) { Greeting::Helo("x".repeat(nth % 64)) } else { Greeting::Ehlo("y".into()) },
        notes: Vec::new(),
        source: None,
        block: None,
    };
    sealed_size(sealer, to, nth as u64, &mail, None)
}

/// The size of a heartbeat that tells `facts`, made as the daemon makes it.
fn heartbeat_size(sealer: &Sealer, to: usize, facts: &Facts) -> usize {
    let words = facts.in_words(sealer.instance(), "admin@example.org", &sealer.signer(), EPOCH);
    let mail = Mail {
        envelope: Envelope::default(),
        octets: format!("Subject: Heartbeat of the mail relay on {}\r\n\r\n{words}", sealer.instance()).into_bytes(),
        arrival: SystemTime::now(),
        client: "the relay itself".to_owned(),
        greeting: Greeting::None,
        notes: Vec::new(),
        source: None,
        block: None,
    };
    sealed_size(sealer, to, facts.highest + 1, &mail, Some(serde_json::json!(facts)))
}

fn sealed_size(sealer: &Sealer, to: usize, sequence: u64, mail: &Mail, heartbeat: Option<serde_json::Value>) -> usize {
    let number = Numbered { epoch: EPOCH, sequence, heartbeat, blocks: None, contains: None };
    sealer.seal(mail, to, Vec::new(), &number).expect("sealed").message.len()
}

/// What an ordinary heartbeat tells, different each time.
fn facts(nth: usize) -> Facts {
    let relay = serde_json::json!({ "relay": "mail.example.org:587", "last_success": 1_700_000_000 + nth });
    let counted = sealrelay::status::Counts { accepted: nth as u64, sent: nth as u64 / 2, ..Default::default() };
    serde_json::from_value(serde_json::json!({
        "reason": "regular", "made": 1_700_000_000 + nth, "every": 86_400, "version": "1.2.3", "since": nth,
        "totals": counted, "complete": nth.is_multiple_of(3), "from": 1, "highest": nth,
        "waiting": (0..nth % 8).map(|n| [10 * n + 1, 10 * n + 3]).collect::<Vec<_>>(), "never": { "failed": [[5, 7]] },
        "not_sealed": nth % 20, "spool": sealrelay::spool::Totals::default(),
        "certificates": [{ "recipient": "admin@example.org", "fingerprint": "F".repeat(40), "until": 1_900_000_000 }],
        "relays": [relay], "warnings": vec!["the relay host is slow: look at its log"; nth % 3],
    }))
    .expect("facts")
}

/// The longest that one can get: every list full, every text and number as long as can be.
fn longest_facts() -> Facts {
    let pin = format!("sha256:{}", vec!["FF"; 32].join(":"));
    let long = "a relay host's reply ".repeat(40);
    let host = format!("{}.example.org:65535", "h".repeat(63));
    let (far, high) = (253_402_300_799_u64, u64::MAX / 2);
    let relay = serde_json::json!({
        "relay": host, "last_success": far, "trouble": long, "advice": long, "next_attempt": far, "waits_until": far,
        "certificate": { "own": pin, "expires": far, "since": far, "before": pin, "dates_count": true },
    });
    let certificate = serde_json::json!({ "recipient": "r".repeat(100), "fingerprint": "F".repeat(64), "until": far });
    let every_other = |start: u64| (0..5_000).map(|n| [start + n * 8, start + n * 8 + 1]).collect::<Vec<_>>();
    let never: BTreeMap<_, _> = (1..).zip(["contained", "failed", "removed", "unused"]).collect();
    let never: BTreeMap<_, _> = never.into_iter().map(|(nth, why)| (why, every_other(high + nth * 2))).collect();
    let mut totals = serde_json::to_value(sealrelay::status::Counts::default()).expect("JSON");
    totals.as_object_mut().expect("counts").values_mut().for_each(|count| *count = u64::MAX.into());
    serde_json::from_value(serde_json::json!({
        "reason": "new-configuration", "made": far, "every": u64::MAX, "version": "100.100.100", "since": far,
        "totals": totals, "complete": false, "from": 1, "highest": u64::MAX - 1,
        "waiting": every_other(high), "never": never, "not_sealed": u64::MAX, "spool": sealrelay::spool::Totals::default(),
        "certificates": vec![certificate; 30], "relays": vec![relay; 30], "warnings": vec![long; 60],
    }))
    .expect("facts")
}

/// How often each size came among `count` messages.
fn counted(count: usize, size: impl Fn(usize) -> usize + Sync) -> BTreeMap<usize, usize> {
    let half = &|odd: usize| (odd..count).step_by(2).map(&size).collect::<Vec<_>>();
    let both = thread::scope(|scope| [0, 1].map(|odd| scope.spawn(move || half(odd))).map(|thread| thread.join()));
    let mut counts = BTreeMap::new();
    both.into_iter().flat_map(|sizes| sizes.expect("sealed")).for_each(|size| *counts.entry(size).or_default() += 1);
    counts
}

/// The same for alerts.
fn sizes(sealer: &Sealer, to: usize, count: usize, length: impl Fn(usize) -> usize + Sync) -> BTreeMap<usize, usize> {
    counted(count, |nth| size(sealer, to, nth, length(nth)))
}

#[test]
fn two_thousand_messages_of_one_class_heartbeats_among_them_have_one_size_in_both_formats() {
    let sealer = sealer();
    for (format, to) in FORMATS {
        // From nothing to what fills the class nearly; every tenth is a heartbeat.
        let sizes = counted(2_000, |nth| match nth % 10 {
            9 => heartbeat_size(&sealer, to, &facts(nth)),
            _ => size(&sealer, to, nth, nth * 3),
        });
        println!("{format}: 200 heartbeats and 1,800 alerts of 0 to 5,994 octets: {sizes:?}");
        assert_eq!(sizes.len(), 1, "{format}: {sizes:?}");
        assert!(sizes.range(16 * KIB - 5..=16 * KIB).count() == 1, "{format}: {sizes:?}");
    }
}

#[test]
fn the_longest_heartbeat_has_the_size_of_an_ordinary_alert_in_both_formats() {
    let sealer = sealer();
    let shortened = longest_facts().shorten();
    assert!(shortened.from > 1 && shortened.warnings.last().is_some_and(|last| last.contains("left out here: 58")));
    for (format, to) in FORMATS {
        let (alert, longest) = (size(&sealer, to, 1, 500), heartbeat_size(&sealer, to, &shortened));
        assert_eq!(alert, longest, "{format}");
        // However full: at every step of the cut, up to its edge.
        let sizes = counted(120, |nth| {
            let full = longest_facts();
            let waiting = full.waiting.iter().take(nth).collect::<Vec<_>>();
            let waiting = serde_json::from_value(serde_json::json!(waiting)).expect("ranges");
            let (never, warnings) = (BTreeMap::new(), full.warnings[..nth / 12].to_vec());
            let relays = full.relays[..nth % 5].to_vec();
            let certificates = full.certificates[..nth % 4].to_vec();
            heartbeat_size(&sealer, to, &Facts { waiting, never, warnings, relays, certificates, ..full }.shorten())
        });
        assert_eq!(sizes.len(), 1, "{format}: {sizes:?}");
        // Without the cut it is larger by far: the test can tell.
        assert!(heartbeat_size(&sealer, to, &longest_facts()) > 256 * KIB, "{format}");
    }
}

#[test]
fn larger_messages_have_the_sizes_of_their_classes_and_inline_as_far_as_its_filler_reaches() {
    let sealer = sealer();
    for (format, to) in FORMATS {
        for (alerts, class) in [(10..17, 32), (21..40, 64), (50..60, 128), (100..105, 256), (200..205, 512)] {
            let lengths: Vec<usize> = alerts.map(|kib| kib * KIB).collect();
            let sizes = sizes(&sealer, to, lengths.len(), |nth| lengths[nth]);
            println!("{format}, class of {class} KiB: {sizes:?}");
            if to == 0 || class == 32 {
                assert_eq!(sizes.len(), 1, "{format}, {class} KiB: {sizes:?}");
                assert!(sizes.range(class * KIB - 5..=class * KIB).count() == 1, "{format}, {class} KiB: {sizes:?}");
            }
        }
    }
}

#[test]
fn no_message_is_filled_above_what_the_relay_host_takes() {
    let sealer = sealer();
    let limit = 50_000;
    sealer.set_size_ceiling(Some(limit as u64));
    for (format, to) in FORMATS {
        // The class of 64 KiB is cut short; the one of 16 KiB is as ever; what is larger by itself is not stopped here.
        let cut = sizes(&sealer, to, 10, |nth| 24_000 + nth * 500);
        assert!(cut.len() == 1 && cut.range(limit - 5..=limit).count() == 1, "{format}: {cut:?}");
        let small = sizes(&sealer, to, 10, |nth| nth);
        assert!(small.len() == 1 && small.range(16 * KIB - 5..=16 * KIB).count() == 1, "{format}: {small:?}");
        assert!(size(&sealer, to, 0, 60_000) < 90_000, "{format}");
    }
    sealer.set_size_ceiling(None);
    assert!(size(&sealer, 0, 0, 24_000) > 60_000);
}

#[test]
fn a_relay_hosts_size_is_a_ceiling_for_the_filler() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let mut script = Script::honest(&identity);
    // The class of these alerts, 64 KiB, is above it; they themselves are not.
    script.capabilities = vec!["SIZE 60000".into(), "AUTH PLAIN".into()];
    relay_host.now(script);
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    // The first one tells of the limit, and may itself have been made without knowing it.
    send_alert(&daemon.address, "small");
    relay_host.taken(1);
    send_alert(&daemon.address, &"a longer line of text\n".repeat(1200));
    let taken = relay_host.taken(2);
    let size = taken[1].message.len();
    assert!((32 * 1024..=60_000).contains(&size), "{size}");
}
