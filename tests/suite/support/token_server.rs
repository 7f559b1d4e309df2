//! A token server (RFC 6749) over real TLS: answers as a test says, and remembers what it was asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::pki::Identity;
use super::web_server::{self, WebServer};

/// Status code and content.
pub type Answer = (u16, String);

/// A form as it came.
pub type Asked = HashMap<String, String>;

pub struct TokenServer {
    pub port: u16,
    server: WebServer,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl TokenServer {
    pub fn start(identity: &Identity, answers: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        let asked = Arc::default();
        let server = WebServer::start(identity, serving(&asked, answers));
        Self { port: server.port, server, asked }
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
        self.server.now(serving(&self.asked, answers));
    }

    /// Resets connections whose ClientHello is longer, from the next one on.
    pub fn takes_hellos_up_to(&self, limit: usize) {
        self.server.takes_hellos_up_to(limit);
    }

    pub fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().expect("asked")
    }

    /// `[relay.oauth]` for it, with a refresh token; the files are the test's to write.
    pub fn oauth(&self) -> String {
        format!(
            "[relay.oauth]\ntoken_url = \"https://localhost:{}/token\"\nclient_id = \"client-1\"\nca_file = \"ca.pem\"\n",
            self.port
        )
    }
}

/// Answers to forms, which are remembered in `asked`.
fn serving(
    asked: &Arc<Mutex<Vec<Asked>>>,
    mut answers: impl FnMut(&Asked) -> Answer + Send + 'static,
) -> impl FnMut(&web_server::Request) -> web_server::Answer + Send + 'static {
    let asked = Arc::clone(asked);
    move |request| {
        assert!(request.head.starts_with("POST /token HTTP/1.1\r\n"), "{}", request.head);
        let form = fields(&request.body);
        let (status, content) = answers(&form);
        asked.lock().expect("asked").push(form);
        web_server::Answer::Say(status, content)
    }
}

/// What a server says that grants a token.
pub fn grant(token: &str, seconds: u64, refresh_token: Option<&str>) -> String {
    let refresh = refresh_token.map(|token| format!(",\"refresh_token\":\"{token}\"")).unwrap_or_default();
    format!("{{\"access_token\":\"{token}\",\"token_type\":\"Bearer\",\"expires_in\":{seconds}{refresh}}}")
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
