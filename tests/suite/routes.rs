//! Who gets which alerts: the four-recipient example of Wazuh's page, grouped mail, mail that cannot be read; and what
//! `route test` says of it.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::certificates::{armored, ordinary, revoked};
use crate::support::client::{Client, send};
use crate::support::daemon::{Daemon, MARKER, Setup};
use crate::support::reader::{Opened, open, open_inline};
use crate::support::relay_host::RelayHost;

/// An alert in a mail.
struct Alert {
    level: u32,
    rule: u32,
    location: &'static str,
}

const fn alert(level: u32, rule: u32, location: &'static str) -> Alert {
    Alert { level, rule, location }
}

/// Alerts for each of the four, for two of them, for none.
const ALERTS: [Alert; 7] = [
    alert(5, 5503, "(server1) 10.0.0.1->/var/log/messages"),
    alert(5, 5503, "(Server2) 10.0.0.2->/var/log/secure"),
    alert(5, 5503, "localhost->/var/log/secure"),
    alert(5, 5503, "(web) 192.168.0.7->/var/log/secure.1"),
    alert(12, 5712, "(web) 10.0.0.3->/var/log/auth.log"),
    alert(3, 502, "monitor->wazuh-monitord"),
    alert(13, 5712, "(server2) 192.168.0.2->/var/log/secure"),
];

/// Who of alice, is, bob and david gets which of them, by the page's words.
const EXPECTED: [(&str, &[usize]); 4] = [
    ("alice@test.com", &[0, 1, 6]),
    ("is@test.com", &[1, 2, 6]),
    ("bob@test.com", &[3, 6]),
    ("david@test.com", &[4, 6]),
];

const CONDITIONS: [&str; 4] = [
    "{ location = \"server1|server2\" }",
    "{ location = \"/log/secure$\" }",
    "{ location = \"192.168.\" }",
    "{ level = 12 }",
];

impl Alert {
    /// As Wazuh writes it, `nth` in its log line.
    fn block(&self, nth: usize) -> String {
        let Self { level, rule, location } = self;
        format!(
            "\r\nWazuh Notification.\r\n2026 Nov 20 19:26:4{nth}\r\n\r\nReceived From: {location}\r\n\
             Rule: {rule} fired (level {level}) -> \"PAM: User login failed.\"\r\nPortion of the log(s):\r\n\r\n\
             Nov 20 19:26:42 pam_unix: {MARKER} number {nth}\r\n\r\n\r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\n"
        )
    }
}

fn mail_of(alerts: &[usize]) -> String {
    let highest = alerts.iter().map(|&nth| &ALERTS[nth]).max_by_key(|alert| alert.level).expect("an alert");
    let host = highest.location.split("->").next().unwrap_or_default();
    let blocks: String = alerts.iter().map(|&nth| ALERTS[nth].block(nth)).collect();
    mail(&format!("Wazuh notification - {host} - Alert level {}", highest.level), &blocks)
}

fn mail(subject: &str, body: &str) -> String {
    format!(
        "From: Wazuh <ossec@ossec.server>\r\nTo: <root@localhost>\r\nDate: Fri, 20 Nov 2026 19:26:58 +0000\r\n\
         Subject: {subject}\r\n\r\n{body}"
    )
}

/// The page's four recipients beside a default one.
fn four(port: u16, ca_pem: &str, more: &str) -> Setup {
    let setup = Setup::new(port, ca_pem);
    EXPECTED.iter().zip(CONDITIONS).fold(setup, |setup, ((address, _), condition)| {
        setup.recipient(address, &format!("accept = [{condition}]\n{more}"))
    })
}

/// The messages that came, by recipient, opened.
fn opened(relay_host: &RelayHost, setup: &Setup, count: usize) -> Vec<(String, Opened)> {
    let taken = relay_host.taken(count);
    assert_eq!(taken.len(), count, "too many messages");
    let open = |address: &str, message: &[u8]| {
        let (address, certificate) =
            setup.recipients.iter().find(|(own, _)| address.contains(own)).expect("a recipient");
        (address.clone(), open(message, certificate, &setup.path("state/signer.asc")))
    };
    taken.iter().map(|taken| open(&taken.rcpt, &taken.message)).collect()
}

fn numbers_in(text: &[u8]) -> Vec<usize> {
    let text = String::from_utf8_lossy(text);
    (0..ALERTS.len()).filter(|nth| text.contains(&format!("{MARKER} number {nth}\r\n"))).collect()
}

#[test]
fn the_four_recipients_of_the_wazuh_page_get_what_it_says_and_the_default_one_gets_everything() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = four(relay_host.port, &authority.pem, "");
    let daemon = setup.start();
    let everything: Vec<usize> = (0..ALERTS.len()).collect();
    let mut count = 0;
    for &nth in &everything {
        assert!(send(&daemon.address, &["root@localhost"], &mail_of(&[nth])).starts_with("250"));
        count += 1 + EXPECTED.iter().filter(|(_, own)| own.contains(&nth)).count();
    }
    let opened = opened(&relay_host, &setup, count);
    for (address, own) in EXPECTED.iter().chain(&[("admin@example.org", everything.as_slice())]) {
        let mut got: Vec<usize> =
            opened.iter().filter(|(to, _)| to == address).flat_map(|(_, opened)| numbers_in(opened.alert())).collect();
        got.sort_unstable();
        assert_eq!(got, *own, "{address}");
    }
    assert!(opened.iter().all(|(_, opened)| opened.noticed().is_empty() && opened.manifest["blocks"]["in"] == 1));
}

#[test]
fn of_a_grouped_mail_each_gets_its_own_alerts_octet_for_octet_and_the_default_one_all() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = four(relay_host.port, &authority.pem, "split = true");
    let daemon = setup.start();
    let everything: Vec<usize> = (0..ALERTS.len()).collect();
    let sent = mail_of(&everything);
    assert!(send(&daemon.address, &["root@localhost"], &sent).starts_with("250"));
    for (address, opened) in opened(&relay_host, &setup, 5) {
        let blocks = &opened.manifest["blocks"];
        assert_eq!(blocks["in"], ALERTS.len());
        let Some((_, own)) = EXPECTED.iter().find(|(to, _)| *to == address) else {
            assert_eq!(opened.alert(), sent.split_once("\r\n\r\n").expect("a body").1.as_bytes());
            assert_eq!((&blocks["to_me"], opened.noticed().as_str()), (&Value::from(ALERTS.len()), ""));
            continue;
        };
        let expected: String = own.iter().map(|&nth| ALERTS[nth].block(nth)).collect();
        assert_eq!(String::from_utf8_lossy(opened.alert()), expected, "{address}");
        assert_eq!(blocks["to_me"], own.len());
        assert!(opened.noticed().contains(&format!("{} of the 7 alerts", own.len())), "{}", opened.noticed());
        // The header's Subject names the highest alert of all, which is not in everybody's part.
        let highest = own.iter().map(|&nth| &ALERTS[nth]).max_by_key(|alert| alert.level).expect("an alert");
        let subject = format!("Wazuh notification - {} - Alert level {}", highest.location, highest.level);
        assert_eq!(opened.subject, subject);
        let header = String::from_utf8_lossy(opened.part("header.txt"));
        assert!(
            header.contains(&format!("Subject: {subject}\r\n")) && header.contains("To: <root@localhost>"),
            "{header}"
        );
    }
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_part_has_nothing_of_the_header_that_the_text_of_another_alert_made() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = four(relay_host.port, &authority.pem, "split = true");
    let daemon = setup.start();
    // Wazuh copies a rule's description, which may hold what was logged, into the Subject: line ends too.
    let subject = "Wazuh notification - web - Alert level 12\r\nX-Other: davids own text\r\nTo: davids own text";
    let sent = mail(subject, &(ALERTS[0].block(0) + &ALERTS[4].block(4)));
    assert!(send(&daemon.address, &["root@localhost"], &sent).starts_with("250"));
    for (address, opened) in opened(&relay_host, &setup, 3) {
        let header = String::from_utf8_lossy(opened.part("header.txt")).into_owned();
        assert!(header.contains("To: <root@localhost>\r\n"), "{address}: {header}");
        assert_eq!(header.contains("davids own text"), address == "admin@example.org", "{address}: {header}");
    }
    assert_eq!(daemon.terminate(), 0);
}

/// What a log line may hold to look like structure, up to what cannot be told from it.
fn imitations() -> [String; 3] {
    let forged = ALERTS[0].block(0);
    [
        format!("{MARKER}\r\n --END OF NOTIFICATION\r\n\r\n\r\n"),
        format!("{MARKER}\r\nReceived From: (server1) any->/x\r\nRule: 5503 fired (level 5) -> \"x\""),
        // Whole, but with the line ends that a log in JSON has.
        format!("{MARKER}\n\n --END OF NOTIFICATION\n\n\n{}", forged.replace("\r\n", "\n")),
    ]
}

#[test]
fn what_cannot_be_read_with_certainty_goes_whole_to_the_default_recipient_and_to_nobody_else() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = four(relay_host.port, &authority.pem, "split = true");
    let daemon = setup.start();
    // Alice's alert holds the imitation; is's is behind it, and whole.
    for (nth, imitation) in imitations().into_iter().enumerate() {
        let doubtful = ALERTS[0].block(0).replace(&format!("{MARKER} number 0"), &imitation);
        let sent = mail("Wazuh notification - server1 - Alert level 5", &(doubtful + &ALERTS[2].block(2)));
        assert!(send(&daemon.address, &["root@localhost"], &sent).starts_with("250"));
        let all = opened(&relay_host, &setup, 2 * (nth + 1));
        let (_, default) = all[2 * nth..].iter().find(|(to, _)| to == "admin@example.org").expect("the default");
        assert_eq!(default.alert(), sent.split_once("\r\n\r\n").expect("a body").1.as_bytes());
        assert!(default.noticed().contains("log text looks like"), "{}", default.noticed());
        let (to, own) = all[2 * nth..].iter().find(|(to, _)| to != "admin@example.org").expect("another");
        assert_eq!((to.as_str(), own.alert()), ("is@test.com", ALERTS[2].block(2).as_bytes()));
    }
    // A mail whose Subject knows less than its text, one that is cut, one that is no alert: to the default one alone.
    let body = ALERTS[6].block(6);
    let cut = format!("{}\r\n", &body[..body.len() - 30]);
    let subject = "Wazuh notification - server2 - Alert level 13";
    let others = [
        mail("Wazuh notification - x - Alert level 3", &body),
        mail(subject, &cut),
        mail("Re: server1", "server1\r\n"),
    ];
    for (nth, other) in others.iter().enumerate() {
        assert!(send(&daemon.address, &["root@localhost"], other).starts_with("250"));
        let all = opened(&relay_host, &setup, 7 + nth);
        assert_eq!(all[6 + nth].0, "admin@example.org");
    }
}

/// The reader's limit: log text that is a whole block, line ends and all, cannot be told from one.
#[test]
fn a_whole_block_in_log_text_gives_the_rest_of_its_own_alert_to_another_and_nothing_of_the_next_one() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = four(relay_host.port, &authority.pem, "split = true");
    let daemon = setup.start();
    let forged = ALERTS[3].block(3);
    let (forged_head, _) = forged.split_once(" pam_unix").expect("a log line");
    let imitation =
        format!("{MARKER} number 0\r\n\r\n\r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\n{forged_head}\r\nthe rest");
    let first = ALERTS[0].block(0).replace(&format!("{MARKER} number 0"), &imitation);
    let sent = mail("Wazuh notification - server1 - Alert level 5", &(first + &ALERTS[2].block(2)));
    assert!(send(&daemon.address, &["root@localhost"], &sent).starts_with("250"));
    for (address, opened) in opened(&relay_host, &setup, 4) {
        let text = String::from_utf8_lossy(opened.alert()).into_owned();
        let has = |what: &str| text.contains(what);
        let holds = [has("number 0\r\n"), has("the rest\r\n"), has("number 2\r\n")];
        let expected = match address.as_str() {
            "admin@example.org" => [true, true, true],
            "alice@test.com" => [true, false, false],
            "bob@test.com" => [false, true, false],
            _ => [false, false, true],
        };
        assert_eq!(holds, expected, "{address}: {text}");
    }
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_mail_that_is_claimed_for_another_goes_to_the_default_recipient_too_if_it_cannot_be_divided() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup =
        four(relay_host.port, &authority.pem, "split = true").recipient("carol@example.org", "format = \"inline\"");
    let daemon = setup.start();
    let doubtful = ALERTS[0].block(0).replace("number 0", "number 0\r\n --END OF NOTIFICATION");
    for (body, expected) in [(ALERTS[0].block(0), 2), (doubtful, 4)] {
        let sent = mail("Wazuh notification - server1 - Alert level 5", &body);
        assert!(send(&daemon.address, &["carol@example.org"], &sent).starts_with("250"));
        let taken = relay_host.taken(expected);
        assert_eq!(taken.len(), expected);
        let to = |address: &str| taken.iter().filter(|taken| taken.rcpt.contains(address)).count();
        assert_eq!((to("carol@"), to("alice@"), to("admin@")), (expected / 2, 1, expected / 4), "{body}");
        let (_, certificate) = &setup.recipients[5];
        let carols = taken.iter().rfind(|taken| taken.rcpt.contains("carol@")).expect("carol's");
        let text = open_inline(&carols.message, certificate, &setup.path("state/signer.asc"));
        assert!(text.alert.contains("number 0") && text.manifest["blocks"]["to_me"] == 1);
    }
}

#[test]
fn a_group_is_known_from_the_rules_of_the_ids_and_read_again_at_a_reload() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).recipient(
        "alice@example.org",
        "accept = [{ group = \"pci_dss_10.6.1,\", level = 3 }]\n[alerts]\nrules = [\"rules\"]",
    );
    std::fs::create_dir(setup.path("rules")).expect("made");
    setup.configure();
    let said = setup.run(&["config", "check"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("can never match"), "{said}");
    let daemon = setup.start();
    assert!(daemon.status()["warnings"].to_string().contains("can never match"), "{}", daemon.status());
    let rules = "<group name=\"wazuh,\">\n<rule id=\"502\" level=\"3\"><group>pci_dss_10.6.1,gdpr_IV_35.7.d,</group></rule>\n</group>\n\
        <group name=\"x\"><rule id=\"5503\" level=\"5\"/></group>";
    setup.write("rules/0010-rules_config.xml", rules.as_bytes());
    daemon.hang_up();
    crate::support::eventually("the warning to go", || {
        (!daemon.status()["warnings"].to_string().contains("can never match")).then_some(())
    });
    for nth in [0, 5] {
        assert!(send(&daemon.address, &["root@localhost"], &mail_of(&[nth])).starts_with("250"));
    }
    let opened = opened(&relay_host, &setup, 3);
    let alices: Vec<_> = opened.iter().filter(|(to, _)| to == "alice@example.org").collect();
    assert_eq!((alices.len(), numbers_in(alices[0].1.alert())), (1, vec![5]));
}

#[test]
fn an_sms_is_routed_by_level_and_rule_and_a_long_one_too() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem)
        .recipient("rule@example.org", "accept = [{ rule = [1, 5712] }]")
        .recipient("level@example.org", "accept = [{ level = 11 }]")
        .recipient("location@example.org", "accept = [{ location = \"monitor\" }]");
    let daemon = setup.start();
    let (mut client, _) = Client::connect(&daemon.address);
    client.begin_data("Helo notify.ossec.net", &["5551234@sms.example"]);
    // Without an empty line: the log stands where headers should.
    client.send(
        format!("To: <x>\r\nSubject: OSSEC 10 - 5712 - DDDDD\r\nNov 20 monitor sshd[1]: {MARKER}\r\n\r\n.\r\n")
            .as_bytes(),
    );
    assert!(client.reply().starts_with("250"));
    let opened = opened(&relay_host, &setup, 2);
    let mut to: Vec<&str> = opened.iter().map(|(to, _)| to.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, ["admin@example.org", "rule@example.org"]);
}

/// `route test`, given `input`.
fn route_test(setup: &Setup, input: &str, arguments: &[&str]) -> String {
    setup.configure();
    let mut child = setup
        .command(&[["route", "test", "-"].as_slice(), arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn route_test_says_who_would_get_what_and_why_and_changes_nothing() {
    let setup = four(1, "", "split = true");
    let sent = mail_of(&[0, 4, 5]);
    let said = route_test(&setup, &sent, &[]);
    for line in [
        "3 alerts\n",
        "   2  level 12  rule 5712  (web) 10.0.0.3->/var/log/auth.log  \"PAM: User login failed.\"",
        "admin@example.org: all of it, pgp-mime, 16 KiB\n    it is a default recipient, and nobody claims the envelope address\n",
        "alice@test.com: only alert 1, pgp-mime, 16 KiB\n    { location = \"server1|server2\" } holds for alert 1\n",
        "david@test.com: only alert 2, pgp-mime, 16 KiB\n    { level = 12 } holds for alert 2\n",
    ] {
        assert!(said.contains(line), "{line} is not in:\n{said}");
    }
    assert!(!said.contains("bob@test.com"), "{said}");
    let explained = route_test(&setup, &sent, &["--explain"]);
    assert!(
        explained
            .contains("bob@test.com: nothing\n    but { location = \"192.168.\" } does not hold for alert 1: location"),
        "{explained}"
    );
    // A block alone, with the line ends of a Unix text; for an address that is claimed.
    let block = ALERTS[6].block(6).replace("\r\n", "\n");
    let json: Value = serde_json::from_str(&route_test(&setup, block.trim(), &["--json", "--to", "admin@example.org"]))
        .expect("JSON");
    assert_eq!((&json["kind"], &json["alerts"][0]["rule"]), (&Value::from("alerts"), &Value::from(5712)));
    let gets: Vec<&str> =
        json["recipients"].as_array().expect("a list").iter().filter_map(|of| of["gets"].as_str()).collect();
    assert_eq!(gets, ["whole"; 5]);
    assert_eq!(
        json["recipients"][0]["because"][0],
        "{ recipient = \"admin@example.org\" } claims the envelope address"
    );
    let other = route_test(&setup, "Subject: hello\n\nhello\n", &[]);
    assert!(other.starts_with("no alert") && other.lines().count() == 3, "{other}");
    assert!(!setup.path("state").exists() && !setup.path("spool").exists(), "something was written");
}

/// The size class that is told is the one that comes.
#[test]
fn route_test_tells_the_size_that_a_relay_host_will_see() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup =
        Setup::new(relay_host.port, &authority.pem).recipient("b@example.org", "default = true\nformat = \"inline\"");
    let daemon = setup.start();
    for (nth, octets) in [100, 6_000, 28_000].into_iter().enumerate() {
        let text = format!("{MARKER}{}\r\n", "\r\nlog text of forty octets or thereabouts".repeat(octets / 41));
        let sent = mail("hello", &text);
        let json: Value = serde_json::from_str(&route_test(&setup, &sent, &["--json"])).expect("JSON");
        assert!(send(&daemon.address, &["root@localhost"], &sent).starts_with("250"));
        for taken in &relay_host.taken(2 * (nth + 1))[2 * nth..] {
            let of = json["recipients"].as_array().expect("a list").iter();
            let told =
                of.clone().find(|of| taken.rcpt.contains(of["recipient"].as_str().expect("a text"))).expect("told");
            let told = told["size_class"].as_u64().map(|told| usize::try_from(told).expect("small"));
            let size = taken.message.len();
            let classes = [16, 32, 64].map(|kib| kib * 1024);
            let class = classes.into_iter().find(|class| (class - 16..=*class).contains(&size));
            assert_eq!(told, class, "{size} octets came for {}", taken.rcpt);
        }
    }
}

/// The notice of the stack that is replaced: a text without anything of the alert, once a day, to somebody else.
const SUBMISSIONS: &str = r#"accept = [{ rule = 400600 }]
[recipient.fixed]
subject = "Submissions in the past 24h"
every = "23h 30m"
texts = [
    { log = ": 0", text = "There has been no submission activity in the past 24 hours." },
    { log = ": 1|: 2|: 3|: 4|: 5|: 6|: 7|: 8|: 9", text = "There has been submission activity in the past 24 hours." },
]
"#;
const JOURNALIST: &str = "journalist@example.org";

/// All there is in a message, as it stands in it and decoded.
fn whole(message: &Opened) -> String {
    let decoded = message.parts.iter().map(|(_, part)| part.as_slice());
    let all: Vec<&[u8]> = [message.entity.as_slice()].into_iter().chain(decoded).collect();
    String::from_utf8_lossy(&all.concat()).into_owned() + &message.subject
}

/// A mail with an ordinary alert and one that counts submissions.
fn submissions(count: &str) -> String {
    let ordinary = alert(5, 5503, "(app) 10.20.2.2->/var/log/auth.log").block(1);
    let counting = ordinary.replace("Rule: 5503", "Rule: 400600").replace(
        &format!("Nov 20 19:26:42 pam_unix: {MARKER} number 1"),
        &format!("ossec: output: 'head -1 /var/lib/securedrop/submissions_today.txt': {count}"),
    );
    mail("Wazuh notification - (app) 10.20.2.2 - Alert level 5", &format!("{ordinary}{counting}"))
}

#[test]
fn a_journalist_gets_a_fixed_text_once_in_its_time_and_the_admin_gets_the_alerts_grouped_with_it() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).recipient(JOURNALIST, SUBMISSIONS);
    let daemon = setup.start();
    let hand_in = |daemon: &Daemon<'_>, count: &str| {
        assert!(send(&daemon.address, &["root@localhost"], &submissions(count)).starts_with("250"));
    };
    // What is no number is for nobody but the admin; the second count comes on the same day, before and after a restart.
    ["cannot open", "3", "0"].into_iter().for_each(|count| hand_in(&daemon, count));
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    hand_in(&daemon, "0");
    let messages = opened(&relay_host, &setup, 5);
    let of = |address: &str| messages.iter().filter(|(to, _)| to == address).map(|(_, one)| one).collect::<Vec<_>>();
    let [notice] = of(JOURNALIST)[..] else { panic!("not one message to the journalist") };
    let text = whole(notice);
    assert!(text.contains("There has been submission activity in the past 24 hours."), "{text}");
    assert!(text.contains("Submissions in the past 24h"), "{text}");
    for hidden in [MARKER, "Wazuh", "10.20.2.2", "400600", "root@localhost", "submissions_today", "HELO"] {
        assert!(!text.contains(hidden), "{hidden:?} reached the journalist: {text}");
    }
    // The admin misses nothing, neither the count nor what was grouped with it.
    let admin = of("admin@example.org");
    assert_eq!(admin.len(), 4);
    for message in admin {
        let text = whole(message);
        assert!(text.contains(MARKER) && text.contains("submissions_today.txt"), "{text}");
    }
}

#[test]
fn who_gets_a_part_or_a_fixed_text_stands_in_nobodys_place_when_the_claimant_cannot_be_sealed_to() {
    let (relay_host, authority, _) = RelayHost::honest();
    let certificate = ordinary("alice@example.org");
    let setup = Setup::new(relay_host.port, &authority.pem)
        .recipient_with("alice@example.org", certificate.clone(), "")
        .recipient("bob@example.org", "accept = [{ rule = 400600 }]\nsplit = true")
        .recipient(JOURNALIST, SUBMISSIONS);
    assert_eq!(setup.start().terminate(), 0);
    setup.write("alice@example.org.asc", &armored(&revoked(&certificate)));
    let daemon = setup.start();
    assert!(send(&daemon.address, &["alice@example.org"], &submissions("3")).starts_with("250"));
    // Besides, a notice for alice.
    let taken = relay_host.taken(4);
    let of = |address: &str| taken.iter().filter(|taken| taken.rcpt.contains(address)).collect::<Vec<_>>();
    assert_eq!((of("bob@").len(), of(JOURNALIST).len(), of("admin@").len()), (1, 1, 1));
    let alert = open(&of("admin@")[0].message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
    assert!(alert.noticed().contains("This alert was for alice@example.org"), "{}", alert.noticed());
    let text = whole(&alert);
    assert!(text.contains("Rule: 5503") && text.contains("Rule: 400600"), "{text}");
}

#[test]
fn both_fixed_texts_have_one_size_on_the_way() {
    let (relay_host, authority, _) = RelayHost::honest();
    let every_time = SUBMISSIONS.replace("23h 30m", "1m").replace(" in the past 24 hours.\" },\n]", " much. \" },\n]");
    let mut sizes = Vec::new();
    for count in ["0", "7"] {
        let setup = Setup::new(relay_host.port, &authority.pem).recipient(JOURNALIST, &every_time);
        let daemon = setup.start();
        assert!(send(&daemon.address, &["root@localhost"], &submissions(count)).starts_with("250"));
        let taken = relay_host.taken(2 * (sizes.len() + 1));
        let of_journalist = |rcpt: &str| rcpt.contains(JOURNALIST);
        sizes.push(taken.iter().rev().find(|taken| of_journalist(&taken.rcpt)).expect("a message").message.len());
    }
    assert!(sizes[0] == sizes[1], "{sizes:?}");
}
