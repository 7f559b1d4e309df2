//! The commands that look and ask: config, queue, status, demo.

use crate::support::client::send_alert;
use crate::support::daemon::{Setup, program};
use crate::support::disk::SmallDisk;
use crate::support::relay_host::{Act, PASSWORD, RelayHost, Script};
use crate::support::{eventually, met};

#[test]
fn the_queue_is_listed_with_and_without_the_daemon() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("END", "451 4.3.0 Not now"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    setup.configure();
    assert_eq!(String::from_utf8_lossy(&setup.run(&["queue", "list"]).stdout), "Mail queue is empty\n");
    assert!(!setup.path("spool").exists(), "looking made a spool");
    let daemon = setup.start();
    send_alert(&daemon.address, "listed");
    eventually("a deferred message", || (daemon.status()["counts"]["deferred"] == 1).then_some(()));
    let id = setup.spooled("queue")[0].file_name().expect("a name").to_string_lossy().into_owned();
    let with = String::from_utf8_lossy(&setup.run(&["queue", "list"]).stdout).into_owned();
    let json = String::from_utf8_lossy(&setup.run(&["queue", "list", "--json"]).stdout).into_owned();
    assert_eq!(daemon.terminate(), 0);
    let without = String::from_utf8_lossy(&setup.run(&["queue", "list"]).stdout).into_owned();
    for text in [&with, &without] {
        for part in
            [id.as_str(), "admin@example.org", "ossec@example.org", "451 4.3.0 Not now", "-- 16 Kbytes in 1 Request."]
        {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
    }
    let line: serde_json::Value = serde_json::from_str(json.trim()).expect("one object a line");
    assert_eq!((&line["queue_id"], &line["recipient"]), (&id.as_str().into(), &"admin@example.org".into()));
    let flush = setup.run(&["queue", "flush"]);
    assert_eq!(flush.status.code(), Some(0), "{flush:?}");
    assert_eq!(String::from_utf8_lossy(&flush.stdout), "1 message(s) will be tried when the daemon starts\n");
    // At once, and not when its half minute is over.
    let began = std::time::Instant::now();
    let before = relay_host.heard().offered;
    let daemon = setup.start();
    eventually("another attempt", || (relay_host.heard().offered > before).then_some(()));
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "{:?}", began.elapsed());
    drop(daemon);
}

#[test]
fn two_daemons_never_share_a_spool() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let _daemon = setup.start();
    // It waits a moment for a queue command to let go, and then gives up.
    let second = setup.run(&["run"]);
    assert_eq!(second.status.code(), Some(75), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use by another process"));
}

#[test]
fn a_port_in_use_is_exit_code_69_with_what_to_do() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let configuration = setup.configure();
    let text =
        std::fs::read_to_string(&configuration).expect("read").replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    std::fs::write(&configuration, text).expect("written");
    let output = setup.run(&["run"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let [what, hint] = said.lines().filter(|line| !line.contains("info:")).collect::<Vec<_>>()[..] else {
        panic!("{said}")
    };
    assert!(what.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{what}");
    assert!(hint.contains("Another program listens there"), "{hint}");
}

#[test]
fn sigterm_finishes_what_is_under_way_and_loses_nothing() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).at("END", Act::Late(std::time::Duration::from_millis(800))));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    (0..5).for_each(|nth| send_alert(&daemon.address, &format!("{nth}")));
    assert_eq!(daemon.terminate(), 0);
    let (sent, waiting) = (relay_host.heard().taken.len(), setup.spooled("queue").len());
    assert_eq!(sent + waiting, 5, "{sent} sent, {waiting} waiting");
    assert!(!setup.path("control.sock").exists());
    let _daemon = setup.start();
    relay_host.taken(5);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    assert_eq!(relay_host.heard().taken.len(), 5);
}

#[test]
fn the_demo_shows_the_whole_way() {
    let began = std::time::Instant::now();
    let output = program().args(["demo", "--keep"]).output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "> Helo notify.ossec.net",
        "None of [\"192.168.1.37\", \"User login failed\", \"pam_unix\"] is in it.",
        "< AUTH PLAIN <redacted>",
        "Subject: [...]",
        "(16384 octets in all)",
        "Good signature by ",
        "| Rule: 5503 fired (level 5) -> \"PAM: User login failed.\"",
        "sealrelay check --login",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let folder = text.lines().find_map(|line| line.trim().strip_prefix("The folder is kept: ")).expect("a folder");
    let configuration = std::path::Path::new(folder).join("sealrelay.toml");
    let checked = program().arg("--config").arg(&configuration).args(["config", "check"]).output().expect("runs");
    assert!(checked.status.success(), "{checked:?}");
    std::fs::remove_dir_all(folder).expect("removed");
    eprintln!("the demo took {:?}", began.elapsed());
}

#[test]
fn a_wrong_command_line_is_exit_code_64() {
    assert_eq!(program().arg("bogus").output().expect("runs").status.code(), Some(64));
    assert_eq!(program().arg("--help").output().expect("runs").status.code(), Some(0));
}

#[test]
fn an_entry_whose_next_attempt_lies_a_year_ahead_is_tried_at_once() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "the clock was wrong");
    assert_eq!(daemon.terminate(), 0);
    relay_host.now(Script::honest(&identity));
    let entry = setup.spooled("queue").remove(0);
    let state = entry.with_extension("state");
    // As far ahead as a clock can be wrong.
    std::fs::write(&state, format!("{{\"count\":1,\"next\":{},\"last_reply\":\"x\"}}", u64::MAX / 4)).expect("written");
    let _daemon = setup.start();
    relay_host.taken(1);
}

#[test]
fn a_damaged_entry_is_set_aside_and_its_number_is_not_given_again() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "damaged");
    assert_eq!(daemon.terminate(), 0);
    let entry = setup.spooled("queue").remove(0);
    let mut octets = std::fs::read(&entry).expect("read");
    let last = octets.len() - 100;
    octets[last] ^= 1;
    std::fs::write(&entry, octets).expect("written");
    relay_host.now(Script::honest(&identity));
    let daemon = setup.start();
    eventually("a damaged entry", || (setup.spooled("damaged").len() == 1).then_some(()));
    assert_eq!(daemon.status()["spool"]["damaged"], 1);
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start();
    send_alert(&daemon.address, "well");
    let taken = relay_host.taken(1);
    let opened =
        crate::support::reader::open(&taken[0].message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
    assert_eq!(opened.manifest["sequence"], 2);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn sigterm_does_not_wait_for_a_relay_host_that_keeps_silent() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).at("greeting", Act::Silence(std::time::Duration::from_secs(40))));
    let setup = Setup::new(relay_host.port, &authority.pem).relay("timeout = \"1m\"");
    let daemon = setup.start();
    send_alert(&daemon.address, "waits");
    eventually("a connection", || (relay_host.heard().connections > 0).then_some(()));
    let began = std::time::Instant::now();
    assert_eq!(daemon.terminate(), 0);
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_full_disk_refuses_with_451_loses_nothing_and_empties_again() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let disk = SmallDisk::mount(setup.path("disk"), "600k");
    if !met(disk.is_some(), "to mount a small disk, as root") {
        return;
    }
    let text = std::fs::read_to_string(setup.configure()).expect("read");
    // Neither quota nor reserve: the disk itself is to refuse.
    let text = text.replace("\"spool\"", "\"disk/spool\"\nquota = \"100%\"\nreserve = \"0\"");
    let text = text.replace("\"state\"", "\"disk/state\"");
    let setup = setup.with_configuration(&text);
    let daemon = setup.start();
    let mut taken = 0;
    let refused = (0..100).find_map(|nth| {
        let reply =
            crate::support::client::send(&daemon.address, &["root"], &crate::support::client::alert(&nth.to_string()));
        taken += usize::from(reply.starts_with("250"));
        reply.starts_with("451").then_some(reply)
    });
    assert!(refused.is_some() && taken > 10, "{taken} alerts fitted");
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    relay_host.taken(taken);
    let queue = setup.path("disk/spool/queue");
    eventually("an empty spool", || {
        let left = std::fs::read_dir(&queue).ok()?.flatten().filter(|file| file.path().extension().is_none()).count();
        (left == 0).then_some(())
    });
    assert_eq!(relay_host.heard().taken.len(), taken, "something was sent twice");
    send_alert(&daemon.address, "there is room again");
    relay_host.taken(taken + 1);
}

#[test]
fn commands_that_need_no_secret_do_without_the_files_that_hold_them() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("END", "451 4.3.0 Not now"));
    let lines = "proxy_username = \"x\"\nproxy_password_file = \"away\"\n";
    let setup = Setup::new(relay_host.port, &authority.pem)
        .another_relay(1, &format!("proxy = \"socks5://127.0.0.1:9\"\n{lines}"))
        .another_relay(2, "client_certificate = \"away.pem\"\nclient_key = \"away\"")
        .logging("[alarm]\nping_url_file = \"away\"\nwebhook_url_file = \"away\"\n");
    // The service itself finds them all, as systemd's credentials: nobody else does.
    let credentials = tempfile::tempdir().expect("a folder");
    let put = |name: &str, content: &[u8]| {
        let path = credentials.path().join(name);
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).expect("private");
    };
    put("sasl_password", PASSWORD.as_bytes());
    put("away", b"https://localhost:1/x");
    let whole = std::fs::read_to_string(setup.configure()).expect("read");
    let without_identity = whole.replace("client_certificate = \"away.pem\"\nclient_key = \"away\"\n", "");
    let setup = setup.with_configuration(&without_identity);
    std::fs::remove_file(setup.path("sasl_password")).expect("removed");
    let daemon = setup.start_with(|command| {
        command.env("CREDENTIALS_DIRECTORY", credentials.path());
    });
    send_alert(&daemon.address, "an alert");
    eventually("a deferred message", || (daemon.status()["counts"]["deferred"] == 1).then_some(()));
    assert_eq!(setup.run(&["heartbeat"]).status.code(), Some(0));
    let mail = setup.write("mail", b"Subject: x\r\n\r\ntext\r\n");
    let commands: [&[&str]; 6] = [
        &["queue", "list"],
        &["keys", "list"],
        &["keys", "signer"],
        &["log"],
        &["route", "test", mail.to_str().expect("a name")],
        &["queue", "hold", "ALL"],
    ];
    let tried = || {
        for command in commands {
            let output = setup.run(command);
            assert_eq!(output.status.code(), Some(0), "{command:?}: {output:?}");
        }
    };
    tried();
    assert_eq!(daemon.terminate(), 0);
    // And where nothing but the file itself can be read.
    setup.write("sealrelay.toml", whole.as_bytes());
    tried();
    let status = setup.run(&["status"]);
    let screen = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(screen.contains(" 2 held") && screen.contains("from this account it could not start: "), "{screen}");
    assert_eq!(setup.run(&["config", "check"]).status.code(), Some(78), "it tells of what is not there");
}
