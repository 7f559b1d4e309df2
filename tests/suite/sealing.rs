//! Sealing is work for all cores, and nobody else's session waits for it.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::client::{Client, alert, send};
use crate::support::daemon::{Daemon, Setup};
use crate::support::reader::open_inline;
use crate::support::relay_host::RelayHost;

#[test]
fn replies_to_others_come_at_once_while_large_mails_are_sealed() {
    const MAILS: usize = 12;
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    let large = alert(&"long ".repeat(180_000));
    let answered = AtomicUsize::new(0);
    let (mut longest, mut replies) = (Duration::ZERO, 0);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..MAILS {
            scope.spawn(|| {
                assert!(send(&daemon.address, &["root"], &large).starts_with("250"));
                answered.fetch_add(1, Ordering::Relaxed);
            });
        }
        let (mut other, _) = Client::connect(&daemon.address);
        while answered.load(Ordering::Relaxed) < MAILS && began.elapsed() < Duration::from_secs(60) {
            let asked = Instant::now();
            assert!(other.say("NOOP").starts_with("250"));
            longest = longest.max(asked.elapsed());
            replies += 1;
            // Leaves the cores to what is measured.
            thread::sleep(Duration::from_millis(1));
        }
    });
    println!(
        "{MAILS} mails of 900 KB sealed in {:?}; {replies} replies meanwhile, the slowest {longest:?}",
        began.elapsed()
    );
    assert!(replies > MAILS && longest < began.elapsed() / 2, "{replies} replies, the slowest {longest:?}");
}

#[test]
fn a_large_mail_that_is_no_text_is_sealed_inline_within_the_memory_it_is_granted() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).recipient("inline@example.org", "format = \"inline\"");
    let daemon = setup.start();
    let body: Vec<u8> =
        (0..15_000_000_u32).map(|nth| if nth % 70 == 69 { b'\n' } else { (nth * 7 % 251) as u8 | 0x80 }).collect();
    let (mut client, _) = Client::connect(&daemon.address);
    client.begin_data("EHLO x", &["inline@example.org"]);
    client.send(&[b"Subject: large\r\n\r\n", body.as_slice(), b"\r\n.\r\n"].concat());
    assert!(client.reply().starts_with("250"));
    let peak = peak_kb(&daemon);
    // Six times the mail (see `listen.memory`), and the program itself.
    assert!(peak < 6 * body.len() / 1000 + 30_000, "{peak} kB");
    let taken = relay_host.taken(1);
    let opened = open_inline(&taken[0].message, &setup.recipients[1].1, &setup.path("state/signer.asc"));
    let lines = opened.alert.strip_prefix("--- no text, so in base64 ---\n").expect("base64").replace('\n', "");
    let decoded = STANDARD.decode(lines).expect("base64");
    assert!(decoded.starts_with(&body));
}

/// The most memory the daemon ever had.
fn peak_kb(daemon: &Daemon<'_>) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    let peak = peak.expect("the peak");
    println!("peak memory: {peak} kB");
    peak
}

#[test]
fn a_mail_for_many_recipients_is_sealed_within_the_memory_that_one_is_granted() {
    const RECIPIENTS: usize = 8;
    // Nothing is delivered: that would take memory of its own.
    let (_, authority, _) = RelayHost::honest();
    let block = |host: &str, lines: usize| {
        let log = "a line of the log, as long as it may be\r\n".repeat(lines);
        format!(
            "\r\nWazuh Notification.\r\n2026 Nov 20 19:26:45\r\n\r\nReceived From: {host}->/x\r\n\
             Rule: 1 fired (level 5) -> \"x\"\r\nPortion of the log(s):\r\n\r\n{log}\r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\n"
        )
    };
    let mail = format!("Subject: x\r\n\r\n{}{}", block("a", 36_000), block("b", 1));
    for split in ["default = true", "accept = [{ location = \"^a\" }]\nsplit = true"] {
        let setup = Setup::new(1, &authority.pem);
        let setup = (1..RECIPIENTS).fold(setup, |setup, nth| setup.recipient(&format!("r{nth}@example.org"), split));
        let daemon = setup.start();
        let before = peak_kb(&daemon);
        assert!(send(&daemon.address, &["root@localhost"], &mail).starts_with("250"));
        assert_eq!(setup.spooled("queue").len(), RECIPIENTS);
        let grown = peak_kb(&daemon) - before;
        assert!(grown < 6 * mail.len() / 1000 + 4_000, "{grown} kB, {split}");
    }
}
