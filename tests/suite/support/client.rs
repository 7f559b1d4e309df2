//! An alert client: OSSEC's way (one read a reply, no stuffing) and an ordinary one.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::daemon::MARKER;

/// A connection to the daemon.
pub struct Client {
    pub stream: TcpStream,
}

/// An alert in OSSEC's form, with the marker and `text` in its log line.
pub fn alert(text: &str) -> String {
    format!(
        "To: <root@localhost>\r\nFrom: OSSEC HIDS <ossec@ossec.server>\r\nDate: Fri, 20 Nov 2026 19:26:58 +0000\r\n\
         Subject: OSSEC Notification - monitor - Alert level 5 {MARKER}\r\n\r\n\r\nOSSEC HIDS Notification.\r\n\
         2026 Nov 20 19:26:45\r\n\r\nReceived From: monitor->/var/log/auth.log\r\nRule: 5710 fired (level 5) -> \"Attempt\"\r\n\
         Portion of the log(s):\r\n\r\nNov 20 19:26:42 monitor sshd[67231]: {MARKER} {text}\r\n\r\n\r\n\r\n \
         --END OF NOTIFICATION\r\n\r\n\r\n"
    )
}

impl Client {
    /// Connects and reads the banner.
    pub fn connect(address: &str) -> (Self, String) {
        let stream = TcpStream::connect(address).expect("the daemon listens");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        let mut client = Self { stream };
        let banner = client.reply();
        (client, banner)
    }

    /// What one read returns, as OSSEC reads; "" at the end.
    pub fn reply(&mut self) -> String {
        let mut octets = [0; 1023];
        let count = self.stream.read(&mut octets).unwrap_or(0);
        String::from_utf8_lossy(&octets[..count]).into_owned()
    }

    pub fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).expect("sent");
    }

    pub fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// Greets and goes up to the 354.
    pub fn begin_data(&mut self, greeting: &str, recipients: &[&str]) {
        assert!(self.say(greeting).starts_with("250"));
        assert!(self.say("MAIL FROM:<ossec@ossec.server>").starts_with("250"));
        for recipient in recipients {
            assert!(self.say(&format!("RCPT TO:<{recipient}>")).starts_with("250"));
        }
        assert!(self.say("DATA").starts_with("354"));
    }

    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("half closed");
    }
}

/// Sends an alert as an EHLO client; the reply to its end of data.
pub fn send(address: &str, recipients: &[&str], message: &str) -> String {
    let (mut client, banner) = Client::connect(address);
    assert!(banner.starts_with("220"), "{banner}");
    client.begin_data("EHLO monitor", recipients);
    client.send(format!("{message}.\r\n").as_bytes());
    let reply = client.reply();
    client.say("QUIT");
    reply
}

/// The same, to a daemon that may die under any line of it.
pub fn try_send(address: &str, message: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let mut reply = String::new();
    let end = format!("{message}.");
    for line in ["", "EHLO monitor", "MAIL FROM:<ossec@ossec.server>", "RCPT TO:<root>", "DATA", &end] {
        if !line.is_empty() {
            stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
        }
        let mut octets = [0; 1023];
        let count = stream.read(&mut octets).ok().filter(|count| *count > 0)?;
        reply = String::from_utf8_lossy(&octets[..count]).into_owned();
        if !reply.starts_with(['2', '3']) {
            break;
        }
    }
    Some(reply)
}

/// Sends `text` in an alert to root and demands the 250.
#[track_caller]
pub fn send_alert(address: &str, text: &str) {
    let reply = send(address, &["root@localhost"], &alert(text));
    assert!(reply.starts_with("250"), "{reply}");
}

/// How long the daemon takes to answer the end of data of a client that greets so.
pub fn time_to_answer(address: &str, greeting: &str) -> Duration {
    let (mut client, _) = Client::connect(address);
    client.begin_data(greeting, &["root@localhost"]);
    client.send(alert("timed").as_bytes());
    let began = Instant::now();
    client.send(b".\r\n");
    assert!(client.reply().starts_with("250"));
    began.elapsed()
}

/// What every refusal must be for OSSEC, who looks for these digits anywhere in what one read returns: one short line
/// without them. `replies` walks all that an ordinary client can get; the others are checked where they are provoked.
#[track_caller]
pub fn assert_refusal(reply: &str) {
    assert!(reply.len() < 512 && reply.trim_end().lines().count() == 1, "{reply:?}");
    assert!(!["220", "250", "354"].iter().any(|digits| reply.contains(digits)), "{reply:?}");
}
