//! A small web server over real TLS: answers as a test says, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};

use super::eventually;
use super::pki::Identity;
use super::relay_host::{chokes, server_config};

/// What a request is answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status code and content; a redirect leads to nowhere.
    Say(u16, String),
    /// Nothing, until the client goes.
    Hang,
    /// A content that does not end.
    Endless,
}

/// Makes answers.
pub type Answers = dyn FnMut(&Request) -> Answer + Send;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST /path HTTP/1.1` and the fields behind it, a line each.
    pub head: String,
    pub body: String,
}

pub struct WebServer {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    identity: Mutex<Identity>,
    /// The longest ClientHello it takes.
    longest_hello: Mutex<Option<usize>>,
    asked: Mutex<Vec<Request>>,
    answers: Mutex<Box<Answers>>,
}

impl WebServer {
    pub fn start(identity: &Identity, answers: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            identity: Mutex::new(identity.clone()),
            longest_hello: Mutex::default(),
            asked: Mutex::default(),
            answers: Mutex::new(Box::new(answers)),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = Arc::clone(&own);
                std::thread::spawn(move || own.serve(stream));
            }
        });
        Self { port, shared }
    }

    /// One that answers every request with this status code.
    pub fn saying(identity: &Identity, status: u16) -> Self {
        Self::start(identity, move |_| Answer::Say(status, "ok".to_owned()))
    }

    pub fn now(&self, answers: impl FnMut(&Request) -> Answer + Send + 'static) {
        *self.shared.answers.lock().expect("answers") = Box::new(answers);
    }

    /// Shows another certificate from the next connection on.
    pub fn shows(&self, identity: &Identity) {
        *self.shared.identity.lock().expect("an identity") = identity.clone();
    }

    /// Resets connections whose ClientHello is longer, from the next one on.
    pub fn takes_hellos_up_to(&self, limit: usize) {
        *self.shared.longest_hello.lock().expect("a limit") = Some(limit);
    }

    pub fn asked(&self) -> MutexGuard<'_, Vec<Request>> {
        self.shared.asked.lock().expect("asked")
    }

    /// The requests, once there are `count`.
    #[track_caller]
    pub fn asked_for(&self, count: usize) -> Vec<Request> {
        eventually(&format!("{count} request(s)"), || Some(self.asked().clone()).filter(|asked| asked.len() >= count))
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let limit = *self.longest_hello.lock().expect("a limit");
        if limit.is_some_and(|limit| chokes(&stream, limit)) {
            return Ok(());
        }
        let config = server_config(&self.identity.lock().expect("an identity"), None);
        let connection = ServerConnection::new(Arc::new(config)).expect("a connection");
        let mut stream = BufReader::new(StreamOwned::new(connection, stream));
        let request = read(&mut stream)?;
        // Remembered first: whoever has the answer may look.
        self.asked.lock().expect("asked").push(request.clone());
        let answer = (self.answers.lock().expect("answers"))(&request);
        let stream = stream.get_mut();
        match answer {
            Answer::Say(status, content) => {
                let length = content.len();
                write!(
                    stream,
                    "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nLocation: https://localhost:1/\r\n\r\n{content}"
                )?;
                stream.flush()
            }
            Answer::Hang => stream.read(&mut [0]).map(|_| ()),
            Answer::Endless => {
                stream.write_all(b"HTTP/1.1 200 Ok\r\nConnection: close\r\n\r\n")?;
                // Ends when the client has had enough; a bound all the same.
                (0..100_000).try_for_each(|_| stream.write_all(&[b'x'; 1024]))
            }
        }
    }
}

fn read(stream: &mut impl BufRead) -> std::io::Result<Request> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Request { head, body: String::from_utf8(body).expect("UTF-8") })
}
