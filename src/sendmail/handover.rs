//! Gives a message to the daemon by SMTP: over its Unix socket, where the kernel names the caller, else by TCP.
//!
//! Guarantees: a message is given only to what greets as this relay does. Another mail server on port 25 would send the
//! alert on as it is, and a daemon that is away must show as "away". Nothing of a message is said before that, every
//! wait and every reply is bounded, and only 250 after the end of data is success. Where the connection breaks the
//! caller is told to try again, which can make a duplicate and loses nothing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::addresses::Address;
use crate::config::Doors;
use crate::smtp::line::{Received, dot_stuffed};
use crate::smtp::reply::{Reply, ReplyError, ReplyReader};

/// How long connecting may take. A full backlog is no refusal: the daemon lets clients wait when it has no room.
const CONNECT: Duration = Duration::from_secs(30);
/// How long a reply may take, RFC 5321 4.5.3.2: at overload the banner comes late.
const REPLY: Duration = Duration::from_secs(5 * 60);
/// How long the reply to the end of data may take, RFC 5321 4.5.3.2.6.
const LAST_REPLY: Duration = Duration::from_secs(10 * 60);
/// How the relay's banner begins behind its code; see `intake/reply.rs`.
const OURS: &str = "sealrelay ";

/// Why the daemon did not take a message.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// It is behind none of its doors; each with what was met there.
    #[error("the mail relay is away: {0}")]
    Away(String),
    /// It said no.
    #[error("the mail relay answered {step} with: {reply}")]
    NotTaken {
        /// What it answered.
        step: &'static str,
        /// What it said.
        reply: Reply,
    },
    /// The connection broke, or a wait was too long.
    #[error("the connection to the mail relay broke: {0}")]
    Broken(#[from] io::Error),
    /// What came is no SMTP.
    #[error("what the mail relay said is no SMTP reply")]
    NoReply(#[from] ReplyError),
}

impl HandoverError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Away(_) => "Nothing was sent and nothing is kept here. Start the daemon, then send again.",
            Self::NotTaken { reply, .. } if reply.is_permanent() => {
                "Nothing was sent; the daemon's log has the reason."
            }
            Self::NotTaken { .. } => "Nothing was sent; send again later. The daemon's log has the reason.",
            Self::Broken(_) | Self::NoReply(_) => "Send again; if the mail had been taken already it comes twice.",
        }
    }

    /// The sysexits code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotTaken { reply, .. } => match reply.code {
                552 => 65,
                // The banner's: this client may not use it.
                554 => 77,
                code if code >= 500 => 69,
                _ => 75,
            },
            Self::Away(_) | Self::Broken(_) | Self::NoReply(_) => 75,
        }
    }
}

/// Hands `message` over; returns the daemon's reply when it has it. `message` is empty or ends with CRLF.
///
/// # Errors
/// The daemon is away, said no, or the connection broke.
pub fn hand_over(
    doors: &Doors,
    from: Option<&Address>,
    recipients: &[Address],
    message: &[u8],
) -> Result<Reply, HandoverError> {
    let mut dialog = Dialog::begin(doors)?;
    dialog.ask("EHLO", "EHLO sendmail")?;
    let from = from.map(Address::to_string).unwrap_or_default();
    dialog.ask("MAIL", &format!("MAIL FROM:<{from}> SIZE={} BODY=8BITMIME", message.len()))?;
    for recipient in recipients {
        dialog.ask("RCPT", &format!("RCPT TO:<{recipient}>"))?;
    }
    dialog.ask("DATA", "DATA")?;
    sockopt::set_socket_timeout(&dialog.socket, sockopt::Timeout::Recv, Some(LAST_REPLY)).map_err(io::Error::from)?;
    // RFC 5321 4.5.2: dot-stuffing. Every line that begins with a dot gets another, so the listener sees a client that
    // keeps to the rule and takes exactly these off again (`smtp/data.rs`).
    dialog.send(&dot_stuffed(message.to_vec()))?;
    let reply = dialog.expect("the message")?;
    // From here on the mail is the daemon's; what becomes of the session does not matter.
    let _ = dialog.send(b"QUIT\r\n");
    Ok(reply)
}

/// `-bs`: carries a caller's own SMTP to the daemon and back, up to the end of either.
///
/// # Errors
/// The daemon is away, or the connection broke.
pub fn dialog(doors: &Doors, input: impl Read + Send + 'static, mut output: impl Write) -> Result<(), HandoverError> {
    let Dialog { socket, greeting, .. } = Dialog::begin(doors)?;
    output.write_all(format!("{greeting}\r\n").as_bytes())?;
    output.flush()?;
    let to_daemon = socket.try_clone()?;
    // Not waited for: it may sit in a read of an input that has no end when the daemon has said its last word.
    std::thread::spawn(move || {
        let (mut input, mut to_daemon) = (input, to_daemon);
        let _ = io::copy(&mut input, &mut to_daemon);
        let _ = rustix::net::shutdown(&to_daemon, rustix::net::Shutdown::Write);
    });
    let mut replies = socket;
    let mut chunk = [0; 4096];
    loop {
        match replies.read(&mut chunk)? {
            0 => return Ok(()),
            // Whole replies at once, however the caller's buffer is made.
            count => {
                output.write_all(&chunk[..count])?;
                output.flush()?;
            }
        }
    }
}

/// A session with the daemon.
struct Dialog {
    /// A socket is a file: read, write and its time limits are the same for both kinds.
    socket: File,
    received: Received,
    reader: ReplyReader,
    greeting: Reply,
}

impl Dialog {
    /// Connects to the first door behind which the relay is, and reads its banner.
    fn begin(doors: &Doors) -> Result<Self, HandoverError> {
        let mut met = Vec::new();
        let local = doors.socket.iter().map(|path| (path.display().to_string(), connect_local(path)));
        let network = doors.addresses.iter().map(|address| (address.to_string(), connect(*address)));
        // Both are lazy: a door is tried only if the one before it did not open.
        for (name, socket) in local.chain(network) {
            match socket.map_err(HandoverError::from).and_then(Self::greeted) {
                Ok(dialog) if dialog.is_ours() => return Ok(dialog),
                Ok(dialog) if dialog.greeting.code == 220 => met.push(format!("{name}: another mail server")),
                Ok(dialog) => return Err(HandoverError::NotTaken { step: "the connection", reply: dialog.greeting }),
                // Without the sentence about the connection that is the operator's to read in the other cases.
                Err(HandoverError::Broken(error)) => met.push(format!("{name}: {error}")),
                Err(error) => met.push(format!("{name}: {error}")),
            }
        }
        Err(HandoverError::Away(met.join("; ")))
    }

    fn greeted(socket: File) -> Result<Self, HandoverError> {
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(REPLY)).map_err(io::Error::from)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(REPLY)).map_err(io::Error::from)?;
        let greeting = Reply { code: 0, lines: Vec::new() };
        let mut dialog = Self { socket, received: Received::default(), reader: ReplyReader::default(), greeting };
        dialog.greeting = dialog.reply()?;
        Ok(dialog)
    }

    fn is_ours(&self) -> bool {
        self.greeting.code == 220 && self.greeting.text().starts_with(OURS)
    }

    fn ask(&mut self, step: &'static str, command: &str) -> Result<Reply, HandoverError> {
        self.send(format!("{command}\r\n").as_bytes())?;
        self.expect(step)
    }

    /// A daemon that closes often says why first; that outranks the broken pipe.
    fn send(&mut self, octets: &[u8]) -> Result<(), HandoverError> {
        let Err(error) = self.socket.write_all(octets) else { return Ok(()) };
        match self.reply() {
            Ok(reply) => Err(HandoverError::NotTaken { step: "the session", reply }),
            Err(_) => Err(error.into()),
        }
    }

    fn expect(&mut self, step: &'static str) -> Result<Reply, HandoverError> {
        let wanted = if step == "DATA" { 354 } else { 250 };
        let reply = self.reply()?;
        if reply.code == wanted { Ok(reply) } else { Err(HandoverError::NotTaken { step, reply }) }
    }

    fn reply(&mut self) -> Result<Reply, HandoverError> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(reply) = self.reader.read(&mut self.received)? {
                return Ok(reply);
            }
            match self.socket.read(&mut chunk)? {
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => self.received.push(&chunk[..count]),
            }
        }
    }
}

/// By hand, because the standard library waits for a full backlog for ever.
fn connect_local(path: &Path) -> io::Result<File> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(CONNECT))?;
    rustix::net::connect(&socket, &address)?;
    Ok(OwnedFd::from(UnixStream::from(socket)).into())
}

fn connect(address: SocketAddr) -> io::Result<File> {
    let stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_nodelay(true)?;
    Ok(OwnedFd::from(stream).into())
}
