//! The quota and the reserve: refused in the banner, told at once, and `failed/` is never the reason.

use std::fs;

use crate::support::client::{Client, alert, assert_refusal, send, send_alert};
use crate::support::daemon::{Daemon, Setup};
use crate::support::disk::SmallDisk;
use crate::support::relay_host::{RelayHost, Script};
use crate::support::{eventually, met};

/// A daemon with these lines in `[spool]`, and a relay host that takes nothing.
fn with_spool(lines: &str) -> (RelayHost, Setup, Script) {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let text = fs::read_to_string(setup.configure()).expect("read");
    let setup = setup.with_configuration(&text.replace("[spool]\n", &format!("[spool]\n{lines}\n")));
    (relay_host, setup, Script::honest(&identity))
}

/// Sends alerts until the banner is a refusal; how many were taken, and that banner.
fn fill(daemon: &Daemon<'_>, at_most: usize) -> (usize, String) {
    for nth in 0..at_most {
        let (mut client, banner) = Client::connect(&daemon.address);
        if !banner.starts_with("220") {
            return (nth, banner);
        }
        client.begin_data("EHLO monitor", &["root"]);
        client.send(format!("{}.\r\n", alert(&nth.to_string())).as_bytes());
        let reply = client.reply();
        assert!(reply.starts_with("250"), "{reply}");
    }
    (at_most, String::new())
}

#[test]
fn when_the_quota_is_reached_clients_hear_421_and_status_and_log_say_so_at_once() {
    let (relay_host, setup, honest) = with_spool("quota = \"1MiB\"");
    let daemon = setup.start();
    // 20 KiB each: 41 are 80 %, 52 are the quota.
    let (taken, banner) = fill(&daemon, 45);
    assert_eq!((taken, banner.as_str()), (45, ""));
    let status = daemon.status();
    assert_eq!((&status["state"], &status["spool"]["room"]), (&"degraded".into(), &"scarce".into()), "{status}");
    assert!(setup.log().contains("warning: the spool has little room left"));
    let (more, banner) = fill(&daemon, 20);
    assert!(banner.starts_with("421 4.3."), "{banner:?} after {more}");
    assert_refusal(&banner);
    assert_eq!(45 + more, 52);
    let status = daemon.status();
    assert_eq!(status["state"], "broken");
    assert!(status["warnings"].to_string().contains("alerts are refused and lost"), "{status}");
    assert_eq!(setup.run(&["status"]).status.code(), Some(69));
    relay_host.now(honest);
    daemon.flush();
    relay_host.taken(52);
    eventually("room again", || (daemon.status()["spool"]["room"] == "enough").then_some(()));
    send_alert(&daemon.address, "there is room again");
    assert_eq!(daemon.terminate(), 0);
    assert!(setup.log().contains("crit: the spool has no room: alerts are not taken (421)"));
}

#[test]
fn what_is_held_counts_and_what_failed_does_not() {
    let (_relay_host, setup, _) = with_spool("quota = \"1MiB\"");
    let daemon = setup.start();
    fill(&daemon, 30);
    assert!(setup.run(&["queue", "hold", "ALL"]).status.success());
    let (more, _) = fill(&daemon, 60);
    assert_eq!(more, 22, "what is held counts");
    // As if they had been refused for good.
    for path in setup.spooled("held") {
        fs::rename(&path, setup.path("spool/failed").join(path.file_name().expect("a name"))).expect("moved");
    }
    eventually("room again", || (daemon.status()["spool"]["room"] == "enough").then_some(()));
    let (more, _) = fill(&daemon, 20);
    assert_eq!(more, 20, "what failed does not");
    assert_eq!(daemon.status()["spool"]["failed"], 30);
}

#[test]
fn the_reserve_is_kept_and_failed_messages_that_fill_the_disk_are_no_reason_to_refuse() {
    let (_relay_host, setup, _) = with_spool("quota = \"100%\"\nreserve = \"50%\"");
    let disk = SmallDisk::mount(setup.path("disk"), "2m");
    if !met(disk.is_some(), "to mount a small disk, as root") {
        return;
    }
    let text = fs::read_to_string(setup.configure()).expect("read");
    let setup = setup.with_configuration(&text.replace("\"spool\"", "\"disk/spool\""));
    let daemon = setup.start();
    // Somebody else fills more than half of the disk.
    fs::write(setup.path("disk/filler"), vec![0; 1_200_000]).expect("written");
    eventually("no room", || (daemon.status()["spool"]["room"] == "none").then_some(()));
    assert!(fill(&daemon, 1).1.starts_with("421"));
    assert_eq!(daemon.status()["state"], "broken");
    // The same octets as messages that failed.
    fs::rename(setup.path("disk/filler"), setup.path("disk/spool/failed/0123456789ABCDEF017")).expect("moved");
    eventually("room again", || (daemon.status()["spool"]["room"] != "none").then_some(()));
    let status = daemon.status();
    assert!(status["warnings"].to_string().contains("failed/ takes 2 MiB and fills the disk"), "{status}");
    let mut count = 0;
    let last = loop {
        let reply = send(&daemon.address, &["root"], &alert("more"));
        if !reply.starts_with("250") {
            break reply;
        }
        count += 1;
        assert!(count < 100, "more than fits");
    };
    // The disk itself refuses.
    assert!(last.starts_with("451") && count > 20, "{count} fitted, then {last}");
    assert_eq!(setup.run(&["status"]).status.code(), Some(75));
}
