//! The manifest in the text of a verified message: `sealrelay.json`, the last part of a PGP/MIME message, or the second
//! line of an inline one.
//!
//! Guarantees: only the relay's own manifest is found. The alert is somebody else's text and may hold anything that looks
//! like one, but neither the boundary of the outermost multipart (random) nor a line of the block on top can be in it.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::heartbeat::Facts;
use crate::ranges::Ranges;

/// The newest form that is understood.
const FORMAT: u32 = 1;
/// The longest manifest, octets: a heartbeat's has lists.
const LIMIT: usize = 1024 * 1024;
/// The longest text in it, octets.
const TEXT_LIMIT: usize = 400;

/// What of a manifest matters to the recipient.
#[derive(Deserialize)]
pub struct Manifest {
    format: u32,
    /// Which relay.
    pub instance: String,
    /// Which run of numbers.
    pub epoch: String,
    /// The number.
    pub sequence: u64,
    /// Whom it was sealed for.
    pub recipient: String,
    certificates: Vec<String>,
    arrived: String,
    /// The key that will sign.
    pub next_signer: Option<NextSigner>,
    /// What a heartbeat tells.
    pub heartbeat: Option<Facts>,
    /// The numbers of the same run that it takes the place of.
    #[serde(default)]
    pub contains: Ranges,
}

/// The key that will sign.
#[derive(Deserialize)]
pub struct NextSigner {
    /// Its full fingerprint.
    pub fingerprint: String,
    /// Its certificate, armored.
    pub certificate: String,
}

impl Manifest {
    /// Finds and reads it.
    ///
    /// # Errors
    /// There is none, or none that this version understands.
    pub fn read(content: &[u8]) -> Result<Self, String> {
        let json = on_the_second_line(content).or_else(|| in_the_last_part(content));
        let json = json.filter(|json| json.len() <= LIMIT).ok_or("there is no manifest in it")?;
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let not_read = |error: serde_json::Error| format!("its manifest cannot be read: {error}");
        let Format { format } = serde_json::from_slice(&json).map_err(not_read)?;
        if format > FORMAT {
            return Err(format!(
                "its manifest has form {format}, and this sealrelay knows up to {FORMAT}: take a newer one"
            ));
        }
        let manifest: Self = serde_json::from_slice(&json).map_err(not_read)?;
        let texts = [&manifest.instance, &manifest.epoch, &manifest.recipient];
        let sound =
            texts.iter().all(|text| text.len() <= TEXT_LIMIT && text.bytes().all(|o| (b' '..=b'~').contains(&o)));
        if !sound || manifest.sequence == 0 || manifest.format == 0 {
            return Err("its manifest holds what no relay writes".to_owned());
        }
        Ok(manifest)
    }

    /// Whether it says that it was sealed to `certificate`.
    pub fn is_for(&self, certificate: &str) -> bool {
        self.certificates.iter().any(|own| own.eq_ignore_ascii_case(certificate))
    }

    /// When the alert arrived at the relay.
    pub fn arrived(&self) -> SystemTime {
        humantime::parse_rfc3339(&self.arrived).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// The inline form: `Subject: ...`, then `sealrelay: {json}`, octets that are not printable written `\xNN`.
fn on_the_second_line(content: &[u8]) -> Option<Vec<u8>> {
    let mut lines = content.split(|&octet| octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.next()?.strip_prefix(b"Subject:")?;
    Some(unescaped(lines.next()?.strip_prefix(b"sealrelay: ")?))
}

fn unescaped(line: &[u8]) -> Vec<u8> {
    let (mut octets, mut rest) = (Vec::with_capacity(line.len()), line);
    while let Some((&first, more)) = rest.split_first() {
        let digits = rest.strip_prefix(b"\\x").and_then(|rest| std::str::from_utf8(rest.get(..2)?).ok());
        let escape = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        octets.push(escape.unwrap_or(first));
        rest = if escape.is_some() { &rest[4..] } else { more };
    }
    octets
}

/// The PGP/MIME form: the part before the closing delimiter of the outermost multipart.
fn in_the_last_part(content: &[u8]) -> Option<Vec<u8>> {
    let (head, body) = divided(content)?;
    let boundary = boundary(head)?;
    let close = rfind(body, format!("\r\n--{boundary}--").as_bytes())?;
    let delimiter = format!("\r\n--{boundary}\r\n");
    let start = rfind(&body[..close], delimiter.as_bytes())? + delimiter.len();
    let (head, json) = divided(&body[start..close])?;
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if !head.contains("filename=\"sealrelay.json\"") {
        return None;
    }
    let encoding = head.lines().find_map(|line| line.strip_prefix("content-transfer-encoding:"));
    match encoding.map(str::trim) {
        Some("base64") => {
            STANDARD.decode(json.iter().copied().filter(|o| !o.is_ascii_whitespace()).collect::<Vec<_>>()).ok()
        }
        Some("quoted-printable") => quoted_printable::decode(json, quoted_printable::ParseMode::Robust).ok(),
        _ => Some(json.to_vec()),
    }
}

/// Header block and body.
fn divided(entity: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = entity.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((&entity[..at + 2], &entity[at + 4..]))
}

/// The boundary in a header block that the relay wrote.
fn boundary(head: &[u8]) -> Option<&str> {
    let head = std::str::from_utf8(head).ok()?;
    let fields = &head[head.find("\r\nContent-Type: multipart/mixed;")?..];
    let (_, rest) = fields.split_once("boundary=\"")?;
    let (boundary, _) = rest.split_once('"')?;
    boundary.bytes().all(|octet| octet.is_ascii_hexdigit()).then_some(boundary).filter(|text| !text.is_empty())
}

fn rfind(octets: &[u8], word: &[u8]) -> Option<usize> {
    octets.windows(word.len()).rposition(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"format":1,"instance":"h","epoch":"e","sequence":7,"recipient":"a@b","certificates":["F"],"arrived":"2026-11-20T19:26:58Z","blocks":{"in":3,"to_me":1},"more":"x"}"#;

    fn mime(alert: &str) -> String {
        format!(
            "From: a\r\nContent-Type: multipart/mixed; hp=\"cipher\";\r\n boundary=\"00ff\"\r\n\r\n\
             --00ff\r\nContent-Type: text/plain\r\n\r\n{alert}\r\n--00ff\r\n\
             Content-Disposition: attachment; filename=\"sealrelay.json\"\r\nContent-Type: application/json\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\n{JSON}\r\n\r\n--00ff--\r\n      \r\n"
        )
    }

    #[test]
    fn the_relays_manifest_is_found_and_not_one_that_the_alert_holds() {
        let forged = mime("x").replace("00ff", "00aa").replace("\"sequence\":7", "\"sequence\":8");
        for content in [mime("x"), mime(&forged), mime(&format!("Subject: x\nsealrelay: {JSON}\n"))] {
            let manifest = Manifest::read(content.as_bytes()).map_err(|why| panic!("{why}: {content}"));
            assert_eq!(manifest.map(|m| m.sequence).ok(), Some(7));
        }
        let inline = format!("Subject: x\\x0asealrelay: no\nsealrelay: {JSON}\nNoticed: n\n\nsealrelay: {{}}\n");
        assert_eq!(Manifest::read(inline.as_bytes()).map(|m| m.sequence).ok(), Some(7));
    }

    #[test]
    fn escapes_of_the_inline_form_are_undone() {
        assert_eq!(unescaped(br"a\x5cx41\\n\x4"), br"a\x41\\n\x4");
    }

    #[test]
    fn what_no_relay_writes_is_refused() {
        let read = |json: &str| Manifest::read(format!("Subject: x\nsealrelay: {json}\n\n").as_bytes()).err();
        assert!(read(&JSON.replace("\"format\":1", "\"format\":2")).expect("refused").contains("newer"));
        assert!(read(&JSON.replace(":7", ":0")).is_some());
        assert!(read(&JSON.replace("\"h\"", "\"h\\u001b\"")).is_some());
        assert!(read(&JSON.replace("\"h\"", &format!("{:?}", "h".repeat(500)))).is_some());
        assert!(Manifest::read(b"").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), cut in 0_usize..600) {
            let _ = Manifest::read(&octets);
            let whole = mime("x").into_bytes();
            let _ = Manifest::read(&whole[..cut.min(whole.len())]);
            let _ = Manifest::read(&[b"Subject: \nsealrelay: ".as_slice(), &octets].concat());
        }
    }
}
