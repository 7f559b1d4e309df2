//! A scripted relay host with real TLS: says what a test wants at each step, and remembers all it heard.

mod session;
mod tls;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

pub use tls::{chokes, rustls_server, rustls_server_of, server_config};

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
                    let _ = session::serve(stream, session, &shared);
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
