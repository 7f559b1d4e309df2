//! A lone dot inside an alert (see `smtp::data`): what must not cut it, forge another, or lose a sloppy script's mail.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::intake::with_daemon;
use crate::support::client::{Client, alert, time_to_answer};
use crate::support::daemon::Daemon;
use crate::support::reader::Opened;

/// What the client does behind its last octets.
#[derive(Clone, Copy, Debug)]
enum Then {
    WaitsForTheReply,
    ClosesItsSide,
}

/// A HELO client in the middle of DATA.
fn in_data(daemon: &Daemon<'_>, greeting: &str) -> Client {
    let (mut client, _) = Client::connect(&daemon.address);
    client.begin_data(greeting, &["root@localhost"]);
    client
}

/// Sends an alert and `pieces` with a pause of 30 ms between them; the reply.
fn sent_in_pieces(daemon: &Daemon<'_>, name: &str, pieces: &[&[u8]], then: Then) -> String {
    let mut client = in_data(daemon, "HELO script");
    let (first, rest) = pieces.split_first().expect("a piece");
    client.send(&[alert(name).as_bytes(), first].concat());
    for piece in rest {
        sleep(Duration::from_millis(30));
        client.send(piece);
    }
    if matches!(then, Then::ClosesItsSide) {
        client.half_close();
    }
    client.reply()
}

fn text(opened: &Opened) -> String {
    String::from_utf8_lossy(opened.alert()).into_owned()
}

#[test]
fn whatever_a_sloppy_script_says_behind_its_dot_its_mail_arrives() {
    // Some of these end with the time for a silent client behind a lone dot, or with the client's own end.
    with_daemon("command_timeout = \"1s\"", |daemon, arrived| {
        let behind_the_dot = [
            "\r\nQUIT\r\n",
            "\r\n",
            "NOOP\r\n",
            "RSET\r\n",
            "QUIT\r\n",
            "quit\n",
            "Q",
            "QUIT",
            "QUIT\r",
            "MAIL FROM:<a@b>\r\n",
        ];
        let mut count = 0;
        for surplus in behind_the_dot {
            count += 1;
            let name = format!("sloppy {count}");
            let reply = sent_in_pieces(daemon, &name, &[format!(".\r\n{surplus}").as_bytes()], Then::ClosesItsSide);
            assert!(reply.starts_with("250"), "{surplus:?}: {reply}");
            let opened = arrived(count).remove(count - 1);
            assert!(text(&opened).contains(&name), "{surplus:?}");
            assert!(text(&opened).contains("--END OF NOTIFICATION"), "{surplus:?}: not whole");
        }
        assert_eq!(daemon.status()["counts"]["accepted"], count);
    });
}

#[test]
fn quit_cut_at_any_read_boundary_is_no_text() {
    with_daemon("", |daemon, arrived| {
        let quit = b".\r\nQUIT\r\n";
        for cut in 0..quit.len() {
            let (first, rest) = quit.split_at(cut);
            let reply = sent_in_pieces(daemon, &format!("cut {cut}"), &[first, rest], Then::WaitsForTheReply);
            assert!(reply.starts_with("250"), "cut at {cut}: {reply}");
            let opened = arrived(cut + 1).remove(cut);
            assert_eq!(opened.noticed(), "", "cut at {cut}");
            assert!(text(&opened).ends_with("--END OF NOTIFICATION\r\n\r\n\r\n"), "cut at {cut}: {}", text(&opened));
        }
        assert_eq!(daemon.status()["counts"]["early_dots"], 0);
    });
}

#[test]
fn quit_and_more_is_text() {
    with_daemon("", |daemon, arrived| {
        let reply =
            sent_in_pieces(daemon, "quit and more", &[b".\r\nQUIT\r\n", b"log\r\n.\r\n"], Then::WaitsForTheReply);
        assert!(reply.starts_with("250"), "{reply}");
        let opened = arrived(1).remove(0);
        assert!(text(&opened).ends_with("\r\n.\r\nQUIT\r\nlog\r\n"), "{}", text(&opened));
        assert!(opened.noticed().contains("1 line(s) that are a lone dot"), "{}", opened.noticed());
    });
}

#[test]
fn a_client_that_ends_or_falls_silent_behind_a_lone_dot_loses_nothing_and_it_is_marked() {
    with_daemon("message_timeout = \"2s\"", |daemon, arrived| {
        for (nth, then) in [Then::ClosesItsSide, Then::WaitsForTheReply].into_iter().enumerate() {
            let reply = sent_in_pieces(daemon, &format!("end {nth}"), &[b".\r\nthe rest of the alert"], then);
            assert!(reply.starts_with("250"), "{then:?}: {reply}");
            let opened = arrived(nth + 1).remove(nth);
            assert!(text(&opened).ends_with(".\r\nthe rest of the alert"), "{then:?}: {}", text(&opened));
            assert!(opened.noticed().contains("without a proper end of data"), "{}", opened.noticed());
        }
    });
}

#[test]
fn a_client_that_ends_exactly_behind_its_dot_has_sent_a_mail() {
    with_daemon("", |daemon, arrived| {
        for (nth, greeting) in ["HELO x", "EHLO x"].into_iter().enumerate() {
            let mut client = in_data(daemon, greeting);
            client.send(format!("{}.\r\n", alert("ends")).as_bytes());
            client.half_close();
            assert!(client.reply().starts_with("250"));
            assert_eq!(arrived(nth + 1)[nth].noticed(), "");
        }
        // Even one that is gone before the gap is over.
        let mut client = in_data(daemon, "HELO gone");
        client.send(format!("{}.\r\n", alert("gone")).as_bytes());
        drop(client);
        assert!(text(&arrived(3)[2]).contains("gone"));
    });
}

#[test]
fn an_alert_that_outgrows_the_limit_behind_a_lone_dot_is_kept_up_to_there_and_marked() {
    with_daemon("message_size = \"64KiB\"", |daemon, arrived| {
        let long = "a line of the log that goes on and on\r\n".repeat(2_000);
        // With and without an end of data in the very read that crosses the limit, and far behind it.
        let endless = long.as_str();
        let (short, _) = long.split_at(64 * 1024 - 700);
        let ended = format!("{short}\r\n{}\r\n.\r\n", "y".repeat(1_000));
        for (nth, text_behind) in [endless, ended.as_str()].into_iter().enumerate() {
            let mut client = in_data(daemon, "HELO x");
            client.send(alert(&format!("large {nth}")).as_bytes());
            client.send(format!(".\r\n{text_behind}").as_bytes());
            assert!(client.reply().starts_with("250"), "{nth}");
            let opened = arrived(nth + 1).remove(nth);
            assert!(text(&opened).contains(&format!("large {nth}")), "{nth}");
            assert!(opened.alert().len() > 60 * 1024, "{nth}: {} octets", opened.alert().len());
            assert!(opened.noticed().contains("lone dot"), "{nth}: {}", opened.noticed());
        }
    });
}

#[test]
fn a_lone_dot_behind_the_size_limit_makes_no_mail_of_the_rest() {
    with_daemon("message_size = \"64KiB\"", |daemon, arrived| {
        let mut client = in_data(daemon, "HELO x");
        client.send("a line of the log that goes on and on\r\n".repeat(3_000).as_bytes());
        client.send(b".\r\nRSET\r\nthe rest, of which nobody could make sense\r\n");
        sleep(Duration::from_millis(100));
        client.send(b".\r\n");
        assert!(client.reply().starts_with("552"));
        assert!(client.say("NOOP").starts_with("250"), "replies are out of step");
        client.begin_data("HELO x", &["root@localhost"]);
        client.send(format!("{}.\r\n", alert("the next")).as_bytes());
        assert!(client.reply().starts_with("250"));
        assert!(text(&arrived(1)[0]).contains("the next"));
        assert_eq!(daemon.status()["counts"]["accepted"], 1);
        assert_eq!(daemon.status()["counts"]["oversize"], 1);
    });
}

#[test]
fn a_forged_second_mail_is_marked_even_if_the_forger_says_ehlo_first() {
    for greeting in ["", "EHLO innocent\r\n", "HELO innocent\r\n"] {
        with_daemon("early_dot_wait = \"20ms\"", |daemon, arrived| {
            let mut client = in_data(daemon, "HELO notify.ossec.net");
            client.send(format!("{}.\r\n", alert("the true one")).as_bytes());
            // The forger's text comes later than the gap: OSSEC goes on sending, reading nothing.
            sleep(Duration::from_millis(200));
            client.send(format!("{greeting}MAIL FROM:<root@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\n").as_bytes());
            sleep(Duration::from_millis(50));
            client.send(b"Subject: forged\r\n\r\nforged\r\n.\r\n --END\r\n\r\n.\r\n");
            client.half_close();
            let opened = arrived(2).remove(1);
            assert!(text(&opened).starts_with("forged"), "{greeting:?}");
            assert!(opened.noticed().contains("FORGED"), "{greeting:?}: {}", opened.noticed());
            assert!(opened.noticed().contains("lone dot"), "{greeting:?}: the gap was not watched any more");
            assert_eq!(daemon.status()["counts"]["second_transactions"], 1);
        });
    }
}

#[test]
fn several_mails_of_one_ehlo_session_are_nothing_to_mark() {
    with_daemon("", |daemon, arrived| {
        let (mut client, _) = Client::connect(&daemon.address);
        for nth in 0..3 {
            client.begin_data("EHLO x", &["root@localhost"]);
            client.send(format!("{}.\r\n", alert(&format!("mail {nth}"))).as_bytes());
            assert!(client.reply().starts_with("250"));
        }
        assert!(arrived(3).iter().all(|opened| opened.noticed().is_empty()));
        assert_eq!(daemon.status()["counts"]["second_transactions"], 0);
    });
}

#[test]
fn an_ehlo_client_waits_for_nothing_and_a_helo_client_for_the_gap() {
    for (setting, gap) in [("", 300), ("early_dot_wait = \"900ms\"", 900), ("early_dot_wait = \"0s\"", 0)] {
        with_daemon(setting, |daemon, _| {
            let quickest =
                |greeting| (0..5).map(|_| time_to_answer(&daemon.address, greeting)).min().expect("some").as_millis();
            let (ehlo, helo) = (quickest("EHLO x"), quickest("HELO x"));
            println!("gap {gap} ms: EHLO answered within {ehlo} ms, HELO within {helo} ms");
            assert!(helo >= gap, "HELO did not wait");
            // The same work without the gap: only a gap would make so much of a difference.
            assert!(ehlo < 250, "EHLO waited {ehlo} ms");
            assert!(helo < gap + 250, "HELO waited {helo} ms");
        });
    }
}

#[test]
fn with_a_gap_of_zero_only_what_already_waits_shows_that_a_dot_was_text() {
    with_daemon("early_dot_wait = \"0s\"", |daemon, arrived| {
        let reply = sent_in_pieces(daemon, "at once", &[b".\r\nlog\r\n.\r\n"], Then::WaitsForTheReply);
        assert!(reply.starts_with("250"));
        assert!(arrived(1)[0].noticed().contains("lone dot"));
        let mut client = in_data(daemon, "HELO x");
        client.send(format!("{}.\r\n", alert("later")).as_bytes());
        assert!(client.reply().starts_with("250"));
        client.send(b"log\r\n");
        assert!(client.reply().starts_with("500"), "the text is read as a command, and the alert is stored");
        assert_eq!(arrived(2)[1].noticed(), "");
    });
}

#[test]
fn a_dot_before_every_line_costs_no_minutes() {
    with_daemon("", |daemon, arrived| {
        let mut client = in_data(daemon, "HELO x");
        let dots = ".\r\n".repeat(1_000_000);
        let began = Instant::now();
        client.send(format!("{}{dots}", alert("dots")).as_bytes());
        assert!(client.reply().starts_with("250"));
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        assert!(arrived(1)[0].alert().ends_with(b".\r\n.\r\n"));
    });
}
