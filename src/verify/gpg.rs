//! Decryption by the recipient's own `gpg`, with whatever agent, smartcard and pinentry is set up there.
//!
//! Only the encryption is gpg's: `--unwrap` hands out the signed OpenPGP message inside, and its signature is checked by
//! us. Guarantees: no shell, no file; output and time are bounded; only gpg's status lines are read, never what it says
//! to people. On failure about one message the caller goes on with the next.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::outside;
use crate::envelope::printable;

/// How long one message may take. A person may have to find the smartcard and enter its PIN.
const PATIENCE: Duration = Duration::from_secs(180);
/// The most that is taken of what gpg writes, octets. What is sealed is not compressed: it cannot grow.
const OUTPUT: u64 = 128 * 1024 * 1024;
/// The most that is taken of its status lines, octets.
const STATUS: u64 = 64 * 1024;

/// The program.
pub struct Gpg {
    /// Its name or path.
    pub program: PathBuf,
}

/// What gpg could not do.
#[derive(Debug, thiserror::Error)]
pub enum GpgError {
    /// It cannot be run at all.
    #[error("cannot run {0}: {1}")]
    Program(PathBuf, io::Error),
    /// It could not decrypt this message.
    #[error("{0}")]
    Message(String),
}

/// A message without its encryption.
pub struct Unwrapped {
    /// The OpenPGP message inside, signed or not.
    pub octets: Vec<u8>,
    /// The full fingerprint of the certificate whose key opened it.
    pub certificate: String,
}

impl Gpg {
    /// Takes the encryption off `armored`.
    ///
    /// # Errors
    /// gpg cannot be run, or cannot decrypt it in time.
    pub fn unwrap(&self, armored: &[u8]) -> Result<Unwrapped, GpgError> {
        if !outside::is_ours(armored) {
            let why = "it is not sealed as the relay does it: for named keys, and without a passphrase";
            return Err(GpgError::Message(why.to_owned()));
        }
        let output = self.run(&["--decrypt", "--unwrap"], armored)?;
        let status = |name: &str| output.status.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if !output.success || status("DECRYPTION_OKAY").is_none() {
            let why = match (status("NO_SECKEY"), status("DECRYPTION_FAILED")) {
                (Some(id), _) => format!("there is no secret key {} here", printable(id.as_bytes())),
                (None, Some(_)) => "gpg cannot decrypt it".to_owned(),
                (None, None) => "gpg finds nothing to decrypt".to_owned(),
            };
            return Err(GpgError::Message(why));
        }
        // DECRYPTION_KEY <fingerprint of the key> <fingerprint of its certificate> <ownertrust>
        let certificate = status("DECRYPTION_KEY").and_then(|rest| rest.split(' ').nth(1)).unwrap_or_default();
        Ok(Unwrapped { octets: output.octets, certificate: printable(certificate.as_bytes()) })
    }

    /// The certificate with `fingerprint` in the user's keyring, as gpg has it.
    ///
    /// # Errors
    /// gpg cannot be run.
    pub fn export(&self, fingerprint: &str) -> Result<Vec<u8>, GpgError> {
        Ok(self.run(&["--export", "--", fingerprint], &[])?.octets)
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Output, GpgError> {
        let trouble = |error| GpgError::Program(self.program.clone(), error);
        let mut child = Command::new(&self.program)
            // What it says to people is of no use here, and would mix with the status lines.
            .args(["--batch", "--no-tty", "--quiet", "--logger-file", "/dev/null", "--status-fd", "2"])
            .args(["--no-auto-key-retrieve", "--no-auto-check-trustdb"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(trouble)?;
        let octets = reader(child.stdout.take(), OUTPUT);
        let status = reader(child.stderr.take(), STATUS);
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            // It may end without having read everything.
            std::thread::spawn(move || stdin.write_all(&input));
        }
        let success = wait(&mut child).map_err(trouble)?;
        let taken = |octets: Receiver<Option<Vec<u8>>>| octets.recv_timeout(Duration::from_secs(10)).ok().flatten();
        let (octets, status) = (taken(octets), taken(status).unwrap_or_default());
        let status = String::from_utf8_lossy(&status);
        let status = status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] ")).map(str::to_owned);
        match (success, octets) {
            (Some(success), Some(octets)) => Ok(Output { success, octets, status: status.collect() }),
            (None, _) => Err(GpgError::Message(format!("gpg did not end within {} s", PATIENCE.as_secs()))),
            (_, None) => Err(GpgError::Message("what is inside is larger than anything the relay makes".to_owned())),
        }
    }
}

struct Output {
    success: bool,
    octets: Vec<u8>,
    status: Vec<String>,
}

/// Reads a pipe to its end in a thread of its own; `None` if there is more than `limit`.
fn reader(pipe: Option<impl Read + Send + 'static>, limit: u64) -> Receiver<Option<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut octets = Vec::new();
        let read = pipe.map(|pipe| pipe.take(limit + 1).read_to_end(&mut octets));
        let whole = matches!(read, Some(Ok(count)) if count as u64 <= limit);
        // Nobody may be waiting any more.
        let _ = sender.send(whole.then_some(octets));
    });
    receiver
}

/// Whether it ended well; `None` if it had to be stopped.
fn wait(child: &mut Child) -> io::Result<Option<bool>> {
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if Instant::now() > until {
            let _ = child.kill();
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
