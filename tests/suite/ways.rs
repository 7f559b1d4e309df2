//! The ways to a relay host: through a proxy, by whichever IP family lives, with a client certificate, past whatever
//! chokes on a post-quantum ClientHello.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::peers::{Postfix, setup_for};
use crate::support::client::send_alert;
use crate::support::daemon::{Setup, program, with_hosts};
use crate::support::pki::Authority;
use crate::support::relay_host::{RelayHost, Script};
use crate::support::token_server::TokenServer;
use crate::support::web_server::WebServer;
use crate::support::{eventually, have, root};

/// A name that no name service knows; the proxy's /etc/hosts does.
const HIDDEN: &str = "relay.known-to-the-proxy.test";

/// microsocks, with an /etc/hosts of its own; ended when dropped.
struct Proxy {
    child: Child,
    port: u16,
    said: Receiver<String>,
}

impl Proxy {
    /// `None` where it cannot run and need not. `login` is what it demands.
    fn start(folder: &Setup, login: Option<(&str, &str)>) -> Option<Self> {
        if !have("microsocks") || !have("unshare") || !root() {
            return None;
        }
        let hosts = folder.write("hosts", format!("127.0.0.1 localhost {HIDDEN}\n").as_bytes());
        let port = free_port();
        let mut microsocks = Command::new("microsocks");
        microsocks.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
        if let Some((user, password)) = login {
            microsocks.args(["-u", user, "-P", password]);
        }
        let mut child = with_hosts(&hosts, &microsocks).stderr(Stdio::piped()).spawn().expect("microsocks runs");
        let (sender, said) = channel();
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        eventually("microsocks to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(Self { child, port, said })
    }

    /// What it said until now: a line for each connection.
    fn said(&self) -> String {
        self.said.try_iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|probe| probe.local_addr()).expect("a port").port()
}

/// A relay host with the hidden name, and a daemon's folder that knows it by that name.
fn hidden() -> (RelayHost, Authority, Setup) {
    let authority = Authority::new("test CA");
    let relay_host = RelayHost::start(Script::honest(&authority.issue(HIDDEN)));
    let setup = Setup::new(relay_host.port, &authority.pem).relay(&format!("host = \"{HIDDEN}\""));
    (relay_host, authority, setup)
}

#[test]
fn through_a_proxy_the_name_is_looked_up_there_and_never_here() {
    let (relay_host, _, setup) = hidden();
    let Some(proxy) = Proxy::start(&setup, None) else { return };
    // The proof that only the proxy knows the name.
    setup.configure();
    assert_eq!(setup.run(&["check"]).status.code(), Some(68));
    let setup = setup.relay(&format!("proxy = \"socks5://127.0.0.1:{}\"", proxy.port));
    let daemon = setup.start();
    send_alert(&daemon.address, "by way of the proxy");
    relay_host.taken(1);
    let said = proxy.said();
    assert!(said.contains(&format!("connected to {HIDDEN}:{}", relay_host.port)), "{said}");

    // Nor does anything ask: no resolver's file is opened, nothing but the proxy is connected to.
    if !have("strace") {
        return;
    }
    let trace = setup.path("trace");
    let check = setup.command(&["check", "--login"]);
    let output = Command::new("strace")
        .args(["-f", "-e", "trace=openat,connect,sendto,sendmmsg,sendmsg", "-o"])
        .arg(&trace)
        .arg(check.get_program())
        .args(check.get_args())
        .output()
        .expect("strace runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains(&format!("CONNECTED({HIDDEN}:{} through the proxy 127.0.0.1:", relay_host.port)), "{shown}");
    let trace = fs::read_to_string(&trace).expect("a trace");
    let connections: Vec<&str> = trace.lines().filter(|line| line.contains("connect(")).collect();
    assert!(!connections.is_empty());
    for line in &connections {
        assert!(line.contains(&format!("sin_port=htons({})", proxy.port)), "{line}");
    }
    for asked in ["resolv.conf", "nsswitch.conf", "/etc/hosts", "nscd", "htons(53)", HIDDEN] {
        let lines: Vec<&str> = trace.lines().filter(|line| line.contains(asked)).collect();
        assert!(
            lines.is_empty() || asked == HIDDEN && lines.iter().all(|line| line.contains("\\5\\1\\0\\3")),
            "{lines:?}"
        );
    }
}

#[test]
fn check_in_openssls_spelling_goes_through_the_proxy_and_verifies_behind_it() {
    let (relay_host, _, setup) = hidden();
    let Some(proxy) = Proxy::start(&setup, None) else { return };
    let check = |more: &[&str]| {
        let mut command = program();
        command.args(["check", "-connect", &format!("{HIDDEN}:{}", relay_host.port), "-starttls", "smtp"]);
        let output = command.args(more).output().expect("runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (ca, by_proxy) = (setup.path("ca.pem").display().to_string(), format!("127.0.0.1:{}", proxy.port));
    let (code, text) = check(&["-proxy", &by_proxy, "-CAfile", &ca]);
    assert_eq!(code, Some(0), "{text}");
    let connected = format!("CONNECTED({HIDDEN}:{} through the proxy {by_proxy}", relay_host.port);
    assert!(text.contains(&connected) && text.contains("Verify return code: 0 (ok)\n"), "{text}");
    let said = proxy.said();
    assert!(said.contains(&format!("connected to {HIDDEN}:{}", relay_host.port)), "{said}");
    // The proxy changes nothing about trust, and without it there is no way.
    let stranger = setup.write("stranger.pem", Authority::new("another CA").pem.as_bytes()).display().to_string();
    let (code, text) = check(&["-proxy", &by_proxy, "-CAfile", &stranger]);
    assert_eq!(code, Some(77), "{text}");
    assert!(text.contains("Verify return code: 20 (unable to get local issuer certificate)\n"), "{text}");
    assert_eq!(check(&["-CAfile", &ca]).0, Some(68));
}

#[test]
fn a_proxy_with_a_login_gets_it_and_the_token_server_is_reached_through_it_too() {
    let (relay_host, authority, setup) = hidden();
    let Some(proxy) = Proxy::start(&setup, Some(("monitor", "proxyWORD77"))) else { return };
    let tokens = TokenServer::counting(&authority.issue(HIDDEN), 3600);
    let mut script = Script::honest(&authority.issue(HIDDEN));
    (script.capabilities, script.token) = (vec!["AUTH XOAUTH2".into()], "access-1".into());
    relay_host.now(script);
    setup.write("proxy_password", b"proxyWORD77\n");
    setup.write("refresh_token", b"refresh-0\n");
    let setup = setup.without_relay("password_file").relay(&format!(
        "proxy = \"socks5://127.0.0.1:{}\"\nproxy_username = \"monitor\"\nproxy_password_file = \"proxy_password\"",
        proxy.port
    ));
    let oauth = tokens.oauth().replace("localhost", HIDDEN);
    let setup = setup.oauth(&format!("{oauth}refresh_token_file = \"refresh_token\"\n"));
    let daemon = setup.start();
    send_alert(&daemon.address, "by way of the proxy");
    relay_host.taken(1);
    let said = proxy.said();
    for port in [relay_host.port, tokens.port] {
        assert!(said.contains(&format!("connected to {HIDDEN}:{port}")), "{said}");
    }
    assert!(!setup.log().contains("proxyWORD77"));

    // A wrong password is the proxy's trouble, in words that say so; nothing went another way.
    drop(daemon);
    setup.write("proxy_password", b"another\n");
    let output = setup.run(&["check"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(75), "{shown}");
    assert!(shown.contains("it does not take proxy_username and proxy_password_file"), "{shown}");
    assert_eq!(relay_host.heard().connections, 1);
}

#[test]
fn a_proxy_that_is_away_or_does_not_know_the_name_delays_and_loses_nothing() {
    let (relay_host, _, setup) = hidden();
    let port = free_port();
    let setup = setup.relay(&format!("proxy = \"socks5://127.0.0.1:{port}\"\nhost = \"unknown.test\""));
    setup.configure();
    let away = setup.run(&["check"]);
    let shown = String::from_utf8_lossy(&away.stdout);
    assert!(shown.contains("at the proxy: 127.0.0.1:") && shown.contains("it cannot be reached"), "{shown}");
    assert_eq!(away.status.code(), Some(75), "{shown}");
    let Some(proxy) = Proxy::start(&setup, None) else { return };
    let setup = setup.relay(&format!("proxy = \"socks5://127.0.0.1:{}\"", proxy.port));
    let daemon = setup.start();
    send_alert(&daemon.address, "waits");
    eventually("trouble to show", || daemon.status()["relays"][0]["trouble"].as_str().map(str::to_owned));
    let trouble = daemon.status()["relays"][0].to_string();
    assert!(trouble.contains("it cannot connect to the host") && trouble.contains("Check relay.proxy"), "{trouble}");
    assert_eq!((setup.spooled("queue").len(), relay_host.heard().connections), (1, 0));
}

/// A listener whose backlog is full: what comes to it is dropped without a word, as by a dead network. `None` if the
/// port is taken.
fn black_hole(address: &str, port: u16) -> Option<(TcpListener, Vec<TcpStream>)> {
    let listener = TcpListener::bind((address, port)).ok()?;
    rustix::net::listen(&listener, 0).expect("a short backlog");
    let target = listener.local_addr().expect("bound");
    let mut filling = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&target, Duration::from_millis(300)) {
        filling.push(stream);
        assert!(filling.len() < 100, "the backlog does not fill");
    }
    Some((listener, filling))
}

/// An honest relay host at `live`, and at `dead` a network that is away, at the same port.
fn live_and_dead(live: &str, dead: &str, authority: &Authority) -> (RelayHost, (TcpListener, Vec<TcpStream>)) {
    // The port is free in one family; whether it is in the other is luck.
    let mut pairs = (0..50).filter_map(|_| {
        let relay_host = RelayHost::start_at(live, Script::honest(&authority.issue("two.test")));
        let black_hole = black_hole(dead, relay_host.port)?;
        Some((relay_host, black_hole))
    });
    pairs.next().expect("a port that is free in both families")
}

#[test]
fn a_dead_ip_family_costs_a_moment_and_not_a_time_out() {
    if !have("unshare") || !root() {
        return;
    }
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    for (live, dead) in [("127.0.0.1", "::1"), ("::1", "127.0.0.1")] {
        let authority = Authority::new("test CA");
        let (relay_host, _dead) = live_and_dead(live, dead, &authority);
        let setup = Setup::new(relay_host.port, &authority.pem)
            .relay("host = \"two.test\"\ntimeout = \"60s\"\nconnections = 1");
        // Both orders: the system's preference is IPv6.
        let daemon = setup.start_with_hosts("127.0.0.1 localhost two.test\n::1 two.test\n");
        let began = Instant::now();
        send_alert(&daemon.address, live);
        relay_host.taken(1);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "{live} lives, {dead} is dead: {took:?}");
        eprintln!("{live} lives, {dead} is dead: {took:?}");
    }
}

#[test]
fn a_dead_network_ends_check_with_75_and_says_where_it_timed_out() {
    let (listener, _filling) = black_hole("127.0.0.1", 0).expect("any port");
    let port = listener.local_addr().expect("bound").port();
    let setup = Setup::new(port, &Authority::new("test CA").pem).relay("host = \"127.0.0.1\"");
    setup.configure();
    let output = setup.run(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(75), "{text}");
    assert!(
        text.contains("timed out at connecting") && text.contains("that the firewall lets this user out"),
        "{text}"
    );
    assert!(!text.contains("CONNECTED") && text.contains("Verify return code: none"), "{text}");
}

#[test]
fn a_client_certificate_is_shown_to_a_relay_host_that_demands_one() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let clients = Authority::new("clients' CA");
    let mut demanding = Script::honest(&identity);
    demanding.client_ca = Some(clients.pem.clone());
    relay_host.now(demanding);
    let setup = Setup::new(relay_host.port, &authority.pem);
    let install = |issuer: &Authority| {
        let (certificate, key) = issuer.issue("monitor").pem();
        setup.write("client.pem", certificate.as_bytes());
        setup.write("client.key", key.as_bytes());
    };
    install(&Authority::new("another CA"));
    setup.configure();
    let trouble = |setup: &Setup| {
        let output = setup.run(&["check"]);
        assert_ne!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = trouble(&setup);
    assert!(said.contains("wants a client certificate that it trusts") && said.contains("Set client_certificate"));
    let setup = setup.relay("client_certificate = \"client.pem\"\nclient_key = \"client.key\"");
    setup.configure();
    assert!(trouble(&setup).contains("wants a client certificate that it trusts"));
    let (certificate, key) = clients.issue("monitor").pem();
    setup.write("client.pem", certificate.as_bytes());
    setup.write("client.key", key.as_bytes());
    let daemon = setup.start();
    send_alert(&daemon.address, "with a certificate");
    relay_host.taken(1);
}

#[test]
fn postfix_takes_a_client_certificate_it_demands() {
    let authority = Authority::new("clients' CA");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ca = folder.path().join("clients.pem");
    fs::write(&ca, &authority.pem).expect("written");
    let file = format!("smtpd_tls_CAfile={}", ca.display());
    let Some(postfix) = Postfix::start_with(&["--set", "smtpd_tls_req_ccert=yes", "--set", &file]) else { return };
    let setup = setup_for(&postfix);
    setup.configure();
    assert_ne!(setup.run(&["check", "--login"]).status.code(), Some(0));
    let (certificate, key) = authority.issue("monitor").pem();
    setup.write("client.pem", certificate.as_bytes());
    setup.write("client.key", key.as_bytes());
    let setup = setup.relay("client_certificate = \"client.pem\"\nclient_key = \"client.key\"");
    let daemon = setup.start();
    send_alert(&daemon.address, "with a certificate");
    postfix.mails(1);
    assert!(postfix.log().contains("Trusted TLS connection"), "{}", postfix.log());
}

#[test]
fn a_relay_host_that_chokes_on_the_post_quantum_hello_gets_the_classic_one_once() {
    let (relay_host, authority, identity) = RelayHost::honest();
    let mut old = Script::honest(&identity);
    old.longest_hello = Some(1200);
    relay_host.now(old.clone());
    let setup = Setup::new(relay_host.port, &authority.pem).relay("connections = 1");
    let daemon = setup.start();
    send_alert(&daemon.address, "past an old box");
    relay_host.taken(1);
    assert_eq!(relay_host.heard().connections, 2);
    assert!(setup.log().contains("only without the post-quantum key exchange"), "{}", setup.log());
    assert!(daemon.status()["relays"][0]["trouble"].is_null());
    // The next session knows.
    std::thread::sleep(Duration::from_secs(6));
    send_alert(&daemon.address, "the next session");
    relay_host.taken(2);
    assert_eq!(relay_host.heard().connections, 3);
    let output = setup.run(&["check"]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains("Key exchange group: X25519 (not post-quantum)\n"), "{shown}");

    // With implicit TLS too, where nothing is said before.
    old.implicit_tls = true;
    relay_host.now(old.clone());
    let before = relay_host.heard().connections;
    drop(daemon);
    let setup = setup.relay("tls = \"implicit\"");
    setup.configure();
    assert!(setup.run(&["check"]).status.success());
    assert_eq!(relay_host.heard().connections, before + 2);

    // What chokes on every hello is tried twice an attempt and no more.
    old.longest_hello = Some(10);
    relay_host.now(old);
    let before = relay_host.heard().connections;
    assert_ne!(setup.run(&["check"]).status.code(), Some(0));
    assert_eq!(relay_host.heard().connections, before + 2);
}

#[test]
fn a_certificate_that_is_not_trusted_is_no_reason_for_a_second_hello() {
    let (relay_host, _, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &Authority::new("another CA").pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "waits");
    eventually("trouble to show", || daemon.status()["relays"][0]["trouble"].as_str().map(str::to_owned));
    assert_eq!(relay_host.heard().connections, 1);
    assert!(!setup.log().contains("post-quantum"));
}

#[test]
fn ping_and_webhook_go_through_the_relay_hosts_proxy_which_looks_up_their_name() {
    let (relay_host, authority, setup) = hidden();
    let Some(proxy) = Proxy::start(&setup, None) else { return };
    let server = WebServer::saying(&authority.issue(HIDDEN), 200);
    for name in ["ping", "webhook"] {
        setup.write(name, format!("https://{HIDDEN}:{}/{name}\n", server.port).as_bytes());
    }
    let setup = setup
        .relay(&format!("proxy = \"socks5://127.0.0.1:{}\"", proxy.port))
        .logging("[alarm]\nca_file = \"ca.pem\"\nping_url_file = \"ping\"\nwebhook_url_file = \"webhook\"\n");
    let daemon = setup.start();
    let output = setup.run(&["alarm", "test"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.asked_for(2).len(), 2);
    assert!(proxy.said().contains(&format!("connected to {HIDDEN}:{}", server.port)));
    // Told to go directly, this machine does not find them.
    let text = fs::read_to_string(setup.path("sealrelay.toml")).expect("a configuration");
    setup.write("sealrelay.toml", text.replace("[alarm]\n", "[alarm]\nproxy = \"\"\n").as_bytes());
    assert_eq!(daemon.reload().1, 0);
    let output = setup.run(&["alarm", "test"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert_eq!((server.asked().len(), relay_host.heard().connections), (2, 0));
}
