//! ossec.conf of OSSEC and Wazuh: who gets alerts, from whom, and by which server.
//!
//! Such files are seldom well-formed: several roots, stray `&`, `\<` in patterns, unclosed elements. So elements are
//! followed by name; an end that closes nothing is passed over, and one that closes several closes them.

mod xml;

use std::path::{Path, PathBuf};

use super::draft::{Draft, Table, UNKNOWN_HOST, UNKNOWN_SENDER};
use super::source::{self, ImportError};
use crate::alert::Pattern;
use crate::envelope::Address;
use xml::Element;

/// What an ossec.conf says of mail.
pub struct Ids {
    file: PathBuf,
    /// Of all `<global>` and `<alerts>` sections, in their order.
    global: Vec<Element>,
    /// Each `<email_alerts>`.
    granular: Vec<Vec<Element>>,
    /// Each `<reports>`.
    reports: Vec<Vec<Element>>,
    /// Where reading ended, if not at the end.
    broken: Option<usize>,
}

/// How many granular entries are taken; nobody writes more by hand.
const GRANULAR: usize = 200;
/// How many addresses of one section are taken.
const PEOPLE: usize = 50;

impl Ids {
    pub fn read(file: &Path) -> Result<Self, ImportError> {
        Ok(Self { file: file.to_owned(), ..Self::parse(&source::read(file)?) })
    }

    pub fn parse(text: &str) -> Self {
        let (elements, broken) = xml::elements(text);
        let of = |section: &str| {
            let mut all: Vec<Vec<Element>> = Vec::new();
            let mut number = None;
            for element in elements.iter().filter(|element| element.section == section) {
                if number != Some(element.section_number) {
                    all.push(Vec::new());
                    number = Some(element.section_number);
                }
                all.last_mut().expect("pushed above").push(element.clone());
            }
            all
        };
        Self {
            file: PathBuf::new(),
            global: [of("global"), of("alerts")].into_iter().flatten().flatten().collect(),
            granular: of("email_alerts"),
            reports: of("reports"),
            broken,
        }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.global.iter().filter(move |element| element.name == name && !element.text.is_empty())
    }

    fn last(&self, name: &str) -> Option<&Element> {
        self.global.iter().rfind(|element| element.name == name && !element.text.is_empty())
    }

    /// Whom the IDS names as the sender.
    pub fn sender(&self) -> Option<&str> {
        self.last("email_from").map(|element| element.text.as_str())
    }

    /// Who gets every alert, as the IDS has it.
    pub fn recipients(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.all("email_to").map(|element| element.text.as_str()).take(PEOPLE).collect();
        all.dedup();
        all
    }

    /// Adds its recipients: `resolve` says who an address on this machine really is.
    pub fn recipients_into(&self, draft: &mut Draft, resolve: impl Fn(&str) -> Vec<String>) {
        let mut known: Vec<String> = Vec::new();
        for address in self.recipients() {
            for real in resolve(address) {
                if known.iter().any(|one| one.eq_ignore_ascii_case(&real)) {
                    continue;
                }
                let table = draft.recipient(&real);
                if real != address {
                    table.lead(format!("Stands for {address}, which is on this machine."));
                }
                known.push(real);
            }
        }
        // More than one, and the default must be named.
        if known.len() > 1 || !self.granular.is_empty() {
            draft.recipients.iter_mut().for_each(|table| {
                table.set("default", true);
            });
        }
        for choice in choices(&self.granular, &resolve) {
            let nth = known.iter().position(|one| one.eq_ignore_ascii_case(&choice.address));
            let table = match nth {
                Some(nth) => &mut draft.recipients[nth],
                None => {
                    known.push(choice.address.clone());
                    let table = draft.recipient(&choice.address);
                    table.lead("Gets what the IDS addresses to it. Without a certificate, take this entry out.")
                }
            };
            choice.notes.into_iter().for_each(|note| {
                table.note(note);
            });
            // What the IDS addresses to it goes on being its own, unless nobody knows who that is.
            let own = Some(choice.address).filter(|address| address != super::draft::UNKNOWN_RECIPIENT);
            let own = own.map(|address| toml::Table::from_iter([("recipient".to_owned(), address.into())]).into());
            let with_own = |tables: &[toml::Value]| own.iter().chain(tables).cloned().collect::<Vec<toml::Value>>();
            if !choice.more.is_empty() {
                table.note("Once what is said above is seen to, this is its only `accept`:");
                table.off("accept", with_own(&[choice.ready.clone(), choice.more].concat()));
            }
            if !choice.ready.is_empty() {
                table.set("accept", with_own(&choice.ready));
            }
        }
        if self.granular.len() > GRANULAR {
            draft.besides(format!("email_alerts beyond the first {GRANULAR}: not looked at."));
        }
        if !self.granular.is_empty() {
            draft.besides(
                "email_alerts may stay in ossec.conf: each recipient gets what the IDS addresses to it, and besides that what \
                 its `accept` says.",
            );
        }
    }

    /// What its other lines become.
    pub fn remarks_into(&self, draft: &mut Draft) {
        for element in &self.global {
            if let Some(remark) = remark(element) {
                draft.besides(format!("{} line {}: {}: {remark}", self.name(), element.line, element.name));
            }
        }
        for report in &self.reports {
            let line = report.first().map_or(0, |element| element.line);
            draft.besides(format!(
                "{} line {line}: reports: mailed as before; they go to whoever is in their email_to, or to the default.",
                self.name()
            ));
        }
        if self.all("email_to").count() > PEOPLE {
            draft.besides(format!("email_to beyond the first {PEOPLE}: not looked at."));
        }
        if let Some(line) = self.broken {
            // What is lost may be who else gets alerts: not a remark at the end.
            draft.step(format!(
                "Look at {} from line {line} on: what follows there is no XML, and is not read. Correct it in a copy, and \
                 import the copy.",
                self.name()
            ));
        }
    }

    fn name(&self) -> String {
        self.file.file_name().map_or_else(|| "ossec.conf".into(), |name| name.to_string_lossy().into_owned())
    }
}

pub fn import(file: &Path, ids: Ids) -> Draft {
    let mut draft = Draft::new(format!("`sealrelay import` from the IDS's {}", file.display()));
    ids.recipients_into(&mut draft, |address| match is_local(address) {
        true => vec![super::draft::UNKNOWN_RECIPIENT.to_owned()],
        false => vec![address.to_owned()],
    });
    let server = ids.last("smtp_server").map(|element| element.text.clone()).unwrap_or_default();
    let mut relay = Table::default();
    if is_here(&server) {
        relay.note("The IDS hands its mail to a program on this machine, so it does not say where mail goes.");
        relay.note("`sealrelay import postfix DIR --ossec FILE` reads that of Postfix too.");
        relay.set("host", UNKNOWN_HOST).set("port", 587);
        relay.off("username", "ossec@example.org").off("password_file", super::draft::PASSWORD_FILE);
    } else {
        relay.note(format!(
            "The IDS sent to {server} itself, in clear. Becomes stricter: TLS, verified by the system's roots."
        ));
        relay
            .note("Port 587 mostly wants a login; a server that takes mail from this machine without one has port 25.");
        relay.set("host", server.as_str()).set("port", 25);
        relay.off("port", 587).off("username", "ossec@example.org").off("password_file", super::draft::PASSWORD_FILE);
        draft.step("Set smtp_server to 127.0.0.1 in the IDS's configuration and restart it.".to_owned());
    }
    draft.relays.push(relay);
    let sender = ids.sender().filter(|from| from.parse::<Address>().is_ok() && !is_local(from));
    if sender.is_none() {
        draft.sender.note("email_from is missing, or an address of this machine.");
    }
    draft.sender.set("address", sender.unwrap_or(UNKNOWN_SENDER));
    ids.remarks_into(&mut draft);
    draft
}

/// Whether mail to `address` can only be meant for this machine.
pub fn is_local(address: &str) -> bool {
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase();
    domain.is_empty() || domain == "localhost" || domain.starts_with("localhost.") || domain == "127.0.0.1"
}

/// Whether an smtp_server is a program of this machine.
fn is_here(server: &str) -> bool {
    let server = server.to_ascii_lowercase();
    server.is_empty()
        || server.starts_with('/')
        || server == "localhost"
        || server.starts_with("127.")
        || server == "::1"
}

/// What one address gets by `<email_alerts>`.
struct Choice {
    address: String,
    /// What can be in force at once.
    ready: Vec<toml::Value>,
    /// What needs something more, or would give it more than the IDS did.
    more: Vec<toml::Value>,
    notes: Vec<String>,
}

/// Each address once, with all that it accepts.
fn choices(granular: &[Vec<Element>], resolve: impl Fn(&str) -> Vec<String>) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    for entry in granular.iter().take(GRANULAR) {
        let line = entry.first().map_or(0, |element| element.line);
        let (accept, is_ready, rest) = accept(entry);
        let to = entry.iter().filter(|element| element.name == "email_to").take(PEOPLE);
        for address in to.flat_map(|to| resolve(&to.text)) {
            let nth = choices.iter().position(|choice| choice.address.eq_ignore_ascii_case(&address));
            if nth.is_none() && choices.len() == GRANULAR {
                return choices;
            }
            let nth = nth.unwrap_or_else(|| {
                choices.push(Choice { address, ready: Vec::new(), more: Vec::new(), notes: Vec::new() });
                choices.len() - 1
            });
            if !accept.is_empty() {
                let tables = if is_ready { &mut choices[nth].ready } else { &mut choices[nth].more };
                tables.push(accept.clone().into());
            }
            choices[nth].notes.push(format!("email_alerts, line {line}{rest}."));
        }
    }
    choices
}

/// What must hold, all of it; whether that is all there is to it; and what has no equivalent.
fn accept(entry: &[Element]) -> (toml::Table, bool, String) {
    let mut accept = toml::Table::new();
    let (mut is_ready, mut rest) = (true, String::new());
    for Element { name, text, .. } in entry {
        match (name.as_str(), text.parse::<i64>()) {
            ("email_to", _) => {}
            ("level", Ok(level @ 0..=16)) => drop(accept.insert("level".to_owned(), level.into())),
            ("rule_id", _) => {
                let rules = text.split([',', ' ', '|']).filter_map(|id| id.trim().parse::<u32>().ok());
                let rules: Vec<i64> = rules.filter(|rule| *rule > 0).map(i64::from).collect();
                is_ready &= !rules.is_empty();
                accept.insert("rule".to_owned(), rules.into());
            }
            ("event_location", _) => {
                if let Err(error) = text.parse::<Pattern>() {
                    is_ready = false;
                    rest.push_str(&format!("; event_location: {error}"));
                }
                accept.insert("location".to_owned(), text.as_str().into());
            }
            ("group", _) => {
                is_ready = false;
                rest.push_str("; mail names no groups, so `group` needs [alerts] rules");
                accept.insert("group".to_owned(), text.trim_matches([',', ' ']).into());
            }
            ("do_not_delay" | "do_not_group", _) => rest.push_str(&format!("; {name} stays the IDS's")),
            ("format", _) if text == "sms" => {
                rest.push_str("; format sms has no equivalent, the whole alert is sealed")
            }
            _ => {
                is_ready = false;
                rest.push_str(&format!("; {name} has no equivalent"));
            }
        }
    }
    (accept, is_ready, rest)
}

/// What becomes of a line of `<global>` or `<alerts>`.
fn remark(element: &Element) -> Option<String> {
    let text = &element.text;
    Some(match element.name.as_str() {
        "email_notification" if text != "yes" => "is not \"yes\": the IDS sends no mail until it is.".to_owned(),
        "smtp_server" if text.starts_with('/') => {
            format!("{text} works if it is sealrelay's sendmail; 127.0.0.1 does without one.")
        }
        "smtp_server" if text == "localhost" => {
            "write 127.0.0.1: some releases ask the resolver for localhost, and may get ::1.".to_owned()
        }
        "smtp_server" if !is_here(text) => "write 127.0.0.1: alerts leave this machine sealed only.".to_owned(),
        "helo_server" => "any name is taken, and none goes out.".to_owned(),
        "email_maxperhour" => format!(
            "{text} stays the IDS's: beyond it alerts wait for the next hour. messages_per_hour caps what goes to the relay host, and loses none."
        ),
        "email_idsname" => "travels inside the sealed part.".to_owned(),
        "email_log_source" => format!("{text} stays the IDS's; both forms are taken."),
        "email_alert_level" => format!("{text} stays the IDS's: what is below is never mailed."),
        "email_reply_to" => "has no equivalent: replies go to the sender's address.".to_owned(),
        "auth_smtp" | "secure_smtp" | "smtp_user" | "smtp_password" | "smtp_port" | "smtp_tls_verify" => {
            "the relay host's login and trust are sealrelay's now; take this line out.".to_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_something_to_do_before_the_first_start() {
        let text = "<ossec_config>\n<global><email_to>a@example.org</email_to></global>\n<!-- <email_alerts>";
        let draft = import(Path::new("ossec.conf"), Ids::parse(text)).to_string();
        let steps = draft.split("[sender]").next().unwrap_or_default();
        assert!(steps.contains("Look at ossec.conf from line 3 on"), "{draft}");
    }
}
