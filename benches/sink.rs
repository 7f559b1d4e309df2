//! A relay host that takes everything and keeps nothing: the far end of `throughput.sh` and `compare/compare.sh`.
//!
//! It speaks STARTTLS (TLS 1.3 only) and AUTH PLAIN, reads each message whole, answers 250 and counts, by Message-ID, so
//! that a lost message and a duplicate both show. It takes no mail outside TLS unless it is started with `--clear`,
//! which is there to measure the clients alone. It listens on loopback only and ends by itself after `--lifetime`.
//!
//! Its standard output is for the script: `listening=PORT`, then a line of counters whenever they have changed.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use clap::Parser;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// How often the counters are looked at. Their times are taken when a message has its 250, so this blurs nothing.
const REPORT_EVERY: Duration = Duration::from_millis(20);
/// The daemon closes idle sessions after 5 s; whoever is silent longer than this is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest command line; a login is the longest there is.
const LINE_LIMIT: u64 = 4096;
/// The largest message, as Google's relay hosts announce it.
const MESSAGE_LIMIT: usize = 35_882_577;
/// What EHLO is told inside TLS; the size is [`MESSAGE_LIMIT`].
const INSIDE: &str = "250-sink\r\n250-PIPELINING\r\n250-SIZE 35882577\r\n250 AUTH PLAIN";

#[derive(Parser)]
struct Arguments {
    /// The server's certificate, PEM
    #[arg(long, required_unless_present = "clear")]
    certificate: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, required_unless_present = "clear")]
    key: Option<PathBuf>,
    /// The login it takes
    #[arg(long, default_value = "bench@example.org")]
    username: String,
    /// The file with its password
    #[arg(long, required_unless_present = "clear")]
    password_file: Option<PathBuf>,
    /// Take mail without TLS and without a login, to measure a client alone
    #[arg(long)]
    clear: bool,
    /// Where on loopback; 0 means any port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Write the first message here, as it came
    #[arg(long)]
    sample: Option<PathBuf>,
    /// End after this many seconds, whatever became of the script
    #[arg(long, default_value_t = 1800)]
    lifetime: u64,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// What all sessions share.
struct Sink {
    /// `None` takes mail in clear.
    tls: Option<TlsAcceptor>,
    /// The one response to AUTH PLAIN that is right.
    login: String,
    sample: Option<PathBuf>,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    received: u64,
    octets: u64,
    smallest: usize,
    largest: usize,
    logins: u64,
    /// Microseconds since 1970 at which the last message had its 250.
    last: u64,
    seen: HashSet<Vec<u8>>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let sink = Arc::new(Sink::new(&arguments)?);
    let listener = TcpListener::bind(("127.0.0.1", arguments.port)).await?;
    say(&format!("listening={}", listener.local_addr()?.port()))?;
    tokio::spawn(Arc::clone(&sink).report());
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(Arc::clone(&sink).serve(stream));
        }
    };
    timeout(Duration::from_secs(arguments.lifetime), accept).await.unwrap_or(Ok(()))
}

impl Sink {
    fn new(arguments: &Arguments) -> io::Result<Self> {
        let password = match &arguments.password_file {
            Some(file) => std::fs::read_to_string(file)?,
            None => String::new(),
        };
        let login = format!("\0{}\0{}", arguments.username, password.trim_end());
        let tls = match (&arguments.certificate, &arguments.key) {
            (Some(certificate), Some(key)) if !arguments.clear => Some(acceptor(certificate, key)?),
            _ => None,
        };
        Ok(Self {
            tls,
            login: base64::engine::general_purpose::STANDARD.encode(login),
            sample: arguments.sample.clone(),
            counts: Mutex::default(),
        })
    }

    /// Prints the counters whenever they have changed.
    async fn report(self: Arc<Self>) {
        let mut told = u64::MAX;
        loop {
            let (received, line) = self.with(|counts| (counts.received, counts.line()));
            // The script is gone when its pipe is: nobody is left to measure for.
            if received != told && say(&line).is_err() {
                std::process::exit(1);
            }
            told = received;
            sleep(REPORT_EVERY).await;
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        // Without it each reply could wait 40 ms for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let served = match &self.tls {
            Some(tls) => self.secure(stream, tls).await,
            None => self.dialog(Talk::new(stream), true).await,
        };
        // A peer that just goes away is how smtp-source ends; anything else should be seen beside the numbers.
        if let Err(error) = served
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            let _ = writeln!(io::stderr(), "sink: a session ended: {error}");
        }
    }

    /// Up to STARTTLS nothing else is taken, then the dialog begins anew.
    async fn secure(&self, stream: TcpStream, tls: &TlsAcceptor) -> io::Result<()> {
        let mut clear = Talk::new(stream);
        clear.say("220 sink ESMTP").await?;
        loop {
            match clear.line().await?.to_ascii_uppercase().as_str() {
                line if line.starts_with("EHLO") => clear.say("250-sink\r\n250 STARTTLS").await?,
                "STARTTLS" => break,
                "QUIT" => return clear.say("221 2.0.0 Bye").await,
                _ => clear.say("530 5.7.0 Must issue a STARTTLS command first").await?,
            }
        }
        clear.say("220 2.0.0 Go ahead").await?;
        let stream = timeout(SILENCE, tls.accept(clear.0.into_inner())).await??;
        self.dialog(Talk::new(stream), false).await
    }

    async fn dialog<S: AsyncRead + AsyncWrite + Unpin>(&self, mut talk: Talk<S>, in_clear: bool) -> io::Result<()> {
        let mut logged_in = in_clear;
        if in_clear {
            talk.say("220 sink ESMTP").await?;
        }
        loop {
            let line = talk.line().await?;
            let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "HELO" => talk.say("250 sink").await?,
                "EHLO" => talk.say(INSIDE).await?,
                "AUTH" => {
                    logged_in = line.strip_prefix("AUTH PLAIN ") == Some(self.login.as_str());
                    self.with(|counts| counts.logins += u64::from(logged_in));
                    talk.say(if logged_in { "235 2.7.0 Accepted" } else { "535 5.7.8 Wrong login" }).await?;
                }
                "MAIL" | "RCPT" | "RSET" | "NOOP" if logged_in => talk.say("250 2.1.0 Ok").await?,
                "DATA" if logged_in => {
                    talk.say("354 End data with <CR><LF>.<CR><LF>").await?;
                    let message = talk.message().await?;
                    talk.say("250 2.0.0 Ok").await?;
                    self.count(&message)?;
                }
                "QUIT" => return talk.say("221 2.0.0 Bye").await,
                _ if logged_in => talk.say("500 5.5.2 Command not known").await?,
                _ => talk.say("530 5.7.0 Authentication required").await?,
            }
        }
    }

    fn count(&self, message: &[u8]) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(Duration::ZERO, |now| now);
        let first = self.with(|counts| {
            counts.received += 1;
            counts.octets += message.len() as u64;
            counts.smallest = if counts.received == 1 { message.len() } else { counts.smallest.min(message.len()) };
            counts.largest = counts.largest.max(message.len());
            counts.last = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
            counts.seen.insert(message_id(message));
            counts.received == 1
        });
        match &self.sample {
            Some(file) if first => std::fs::write(file, message),
            _ => Ok(()),
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Counts) -> T) -> T {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counts {
    fn line(&self) -> String {
        format!(
            "received={} distinct={} octets={} smallest={} largest={} logins={} last={}",
            self.received,
            self.seen.len(),
            self.octets,
            self.smallest,
            self.largest,
            self.logins,
            self.last
        )
    }
}

/// Its Message-ID line; for a client that sends none (smtp-source) the empty one, and then distinct means nothing.
fn message_id(message: &[u8]) -> Vec<u8> {
    let mut header = message.split(|&octet| octet == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    let name = b"message-id:";
    let line = header.find(|line| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
    line.unwrap_or_default().trim_ascii().to_vec()
}

/// TLS 1.3 only: what a relay host of today negotiates, and one version makes runs comparable.
fn acceptor(certificate: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// One session's stream.
struct Talk<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(stream: S) -> Self {
        Self(BufReader::with_capacity(32 * 1024, stream))
    }

    async fn say(&mut self, reply: &str) -> io::Result<()> {
        self.0.write_all(format!("{reply}\r\n").as_bytes()).await?;
        self.0.flush().await
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let count = timeout(SILENCE, (&mut self.0).take(LINE_LIMIT).read_line(&mut line)).await??;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Up to the lone dot. Dot-stuffing stays in: only the size of armored text is of interest, and it has none.
    async fn message(&mut self) -> io::Result<Vec<u8>> {
        let mut message = Vec::with_capacity(32 * 1024);
        loop {
            let start = message.len();
            if timeout(SILENCE, self.0.read_until(b'\n', &mut message)).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if message.len() > MESSAGE_LIMIT {
                return Err(io::Error::other("a message over the limit"));
            }
            if &message[start..] == b".\r\n" {
                message.truncate(start);
                return Ok(message);
            }
        }
    }
}
