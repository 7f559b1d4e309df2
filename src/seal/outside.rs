//! What a relay host can see of a message: a fixed set of headers, and the skeleton of RFC 3156 or one armored text.
//!
//! Guarantees: From, To, Date (UTC, zero seconds; for a recipient with slots the beginning of the day), Message-ID (random,
//! at the sender's domain), Subject (the operator's fixed text), MIME-Version and Content-Type, and nothing else; no value
//! comes from a client.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lettre::message::header::{Date, From, HeaderName, HeaderValue, Headers, MessageId, Subject, To};
use lettre::message::{Mailbox, Mailboxes};

use crate::config::{Format, Sender};
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
        inner.insert_raw(protected_subject(subject));
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
        format: Format,
        seal: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
    ) -> Result<(Vec<u8>, T), E> {
        let mut message = Vec::with_capacity(2048);
        if format == Format::Inline {
            // The armor is ASCII; what is in it is UTF-8, and a reader's program has nothing else to tell it by.
            message.extend_from_slice(self.text_head("utf-8").as_bytes());
            let sealed = seal(&mut message)?;
            return Ok((message, sealed));
        }
        let boundary = hex(&random::<16>());
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
        format!("{}{text}\r\n", self.text_head("us-ascii")).into_bytes()
    }

    fn text_head(&self, charset: &str) -> String {
        format!("{}MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\n\r\n", self.headers)
    }
}

/// The client's Subject, encoded. lettre leaves ASCII as it is, so text that looks like an encoded word would be decoded
/// by the reader's program into whatever it hides, controls included: such text is encoded itself.
fn protected_subject(subject: &str) -> HeaderValue {
    use base64::Engine;
    let name = HeaderName::new_from_ascii_str("Subject");
    if !subject.contains("=?") {
        return HeaderValue::new(name, subject.to_owned());
    }
    let mut words = vec![String::new()];
    for character in subject.chars() {
        // RFC 2047 2: an encoded word has 75 characters at most; 45 octets make 60 of base64.
        if words.last().is_some_and(|word| word.len() + character.len_utf8() > 45) {
            words.push(String::new());
        }
        words.iter_mut().last().into_iter().for_each(|word| word.push(character));
    }
    let encode = |word: &String| format!("=?utf-8?b?{}?=", base64::engine::general_purpose::STANDARD.encode(word));
    let encoded = words.iter().map(encode).collect::<Vec<_>>().join("\r\n ");
    HeaderValue::dangerous_new_pre_encoded(name, subject.to_owned(), encoded)
}

fn mailbox(address: &Address) -> Mailboxes {
    Mailboxes::new().with(Mailbox::new(None, address.to_lettre()))
}

/// Seconds would tell which of two alerts came first.
fn whole_minute(time: SystemTime) -> SystemTime {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    UNIX_EPOCH + Duration::from_secs(seconds / 60 * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;

    #[test]
    fn a_subject_comes_back_as_it_was_and_hides_nothing() {
        let sender = Sender {
            address: "ossec@example.org".parse().expect("an address"),
            envelope: "ossec@example.org".parse().expect("an address"),
            subject: "[...]".to_owned(),
        };
        let outside = Outside::new(&sender, &sender.address, SystemTime::now());
        for subject in
            ["OSSEC Alert", "caf\u{e9}", "=?utf-8?q?=1B[31m?=", &"=?x ".repeat(60), &"\u{e9}a ".repeat(150), ""]
        {
            let inside = outside.inside(SystemTime::now(), subject);
            assert!(inside.split("\r\n").all(|line| line.len() < 998 && !line.contains('\n')), "{inside}");
            let read = MessageParser::default().parse_headers(inside.as_bytes()).expect("headers");
            assert_eq!(read.subject().unwrap_or_default().trim_end(), subject.trim_end());
            assert_eq!(inside.matches("HP-Outer: ").count(), 5);
        }
    }
}
