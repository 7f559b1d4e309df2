//! What a relay host can see of a message: a fixed set of headers and the skeleton of RFC 3156.
//!
//! Guarantees: From, To, Date (UTC, zero seconds), Message-ID (random, at the sender's domain), Subject (the
//! operator's fixed text), MIME-Version and Content-Type, and nothing else; no value comes from a client.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lettre::message::header::{Date, From, Headers, MessageId, Subject, To};
use lettre::message::{Mailbox, Mailboxes};

use crate::config::Sender;
use crate::envelope::{Address, hex, random};

/// The headers a relay host sees, but for the MIME ones.
pub struct Outside {
    /// The Message-ID, with its brackets.
    pub message_id: String,
    headers: Headers,
}

impl Outside {
    /// Headers for a message to `recipient` that arrived at `arrival`.
    pub fn new(sender: &Sender, recipient: &Address, arrival: SystemTime) -> Self {
        let message_id = format!("<{}@{}>", hex(&random::<16>()), sender.address.domain());
        let mut headers = Headers::new();
        headers.set(From::from(mailbox(&sender.address)));
        headers.set(To::from(mailbox(recipient)));
        headers.set(Date::new(whole_minute(arrival)));
        headers.set(MessageId::from(message_id.clone()));
        headers.set(Subject::from(sender.subject.clone()));
        Self { message_id, headers }
    }

    /// The same headers for the inside, with the true Date and Subject, and the outer ones as HP-Outer fields
    /// (RFC 9788 2.2) so that a reader's program can tell what was protected.
    pub fn inside(&self, arrival: SystemTime, subject: &str) -> String {
        let mut inner = self.headers.clone();
        inner.set(Date::new(arrival));
        inner.set(Subject::from(subject.to_owned()));
        let outer = self.headers.to_string();
        let recorded = outer
            .split_inclusive("\r\n")
            .map(|line| if line.starts_with([' ', '\t']) { line.to_owned() } else { format!("HP-Outer: {line}") });
        format!("{inner}{}", recorded.collect::<String>())
    }

    /// The whole message around what `seal` appends, and what `seal` returned.
    ///
    /// # Errors
    /// Those of `seal`.
    pub fn around<T, E>(
        &self,
        seal: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
        room: usize,
    ) -> Result<(Vec<u8>, T), E> {
        let boundary = hex(&random::<16>());
        let mut message = Vec::with_capacity(room + 2048);
        message.extend_from_slice(
            format!(
                "{}MIME-Version: 1.0\r\n\
                 Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n boundary=\"{boundary}\"\r\n\
                 \r\n\
                 --{boundary}\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n\r\n\
                 --{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n",
                self.headers
            )
            .as_bytes(),
        );
        let sealed = seal(&mut message)?;
        message.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        Ok((message, sealed))
    }

    /// A whole plain message, for the notice.
    pub fn plain(&self, text: &str) -> Vec<u8> {
        format!("{}MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{text}\r\n", self.headers)
            .into_bytes()
    }
}

fn mailbox(address: &Address) -> Mailboxes {
    Mailboxes::new().with(Mailbox::new(None, address.to_lettre()))
}

/// Seconds would tell which of two alerts came first.
fn whole_minute(time: SystemTime) -> SystemTime {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    UNIX_EPOCH + Duration::from_secs(seconds / 60 * 60)
}
