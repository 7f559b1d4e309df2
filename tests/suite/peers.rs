//! Real programs at both ends: swaks and a replayed OSSEC as clients, Postfix as the relay host, gpg as the reader.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::client::Client;
use crate::support::daemon::{MARKER, Setup};
use crate::support::relay_host::{PASSWORD, USERNAME};
use crate::support::{eventually, have, met};

/// A private Postfix, stopped when dropped.
pub struct Postfix {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Postfix {
    /// `None` where it cannot run and need not.
    fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with options of `postfix.sh`.
    pub fn start_with(options: &[&str]) -> Option<Self> {
        if !have("smtp-source") {
            return None;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|probe| probe.local_addr()).expect("a port").port();
        let mut child = Command::new(root.join("tests/support/postfix.sh"))
            .args([folder.path().join("postfix").as_os_str(), port.to_string().as_ref()])
            .args([root.join("certs/test/localhost.pem"), root.join("certs/test/localhost-key.pem")])
            .args([USERNAME, PASSWORD])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("postfix.sh runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        if line.trim() != "ready" {
            let code = child.wait().expect("ended").code();
            assert!(code == Some(77), "Postfix did not start: {code:?}");
            met(false, "Postfix, which needs root");
            return None;
        }
        Some(Self { child, folder, port })
    }

    /// The mails it delivered, once there are `count`.
    pub fn mails(&self, count: usize) -> Vec<PathBuf> {
        let new = self.folder.path().join("postfix/Maildir/new");
        eventually(&format!("{count} mail(s) in the Maildir"), || {
            let mut mails: Vec<PathBuf> = fs::read_dir(&new).ok()?.flatten().map(|file| file.path()).collect();
            mails.sort();
            (mails.len() >= count).then_some(mails)
        })
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("postfix/maillog")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // The end of its standard input ends it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// gpg as the recipient has it: with a key of its own making, as gpg 2.2 makes it, of 4096 bits.
struct Gpg {
    home: tempfile::TempDir,
}

impl Gpg {
    fn new() -> Self {
        let gpg = Self { home: tempfile::tempdir().expect("a temporary folder") };
        let parameters = "%no-protection\nKey-Type: RSA\nKey-Length: 4096\nKey-Usage: sign\nSubkey-Type: RSA\n\
                          Subkey-Length: 4096\nSubkey-Usage: encrypt\nName-Email: admin@example.org\nExpire-Date: 0\n%commit\n";
        let file = gpg.home.path().join("parameters");
        fs::write(&file, parameters).expect("written");
        gpg.succeeds(&["--generate-key", file.to_str().expect("a path")]);
        gpg
    }

    /// Takes the relay's certificate.
    fn knows(&self, signer: &Path) {
        self.succeeds(&["--import", signer.to_str().expect("a path")]);
    }

    /// The recipient's certificate and its fingerprint.
    fn certificate(&self) -> (Vec<u8>, String) {
        let listed = self.succeeds(&["--with-colons", "--list-secret-keys"]);
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let fingerprint = listed.lines().find(|line| line.starts_with("fpr:")).and_then(|line| line.split(':').nth(9));
        let exported = self.succeeds(&["--armor", "--export", "<admin@example.org>"]);
        (exported, fingerprint.expect("a fingerprint").to_owned())
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.command().args(arguments).output().expect("gpg runs");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.home.path()).args(["--batch", "--quiet", "--no-tty"]);
        command
    }

    /// The text of the OpenPGP message in `mail`, and gpg's status lines.
    fn decrypt(&self, mail: &Path) -> (Vec<u8>, String) {
        let text = fs::read_to_string(mail).expect("a mail");
        let start = text.find("-----BEGIN PGP MESSAGE-----").expect("armor");
        let end = text.find("-----END PGP MESSAGE-----").expect("the end of armor");
        let armored = self.home.path().join("message.asc");
        fs::write(&armored, format!("{}-----END PGP MESSAGE-----\n", &text[start..end])).expect("written");
        let output = self.command().args(["--status-fd", "2", "--decrypt"]).arg(&armored).output().expect("gpg runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", self.home.path()).args(["--kill", "all"]).status();
    }
}

/// The decoded octets of the alert part of an entity that gpg gave back.
fn alert_of(entity: &[u8]) -> Vec<u8> {
    let mail = mail_parser::MessageParser::default().parse(entity).expect("MIME inside");
    let part = &mail.parts[1];
    let raw = &entity[part.offset_body as usize..part.offset_end as usize];
    match part.encoding {
        mail_parser::Encoding::QuotedPrintable => {
            mail_parser::decoders::quoted_printable::quoted_printable_decode(raw).expect("quoted-printable")
        }
        mail_parser::Encoding::Base64 => mail_parser::decoders::base64::base64_decode(raw).expect("base64"),
        mail_parser::Encoding::None => raw.to_vec(),
    }
}

/// A daemon's folder that leads to `postfix`.
pub fn setup_for(postfix: &Postfix) -> Setup {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ca = fs::read_to_string(root.join("certs/test/ca.pem")).expect("the test CA");
    Setup::new(postfix.port, &ca)
}

/// The same for the recipient whose secret key `gpg` has.
fn setup_for_gpg(postfix: &Postfix, gpg: &Gpg) -> Setup {
    let setup = setup_for(postfix);
    let (certificate, fingerprint) = gpg.certificate();
    setup.write("admin@example.org.asc", &certificate);
    let fresh = setup.recipients[0].1.fingerprint().to_hex();
    setup.with_fingerprint(&fresh, &fingerprint)
}

#[test]
fn an_alert_goes_from_swaks_and_from_ossec_through_postfix_to_gpg_octet_for_octet() {
    let Some(postfix) = Postfix::start() else { return };
    if !have("swaks") || !have("gpg") {
        return;
    }
    let gpg = Gpg::new();
    let setup = setup_for_gpg(&postfix, &gpg);
    let daemon = setup.start();
    gpg.knows(&setup.path("state/signer.asc"));

    // An ordinary client, with octets that mail programs like to change.
    let body =
        format!("{MARKER} caf\u{e9} \u{1b}[31m\r\n..two dots\r\n.one dot\r\n \r\n  blank before, blank behind \r\n");
    let data = format!("To: root@localhost\r\nSubject: caf\u{e9} from swaks\r\n\r\n{body}");
    let (host, port) = daemon.address.split_once(':').expect("address:port");
    let data_file = setup.write("data", data.as_bytes());
    let swaks = Command::new("swaks")
        .args(["--server", host, "--port", port, "--from", "ids@monitor", "--to", "root@localhost", "--data"])
        .arg(format!("@{}", data_file.display()))
        .output()
        .expect("swaks runs");
    assert!(swaks.status.success(), "{}", String::from_utf8_lossy(&swaks.stdout));
    let mails = postfix.mails(1);
    let (entity, status) = gpg.decrypt(&mails[0]);
    assert!(status.contains("GOODSIG") && status.contains("VALIDSIG"), "{status}");
    // swaks ends its data with a line end of its own.
    let alert = alert_of(&entity);
    assert!(alert.starts_with(body.as_bytes()), "{}", String::from_utf8_lossy(&alert));
    assert!(alert[body.len()..].iter().all(u8::is_ascii_whitespace));
    fs::remove_file(&mails[0]).expect("removed");

    // OSSEC itself, as recorded.
    let stream = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/ossec370-live-single.bin"))
        .expect("a capture");
    let data = stream.windows(6).position(|six| six == b"DATA\r\n").expect("DATA") + 6;
    let end = stream.windows(5).rposition(|five| five == b"\r\n.\r\n").expect("an end") + 5;
    let (mut client, _) = Client::connect(&daemon.address);
    for command in stream[..data].split_inclusive(|&octet| octet == b'\n') {
        client.send(command);
        client.reply();
    }
    client.send(&stream[data..end]);
    assert!(client.reply().starts_with("250"));
    assert!(client.say("QUIT").starts_with("221"));
    let mails = postfix.mails(1);
    let (entity, status) = gpg.decrypt(&mails[0]);
    assert!(status.contains("GOODSIG"), "{status}");
    let message = &stream[data..end - 3];
    let blank = message.windows(4).position(|four| four == b"\r\n\r\n").expect("a blank line") + 4;
    assert_eq!(alert_of(&entity), &message[blank..]);

    // What Postfix saw of us.
    let outside = fs::read_to_string(&mails[0]).expect("a mail");
    assert!(outside.contains("TLSv1.3") && outside.contains(&format!("Authenticated sender: {USERNAME}")), "{outside}");
    assert!(!outside.contains("5710") && !postfix.log().contains(MARKER));
    assert_eq!(setup.run(&["check", "--login"]).status.code(), Some(0));
    assert_eq!(daemon.terminate(), 0);
    setup.assert_nothing_leaked();
}

#[test]
fn a_mail_of_sixteen_mebibytes_goes_through_postfix_whole() {
    let Some(postfix) = Postfix::start() else { return };
    if !have("gpg") {
        return;
    }
    let gpg = Gpg::new();
    let setup = setup_for_gpg(&postfix, &gpg).relay("timeout = \"30s\"");
    let daemon = setup.start();
    gpg.knows(&setup.path("state/signer.asc"));
    // Octets that need an encoding, so that every copy on the way is as large as it gets.
    let body: Vec<u8> =
        (0..15_000_000_u32).map(|nth| if nth % 70 == 69 { b'\n' } else { (nth * 7 % 251) as u8 | 0x80 }).collect();
    let (mut client, _) = Client::connect(&daemon.address);
    client.begin_data("EHLO x", &["root"]);
    client.send(b"Subject: large\r\n\r\n");
    client.send(&body);
    client.send(b"\r\n.\r\n");
    assert!(client.reply().starts_with("250"));
    let (entity, status) = gpg.decrypt(&postfix.mails(1)[0]);
    assert!(status.contains("GOODSIG"), "{status}");
    assert!(alert_of(&entity).starts_with(&body));
    let peak = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("status");
    let peak = peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).map(str::trim).map(str::to_owned);
    eprintln!("peak memory with one mail of 15 MB: {peak:?}");
}
