//! Following `alerts.json`: which alerts come, over rotation, truncation, restarts and kill -9, each once for each
//! recipient. `tests/trials/follow_kill.sh` kills three hundred times.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::client::{send, send_alert};
use crate::support::daemon::{Daemon, MARKER, Setup};
use crate::support::eventually;
use crate::support::reader::{Opened, open};
use crate::support::relay_host::{RelayHost, Script};

/// Kills in one run, unless `KILLS` says how many.
const KILLS: usize = 8;
/// What the alerts between two kills take at most, when all is caught up with.
const PER_KILL: Duration = Duration::from_secs(10);

/// An alert as Wazuh writes it; `mail` is its own verdict.
fn wazuh(name: &str, level: u32, mail: bool) -> String {
    format!(
        "{{\"timestamp\":\"2026-11-20T19:30:02.123+0000\",\"rule\":{{\"level\":{level},\"description\":\"Attempt\",\
         \"id\":\"5710\",\"mail\":{mail},\"groups\":[\"sshd\"]}},\"agent\":{{\"id\":\"001\",\"name\":\"app\",\"ip\":\"10.20.2.2\"}},\
         \"id\":\"1.{name}\",\"full_log\":\"Nov 20 19:30:02 app sshd[1]: {MARKER} {name}.\",\"location\":\"/var/log/auth.log\"}}\n"
    )
}

/// An alert as OSSEC writes it.
fn ossec(name: &str, level: u32) -> String {
    format!(
        "{{\"rule\":{{\"level\":{level},\"comment\":\"Attempt\",\"sidid\":5710}},\"TimeStamp\":1795202402000,\
         \"location\":\"(web) 10.1.1.1->/var/log/secure\",\"full_log\":\"{MARKER} {name}.\",\"hostname\":\"web\"}}\n"
    )
}

/// A daemon that follows a log with `lines` more in its section, and sends to a relay host.
fn following(lines: &str) -> (RelayHost, Setup) {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).following(lines);
    (relay_host, setup)
}

fn log(setup: &Setup) -> PathBuf {
    setup.path("logs/alerts.json")
}

fn append(setup: &Setup, text: &str) {
    let mut file = File::options().create(true).append(true).open(log(setup)).expect("opened");
    file.write_all(text.as_bytes()).expect("written");
}

fn rename(setup: &Setup, name: &str) {
    fs::rename(log(setup), setup.path("logs").join(name)).expect("renamed");
}

/// All that one recipient got, by number; the same number always with the same octets.
fn opened(setup: &Setup, relay_host: &RelayHost, nth: usize) -> BTreeMap<u64, Opened> {
    let (address, certificate) = &setup.recipients[nth];
    let mut all: BTreeMap<u64, (Vec<u8>, Opened)> = BTreeMap::new();
    for taken in relay_host.heard().taken.clone() {
        if taken.rcpt.contains(address.as_str()) {
            let opened = open(&taken.message, certificate, &setup.path("state/signer.asc"));
            let number = opened.manifest["sequence"].as_u64().expect("a number");
            let first = all.entry(number).or_insert_with(|| (taken.message.clone(), opened));
            assert_eq!(first.0, taken.message, "number {number} came with two contents");
        }
    }
    all.into_iter().map(|(number, (_, opened))| (number, opened)).collect()
}

/// The names of the alerts that one recipient got, each as often as it came under another number.
fn names(setup: &Setup, relay_host: &RelayHost, nth: usize) -> Vec<String> {
    let mut names: Vec<String> = opened(setup, relay_host, nth)
        .values()
        .map(|opened| {
            let text = String::from_utf8_lossy(opened.alert()).into_owned();
            let name = text.split(&format!("{MARKER} ")).nth(1).and_then(|rest| rest.split('.').next());
            name.unwrap_or("none").to_owned()
        })
        .collect();
    names.sort();
    names
}

fn follow(daemon: &Daemon<'_>) -> Value {
    daemon.status()["follows"][0].clone()
}

#[test]
fn what_the_rules_choose_comes_in_the_form_of_the_idss_mail_with_the_line_behind_it() {
    let (relay_host, setup) = following("from = \"start\"\nalert_by_email = [31100]\nno_email_alert = [1002]");
    let by_rule = wazuh("by-rule", 2, false).replace("5710", "31100");
    let never = wazuh("never", 15, true).replace("5710", "1002");
    let lines = [wazuh("yes", 3, true), wazuh("no", 15, false), by_rule, never, ossec("seven", 7), ossec("six", 6)];
    append(&setup, &lines.concat());
    let daemon = setup.start();
    relay_host.taken(3);
    assert_eq!(names(&setup, &relay_host, 0), ["by-rule", "seven", "yes"]);
    let block =
        format!("follow         {}: well\n  read         6 line(s), 3 stored, 0 octets to go", log(&setup).display());
    eventually("the log on the screen", || {
        let screen = setup.run(&["status"]).stdout;
        String::from_utf8_lossy(&screen).contains(&block).then_some(())
    });
    let all = opened(&setup, &relay_host, 0);
    let yes = all.values().find(|one| String::from_utf8_lossy(one.alert()).contains("yes")).expect("came");
    assert_eq!(yes.subject, "Wazuh alert - (app) 10.20.2.2->/var/log/auth.log - Level 3 - Attempt");
    let text = String::from_utf8_lossy(yes.alert()).into_owned();
    assert!(
        text.starts_with(
            "\r\nWazuh Notification.\r\n2026-11-20T19:30:02.123+0000\r\n\r\nReceived From: (app) 10.20.2.2->/var/log/auth.log\r\n\
             Rule: 5710 fired (level 3) -> \"Attempt\"\r\nPortion of the log(s):\r\n\r\nNov 20 19:30:02 app sshd[1]: "
        ),
        "{text}"
    );
    assert!(text.trim_end().ends_with(lines[0].trim_end()), "{text}");
    assert_eq!(yes.manifest["client"]["address"], log(&setup).to_string_lossy().as_ref());
    let seven = all.values().find(|one| String::from_utf8_lossy(one.alert()).contains("seven")).expect("came");
    assert_eq!(seven.subject, "OSSEC Alert - (web) 10.1.1.1->/var/log/secure - Level 7 - Attempt");
    let status = daemon.status();
    assert_eq!((&status["state"], &status["counts"]["followed"]), (&"ok".into(), &3.into()), "{status}");
    assert_eq!((&status["follows"][0]["lines"], &status["counts"]["accepted"]), (&6.into(), &0.into()));
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn what_was_written_before_the_first_start_is_not_sent_and_the_place_is_kept() {
    let (relay_host, setup) = following("");
    append(&setup, &wazuh("old", 15, true));
    let daemon = setup.start();
    eventually("the log to be opened", || setup.log().contains("following").then_some(()));
    // Killed at once, before anything is stored: the end of the log is no other one for that.
    daemon.kill();
    append(&setup, &wazuh("meanwhile", 15, true));
    let daemon = setup.start();
    relay_host.taken(1);
    append(&setup, &wazuh("new", 15, true));
    relay_host.taken(2);
    assert_eq!(names(&setup, &relay_host, 0), ["meanwhile", "new"]);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_line_is_sent_when_it_is_whole_and_one_that_is_no_alert_as_it_is() {
    let (relay_host, setup) = following("");
    append(&setup, "");
    let daemon = setup.start();
    eventually("the log to be opened", || setup.log().contains("following").then_some(()));
    let line = wazuh("whole", 15, true);
    let (first, second) = line.split_at(100);
    append(&setup, first);
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(relay_host.heard().taken.len(), 0, "half a line was sent");
    append(&setup, second);
    relay_host.taken(1);
    // A hole that a crash of the machine left, and a file of another kind: all of it in one message.
    append(&setup, &format!("\0\0\0{}", wazuh("behind-a-hole", 15, true)));
    relay_host.taken(2);
    let text = format!("** Alert 1.2: mail\n{MARKER} no-json.\n\nRule: 5710 (level 15)\n");
    append(&setup, &text);
    relay_host.taken(3);
    assert_eq!(names(&setup, &relay_host, 0), ["behind-a-hole", "no-json", "whole"]);
    let all = opened(&setup, &relay_host, 0);
    let odd = all.values().find(|one| !one.noticed().is_empty()).expect("came");
    assert!(odd.noticed().contains("cannot be read as alerts in JSON"), "{}", odd.noticed());
    assert_eq!(String::from_utf8_lossy(odd.alert()).replace("\r\n", "\n").trim_end(), text.trim_end());
    let status = daemon.status();
    assert!(status["warnings"].to_string().contains("3 line(s) are no alerts in JSON"), "{status}");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn rotation_by_name_by_link_by_copy_and_truncation_lose_and_repeat_nothing() {
    let (relay_host, setup) = following("from = \"start\"");
    let days = setup.path("logs/2026/Nov");
    fs::create_dir_all(&days).expect("made");
    append(&setup, &wazuh("01", 15, true));
    let daemon = setup.start();
    relay_host.taken(1);
    // logrotate renames: the IDS writes into the old file for a while, though there is a new one.
    rename(&setup, "alerts.json.1");
    append(&setup, "");
    std::thread::sleep(Duration::from_millis(1200));
    let mut old = File::options().append(true).open(setup.path("logs/alerts.json.1")).expect("opened");
    old.write_all(wazuh("02", 15, true).as_bytes()).expect("written");
    relay_host.taken(2);
    // Its last line has no end.
    old.write_all(wazuh("03", 15, true).trim_end().as_bytes()).expect("written");
    append(&setup, &wazuh("04", 15, true));
    relay_host.taken(4);
    // Wazuh: the log's name is a link to the day's file, and becomes one to the next day's.
    fs::hard_link(log(&setup), days.join("ossec-alerts-20.json")).expect("linked");
    fs::remove_file(log(&setup)).expect("removed");
    fs::write(days.join("ossec-alerts-21.json"), wazuh("05", 15, true)).expect("written");
    fs::hard_link(days.join("ossec-alerts-21.json"), log(&setup)).expect("linked");
    relay_host.taken(5);
    // copytruncate, with something in the copy that was not read yet.
    append(&setup, &wazuh("06", 15, true));
    fs::copy(log(&setup), setup.path("logs/alerts.json-copy")).expect("copied");
    fs::write(log(&setup), wazuh("07", 15, true)).expect("truncated");
    relay_host.taken(7);
    // Truncated, and longer than before when it is looked at again.
    fs::write(log(&setup), [wazuh("08", 15, true), wazuh("09", 15, true), wazuh("10", 15, true)].concat())
        .expect("written");
    relay_host.taken(10);
    let expected: Vec<String> = (1..=10).map(|nth| format!("{nth:02}")).collect();
    assert_eq!(names(&setup, &relay_host, 0), expected);
    assert_eq!(daemon.status()["state"], "ok", "{}", daemon.status());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn rotations_while_the_daemon_is_down_are_caught_up_with_and_what_is_gone_is_told() {
    let (relay_host, setup) = following("from = \"start\"");
    append(&setup, &wazuh("1", 15, true));
    let daemon = setup.start();
    relay_host.taken(1);
    assert_eq!(daemon.terminate(), 0);
    append(&setup, &wazuh("2", 15, true));
    // More than the clock of the file system needs to tell them apart.
    let tick = || std::thread::sleep(Duration::from_millis(50));
    tick();
    rename(&setup, "alerts.json.2");
    append(&setup, &wazuh("3", 15, true));
    tick();
    rename(&setup, "alerts.json.1");
    append(&setup, &wazuh("4", 15, true));
    let daemon = setup.start();
    relay_host.taken(4);
    assert_eq!(names(&setup, &relay_host, 0), ["1", "2", "3", "4"]);
    assert_eq!(daemon.terminate(), 0);
    // Compressed: it cannot be read on.
    append(&setup, &wazuh("5", 15, true));
    fs::remove_file(log(&setup)).expect("removed");
    // What was rotated since can.
    append(&setup, &wazuh("6", 15, true));
    tick();
    rename(&setup, "alerts.json.0");
    append(&setup, &wazuh("7", 15, true));
    let daemon = setup.start();
    relay_host.taken(6);
    assert_eq!(names(&setup, &relay_host, 0), ["1", "2", "3", "4", "6", "7"]);
    let status = daemon.status();
    assert_eq!(status["state"], "degraded");
    assert!(status["warnings"].to_string().contains("the file that was read last is gone"), "{status}");
    assert_eq!(daemon.terminate(), 0);
    // A start does not make it unsaid.
    let daemon = setup.start();
    let status = daemon.status();
    assert!(status["warnings"].to_string().contains("the file that was read last is gone"), "{status}");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn rotations_quicker_than_looks_at_the_log_pass_no_file_over() {
    let (relay_host, setup) = following("from = \"start\"");
    append(&setup, "");
    let daemon = setup.start();
    let expected: Vec<String> = (0..100).map(name).collect();
    for (rotation, name) in expected.iter().enumerate() {
        append(&setup, &wazuh(name, 15, true));
        // More than the clock of the file system needs to tell them apart.
        std::thread::sleep(Duration::from_millis(20));
        rotate(&setup, rotation);
    }
    append(&setup, &wazuh("last", 15, true));
    relay_host.taken(expected.len() + 1);
    let arrived = names(&setup, &relay_host, 0);
    assert_eq!(arrived, [expected.as_slice(), &["last".to_owned()]].concat());
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_file_that_was_compressed_before_it_was_read_is_named() {
    let (relay_host, setup) = following("from = \"start\"");
    append(&setup, &wazuh("1", 15, true));
    let daemon = setup.start();
    relay_host.taken(1);
    assert_eq!(daemon.terminate(), 0);
    append(&setup, &wazuh("2", 15, true));
    rename(&setup, "alerts.json.2");
    // More than the clock of the file system needs to tell them apart.
    std::thread::sleep(Duration::from_millis(50));
    fs::write(setup.path("logs/alerts.json.1.gz"), "packed").expect("written");
    append(&setup, &wazuh("4", 15, true));
    let daemon = setup.start();
    relay_host.taken(3);
    assert_eq!(names(&setup, &relay_host, 0), ["1", "2", "4"]);
    let told = eventually("the file to be named", || {
        Some(daemon.status()["warnings"].to_string()).filter(|warnings| warnings.contains("alerts.json.1.gz"))
    });
    assert!(told.contains("compressed before it was read"), "{told}");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn route_test_says_in_which_logs_a_line_is_not_sent_at_all() {
    let (_relay_host, setup) = following("no_email_alert = [1002]");
    setup.configure();
    let said = |line: &str| {
        setup.write("logs/line.json", line.as_bytes());
        let file = setup.path("logs/line.json");
        let output = setup.run(&["route", "test", file.to_str().expect("text")]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let not_sent = format!("in {} this line is not sent to anybody", log(&setup).display());
    assert!(!said(&wazuh("yes", 3, true)).contains(&not_sent));
    for line in [wazuh("by its own word", 15, false), wazuh("by rule", 15, true).replace("5710", "1002")] {
        let said = said(&line);
        assert!(said.contains(&not_sent) && said.contains("admin@example.org: all of it"), "{said}");
    }
}

#[test]
fn a_place_that_cannot_be_read_any_more_is_no_reason_to_begin_at_the_end() {
    let (relay_host, setup) = following("");
    append(&setup, &wazuh("old", 15, true));
    let daemon = setup.start();
    eventually("the log to be opened", || setup.log().contains("following").then_some(()));
    assert_eq!(daemon.terminate(), 0);
    append(&setup, &wazuh("meanwhile", 15, true));
    let states = fs::read_dir(setup.path("state")).expect("read").flatten().map(|file| file.path());
    let marks: Vec<PathBuf> = states.filter(|path| path.to_string_lossy().contains("/follow-")).collect();
    assert_eq!(marks.len(), 1, "{marks:?}");
    fs::write(&marks[0], "{\"log\":").expect("written");
    let daemon = setup.start();
    relay_host.taken(2);
    assert_eq!(names(&setup, &relay_host, 0), ["meanwhile", "old"]);
    let status = daemon.status();
    assert!(status["warnings"].to_string().contains("how far it was read is not known"), "{status}");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_log_that_is_not_there_or_is_none_is_told_and_is_not_the_end_of_the_daemon() {
    let (relay_host, setup) = following("");
    let daemon = setup.start();
    let warned = |what: &str| {
        eventually(what, || daemon.status()["warnings"].to_string().contains(what).then_some(()));
    };
    warned("<jsonout_output>yes</jsonout_output>");
    assert_eq!(setup.run(&["status"]).status.code(), Some(75));
    send_alert(&daemon.address, "mail is taken all the same");
    relay_host.taken(1);
    fs::create_dir(log(&setup)).expect("made");
    warned("it is no regular file");
    fs::remove_dir(log(&setup)).expect("removed");
    // It comes when the daemon is up: then all of it is new.
    append(&setup, &wazuh("new", 15, true));
    relay_host.taken(2);
    eventually("well again", || (daemon.status()["state"] == "ok").then_some(()));
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_full_spool_makes_the_log_wait_and_loses_nothing() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let setup = Setup::new(relay_host.port, &authority.pem).following("from = \"start\"");
    let text = fs::read_to_string(setup.configure()).expect("read");
    let setup = setup.with_configuration(&text.replace("[spool]\n", "[spool]\nquota = \"1MiB\"\n"));
    // 20 KiB each: 52 are the quota.
    let expected: Vec<String> = (0..70).map(|nth| format!("{nth:02}")).collect();
    append(&setup, &expected.iter().map(|name| wazuh(name, 15, true)).collect::<String>());
    let daemon = setup.start();
    let status =
        eventually("the log to wait", || Some(daemon.status()).filter(|now| now["follows"][0]["waits"].is_string()));
    assert!(status["warnings"].to_string().contains("alerts wait in it: there is no room in the spool"), "{status}");
    assert_eq!(status["state"], "broken");
    let metrics = sealrelay::metrics::text(&serde_json::from_value(status).expect("a status"));
    assert!(metrics.contains("sealrelay_follow_waiting{log="), "{metrics}");
    assert!(setup.log().contains("alerts wait in it"));
    // It ends while it waits, and goes on where it was.
    assert_eq!(daemon.terminate(), 0);
    let stored = setup.spooled("queue").len();
    assert!((50..=60).contains(&stored), "{stored}");
    relay_host.now(Script::honest(&identity));
    let daemon = setup.start();
    daemon.flush();
    relay_host.taken(70);
    assert_eq!(names(&setup, &relay_host, 0), expected);
    eventually("nothing to wait for", || follow(&daemon)["waits"].is_null().then_some(()));
    assert_eq!(daemon.terminate(), 0);
}

/// The IDS's own mail about alerts like those of [`wazuh`].
fn mailed(names: &[&str]) -> String {
    let blocks = names.iter().map(|name| {
        format!(
            "\r\nWazuh Notification.\r\n2026 Nov 20 19:30:02\r\n\r\nReceived From: (app) 10.20.2.2->/var/log/auth.log\r\n\
             Rule: 5710 fired (level 15) -> \"Attempt\"\r\nPortion of the log(s):\r\n\r\n\
             Nov 20 19:30:02 app sshd[1]: {MARKER} {name}.\r\n\r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\n"
        )
    });
    let blocks: String = blocks.collect();
    format!("From: Wazuh <a@b>\r\nSubject: Wazuh notification - (app) 10.20.2.2 - Alert level 15\r\n\r\n{blocks}")
}

#[test]
fn secondary_mail_lacks_what_the_log_brought_field_for_field_and_nothing_else() {
    let (relay_host, setup) = following("from = \"start\"\nsecondary = true");
    append(&setup, &[wazuh("one", 15, true), wazuh("two", 15, true)].concat());
    let daemon = setup.start();
    relay_host.taken(2);
    // All of it came by the log.
    assert!(send(&daemon.address, &["root@localhost"], &mailed(&["two", "one"])).starts_with("250"));
    eventually("them to be left out", || (daemon.status()["counts"]["left_out"] == 2).then_some(()));
    // Some of it.
    assert!(send(&daemon.address, &["root@localhost"], &mailed(&["one", "three"])).starts_with("250"));
    relay_host.taken(3);
    // An octet is another one; a field is.
    assert!(send(&daemon.address, &["root@localhost"], &mailed(&["one "])).starts_with("250"));
    let with_a_user = mailed(&["one"]).replace("Portion of", "User: root\r\nPortion of");
    assert!(send(&daemon.address, &["root@localhost"], &with_a_user).starts_with("250"));
    relay_host.taken(5);
    assert_eq!(names(&setup, &relay_host, 0), ["one", "one", "one ", "three", "two"]);
    let all = opened(&setup, &relay_host, 0);
    let part = all.values().find(|one| one.noticed().contains("left out")).expect("came");
    assert!(part.noticed().contains("1 alert(s) of this mail are left out"), "{}", part.noticed());
    let text = String::from_utf8_lossy(part.alert()).into_owned();
    assert!(text.contains("three.") && !text.contains("one."), "{text}");
    // Nothing is known after a restart: better twice than not at all.
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    assert!(send(&daemon.address, &["root@localhost"], &mailed(&["one"])).starts_with("250"));
    relay_host.taken(6);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn mail_is_secondary_only_to_the_log_that_says_so() {
    let (relay_host, setup) =
        following("from = \"start\"\nsecondary = true\n[[follow]]\npath = \"logs/other.json\"\nfrom = \"start\"");
    append(&setup, &wazuh("one", 15, true));
    fs::write(setup.path("logs/other.json"), wazuh("two", 15, true)).expect("written");
    let daemon = setup.start();
    relay_host.taken(2);
    assert!(send(&daemon.address, &["root@localhost"], &mailed(&["one", "two"])).starts_with("250"));
    relay_host.taken(3);
    assert_eq!(names(&setup, &relay_host, 0), ["one", "two", "two"]);
    assert_eq!(daemon.status()["counts"]["left_out"], 1);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn alerts_of_a_log_wait_for_a_digest_like_any_and_none_is_read_again_when_it_has_taken_their_place() {
    let (relay_host, authority, _) = RelayHost::honest();
    let flood = "[recipient.flood]\nburst = 2\nwindow = \"1h\"\nrealert = \"off\"";
    let setup = Setup::new(relay_host.port, &authority.pem)
        .recipient("gathered@example.org", &format!("default = true\n{flood}"))
        .following("from = \"start\"");
    append(&setup, &(0..10).map(|nth| wazuh(&format!("gathered-{nth}"), 5, true)).collect::<String>());
    let daemon = setup.start();
    eventually("the rest to wait", || (daemon.status()["gathering"][0]["parked"] == 8).then_some(()));
    daemon.flush();
    relay_host.taken(13);
    daemon.kill();
    append(&setup, &wazuh("behind", 15, true));
    let daemon = setup.start();
    eventually("all to be sent", || {
        let is_read = follow(&daemon)["behind_octets"] == 0 && names(&setup, &relay_host, 0).len() == 11;
        (is_read && setup.spooled("queue").is_empty()).then_some(())
    });
    assert_eq!(daemon.terminate(), 0);
    let all = opened(&setup, &relay_host, 1);
    let digest = all.values().find(|one| one.subject == "8 alerts gathered").expect("a digest");
    let text = String::from_utf8_lossy(digest.alert()).into_owned();
    let singles = names(&setup, &relay_host, 1);
    assert_eq!(singles.len(), 4, "two, the digest, and what was written behind the kill: {singles:?}");
    for nth in 0..10 {
        let name = format!("gathered-{nth}");
        assert!(text.contains(&format!("{MARKER} {name}.")) || singles.contains(&name), "{name} is missing: {text}");
    }
}

#[test]
fn kill_9_at_random_moments_sends_each_alert_to_each_recipient_under_one_number() {
    let kills = std::env::var("KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem)
        .recipient("second@example.org", "default = true")
        .following("from = \"start\"");
    append(&setup, "");
    // What is rotated away before the first start is nobody's business.
    let daemon = setup.start();
    eventually("the log to be opened", || setup.log().contains("following").then_some(()));
    daemon.kill();
    let (stop, written) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| write_and_rotate(&setup, &stop, &written));
        for _ in 0..kills {
            let daemon = setup.start();
            // Somewhere in reading, sealing, storing and delivering; different in every run.
            let [a, b] = sealrelay::envelope::random();
            std::thread::sleep(Duration::from_micros(u64::from(u16::from_be_bytes([a, b])) * 20));
            daemon.kill();
        }
        stop.store(true, Ordering::Relaxed);
    });
    // One more, which the last daemon reads in any case.
    append(&setup, &wazuh(&name(written.fetch_add(1, Ordering::Relaxed)), 15, true));
    let written = written.load(Ordering::Relaxed);
    let daemon = setup.start();
    let is_at_end = |follow: Value| follow["behind_octets"] == 0 && follow["lines"].as_u64() > Some(0);
    // A trial leaves much to read and to deliver.
    let until =
        std::time::Instant::now() + Duration::from_secs(60) + PER_KILL * u32::try_from(kills).expect("a number");
    while !is_at_end(follow(&daemon)) || !setup.spooled("queue").is_empty() {
        assert!(std::time::Instant::now() < until, "the end of the log is not reached: {}", daemon.status());
        std::thread::sleep(Duration::from_millis(500));
    }
    std::thread::sleep(Duration::from_millis(1500));
    let expected: Vec<String> = (0..written).map(name).collect();
    let mut twice = relay_host.heard().taken.len();
    for nth in 0..2 {
        let arrived = names(&setup, &relay_host, nth);
        twice -= arrived.len();
        let missing: Vec<&String> = expected.iter().filter(|name| !arrived.contains(name)).collect();
        assert!(missing.is_empty(), "recipient {nth} misses {missing:?}");
        assert_eq!(arrived, expected, "recipient {nth} got something twice, under two numbers");
    }
    assert!(written > kills, "only {written} were written: nothing was tried");
    eprintln!(
        "{kills} kills, {written} alerts to send, 2 recipients: each one arrived under one number; {twice} messages came twice"
    );
    assert_eq!(daemon.terminate(), 0);
}

fn name(nth: usize) -> String {
    format!("alert-{nth:06}")
}

/// As logrotate does, by renaming, or Wazuh itself, by a link in the folder of the month.
fn rotate(setup: &Setup, rotation: usize) {
    if rotation.is_multiple_of(2) {
        rename(setup, &format!("alerts.json.{rotation}"));
    } else {
        let days = setup.path("logs/2026/Nov");
        fs::create_dir_all(&days).expect("made");
        fs::hard_link(log(setup), days.join(format!("ossec-alerts-{rotation}.json"))).expect("linked");
        fs::remove_file(log(setup)).expect("removed");
    }
    append(setup, "");
}

/// As the IDS writes: many lines that nobody is mailed about, now and then one that somebody is, lines in pieces; and
/// rotated between.
fn write_and_rotate(setup: &Setup, stop: &AtomicBool, written: &AtomicUsize) {
    let mut rotation = 0;
    while !stop.load(Ordering::Relaxed) {
        let [dice, cut, pause, lines] = sealrelay::envelope::random::<4>();
        append(setup, &wazuh("nobody", 3, false).repeat(usize::from(lines % 20)));
        let line = wazuh(&name(written.load(Ordering::Relaxed)), 15, true);
        let (first, second) = line.split_at(usize::from(cut) % line.len());
        append(setup, first);
        append(setup, second);
        written.fetch_add(1, Ordering::Relaxed);
        if dice % 6 == 0 {
            rotation += 1;
            std::thread::sleep(Duration::from_millis(20));
            rotate(setup, rotation);
        }
        std::thread::sleep(Duration::from_millis(u64::from(pause / 2)));
    }
}
