//! How fast alerts are sealed on one core: cargo bench --bench seal
//!
//! An alert of 2 KiB is signed, padded to its size class and encrypted to an RSA-4096 and to a Cv25519 certificate, in
//! both formats; beside it the public-key operations that no program can do without: one encryption of a session key,
//! one Ed25519 signature, by the same library. `items/s` are messages. Last stands how many times the bare operations a
//! sealed message takes.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use divan::Bencher;
use divan::counter::ItemsCount;
use sealrelay::config::Config;
use sealrelay::envelope::Envelope;
use sealrelay::mail::{Greeting, Mail};
use sealrelay::seal::{Numbered, Sealer, Signers};
use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::{CertBuilder, CipherSuite};
use openpgp::crypto::{KeyPair, SessionKey, Signer as _};
use openpgp::packet::key::{PublicParts, UnspecifiedRole};
use openpgp::packet::{Key, PKESK, pkesk::PKESK3};
use openpgp::parse::Parse;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto;
use openpgp::types::{HashAlgorithm, SymmetricAlgorithm};

/// What is sealed to.
#[derive(Clone, Copy)]
struct Kind {
    nth: usize,
    name: &'static str,
    suite: CipherSuite,
    format: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind { nth: 0, name: "RSA-4096", suite: CipherSuite::RSA4k, format: "pgp-mime" },
    Kind { nth: 1, name: "RSA-4096, inline", suite: CipherSuite::RSA4k, format: "inline" },
    Kind { nth: 2, name: "Cv25519", suite: CipherSuite::Cv25519, format: "pgp-mime" },
    Kind { nth: 3, name: "Cv25519, inline", suite: CipherSuite::Cv25519, format: "inline" },
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// As in the daemon: what is freed is overwritten.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() {
    divan::main();
    // `cargo test --benches` only asks whether it runs.
    if !std::env::args().any(|argument| argument == "--test") {
        println!();
        for kind in KINDS {
            println!("{:17} {:.2} times the bare public-key operations", kind.name, times_the_bare(kind.nth));
        }
    }
}

#[divan::bench(args = KINDS, sample_count = 20, sample_size = 100)]
fn sealed(bencher: Bencher<'_, '_>, kind: Kind) {
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| BENCH.seal(kind.nth));
}

#[divan::bench(args = KINDS, sample_count = 20, sample_size = 100)]
fn bare_public_key_operations(bencher: Bencher<'_, '_>, kind: Kind) {
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| BENCH.bare(kind.nth));
}

/// The least of many short rounds of each, in turns, so that what else the machine does hits neither.
fn times_the_bare(nth: usize) -> f64 {
    let timed = |what: &dyn Fn()| {
        let began = Instant::now();
        (0..5).for_each(|_| what());
        began.elapsed()
    };
    let mut least = [Duration::MAX; 2];
    for _ in 0..400 {
        let both = [timed(&|| drop(BENCH.seal(nth))), timed(&|| drop(BENCH.bare(nth)))];
        least = [0, 1].map(|which| least[which].min(both[which]));
    }
    least[0].as_secs_f64() / least[1].as_secs_f64()
}

static BENCH: LazyLock<Bench> = LazyLock::new(Bench::new);

struct Bench {
    sealer: Sealer,
    signer: KeyPair,
    keys: Vec<Key<PublicParts, UnspecifiedRole>>,
    mail: Mail,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = configuration(folder.path());
        let now = std::time::SystemTime::now();
        let signer = Signers::open(&config.state, &config.sender.address, now).expect("a signing key");
        let sealer = Sealer::open(&config, signer, SystemTime::now()).expect("certificates");
        let policy = StandardPolicy::new();
        let certificate = Cert::from_file(config.state.join("signer.pgp")).expect("the key it made");
        let own = certificate.keys().with_policy(&policy, None).for_signing().secret().next().expect("a key");
        let key = |kind: &Kind| {
            let certificate = Cert::from_file(folder.path().join(format!("{}.asc", kind.nth))).expect("a certificate");
            let keys = certificate.keys().with_policy(&policy, None).for_transport_encryption();
            keys.map(|key| key.key().clone().role_into_unspecified()).next().expect("an encryption key")
        };
        let pair = own.key().clone().into_keypair().expect("a key pair");
        Self { sealer, signer: pair, keys: KINDS.iter().map(key).collect(), mail: mail() }
    }

    fn seal(&self, nth: usize) -> Vec<u8> {
        let number =
            Numbered { epoch: "0123456789abcdef", sequence: 4711, heartbeat: None, blocks: None, contains: None };
        self.sealer.seal(&self.mail, nth, Vec::new(), &number).expect("sealed").message
    }

    fn bare(&self, nth: usize) -> (PKESK, openpgp::crypto::mpi::Signature) {
        let session_key = SessionKey::new(32).expect("a session key");
        let encrypted =
            PKESK3::for_recipient(SymmetricAlgorithm::AES256, &session_key, &self.keys[nth]).expect("encrypted");
        let signature = self.signer.clone().sign(HashAlgorithm::SHA512, &[7; 64]).expect("signed");
        (encrypted.into(), signature)
    }
}

/// An alert of 2 KiB in OSSEC's form.
fn mail() -> Mail {
    let head = "To: <root@localhost>\r\nSubject: OSSEC Notification - monitor - Alert level 5\r\n\r\n";
    let line = "Nov 20 19:26:42 monitor sshd[67231]: Invalid user guest from 198.51.100.7 port 4711\r\n";
    let octets = (head.to_owned() + &line.repeat(2048 / line.len())).into_bytes();
    Mail {
        envelope: Envelope::default(),
        octets,
        arrival: SystemTime::now(),
        client: "127.0.0.1:4711".to_owned(),
        greeting: Greeting::Helo("monitor".to_owned()),
        notes: Vec::new(),
        source: None,
        block: None,
    }
}

/// A fresh certificate: whatever is published is refused.
fn certificate(suite: CipherSuite) -> Cert {
    let builder = CertBuilder::general_purpose(Some("<admin@example.org>")).set_cipher_suite(suite);
    builder.generate().expect("a key").0
}

/// One recipient for each kind.
fn configuration(folder: &Path) -> Config {
    use std::os::unix::fs::PermissionsExt;
    let mut text = "[sender]\naddress = \"ossec@example.org\"\n[state]\ndirectory = \"state\"\n\
        [[relay]]\nhost = \"localhost\"\nport = 587\n"
        .to_owned();
    fs::create_dir(folder.join("state")).expect("made");
    for Kind { nth, suite, format, .. } in KINDS {
        let certificate = certificate(suite);
        let fingerprint = certificate.fingerprint();
        let file = folder.join(format!("{nth}.asc"));
        fs::write(&file, certificate.armored().to_vec().expect("armored")).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("private");
        text.push_str(&format!(
            "[[recipient]]\naddress = \"r{nth}@example.org\"\ncertificate = \"{nth}.asc\"\nfingerprint = \"{fingerprint:X}\"\n\
             format = \"{format}\"\ndefault = true\n"
        ));
    }
    let file = folder.join("sealrelay.toml");
    fs::write(&file, text).expect("written");
    Config::load(&file).expect("a configuration")
}
