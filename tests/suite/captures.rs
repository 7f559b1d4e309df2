//! Byte streams recorded from real alert clients (`tests/captures`), replayed as they were sent: command by command,
//! the message in one write, line by line as OSSEC sends it, and cut at every octet. Each alert must arrive whole, once.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use crate::support::client::Client;
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::reader::{Opened, open};
use crate::support::relay_host::{Act, RelayHost, Script};

/// A stream, divided where its client waited for a reply.
pub struct Capture {
    pub name: String,
    /// Octets of the whole stream.
    size: usize,
    pub commands: Vec<Vec<u8>>,
    /// The message, dots as sent, without its end.
    pub message: Vec<u8>,
}

pub fn captures() -> Vec<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut captures: Vec<Capture> = fs::read_dir(folder)
        .expect("captures")
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "bin"))
        .map(|file| {
            let stream = fs::read(file.path()).expect("read");
            let name = file.file_name().to_string_lossy().into_owned();
            divided(name, &stream)
        })
        .collect();
    captures.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(captures.len(), 14, "captures were lost");
    captures
}

fn divided(name: String, stream: &[u8]) -> Capture {
    let data = stream.windows(6).position(|six| six.eq_ignore_ascii_case(b"DATA\r\n")).expect("DATA") + 6;
    let commands = stream[..data].split_inclusive(|&octet| octet == b'\n').map(<[u8]>::to_vec).collect();
    let rest = &stream[data..];
    // The end is the last lone dot of the stream.
    let end = rest.windows(5).rposition(|five| five == b"\r\n.\r\n").expect("an end") + 2;
    Capture { name, size: stream.len(), commands, message: rest[..end].to_vec() }
}

/// How the message is handed over.
#[derive(Clone, Copy)]
pub enum Pacing {
    /// In one write.
    AtOnce,
    /// As OSSEC does: one send for each header line, with Nagle's pause after the first, then the text.
    LikeOssec,
    /// In two writes, cut at this octet, with a pause between them.
    Cut(usize, Duration),
}

/// Replays a capture; every reply must be what its client hopes for.
pub fn replay(address: &str, capture: &Capture, pacing: Pacing) {
    let name = &capture.name;
    let (mut client, _) = Client::connect(address);
    for command in &capture.commands {
        client.send(command);
        let reply = client.reply();
        assert!(reply.starts_with("250") || reply.starts_with("354"), "{name}: {reply}");
    }
    let message = capture.on_the_wire();
    match pacing {
        Pacing::AtOnce => client.send(&message),
        Pacing::LikeOssec => send_line_by_line(&mut client, capture, &message),
        Pacing::Cut(at, pause) => {
            client.send(&message[..at]);
            sleep(pause);
            client.send(&message[at..]);
        }
    }
    let reply = client.reply();
    assert!(reply.starts_with("250"), "{name}: {reply:?}");
    assert!(client.say("QUIT").starts_with("221"), "{name}");
}

fn send_line_by_line(client: &mut Client, capture: &Capture, message: &[u8]) {
    let (head, _) = split(&capture.message);
    for (nth, line) in head.split_inclusive(|&octet| octet == b'\n').enumerate() {
        client.send(line);
        if nth == 0 {
            sleep(Duration::from_millis(43));
        }
    }
    client.send(&message[head.len()..message.len() - 3]);
    client.send(b".\r\n");
}

impl Capture {
    fn on_the_wire(&self) -> Vec<u8> {
        [self.message.as_slice(), b".\r\n"].concat()
    }

    /// What the client wrote is what the header part and the parts behind it hold.
    #[track_caller]
    fn assert_whole(&self, opened: &Opened) {
        let message = unstuffed(&self.message);
        let (head, body) = split(&message);
        assert_eq!(opened.part("header.txt"), head, "{}: header block", self.name);
        let is_mime = head.windows(13).any(|w| w.eq_ignore_ascii_case(b"mime-version:"));
        if is_mime {
            let there = opened.entity.windows(body.len().max(1)).any(|window| window == body) || opened.alert() == body;
            assert!(there, "{}: the MIME body is not whole", self.name);
        } else {
            let (alert, sent) = (String::from_utf8_lossy(opened.alert()), String::from_utf8_lossy(body));
            assert!(opened.alert() == body, "{}: {alert:?} is not {sent:?}", self.name);
        }
        assert_eq!(!opened.noticed().is_empty(), self.has_early_dot(), "{}: {}", self.name, opened.noticed());
    }

    fn has_early_dot(&self) -> bool {
        self.message.windows(5).any(|five| five == b"\r\n.\r\n")
    }
}

/// Nothing the client sent stands in an outer header: neither its fields (`Bcc:` injected by a rule's text) nor log text
/// that stands where headers do (an sms alert without a blank line).
#[track_caller]
fn assert_outside_is_ours(message: &[u8], name: &str) {
    let text = String::from_utf8_lossy(message);
    let headers = text.split("\r\n\r\n").next().expect("headers");
    let fields: Vec<&str> = headers.split("\r\n").filter(|line| !line.starts_with(' ')).collect();
    let names: Vec<&str> = fields.iter().map(|field| field.split(':').next().unwrap_or_default()).collect();
    assert_eq!(names, ["From", "To", "Date", "Message-ID", "Subject", "MIME-Version", "Content-Type"], "{name}");
    assert_eq!(fields[..2], ["From: ossec@example.org", "To: admin@example.org"], "{name}");
    assert_eq!(fields[4], "Subject: [...]", "{name}");
    assert!(fields[6].starts_with("Content-Type: multipart/encrypted;"), "{name}");
}

#[test]
fn every_recorded_alert_arrives_whole_and_once_at_once_and_paced_like_ossec() {
    println!("{:28} {:>12} {:>7}  {:>12} {:>7}", "capture", "at once", "copies", "like OSSEC", "copies");
    for capture in captures() {
        let mut row = format!("{:28}", capture.name);
        for pacing in [Pacing::AtOnce, Pacing::LikeOssec] {
            let (relay_host, authority, _) = RelayHost::honest();
            let setup = Setup::new(relay_host.port, &authority.pem);
            let daemon = setup.start();
            replay(&daemon.address, &capture, pacing);
            let taken = relay_host.taken(1);
            assert_outside_is_ours(&taken[0].message, &capture.name);
            capture.assert_whole(&open(&taken[0].message, &setup.recipients[0].1, &setup.path("state/signer.asc")));
            eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
            assert_eq!(daemon.status()["counts"]["accepted"], 1, "{}", capture.name);
            let copies = relay_host.heard().taken.len();
            assert_eq!(copies, 1, "{}", capture.name);
            row.push_str(&format!(" {:>12} {copies:>7} ", "whole"));
        }
        println!("{row}");
    }
}

/// Cuts `capture` at every octet and replays each; all of them must lie in the spool, whole.
fn cut_everywhere(capture: &Capture, gap: &str, pause: Duration) {
    // A relay host that takes nothing: what arrived stays in the spool.
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).at("greeting", Act::Close));
    let setup = Setup::new(relay_host.port, &authority.pem).listen(gap);
    let daemon = setup.start();
    let cuts = capture.on_the_wire().len();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                loop {
                    let cut = next.fetch_add(1, Ordering::Relaxed);
                    if cut >= cuts {
                        break;
                    }
                    // Behind an early dot a pause longer than the gap ends a mail: a loaded machine could make one.
                    let behind_a_dot = capture.on_the_wire()[..cut].ends_with(b"\r\n.\r\n");
                    replay(
                        &daemon.address,
                        capture,
                        Pacing::Cut(cut, if behind_a_dot { Duration::ZERO } else { pause }),
                    );
                }
            });
        }
    });
    let entries = setup.spooled("queue");
    assert_eq!(entries.len(), cuts, "{}", capture.name);
    for entry in entries {
        let octets = fs::read(entry).expect("an entry");
        let header = octets.iter().position(|&octet| octet == b'\n').expect("a header line") + 1;
        capture.assert_whole(&open(&octets[header..], &setup.recipients[0].1, &setup.path("state/signer.asc")));
    }
    println!("{:28} {cuts:>5} cuts, {cuts:>5} whole", capture.name);
}

#[test]
fn every_small_capture_arrives_whole_and_once_wherever_it_is_cut() {
    let small: Vec<Capture> = captures().into_iter().filter(|capture| capture.size < 700).collect();
    assert!(small.len() >= 9, "captures were lost");
    let cut = |capture: &Capture| {
        let gap = if capture.has_early_dot() { "early_dot_wait = \"300ms\"" } else { "early_dot_wait = \"20ms\"" };
        cut_everywhere(capture, gap, Duration::from_millis(1));
    };
    thread::scope(|scope| small.iter().for_each(|capture| drop(scope.spawn(move || cut(capture)))));
}

/// Clients that stuff (libcurl, smtplib, JavaMail) double every leading dot; OSSEC's and Wazuh's own code none.
fn unstuffed(message: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = message.split_inclusive(|&octet| octet == b'\n').collect();
    let stuffs = lines.iter().filter(|line| line.starts_with(b".")).all(|line| line.starts_with(b".."));
    lines.iter().flat_map(|line| if stuffs { line.strip_prefix(b".").unwrap_or(line) } else { line }).copied().collect()
}

/// Header block and body of a recorded message: the first blank line, or the first line that is no header.
fn split(message: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in message.split_inclusive(|&octet| octet == b'\n') {
        let text = line.trim_ascii_end();
        if text.is_empty() {
            return (&message[..at], &message[at + line.len()..]);
        }
        let name = text.split(|&octet| octet == b':').next().unwrap_or_default();
        let is_header =
            (text.contains(&b':') && name.iter().all(u8::is_ascii_graphic)) || line[0] == b' ' || line[0] == b'\t';
        if !is_header {
            break;
        }
        at += line.len();
    }
    (&message[..at], &message[at..])
}

#[test]
fn log_text_with_lone_dots_arrives_marked_as_one_message() {
    for name in ["ossec370-dots.bin", "ossec370-live-smuggle.bin"] {
        let captures = captures();
        let capture = captures.iter().find(|capture| capture.name == name).expect(name);
        let (relay_host, authority, _) = RelayHost::honest();
        let setup = Setup::new(relay_host.port, &authority.pem);
        let daemon = setup.start();
        let (mut client, _) = Client::connect(&daemon.address);
        for command in &capture.commands {
            client.send(command);
            client.reply();
        }
        client.send(&[capture.message.as_slice(), b".\r\n"].concat());
        assert!(client.reply().starts_with("250"));
        let opened = open(&relay_host.taken(1)[0].message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
        assert!(opened.noticed().contains("lone dot"), "{name}: {}", opened.noticed());
        assert_eq!(daemon.status()["counts"]["early_dots"], 1, "{name}");
    }
}
