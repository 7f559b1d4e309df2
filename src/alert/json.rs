//! A line of `alerts.json`, as Wazuh and OSSEC (`jsonout_output`) write it, as a [`Block`].
//!
//! Wazuh has `rule.id` (a text), `rule.description`, `rule.mail`, `agent`, `data`; OSSEC has `rule.sidid` (a number),
//! `rule.comment`, a whole `location`, and everything else at the top. Guarantees: reading is total and takes time in
//! proportion to the line; what is no JSON object with a rule and a level is `None`, and is then sent as it is.
//!
//! An attacker who writes log lines controls texts, and with OSSEC's dynamic fields names at the top that the IDS writes
//! behind its own. So **the first of several members of one name counts**. A member of another type than expected counts
//! as missing, but for rule and level: without them the line is no alert.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Block, Location, Text};

/// What decides whether an alert is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weight {
    /// The rule that fired.
    pub rule: u32,
    /// Its level.
    pub level: u32,
    /// Whether the IDS mails about it (by `email_alert_level`, `alert_by_email`, `no_email_alert`), if it says so.
    pub mail: Option<bool>,
}

/// One alert of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alert {
    /// What it says.
    pub block: Block<'static>,
    /// Who says it: `Wazuh` or `OSSEC HIDS`.
    pub brand: &'static str,
}

/// Members of `rule` that are compliance, and what a rule's group of that kind begins with.
const COMPLIANCE: [(&str, &str); 9] = [
    ("pci_dss", "pci_dss_"),
    ("PCI_DSS", "pci_dss_"),
    ("gdpr", "gdpr_"),
    ("hipaa", "hipaa_"),
    ("nist_800_53", "nist_800_53_"),
    ("tsc", "tsc_"),
    ("gpg13", "gpg13_"),
    ("cis", "cis_"),
    ("CIS", "cis_"),
];

/// What decides about `line`, without its end; `None` if it is no alert. Texts are passed over, so this is fast.
pub fn weigh(line: &[u8]) -> Option<Weight> {
    let line = String::from_utf8_lossy(line);
    weight(&Members::of(&line)?.object("rule"))
}

/// All of `line`, without its end; `None` if it is no alert.
pub fn read(line: &[u8]) -> Option<Alert> {
    // OSSEC passes octets of any charset on. They stay as they are in the line itself.
    let line = String::from_utf8_lossy(line);
    let top = Members::of(&line)?;
    let (rule, data) = (top.object("rule"), top.object("data"));
    let weight = weight(&rule)?;
    // Wazuh's stand in `data`, OSSEC's at the top.
    let either = |name: &str| data.text(name).or_else(|| top.text(name)).map(owned);
    let log = top.text("full_log").unwrap_or_default();
    let block = Block {
        date: date(&top),
        location: location(&top),
        rule: weight.rule,
        level: weight.level,
        description: owned(rule.text("description").or_else(|| rule.text("comment")).unwrap_or_default()),
        groups: groups(&rule),
        source_ip: either("srcip"),
        destination_ip: either("dstip"),
        source_location: either("srcgeoip"),
        destination_location: either("dstgeoip"),
        user: either("dstuser"),
        log: owned(log.trim_end_matches(['\r', '\n']).to_owned()),
        ..Block::default()
    };
    let brand = if rule.first("id").is_some() { "Wazuh" } else { "OSSEC HIDS" };
    Some(Alert { block, brand })
}

fn weight(rule: &Members<'_>) -> Option<Weight> {
    let number = |name: &str| rule.text(name)?.parse().ok();
    let id = number("id").or_else(|| number("sidid"))?;
    Some(Weight { rule: id, level: number("level")?, mail: rule.text("mail").and_then(|text| text.parse().ok()) })
}

/// As maild writes it. OSSEC's is whole; Wazuh's is the source alone, and the agent stands beside it.
fn location(top: &Members<'_>) -> Location<'static> {
    let source = top.text("location").unwrap_or_default();
    let agent = top.object("agent");
    if let Some(name) = agent.text("name") {
        return Location::of(name.as_bytes(), agent.text("ip").as_deref().map(str::as_bytes), source.as_bytes());
    }
    if source.contains("->") {
        return Location(owned(source));
    }
    let host = top.text("hostname").or_else(|| top.object("manager").text("name")).unwrap_or_default();
    Location::of(host.as_bytes(), None, source.as_bytes())
}

fn groups(rule: &Members<'_>) -> Vec<Text<'static>> {
    let named = rule.list("groups").into_iter().chain(rule.list("group"));
    let compliance = COMPLIANCE
        .iter()
        .flat_map(|(member, group)| rule.list(member).into_iter().map(move |item| format!("{group}{item}")));
    named.chain(compliance).map(owned).collect()
}

/// As written; some versions of OSSEC give milliseconds since 1970 alone.
fn date(top: &Members<'_>) -> Text<'static> {
    let since_1970 = || {
        let milliseconds: f64 = top.text("TimeStamp")?.parse().ok()?;
        // What is later than the year 9999 cannot be written, and is nobody's.
        let bearable = (0.0..2.5e14).contains(&milliseconds);
        let time = UNIX_EPOCH + Duration::from_secs_f64(if bearable { milliseconds / 1000.0 } else { 0.0 });
        Some(humantime::format_rfc3339_seconds(time).to_string())
    };
    owned(top.text("timestamp").or_else(since_1970).unwrap_or_default())
}

fn owned(text: String) -> Text<'static> {
    Cow::Owned(text.into_bytes())
}

/// The members of a JSON object in their order, their values as they are written.
#[derive(Default)]
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn of(json: &'a str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    fn first(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.get())
    }

    /// A text, a number or a truth, as text.
    fn text(&self, name: &str) -> Option<String> {
        scalar(self.first(name)?)
    }

    /// An object; an empty one if there is none.
    fn object(&self, name: &str) -> Self {
        self.first(name).and_then(Self::of).unwrap_or_default()
    }

    /// The texts of a list, or of one text with commas.
    fn list(&self, name: &str) -> Vec<String> {
        let Some(value) = self.first(name) else { return Vec::new() };
        match serde_json::from_str::<Vec<&RawValue>>(value) {
            Ok(items) => items.iter().filter_map(|item| scalar(item.get())).collect(),
            Err(_) => {
                let text = scalar(value).unwrap_or_default();
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
            }
        }
    }
}

fn scalar(value: &str) -> Option<String> {
    if value.starts_with(['{', '[']) {
        return None;
    }
    match serde_json::from_str(value).ok()? {
        Value::String(text) => Some(text),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor).map(Members)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAZUH: &str = r#"{"timestamp":"2026-11-20T19:30:02.123+0000","rule":{"level":5,"description":"sshd: \"no\" user","id":"5710","mitre":{"id":["T1110"]},"firedtimes":1,"mail":false,"groups":["syslog","sshd"],"pci_dss":["10.2.4","10.6.1"],"nist_800_53":["AU.14"]},"agent":{"id":"001","name":"app","ip":"10.20.2.2"},"manager":{"name":"monitor"},"id":"1.2","full_log":"Nov 20 19:30:02 app sshd[1]: one\ntwo\n","predecoder":{"hostname":"app"},"decoder":{"name":"sshd"},"data":{"srcip":"1.2.3.4","dstuser":"root"},"location":"/var/log/auth.log"}"#;
    const OSSEC: &str = r#"{"rule":{"level":7,"comment":"Login rejected","sidid":5701,"groups":["syslog"],"PCI_DSS":["10.2.4"]},"id":"1791338400.42","TimeStamp":1791338400000,"decoder":"sshd","srcip":"198.51.100.6","dstuser":"alice","location":"(web) 192.0.2.5->/var/log/auth.log","full_log":"refused","hostname":"(web) 192.0.2.5","decoder":{"name":"sshd"},"timestamp":"2026 Oct 07 10:00:00","hostname":"web"}"#;

    fn texts(groups: &[Text<'_>]) -> Vec<String> {
        groups.iter().map(|group| String::from_utf8_lossy(group).into_owned()).collect()
    }

    #[test]
    fn a_line_of_wazuhs_says_what_its_mail_would() {
        assert_eq!(weigh(WAZUH.as_bytes()), Some(Weight { rule: 5710, level: 5, mail: Some(false) }));
        let Alert { block, brand } = read(WAZUH.as_bytes()).expect("an alert");
        assert_eq!((brand, block.location.as_bytes()), ("Wazuh", b"(app) 10.20.2.2->/var/log/auth.log".as_slice()));
        assert_eq!(&*block.date, b"2026-11-20T19:30:02.123+0000");
        assert_eq!(&*block.description, b"sshd: \"no\" user");
        assert_eq!(&*block.log, b"Nov 20 19:30:02 app sshd[1]: one\ntwo");
        assert_eq!(texts(&block.groups), ["syslog", "sshd", "pci_dss_10.2.4", "pci_dss_10.6.1", "nist_800_53_AU.14"]);
        assert_eq!((block.source_ip.as_deref(), block.user.as_deref()), (Some(&b"1.2.3.4"[..]), Some(&b"root"[..])));
        let own = WAZUH.replace(r#","ip":"10.20.2.2""#, "");
        assert_eq!(read(own.as_bytes()).expect("an alert").block.location.as_bytes(), b"app->/var/log/auth.log");
    }

    #[test]
    fn a_line_of_ossecs_says_what_its_mail_would() {
        assert_eq!(weigh(OSSEC.as_bytes()), Some(Weight { rule: 5701, level: 7, mail: None }));
        let Alert { block, brand } = read(OSSEC.as_bytes()).expect("an alert");
        assert_eq!(
            (brand, block.location.as_bytes()),
            ("OSSEC HIDS", b"(web) 192.0.2.5->/var/log/auth.log".as_slice())
        );
        assert_eq!((&*block.date, &*block.description), (&b"2026 Oct 07 10:00:00"[..], &b"Login rejected"[..]));
        assert_eq!(texts(&block.groups), ["syslog", "pci_dss_10.2.4"]);
        assert_eq!(
            (block.source_ip.as_deref(), block.user.as_deref()),
            (Some(&b"198.51.100.6"[..]), Some(&b"alice"[..]))
        );
        let early = OSSEC.replace(r#","timestamp":"2026 Oct 07 10:00:00""#, "");
        assert_eq!(&*read(early.as_bytes()).expect("an alert").block.date, b"2026-10-07T02:00:00Z");
    }

    #[test]
    fn what_log_text_adds_behind_the_idss_own_members_does_not_count() {
        let forged = OSSEC.replace(r#""decoder":{"#, r#""rule":{"level":0,"sidid":1},"location":"x->y","decoder":{"#);
        assert_eq!(weigh(forged.as_bytes()).expect("an alert").level, 7);
        assert_eq!(read(forged.as_bytes()), read(OSSEC.as_bytes()));
    }

    #[test]
    fn octets_that_are_no_utf_8_do_not_hide_an_alert() {
        let mut line = OSSEC.as_bytes().to_vec();
        let at = OSSEC.find("refused").expect("there");
        line[at] = 0xe9;
        assert_eq!(weigh(&line).expect("an alert").level, 7);
        assert_eq!(&*read(&line).expect("an alert").block.log, "\u{fffd}efused".as_bytes());
    }

    #[test]
    fn what_is_no_alert_is_said_to_be_none() {
        let cut = &WAZUH[..WAZUH.len() - 1];
        let two = format!("{WAZUH}{WAZUH}");
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let no_level = WAZUH.replace("\"level\":5,", "");
        for line in ["", "{}", "null", "[1]", "** Alert 1.2: mail", r#"{"rule":7}"#, cut, &two, &deep, &no_level] {
            assert!(
                weigh(line.as_bytes()).is_none() && read(line.as_bytes()).is_none(),
                "{}",
                &line[..line.len().min(60)]
            );
        }
        // Other types than expected where nothing depends on them.
        let odd =
            r#"{"rule":{"id":7,"level":"3","groups":{"a":1},"mail":"x"},"agent":[],"full_log":{"a":[1]},"data":3}"#;
        assert_eq!(weigh(odd.as_bytes()), Some(Weight { rule: 7, level: 3, mail: None }));
        assert_eq!(&*read(odd.as_bytes()).expect("an alert").block.log, b"");
    }

    proptest::proptest! {
        #[test]
        fn both_readings_agree_on_what_is_an_alert(
            line in proptest::prop_oneof![
                proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
                (0_usize..600, proptest::prelude::any::<u8>()).prop_map(|(at, octet)| {
                    let mut line = WAZUH.as_bytes().to_vec();
                    let at = at % line.len();
                    line[at] = octet;
                    line
                }),
            ]
        ) {
            let (weight, alert) = (weigh(&line), read(&line));
            proptest::prop_assert_eq!(weight.map(|w| (w.rule, w.level)), alert.map(|a| (a.block.rule, a.block.level)));
        }
    }
    use proptest::strategy::Strategy;
}
