//! `sealrelay queue`, with the daemon and without it.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::support::client::send_alert;
use crate::support::daemon::{Daemon, Setup, program};
use crate::support::reader::open;
use crate::support::relay_host::{RelayHost, Script};
use crate::support::{eventually, met};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(output)
}

/// The queue ids in one of the spool's directories.
fn ids(setup: &Setup, directory: &str) -> Vec<String> {
    let names = setup.spooled(directory).into_iter().map(|path| path.file_name().expect("a name").to_owned());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// A daemon whose relay host takes nothing, with `count` alerts that were each tried once.
fn with_waiting<'a>(setup: &'a Setup, count: usize) -> Daemon<'a> {
    let daemon = setup.start();
    for nth in 0..count {
        send_alert(&daemon.address, &format!("alert-{nth}."));
        eventually("an attempt", || (daemon.status()["counts"]["deferred"].as_u64()? as usize > nth).then_some(()));
    }
    daemon
}

fn not_now() -> (RelayHost, Setup, Script) {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("END", "451 4.3.0 Not now"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    (relay_host, setup, Script::honest(&identity))
}

#[test]
fn what_is_held_stays_with_its_last_reply_until_it_is_released() {
    let (relay_host, setup, honest) = not_now();
    let daemon = with_waiting(&setup, 2);
    let id = ids(&setup, "queue").remove(0);
    assert!(done(&setup.run(&["queue", "hold", &id])).contains("1 message(s) held"));
    relay_host.now(honest);
    daemon.flush();
    relay_host.taken(1);
    assert_eq!(ids(&setup, "held"), [id.as_str()]);
    assert_eq!(daemon.status()["spool"]["held"], 1);
    let list = done(&setup.run(&["queue", "list"]));
    assert!(list.contains(&format!("{id}!")) && list.contains("451 4.3.0 Not now"), "{list}");
    // Over a restart.
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    assert_eq!(daemon.status()["spool"]["held"], 1);
    assert!(done(&setup.run(&["queue", "release", "ALL"])).contains("1 message(s) released"));
    assert_eq!(relay_host.taken(2).len(), 2);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    assert!(ids(&setup, "held").is_empty() && !setup.path(&format!("spool/held/{id}.state")).exists());
}

#[test]
fn what_a_file_of_the_spool_says_reaches_no_terminal_raw() {
    let (_relay_host, setup, _) = not_now();
    assert_eq!(with_waiting(&setup, 1).terminate(), 0);
    let id = ids(&setup, "queue").remove(0);
    let state = format!("spool/queue/{id}.state");
    let text =
        std::fs::read_to_string(setup.path(&state)).expect("a state").replace("Not now", "\\u001b]0;x\\u0007\u{202e}");
    setup.write(&state, text.as_bytes());
    for command in [vec!["queue", "list"], vec!["queue", "show", &id]] {
        let said = done(&setup.run(&command));
        assert!(said.contains("\\x1b]0;x\\x07") && !said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
    }
}

#[test]
fn everything_is_held_released_and_removed_without_the_daemon_too() {
    let (relay_host, setup, honest) = not_now();
    assert_eq!(with_waiting(&setup, 3).terminate(), 0);
    assert!(done(&setup.run(&["queue", "hold", "ALL"])).contains("3 message(s) held"));
    assert_eq!(ids(&setup, "held").len(), 3);
    let list = done(&setup.run(&["queue", "list"]));
    assert_eq!(list.matches("451 4.3.0 Not now").count(), 3, "{list}");
    let gone = ids(&setup, "held").remove(0);
    done(&setup.run(&["queue", "remove", "--yes", &gone]));
    assert!(done(&setup.run(&["queue", "release", "ALL"])).contains("2 message(s) released"));
    relay_host.now(honest);
    let daemon = setup.start();
    relay_host.taken(2);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(relay_host.heard().taken.len(), 2);
    assert_eq!(setup.run(&["queue", "hold", &gone]).status.code(), Some(66));
}

#[test]
fn one_message_is_shown_whole_and_its_sealed_octets_are_those_that_are_sent() {
    let (relay_host, setup, honest) = not_now();
    let daemon = with_waiting(&setup, 1);
    let id = ids(&setup, "queue").remove(0);
    let with = done(&setup.run(&["queue", "show", &id]));
    let message = setup.run(&["queue", "show", &id, "--message"]).stdout;
    let json: serde_json::Value =
        serde_json::from_str(&done(&setup.run(&["queue", "show", &id, "--json"]))).expect("JSON");
    assert_eq!((&json["attempts"], &json["header"]["sequence"]), (&1.into(), &1.into()));
    relay_host.now(honest);
    assert_eq!(daemon.terminate(), 0);
    let without = done(&setup.run(&["queue", "show", &id]));
    assert_eq!(setup.run(&["queue", "show", &id, "--message"]).stdout, message);
    let fingerprint = setup.recipients[0].1.fingerprint().to_hex();
    for shown in [with, without] {
        let parts =
            [id.as_str(), "<admin@example.org>", "<ossec@example.org>", &fingerprint, "451 4.3.0 Not now", "waiting"];
        assert!(parts.iter().all(|part| shown.contains(part)), "{shown}");
    }
    let _daemon = setup.start();
    assert_eq!(relay_host.taken(1)[0].message, message);
    assert_eq!(setup.run(&["queue", "show", "0123456789ABCDEF012"]).status.code(), Some(66));
    assert_eq!(setup.run(&["queue", "show", "../lock"]).status.code(), Some(64));
}

#[test]
fn one_message_is_flushed_and_the_others_wait() {
    let (relay_host, setup, honest) = not_now();
    let _daemon = with_waiting(&setup, 2);
    relay_host.now(honest);
    let id = ids(&setup, "queue").remove(1);
    done(&setup.run(&["queue", "flush", &id]));
    let taken = relay_host.taken(1);
    eventually("one less", || (ids(&setup, "queue").len() == 1).then_some(()));
    assert_ne!(ids(&setup, "queue"), [id]);
    let opened = open(&taken[0].message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
    assert!(String::from_utf8_lossy(opened.alert()).contains("alert-1."));
    assert_eq!(setup.run(&["queue", "flush", "0123456789ABCDEF012"]).status.code(), Some(66));
}

#[test]
fn what_expired_is_retried_as_if_it_had_come_today() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("END", "451 4.3.0 Not now"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    // Expired right after the first attempt.
    let text = std::fs::read_to_string(setup.configure()).expect("read");
    let setup = setup.with_configuration(&text.replace("[spool]\n", "[spool]\nlifetime = \"1h\"\n"));
    let daemon = setup.start();
    send_alert(&daemon.address, "old");
    eventually("an attempt", || (daemon.status()["counts"]["deferred"] == 1).then_some(()));
    assert_eq!(daemon.terminate(), 0);
    let age = |directory: &str| age_by_two_hours(&setup.spooled(directory)[0]);
    age("queue");
    let daemon = setup.start();
    daemon.flush();
    eventually("an expired message", || (ids(&setup, "failed").len() == 1).then_some(()));
    // The move is synced before it is said.
    eventually("the log to say so", || setup.log().contains("status=expired").then_some(()));
    let list = done(&setup.run(&["queue", "list"]));
    assert!(list.contains("(failed: end of data: 451 4.3.0 Not now") || list.contains("451 4.3.0 Not now"), "{list}");
    let id = ids(&setup, "failed").remove(0);
    done(&setup.run(&["queue", "retry", &id]));
    let deferred = |daemon: &Daemon<'_>| daemon.status()["counts"]["deferred"].as_u64().expect("a number");
    eventually("another attempt", || (deferred(&daemon) > 0).then_some(()));
    assert_eq!(ids(&setup, "queue"), [id.as_str()], "its lifetime begins again");
    // Over a restart too.
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    daemon.flush();
    eventually("another attempt", || (deferred(&daemon) > 0).then_some(()));
    assert_eq!(ids(&setup, "queue"), [id]);
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    relay_host.taken(1);
}

/// Gives an entry an earlier arrival, and the checksum that belongs to it.
fn age_by_two_hours(path: &std::path::Path) {
    use sha2::{Digest, Sha256};
    let octets = std::fs::read(path).expect("an entry");
    let end = octets.iter().position(|&octet| octet == b'\n').expect("a header line");
    let line = String::from_utf8(octets[..end].to_vec()).expect("text");
    let (magic, json) = (&line[..18], &line[18 + 65..]);
    let mut header: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let arrival = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    header["arrival"] = humantime::format_rfc3339_micros(arrival).to_string().into();
    let json = header.to_string();
    let digest = Sha256::new_with_prefix(&json).chain_update(&octets[end..]).finalize();
    let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    let mut out = std::fs::File::create(path).expect("written");
    out.write_all(format!("{magic}{digest} {json}").as_bytes()).expect("written");
    out.write_all(&octets[end..]).expect("written");
}

#[test]
fn removing_asks_first_and_the_number_is_recorded_as_removed() {
    let (relay_host, setup, honest) = not_now();
    let daemon = with_waiting(&setup, 3);
    let [first, second, _] = ids(&setup, "queue").try_into().expect("three");
    for answer in ["\n", "n\n"] {
        let asked = answered(&setup, &["queue", "remove", &first], answer);
        assert!(asked.contains("for good?") && asked.contains("Nothing was removed."), "{asked}");
        assert_eq!(ids(&setup, "queue").len(), 3);
    }
    // A script must not take for done what nobody agreed to.
    let fingerprint = setup.recipients[0].1.fingerprint().to_hex();
    for unasked in [vec!["queue", "remove", &first], vec!["queue", "purge", "--fingerprint", &fingerprint]] {
        let output = setup.run(&unasked);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("nothing was removed") && said.contains("add --yes"), "{said}");
        assert_eq!(ids(&setup, "queue").len(), 3);
    }
    assert!(answered(&setup, &["queue", "remove", &first], "y\n").contains("1 message(s) removed"));
    let with_two = setup.run(&["queue", "remove", "--yes", &second, &first]);
    assert_eq!(with_two.status.code(), Some(66), "one of them is gone: nothing is done");
    done(&setup.run(&["queue", "remove", "--yes", &second]));
    assert!(setup.log().contains(&format!("{second}: to=<admin@example.org>, message-id=<")));
    assert_eq!(recorded(&setup)["removed"], serde_json::json!([[1, 2]]));
    relay_host.now(honest);
    daemon.flush();
    relay_host.taken(1);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(recorded(&setup)["removed"], serde_json::json!([[1, 2]]), "over a restart");
    assert_eq!(relay_host.heard().taken.len(), 1);
}

fn answered(setup: &Setup, arguments: &[&str], answer: &str) -> String {
    let mut child =
        setup.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary runs");
    child.stdin.take().expect("a pipe").write_all(answer.as_bytes()).expect("answered");
    done(&child.wait_with_output().expect("done"))
}

/// What the record of numbers says of the default recipient.
fn recorded(setup: &Setup) -> serde_json::Value {
    let slots =
        ["state/numbers.0", "state/numbers.1"].map(|name| std::fs::read_to_string(setup.path(name)).expect("one"));
    let newest =
        slots.iter().max_by_key(|slot| slot.split(' ').next().and_then(|n| n.parse::<u64>().ok())).expect("two");
    let json = newest.lines().next().and_then(|line| line.splitn(3, ' ').nth(2)).expect("a record");
    let record: serde_json::Value = serde_json::from_str(json).expect("JSON");
    record["recipients"]["admin@example.org"].clone()
}

#[test]
fn purging_removes_what_is_sealed_to_the_certificate_and_nothing_else() {
    let (_relay_host, setup, _) = not_now();
    let setup = setup.recipient("other@example.org", "default = true");
    let daemon = setup.start();
    (0..2).for_each(|nth| send_alert(&daemon.address, &format!("{nth}")));
    eventually("attempts", || (daemon.status()["counts"]["deferred"] == 4).then_some(()));
    let other = setup.recipients[1].1.fingerprint().to_hex();
    let list = done(&setup.run(&["queue", "list", "--json"]));
    let of_other: Vec<serde_json::Value> = list
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|listed: &serde_json::Value| listed["recipient"] == "other@example.org")
        .collect();
    done(&setup.run(&["queue", "hold", of_other[0]["queue_id"].as_str().expect("an id")]));
    let asked = answered(&setup, &["queue", "purge", "--fingerprint", &other], "no\n");
    assert!(asked.contains("2 message(s)") && asked.contains("Nothing was removed"), "{asked}");
    // In the form gpg prints it.
    let spaced: Vec<&str> = other.as_bytes().chunks(4).map(|four| std::str::from_utf8(four).expect("digits")).collect();
    let purged = done(&setup.run(&["queue", "purge", "--yes", "--fingerprint", &spaced.join(" ")]));
    assert!(purged.contains("2 message(s) removed"), "{purged}");
    let left = done(&setup.run(&["queue", "list", "--json"]));
    assert_eq!(left.lines().count(), 2, "{left}");
    assert!(!left.contains("other@example.org"));
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(setup.run(&["queue", "purge", "--yes", "--fingerprint", "65A1B5FF"]).status.code(), Some(64));
}

#[test]
fn another_account_is_told_what_it_lacks_and_root_leaves_no_file_of_its_own() {
    if !met(rustix::process::geteuid().is_root(), "root") || !met(program_is_reachable(), "a world-readable build") {
        return;
    }
    let (_relay_host, setup, _) = not_now();
    assert_eq!(with_waiting(&setup, 1).terminate(), 0);
    for name in ["spool", "state", "sealrelay.toml", "ca.pem", "sasl_password", "admin@example.org.asc"] {
        let owned = std::process::Command::new("chown").arg("-R").arg("nobody:nogroup").arg(setup.path(name)).status();
        assert!(owned.expect("chown runs").success());
    }
    make_reachable(&setup);
    // Root commands become the owner: what they make is the daemon's.
    done(&setup.run(&["queue", "hold", "ALL"]));
    let mut find = std::process::Command::new("find");
    find.arg(setup.path("spool")).arg(setup.path("state")).args(["!", "-user", "nobody"]);
    let strangers = find.output().expect("find runs");
    assert_eq!(text(&strangers), "");
    // While it does not run, and while it does, another account; then a member of the service's group.
    let by = |group: &str, arguments: &[&str]| {
        let mut other = std::process::Command::new("setpriv");
        other.args(["--reuid=daemon", &format!("--regid={group}"), "--clear-groups"]);
        let run = setup.command(arguments);
        other.arg(run.get_program()).args(run.get_args()).output().expect("setpriv runs")
    };
    let closed = by("daemon", &["queue", "list"]);
    assert!(closed.status.code().is_some_and(|code| code > 0) && text(&closed).is_empty(), "{closed:?}");
    open_to_the_group(&setup);
    let run = setup.command(&["run"]);
    let mut service = std::process::Command::new("setpriv");
    service.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(run.get_program()).args(run.get_args());
    let daemon = setup.start_by(service);
    let list = done(&by("nogroup", &["queue", "list"]));
    assert!(list.contains("admin@example.org"), "{list}");
    assert!(done(&by("nogroup", &["queue", "release", "ALL"])).contains("1 message(s) released"));
    let closed = by("daemon", &["queue", "remove", "--yes", "0123456789ABCDEF012"]);
    assert!(closed.status.code().is_some_and(|code| code > 0), "{closed:?}");
    assert_eq!(daemon.terminate(), 0);
}

/// As README has it: the configuration is the group's to read.
fn open_to_the_group(setup: &Setup) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(setup.path("sealrelay.toml"), mode).expect("opened");
}

fn program_is_reachable() -> bool {
    let tried = std::process::Command::new("setpriv")
        .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
        .arg(program().get_program())
        .arg("--version")
        .output();
    tried.is_ok_and(|output| output.status.success())
}

fn make_reachable(setup: &Setup) {
    use std::os::unix::fs::PermissionsExt;
    // The service makes its socket there.
    std::fs::set_permissions(setup.path(""), std::fs::Permissions::from_mode(0o777)).expect("opened");
}
