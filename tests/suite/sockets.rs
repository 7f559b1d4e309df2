//! Sockets handed over as systemd does, and who owns the other end of a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::client::{Client, alert, send, send_alert};
use crate::support::daemon::Setup;
use crate::support::relay_host::RelayHost;
use crate::support::{eventually, have, met, root};

/// The daemon under a stand-in for systemd that keeps its socket.
struct Activated {
    keeper: Child,
    address: String,
    /// Kept open: its end would end the keeper.
    _output: BufReader<std::process::ChildStdout>,
}

impl Activated {
    fn start(setup: &Setup) -> Self {
        let configuration = setup.configure();
        let log = std::fs::File::options().create(true).append(true).open(setup.path("log")).expect("a log");
        let mut command = Command::new("python3");
        std::env::vars().filter(|(name, _)| name.starts_with("SEALRELAY_")).for_each(|(name, _)| {
            command.env_remove(name);
        });
        let mut keeper = command
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/activate.py"))
            .arg(setup.path("handed.sock"))
            .args([
                env!("CARGO_BIN_EXE_sealrelay").as_ref(),
                "--config".as_ref(),
                configuration.as_os_str(),
                "run".as_ref(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("python3 runs");
        let mut port = String::new();
        let mut output = BufReader::new(keeper.stdout.take().expect("piped"));
        output.read_line(&mut port).expect("a port");
        Self { keeper, address: format!("127.0.0.1:{}", port.trim()), _output: output }
    }

    fn restart(&mut self) {
        self.keeper.stdin.as_mut().expect("piped").write_all(b"restart\n").expect("said");
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

#[test]
fn restarts_in_the_middle_of_a_stream_of_clients_refuse_nobody_and_lose_nothing() {
    if !have("python3") {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let mut daemon = Activated::start(&setup);
    let address = daemon.address.clone();
    let senders: Vec<_> = (0..3)
        .map(|sender| {
            let address = address.clone();
            std::thread::spawn(move || {
                for nth in 0..15 {
                    // Demands the 220 and the 250: a refusal, a reset or a 421 is a failing test.
                    let reply = send(&address, &["root"], &alert(&format!("alert-{sender}-{nth}.")));
                    assert!(reply.starts_with("250"), "{reply}");
                    std::thread::sleep(Duration::from_millis(40));
                }
            })
        })
        .collect();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        daemon.restart();
    }
    senders.into_iter().for_each(|sender| sender.join().expect("nobody was refused"));
    assert_eq!(relay_host.taken(45).len(), 45);
    // Names and kinds: the TCP socket is for mail, the Unix socket for the sendmail command, and it stays.
    let log = setup.log();
    assert!(log.contains("taking over the socket smtp, which listens on 127.0.0.1:"), "{log}");
    assert!(log.contains("taking over the socket sendmail, which listens on "), "{log}");
    let mut local = std::os::unix::net::UnixStream::connect(setup.path("handed.sock")).expect("still there");
    let mut banner = [0; 3];
    local.read_exact(&mut banner).expect("a banner");
    assert_eq!(&banner, b"220");
}

#[test]
fn a_daemon_that_cannot_start_tells_who_waits_at_its_sockets() {
    if !have("python3") {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).relay("ca_file = \"nothing.pem\"");
    let daemon = Activated::start(&setup);
    // Connected before or after the daemon has ended, each restart finds whoever waits.
    let mut stream = TcpStream::connect(&daemon.address).expect("the socket is there");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a limit");
    let mut daemon = daemon;
    let banner = eventually("a banner", || {
        let mut octets = [0; 100];
        match stream.read(&mut octets) {
            Ok(count) if count > 0 => Some(String::from_utf8_lossy(&octets[..count]).into_owned()),
            _ => {
                daemon.restart();
                None
            }
        }
    });
    assert!(banner.starts_with("421 "), "{banner}");
    crate::support::client::assert_refusal(&banner);
}

#[test]
fn without_ipv6_the_daemon_serves_ipv4_and_says_so() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let configuration = setup.configure();
    // An IPv6 address that no machine has stands for a machine without IPv6.
    let text = std::fs::read_to_string(&configuration).expect("read");
    let text =
        text.replace("[\"127.0.0.1:0\"]", "[\"127.0.0.1:0\", \"[2001:db8::1]:0\"]\nnetworks = [\"127.0.0.0/8\"]");
    let setup = setup.with_configuration(&text);
    let daemon = setup.start();
    send_alert(&daemon.address, "ipv4");
    relay_host.taken(1);
    assert!(setup.log().contains("not listening on [2001:db8::1]:0"), "{}", setup.log());
}

#[test]
fn networks_open_the_listener_to_the_named_machines_only() {
    let (relay_host, authority, _) = RelayHost::honest();
    let own = own_address();
    if !met(!own.is_loopback(), "an address of this machine that is not loopback") {
        return;
    }
    for (network, banner) in [(format!("{own}/32"), "220 "), ("203.0.113.0/24".to_owned(), "554 ")] {
        let setup = Setup::new(relay_host.port, &authority.pem).listen(&format!("networks = [\"{network}\"]"));
        let text =
            std::fs::read_to_string(setup.configure()).expect("read").replace("127.0.0.1:0", &format!("{own}:0"));
        let setup = setup.with_configuration(&text);
        let daemon = setup.start();
        // It connects from that address to that address.
        let (_, said) = Client::connect(&daemon.address);
        assert!(said.starts_with(banner), "{network}: {said}");
    }
}

/// An address of this machine that is not loopback.
fn own_address() -> std::net::IpAddr {
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent: connecting a datagram socket only chooses a route.
    let routed = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    routed.map_or(std::net::IpAddr::from([127, 0, 0, 1]), |address| address.ip())
}

/// What a client of `uid` is told, by a real process of that user.
fn banner_for(uid: &str, address: &str) -> String {
    let (host, port) = address.rsplit_once(':').expect("address:port");
    let script = format!("exec 3<>/dev/tcp/{}/{port}; head -n 1 <&3", host.trim_matches(['[', ']']));
    let output = Command::new("setpriv")
        .args(["--reuid", uid, "--regid", uid, "--clear-groups", "bash", "-c", &script])
        .output()
        .expect("setpriv runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn allow_users_takes_connections_of_the_named_users_only_in_both_families() {
    if !have("setpriv") || !root() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let setup = Setup::new(relay_host.port, &authority.pem).listen("allow_users = [\"daemon\"]");
        let text = std::fs::read_to_string(setup.configure()).expect("read").replace("127.0.0.1:0", listen);
        let setup = setup.with_configuration(&text);
        let daemon = setup.start();
        // Debian's users daemon and bin.
        assert!(banner_for("1", &daemon.address).starts_with("220 "), "{listen}");
        let refusal = banner_for("2", &daemon.address);
        assert!(refusal.starts_with("554 "), "{listen}: {refusal}");
        crate::support::client::assert_refusal(&refusal);
        assert!(banner_for("0", &daemon.address).starts_with("554 "), "{listen}: root is not on the list");
    }
}

#[test]
fn a_client_that_is_gone_before_it_is_accepted_is_nobody_even_where_root_may_connect() {
    if !root() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).listen("allow_users = [\"root\"]");
    let daemon = setup.start();
    send_alert(&daemon.address, "root may");
    let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.id()).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stopped");
    // Signalled is not stopped yet.
    eventually("a stopped daemon", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.id())).ok()?;
        stat.contains(") T ").then_some(())
    });
    {
        let mut gone = TcpStream::connect(&daemon.address).expect("the kernel takes it");
        gone.write_all(b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<root>\r\nDATA\r\nforged\r\n.\r\n").expect("sent");
    }
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("continued");
    eventually("a refused client", || (daemon.status()["counts"]["not_taken"] == 1).then_some(()));
    assert_eq!(daemon.status()["counts"]["accepted"], 1);
}
