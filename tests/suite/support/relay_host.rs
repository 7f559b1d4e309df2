//! A scripted relay host with real TLS: says what a test wants at each step, and remembers all it heard.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use base64::Engine;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use super::eventually;
use super::pki::{Authority, Identity};

pub const USERNAME: &str = "ossec@example.org";
pub const PASSWORD: &str = "correct horse Zw7 battery";

/// What is done at a step.
#[derive(Clone, Debug)]
pub enum Act {
    /// Say this; CRLF is added.
    Say(String),
    /// Close without a word.
    Close,
    /// Keep silent for this long, then close.
    Silence(Duration),
    /// Wait this long, then do what an honest relay host does.
    Late(Duration),
}

/// What is left of a connection once TLS, or what stands in its place, is up.
pub trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// Makes one from a connection on which TLS should begin.
pub type Secure = Arc<dyn Fn(TcpStream) -> std::io::Result<Box<dyn Duplex>> + Send + Sync>;

/// How a relay host behaves; what is not named is honest.
#[derive(Clone)]
pub struct Script {
    acts: HashMap<&'static str, Act>,
    /// Whether the acts are still to be done, if they are done once.
    once: Option<Arc<AtomicBool>>,
    pub implicit_tls: bool,
    pub offers_starttls: bool,
    pub capabilities: Vec<String>,
    pub identity: Identity,
    /// The longest ClientHello (its first record) it takes; a longer one makes it reset the connection.
    pub longest_hello: Option<usize>,
    /// The authority (PEM) whose client certificates it demands.
    pub client_ca: Option<String>,
    /// The access token it takes.
    pub token: String,
    /// Another way to do TLS than rustls and `identity`.
    pub secure: Option<Secure>,
}

impl Script {
    pub fn honest(identity: &Identity) -> Self {
        Self {
            acts: HashMap::new(),
            once: None,
            implicit_tls: false,
            offers_starttls: true,
            capabilities: vec!["SIZE 35882577".into(), "AUTH PLAIN LOGIN".into()],
            identity: identity.clone(),
            longest_hello: None,
            client_ca: None,
            token: String::new(),
            secure: None,
        }
    }

    /// Steps: greeting, EHLO, STARTTLS, EHLO inside, AUTH, MAIL, RCPT, DATA, END, RSET, QUIT.
    pub fn at(mut self, step: &'static str, act: Act) -> Self {
        self.acts.insert(step, act);
        self
    }

    /// The same for one time only, over all sessions.
    pub fn at_once(mut self, step: &'static str, act: Act) -> Self {
        self.once = Some(Arc::new(AtomicBool::new(true)));
        self.at(step, act)
    }

    pub fn says(self, step: &'static str, reply: &str) -> Self {
        self.at(step, Act::Say(reply.to_owned()))
    }
}

/// A message it took.
#[derive(Clone, Debug)]
pub struct Taken {
    pub mail: String,
    pub rcpt: String,
    pub message: Vec<u8>,
    /// The connection it came through, counted from 1.
    pub session: usize,
    /// When it came.
    pub at: SystemTime,
}

#[derive(Default)]
pub struct Heard {
    /// Every octet that came before TLS.
    pub clear: Vec<u8>,
    /// Commands inside TLS.
    pub inside: Vec<String>,
    /// Messages answered with 250.
    pub taken: Vec<Taken>,
    /// Messages that came whole, whatever the answer.
    pub offered: usize,
    /// Connections.
    pub connections: usize,
}

pub struct RelayHost {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Script>,
    heard: Mutex<Heard>,
}

impl RelayHost {
    pub fn start(script: Script) -> Self {
        Self::start_at("127.0.0.1", script)
    }

    pub fn start_at(address: &str, script: Script) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared { script: Mutex::new(script), heard: Mutex::default() });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&own);
                std::thread::spawn(move || {
                    let session = {
                        let mut heard = shared.heard();
                        heard.connections += 1;
                        heard.connections
                    };
                    let _ = serve(stream, session, &shared);
                });
            }
        });
        Self { port, shared }
    }

    /// An honest one for `localhost` and its CA.
    pub fn honest() -> (Self, Authority, Identity) {
        let authority = Authority::new("test CA");
        let identity = authority.issue("localhost");
        (Self::start(Script::honest(&identity)), authority, identity)
    }

    /// Who it is now.
    pub fn identity(&self) -> Identity {
        self.shared.script().identity
    }

    /// Behaves differently from the next step on; TLS from the next connection on.
    pub fn now(&self, script: Script) {
        *self.shared.script.lock().expect("script") = script;
    }

    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.shared.heard()
    }

    /// The messages it took, once there are `count`.
    #[track_caller]
    pub fn taken(&self, count: usize) -> Vec<Taken> {
        eventually(&format!("{count} message(s) at the relay host"), || {
            let heard = self.heard();
            (heard.taken.len() >= count).then(|| heard.taken.clone())
        })
    }
}

/// How many were sent again although their session had gone on to another message. A daemon that dies has no more than
/// one message of each session in hand: what came before that one it had removed, and a kill brings no file back.
pub fn sent_again_from_behind(taken: &[Taken]) -> usize {
    let nth = || taken.iter().enumerate();
    let last_copy: HashMap<&[u8], usize> = nth().map(|(nth, taken)| (taken.message.as_slice(), nth)).collect();
    let last_of_session: HashMap<usize, usize> = nth().map(|(nth, taken)| (taken.session, nth)).collect();
    let again = nth().filter(|(nth, taken)| last_copy[taken.message.as_slice()] != *nth);
    again.filter(|(nth, taken)| last_of_session[&taken.session] != *nth).count()
}

impl Shared {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("heard")
    }

    fn script(&self) -> Script {
        self.script.lock().expect("script").clone()
    }
}

/// Remembers what comes in clear.
struct Tapped<'a> {
    stream: TcpStream,
    shared: &'a Shared,
}

impl Read for Tapped<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.shared.heard().clear.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

fn serve(stream: TcpStream, session: usize, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let script = shared.script();
    if !script.implicit_tls {
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(Tapped { stream: stream.try_clone()?, shared });
        act(&script, "greeting", &mut writer, "220 relay.example.org ESMTP")?;
        loop {
            let line = line(&mut reader)?;
            let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" if script.offers_starttls => {
                    act(&script, "EHLO", &mut writer, "250-relay.example.org\r\n250-AUTH PLAIN\r\n250 STARTTLS")?;
                }
                "EHLO" => act(&script, "EHLO", &mut writer, "250-relay.example.org\r\n250 AUTH PLAIN LOGIN")?,
                "STARTTLS" => {
                    act(&script, "STARTTLS", &mut writer, "220 2.0.0 Ready")?;
                    break;
                }
                "QUIT" => return act(&script, "QUIT", &mut writer, "221 2.0.0 Bye"),
                // A client that goes on in clear is recorded by the tap.
                _ => writer.write_all(b"250 2.0.0 Ok\r\n")?,
            }
        }
    }
    inside(stream, session, &script, shared)
}

/// TLS by rustls. Whether the key belongs to the certificate is the client's to find out: a thief's does not.
pub fn rustls_server(identity: &Identity, stream: TcpStream) -> std::io::Result<Box<dyn Duplex>> {
    rustls_server_of(rustls::DEFAULT_VERSIONS, identity, stream)
}

/// The same with these versions only.
pub fn rustls_server_of(
    versions: &[&'static SupportedProtocolVersion],
    identity: &Identity,
    stream: TcpStream,
) -> std::io::Result<Box<dyn Duplex>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = provider.key_provider.load_private_key(identity.private_key()).map_err(std::io::Error::other)?;
    let certified = SingleCertAndKey::from(CertifiedKey::new(identity.chain.clone(), key));
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(certified);
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("protocols")
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let connection = ServerConnection::new(Arc::new(config)).map_err(std::io::Error::other)?;
    Ok(Box::new(StreamOwned::new(connection, stream)))
}

fn inside(stream: TcpStream, session: usize, first: &Script, shared: &Shared) -> std::io::Result<()> {
    if first.longest_hello.is_some_and(|limit| chokes(&stream, limit)) {
        // What was not read makes the system reset the connection when it is closed.
        return Ok(());
    }
    let stream = match (&first.secure, &first.client_ca) {
        (Some(secure), _) => secure(stream)?,
        (None, Some(ca)) => {
            let connection = ServerConnection::new(Arc::new(server_config(&first.identity, Some(ca))));
            Box::new(StreamOwned::new(connection.map_err(std::io::Error::other)?, stream))
        }
        (None, None) => rustls_server(&first.identity, stream)?,
    };
    let mut stream = BufReader::new(stream);
    if first.implicit_tls {
        act(first, "greeting", stream.get_mut(), "220 relay.example.org ESMTP")?;
    }
    let (mut mail, mut rcpt) = (String::new(), String::new());
    loop {
        let line = line(&mut stream)?;
        let script = &shared.script();
        shared.heard().inside.push(line.clone());
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                let lines: Vec<String> =
                    ["relay.example.org".to_owned()].into_iter().chain(script.capabilities.clone()).collect();
                let last = lines.len() - 1;
                let marked = lines
                    .iter()
                    .enumerate()
                    .map(|(nth, line)| format!("250{}{line}", if nth == last { ' ' } else { '-' }));
                act(script, "EHLO inside", stream.get_mut(), &marked.collect::<Vec<_>>().join("\r\n"))?;
            }
            "AUTH" => {
                let given = line.split(' ').nth(2).unwrap_or_default();
                let good = match line.split(' ').nth(1).unwrap_or_default() {
                    "LOGIN" => login(&mut stream)?,
                    "XOAUTH2" | "OAUTHBEARER" => bearer(&mut stream, given, &script.token)?,
                    _ => decoded(given) == format!("\0{USERNAME}\0{PASSWORD}"),
                };
                act(
                    script,
                    "AUTH",
                    stream.get_mut(),
                    if good { "235 2.7.0 Accepted" } else { "535 5.7.8 Error: authentication failed" },
                )?;
            }
            "MAIL" => {
                mail = line;
                act(script, "MAIL", stream.get_mut(), "250 2.1.0 Ok")?;
            }
            "RCPT" => {
                rcpt = line;
                act(script, "RCPT", stream.get_mut(), "250 2.1.5 Ok")?;
            }
            "DATA" => {
                act(script, "DATA", stream.get_mut(), "354 End data with <CR><LF>.<CR><LF>")?;
                if !says_354(script) {
                    continue;
                }
                let message = message(&mut stream)?;
                shared.heard().offered += 1;
                let honest = !script.acts.contains_key("END") || matches!(script.acts["END"], Act::Late(_));
                if honest {
                    let (mail, rcpt, at) = (mail.clone(), rcpt.clone(), SystemTime::now());
                    shared.heard().taken.push(Taken { mail, rcpt, message, session, at });
                }
                act(script, "END", stream.get_mut(), "250 2.0.0 Ok: queued as 4711")?;
            }
            "RSET" => act(script, "RSET", stream.get_mut(), "250 2.0.0 Ok")?,
            "QUIT" => return act(script, "QUIT", stream.get_mut(), "221 2.0.0 Bye"),
            _ => stream.get_mut().write_all(b"502 5.5.2 Not known\r\n")?,
        }
    }
}

fn says_354(script: &Script) -> bool {
    match script.acts.get("DATA") {
        Some(Act::Say(reply)) => reply.starts_with("354"),
        _ => true,
    }
}

fn login(stream: &mut BufReader<Box<dyn Duplex>>) -> std::io::Result<bool> {
    let mut given = Vec::new();
    for prompt in ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"] {
        write_line(stream.get_mut(), prompt)?;
        given.push(decoded(&line(stream)?));
    }
    Ok(given == [USERNAME, PASSWORD])
}

/// Google's way: the reason as a challenge, and the refusal after the client's empty answer.
fn bearer(stream: &mut BufReader<Box<dyn Duplex>>, given: &str, token: &str) -> std::io::Result<bool> {
    let mut given = given.to_owned();
    if given.is_empty() {
        write_line(stream.get_mut(), "334 ")?;
        given = line(stream)?;
    }
    let good = decoded(&given) == format!("user={USERNAME}\x01auth=Bearer {token}\x01\x01")
        || decoded(&given) == format!("n,a={USERNAME},\x01auth=Bearer {token}\x01\x01");
    if !good {
        let why = base64::engine::general_purpose::STANDARD.encode("{\"status\":\"401\",\"schemes\":\"bearer\"}");
        write_line(stream.get_mut(), &format!("334 {why}"))?;
        let answer = line(stream)?;
        assert!(["", "AQ=="].contains(&answer.as_str()), "{answer:?}");
    }
    Ok(good)
}

/// TLS of a server with this identity.
pub fn server_config(identity: &Identity, client_ca: Option<&str>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = client_ca.map(|pem| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")).expect("an authority");
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        builder.build().expect("a verifier")
    });
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("protocols");
    match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    }
    .with_single_cert(identity.chain.clone(), identity.private_key())
    .expect("an identity")
}

/// Whether the first TLS record, which stays unread, is longer than `limit`.
pub fn chokes(stream: &TcpStream, limit: usize) -> bool {
    let mut header = [0; 5];
    // The record comes in one piece, or the client is gone.
    let count = stream.peek(&mut header).unwrap_or(0);
    count == header.len() && usize::from(u16::from_be_bytes([header[3], header[4]])) > limit
}

fn decoded(text: &str) -> String {
    let octets = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    String::from_utf8_lossy(&octets).into_owned()
}

fn line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn message(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let start = message.len();
        if reader.read_until(b'\n', &mut message)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if &message[start..] == b".\r\n" {
            message.truncate(start);
            return Ok(message);
        }
        if message[start] == b'.' {
            message.remove(start);
        }
    }
}

fn act(script: &Script, step: &str, writer: &mut impl Write, honest: &str) -> std::io::Result<()> {
    let planned = script.acts.get(step);
    let planned = planned.filter(|_| script.once.as_ref().is_none_or(|once| once.swap(false, Ordering::SeqCst)));
    match planned {
        None => write_line(writer, honest),
        Some(Act::Say(reply)) => write_line(writer, reply),
        Some(Act::Close) => Err(std::io::ErrorKind::ConnectionAborted.into()),
        Some(Act::Silence(time)) => {
            std::thread::sleep(*time);
            Err(std::io::ErrorKind::TimedOut.into())
        }
        Some(Act::Late(time)) => {
            std::thread::sleep(*time);
            write_line(writer, honest)
        }
    }
}

/// One write, so that what is glued together arrives together.
fn write_line(writer: &mut impl Write, text: &str) -> std::io::Result<()> {
    writer.write_all(format!("{text}\r\n").as_bytes())?;
    writer.flush()
}
