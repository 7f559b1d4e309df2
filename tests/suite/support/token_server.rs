//! A token server (RFC 6749) over real TLS: answers as a test says, and remembers what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use super::pki::Identity;
use super::relay_host::{chokes, server_config};

/// Status code and content.
pub type Answer = (u16, String);
/// What a request is answered with.
pub type Answers = dyn FnMut(&Asked) -> Answer + Send;

/// A form as it came.
pub type Asked = HashMap<String, String>;

pub struct TokenServer {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// The longest ClientHello it takes.
    longest_hello: Mutex<Option<usize>>,
    asked: Mutex<Vec<Asked>>,
    answers: Mutex<Box<Answers>>,
}

impl TokenServer {
    pub fn start(identity: &Identity, answers: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            longest_hello: Mutex::default(),
            asked: Mutex::default(),
            answers: Mutex::new(Box::new(answers)),
        });
        let (own, config) = (Arc::clone(&shared), Arc::new(server_config(identity, None)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = own.serve(stream, ServerConnection::new(Arc::clone(&config)).expect("a connection"));
            }
        });
        Self { port, shared }
    }

    /// One that gives `access-1`, `access-2` and so on for any grant, each for `seconds`.
    pub fn counting(identity: &Identity, seconds: u64) -> Self {
        let mut given = 0;
        Self::start(identity, move |_| {
            given += 1;
            (200, grant(&format!("access-{given}"), seconds, None))
        })
    }

    pub fn now(&self, answers: impl FnMut(&Asked) -> Answer + Send + 'static) {
        *self.shared.answers.lock().expect("answers") = Box::new(answers);
    }

    /// Resets connections whose ClientHello is longer, from the next one on.
    pub fn takes_hellos_up_to(&self, limit: usize) {
        *self.shared.longest_hello.lock().expect("a limit") = Some(limit);
    }

    pub fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.shared.asked.lock().expect("asked")
    }

    /// `[relay.oauth]` for it, with a refresh token; the files are the test's to write.
    pub fn oauth(&self) -> String {
        format!(
            "[relay.oauth]\ntoken_url = \"https://localhost:{}/token\"\nclient_id = \"client-1\"\nca_file = \"ca.pem\"\n",
            self.port
        )
    }
}

/// What a server says that grants a token.
pub fn grant(token: &str, seconds: u64, refresh_token: Option<&str>) -> String {
    let refresh = refresh_token.map(|token| format!(",\"refresh_token\":\"{token}\"")).unwrap_or_default();
    format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{seconds}{refresh}}}")
}

impl Shared {
    fn serve(&self, stream: TcpStream, connection: ServerConnection) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let limit = *self.longest_hello.lock().expect("a limit");
        if limit.is_some_and(|limit| chokes(&stream, limit)) {
            return Ok(());
        }
        let mut stream = BufReader::new(StreamOwned::new(connection, stream));
        let mut length = 0;
        let mut request = String::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.trim().is_empty() {
                break;
            }
            request.push_str(&line);
        }
        assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
        let mut form = vec![0; length];
        stream.read_exact(&mut form)?;
        let form = fields(&String::from_utf8_lossy(&form));
        let (status, content) = (self.answers.lock().expect("answers"))(&form);
        self.asked.lock().expect("asked").push(form);
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {}\r\nLocation: https://localhost:1/\r\n\r\n",
            content.len()
        );
        stream.get_mut().write_all(format!("{head}{content}").as_bytes())?;
        stream.get_mut().flush()
    }
}

fn fields(form: &str) -> Asked {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (unescaped(name), unescaped(value))).collect()
}

fn unescaped(text: &str) -> String {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet == b'%' {
            let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
            let digits = std::str::from_utf8(&digits).expect("ASCII");
            octets.push(u8::from_str_radix(digits, 16).expect("hex"));
        } else {
            octets.push(octet);
        }
    }
    String::from_utf8(octets).expect("UTF-8")
}
