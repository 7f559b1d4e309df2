//! The report for people, with the words that users of openssl look for.

use std::fmt::{self, Write};

use super::report::Report;

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
        write_lines(out, "EHLO before TLS", &self.clear)?;
        self.write_chain(out)?;
        self.write_pins(out)?;
        self.write_handshake(out)?;
        self.write_inside(out)?;
        for warning in &self.warnings {
            writeln!(out, "Warning: {warning}")?;
        }
        writeln!(out, "---")?;
        match (&self.trouble, &self.advice) {
            (Some(trouble), advice) => {
                writeln!(out, "NOT USABLE: {trouble}")?;
                writeln!(out, "  {}", advice.as_deref().unwrap_or_default())
            }
            (None, _) if !self.envelope.is_empty() => {
                writeln!(out, "Usable: verified, and sender and recipients were taken.")
            }
            (None, _) if self.login.is_some() => writeln!(out, "Usable: verified, and the login was taken."),
            (None, _) => writeln!(out, "Usable: verified. The login was not tried (--login tries it)."),
        }
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
            shown.pem.iter().try_for_each(|pem| write!(out, "{pem}"))?;
        }
        match self.chain[0].names.as_slice() {
            [] => writeln!(out, "Server's names: none in its subjectAltName"),
            names => writeln!(out, "Server's names: {}", names.join(", ")),
        }
    }

    /// A line for each, because any one of them will do.
    fn write_pins(&self, out: &mut String) -> fmt::Result {
        let Some(own) = self.chain.first() else { return Ok(()) };
        writeln!(
            out,
            "---\nFingerprints of the server's certificate and key, ready for the configuration; one will do"
        )?;
        for pin in &own.pins {
            let about = match pin.split(':').next() {
                Some("sha256") => "this certificate",
                Some("spki-sha256") => "its key, which a renewal may keep",
                _ => "this certificate, in the old form",
            };
            writeln!(out, "pins = [\"{pin}\"]  # {about}")?;
        }
        Ok(())
    }

    fn write_handshake(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "---")?;
        if let (Some(protocol), Some(cipher)) = (&self.protocol, &self.cipher) {
            writeln!(out, "Protocol: {protocol}\nCipher: {cipher}")?;
            let post_quantum = if self.post_quantum == Some(true) { "post-quantum" } else { "not post-quantum" };
            writeln!(out, "Key exchange group: {} ({post_quantum})", self.group.as_deref().unwrap_or("unknown"))?;
        }
        if let Some(verdict) = &self.verdict {
            writeln!(out, "Verification: {verdict}")?;
        }
        match (self.verify_code, &self.verify_text) {
            (Some(number), Some(text)) => writeln!(out, "Verify return code: {number} ({text})"),
            _ => writeln!(out, "Verify return code: none (the handshake was not completed, so nothing was verified)"),
        }
    }

    fn write_inside(&self, out: &mut String) -> fmt::Result {
        write_lines(out, "EHLO inside TLS", &self.inside)?;
        if !self.inside.is_empty() {
            let mechanisms = if self.mechanisms.is_empty() { "none".to_owned() } else { self.mechanisms.join(" ") };
            let size = self.size.map_or_else(|| "not said".to_owned(), |size| format!("{size} octets"));
            writeln!(out, "AUTH mechanisms: {mechanisms}\nSIZE: {size}")?;
        }
        if let Some(login) = &self.login {
            writeln!(out, "Login: {login}")?;
        }
        self.envelope.iter().try_for_each(|asked| writeln!(out, "{}: {}", asked.command, asked.reply))
    }
}

fn write_lines(out: &mut String, title: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "---\n{title}")?;
    lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
}
