//! What `check` found; `text` prints it for people, serde for programs.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::certificate::Shown;
use super::{Answers, Questions};
use crate::config::{Relay, TlsMode, TlsPin, Trust};
use crate::deliver::advice;
use crate::deliver::outcome::{Cause, Step, Trouble};
use crate::deliver::starttls::Seen;
use crate::tls::{TrustStore, Verdict};

/// The report.
#[derive(Serialize, Debug, Clone)]
pub struct Report {
    /// The version of this form.
    pub format: u32,
    /// Name and port.
    pub relay: String,
    /// `STARTTLS` or `implicit TLS`.
    pub tls: String,
    /// What decides whether it is trusted.
    pub trust: String,
    /// The address that answered.
    pub connected: Option<String>,
    /// The greeting.
    pub greeting: Option<String>,
    /// The chain as presented.
    pub chain: Vec<Shown>,
    /// The protocol, if the handshake was completed.
    pub protocol: Option<String>,
    /// The cipher suite.
    pub cipher: Option<String>,
    /// The key exchange group.
    pub group: Option<String>,
    /// Whether that withstands a quantum computer, as far as is known.
    pub post_quantum: Option<bool>,
    /// The verdict in words.
    pub verdict: Option<String>,
    /// openssl's number; missing if nothing was verified.
    pub verify_code: Option<u32>,
    /// openssl's text for it.
    pub verify_text: Option<String>,
    /// EHLO's lines before TLS.
    pub clear: Vec<String>,
    /// EHLO's lines inside TLS.
    pub inside: Vec<String>,
    /// Login mechanisms inside TLS.
    pub mechanisms: Vec<String>,
    /// The largest message it takes.
    pub size: Option<u64>,
    /// Its reply to the login.
    pub login: Option<String>,
    /// Its replies to MAIL and RCPT.
    pub envelope: Vec<Answered>,
    /// What is usable and should be changed.
    pub warnings: Vec<String>,
    /// What did not work.
    pub trouble: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// The sysexits code.
    pub exit_code: u8,
}

/// A command and its reply.
#[derive(Serialize, Debug, Clone)]
pub struct Answered {
    /// MAIL or RCPT.
    pub command: String,
    /// What the relay host said.
    pub reply: String,
}

impl Report {
    pub(super) fn new(
        relay: &Relay,
        store: &TrustStore,
        seen: Seen,
        answers: Answers,
        trouble: Option<Trouble>,
        questions: &Questions,
    ) -> Self {
        let tls = seen.tls.unwrap_or_default();
        let code = tls.verdict.as_ref().map(Verdict::code);
        // A handshake that broke off has verified nothing, whatever the chain looks like.
        let code = code.filter(|(number, _)| *number != 0 || tls.protocol.is_some());
        let inside = seen.inside.unwrap_or_default();
        let answered =
            |(command, reply): (String, crate::smtp::reply::Reply)| Answered { command, reply: reply.to_string() };
        let mut report = Self {
            format: 1,
            relay: relay.name(),
            tls: if relay.tls == TlsMode::Starttls { "STARTTLS" } else { "implicit TLS" }.to_owned(),
            trust: store.describe(),
            connected: seen.address,
            greeting: seen.greeting.map(|reply| reply.to_string()),
            chain: tls.chain.iter().map(|der| Shown::of(der, now(), questions.certificates)).collect(),
            protocol: tls.protocol,
            cipher: tls.cipher,
            post_quantum: tls.group.as_deref().map(|group| group.contains("MLKEM")),
            group: tls.group,
            verdict: tls.verdict.map(|verdict| verdict.to_string()),
            verify_code: code.map(|(number, _)| number),
            verify_text: code.map(|(_, text)| text.to_owned()),
            clear: seen.clear.unwrap_or_default().lines,
            mechanisms: inside.auth.clone(),
            size: inside.size,
            inside: inside.lines,
            login: seen.login.map(|reply| reply.to_string()),
            envelope: answers.into_iter().map(answered).collect(),
            warnings: Vec::new(),
            advice: trouble.as_ref().map(|trouble| advice::for_trouble(trouble).to_owned()),
            exit_code: trouble.as_ref().map_or(0, exit_code),
            trouble: trouble.map(|trouble| trouble.to_string()),
        };
        report.warn(relay, questions);
        report
    }

    fn warn(&mut self, relay: &Relay, questions: &Questions) {
        if let Trust::Pins(pins) = &relay.trust {
            let sha1 = pins.iter().filter(|pin| matches!(pin, TlsPin::Sha1(_)));
            let better = self.chain.first().and_then(|own| own.pins.first()).map_or("sha256:...", String::as_str);
            let texts = sha1.map(|pin| format!("{pin} rests on SHA-1: put {better} in its place"));
            self.warnings.extend(texts.collect::<Vec<_>>());
        }
        if let Some(own) = self.chain.first().filter(|own| (0..EXPIRES_SOON).contains(&own.days_left)) {
            self.warnings.push(format!("the relay host's certificate expires in {} day(s)", own.days_left));
        }
        self.warnings.extend(self.too_small_for(questions.message_size));
        if questions.login && relay.login.is_none() {
            self.warnings.push("no login is set, so none was tried".to_owned());
        }
    }

    /// Whether the largest mail that intake takes would be too large for the relay host once it is sealed.
    fn too_small_for(&self, message_size: Option<usize>) -> Option<String> {
        let message_size = message_size?;
        let sealed = message_size as u64 * SEALED_PERCENT / 100;
        let limit = self.size.filter(|limit| *limit < sealed)?;
        Some(format!(
            "listen.message_size = {message_size} makes up to {sealed} octets once sealed, and the relay host takes \
             {limit}: set it to {} or less, or larger alerts end in failed/",
            limit * 100 / SEALED_PERCENT
        ))
    }
}

/// How much a mail grows at most while it is sealed: base64 inside, armor outside, both with line ends, in percent.
const SEALED_PERCENT: u64 = 187;

/// A certificate with fewer days left is worth a word; most are renewed when 30 are left.
const EXPIRES_SOON: i64 = 14;

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
}

/// The sysexits code that says best what did not work.
fn exit_code(trouble: &Trouble) -> u8 {
    match (&trouble.cause, trouble.step) {
        (_, Step::Resolve) => 68,
        (Cause::NotTrusted(_), _) => 77,
        // At the login too: what is late, broken off or temporary says nothing about the credentials.
        (Cause::Reply(reply), _) if !reply.is_permanent() => 75,
        (Cause::Timeout | Cause::Closed | Cause::Io(_), _) => 75,
        (_, Step::Auth) => 77,
        (Cause::NoStartTls | Cause::Injected | Cause::Nonsense(_) | Cause::Unasked | Cause::Tls(_), _) => 76,
        _ => 69,
    }
}
