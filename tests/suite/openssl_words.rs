//! What people who know openssl's output find in `sealrelay check`: its texts for its numbers, and the lines they look for.

use std::process::Command;

use openssl::hash::MessageDigest;
use openssl::x509::X509;
use sealrelay::tls::Fault;

use crate::support::daemon::Setup;
use crate::support::have;
use crate::support::pki::{Authority, colon_hex};
use crate::support::relay_host::{RelayHost, Script};

/// Asks the installed library itself, for the command can be made to show only a few of its texts.
const ASK: &str = r#"
import ctypes, ctypes.util, sys
text = ctypes.CDLL(ctypes.util.find_library("crypto")).X509_verify_cert_error_string
text.restype, text.argtypes = ctypes.c_char_p, [ctypes.c_long]
for number in sys.argv[1:]:
    print(text(int(number)).decode())
"#;

/// The installed openssl's texts for these numbers.
fn openssls_texts(numbers: &[u32]) -> Vec<String> {
    let numbers = numbers.iter().map(u32::to_string);
    let output = Command::new("python3").args(["-c", ASK]).args(numbers).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn each_verify_code_has_openssls_own_text() {
    if !have("python3") {
        return;
    }
    let codes: Vec<(u32, &str)> = Fault::ALL.iter().map(|fault| fault.code()).chain([(0, "ok")]).collect();
    let theirs = openssls_texts(&codes.iter().map(|(number, _)| *number).collect::<Vec<_>>());
    assert_eq!(theirs.len(), codes.len());
    let differ: Vec<String> = codes
        .iter()
        .zip(&theirs)
        .filter(|((_, ours), theirs)| ours != theirs)
        .map(|((number, ours), theirs)| format!("{number}: ours {ours:?}, openssl's {theirs:?}"))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// Dates, fingerprints and the rest are read from the certificate by openssl, not by what is tried.
#[test]
fn the_report_on_a_good_relay_host_has_every_line_that_is_looked_for() {
    let authority = Authority::new("test CA");
    let [identity, ..] = authority.issue_below_renewed("localhost", 40);
    let relay_host = RelayHost::start(Script::honest(&identity));
    let setup = Setup::new(relay_host.port, &authority.pem);
    setup.configure();
    let output = setup.run(&["check"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    let own = X509::from_der(&identity.chain[0]).expect("a certificate");
    let [from, to] = [own.not_before(), own.not_after()].map(|time| time.to_string().replace(" GMT", ""));
    let digest = |kind| colon_hex(&own.digest(kind).expect("a digest"));
    let key = own.public_key().and_then(|key| key.public_key_to_der()).expect("a key");
    let key = colon_hex(&openssl::hash::hash(MessageDigest::sha256(), &key).expect("a digest"));
    for block in [
        format!("CONNECTED(127.0.0.1:{})\n220 relay.example.org ESMTP\n", relay_host.port),
        "---\nEHLO before TLS\n  relay.example.org\n  AUTH PLAIN\n  STARTTLS\n---\n".to_owned(),
        "---\nCertificate chain\n 0 s:CN=localhost\n   i:CN=intermediate\n   a:EC, 256 bit; sigalg: ".to_owned(),
        " 1 s:CN=intermediate\n   i:CN=test CA\n".to_owned(),
        format!("\n   v:NotBefore: {from} +00:00; NotAfter: {to} +00:00 (39 days left)\n 1 s:"),
        "\nServer's names: localhost\n".to_owned(),
        format!("\npins = [\"sha256:{}\"]  # this certificate\n", digest(MessageDigest::sha256())),
        format!("\npins = [\"spki-sha256:{key}\"]  # its key, which a renewal may keep\n"),
        format!("\npins = [\"sha1:{}\"]  # this certificate, in the old form\n", digest(MessageDigest::sha1())),
        "---\nProtocol: TLSv1.3\nCipher: TLS13_AES_256_GCM_SHA384\n".to_owned(),
        "\nKey exchange group: X25519MLKEM768 (post-quantum)\n".to_owned(),
        "\nVerify return code: 0 (ok)\n---\n".to_owned(),
        "---\nEHLO inside TLS\n  relay.example.org\n  SIZE 35882577\n  AUTH PLAIN LOGIN\n".to_owned(),
        "\nAUTH mechanisms: PLAIN LOGIN\nSIZE: 35882577 octets\n".to_owned(),
        "\n---\nUsable: verified. The login was not tried (--login tries it).\n".to_owned(),
    ] {
        assert!(text.contains(&block), "{block:?} is missing in:\n{text}");
    }
    assert!(!text.contains("Warning") && !text.contains("NOT USABLE"), "{text}");
}
