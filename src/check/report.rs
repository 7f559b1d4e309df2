//! What `check` found, for people and for programs.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::certificate::Shown;
use crate::config::{Relay, TlsMode, Trust};
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
    /// What is usable and should be changed.
    pub warnings: Vec<String>,
    /// What did not work.
    pub trouble: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// The sysexits code.
    pub exit_code: u8,
}

impl Report {
    pub(super) fn new(relay: &Relay, store: &TrustStore, seen: Seen, trouble: Option<Trouble>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let tls = seen.tls.unwrap_or_default();
        let code = tls.verdict.as_ref().map(Verdict::code);
        // A handshake that broke off has verified nothing, whatever the chain looks like.
        let code = code.filter(|(number, _)| *number != 0 || tls.protocol.is_some());
        let inside = seen.inside.unwrap_or_default();
        Self {
            format: 1,
            relay: format!("{}:{}", relay.host, relay.port),
            tls: if relay.tls == TlsMode::Starttls { "STARTTLS" } else { "implicit TLS" }.to_owned(),
            trust: store.describe(),
            connected: seen.address,
            greeting: seen.greeting.map(|reply| reply.to_string()),
            chain: tls.chain.iter().map(|der| Shown::of(der, now)).collect(),
            protocol: tls.protocol,
            cipher: tls.cipher,
            group: tls.group,
            verdict: tls.verdict.map(|verdict| verdict.to_string()),
            verify_code: code.map(|(number, _)| number),
            verify_text: code.map(|(_, text)| text.to_owned()),
            clear: seen.clear.unwrap_or_default().lines,
            mechanisms: inside.auth.clone(),
            size: inside.size,
            inside: inside.lines,
            login: seen.login.map(|reply| reply.to_string()),
            warnings: warnings(relay),
            advice: trouble.as_ref().map(|trouble| advice::for_trouble(trouble).to_owned()),
            exit_code: trouble.as_ref().map_or(0, exit_code),
            trouble: trouble.map(|trouble| trouble.to_string()),
        }
    }
}

/// How much a mail grows at most while it is sealed: base64 inside, armor outside, both with line ends, in percent.
const SEALED_PERCENT: u64 = 187;

fn warnings(relay: &Relay) -> Vec<String> {
    let Trust::Pins(pins) = &relay.trust else { return Vec::new() };
    let sha1 = pins.iter().filter(|pin| matches!(pin, crate::config::TlsPin::Sha1(_)));
    sha1.map(|pin| format!("{pin} rests on SHA-1: put the sha256: line above instead")).collect()
}

/// The sysexits code that says best what did not work.
fn exit_code(trouble: &Trouble) -> u8 {
    match (&trouble.cause, trouble.step) {
        (_, Step::Resolve) => 68,
        (Cause::NotTrusted(_), _) | (_, Step::Auth) => 77,
        (Cause::NoStartTls | Cause::Injected | Cause::Nonsense(_) | Cause::Unasked | Cause::Tls(_), _) => 76,
        (Cause::Reply(reply), _) if reply.is_permanent() => 69,
        (Cause::Reply(_) | Cause::Timeout | Cause::Closed | Cause::Io(_), _) => 75,
        _ => 69,
    }
}

impl Report {
    /// Warns if the largest mail that intake takes would be too large for the relay host once it is sealed.
    pub(super) fn with_size_limit(mut self, message_size: usize) -> Self {
        let sealed = message_size as u64 * SEALED_PERCENT / 100;
        if let Some(limit) = self.size.filter(|limit| *limit < sealed) {
            self.warnings.push(format!(
                "listen.message_size = {message_size} makes up to {sealed} octets once sealed, and the relay host takes \
                 {limit}: set it to {} or less, or larger alerts end in failed/",
                limit * 100 / SEALED_PERCENT
            ));
        }
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text)?;
        f.write_str(text.trim_end())
    }
}

impl Report {
    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "Relay host {} by {}, trusting {}", self.relay, self.tls, self.trust)?;
        if let Some(address) = &self.connected {
            writeln!(out, "CONNECTED({address})")?;
        }
        if let Some(greeting) = &self.greeting {
            writeln!(out, "{greeting}")?;
        }
        self.write_lines(out, "EHLO before TLS", &self.clear)?;
        self.write_chain(out)?;
        self.write_handshake(out)?;
        self.write_lines(out, "EHLO inside TLS", &self.inside)?;
        if !self.inside.is_empty() {
            let mechanisms = if self.mechanisms.is_empty() { "none".to_owned() } else { self.mechanisms.join(" ") };
            writeln!(out, "AUTH mechanisms: {mechanisms}")?;
        }
        if let Some(login) = &self.login {
            writeln!(out, "Login: {login}")?;
        }
        for warning in &self.warnings {
            writeln!(out, "Warning: {warning}")?;
        }
        writeln!(out, "---")?;
        match (&self.trouble, &self.advice) {
            (Some(trouble), advice) => {
                writeln!(out, "NOT USABLE: {trouble}")?;
                writeln!(out, "  {}", advice.as_deref().unwrap_or_default())
            }
            (None, _) if self.login.is_some() => writeln!(out, "Usable: verified, and the login was taken."),
            (None, _) => writeln!(out, "Usable: verified. The login was not tried (--login tries it)."),
        }
    }

    fn write_lines(&self, out: &mut String, title: &str, lines: &[String]) -> fmt::Result {
        if lines.is_empty() {
            return Ok(());
        }
        writeln!(out, "---\n{title}")?;
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
    }

    fn write_chain(&self, out: &mut String) -> fmt::Result {
        if self.chain.is_empty() {
            return Ok(());
        }
        writeln!(out, "---\nCertificate chain")?;
        for (nth, shown) in self.chain.iter().enumerate() {
            writeln!(out, " {nth} s:{}\n   i:{}\n   a:{}", shown.subject, shown.issuer, shown.key)?;
            let (from, to, left) = (&shown.not_before, &shown.not_after, shown.days_left);
            writeln!(out, "   v:NotBefore: {from}; NotAfter: {to} ({left} days left)")?;
        }
        writeln!(out, "---\nFingerprints of the server's certificate, as pins")?;
        self.chain[0].pins.iter().try_for_each(|pin| writeln!(out, "  \"{pin}\""))
    }

    fn write_handshake(&self, out: &mut String) -> fmt::Result {
        if let (Some(protocol), Some(cipher)) = (&self.protocol, &self.cipher) {
            writeln!(out, "---\nProtocol: {protocol}\nCipher: {cipher}")?;
            writeln!(out, "Key exchange group: {}", self.group.as_deref().unwrap_or("unknown"))?;
        }
        if let Some(verdict) = &self.verdict {
            writeln!(out, "Verification: {verdict}")?;
        }
        match (self.verify_code, &self.verify_text) {
            (Some(number), Some(text)) => writeln!(out, "Verify return code: {number} ({text})"),
            _ => writeln!(out, "Verify return code: none (nothing was verified)"),
        }
    }
}
