//! What the machine allows: the raw operations that a sealed, durable message is made of, each as fast as they go.
//!
//! Each subcommand keeps a number of threads busy with one operation and prints one line, `count= seconds= rate=`. What
//! `compare.sh` measures of sealrelay in the same run cannot be better than these, and should not be much worse.

#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::{CertBuilder, CipherSuite};
use openpgp::crypto::{KeyPair, SessionKey, Signer as _};
use openpgp::packet::Key;
use openpgp::packet::key::{PublicParts, UnspecifiedRole};
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::stream::{Armorer, Encryptor, LiteralWriter, Message, Recipient, Signer};
use openpgp::types::{Features, HashAlgorithm, SymmetricAlgorithm};

#[derive(Parser)]
struct Arguments {
    /// Threads at the same time
    #[arg(long, global = true, default_value_t = 2)]
    threads: usize,
    /// What to do
    #[command(subcommand)]
    what: What,
    /// What `cargo bench` adds
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// Create a file, write it, sync it: what durable storage takes at the least
    Files {
        /// Where; the files are removed afterwards
        #[arg(long)]
        folder: PathBuf,
        /// How many
        #[arg(long, default_value_t = 2000)]
        count: usize,
        /// Octets of each
        #[arg(long, default_value_t = 16 * 1024)]
        size: usize,
    },
    /// One encryption of a session key to the certificate and one Ed25519 signature: what no sealing does without
    Keys {
        /// The recipient's certificate
        #[arg(long)]
        certificate: PathBuf,
        /// For how long
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// A whole OpenPGP message, signed, encrypted and armored by Sequoia's streaming writers, in memory
    Messages {
        /// The recipient's certificate
        #[arg(long)]
        certificate: PathBuf,
        /// Octets of the text; this many become a message of the 16 KiB class
        #[arg(long, default_value_t = 11_200)]
        size: usize,
        /// For how long
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
}

fn main() -> openpgp::Result<()> {
    let Arguments { threads, what, .. } = Arguments::parse();
    let line = match what {
        What::Files { folder, count, size } => files(&folder, threads, count, size)?,
        What::Keys { certificate, seconds } => {
            let keys = Keys::new(&certificate)?;
            busy(threads, seconds, || keys.operations())?
        }
        What::Messages { certificate, size, seconds } => {
            let (keys, text) = (Keys::new(&certificate)?, vec![b'x'; size]);
            busy(threads, seconds, || keys.message(&text))?
        }
    };
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}

fn result(count: usize, taken: Duration) -> String {
    let seconds = taken.as_secs_f64();
    format!("count={count} seconds={seconds:.3} rate={:.1}", count as f64 / seconds)
}

fn files(folder: &Path, threads: usize, count: usize, size: usize) -> openpgp::Result<String> {
    let content = vec![b'x'; size];
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    parallel(threads, || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let mut file = OpenOptions::new().write(true).create_new(true).open(folder.join(number.to_string()))?;
            file.write_all(&content)?;
            file.sync_data()?;
        }
    })?;
    let taken = started.elapsed();
    (0..count).try_for_each(|number| std::fs::remove_file(folder.join(number.to_string())))?;
    Ok(result(count, taken))
}

/// Repeats `operation` on all threads for `seconds`.
fn busy(threads: usize, seconds: u64, operation: impl Fn() -> openpgp::Result<()> + Sync) -> openpgp::Result<String> {
    let count = AtomicUsize::new(0);
    let started = Instant::now();
    parallel(threads, || {
        while started.elapsed() < Duration::from_secs(seconds) {
            operation()?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })?;
    Ok(result(count.load(Ordering::Relaxed), started.elapsed()))
}

fn parallel(threads: usize, work: impl Fn() -> openpgp::Result<()> + Sync) -> openpgp::Result<()> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// As in the daemon: the recipient's encryption subkey, and an Ed25519 key to sign with.
struct Keys {
    recipient: Key<PublicParts, UnspecifiedRole>,
    signer: KeyPair,
}

impl Keys {
    fn new(certificate: &Path) -> openpgp::Result<Self> {
        let policy = StandardPolicy::new();
        let certificate = Cert::from_file(certificate)?;
        let mut able = certificate.keys().with_policy(&policy, None).supported().for_transport_encryption();
        let recipient = able.next().ok_or_else(|| io::Error::other("the certificate has no key to encrypt to"))?;
        let (signer, _) = CertBuilder::new().set_cipher_suite(CipherSuite::Cv25519).add_signing_subkey().generate()?;
        Ok(Self {
            recipient: recipient.key().clone().role_into_unspecified(),
            signer: signer.primary_key().key().clone().parts_into_secret()?.into_keypair()?,
        })
    }

    fn operations(&self) -> openpgp::Result<()> {
        let algorithm = SymmetricAlgorithm::AES256;
        self.recipient.encrypt(&SessionKey::new(algorithm.key_size()?)?)?;
        self.signer.clone().sign(HashAlgorithm::SHA512, &[7; 64])?;
        Ok(())
    }

    fn message(&self, text: &[u8]) -> openpgp::Result<()> {
        let mut sealed = Vec::with_capacity(2 * text.len());
        let message = Armorer::new(Message::new(&mut sealed)).build()?;
        let recipient = Recipient::new(Features::empty().set_seipdv1(), self.recipient.key_handle(), &self.recipient);
        let message = Encryptor::for_recipients(message, [recipient]).build()?;
        let message = Signer::new(message, self.signer.clone())?.build()?;
        let mut message = LiteralWriter::new(message).build()?;
        message.write_all(text)?;
        message.finalize()
    }
}
