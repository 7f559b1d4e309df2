//! Who gets the mail, and from whom it is: aliases, procmail's script, generic maps.

use super::place::Table as Lines;
use super::{ByKey, MAPS, Stack, list};
use crate::envelope::Address;
use crate::import::draft::{Draft, UNKNOWN_LOGIN, UNKNOWN_RECIPIENT, UNKNOWN_SENDER};
use crate::import::ossec::is_local;

/// Names followed from one address on: aliases may name each other.
const NAMES: usize = 100;
/// Names followed at all.
const ALL_NAMES: usize = 1000;
/// Where the stack of the guide keeps procmail's rules and the script they call.
const PROCMAILRC: &str = "/var/ossec/.procmailrc";
const SCRIPT: &str = "/var/ossec/send_encrypted_alarm.sh";

impl Stack {
    pub(super) fn recipients(&self, draft: &mut Draft) {
        let script = self.script(draft);
        match (&self.ids, script) {
            // What was sealed to a fingerprint goes on going there, whoever the IDS names.
            (_, Some(script)) => {
                let table = draft.recipient(script.address.as_deref().unwrap_or(UNKNOWN_RECIPIENT));
                table.lead(format!("From {SCRIPT}, which procmail called."));
                script.fingerprint.into_iter().for_each(|fingerprint| {
                    table.set("fingerprint", fingerprint);
                });
                draft.step(
                    "Export the recipient's certificate: gpg --homedir /var/ossec/.gnupg --armor --export FINGERPRINT, into \
                     the file named at certificate."
                        .to_owned(),
                );
                if let Some(journalist) = script.journalist {
                    let table = draft.journalist(&journalist);
                    table.lead(format!(
                        "The journalist's notice, from {SCRIPT}: once a day one of two texts, and nothing of the alert."
                    ));
                    script.journalists_fingerprint.into_iter().for_each(|fingerprint| {
                        table.set("fingerprint", fingerprint);
                    });
                }
            }
            (Some(ids), None) => ids.recipients_into(draft, |address| self.resolve(address)),
            (None, None) => {
                for address in self.resolve("root") {
                    let table = draft.recipient(&address);
                    table.lead(match address.as_str() {
                        UNKNOWN_RECIPIENT => {
                            "Postfix does not say: the IDS addresses its mail itself (email_to in ossec.conf)."
                                .to_owned()
                        }
                        _ => "Who gets root's mail by the aliases; the IDS may address its mail otherwise.".to_owned(),
                    });
                }
                if draft.recipients.len() > 1 {
                    draft.recipients.iter_mut().for_each(|table| {
                        table.set("default", true);
                    });
                }
            }
        }
        if self.followed.get() >= ALL_NAMES {
            draft.besides(format!("aliases beyond the first {ALL_NAMES} names: not looked at."));
        }
        if self.main.get("mailbox_command").is_some() {
            draft.besides("mailbox_command: nothing is delivered on this machine any more, and no procmail runs.");
        }
    }

    /// Who an address really is: itself, or behind the aliases of this machine.
    fn resolve(&self, address: &str) -> Vec<String> {
        let (mut found, mut seen) = (Vec::new(), Vec::new());
        self.follow(address, &mut found, &mut seen);
        if found.is_empty() { vec![UNKNOWN_RECIPIENT.to_owned()] } else { found }
    }

    fn follow(&self, address: &str, found: &mut Vec<String>, seen: &mut Vec<String>) {
        let name = address.to_ascii_lowercase();
        if seen.len() >= NAMES || seen.contains(&name) || self.followed.get() >= ALL_NAMES {
            return;
        }
        seen.push(name);
        self.followed.set(self.followed.get() + 1);
        if let Some(targets) = self.target(address) {
            list(&targets).into_iter().for_each(|target| self.follow(target.trim_matches('"'), found, seen));
        } else if !self.is_ours(address) && address.parse::<Address>().is_ok() {
            found.push(address.to_owned());
        }
    }

    /// What the virtual and, for local names, the alias tables say.
    fn target(&self, address: &str) -> Option<String> {
        let maps = self.main.peek("virtual_alias_maps").or_else(|| self.main.peek("virtual_maps"));
        maps.and_then(|maps| self.find(&maps, address, None)).or_else(|| self.alias(address))
    }

    fn alias(&self, address: &str) -> Option<String> {
        if !self.is_ours(address) {
            return None;
        }
        let local = address.split('@').next().unwrap_or_default();
        let maps = self.main.peek("alias_maps").unwrap_or_else(|| "hash:/etc/aliases".to_owned());
        self.find(&maps, local, Some(':'))
    }

    fn find(&self, maps: &str, key: &str, separator: Option<char>) -> Option<String> {
        let key = key.to_ascii_lowercase();
        let mut read = self.tables.borrow_mut();
        list(maps).into_iter().take(MAPS).find_map(|map| {
            let table = read.entry((map.to_owned(), separator)).or_insert_with(|| self.by_key(map, separator));
            table.get(&key).cloned()
        })
    }

    /// Of two lines with one key the first counts.
    fn by_key(&self, map: &str, separator: Option<char>) -> ByKey {
        let Lines::Text(lines) = self.place.table(map, separator) else { return ByKey::new() };
        lines.into_iter().rev().map(|(key, value, _)| (key.to_ascii_lowercase(), value)).collect()
    }

    fn is_ours(&self, address: &str) -> bool {
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let destinations = self.main.peek("mydestination").unwrap_or_default();
        is_local(address) || list(&destinations).iter().any(|own| own.eq_ignore_ascii_case(domain))
    }

    /// Postfix rewrote what the IDS said by the generic table; without one, the IDS's own address went out.
    pub(super) fn sender(&self, draft: &mut Draft) {
        let of_ids = self.ids.as_ref().and_then(|ids| ids.sender()).map(str::to_owned);
        let generic = self.main.peek("smtp_generic_maps").and_then(|maps| self.generic(&maps, of_ids.as_deref()));
        let login = draft.relays.first().and_then(|relay| relay.text("username")).map(str::to_owned);
        let login = login.filter(|login| login.parse::<Address>().is_ok());
        let is_login_unknown = draft.relays.first().is_some_and(|relay| relay.text("username") == Some(UNKNOWN_LOGIN));
        let table = &mut draft.sender;
        match (generic, of_ids.filter(|from| from.parse::<Address>().is_ok() && !self.is_ours(from)), login) {
            (Some((to, line, many)), _, _) => {
                table.note(format!(
                    "smtp_generic_maps, line {line}: that is the only sender now, in the envelope and in From."
                ));
                if many {
                    table.note("There were lines with other addresses too.");
                }
                table.set("address", to);
            }
            (None, Some(from), _) => {
                table.note("The IDS's email_from. Microsoft 365 and others take only the address that logs in.");
                table.set("address", from);
            }
            (None, None, Some(login)) => {
                table.note("The login: most providers take no other.").set("address", login);
            }
            (None, None, None) if is_login_unknown => {
                table.note("The login is the sender, if it is an address.").off("address", UNKNOWN_SENDER);
            }
            (None, None, None) => {
                table.set("address", UNKNOWN_SENDER);
            }
        }
    }

    /// The address that the generic table puts in the place of the IDS's, its line, and whether others were possible.
    fn generic(&self, maps: &str, of_ids: Option<&str>) -> Option<(String, usize, bool)> {
        let lines = list(maps).into_iter().take(MAPS).find_map(|map| match self.place.table(map, None) {
            Lines::Text(lines) => Some(lines),
            _ => None,
        })?;
        let usable: Vec<_> = lines.into_iter().filter(|(_, to, _)| to.parse::<Address>().is_ok()).collect();
        let own = usable.iter().find(|(from, ..)| of_ids.is_some_and(|ids| ids.eq_ignore_ascii_case(from)));
        let (_, to, line) = own.or(usable.first())?;
        let many = own.is_none() && usable.iter().any(|(_, other, _)| other != to);
        Some((to.clone(), *line, many))
    }

    /// The guide's script, if procmail stands behind Postfix.
    fn script(&self, draft: &mut Draft) -> Option<Script> {
        let is_procmail = self.main.get("mailbox_command").is_some_and(|command| command.contains("procmail"));
        let rules = is_procmail.then(|| self.place.file(PROCMAILRC))??;
        let script = rules.contains("send_encrypted_alarm").then(|| self.place.file(SCRIPT)).flatten();
        match script {
            Some(text) => Some(Script::parse(&text)),
            None => {
                draft.besides(format!(
                    "{PROCMAILRC}: its rules are not read; sealrelay has one recipient for what nobody claims."
                ));
                None
            }
        }
    }
}

/// What procmail's script says.
struct Script {
    address: Option<String>,
    fingerprint: Option<String>,
    journalist: Option<String>,
    journalists_fingerprint: Option<String>,
}

impl Script {
    /// The administrator's part stands behind the journalist's; older forms have one part.
    fn parse(text: &str) -> Self {
        let quoted =
            |line: &str| -> Vec<String> { line.split(['\'', '"']).skip(1).step_by(2).map(str::to_owned).collect() };
        let code = || text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let is_fingerprint = |word: &String| {
            let digits = word.chars().filter(|c| !c.is_whitespace());
            [40, 64].contains(&digits.clone().count()) && digits.clone().all(|c| c.is_ascii_hexdigit())
        };
        let assigned = |name: &str| {
            let values = code().filter_map(|line| line.split_once(&format!("{name}='")).map(|(_, rest)| rest));
            values.filter_map(|rest| rest.split('\'').next()).map(str::to_owned).collect::<Vec<_>>()
        };
        let fingerprints = assigned("gpg_fpr");
        // An empty one of the administrator's must not make the journalist's count, nor the other way round.
        let fingerprint = match fingerprints.last().cloned() {
            Some(last) => Some(last).filter(is_fingerprint),
            None => code().flat_map(quoted).rfind(is_fingerprint),
        };
        let address = assigned("OSSEC_EMAIL").pop().or_else(|| {
            let mut words = code().filter(|line| line.contains("mail -s")).flat_map(quoted);
            words.rfind(|word| word.parse::<Address>().is_ok())
        });
        Self {
            address: address.filter(|address| !address.is_empty()),
            fingerprint,
            journalist: assigned("JOURNALIST_EMAIL").pop().filter(|address| !address.is_empty()),
            journalists_fingerprint: fingerprints
                .first()
                .filter(|_| fingerprints.len() > 1)
                .filter(|one| is_fingerprint(one))
                .cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_without_end_take_no_time() {
        let folder = tempfile::tempdir().expect("a folder");
        // Each name leads to many, and each is looked for in a table as large as there may be.
        let targets: Vec<String> = (0..90).map(|nth| format!("name{nth}")).collect();
        let aliases: String = (0..90).map(|nth| format!("name{nth}: {}\n", targets.join(", "))).collect();
        std::fs::write(folder.path().join("aliases"), aliases + &"x:y\n".repeat(450_000)).expect("written");
        std::fs::write(folder.path().join("main.cf"), "alias_maps = hash:/etc/aliases\n").expect("written");
        let people: String = (0..90).map(|nth| format!("<email_to>name{nth}</email_to>")).collect();
        let granular = format!("<email_alerts>{people}</email_alerts>").repeat(200);
        let ids = crate::import::ossec::Ids::parse(&format!("<ossec_config>{granular}</ossec_config>"));
        let began = std::time::Instant::now();
        let draft = crate::import::postfix::import(folder.path(), Some(ids)).expect("a draft").to_string();
        assert!(draft.contains("aliases beyond the first 1000 names"), "{draft}");
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
    }

    #[test]
    fn the_guides_script_is_read_in_its_new_and_its_old_form() {
        let new = "JOURNALIST_EMAIL='desk@example.org'\nOSSEC_EMAIL='admin@example.org'\ngpg_fpr='1111111111111111111111111111111111111111'\n\
                   gpg_fpr='2222222222222222222222222222222222222222'\n";
        let script = Script::parse(new);
        assert_eq!(script.address.as_deref(), Some("admin@example.org"));
        assert_eq!(script.fingerprint, Some("2".repeat(40)));
        assert_eq!(script.journalist.as_deref(), Some("desk@example.org"));
        assert_eq!(script.journalists_fingerprint, Some("1".repeat(40)));
        let unset = new.replace(&"2".repeat(40), "");
        assert_eq!(Script::parse(&unset).fingerprint, None);
        let unset = Script::parse(&new.replace(&"1".repeat(40), ""));
        assert_eq!((unset.journalists_fingerprint, unset.fingerprint), (None, Some("2".repeat(40))));
        let old = "# 'x'\n/usr/bin/gpg -ear \"3333333333333333333333333333333333333333\"\n| /usr/bin/mail -s \"$S\" 'old@example.org'\n";
        let script = Script::parse(old);
        assert_eq!((script.address.as_deref(), script.fingerprint), (Some("old@example.org"), Some("3".repeat(40))));
        assert_eq!(script.journalist, None);
    }
}
