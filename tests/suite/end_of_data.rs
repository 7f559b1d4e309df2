//! Where a message ends: at CRLF.CRLF and nowhere else, wherever it lies, and with every octet before it.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use crate::intake::with_daemon;
use crate::support::client::Client;
use crate::support::reader::Opened;

/// What receivers somewhere take for the end of a line.
const BREAKS: [(&str, &[u8]); 13] = [
    ("CRLF", b"\r\n"),
    ("LF", b"\n"),
    ("CR", b"\r"),
    ("CRCRLF", b"\r\r\n"),
    ("LFCR", b"\n\r"),
    ("NUL", b"\0"),
    ("blank", b" "),
    ("TAB", b"\t"),
    ("VT", b"\x0b"),
    ("FF", b"\x0c"),
    ("NEL", b"\x85"),
    ("NEL in UTF-8", b"\xc2\x85"),
    ("U+2028", b"\xe2\x80\xa8"),
];
const GREETINGS: [&str; 2] = ["HELO table", "EHLO table"];
/// Octets the session reads at once (`CHUNK` in `intake/session/connection.rs`).
const CHUNK: usize = 16 * 1024;

/// Whether the server stays silent for long enough to be sure that it saw no end.
fn is_silent(client: &mut Client) -> bool {
    client.stream.set_read_timeout(Some(Duration::from_millis(80))).expect("a limit");
    let silent = client.reply().is_empty();
    client.stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    silent
}

fn by_subject(opened: Vec<Opened>) -> HashMap<String, Vec<u8>> {
    opened.iter().map(|opened| (opened.subject.clone(), opened.alert().to_vec())).collect()
}

/// Sends a lone dot behind `before`, in every company, and asks each time whether that was an end; the whole text.
fn walk(address: &str, greeting: &str, (name, before): (&str, &[u8])) -> (String, Vec<u8>, Vec<String>) {
    let subject = format!("{greeting} {name}");
    let (mut client, _) = Client::connect(address);
    client.begin_data(greeting, &["root@localhost"]);
    client.send(format!("Subject: {subject}\r\n\r\n").as_bytes());
    let (mut text, mut rows) = (Vec::new(), Vec::new());
    for (behind_name, behind) in BREAKS {
        let piece = [b"a", before, b".", behind].concat();
        // CRLF.CRLF, and CR in front of it, which is text before an end.
        if piece.windows(5).any(|five| five == b"\r\n.\r\n") {
            continue;
        }
        client.send(&piece);
        text.extend(piece);
        let silent = is_silent(&mut client);
        rows.push(format!("{greeting:11} {name:>12} . {behind_name:12} {}", if silent { "text" } else { "END" }));
        assert!(silent, "{name}.{behind_name} ended a message");
    }
    text.extend(b"z\r\n");
    client.send(b"z\r\n.\r\n");
    assert!(client.reply().starts_with("250"), "CRLF.CRLF did not end a message");
    rows.push(format!("{greeting:11} {:>12} . {:12} END", "CRLF", "CRLF"));
    (subject, text, rows)
}

#[test]
fn a_lone_dot_ends_a_message_between_crlf_and_crlf_only_and_no_octet_is_lost() {
    with_daemon("early_dot_wait = \"20ms\"", |daemon, arrived| {
        let sent: Vec<_> = thread::scope(|scope| {
            let all = GREETINGS.iter().flat_map(|greeting| BREAKS.map(|before| (greeting, before)));
            let walks: Vec<_> =
                all.map(|(greeting, before)| scope.spawn(move || walk(&daemon.address, greeting, before))).collect();
            walks.into_iter().map(|walk| walk.join().expect("a row of the table")).collect()
        });
        assert_eq!(sent.len(), GREETINGS.len() * BREAKS.len());
        let arrived = by_subject(arrived(sent.len()));
        for (subject, text, rows) in &sent {
            rows.iter().for_each(|row| println!("{row}"));
            assert_eq!(arrived.get(subject), Some(text), "{subject}: not whole");
        }
        assert_eq!(daemon.status()["counts"]["early_dots"], 0);
    });
}

/// Text whose last CRLF.CRLF begins at `at` octets.
fn up_to(head: &str, at: usize) -> String {
    let line = "filler without any dot at the beginning of a line\r\n";
    let mut text = head.to_owned();
    while text.len() + 2 * line.len() < at {
        text.push_str(line);
    }
    let fill = at - text.len();
    text + &"x".repeat(fill) + "\r\n"
}

#[test]
fn an_end_and_an_early_dot_are_seen_across_the_edges_of_the_readers_buffer() {
    with_daemon("early_dot_wait = \"100ms\"", |daemon, arrived| {
        let cases: Vec<(usize, i32)> = [1, 2].into_iter().flat_map(|edge| (-5..=5).map(move |by| (edge, by))).collect();
        let send = |&(edge, by): &(usize, i32)| {
            let subject = format!("edge {edge} {by:+}");
            let at = |edge: usize| (CHUNK * edge).saturating_add_signed(by as isize);
            let early = up_to(&format!("Subject: {subject}\r\n\r\n"), at(edge));
            let message = up_to(&format!("{early}.\r\nRSET\r\n"), at(2 * edge));
            let (mut client, _) = Client::connect(&daemon.address);
            client.begin_data("HELO edges", &["root@localhost"]);
            client.send(format!("{message}.\r\n").as_bytes());
            assert!(client.reply().starts_with("250"), "{subject}");
            assert!(client.say("QUIT").starts_with("221"), "{subject}: replies are out of step");
            (subject, message)
        };
        let sent: Vec<_> = thread::scope(|scope| {
            let sends: Vec<_> = cases.iter().map(|case| scope.spawn(|| send(case))).collect();
            sends.into_iter().map(|sent| sent.join().expect("sent")).collect()
        });
        let arrived = by_subject(arrived(cases.len()));
        for (subject, message) in sent {
            let (_, body) = message.split_once("\r\n\r\n").expect("a blank line");
            assert!(arrived[&subject] == body.as_bytes(), "{subject}: not whole");
        }
        assert_eq!(daemon.status()["counts"]["early_dots"], cases.len());
        assert_eq!(daemon.status()["counts"]["accepted"], cases.len());
    });
}

#[test]
fn stuffed_dots_are_taken_off_for_a_client_that_stuffs_and_no_dot_is_taken_from_one_that_does_not() {
    // What is sent, and what has to arrive. RFC 5321 4.5.2 clients double every leading dot; OSSEC doubles none.
    let table = [
        ("..\r\n...x\r\ny\r\n", ".\r\n..x\r\ny\r\n"),
        (".one\r\n..two\r\n", ".one\r\n..two\r\n"),
        ("a\n.\n..b\r\n", "a\n.\n..b\r\n"),
        ("a\r.\r..b\r\n", "a\r.\r..b\r\n"),
        ("..\0\r\n", ".\0\r\n"),
        // An unstuffed alert in which every such line has two: the one that cannot be told.
        ("..two leading dots\r\n", ".two leading dots\r\n"),
        // A lone dot that was text proves that its client does not stuff.
        ("..two\r\n.\r\nmore\r\n", "..two\r\n.\r\nmore\r\n"),
    ];
    with_daemon("early_dot_wait = \"100ms\"", |daemon, arrived| {
        let mut expected = HashMap::new();
        for greeting in ["HELO stuffing", "EHLO stuffing"] {
            for (nth, (sent, wanted)) in table.iter().enumerate() {
                let subject = format!("{greeting} {nth}");
                let (mut client, _) = Client::connect(&daemon.address);
                client.begin_data(greeting, &["root@localhost"]);
                client.send(format!("Subject: {subject}\r\n\r\n{sent}.\r\n").as_bytes());
                assert!(client.reply().starts_with("250"), "{subject}");
                expected.insert(subject, wanted.as_bytes().to_vec());
            }
        }
        assert_eq!(by_subject(arrived(expected.len())), expected);
    });
}
