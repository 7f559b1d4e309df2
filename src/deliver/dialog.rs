//! One SMTP dialog with a relay host, command by command: bounded replies, a deadline on each.
//!
//! Guarantees: a command gets exactly the reply that follows it; whatever a peer had sent before a command was sent
//! ends the session instead of being taken for its reply. AUTH never reaches the log. The relay host, and before TLS
//! whoever is on the wire, controls every octet that is read here.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::outcome::{Cause, Step, Trouble};
use crate::envelope::printable;
use crate::maillog;
use crate::smtp::line::Received;
use crate::smtp::reply::{Reply, ReplyReader};

/// What a dialog runs over: plain TCP, a proxy's stream, TLS.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The end of data may take this many times longer than another reply (RFC 5321 4.5.3.2.6).
const END_OF_DATA_FACTOR: u32 = 5;

/// A shorter secret is not looked for: it would cut up every reply.
const SHORTEST_HIDDEN: usize = 4;

/// A dialog under way.
pub struct Dialog {
    stream: Box<dyn Stream>,
    received: Received,
    relay: String,
    patience: Duration,
    /// What no reply may show.
    hidden: Vec<Zeroizing<String>>,
}

/// What the log may show of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// All of it.
    Whole,
    /// Only that there was one: it holds a password, or what one can be guessed from. A 334 to it is as short.
    Redacted,
}

impl Dialog {
    /// A dialog over `stream`; each reply may take `patience`.
    pub fn new(stream: Box<dyn Stream>, relay: String, patience: Duration) -> Self {
        Self { stream, received: Received::default(), relay, patience, hidden: Vec::new() }
    }

    /// From now on `secret` is cut out of whatever the relay host says: some repeat a login that they do not take, and
    /// replies go to the log, to `status` and beside the entry.
    pub fn hide(&mut self, secret: &str) {
        if secret.len() >= SHORTEST_HIDDEN {
            self.hidden.push(Zeroizing::new(printable(secret.as_bytes())));
        }
    }

    /// Reads the greeting.
    ///
    /// # Errors
    /// None came in time, or it is no positive one.
    pub async fn greeting(&mut self) -> Result<Reply, Trouble> {
        let reply = self.read(Step::Greeting, self.patience, Show::Whole).await?;
        expect(Step::Greeting, reply, |code| code == 220)
    }

    /// Sends `line` (without its end) and reads its reply.
    ///
    /// # Errors
    /// It could not be sent, or no proper reply came in time.
    pub async fn command(&mut self, step: Step, line: &str, show: Show) -> Result<Reply, Trouble> {
        let logged = if show == Show::Redacted { "AUTH <redacted>" } else { line };
        maillog::dialog(&self.relay, '>', logged);
        self.nothing_unasked(step)?;
        self.write(step, Zeroizing::new(format!("{line}\r\n")).as_bytes()).await?;
        self.read(step, self.patience, show).await
    }

    /// Sends a whole message, dot-stuffed and ended, and reads the final reply.
    ///
    /// # Errors
    /// It could not be sent, or no proper reply came in time: then it may or may not have been taken.
    pub async fn message(&mut self, wire: &[u8]) -> Result<Reply, Trouble> {
        self.nothing_unasked(Step::EndOfData)?;
        self.write(Step::EndOfData, wire).await?;
        self.read(Step::EndOfData, self.patience * END_OF_DATA_FACTOR, Show::Whole).await
    }

    /// Says QUIT and does not wait long for the answer.
    pub async fn quit(mut self) {
        let goodbye = async {
            let _ = self.command(Step::Quit, "QUIT", Show::Whole).await;
            let _ = self.stream.shutdown().await;
        };
        let _ = timeout(Duration::from_secs(5), goodbye).await;
    }

    /// Gives the stream back for a TLS handshake.
    ///
    /// # Errors
    /// Octets wait that came before the handshake: an attacker's, who wants them taken for replies inside TLS
    /// (the STARTTLS injection of CVE-2011-0411 and its kin).
    pub fn into_stream(self) -> Result<Box<dyn Stream>, Trouble> {
        if self.received.is_empty() {
            return Ok(self.stream);
        }
        Err(Trouble::new(Step::StartTls, Cause::Injected))
    }

    /// A reply nobody asked for would be taken for that of the next command.
    fn nothing_unasked(&self, step: Step) -> Result<(), Trouble> {
        if self.received.is_empty() { Ok(()) } else { Err(Trouble::new(step, Cause::Unasked)) }
    }

    async fn write(&mut self, step: Step, octets: &[u8]) -> Result<(), Trouble> {
        let write = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        match timeout(self.patience * END_OF_DATA_FACTOR, write).await {
            Err(_) => Err(Trouble::new(step, Cause::Timeout)),
            Ok(Err(error)) => Err(Trouble::new(step, error.into())),
            Ok(Ok(())) => Ok(()),
        }
    }

    async fn read(&mut self, step: Step, patience: Duration, show: Show) -> Result<Reply, Trouble> {
        match timeout(patience, self.read_reply(step, show)).await {
            Err(_) => Err(Trouble::new(step, Cause::Timeout)),
            Ok(outcome) => outcome,
        }
    }

    fn without_hidden(&self, text: &str) -> String {
        self.hidden.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "<redacted>"))
    }

    async fn read_reply(&mut self, step: Step, show: Show) -> Result<Reply, Trouble> {
        let mut reader = ReplyReader::default();
        let mut chunk = [0; 4096];
        loop {
            let complete = reader
                .read(&mut self.received)
                .map_err(|error| Trouble::new(step, Cause::Nonsense(self.without_hidden(&error.to_string()))))?;
            if let Some(mut reply) = complete {
                reply.lines.iter_mut().for_each(|line| *line = self.without_hidden(line));
                // A SCRAM challenge in the log would be enough to try passwords against.
                let hidden = show == Show::Redacted && reply.code == 334;
                maillog::dialog(
                    &self.relay,
                    '<',
                    &if hidden { "334 <redacted>".to_owned() } else { reply.to_string() },
                );
                return Ok(reply);
            }
            match self.stream.read(&mut chunk).await {
                Ok(0) => return Err(Trouble::new(step, Cause::Closed)),
                Ok(count) => self.received.push(&chunk[..count]),
                Err(error) => return Err(Trouble::new(step, error.into())),
            }
        }
    }
}

/// `reply` if its code is what the step needs, else the trouble it means.
///
/// # Errors
/// The code is another one.
pub fn expect(step: Step, reply: Reply, wanted: impl Fn(u16) -> bool) -> Result<Reply, Trouble> {
    if wanted(reply.code) { Ok(reply) } else { Err(Trouble::new(step, Cause::Reply(reply))) }
}
