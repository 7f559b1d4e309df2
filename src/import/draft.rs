//! The configuration that comes out, section by section, and how it is written.
//!
//! Guarantees: what is written parses as TOML to exactly what was `set`. Values are quoted by the toml crate, comments are
//! one line of printable ASCII each. In place of a value with a control character or one that does not show, and of one
//! that is far too long, stands what `config check` refuses: a pin or a CA file that is lost must not become trust in the
//! system's roots.

use std::fmt;

use toml::Value;

use crate::config::Secret;
use crate::envelope::{misleads, printable};

/// What stands in place of something only the operator knows; `config check` refuses it.
pub const UNKNOWN_FINGERPRINT: &str = "<40 hex digits of the certificate>";
/// The same for who gets the alerts.
pub const UNKNOWN_RECIPIENT: &str = "<who gets the alerts>";
/// The same for where they go.
pub const UNKNOWN_HOST: &str = "<the relay host>";
/// The same for who logs in.
pub const UNKNOWN_LOGIN: &str = "<the login>";
/// The same for whom they come from.
pub const UNKNOWN_SENDER: &str = "<the address alerts come from>";
/// The same for a file with authorities that is not known.
pub const UNKNOWN_FILE: &str = "<the file with the relay host's authority>";
/// The same for a pin that cannot be taken over.
pub const UNKNOWN_PIN: &str = "<sha256: as `sealrelay check` prints it>";

/// In place of a value that cannot be written.
const UNFIT: &str = "<not taken over>";
const UNFIT_WHY: &str =
    "cannot be taken over: it holds a control character, or one that does not show, or is too long.";

/// Where the password goes unless another file is named.
pub const PASSWORD_FILE: &str = "sasl_password";

/// Octets of a comment's foreign part, and of a value: an address has 254 at most, a path 4096.
const LIMIT: usize = 4096;
/// Columns.
const WIDTH: usize = 118;

/// A configuration in the making.
#[derive(Debug, Default)]
pub struct Draft {
    origin: String,
    /// `[listen]`
    pub listen: Table,
    /// `[sender]`
    pub sender: Table,
    /// `[[recipient]]`
    pub recipients: Vec<Table>,
    /// `[[relay]]`
    pub relays: Vec<Table>,
    /// `[spool]`
    pub spool: Table,
    /// What has no place in any section: what it was, and what becomes of it.
    besides: Vec<String>,
    /// What is left to do before the first start.
    steps: Vec<String>,
    /// The password of the first relay host, if the other program had it in a readable form.
    pub password: Option<Secret>,
}

/// What the operator says on the command line, in place of what could not be known.
#[derive(Debug, Default)]
pub struct Wishes {
    /// Who gets the alerts.
    pub recipient: Option<String>,
    /// The file with the certificate.
    pub certificate: Option<String>,
    /// Its fingerprint.
    pub fingerprint: Option<String>,
    /// Where the password goes.
    pub password_file: Option<String>,
}

/// One section.
#[derive(Debug, Default, Clone)]
pub struct Table(Vec<Line>);

#[derive(Debug, Clone)]
enum Line {
    Set(&'static str, Value),
    Off(&'static str, Value),
    Note(String),
}

impl Table {
    /// A key with its value; a later one replaces an earlier one.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) -> &mut Self {
        let value = value.into();
        match self.0.iter_mut().find(|line| matches!(line, Line::Set(known, _) if *known == key)) {
            Some(line) => *line = Line::Set(key, value),
            None => self.0.push(Line::Set(key, value)),
        }
        self
    }

    /// A comment above all keys.
    pub fn lead(&mut self, text: impl Into<String>) -> &mut Self {
        let first = self.0.iter().position(|line| !matches!(line, Line::Note(_))).unwrap_or(self.0.len());
        self.0.insert(first, Line::Note(text.into()));
        self
    }

    /// The comments of `notes` above all keys.
    pub fn lead_all(&mut self, notes: Self) -> &mut Self {
        self.0.splice(0..0, notes.0);
        self
    }

    /// A key that is commented out.
    pub fn off(&mut self, key: &'static str, value: impl Into<Value>) -> &mut Self {
        self.0.push(Line::Off(key, value.into()));
        self
    }

    /// A comment.
    pub fn note(&mut self, text: impl Into<String>) -> &mut Self {
        self.0.push(Line::Note(text.into()));
        self
    }

    /// What a key is set to, as text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|line| match line {
            Line::Set(known, value) if *known == key => value.as_str(),
            _ => None,
        })
    }

    fn has(&self, key: &str) -> bool {
        self.0.iter().any(|line| matches!(line, Line::Set(known, _) if *known == key))
    }

    fn write(&self, head: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n{head}")?;
        self.0.iter().try_for_each(|line| line.write(f))
    }
}

impl Line {
    /// What stands there until the operator fills it in.
    fn unknown(&self) -> Option<&str> {
        let Self::Set(_, value) = self else { return None };
        if written(value).is_none() {
            return Some(UNFIT);
        }
        let parts = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        parts.iter().filter_map(Value::as_str).find(|text| text.starts_with('<') && text.ends_with('>'))
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(text) => comment(text, "", f),
            Self::Off(key, value) => match written(value) {
                Some(value) => writeln!(f, "# {key} = {value}"),
                None => comment(&format!("{key} {UNFIT_WHY}"), "", f),
            },
            Self::Set(key, value) => match written(value) {
                Some(value) => writeln!(f, "{key} = {value}"),
                None => {
                    comment(&format!("{key} {UNFIT_WHY}"), "", f)?;
                    writeln!(f, "{key} = {}", inline(&Value::from(UNFIT)))
                }
            },
        }
    }
}

/// The value in one line of TOML, if it is fit for one.
fn written(value: &Value) -> Option<String> {
    let is_unfit = |c: char| c.is_control() || misleads(c) || c == '\u{fffd}';
    let fits = |text: &str| text.len() <= LIMIT && !text.contains(is_unfit);
    let fit = match value {
        Value::String(text) => fits(text),
        Value::Array(parts) => parts.len() <= 100 && parts.iter().all(|part| written(part).is_some()),
        Value::Table(table) => table.iter().all(|(key, value)| fits(key) && written(value).is_some()),
        _ => true,
    };
    fit.then(|| inline(value)).filter(|text| !text.contains(['\n', '\r']))
}

fn inline(value: &Value) -> String {
    match value {
        Value::Array(parts) => format!("[{}]", parts.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let parts = table.iter().map(|(key, value)| format!("{key} = {}", inline(value)));
            format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// In lines of a bearable width; those behind the first are indented by `indent`.
fn comment(text: &str, indent: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let text = printable(&text.as_bytes()[..text.len().min(LIMIT)]).replace("\\x5c", "\\");
    let mut line = String::from("#");
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if line.len() + word.len() >= WIDTH && line != "#" {
            writeln!(f, "{line}")?;
            line = format!("#{indent}");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(f, "{line}")
}

impl Draft {
    /// An empty one; `origin` says what it is made from.
    pub fn new(origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), ..Self::default() }
    }

    /// Something to do before the first start; the same thing once.
    pub fn step(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.steps.contains(&text) {
            self.steps.push(text);
        }
    }

    /// Something of the other program that has no place here.
    pub fn besides(&mut self, text: impl Into<String>) {
        self.besides.push(text.into());
    }

    /// A recipient whose certificate is not known yet.
    pub fn recipient(&mut self, address: &str) -> &mut Table {
        let mut table = Table::default();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "@._+-".contains(c);
        let name = if address.starts_with('.') || !address.chars().all(is_plain) { "admin" } else { address };
        table
            .set("address", address)
            .set("certificate", format!("keys/{name}.asc"))
            .set("fingerprint", UNKNOWN_FINGERPRINT);
        self.recipients.push(table);
        self.recipients.last_mut().expect("one was pushed")
    }

    /// Somebody who gets SecureDrop's daily notice of submissions, and of no alert more than that there was one.
    pub fn journalist(&mut self, address: &str) -> &mut Table {
        let alternatives = (1..=9).map(|digit| format!(": {digit}")).collect::<Vec<_>>().join("|");
        let text = |log: &str, activity: &str| {
            let text = format!("There has been {activity} in the past 24 hours.");
            toml::Table::from_iter([("log".to_owned(), log.into()), ("text".to_owned(), text.into())])
        };
        let texts = [text(": 0", "no submission activity"), text(&alternatives, "submission activity")];
        // With a second recipient who gets everything must be said.
        self.recipients.iter_mut().for_each(|table| {
            table.set("default", true);
        });
        let rule = toml::Table::from_iter([("rule".to_owned(), 400_600.into())]);
        let table = self.recipient(address);
        table
            .set("accept", vec![Value::Table(rule)])
            .set("fixed.subject", "Submissions in the past 24h")
            .set("fixed.every", "23h 30m")
            .set("fixed.texts", texts.map(Value::Table).to_vec());
        table
    }

    /// What the operator said counts for the first recipient and the first relay host.
    pub fn fulfil(&mut self, wishes: Wishes) {
        if self.recipients.is_empty() {
            self.recipient(UNKNOWN_RECIPIENT);
        }
        let keys =
            [("address", wishes.recipient), ("certificate", wishes.certificate), ("fingerprint", wishes.fingerprint)];
        for (key, value) in keys {
            value.into_iter().for_each(|value| {
                self.recipients[0].set(key, value);
            });
        }
        if let Some(relay) = self.relays.first_mut().filter(|relay| relay.has("password_file")) {
            match (wishes.password_file, &self.password) {
                (Some(file), _) => { relay.set("password_file", file); },
                (None, Some(_)) => self.steps.insert(
                    0,
                    format!(
                        "The password was found and is not copied here. The same command with --password-file FILE writes \
                         it into a file of mode 0400; or write it alone into {PASSWORD_FILE}."
                    ),
                ),
                (None, None) => {}
            }
        }
        self.step("sealrelay config check, then sealrelay check --login.".to_owned());
    }

    /// What only the operator can fill in, in the order it stands.
    pub fn unknown(&self) -> Vec<&str> {
        let tables = [&self.sender].into_iter().chain(&self.recipients).chain(&self.relays);
        tables.flat_map(|table| &table.0).filter_map(Line::unknown).collect()
    }

    /// What it must parse to.
    #[cfg(any(test, fuzzing))]
    pub fn as_table(&self) -> toml::Table {
        let table = |table: &Table| -> toml::Table {
            let set = table.0.iter().filter_map(|line| match line {
                Line::Set(key, value) if written(value).is_some() => Some((*key, value.clone())),
                Line::Set(key, _) => Some((*key, UNFIT.into())),
                _ => None,
            });
            let mut all = toml::Table::new();
            for (key, value) in set {
                let Some((outer, inner)) = key.split_once('.') else {
                    all.insert(key.to_owned(), value);
                    continue;
                };
                let outer = all.entry(outer).or_insert_with(|| Value::Table(toml::Table::new()));
                outer.as_table_mut().expect("no key is both").insert(inner.to_owned(), value);
            }
            all
        };
        let mut all = toml::Table::new();
        for (key, one) in [("listen", &self.listen), ("sender", &self.sender), ("spool", &self.spool)] {
            if !one.0.is_empty() {
                all.insert(key.to_owned(), Value::Table(table(one)));
            }
        }
        for (key, many) in [("recipient", &self.recipients), ("relay", &self.relays)] {
            let many: Vec<Value> =
                many.iter().filter(|one| !one.0.is_empty()).map(|one| Value::Table(table(one))).collect();
            if !many.is_empty() {
                all.insert(key.to_owned(), Value::Array(many));
            }
        }
        all
    }
}

impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        comment(&format!("sealrelay's configuration, made by {}.", self.origin), "", f)?;
        comment("deploy/sealrelay.toml explains every key.", "", f)?;
        if !self.steps.is_empty() {
            comment("", "", f)?;
            comment("Before the first start:", "", f)?;
            for (nth, step) in self.steps.iter().enumerate() {
                comment(&format!("{}. {step}", nth + 1), "   ", f)?;
            }
        }
        self.listen.write("[listen]", f)?;
        self.sender.write("[sender]", f)?;
        self.recipients.iter().try_for_each(|recipient| recipient.write("[[recipient]]", f))?;
        self.relays.iter().try_for_each(|relay| relay.write("[[relay]]", f))?;
        self.spool.write("[spool]", f)?;
        if !self.besides.is_empty() {
            writeln!(f)?;
            comment("What else was there, and what becomes of it:", "", f)?;
            self.besides.iter().try_for_each(|text| comment(&format!("- {text}"), "  ", f))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_from_a_comment_or_a_value() {
        let mut draft = Draft::new("a\n[[relay]]\nhost = \"evil\"");
        draft.recipient("a@example.org\"\npins = []").note("x\r\n[listen]\u{2028}y\u{1b}[31m");
        draft.listen.set("early_dot_wait", "'''\"\"\"\\").off("socket", "a\nb = 1");
        draft.besides("line\n[spool]");
        draft.fulfil(Wishes::default());
        let text = draft.to_string();
        assert_eq!(text.parse::<toml::Table>().expect("TOML"), draft.as_table(), "{text}");
        assert!(!text.contains('\u{1b}') && text.is_ascii(), "{text}");
        assert!(text.contains("address cannot be taken over"), "{text}");
        assert_eq!(draft.unknown(), [UNFIT, UNKNOWN_FINGERPRINT]);
    }

    #[test]
    fn what_an_operator_reads_is_what_stands_there() {
        for hostile in ["<\u{1b}]0;x\u{7}>", "a\u{202e}gro.elpmaxe@b", "a\u{200b}b@example.org", "\u{feff}x"] {
            let mut draft = Draft::new("x");
            draft.recipient(hostile).note(hostile).off("location", hostile);
            let text = draft.to_string();
            assert!(text.is_ascii(), "{text}");
            assert_eq!(draft.unknown()[0], UNFIT, "{text}");
        }
    }

    #[test]
    fn a_long_comment_is_wrapped_and_its_words_are_kept() {
        let mut draft = Draft::new("x");
        draft.besides("word ".repeat(100));
        let text = draft.to_string();
        assert!(text.lines().all(|line| line.len() <= WIDTH && (line.is_empty() || line.starts_with('#'))), "{text}");
        assert_eq!(text.matches("word").count(), 100);
    }
}
