//! Where the metrics go: a file that is replaced in one step, and answers to HTTP requests.
//!
//! Whatever is asked for is the metrics: there is one page. Requests, their time and peers at once are bounded.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::config::Metrics;
use crate::maillog;
use crate::shutdown::Shutdown;
use crate::unix_socket::{self, Reach};

/// How often the file is written.
const EVERY: Duration = Duration::from_secs(15);
/// The largest head of a request, octets.
const REQUEST_LIMIT: u64 = 8192;
/// How long a peer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Peers at once.
const PEERS: usize = 4;

/// Makes the page; called on a blocking thread.
pub type Make = Arc<dyn Fn() -> String + Send + Sync>;

/// Sockets that wait for scrapes.
pub struct Bound {
    unix: Option<UnixListener>,
    tcp: Option<TcpListener>,
}

/// Binds what `metrics` asks for.
///
/// # Errors
/// A socket cannot be bound; which one.
pub async fn bind(metrics: &Metrics) -> Result<Bound, (String, io::Error)> {
    let unix = metrics
        .socket
        .as_deref()
        .map(|path| unix_socket::bind(path, Reach::Group).map_err(|e| (path.display().to_string(), e)));
    let tcp = match metrics.listen {
        Some(address) => Some(TcpListener::bind(address).await.map_err(|error| (address.to_string(), error))?),
        None => None,
    };
    Ok(Bound { unix: unix.transpose()?, tcp })
}

impl Bound {
    /// The TCP address, if there is one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref()?.local_addr().ok()
    }
}

/// Publishes what `make` makes until `shutdown`.
pub async fn publish(metrics: Metrics, bound: Bound, make: Make, shutdown: Shutdown) {
    let mut tasks = JoinSet::new();
    if let Some(file) = metrics.textfile {
        let (make, shutdown) = (Arc::clone(&make), shutdown.clone());
        tasks.spawn(async move { write_file(&file, make, shutdown).await });
    }
    if let Some(listener) = bound.unix {
        let (make, shutdown) = (Arc::clone(&make), shutdown.clone());
        tasks.spawn(serve(async move || Ok(listener.accept().await?.0), make, shutdown));
    }
    if let Some(listener) = bound.tcp {
        tasks.spawn(serve(async move || Ok(listener.accept().await?.0), make, shutdown));
    }
    tasks.join_all().await;
}

async fn write_file(file: &Path, make: Make, mut shutdown: Shutdown) {
    let mut was_written = true;
    while !shutdown.is_ending() {
        let (make, path) = (Arc::clone(&make), file.to_owned());
        let written =
            spawn_blocking(move || replace(&path, &make())).await.unwrap_or_else(|e| Err(io::Error::other(e)));
        if let Err(error) = &written
            && was_written
        {
            maillog::hindered(&format!("metrics cannot be written to {}", file.display()), &error.to_string());
        }
        was_written = written.is_ok();
        tokio::select! {
            () = shutdown.wait() => {}
            () = sleep(EVERY) => {}
        }
    }
    // Numbers of a daemon that is gone would look alive.
    let _ = std::fs::remove_file(file);
}

/// Readable for the collector; in one step, so that it never reads a half. Not synced: it is written anew soon.
fn replace(file: &Path, page: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let new = file.with_extension("prom.new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A file of our own making: the folder may be somebody else's, who could have put a link to one of ours there.
    let mut opened = std::fs::File::create_new(&new)?;
    opened.write_all(page.as_bytes())?;
    opened.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    std::fs::rename(new, file)
}

async fn serve<S>(accept: impl AsyncFn() -> io::Result<S>, make: Make, mut shutdown: Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peers = Arc::new(Semaphore::new(PEERS));
    loop {
        let Ok(place) = Arc::clone(&peers).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.wait() => return,
            accepted = accept() => accepted,
        };
        match accepted {
            Ok(peer) => {
                let make = Arc::clone(&make);
                tokio::spawn(async move {
                    let _ = timeout(PATIENCE, answer(peer, make)).await;
                    drop(place);
                });
            }
            Err(error) => {
                maillog::hindered("the metrics socket cannot take a connection", &error.to_string());
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// One request, one answer, in the least HTTP/1.1 there is (RFC 9112): its head is read up to the empty line.
async fn answer(mut peer: impl AsyncRead + AsyncWrite + Unpin, make: Make) -> io::Result<()> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = peer.read(&mut chunk).await?;
        if count == 0 || head.len() as u64 > REQUEST_LIMIT {
            return Ok(());
        }
        head.extend_from_slice(&chunk[..count]);
    }
    let page = spawn_blocking(move || make()).await.map_err(io::Error::other)?;
    let length = page.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    peer.write_all(head.as_bytes()).await?;
    peer.write_all(page.as_bytes()).await?;
    peer.shutdown().await
}
