//! What systemd hears: ready, reloading, stopping, a line, and a watchdog that is fed only while the disk answers.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::client::{alert, send_alert, try_send};
use crate::support::daemon::Setup;
use crate::support::disk::SmallDisk;
use crate::support::relay_host::RelayHost;
use crate::support::{eventually, have, met};

/// systemd's end.
pub struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    pub fn bind(setup: &Setup) -> Self {
        let socket = UnixDatagram::bind(setup.path("notify")).expect("bound");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a limit");
        Self { socket }
    }

    pub fn environment(setup: &Setup, command: &mut Command) {
        command.env("NOTIFY_SOCKET", setup.path("notify")).env("WATCHDOG_USEC", "2000000").env_remove("WATCHDOG_PID");
    }

    /// Fills its own queue, as a systemd does that reads nothing; whoever sends more must wait or lose it.
    fn is_stuck(&self, setup: &Setup) {
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.connect(setup.path("notify")).and_then(|()| sender.set_nonblocking(true)).expect("connected");
        let sent = (0..100_000).take_while(|_| sender.send(b"X_NOTHING=1").is_ok()).count();
        assert!((1..100_000).contains(&sent), "{sent} fit");
    }

    fn next(&self) -> Option<String> {
        let mut octets = [0; 4096];
        let count = self.socket.recv(&mut octets).ok()?;
        Some(String::from_utf8_lossy(&octets[..count]).into_owned())
    }

    /// The next one that is not such.
    fn next_but(&self, what: &str) -> Option<String> {
        let until = Instant::now() + SOON;
        while Instant::now() < until {
            if let Some(message) = self.next().filter(|message| !message.contains(what)) {
                return Some(message);
            }
        }
        None
    }

    /// Whether such a message comes within this time.
    pub fn hears(&self, what: &str, within: Duration) -> Option<String> {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if let Some(message) = self.next().filter(|message| message.contains(what)) {
                return Some(message);
            }
        }
        None
    }
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn systemd_hears_of_start_reload_and_end_and_the_watchdog_is_fed_with_a_line() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let manager = Manager::bind(&setup);
    let daemon = setup.start_with(|command| Manager::environment(&setup, command));
    assert!(manager.hears("READY=1", SOON).is_some());
    send_alert(&daemon.address, "an alert");
    relay_host.taken(1);
    let fed = manager.hears("1 accepted, 1 sent, 0 queued", SOON).expect("a line");
    assert!(fed.contains("WATCHDOG=1") && fed.contains("STATUS=well; "), "{fed}");
    assert_eq!(daemon.reload().1, 0);
    assert!(manager.hears("RELOADING=1\nMONOTONIC_USEC=", SOON).is_some());
    assert!(manager.hears("READY=1", SOON).is_some());
    // One that is not taken is over, too: systemd must not wait for its end.
    let good = std::fs::read_to_string(setup.path("sealrelay.toml")).expect("a configuration");
    setup.write("sealrelay.toml", good.replace("\"ca.pem\"", "\"gone.pem\"").as_bytes());
    assert_eq!(daemon.reload().1, 78);
    assert!(manager.hears("RELOADING=1\nMONOTONIC_USEC=", SOON).is_some());
    assert!(manager.hears("READY=1", SOON).is_some());
    assert_eq!(daemon.terminate(), 0);
    assert!(manager.hears("STOPPING=1", SOON).is_some());
}

#[test]
fn a_systemd_that_reads_nothing_holds_up_no_reload_and_no_mail_and_hears_it_all_when_it_reads_again() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let manager = Manager::bind(&setup);
    let daemon = setup.start_with(|command| Manager::environment(&setup, command));
    assert!(manager.hears("WATCHDOG=1", SOON).is_some());
    manager.is_stuck(&setup);
    for _ in 0..2 {
        assert_eq!(daemon.reload().1, 0);
    }
    send_alert(&daemon.address, "while systemd reads nothing");
    relay_host.taken(1);
    // Nothing is told twice: of two reloads it hears of the last one.
    assert!(manager.hears("RELOADING=1\nMONOTONIC_USEC=", SOON).is_some());
    assert_eq!(manager.next_but("X_NOTHING").as_deref(), Some("READY=1\n"));
    let fed = manager.next_but("X_NOTHING").expect("a sign of life");
    assert!(fed.contains("WATCHDOG=1") && fed.contains("STATUS=well; "), "{fed}");
    manager.is_stuck(&setup);
    assert_eq!(daemon.terminate(), 0, "nor does it hold up the end");
}

#[test]
fn a_full_disk_never_causes_a_restart() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let disk = SmallDisk::mount(setup.path("disk"), "4m");
    if !met(disk.is_some(), "to mount a small disk, as root") {
        return;
    }
    let manager = Manager::bind(&setup);
    let text = std::fs::read_to_string(setup.configure()).expect("read");
    // Spool and state on the same disk, and no reserve: it is full to the last block.
    let text = text.replace("\"state\"", "\"disk/state\"").replace("\"spool\"", "\"disk/spool\"\nreserve = \"0\"");
    let setup = setup.with_configuration(&text);
    let daemon = setup.start_with(|command| Manager::environment(&setup, command));
    let pid = daemon.status()["pid"].clone();
    let mut filler = std::fs::File::create(setup.path("disk/filler")).expect("made");
    while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    let taken = |text: &str| try_send(&daemon.address, &alert(text)).is_some_and(|reply| reply.starts_with("250"));
    assert!(!taken("no room"));
    // systemd asks for a sign of life every two seconds: it gets several, each with the truth.
    for _ in 0..4 {
        let fed = manager.hears("the spool's disk says: ", SOON).expect("a sign of life");
        assert!(fed.contains("WATCHDOG=1\nSTATUS="), "{fed}");
    }
    // What is open is on the disk still.
    drop(filler);
    std::fs::remove_file(setup.path("disk/filler")).expect("removed");
    eventually("room again", || taken("room again").then_some(()));
    relay_host.taken(1);
    assert_eq!(daemon.status()["pid"], pid);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_disk_that_says_full_feeds_the_watchdog_and_one_that_says_nothing_does_not() {
    if !have("strace") {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    for (fault, is_fed) in [("error=ENOSPC", true), ("error=EIO", true), ("delay_enter=12s", false)] {
        let setup = Setup::new(relay_host.port, &authority.pem);
        let manager = Manager::bind(&setup);
        // Only the small file that asks the disk is hit.
        let probe = setup.path("spool/probe");
        let path = probe.to_str().expect("a name").to_owned();
        let inject = format!("inject=openat,unlink,unlinkat:{fault}");
        let trace =
            ["-D", "-f", "-qq", "-o", "/dev/null", "-P", &path, "-e", "trace=openat,unlink,unlinkat", "-e", &inject];
        let daemon = setup.start_under("strace", &trace, |command| Manager::environment(&setup, command));
        assert!(manager.hears("READY=1", SOON).is_some());
        let fed = (0..3).filter(|_| manager.hears("WATCHDOG=1", Duration::from_secs(3)).is_some()).count();
        assert_eq!(fed, if is_fed { 3 } else { 0 }, "{fault}");
        drop(daemon);
    }
}
