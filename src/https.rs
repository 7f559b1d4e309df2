//! The one HTTP client: a small request to an `https` server, a small answer back, over our own connection and TLS.
//!
//! Guarantees: the server is verified as a relay host is, before a word is said; no redirect is followed, because what is
//! sent is meant for this server; answer, header and time are bounded. On failure nothing is repeated here. The server
//! controls the answer's octets, and through a proxy its name is never looked up on this machine.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use crate::config::{HttpsUrl, Proxy};
use crate::connect::{ConnectError, connect};
use crate::tls::{Groups, Handshake, Offer, Presented, Tls, TlsError, TrustStore};

/// From the first packet to the last octet of the answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer, octets. Token servers say 2 to 5 KiB.
const ANSWER_LIMIT: usize = 64 * 1024;
/// The longest header of an answer, octets.
const HEADER_LIMIT: usize = 32 * 1024;
/// The most fields in it.
const FIELDS_LIMIT: usize = 100;

/// A client of one server.
pub struct Https {
    tls: Tls,
    proxy: Option<Proxy>,
}

/// What a server answered.
pub struct Answer {
    /// The status code (RFC 9110 15).
    pub status: u16,
    /// The content, which may be a secret.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No verified TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not in time.
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Timeout,
    /// What came is no HTTP, or broke off.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("{0}")]
    Request(#[from] hyper::http::Error),
    /// The answer is over the limit.
    #[error("its answer is longer than {ANSWER_LIMIT} octets")]
    TooLong,
    /// The answer broke off.
    #[error("its answer broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

impl Https {
    /// For a server that `store` trusts, through `proxy` if there is one.
    pub fn new(store: Arc<TrustStore>, proxy: Option<Proxy>) -> Self {
        Self { tls: Tls::new(store), proxy }
    }

    /// Posts `fields` as a form.
    ///
    /// # Errors
    /// There is no whole answer of that server, verified, in time and within the limits. Any status code is an answer.
    pub async fn post_form(&self, url: &HttpsUrl, fields: &[(&str, &str)]) -> Result<Answer, HttpsError> {
        self.ask(url, Method::POST, "application/x-www-form-urlencoded", form(fields)).await
    }

    /// Posts `json`.
    ///
    /// # Errors
    /// As for [`Https::post_form`].
    pub async fn post_json(&self, url: &HttpsUrl, json: String) -> Result<Answer, HttpsError> {
        self.ask(url, Method::POST, "application/json", json).await
    }

    /// Asks for what is there.
    ///
    /// # Errors
    /// As for [`Https::post_form`].
    pub async fn get(&self, url: &HttpsUrl) -> Result<Answer, HttpsError> {
        self.ask(url, Method::GET, "", String::new()).await
    }

    async fn ask(&self, url: &HttpsUrl, method: Method, kind: &str, body: String) -> Result<Answer, HttpsError> {
        let mut request = Request::builder()
            .method(method)
            .uri(url.path.as_str())
            .header("Host", url.authority())
            .header("Accept", "application/json, */*;q=0.5")
            .header("Connection", "close");
        if !kind.is_empty() {
            request = request.header("Content-Type", kind);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answered = async { exchange(self.connected(url).await?, request).await };
        timeout(PATIENCE, answered).await.unwrap_or(Err(HttpsError::Timeout))
    }

    async fn connected(&self, url: &HttpsUrl) -> Result<TlsStream<TcpStream>, HttpsError> {
        match self.secured(url, Groups::All).await {
            // The same box on the way that chokes on the longer ClientHello to a relay host.
            Err(HttpsError::Tls(error)) if error.may_be_the_hello() => self.secured(url, Groups::Classic).await,
            outcome => outcome,
        }
    }

    async fn secured(&self, url: &HttpsUrl, groups: Groups) -> Result<TlsStream<TcpStream>, HttpsError> {
        let stream = connect(&url.host, url.port, self.proxy.as_ref(), PATIENCE).await?.stream;
        let offer = Offer { host: &url.host, identity: None, groups };
        Ok(self.tls.connect(stream, offer, Handshake::Strict, &mut Presented::default()).await?)
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, HttpsError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEADER_LIMIT)
        .max_headers(FIELDS_LIMIT)
        .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await?;
    // Moves the octets; ends with this function, whatever happens.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await?;
    Ok(Answer { status: response.status().as_u16(), body: content(response.into_body()).await? })
}

async fn content(body: Incoming) -> Result<Zeroizing<Vec<u8>>, HttpsError> {
    match Limited::new(body, ANSWER_LIMIT).collect().await {
        Ok(whole) => Ok(Zeroizing::new(whole.to_bytes().to_vec())),
        Err(error) if error.is::<LengthLimitError>() => Err(HttpsError::TooLong),
        Err(error) => Err(HttpsError::Body(error)),
    }
}

/// `application/x-www-form-urlencoded`, as RFC 6749 B has it: UTF-8, everything but unreserved octets as `%NN`.
fn form(fields: &[(&str, &str)]) -> String {
    let mut form = String::new();
    for (name, value) in fields {
        if !form.is_empty() {
            form.push('&');
        }
        escape(&mut form, name);
        form.push('=');
        escape(&mut form, value);
    }
    form
}

fn escape(form: &mut String, text: &str) {
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => form.push(char::from(octet)),
            _ => form.push_str(&format!("%{octet:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn a_form_has_nothing_raw_but_unreserved_octets() {
        let fields = [("scope", "https://mail.google.com/ a&b=c"), ("secret", "\u{e9}+%~")];
        assert_eq!(form(&fields), "scope=https%3A%2F%2Fmail.google.com%2F%20a%26b%3Dc&secret=%C3%A9%2B%25~");
    }

    /// What becomes of a server that answers `octets` and then closes, or stays.
    async fn answered(octets: Vec<u8>, close: bool) -> Result<Answer, HttpsError> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(async move {
            let mut request = [0; 4096];
            let count = theirs.read(&mut request).await.unwrap_or(0);
            let _ = theirs.write_all(&octets).await;
            if !close {
                std::future::pending::<()>().await;
            }
            request[..count].to_vec()
        });
        let request =
            Request::post("/token").header("Host", "x").body(Full::new(Bytes::from("a=b"))).expect("a request");
        let outcome = timeout(Duration::from_secs(20), exchange(ours, request)).await.expect("bounded");
        server.abort();
        outcome
    }

    #[tokio::test]
    async fn answers_of_each_framing_are_read() {
        for octets in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
        ] {
            let answer = answered(octets.to_vec(), true).await.expect("an answer");
            assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{}"[..]));
        }
        let redirect = b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(answered(redirect.to_vec(), false).await.expect("an answer").status, 302);
    }

    #[tokio::test]
    async fn an_answer_without_end_a_broken_one_and_nonsense_are_errors() {
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        let endless = [&head[..], &vec![b'x'; ANSWER_LIMIT + 1]].concat();
        assert!(matches!(answered(endless, false).await, Err(HttpsError::TooLong)));
        let fields = [&b"HTTP/1.1 200 OK\r\n"[..], &b"X: y\r\n".repeat(FIELDS_LIMIT + 1), b"\r\n"].concat();
        assert!(answered(fields, false).await.is_err());
        let long = [&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; HEADER_LIMIT + 4096]].concat();
        assert!(answered(long, false).await.is_err());
        for broken in [&b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"[..], b"220 smtp.example.org ESMTP\r\n", b""] {
            assert!(answered(broken.to_vec(), true).await.is_err());
        }
    }
}
