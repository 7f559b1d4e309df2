//! The relay host of the demo, in this process: STARTTLS, AUTH PLAIN, one message.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use base64::Engine;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::setup::{Authority, PASSWORD, USERNAME};

/// What arrived.
pub struct Got {
    /// Both sides' words, the login redacted.
    pub dialog: Vec<String>,
    /// The message, dots unstuffed.
    pub message: Vec<u8>,
}

/// A relay host that serves until it is dropped.
pub struct RelayHost {
    port: u16,
    got: Receiver<Got>,
    held: watch::Sender<bool>,
    _runtime: tokio::runtime::Runtime,
}

impl RelayHost {
    /// Listens on a free port with `authority`'s server certificate.
    pub fn start(authority: &Authority) -> io::Result<Self> {
        let acceptor = acceptor(authority)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let port = listener.local_addr()?.port();
        let (sender, got) = channel();
        let (held, hold) = watch::channel(false);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), sender.clone(), hold.clone()));
            }
        });
        Ok(Self { port, got, held, _runtime: runtime })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets clients wait for the greeting from now on.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Ends that.
    pub fn let_go(&self) {
        self.held.send_replace(false);
    }

    /// The message, once it has come.
    pub fn message(&self, patience: Duration) -> io::Result<Got> {
        self.got.recv_timeout(patience).map_err(|_| io::Error::other("nothing came to the relay host"))
    }
}

fn acceptor(authority: &Authority) -> io::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(authority.server_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(authority.server_key_pem.as_bytes()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain.map_err(io::Error::other)?, key)
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(
    stream: TcpStream,
    tls: TlsAcceptor,
    got: Sender<Got>,
    mut hold: watch::Receiver<bool>,
) -> io::Result<()> {
    let _ = hold.wait_for(|held| !held).await;
    let mut clear = Talk { stream: BufReader::new(stream), dialog: Vec::new() };
    clear.say("220 relay.example.org ESMTP").await?;
    loop {
        match clear.hear().await?.to_ascii_uppercase().as_str() {
            "STARTTLS" => break clear.say("220 2.0.0 Ready to start TLS").await?,
            line if line.starts_with("EHLO") => clear.say("250-relay.example.org\r\n250 STARTTLS").await?,
            _ => clear.say("530 5.7.0 Must issue a STARTTLS command first").await?,
        }
    }
    let stream = tls.accept(clear.stream.into_inner()).await?;
    let mut dialog = clear.dialog;
    dialog.push(format!("  (TLS: {:?})", stream.get_ref().1.protocol_version()));
    inside(Talk { stream: BufReader::new(stream), dialog }, got).await
}

async fn inside<S: AsyncRead + AsyncWrite + Unpin>(mut talk: Talk<S>, got: Sender<Got>) -> io::Result<()> {
    let login = base64::engine::general_purpose::STANDARD.encode(format!("\0{USERNAME}\0{PASSWORD}"));
    loop {
        let line = talk.hear().await?;
        match line.to_ascii_uppercase().as_str() {
            upper if upper.starts_with("EHLO") => {
                talk.say("250-relay.example.org\r\n250-SIZE 35882577\r\n250 AUTH PLAIN").await?;
            }
            upper if upper.starts_with("AUTH PLAIN ") => {
                let right = line["AUTH PLAIN ".len()..] == login;
                talk.say(if right { "235 2.7.0 Accepted" } else { "535 5.7.8 Wrong" }).await?;
            }
            "DATA" => {
                talk.say("354 End data with <CR><LF>.<CR><LF>").await?;
                let message = talk.message().await?;
                talk.say("250 2.0.0 Ok: queued").await?;
                let _ = got.send(Got { dialog: talk.dialog.clone(), message });
            }
            "QUIT" => return talk.say("221 2.0.0 Bye").await,
            _ => talk.say("250 2.1.0 Ok").await?,
        }
    }
}

/// One side's view of a dialog.
struct Talk<S> {
    stream: BufReader<S>,
    dialog: Vec<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    async fn say(&mut self, reply: &str) -> io::Result<()> {
        self.dialog.extend(reply.lines().map(|line| format!("> {line}")));
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    async fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_owned();
        let shown = if line.starts_with("AUTH ") { "AUTH PLAIN <redacted>" } else { &line };
        self.dialog.push(format!("< {shown}"));
        Ok(line)
    }

    async fn message(&mut self) -> io::Result<Vec<u8>> {
        let mut message = Vec::new();
        loop {
            let start = message.len();
            if self.stream.read_until(b'\n', &mut message).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
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
}
