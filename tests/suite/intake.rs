//! The listener, by clients of every kind.

use std::time::Duration;

use crate::support::client::{self, Client, alert, send_alert, time_to_answer};
use crate::support::daemon::{Daemon, Setup};
use crate::support::eventually;
use crate::support::reader::{Opened, open};
use crate::support::relay_host::RelayHost;

/// A daemon whose mails can be read at its relay host.
pub fn with_daemon(listen: &str, test: impl FnOnce(&Daemon<'_>, &mut dyn FnMut(usize) -> Vec<Opened>)) {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).listen(listen);
    let daemon = setup.start();
    let mut arrived = |count| {
        let taken = relay_host.taken(count);
        let mut opened: Vec<Opened> = taken
            .iter()
            .map(|taken| open(&taken.message, &setup.recipients[0].1, &setup.path("state/signer.asc")))
            .collect();
        opened.sort_by_key(|opened| opened.manifest["sequence"].as_u64());
        opened
    };
    test(&daemon, &mut arrived);
}

fn text(opened: &Opened) -> String {
    String::from_utf8_lossy(opened.alert()).into_owned()
}

#[test]
fn an_alert_arrives_whole_with_its_subject_header_block_and_manifest() {
    with_daemon("", |daemon, arrived| {
        let message = alert("caf\u{e9} \u{1b}[31m");
        send_alert(&daemon.address, "caf\u{e9} \u{1b}[31m");
        let opened = arrived(1).remove(0);
        let (head, body) = message.split_once("\r\n\r\n").expect("a blank line");
        assert_eq!(opened.alert(), body.as_bytes());
        assert_eq!(opened.part("header.txt"), format!("{head}\r\n").as_bytes());
        assert!(opened.subject.starts_with("OSSEC Notification - monitor - Alert level 5"), "{}", opened.subject);
        assert_eq!(opened.manifest["client"]["greeting"], "monitor");
        assert_eq!(opened.manifest["client"]["forward_paths"][0], "root@localhost");
        assert!(!opened.entity.contains(&0x1b), "an escape character would reach a terminal");
    });
}

#[test]
fn ossecs_dialect_is_taken_and_each_reply_comes_in_one_read() {
    with_daemon("", |daemon, arrived| {
        let (mut client, banner) = Client::connect(&daemon.address);
        assert_eq!(banner.matches("\r\n").count(), 1);
        for line in [
            "Helo notify.ossec.net",
            "Mail From: <ossec@ossec.server>",
            "Rcpt To: <root@localhost>",
            "Rcpt To: <root@localhost>",
            "Rcpt To: <root>",
        ] {
            let reply = client.say(line);
            assert!(reply.starts_with("250 ") && reply.matches("\r\n").count() == 1, "{line}: {reply}");
        }
        assert!(client.say("DATA").starts_with("354"));
        for line in alert("line by line").split_inclusive("\r\n") {
            client.send(line.as_bytes());
        }
        client.send(b"\r\n.\r\n");
        assert!(client.reply().starts_with("250"));
        assert!(client.say("QUIT").starts_with("221"));
        let opened = arrived(1).remove(0);
        assert!(text(&opened).contains("line by line"));
        assert_eq!(opened.manifest["client"]["forward_paths"].as_array().map(Vec::len), Some(2));
    });
}

#[test]
fn an_early_dot_neither_cuts_an_alert_nor_begins_another_mail() {
    with_daemon("", |daemon, arrived| {
        let (mut client, _) = Client::connect(&daemon.address);
        client.begin_data("Helo notify.ossec.net", &["root@localhost"]);
        let forged = "log\r\n.\r\nRSET\r\nMAIL FROM:<root@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nforged\r\n.\r\nQUIT\r\n\r\n --END\r\n";
        client.send(format!("{}\r\n.\r\n", alert(forged)).as_bytes());
        assert!(client.reply().starts_with("250"));
        assert!(client.say("QUIT").starts_with("221"), "replies are out of step");
        let opened = arrived(1).remove(0);
        assert!(text(&opened).contains(forged));
        assert!(opened.noticed().contains("2 line(s) that are a lone dot"), "{}", opened.noticed());
        assert_eq!(daemon.status()["counts"]["early_dots"], 1);
        assert_eq!(daemon.status()["counts"]["accepted"], 1);
    });
}

#[test]
fn sloppy_scripts_lose_no_mail_by_the_early_dot() {
    with_daemon("command_timeout = \"2s\"", |daemon, arrived| {
        // What follows the dot without waiting, and whether the sender then closes its side.
        for (nth, surplus) in ["\r\nQUIT\r\n", "NOOP\r\n", "RSET\r\n", "QUIT\r\n", "Q", "QUIT\r"].iter().enumerate() {
            let (mut client, _) = Client::connect(&daemon.address);
            client.begin_data("HELO script", &["root@localhost"]);
            client.send(format!("{}.\r\n{surplus}", alert(&format!("sloppy {nth}"))).as_bytes());
            client.half_close();
            let reply = client.reply();
            assert!(reply.starts_with("250"), "{surplus:?}: {reply}");
            let opened = arrived(nth + 1).remove(nth);
            assert!(text(&opened).contains(&format!("sloppy {nth}")));
        }
    });
}

#[test]
fn an_ehlo_client_pays_no_early_dot_wait_and_a_helo_client_pays_the_setting() {
    with_daemon("early_dot_wait = \"500ms\"", |daemon, _| {
        let ehlo = (0..5).map(|_| time_to_answer(&daemon.address, "EHLO x")).min().expect("five");
        let helo = time_to_answer(&daemon.address, "HELO x");
        assert!(ehlo < Duration::from_millis(400), "{ehlo:?}");
        assert!(helo >= Duration::from_millis(500), "{helo:?}");
    });
}

#[test]
fn a_second_mail_of_a_helo_session_is_taken_marked_and_counted() {
    with_daemon("", |daemon, arrived| {
        let (mut client, _) = Client::connect(&daemon.address);
        for nth in 0..2 {
            client.begin_data("HELO x", &["root@localhost"]);
            client.send(format!("{}.\r\n", alert(&format!("mail {nth}"))).as_bytes());
            assert!(client.reply().starts_with("250"));
        }
        let opened = arrived(2);
        assert_eq!(opened[0].noticed(), "");
        assert!(opened[1].noticed().contains("FORGED"), "{}", opened[1].noticed());
        assert_eq!(daemon.status()["counts"]["second_transactions"], 1);
    });
}

#[test]
fn an_unreadable_address_is_taken_and_noted_inside() {
    with_daemon("", |daemon, arrived| {
        let (mut client, _) = Client::connect(&daemon.address);
        client.begin_data("EHLO x", &["not an address"]);
        client.send(format!("{}.\r\n", alert("odd")).as_bytes());
        assert!(client.reply().starts_with("250"));
        let opened = arrived(1).remove(0);
        assert!(opened.noticed().contains("not an address"), "{}", opened.noticed());
    });
}

#[test]
fn a_fragment_without_its_end_of_data_is_never_delivered() {
    with_daemon("", |daemon, arrived| {
        let (mut client, _) = Client::connect(&daemon.address);
        client.begin_data("EHLO x", &["root@localhost"]);
        client.send(alert("fragment").as_bytes());
        drop(client);
        send_alert(&daemon.address, "whole");
        assert!(text(&arrived(1)[0]).contains("whole"));
        assert_eq!(daemon.status()["counts"]["accepted"], 1);
    });
}

#[test]
fn a_mail_over_the_limit_gets_552_and_the_dialog_stays_in_step() {
    with_daemon("message_size = \"64KiB\"", |daemon, arrived| {
        let (mut client, _) = Client::connect(&daemon.address);
        client.begin_data("EHLO x", &["root@localhost"]);
        client.send(format!("{}\r\n.\r\n", "x".repeat(200_000)).as_bytes());
        assert!(client.reply().starts_with("552"));
        assert!(client.say("MAIL FROM:<a@b> SIZE=100000").starts_with("552"));
        client.begin_data("EHLO x", &["root@localhost"]);
        client.send(format!("{}.\r\n", alert("small")).as_bytes());
        assert!(client.reply().starts_with("250"));
        assert!(text(&arrived(1)[0]).contains("small"));
        assert_eq!(daemon.status()["counts"]["oversize"], 2);
    });
}

#[test]
fn malformed_commands_are_answered_twenty_times_and_then_the_session_is_closed() {
    with_daemon("", |daemon, _| {
        let (mut client, _) = Client::connect(&daemon.address);
        for nth in 0..20 {
            let line = ["BOGUS", "MAIL <a@b>", "", " --END OF NOTIFICATION"][nth % 4];
            let reply = client.say(line);
            assert!(reply.starts_with('5'), "{nth}: {reply}");
        }
        assert!(client.say("BOGUS").starts_with("421"));
        assert_eq!(client.reply(), "");
    });
}

#[test]
fn nothing_is_offered_that_clients_would_stumble_over() {
    with_daemon("", |daemon, _| {
        let (mut client, _) = Client::connect(&daemon.address);
        let ehlo = client.say("EHLO x");
        assert_eq!(ehlo, "250-sealrelay\r\n250-8BITMIME\r\n250 SIZE 16777216\r\n");
        assert!(client.say("VRFY root").starts_with("252"));
        assert!(client.say("NOOP").starts_with("250"));
        assert!(client.say("RSET").starts_with("250"));
        assert!(client.say("STARTTLS").starts_with("500"));
        assert!(client.say("RCPT TO:<a@b>").starts_with("503"));
        assert!(client.say("DATA").starts_with("503"));
    });
}

#[test]
fn a_silent_client_is_answered_and_closed() {
    with_daemon("command_timeout = \"1s\"", |daemon, _| {
        let (mut client, _) = Client::connect(&daemon.address);
        assert!(client.reply().starts_with("421"));
        assert_eq!(client.reply(), "");
    });
}

#[test]
fn when_all_places_are_taken_the_longest_silent_one_makes_room() {
    with_daemon("sessions = 4", |daemon, arrived| {
        let silent: Vec<Client> = (0..4).map(|_| Client::connect(&daemon.address).0).collect();
        let began = std::time::Instant::now();
        send_alert(&daemon.address, "room");
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        assert!(text(&arrived(1)[0]).contains("room"));
        let status = eventually("a closed session", || {
            let status = daemon.status();
            (status["counts"]["closed_for_room"].as_u64() >= Some(1)).then_some(status)
        });
        assert!(status["warnings"].to_string().contains("to make room"));
        drop(silent);
    });
}

#[test]
fn html_in_rule_text_hides_nothing() {
    with_daemon("", |daemon, arrived| {
        let body = "<html><body style='display:none'>the alert</body></html>\r\n";
        let message = format!("Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n{body}");
        client::send(&daemon.address, &["root@localhost"], &message);
        let opened = arrived(1).remove(0);
        assert_eq!(opened.alert(), body.as_bytes());
        let entity = String::from_utf8_lossy(&opened.entity).into_owned();
        let (plain, html) = (entity.find("text/plain").expect("plain"), entity.find("text/html").expect("html"));
        assert!(plain < html, "the text comes first");
    });
}

#[test]
fn a_base64_mime_mail_keeps_its_structure() {
    with_daemon("", |daemon, arrived| {
        let message = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n\
                       Content-Transfer-Encoding: base64\r\n\r\nY2Fmw6k=\r\n";
        client::send(&daemon.address, &["root@localhost"], message);
        assert_eq!(arrived(1)[0].alert(), "caf\u{e9}".as_bytes());
    });
}
