//! Clients that mean no good, many at once: honest ones are served meanwhile, none is refused, and memory stays within
//! its bound.
//!
//! A short form runs with the suite. The whole of it, a thousand connections and a gigabyte:
//! `cargo test --release --test suite -- --ignored --nocapture overload`.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::intake::with_daemon;
use crate::support::client::{Client, alert};
use crate::support::daemon::{Daemon, Setup};
use crate::support::relay_host::RelayHost;

/// What the daemon may need beside mails: code, runtime, certificates, sockets' buffers.
const BASE_MIB: u64 = 64;
/// `listen.memory` unless set.
const MAILS_MIB: u64 = 128;

/// How a hostile client behaves behind its connection.
#[derive(Clone, Copy, Debug)]
enum Hostile {
    /// Says nothing.
    Silent,
    /// An octet of a command each second.
    Trickles,
    /// The same behind DATA.
    TricklesText,
    /// Sends commands without end and reads no reply.
    StopsReading,
    /// Sends text without a line end.
    NoLineEnd,
    /// Closes in the middle of DATA.
    Closes,
}

impl Hostile {
    /// One connection's life; ends when the server ends it, or when `over`.
    fn live(self, address: &str, over: &AtomicBool) {
        let Ok(mut stream) = TcpStream::connect(address) else { return };
        let _ = stream.set_write_timeout(Some(Duration::from_millis(500)));
        let opening: &[u8] = match self {
            Self::TricklesText | Self::NoLineEnd | Self::Closes => {
                b"HELO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: x\r\n\r\nhalf an alert"
            }
            _ => b"",
        };
        let _ = stream.write_all(opening);
        let (piece, pause) = match self {
            Self::Silent => (Vec::new(), Duration::from_millis(200)),
            Self::Trickles | Self::TricklesText => (b"x".to_vec(), Duration::from_secs(1)),
            Self::StopsReading => (b"NOOP\r\n".repeat(2_000), Duration::ZERO),
            Self::NoLineEnd => (vec![b'x'; 64 * 1024], Duration::ZERO),
            Self::Closes => return,
        };
        while !over.load(Ordering::Relaxed) && !is_closed(&stream) {
            if let Err(error) = stream.write_all(&piece)
                && error.kind() != std::io::ErrorKind::WouldBlock
            {
                return;
            }
            sleep(pause);
        }
    }
}

/// Whether the server has closed its side, or said that it will. Only looks, so that who reads nothing reads nothing.
fn is_closed(stream: &TcpStream) -> bool {
    use rustix::net::{RecvFlags, recv};
    let mut octets = [0_u8; 64];
    match recv(stream, &mut octets, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((count, _)) => count == 0 || octets[..count].windows(4).any(|four| four == b"421 "),
        Err(_) => false,
    }
}

/// Waiting times of honest clients, from connect to 250.
struct Waits(Vec<Duration>);

impl Waits {
    fn of(honest: usize, address: &str) -> Self {
        let next = AtomicUsize::new(0);
        let waits = thread::scope(|scope| {
            let clients: Vec<_> = (0..honest.min(8))
                .map(|_| {
                    scope.spawn(|| {
                        let mut waits = Vec::new();
                        while next.fetch_add(1, Ordering::Relaxed) < honest {
                            waits.push(one_alert(address));
                        }
                        waits
                    })
                })
                .collect();
            clients.into_iter().flat_map(|client| client.join().expect("an honest client is served")).collect()
        });
        Self(waits)
    }

    fn report(mut self, what: &str, daemon: &Daemon<'_>) {
        self.0.sort();
        let at = |share: usize| self.0[(self.0.len() - 1) * share / 100].as_millis();
        println!(
            "{what}: {} honest alerts served, none refused; waited {} ms at best, {} ms median, {} ms at worst; memory {} MiB",
            self.0.len(),
            at(0),
            at(50),
            at(100),
            peak_mib(daemon)
        );
    }
}

/// An OSSEC-like client; the time from its connect to its 250.
fn one_alert(address: &str) -> Duration {
    let began = Instant::now();
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("nodelay");
    // OSSEC waits for ever; a test does not.
    stream.set_read_timeout(Some(Duration::from_secs(300))).expect("a limit");
    let mut client = Client { stream };
    assert!(client.reply().starts_with("220"), "an honest client was refused");
    client.begin_data("HELO notify.ossec.net", &["root@localhost"]);
    client.send(format!("{}.\r\n", alert("honest")).as_bytes());
    let reply = client.reply();
    assert!(reply.starts_with("250"), "an honest alert was refused: {reply:?}");
    let took = began.elapsed();
    client.say("QUIT");
    took
}

/// The most memory the daemon ever had.
fn peak_mib(daemon: &Daemon<'_>) -> u64 {
    field(daemon, "status", "VmHWM:") / 1024
}

fn field(daemon: &Daemon<'_>, file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/{file}", daemon.id())).expect("a process");
    let line = text.lines().find(|line| line.starts_with(name)).expect("a field");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// Seconds of CPU the daemon has used.
fn cpu_seconds(daemon: &Daemon<'_>) -> f64 {
    let text = fs::read_to_string(format!("/proc/{}/stat", daemon.id())).expect("a process");
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // utime and stime, in hundredths.
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("ticks")).sum();
    ticks / 100.0
}

/// `count` hostile connections at any time, while `honest` alerts are handed in.
fn trial(hostile: Hostile, count: usize, honest: usize, sessions: usize) {
    with_daemon(&format!("sessions = {sessions}"), |daemon, _| {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..count {
                let live = || {
                    while !over.load(Ordering::Relaxed) {
                        hostile.live(&daemon.address, &over);
                        sleep(Duration::from_millis(50));
                    }
                };
                thread::Builder::new().stack_size(64 * 1024).spawn_scoped(scope, live).expect("a thread");
            }
            sleep(Duration::from_secs(1));
            let waits = thread::scope(|inner| inner.spawn(|| Waits::of(honest, &daemon.address)).join());
            over.store(true, Ordering::Relaxed);
            waits.expect("every honest client is served").report(&format!("{count} x {hostile:?}"), daemon);
        });
        assert!(peak_mib(daemon) < BASE_MIB + MAILS_MIB, "{} MiB", peak_mib(daemon));
        // Nothing of the hostile ones was taken for a mail.
        assert_eq!(daemon.status()["counts"]["accepted"], honest);
    });
}

#[test]
fn honest_clients_are_served_while_silent_ones_hold_every_place() {
    trial(Hostile::Silent, 24, 4, 8);
}

#[test]
fn honest_clients_are_served_while_others_say_just_enough_not_to_be_silent() {
    trial(Hostile::Trickles, 12, 2, 8);
}

#[test]
fn honest_clients_are_served_while_others_read_no_reply() {
    trial(Hostile::StopsReading, 10, 2, 8);
}

#[test]
fn honest_clients_are_served_while_others_send_no_line_end() {
    trial(Hostile::NoLineEnd, 6, 4, 8);
}

#[test]
fn whoever_closes_in_the_middle_of_data_delivers_nothing() {
    trial(Hostile::Closes, 8, 8, 8);
}

/// Sets the daemon's limit on open files.
fn limit_files(daemon: &Daemon<'_>, limit: u64) {
    let pid = rustix::process::Pid::from_raw(daemon.id().cast_signed());
    let limits = rustix::process::Rlimit { current: Some(limit), maximum: Some(limit.max(1024)) };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limits).expect("limited");
}

#[test]
fn without_file_descriptors_the_listener_neither_spins_nor_stops() {
    with_daemon("", |daemon, _| {
        let open = fs::read_dir(format!("/proc/{}/fd", daemon.id())).expect("a process").count() as u64;
        limit_files(daemon, open);
        let waiting: Vec<TcpStream> =
            (0..5).map(|_| TcpStream::connect(&daemon.address).expect("in the backlog")).collect();
        let before = cpu_seconds(daemon);
        sleep(Duration::from_secs(3));
        let used = cpu_seconds(daemon) - before;
        println!("3 s without a file descriptor: {used:.2} s of CPU");
        assert!(used < 0.6, "{used} s of CPU in 3 s: it spins");
        limit_files(daemon, 1024);
        drop(waiting);
        println!("served {} ms later", one_alert(&daemon.address).as_millis());
    });
}

#[test]
fn silent_sessions_with_large_mails_do_not_keep_the_memory_from_honest_ones() {
    with_daemon("", |daemon, _| {
        let half = "half an alert, and then nothing\r\n".repeat(40_000);
        let silent: Vec<Client> = (0..8)
            .map(|_| {
                let (mut client, _) = Client::connect(&daemon.address);
                client.begin_data("HELO silent", &["root@localhost"]);
                // Most of it stays in the socket of one that waits for memory itself.
                client.stream.set_nonblocking(true).expect("nonblocking");
                let _ = client.stream.write(half.as_bytes());
                client
            })
            .collect();
        sleep(Duration::from_millis(500));
        let began = Instant::now();
        let (mut client, _) = Client::connect(&daemon.address);
        client.begin_data("HELO honest", &["root@localhost"]);
        client.send(format!("{}{}.\r\n", alert("large"), "a line of the log\r\n".repeat(10_000)).as_bytes());
        assert!(client.reply().starts_with("250"));
        println!("8 silent large mails: an honest one waited {} ms", began.elapsed().as_millis());
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        drop(silent);
    });
}

#[test]
fn few_open_files_make_clients_wait_and_lose_no_alert() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start_with_files(64);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        (0..60).for_each(|_| drop(scope.spawn(|| Hostile::Silent.live(&daemon.address, &over))));
        sleep(Duration::from_millis(500));
        let waits = thread::scope(|inner| inner.spawn(|| Waits::of(4, &daemon.address)).join());
        over.store(true, Ordering::Relaxed);
        waits.expect("every honest client is served").report("60 x Silent, 64 open files", &daemon);
    });
    relay_host.taken(4);
    assert_eq!(daemon.status()["counts"]["accepted"], 4);
    assert!(!setup.log().contains("EMFILE") && !setup.log().contains("os error 24"), "it ran out of files");
}

#[test]
#[ignore = "a long trial, minutes; see the command on top"]
fn overload_of_a_thousand_silent_connections() {
    trial(Hostile::Silent, 1_000, 24, 64);
}

#[test]
#[ignore = "a long trial, minutes; see the command on top"]
fn overload_of_a_thousand_trickling_connections() {
    trial(Hostile::Trickles, 1_000, 16, 64);
}

#[test]
#[ignore = "a long trial, minutes; see the command on top"]
fn overload_of_a_thousand_connections_that_trickle_text() {
    trial(Hostile::TricklesText, 1_000, 16, 64);
}

#[test]
#[ignore = "a long trial, minutes; see the command on top"]
fn overload_by_clients_that_stop_reading() {
    trial(Hostile::StopsReading, 100, 50, 64);
}

#[test]
#[ignore = "a long trial, minutes; see the command on top"]
fn overload_by_a_gigabyte_without_a_line_end() {
    with_daemon("", |daemon, _| {
        let began = Instant::now();
        thread::scope(|scope| {
            let big = scope.spawn(|| {
                let (mut client, _) = Client::connect(&daemon.address);
                client.begin_data("EHLO big", &["root@localhost"]);
                let mebibyte = vec![b'x'; 1 << 20];
                (0..1024).for_each(|_| client.send(&mebibyte));
                client.send(b"\r\n.\r\n");
                client.reply()
            });
            Waits::of(50, &daemon.address).report("1 GiB without a line end", daemon);
            assert!(big.join().expect("sent").starts_with("552"));
        });
        println!("1 GiB answered with 552 after {} ms, memory {} MiB", began.elapsed().as_millis(), peak_mib(daemon));
        assert!(peak_mib(daemon) < BASE_MIB + MAILS_MIB);
    });
}
