//! No feedback: the IDS reads our log and mails about certain words. The real daemon goes through every row of the outcome
//! table at trace level, with a relay host that says the worst, and no line may fire a rule; the rules that we ship
//! name our real events, and cannot make a mail about a mail.

use std::fs;
use std::time::{Duration, SystemTime};

use sealrelay::maillog::TRIGGERS;

use crate::support::client::{Client, send_alert};
use crate::support::clock::Clock;
use crate::support::daemon::Setup;
use crate::support::damage::not_set_aside;
use crate::support::eventually;
use crate::support::pki::Authority;
use crate::support::relay_host::{Act, RelayHost, Script};
use crate::ways::free_port;

/// The first row that the log line of the trouble must hold, and what makes it.
struct Trial {
    row: usize,
    name: &'static str,
    told: &'static str,
    script: fn(Script, &str) -> Script,
    relay: fn(u16) -> String,
}

fn nothing(_: u16) -> String {
    String::new()
}

const fn says(row: usize, name: &'static str, told: &'static str, script: fn(Script, &str) -> Script) -> Trial {
    Trial { row, name, told, script, relay: nothing }
}

const fn elsewhere(name: &'static str, told: &'static str, relay: fn(u16) -> String) -> Trial {
    Trial { row: 1, name, told, script: |script, _| script, relay }
}

/// Every row of the table in `deliver/outcome.rs`, in its order, by its number.
const TRIALS: [Trial; 31] = [
    elsewhere("no such name", "looking up its name", |_| "host = \"failed.attack.invalid\"".to_owned()),
    elsewhere("nobody listens", "not usable", |_| format!("port = {}", free_port())),
    elsewhere("no proxy", "at the proxy", |_| format!("proxy = \"socks5://127.0.0.1:{}\"", free_port())),
    says(1, "greeting", "said to its greeting", |script, words| script.says("greeting", &format!("554 {words}"))),
    says(1, "EHLO", "said to EHLO", |script, words| script.says("EHLO", &format!("502 {words}"))),
    says(1, "STARTTLS", "said to STARTTLS", |script, words| script.says("STARTTLS", &format!("454 {words}"))),
    says(1, "no STARTTLS", "does not offer STARTTLS", |mut script, _| {
        script.offers_starttls = false;
        script
    }),
    says(1, "handshake", "not usable", |mut script, _| {
        script.secure = Some(std::sync::Arc::new(|mut stream| {
            use std::io::Write;
            stream.write_all(b"554 failed attack error\r\n")?;
            Ok(Box::new(stream))
        }));
        script
    }),
    says(1, "not trusted", "not usable", |mut script, _| {
        script.identity = Authority::new("failed attack error denied ????").issue("localhost");
        script
    }),
    says(1, "wrong name", "not usable", |mut script, _| {
        script.identity = Authority::new("fatal error").issue("unauthorized.refused.attack");
        script
    }),
    says(2, "AUTH 4xx", "said to AUTH", |script, words| script.says("AUTH", &format!("454 {words}"))),
    says(2, "AUTH broken off", "at AUTH", |script, _| script.at("AUTH", Act::Close)),
    says(3, "AUTH 5xx", "said to AUTH", |script, words| script.says("AUTH", &format!("535 {words}"))),
    says(3, "no mechanism", "no login we can use", |mut script, _| {
        script.capabilities = vec!["AUTH FAILED ERROR ATTACK DENIED".into()];
        script
    }),
    says(4, "MAIL 421", "said to MAIL", |script, words| script.says("MAIL", &format!("421 {words}"))),
    says(4, "END 421", "said to end of data", |script, words| script.says("END", &format!("421 {words}"))),
    says(4, "MAIL silence", "timed out at MAIL", |script, _| script.at("MAIL", Act::Silence(Duration::from_secs(4)))),
    says(4, "RCPT closed", "at RCPT", |script, _| script.at("RCPT", Act::Close)),
    // The first session has taken no message, so it is the next row's; the second one of a reused session is not told.
    says(5, "MAIL closed", "at MAIL", |script, _| script.at("MAIL", Act::Close)),
    says(6, "MAIL nonsense", "at MAIL FROM", |script, words| script.says("MAIL", words)),
    says(6, "RCPT nonsense", "at RCPT TO", |script, words| script.says("RCPT", words)),
    says(7, "DATA 4xx", "said to DATA", |script, words| script.says("DATA", &format!("451 {words}"))),
    says(7, "END 4xx", "said to end of data", |script, words| script.says("END", &format!("452 {words}"))),
    says(7, "END nonsense", "at end of data", |script, words| script.says("END", words)),
    says(7, "END closed", "at end of data", |script, _| script.at("END", Act::Close)),
    says(8, "MAIL 5xx", "said to MAIL", |script, words| script.says("MAIL", &format!("550 5.1.8 {words}"))),
    says(8, "RCPT 5xx", "said to RCPT", |script, words| script.says("RCPT", &format!("550 5.1.1 {words}"))),
    says(8, "END quota", "said to end of data", |script, words| script.says("END", &format!("552 5.2.2 {words}"))),
    says(9, "DATA 5xx", "said to DATA", |script, words| script.says("DATA", &format!("554 {words}"))),
    says(9, "END 5xx", "said to end of data", |script, words| script.says("END", &format!("554 5.6.0 {words}"))),
    says(10, "SIZE", "larger than the relay host", |mut script, words| {
        script.capabilities = vec!["SIZE 1000".into(), "AUTH PLAIN".into(), words.into()];
        script
    }),
];

/// What is wrong with a log line, if something is.
fn fault(line: &str) -> Option<String> {
    let lower = line.to_ascii_lowercase();
    if let Some(trigger) = TRIGGERS.iter().chain(&["@@"]).find(|trigger| lower.contains(*trigger)) {
        return Some(format!("{trigger:?} in {line}"));
    }
    let plain = line.len() < 1000 && line.bytes().all(|octet| (b' '..=b'~').contains(&octet));
    (!plain).then(|| format!("{} octets: {line:?}", line.len()))
}

/// One alert through one trial; the log of it.
fn log_of(trial: &Trial, words: &str) -> String {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now((trial.script)(Script::honest(&identity), words));
    let setup = Setup::new(relay_host.port, &authority.pem)
        .relay(&format!("timeout = \"2s\"\n{}", (trial.relay)(relay_host.port)));
    let daemon = setup.start();
    send_alert(&daemon.address, "an alert");
    eventually(trial.name, || setup.log().contains(trial.told).then_some(()));
    assert_eq!(daemon.terminate(), 0, "{}", trial.name);
    setup.log()
}

#[test]
fn the_daemon_fires_no_rule_in_any_row_of_the_outcome_table() {
    let table = fs::read_to_string("src/deliver/outcome.rs").expect("the table");
    let rows = table.lines().filter(|line| line.starts_with("//! | ")).count() - 2;
    // The last row is our own disk, which the next test brings about.
    assert_eq!(TRIALS.iter().map(|trial| trial.row).max(), Some(rows - 1), "a row without a trial");
    let words = format!("{} ???? @@@@ \u{e9} {}", TRIGGERS.join(" "), "x".repeat(1500));
    let mut checked = 0;
    for trial in &TRIALS {
        for line in log_of(trial, &words).lines() {
            assert_eq!(fault(line), None, "{}", trial.name);
            checked += 1;
        }
    }
    println!("{checked} lines in {} trials of {rows} rows", TRIALS.len());
}

#[test]
fn a_disk_that_gives_back_something_else_fires_no_rule() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let (daemon, _) = not_set_aside(&setup, &relay_host, |octets| *octets = b"failed attack error denied".to_vec());
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(setup.log().lines().find_map(fault), None);
}

/// The rule that every first start fires.
const NEW_KEY: &str = "100911";

/// A rule that we ship.
struct Rule {
    id: String,
    level: u32,
    ignore: u64,
    parent: Option<String>,
    alternatives: Vec<String>,
}

/// The rules in `deploy/ids`. Ours to read, so this reads no more of XML than they use.
fn rules() -> Vec<Rule> {
    let text = fs::read_to_string("deploy/ids/sealrelay_rules.xml").expect("the rules");
    let between = |text: &str, from: &str, to: &str| {
        let (_, rest) = text.split_once(from)?;
        rest.split_once(to).map(|(found, _)| found.to_owned())
    };
    let text = text.rsplit_once("-->").expect("a comment on top").1;
    text.split("<rule ")
        .skip(1)
        .map(|rule| {
            let attribute = |name: &str| between(rule, &format!("{name}=\""), "\"");
            Rule {
                id: attribute("id").expect("an id"),
                level: attribute("level").and_then(|level| level.parse().ok()).expect("a level"),
                ignore: attribute("ignore").map_or(0, |seconds| seconds.parse().expect("seconds")),
                parent: between(rule, "<if_sid>", "</if_sid>"),
                alternatives: between(rule, "<match>", "</match>")
                    .map_or_else(Vec::new, |all| all.split('|').map(str::to_owned).collect()),
            }
        })
        .collect()
}

/// The rule that fires on `line`: of those that match the one of the highest level, as analysisd chooses.
fn rule_for<'a>(rules: &'a [Rule], line: &str) -> Option<&'a Rule> {
    let lower = line.to_ascii_lowercase();
    let fits = |rule: &&Rule| rule.alternatives.iter().any(|text| lower.contains(&text.to_ascii_lowercase()));
    rules.iter().filter(fits).max_by_key(|rule| rule.level)
}

fn ids_of(rules: &[Rule], log: &str) -> Vec<String> {
    log.lines().filter_map(|line| rule_for(rules, line)).map(|rule| rule.id.clone()).collect()
}

#[test]
fn the_rules_we_ship_cannot_loop() {
    let rules = rules();
    let (shield, others) = rules.split_first().expect("rules");
    assert_eq!((shield.level, shield.parent.as_deref(), shield.alternatives.len()), (0, None, 0), "{}", shield.id);
    let mut per_day = 0;
    for rule in others {
        assert_eq!(rule.parent.as_ref(), Some(&shield.id), "{} is not behind the shield", rule.id);
        assert!(!rule.alternatives.is_empty(), "{} fires on every line", rule.id);
        // Each alert may make the trouble again that the next one would be about.
        assert!(rule.ignore >= 3600, "{} may fire on each mail about itself", rule.id);
        per_day += 86_400 / rule.ignore;
    }
    println!("{} rules: at most {per_day} alerts a day, whatever happens", others.len());
}

#[test]
fn each_trouble_that_an_operator_should_hear_of_has_its_rule() {
    let rules = rules();
    let of = |name: &str| {
        let trial = TRIALS.iter().find(|trial| trial.name == name).expect("a trial");
        let mut ids = ids_of(&rules, &log_of(trial, "5.7.8 Authentication failed"));
        ids.retain(|id| id != NEW_KEY);
        ids
    };
    assert_eq!(of("AUTH 5xx"), ["100903"]);
    assert_eq!(of("no mechanism"), ["100903"]);
    assert_eq!(of("not trusted"), ["100902"]);
    // What passes by itself is no alert before it has lasted.
    for name in ["greeting", "END 4xx", "AUTH 4xx", "MAIL silence"] {
        assert_eq!(of(name), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn another_certificate_than_the_pinned_one_an_early_dot_and_a_mail_that_waits_for_an_hour_have_their_rules() {
    let (relay_host, authority, _) = RelayHost::honest();
    let pin = format!("sha256:{}", "00".repeat(32));
    let setup = Setup::new(relay_host.port, &authority.pem).without_relay("ca_file");
    let setup = setup.relay(&format!("pins = [\"{pin}\"]"));
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    let daemon = setup.start_by_clock(&clock);
    let mut client = Client::connect(&daemon.address).0;
    client.begin_data("HELO notify.ossec.net", &["root@localhost"]);
    client.send(b"Subject: x\r\n\r\nan alert\r\n.\r\nwith more behind its dot\r\n.\r\n");
    assert!(client.reply().starts_with("250"));
    eventually("trouble", || daemon.status()["relays"][0]["trouble"].is_string().then_some(()));
    assert!(daemon.status()["relays"][0]["pin_mismatches"].as_u64() >= Some(1));
    assert_eq!(daemon.terminate(), 0);
    clock.set_time(SystemTime::now() + Duration::from_secs(2 * 3600));
    let _daemon = setup.start_by_clock(&clock);
    eventually("the log to say that it is late", || setup.log().contains("late: the oldest of 1").then_some(()));
    let mut ids = ids_of(&rules(), &setup.log());
    ids.retain(|id| id != NEW_KEY);
    ids.sort();
    ids.dedup();
    assert_eq!(ids, ["100901", "100902", "100905"]);
}
