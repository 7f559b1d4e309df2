//! A load client that knows how long each acknowledgement took, which Postfix's smtp-source does not tell.
//!
//! As an alert client (the default) it does what an IDS does: HELO, one message a session, every reply waited for. With
//! `--ca-file` it is a relay's client (STARTTLS, AUTH PLAIN, commands pipelined, many messages a session), to measure
//! what `sink` can take. Any reply that is not the wanted one ends it with status 1: a number made of refusals is none.
//!
//! Prints one line: `messages= seconds= rate= p50= p99= max= handed=`. The three before the last are milliseconds from the
//! moment the last octets of a message are handed to the system to the moment its 250 is read; `handed` is that first
//! moment of the last message, in microseconds since 1970, to be compared with what `sink` prints.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use clap::Parser;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The longest wait for a reply. OSSEC waits for ever, a measurement should not.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest reply line.
const LINE_LIMIT: u64 = 4096;

#[derive(Parser)]
struct Arguments {
    /// Where to
    #[arg(long)]
    to: SocketAddr,
    /// Sessions at the same time
    #[arg(long, default_value_t = 10)]
    sessions: usize,
    /// Messages in all
    #[arg(long, default_value_t = 2000)]
    messages: usize,
    /// Octets of each message, about
    #[arg(long, default_value_t = 2048)]
    size: usize,
    /// Be a relay's client, and trust this CA
    #[arg(long, requires = "password_file")]
    ca_file: Option<PathBuf>,
    /// The name the server's certificate must have
    #[arg(long, default_value = "localhost")]
    name: String,
    /// The login
    #[arg(long, default_value = "bench@example.org")]
    username: String,
    /// The file with its password
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// How long an acknowledgement took.
struct Wait {
    /// When the end of data was handed to the system.
    from: SystemTime,
    took: Duration,
}

/// What all sessions share.
struct Load {
    to: SocketAddr,
    size: usize,
    messages: usize,
    /// The number of the next message; above `messages` there is none.
    next: AtomicUsize,
    relay: Option<Relay>,
}

/// What a relay's client needs beyond that.
struct Relay {
    tls: TlsConnector,
    name: ServerName<'static>,
    /// The response to AUTH PLAIN.
    login: String,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let load = Arc::new(Load {
        to: arguments.to,
        size: arguments.size,
        messages: arguments.messages,
        next: AtomicUsize::new(1),
        relay: Relay::new(&arguments)?,
    });
    let started = Instant::now();
    let mut sessions = JoinSet::new();
    for _ in 0..arguments.sessions {
        sessions.spawn(Arc::clone(&load).run());
    }
    let mut waits = Vec::with_capacity(arguments.messages);
    while let Some(session) = sessions.join_next().await {
        waits.extend(session??);
    }
    let seconds = started.elapsed().as_secs_f64();
    let handed = waits.iter().map(|wait| wait.from).max().unwrap_or(UNIX_EPOCH);
    waits.sort_by_key(|wait| wait.took);
    let line = format!(
        "messages={} seconds={seconds:.3} rate={:.1} p50={:.2} p99={:.2} max={:.2} handed={}",
        waits.len(),
        waits.len() as f64 / seconds,
        percentile(&waits, 50),
        percentile(&waits, 99),
        percentile(&waits, 100),
        handed.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros())
    );
    writeln!(io::stdout(), "{line}")
}

/// Nearest rank, in milliseconds.
fn percentile(sorted: &[Wait], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |wait| wait.took.as_secs_f64() * 1000.0)
}

impl Load {
    /// One session after another, or one for all, until no message is left.
    async fn run(self: Arc<Self>) -> io::Result<Vec<Wait>> {
        match &self.relay {
            Some(relay) => self.relay_session(relay).await,
            None => self.alert_sessions().await,
        }
    }

    /// The number of a message that nobody else sends.
    fn take(&self) -> Option<usize> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number <= self.messages).then_some(number)
    }

    async fn alert_sessions(&self) -> io::Result<Vec<Wait>> {
        let mut waits = Vec::new();
        while let Some(number) = self.take() {
            let mut talk = Talk::new(self.connect().await?);
            talk.expect("220").await?;
            for (command, reply) in [
                ("HELO ids.example.org", "250"),
                ("MAIL FROM:<ids@example.org>", "250"),
                ("RCPT TO:<admin@example.org>", "250"),
                ("DATA", "354"),
            ] {
                talk.write(format!("{command}\r\n").as_bytes()).await?;
                talk.expect(reply).await?;
            }
            waits.push(talk.message(&self.message(number)).await?);
            talk.write(b"QUIT\r\n").await?;
            talk.expect("221").await?;
        }
        Ok(waits)
    }

    async fn relay_session(&self, relay: &Relay) -> io::Result<Vec<Wait>> {
        let mut clear = Talk::new(self.connect().await?);
        clear.expect("220").await?;
        clear.write(b"EHLO [127.0.0.1]\r\n").await?;
        clear.expect("250").await?;
        clear.write(b"STARTTLS\r\n").await?;
        clear.expect("220").await?;
        let stream = timeout(PATIENCE, relay.tls.connect(relay.name.clone(), clear.0.into_inner())).await??;
        let mut talk = Talk::new(stream);
        talk.write(b"EHLO [127.0.0.1]\r\n").await?;
        talk.expect("250").await?;
        talk.write(format!("AUTH PLAIN {}\r\n", relay.login).as_bytes()).await?;
        talk.expect("235").await?;
        let mut waits = Vec::new();
        while let Some(number) = self.take() {
            talk.write(b"MAIL FROM:<bench@example.org>\r\nRCPT TO:<admin@example.org>\r\nDATA\r\n").await?;
            for reply in ["250", "250", "354"] {
                talk.expect(reply).await?;
            }
            waits.push(talk.message(&self.message(number)).await?);
        }
        talk.write(b"QUIT\r\n").await?;
        talk.expect("221").await?;
        Ok(waits)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = timeout(PATIENCE, TcpStream::connect(self.to)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Its end included, all in one piece as the IDS sends it. No line begins with a dot.
    fn message(&self, number: usize) -> Vec<u8> {
        let mut message = format!(
            "From: ids@example.org\r\nTo: admin@example.org\r\nSubject: OSSEC Notification - bench - Alert level 3\r\n\
             Message-ID: <{number}.load@example.org>\r\n\r\n"
        );
        while message.len() < self.size {
            message += "Jan  1 00:00:00 bench sshd[4711]: Accepted publickey for root from 192.0.2.1 port 22\r\n";
        }
        message += ".\r\n";
        message.into_bytes()
    }
}

impl Relay {
    fn new(arguments: &Arguments) -> io::Result<Option<Self>> {
        let (Some(ca_file), Some(password_file)) = (&arguments.ca_file, &arguments.password_file) else {
            return Ok(None);
        };
        let password = std::fs::read_to_string(password_file)?;
        let login = format!("\0{}\0{}", arguments.username, password.trim_end());
        Ok(Some(Self {
            tls: connector(ca_file)?,
            name: ServerName::try_from(arguments.name.clone()).map_err(io::Error::other)?,
            login: base64::engine::general_purpose::STANDARD.encode(login),
        }))
    }
}

fn connector(ca_file: &Path) -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One session's stream.
struct Talk<S>(BufReader<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.0.write_all(octets)).await??;
        timeout(PATIENCE, self.0.flush()).await?
    }

    /// Reads one reply, which must have this code.
    async fn expect(&mut self, code: &str) -> io::Result<()> {
        loop {
            let mut line = String::new();
            timeout(PATIENCE, (&mut self.0).take(LINE_LIMIT).read_line(&mut line)).await??;
            if !line.starts_with(code) {
                return Err(io::Error::other(format!("wanted {code}, got {line:?}")));
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    /// Sends a whole message and waits for its acknowledgement.
    async fn message(&mut self, message: &[u8]) -> io::Result<Wait> {
        let (from, started) = (SystemTime::now(), Instant::now());
        self.write(message).await?;
        self.expect("250").await?;
        Ok(Wait { from, took: started.elapsed() })
    }
}
