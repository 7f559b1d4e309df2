//! What a relay host can see of us: every octet it hears, by class, against a fixed list. What an alert says is in none.
//! `cargo test --test suite -- outside --nocapture` prints the list as it was met.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use sequoia_openpgp as openpgp;

use openpgp::cert::CertBuilder;
use openpgp::packet::{PKESK, SEIP};
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::{Cert, Packet, PacketPile, Profile};
use sealrelay::seal::NOTICE;

use crate::captures::{Capture, Pacing, captures, replay};
use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::relay_host::{PASSWORD, RelayHost, USERNAME};

/// Before TLS is up.
const IN_CLEAR: [&str; 2] = ["EHLO [127.0.0.1]", "STARTTLS"];

/// Commands inside TLS.
const COMMANDS: [&str; 8] = [
    "EHLO [127.0.0.1]",
    "AUTH PLAIN {the login}",
    "MAIL FROM:<ossec@example.org> SIZE={that of the message}",
    "RCPT TO:<admin@example.org>",
    "RCPT TO:<inline@example.org>",
    "DATA",
    "RSET",
    "QUIT",
];

/// A message, line by line; lines of one class in a row are one.
const PGP_MIME: [&str; 24] = [
    "From: ossec@example.org",
    "To: admin@example.org",
    "Date: {day}, {2 digits} {month} {4 digits} {2 digits}:{2 digits}:00 +0000",
    "Message-ID: <{32 hex digits}@example.org>",
    "Subject: [...]",
    "MIME-Version: 1.0",
    "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";",
    " boundary=\"{32 hex digits}\"",
    "",
    "--{32 hex digits}",
    "Content-Type: application/pgp-encrypted",
    "",
    "Version: 1",
    "",
    "--{32 hex digits}",
    "Content-Type: application/octet-stream",
    "",
    "-----BEGIN PGP MESSAGE-----",
    "",
    "{base64}",
    "={checksum}",
    "-----END PGP MESSAGE-----",
    "",
    "--{32 hex digits}--",
];

const INLINE: [&str; 13] = [
    "From: ossec@example.org",
    "To: inline@example.org",
    "Date: {day}, {2 digits} {month} {4 digits} {2 digits}:{2 digits}:00 +0000",
    "Message-ID: <{32 hex digits}@example.org>",
    "Subject: [...]",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=utf-8",
    "",
    "-----BEGIN PGP MESSAGE-----",
    "",
    "{base64}",
    "={checksum}",
    "-----END PGP MESSAGE-----",
];

/// The fixed text that says that nothing can be sealed; the only thing that goes out unsealed.
const NOTICE_FORM: [&str; 9] = [
    "From: ossec@example.org",
    "To: told@example.org",
    "Date: {day}, {2 digits} {month} {4 digits} {2 digits}:{2 digits}:00 +0000",
    "Message-ID: <{32 hex digits}@example.org>",
    "Subject: [...]",
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=us-ascii",
    "",
    NOTICE,
];

/// Sizes of whole messages.
const SMALLEST_CLASS: RangeInclusive<usize> = 16 * 1024 - 5..=16 * 1024;
const CLASS_OF_64_KIB: RangeInclusive<usize> = 64 * 1024 - 5..=64 * 1024;

/// What is not sealed of an OpenPGP message.
const PACKETS: [&str; 2] = ["session key, version 3, for the recipient's subkey", "SEIPD, version 1"];
/// The same for a certificate of version 6.
const PACKETS_V6: [&str; 2] = ["session key, version 6, for the recipient's subkey", "SEIPD, version 2"];

/// The class of each line.
fn classes(message: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(message).expect("ASCII");
    assert!(text.is_ascii() && text.ends_with("\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']));
    let mut classes: Vec<String> = Vec::new();
    let mut in_armor = false;
    for line in text.split_terminator("\r\n") {
        let class = if in_armor { armor_class(line) } else { line_class(line) };
        match line {
            "-----BEGIN PGP MESSAGE-----" => in_armor = true,
            "-----END PGP MESSAGE-----" => in_armor = false,
            _ => {}
        }
        if class != "{base64}" || classes.last() != Some(&class) {
            classes.push(class);
        }
    }
    classes
}

fn armor_class(line: &str) -> String {
    let is_base64 =
        |text: &str| text.trim_end_matches('=').bytes().all(|c| c.is_ascii_alphanumeric() || b"+/".contains(&c));
    match line {
        "" | "-----END PGP MESSAGE-----" => line.to_owned(),
        _ if line.len() == 5 && line.starts_with('=') && is_base64(&line[1..]) => "={checksum}".to_owned(),
        _ if line.len() <= 64 && is_base64(line) => "{base64}".to_owned(),
        _ => panic!("no armor: {line}"),
    }
}

/// A line with what may vary named; everything else stays as it is.
fn line_class(line: &str) -> String {
    if let Some(date) = line.strip_prefix("Date: ") {
        return format!("Date: {}", date_class(date));
    }
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let start = line.find(|c: char| is_hex(c)).unwrap_or(line.len());
    let runs = (start..line.len().saturating_sub(31)).find(|&at| line[at..at + 32].chars().all(is_hex));
    runs.map_or(line.to_owned(), |at| format!("{}{{32 hex digits}}{}", &line[..at], &line[at + 32..]))
}

fn date_class(date: &str) -> String {
    let words: Vec<&str> = date.split(' ').collect();
    let digits = |text: &str, count: usize| {
        let good = text.len() == count && text.bytes().all(|c| c.is_ascii_digit());
        if good { format!("{{{count} digits}}") } else { text.to_owned() }
    };
    let [day, number, month, year, time, zone] = words[..] else { return date.to_owned() };
    let is_name = |text: &str| text.len() == 3 && text.bytes().all(|c| c.is_ascii_alphabetic());
    let times: Vec<&str> = time.split(':').collect();
    let [hour, minute, second] = times[..] else { return date.to_owned() };
    format!(
        "{}, {} {} {} {}:{}:{second} {zone}",
        if day.strip_suffix(',').is_some_and(is_name) { "{day}" } else { day },
        digits(number, 2),
        if is_name(month) { "{month}" } else { month },
        digits(year, 4),
        digits(hour, 2),
        digits(minute, 2),
    )
}

/// The packets around what is encrypted.
fn packets(message: &[u8], recipient: &Cert) -> Vec<String> {
    let text = String::from_utf8_lossy(message);
    let policy = StandardPolicy::new();
    let mut keys = recipient.keys().with_policy(&policy, None).for_transport_encryption();
    let subkey = keys.next().expect("a subkey").key().clone();
    let id = subkey.keyid();
    let is_for_it = |key: Option<openpgp::KeyHandle>| key == Some(subkey.fingerprint().into());
    let class = |packet: Packet| match packet {
        Packet::PKESK(PKESK::V3(pkesk)) if pkesk.recipient() == Some(&id) => PACKETS[0].to_owned(),
        Packet::PKESK(PKESK::V6(pkesk)) if is_for_it(pkesk.recipient().map(Into::into)) => PACKETS_V6[0].to_owned(),
        Packet::SEIP(SEIP::V1(_)) => PACKETS[1].to_owned(),
        Packet::SEIP(SEIP::V2(_)) => PACKETS_V6[1].to_owned(),
        other => format!("{other:?}"),
    };
    let armor = &text[text.find("-----BEGIN").expect("armor")..];
    PacketPile::from_bytes(armor).expect("OpenPGP").into_children().map(class).collect()
}

/// Words of the client's that would give something away.
fn words(capture: &Capture) -> BTreeSet<String> {
    let ours = [&IN_CLEAR[..], &COMMANDS, &PGP_MIME, &INLINE].concat().join(" ").to_lowercase();
    let said = [capture.commands.concat().as_slice(), &capture.message].concat();
    let said = String::from_utf8_lossy(&said).to_lowercase();
    let is_separator = |c: char| !c.is_alphanumeric() && c != '.' && c != '-';
    // Host names, user names, addresses, times, rule texts; what is shorter turns up in base64 by chance.
    let words = said.split(is_separator).map(|word| word.trim_matches(['.', '-']));
    words.filter(|word| word.len() >= 7 && !ours.contains(word)).map(str::to_owned).collect()
}

#[test]
fn a_relay_host_sees_what_is_on_the_list_and_nothing_of_an_alert() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem)
        .recipient("inline@example.org", "default = true\nformat = \"inline\"");
    let daemon = setup.start();
    let captures = captures();
    captures.iter().for_each(|capture| replay(&daemon.address, capture, Pacing::AtOnce));
    let taken = relay_host.taken(captures.len() * 2);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    assert_eq!(daemon.terminate(), 0);

    let mut sizes = BTreeSet::new();
    for taken in &taken {
        let (expected, nth) = if taken.rcpt.contains("inline@") { (&INLINE[..], 1) } else { (&PGP_MIME[..], 0) };
        assert_eq!(classes(&taken.message), expected);
        assert_eq!(packets(&taken.message, &setup.recipients[nth].1), PACKETS);
        sizes.insert((taken.rcpt.clone(), taken.message.len()));
    }
    // All recorded alerts are of the smallest class: one size for each recipient.
    assert_eq!(sizes.len(), 2, "{sizes:?}");
    assert!(sizes.iter().all(|(_, size)| SMALLEST_CLASS.contains(size)), "{sizes:?}");

    let heard = relay_host.heard();
    let clear = String::from_utf8_lossy(&heard.clear).into_owned();
    assert!(clear.lines().all(|line| IN_CLEAR.contains(&line)), "{clear}");
    let login = base64(&format!("\0{USERNAME}\0{PASSWORD}"));
    let commands: BTreeSet<String> =
        heard.inside.iter().map(|line| line.replace(&login, "{the login}")).map(named).collect();
    assert!(commands.iter().all(|command| COMMANDS.contains(&command.as_str())), "{commands:?}");

    // The same once more, without trust in the classes: no word of a client's anywhere outside the armor.
    let outside: Vec<String> = taken.iter().map(|taken| outside_of_armor(&taken.message)).collect();
    let seen = [clear, heard.inside.join("\n"), outside.concat()].concat().to_lowercase();
    let words: BTreeSet<String> = captures.iter().flat_map(words).collect();
    assert!(words.len() > 50, "{words:?}");
    let found: Vec<&String> = words.iter().filter(|word| seen.contains(word.as_str())).collect();
    assert!(found.is_empty(), "{found:?}");
    print(&commands, &sizes, words.len());
}

#[test]
fn heartbeats_large_alerts_version_6_and_the_notice_are_on_the_list_too() {
    let (relay_host, authority, _) = RelayHost::honest();
    let (six, _) = CertBuilder::general_purpose(Some("<six@example.org>"))
        .set_profile(Profile::RFC9580)
        .and_then(CertBuilder::generate)
        .expect("a key");
    let (brief, _) = CertBuilder::general_purpose(Some("<told@example.org>"))
        .set_creation_time(SystemTime::now())
        .set_validity_period(Duration::from_secs(5))
        .generate()
        .expect("a key");
    let setup = Setup::new(relay_host.port, &authority.pem)
        .recipient_with("six@example.org", six, "default = true")
        .recipient_with("told@example.org", brief, "default = true\non_expired = \"notice\"")
        .heartbeat("24h");
    let daemon = setup.start();
    // The heartbeats of a new state, an alert of the class of 64 KiB while all can be sealed to, one when one cannot.
    relay_host.taken(3);
    let large = format!("large {}", "198.51.100.7 tried user carol-of-accounts\r\n".repeat(700));
    send_alert(&daemon.address, &large);
    relay_host.taken(6);
    std::thread::sleep(Duration::from_secs(6));
    send_alert(&daemon.address, "small, of user carol-of-accounts");
    let taken = relay_host.taken(9);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    assert_eq!(daemon.terminate(), 0);

    let mut met: BTreeMap<(String, String), usize> = BTreeMap::new();
    for taken in &taken {
        let (address, certificate) =
            setup.recipients.iter().find(|(address, _)| taken.rcpt.contains(address.as_str())).expect("a recipient");
        let sealed = taken.message.windows(10).any(|window| window == b"-----BEGIN");
        let expected = if sealed { &PGP_MIME[..] } else { &NOTICE_FORM[..] };
        // With version 6 there is no checksum (RFC 9580 6.1).
        let six = address.starts_with("six@");
        let expected: Vec<String> = expected
            .iter()
            .filter(|line| !six || **line != "={checksum}")
            .map(|line| if line.starts_with("To: ") { format!("To: {address}") } else { (*line).to_owned() })
            .collect();
        assert_eq!(classes(&taken.message), expected);
        let size = taken.message.len();
        let class = match size {
            _ if !sealed => "the notice",
            _ if SMALLEST_CLASS.contains(&size) => "16 KiB",
            _ if CLASS_OF_64_KIB.contains(&size) => "64 KiB",
            _ => panic!("{address}: {size} octets are of no class"),
        };
        if sealed {
            let expected = if six { PACKETS_V6 } else { PACKETS };
            assert_eq!(packets(&taken.message, certificate), expected);
        }
        assert!(!outside_of_armor(&taken.message).contains("carol"));
        *met.entry((address.clone(), class.to_owned())).or_default() += 1;
    }
    let row = |address: &str, class: &str, count| ((format!("{address}@example.org"), class.to_owned()), count);
    // Heartbeat and small alert look alike.
    let expected = [
        row("admin", "16 KiB", 2),
        row("admin", "64 KiB", 1),
        row("six", "16 KiB", 2),
        row("six", "64 KiB", 1),
        row("told", "16 KiB", 1),
        row("told", "64 KiB", 1),
        row("told", "the notice", 1),
    ];
    assert_eq!(met, expected.into());

    let heard = relay_host.heard();
    let clear = String::from_utf8_lossy(&heard.clear).into_owned();
    assert!(clear.lines().all(|line| IN_CLEAR.contains(&line)), "{clear}");
    let (login, sizes) = (base64(&format!("\0{USERNAME}\0{PASSWORD}")), taken.iter().map(|one| one.message.len()));
    let sizes: BTreeSet<usize> = sizes.collect();
    for line in &heard.inside {
        let line = line.replace(&login, "{the login}");
        let line = match line.split_once(" SIZE=") {
            Some((mail, size)) if size.parse().is_ok_and(|size| sizes.contains(&size)) => {
                format!("{mail} SIZE={{that of the message}}")
            }
            _ => ["six@", "told@"].iter().fold(line, |line, name| line.replace(name, "admin@")),
        };
        assert!(COMMANDS.contains(&line.as_str()), "{line}");
    }
    println!("beside alerts of the smallest class: {met:?}");
}

/// A MAIL command whose size is one of a finished message's.
fn named(command: String) -> String {
    match command.split_once(" SIZE=") {
        Some((mail, size)) if size.parse().is_ok_and(|size| SMALLEST_CLASS.contains(&size)) => {
            format!("{mail} SIZE={{that of the message}}")
        }
        _ => command,
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn outside_of_armor(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let Some(start) = text.find("-----BEGIN") else { return text.into_owned() };
    format!("{}{}", &text[..start], &text[text.find("-----END").expect("its end")..])
}

fn print(commands: &BTreeSet<String>, sizes: &BTreeSet<(String, usize)>, words: usize) {
    println!("in clear:\n  {}\ncommands inside TLS:", IN_CLEAR.join("\n  "));
    commands.iter().for_each(|command| println!("  {command}"));
    println!("PGP/MIME:\n  {}\ninline:\n  {}", PGP_MIME.join("\n  "), INLINE.join("\n  "));
    println!("packets:\n  {}\nsizes:", PACKETS.join("\n  "));
    sizes.iter().for_each(|(to, size)| println!("  {to}: {size}"));
    println!("{words} words of the clients', none of them outside");
}
