//! `sealrelay.json`, the last part of every sealed message, and a line of every inline one: which message of which relay this is, for programs.

use std::time::SystemTime;

use serde::Serialize;

use super::signer::Next;
use crate::mail::{Mail, Note};
use crate::ranges::Ranges;

/// What `sealrelay verify` and scripts of the recipient's read.
#[derive(Serialize)]
pub struct Manifest {
    /// The version of this form.
    pub format: u32,
    /// What made it.
    pub generator: String,
    /// Which relay: its host's name.
    pub instance: String,
    /// Which run of numbers.
    pub epoch: String,
    /// This message's number for its recipient.
    pub sequence: u64,
    /// Whom it was sealed for.
    pub recipient: String,
    /// The full fingerprints it was sealed to.
    pub certificates: Vec<String>,
    /// The full fingerprint of the key that signed it.
    pub signer: String,
    /// The key that will sign, while it is announced. What this message's signature proves, it proves of this too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_signer: Option<NextSigner>,
    /// When the alert arrived, RFC 3339.
    pub arrived: String,
    /// Who handed it in, and under what name.
    pub client: Client,
    /// What was noticed, in words.
    pub noticed: Vec<String>,
    /// What a heartbeat tells, in the form of [`crate::heartbeat::Facts`]; missing in alerts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<serde_json::Value>,
    /// How many alerts the mail of the IDS held; missing where none was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Blocks>,
    /// The numbers of the same run whose place this message takes: they will not come by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<Ranges>,
}

/// The alerts of a mail.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocks {
    /// As many as the mail held.
    #[serde(rename = "in")]
    pub received: usize,
    /// As many as this message holds.
    pub to_me: usize,
}

/// The key that will sign.
#[derive(Serialize)]
pub struct NextSigner {
    /// Its full fingerprint.
    pub fingerprint: String,
    /// When it takes over, RFC 3339.
    pub from: String,
    /// Its certificate, armored, certified by the key that signs now.
    pub certificate: String,
}

impl NextSigner {
    /// What is announced of `next`.
    pub fn of(next: &Next) -> Self {
        Self {
            fingerprint: next.signer().fingerprint().to_string(),
            from: rfc3339(next.from),
            certificate: next.certificate.clone(),
        }
    }
}

/// What the client said of itself.
#[derive(Serialize)]
pub struct Client {
    /// Address and port.
    pub address: String,
    /// HELO's or EHLO's argument.
    pub greeting: String,
    /// MAIL's path; missing for `<>`.
    pub reverse_path: Option<String>,
    /// RCPT's paths.
    pub forward_paths: Vec<String>,
}

impl Client {
    /// What `mail`'s client said.
    pub fn of(mail: &Mail) -> Self {
        Self {
            address: mail.client.clone(),
            greeting: mail.greeting.name().to_owned(),
            reverse_path: mail.envelope.reverse_path.as_ref().map(|path| path.as_str().to_owned()),
            forward_paths: mail.envelope.forward_paths.iter().map(|path| path.as_str().to_owned()).collect(),
        }
    }
}

impl Manifest {
    /// As it stands in the message: lines ending with CRLF.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("texts and numbers are always JSON");
        json.replace('\n', "\r\n") + "\r\n"
    }

    /// On one line of printable ASCII, without its end.
    pub fn to_json_line(&self) -> String {
        let json = serde_json::to_string(self).expect("texts and numbers are always JSON");
        let mut line = String::with_capacity(json.len());
        for character in json.chars() {
            match character {
                ' '..='~' => line.push(character),
                // Only texts hold such characters, and there JSON takes them so (RFC 8259 7).
                _ => {
                    character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}")))
                }
            }
        }
        line
    }
}

/// Notes in words.
pub fn in_words(notes: &[Note]) -> Vec<String> {
    notes.iter().map(Note::to_string).collect()
}

/// Times in the manifest.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
