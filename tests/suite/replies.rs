//! Every reply the server can give, through the socket, as OSSEC reads it: what one read returns is the whole reply.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;

use crate::support::client::{Client, alert};
use crate::support::daemon::{Daemon, Setup};
use crate::support::relay_host::RelayHost;

/// The replies that were seen.
#[derive(Default)]
struct Seen(Mutex<BTreeSet<String>>);

impl Seen {
    /// Checks what one read returned, and that nothing belongs to it that comes later.
    #[track_caller]
    fn check(&self, client: &mut Client, reply: &str, code: &str) {
        assert!(reply.starts_with(code), "wanted {code}: {reply:?}");
        assert!(reply.ends_with("\r\n") && reply.len() < 512, "{reply:?}");
        let is_ehlo = reply.contains("8BITMIME");
        assert_eq!(reply.matches('\n').count(), if is_ehlo { 3 } else { 1 }, "{reply:?}");
        let positive = ["220", "250", "354"];
        if !positive.contains(&&reply[..3]) {
            assert!(!positive.iter().any(|digits| reply.contains(digits)), "{reply:?}");
        }
        client.stream.set_read_timeout(Some(Duration::from_millis(30))).expect("a limit");
        assert_eq!(client.reply(), "", "more came behind {reply:?}");
        client.stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        self.0.lock().expect("seen").insert(reply.replace("\r\n", "|"));
    }

    #[track_caller]
    fn say(&self, client: &mut Client, line: &str, code: &str) {
        let reply = client.say(line);
        self.check(client, &reply, code);
    }

    #[track_caller]
    fn connect(&self, daemon: &Daemon<'_>, code: &str) -> Client {
        let (mut client, banner) = Client::connect(&daemon.address);
        self.check(&mut client, &banner, code);
        client
    }

    #[track_caller]
    fn reply(&self, client: &mut Client, code: &str) {
        let reply = client.reply();
        self.check(client, &reply, code);
    }
}

fn daemon_with(listen: &str, test: impl FnOnce(&Setup, &Daemon<'_>)) {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).listen(listen);
    let daemon = setup.start();
    test(&setup, &daemon);
}

/// An ordinary dialog, and every way to say something out of order.
fn commands(seen: &Seen, setup: &Setup, daemon: &Daemon<'_>) {
    let mut client = seen.connect(daemon, "220");
    for (line, code) in [
        ("HELO x", "250"),
        ("EHLO x", "250"),
        ("VRFY root", "252"),
        ("NOOP", "250"),
        ("RSET", "250"),
        ("BOGUS 220 250 354", "500"),
        ("MAIL <220@250>", "501"),
        ("RCPT 354", "501"),
        ("RCPT TO:<a@b>", "503"),
        ("DATA", "503"),
        ("MAIL FROM:<a@b> SIZE=999999999", "552"),
        ("MAIL FROM:<a@b>", "250"),
        ("MAIL FROM:<a@b>", "503"),
        ("DATA", "503"),
        ("RCPT TO:<a@b>", "250"),
        ("DATA", "354"),
    ] {
        seen.say(&mut client, line, code);
    }
    client.send(format!("{}.\r\n", alert("replies")).as_bytes());
    seen.reply(&mut client, "250");
    client.send(format!("{}\r\n", "x".repeat(5_000)).as_bytes());
    seen.reply(&mut client, "501");
    client.begin_data("EHLO x", &["root@localhost"]);
    client.send(format!("{}\r\n.\r\n", "x\r\n".repeat(50_000)).as_bytes());
    seen.reply(&mut client, "552");
    // The disk does not take it.
    let (incoming, away) = (setup.path("spool/incoming"), setup.path("away"));
    fs::rename(&incoming, &away).expect("moved");
    client.begin_data("EHLO x", &["root@localhost"]);
    client.send(format!("{}.\r\n", alert("no disk")).as_bytes());
    seen.reply(&mut client, "451");
    fs::rename(&away, &incoming).expect("moved back");
    seen.say(&mut client, "QUIT", "221");
    let mut client = seen.connect(daemon, "220");
    for _ in 0..20 {
        seen.say(&mut client, "BOGUS", "500");
    }
    seen.say(&mut client, "BOGUS", "421");
}

/// The names of the constants in `intake/reply.rs` with their texts.
fn all() -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/intake/reply.rs");
    let source = fs::read_to_string(source).expect("the list of replies");
    let texts: Vec<String> = source
        .lines()
        .filter(|line| line.starts_with("pub const "))
        .filter_map(|line| line.split('"').nth(1).map(str::to_owned))
        .collect();
    assert!(texts.len() >= 25, "the list of replies was not found");
    texts
}

#[test]
fn every_reply_is_one_short_line_in_one_read_and_no_refusal_holds_the_digits_of_a_positive_one() {
    let seen = Seen::default();
    daemon_with("message_size = \"64KiB\"", |setup, daemon| commands(&seen, setup, daemon));
    daemon_with("command_timeout = \"1s\"", |_, daemon| {
        let mut client = seen.connect(daemon, "220");
        seen.reply(&mut client, "421");
    });
    daemon_with("sessions = 1", |_, daemon| {
        let mut silent = seen.connect(daemon, "220");
        std::thread::scope(|scope| {
            scope.spawn(|| seen.connect(daemon, "220"));
            seen.reply(&mut silent, "421");
        });
    });
    daemon_with("sessions = 1\nearly_dot_wait = \"8s\"", |_, daemon| no_room(&seen, daemon));
    daemon_with("", |_, daemon| {
        let mut client = seen.connect(daemon, "220");
        let pid = rustix::process::Pid::from_raw(daemon.id().cast_signed()).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        seen.reply(&mut client, "421");
    });
    let seen = seen.0.into_inner().expect("seen");
    seen.iter().for_each(|reply| println!("{reply}"));
    let unseen: Vec<String> =
        all().into_iter().filter(|text| !seen.iter().any(|reply| reply.starts_with(text.as_str()))).collect();
    // A certificate that breaks while the daemon runs, and a foreign address, need more than a socket.
    let elsewhere = ["421 4.3.0 Mail cannot be taken now, try again later", "554 5.7.1 No service for this address"];
    assert_eq!(unseen, elsewhere, "replies that no test has seen");
}

/// The only place is held by a mail whose end of data is being decided, which is never broken off.
fn no_room(seen: &Seen, daemon: &Daemon<'_>) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut client, _) = Client::connect(&daemon.address);
            for _ in 0..3 {
                client.begin_data("HELO x", &["root@localhost"]);
                client.send(format!("{}.\r\n", alert("slow")).as_bytes());
                assert!(client.reply().starts_with("250"), "an end of data was broken off");
            }
        });
        sleep(Duration::from_millis(300));
        seen.connect(daemon, "421");
    });
}
