//! The relay host's certificate over time: its expiry, and a change of it, are noticed at each session.

use std::fs;

use std::io::Read;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::pki::{Authority, Identity};
use crate::support::relay_host::{RelayHost, Script};

/// Waits until so many sessions have been ended, so that the next message needs a new one.
fn ended(relay_host: &RelayHost, count: usize) {
    eventually("the session to end", || {
        (relay_host.heard().inside.iter().filter(|line| *line == "QUIT").count() >= count).then_some(())
    });
}

#[test]
fn a_certificate_that_expires_soon_is_told_by_status_and_the_log() {
    let (relay_host, authority, _) = RelayHost::honest();
    let short = authority.issue_for_days("localhost", 9);
    relay_host.now(Script::honest(&short));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "while it lasts");
    relay_host.taken(1);
    let status =
        eventually("a certificate", || Some(daemon.status()).filter(|s| !s["relays"][0]["certificate"].is_null()));
    assert_eq!(status["state"], "degraded", "{status}");
    assert!(status["warnings"][0].as_str().expect("a warning").contains("certificate expires in 8 day(s)"), "{status}");
    assert!(setup.log().contains("its certificate expires in 8 day(s)"), "{}", setup.log());
    drop(daemon);
    // Pinned, its dates do not count, and there is nothing to warn of.
    let pin = format!("pins = [\"{}\"]", short.sha256_pin());
    let setup = Setup::new(relay_host.port, &authority.pem).without_relay("ca_file").relay(&pin);
    let daemon = setup.start();
    send_alert(&daemon.address, "pinned");
    relay_host.taken(2);
    let status =
        eventually("a certificate", || Some(daemon.status()).filter(|s| !s["relays"][0]["certificate"].is_null()));
    assert_eq!(status["state"], "ok", "{status}");
}

#[test]
fn another_certificate_than_last_time_is_told_also_when_the_daemon_was_down_in_between() {
    let (relay_host, authority, first) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "one");
    relay_host.taken(1);
    let file = setup.path("state/certificates.json");
    eventually("the certificate to be remembered", || fs::metadata(&file).ok());
    assert_eq!(daemon.terminate(), 0);
    assert!(!setup.log().contains("another certificate"), "{}", setup.log());
    let second = authority.issue("localhost");
    relay_host.now(Script::honest(&second));
    let daemon = setup.start();
    // What an earlier process saw is shown until there is a session.
    assert_eq!(daemon.status()["relays"][0]["certificate"]["own"], first.sha256_pin().as_str());
    send_alert(&daemon.address, "two");
    relay_host.taken(2);
    let told = format!(
        "presents another certificate than before, verified: {}; before: {}",
        second.sha256_pin(),
        first.sha256_pin()
    );
    eventually("the change in the log", || setup.log().contains(&told).then_some(()));
    let certificate = daemon.status()["relays"][0]["certificate"].clone();
    assert_eq!(
        (&certificate["own"], &certificate["before"]),
        (&second.sha256_pin().into(), &first.sha256_pin().into())
    );
    let text = setup.run(&["status"]).stdout;
    assert!(String::from_utf8_lossy(&text).contains(&format!("before it    {}", first.sha256_pin())));
}

#[test]
fn another_intermediate_above_the_same_certificate_is_told_in_the_next_session_and_over_a_restart() {
    let authority = Authority::new("test CA");
    let [first, second, third] = authority.issue_below_renewed("localhost", 90);
    assert_eq!((&first.chain[0], &first.key), (&third.chain[0], &third.key));
    let relay_host = RelayHost::start(Script::honest(&first));
    let setup = Setup::new(relay_host.port, &authority.pem).relay("connections = 1");
    let told = || {
        setup.log().matches(&format!("presents other issuers than before, verified: {}", first.sha256_pin())).count()
    };
    let daemon = setup.start();
    send_alert(&daemon.address, "one");
    relay_host.taken(1);
    ended(&relay_host, 1);
    assert_eq!(told(), 0, "{}", setup.log());
    relay_host.now(Script::honest(&second));
    send_alert(&daemon.address, "two");
    relay_host.taken(2);
    ended(&relay_host, 2);
    assert_eq!(told(), 1, "{}", setup.log());
    assert_eq!(daemon.terminate(), 0);
    relay_host.now(Script::honest(&third));
    let daemon = setup.start();
    send_alert(&daemon.address, "three");
    relay_host.taken(3);
    ended(&relay_host, 3);
    assert_eq!(told(), 2, "{}", setup.log());
    assert_eq!(daemon.terminate(), 0);
    // What was seen before, by whichever process, is no news.
    for (known, count) in [(&third, 4), (&second, 5)] {
        relay_host.now(Script::honest(known));
        let daemon = setup.start();
        send_alert(&daemon.address, "again");
        relay_host.taken(count);
        assert_eq!(daemon.status()["relays"][0]["certificate"]["own"], first.sha256_pin().as_str());
        assert_eq!(daemon.terminate(), 0);
    }
    assert_eq!(told(), 2, "{}", setup.log());
    assert!(!setup.log().contains("another certificate"), "{}", setup.log());
}

#[test]
fn a_server_that_offers_tickets_gets_a_full_handshake_each_time() {
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let authority = Authority::new("test CA");
        let identity = authority.issue("localhost");
        let mut script = Script::honest(&identity);
        script.implicit_tls = true;
        let config = server_with_tickets(versions, &identity);
        let kinds: Arc<Mutex<Vec<Option<HandshakeKind>>>> = Arc::default();
        let seen = Arc::clone(&kinds);
        script.secure = Some(Arc::new(move |mut stream| {
            let mut connection = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
            while connection.is_handshaking() {
                connection.complete_io(&mut stream)?;
            }
            seen.lock().expect("kinds").push(connection.handshake_kind());
            Ok(Box::new(StreamOwned::new(connection, stream)))
        }));
        let relay_host = RelayHost::start(script);
        let setup = Setup::new(relay_host.port, &authority.pem).relay("connections = 1\ntls = \"implicit\"");
        let daemon = setup.start();
        for nth in 1..=2 {
            send_alert(&daemon.address, "with every certificate shown");
            relay_host.taken(nth);
            ended(&relay_host, nth);
        }
        // The proof that this server would resume: a client that wants to, does.
        let client = resuming_client(versions, &authority);
        greeted(&client, relay_host.port);
        greeted(&client, relay_host.port);
        let kinds = kinds.lock().expect("kinds").clone();
        let [ours @ .., control_first, control_second] = kinds.as_slice() else { panic!("{kinds:?}") };
        assert_eq!((ours.len(), control_second), (2, &Some(HandshakeKind::Resumed)), "{kinds:?}");
        for kind in ours.iter().chain([control_first]) {
            assert_ne!(*kind, Some(HandshakeKind::Resumed), "{kinds:?}");
        }
    }
}

/// One configuration for all connections: its tickets are good for each of them.
fn server_with_tickets(versions: &[&'static SupportedProtocolVersion], identity: &Identity) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("protocols");
    let made = builder.with_no_client_auth().with_single_cert(identity.chain.clone(), identity.private_key());
    let mut config = made.expect("an identity");
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
    Arc::new(config)
}

/// A client as rustls makes it: it keeps tickets and uses them.
fn resuming_client(versions: &[&'static SupportedProtocolVersion], authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("protocols");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Connects and reads the greeting, with which the tickets come.
fn greeted(client: &Arc<ClientConfig>, port: u16) {
    let name = "localhost".try_into().expect("a name");
    let connection = ClientConnection::new(Arc::clone(client), name).expect("a connection");
    let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", port)).expect("connected"));
    let mut greeting = [0; 3];
    stream.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(&greeting, b"220");
}
