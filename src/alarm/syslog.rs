//! Changes of state for a syslog collector, by UDP (RFC 5424, RFC 5426).
//!
//! Sending never waits: what the system cannot take at once is lost, as any datagram may be. The collector may be the
//! very IDS that mails through us, so its rules must not fire on our words: the log's own guard stands here too.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use super::sight::Sight;
use crate::maillog::quiet;
use crate::status::State;

/// The facility `mail` (RFC 5424 6.2.1).
const MAIL: u8 = 2;
/// Octets that every receiver takes but the oldest (RFC 5426 3.2).
const LIMIT: usize = 1024;
/// Counts what this process sent, so that a collector sees what it lost (RFC 5424 7.3.1: 1 to 2147483647).
static SENT: AtomicU32 = AtomicU32::new(0);

/// `sight.state` comes after `before`; `started` is when the daemon was.
pub fn change(name: &str, sight: &Sight, before: State, started: SystemTime) -> String {
    let text = format!("state={}, before={before}, {}", sight.state, sight.fields());
    message(name, severity(sight.state), "STATE", started, &text)
}

/// What `sealrelay alarm test` sends.
pub fn test(name: &str) -> String {
    message(name, severity(State::Ok), "TEST", SystemTime::now(), "this is a test; nothing has changed")
}

/// Sends `message` and does not wait.
///
/// # Errors
/// The system does not take it. Whether it arrives nobody says.
pub fn send(collector: SocketAddr, message: &str) -> io::Result<()> {
    let any: SocketAddr = match collector {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.send_to(message.as_bytes(), collector).map(|_| ())
}

/// Notice, warning and critical (RFC 5424 6.2.1).
fn severity(state: State) -> u8 {
    match state {
        State::Ok => 5,
        State::Degraded => 4,
        State::Broken => 2,
    }
}

/// RFC 5424 6. The elements are those that IANA registered: one of our own would need an enterprise number, so our own
/// fields stand in the text. No value in them needs RFC 5424 6.3.3's escaping: there are numbers and our version.
fn message(name: &str, severity: u8, kind: &str, started: SystemTime, text: &str) -> String {
    let (priority, pid) = (MAIL * 8 + severity, std::process::id());
    let now = SystemTime::now();
    let time = humantime::format_rfc3339_millis(now);
    // In hundredths of a second (RFC 3418), which begin again where 32 bits end.
    let up = now.duration_since(started).map_or(0, |age| age.as_millis() / 10) % (1 << 32);
    let nth = SENT.fetch_add(1, Ordering::Relaxed) % 0x7fff_ffff + 1;
    let version = env!("CARGO_PKG_VERSION");
    let head = format!(
        "<{priority}>1 {time} {name} sealrelay {pid} {kind} [timeQuality tzKnown=\"1\"]\
         [origin software=\"sealrelay\" swVersion=\"{version}\"][meta sequenceId=\"{nth}\" sysUpTime=\"{up}\"] "
    );
    let mut message = head + &quiet(text);
    message.truncate(LIMIT);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_every_field_of_rfc_5424_and_its_bound() {
        let sight = Sight::default().with(State::Broken);
        let message = change("monitor", &sight, State::Ok, SystemTime::now());
        let (head, text) = message.split_once("] state=").expect("a text");
        let fields: Vec<&str> = head.splitn(7, ' ').collect();
        assert_eq!((fields[0], fields[2], fields[3], fields[5]), ("<18>1", "monitor", "sealrelay", "STATE"));
        let time = humantime::parse_rfc3339(fields[1]).expect("a time");
        assert!(time.elapsed().expect("it is past").as_secs() < 60, "{time:?}");
        assert_eq!(fields[4], std::process::id().to_string());
        let elements: Vec<&str> = fields[6].split('[').skip(1).map(|e| e.split(' ').next().expect("a name")).collect();
        assert_eq!(elements, ["timeQuality", "origin", "meta"]);
        assert!(text.starts_with("broken, before=ok, waiting=0, "), "{text}");
        let long = super::message(&"n".repeat(64), 5, "STATE", SystemTime::UNIX_EPOCH, &"x".repeat(5000));
        assert_eq!(long.len(), LIMIT);
    }
}
