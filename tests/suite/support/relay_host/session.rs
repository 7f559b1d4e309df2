//! One session of the relay host: its dialog before and inside TLS, step by step.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use base64::Engine;
use rustls::{ServerConnection, StreamOwned};

use super::tls::{chokes, rustls_server, server_config};
use super::{Act, Duplex, PASSWORD, Script, Shared, Taken, USERNAME};

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

/// The whole of it.
pub fn serve(stream: TcpStream, session: usize, shared: &Shared) -> std::io::Result<()> {
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
