//! Byte streams recorded from real alert clients (`tests/captures`), replayed as they were sent: command by command,
//! the message in one write. Each alert must arrive whole, once.

use std::fs;
use std::path::Path;

use crate::support::client::Client;
use crate::support::daemon::Setup;
use crate::support::reader::open;
use crate::support::relay_host::RelayHost;

/// A stream, divided where its client waited for a reply.
struct Capture {
    name: String,
    commands: Vec<Vec<u8>>,
    /// The message, dots as sent, without its end.
    message: Vec<u8>,
}

fn captures() -> Vec<Capture> {
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
    Capture { name, commands, message: rest[..end].to_vec() }
}

#[test]
fn every_recorded_alert_arrives_whole_and_once() {
    for capture in captures() {
        let (relay_host, authority, _) = RelayHost::honest();
        let setup = Setup::new(relay_host.port, &authority.pem);
        let daemon = setup.start();
        let (mut client, _) = Client::connect(&daemon.address);
        for command in &capture.commands {
            client.send(command);
            let reply = client.reply();
            assert!(reply.starts_with("250") || reply.starts_with("354"), "{}: {reply}", capture.name);
        }
        client.send(&[capture.message.as_slice(), b".\r\n"].concat());
        assert!(client.reply().starts_with("250"), "{}", capture.name);
        assert!(client.say("QUIT").starts_with("221"), "{}", capture.name);
        let taken = relay_host.taken(1);
        let opened = open(&taken[0].message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
        // What the client wrote is what the header part and the parts behind it hold.
        let message = unstuffed(&capture.message);
        let (head, body) = split(&message);
        assert_eq!(opened.part("header.txt"), head, "{}: header block", capture.name);
        let is_mime = head.windows(13).any(|w| w.eq_ignore_ascii_case(b"mime-version:"));
        if is_mime {
            let entity = &opened.entity;
            let there = entity.windows(body.len().max(1)).any(|window| window == body) || opened.alert() == body;
            assert!(there, "{}: the MIME body is not whole", capture.name);
        } else {
            assert_eq!(
                String::from_utf8_lossy(opened.alert()),
                String::from_utf8_lossy(body),
                "{}: body",
                capture.name
            );
        }
        assert_eq!(daemon.status()["counts"]["accepted"], 1, "{}", capture.name);
    }
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
