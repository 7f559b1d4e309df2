//! `sealrelay verify` with a real gpg: mail made by the daemon, received by a relay host, and put into mailboxes as it came,
//! with something missing, or with something that should not be there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::cert::CertBuilder;
use openpgp::policy::StandardPolicy;
use openpgp::serialize::SerializeInto;
use openpgp::serialize::stream::{Armorer, Encryptor, LiteralWriter, Message, Recipient, Signer};
use openpgp::types::Features;
use serde_json::Value;

use crate::support::client::send_alert;
use crate::support::clock::Clock;
use crate::support::daemon::{MARKER, Setup, program};
use crate::support::reader::open;
use crate::support::relay_host::RelayHost;
use crate::support::{eventually, have, met};

/// A recipient's machine: gpg with the secret key, mailboxes, what `verify` remembers.
pub struct Desk {
    folder: tempfile::TempDir,
}

/// What `verify` said.
pub struct Verdict {
    code: i32,
    report: Value,
}

impl Desk {
    pub fn new(key: &Cert) -> Self {
        let desk = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        desk.import(&key.as_tsk().armored().to_vec().expect("armored"));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gpg(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.folder.path()).args(["--batch", "--quiet", "--no-tty"]).args(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("gpg runs");
        let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_vec());
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("ended");
        writer.join().expect("joined").expect("gpg read it all");
        output
    }

    fn import(&self, key: &[u8]) {
        let imported = self.gpg(&["--import"], key);
        assert!(imported.status.success(), "{imported:?}");
    }

    /// An mbox of `messages`.
    pub fn mbox(&self, name: &str, messages: &[&[u8]]) -> PathBuf {
        let mut text = Vec::new();
        for message in messages {
            text.extend_from_slice(b"From ossec@example.org Fri Nov 20 19:26:58 2026\n");
            text.extend(message.iter().filter(|octet| **octet != b'\r'));
            text.push(b'\n');
        }
        fs::write(self.path(name), text).expect("written");
        self.path(name)
    }

    fn command(&self, arguments: &[&Path]) -> Command {
        let mut command = program();
        command.env("GNUPGHOME", self.folder.path()).env("XDG_STATE_HOME", self.path("state-home"));
        command.arg("verify").args(arguments);
        command
    }

    pub fn verify(&self, arguments: &[&Path]) -> Verdict {
        verdict(&mut self.command(arguments))
    }

    /// The same at another time.
    fn verify_later(&self, ahead: &str, arguments: &[&Path]) -> Option<Verdict> {
        let library = fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
        let library = library.map(|one| one.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.exists());
        if !met(library.is_some(), "libfaketime") {
            return None;
        }
        Some(verdict(self.command(arguments).env("LD_PRELOAD", library?).env("FAKETIME", ahead)))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", self.folder.path()).args(["--kill", "all"]).status();
    }
}

fn verdict(command: &mut Command) -> Verdict {
    let output = command.arg("--json").stdin(Stdio::null()).output().expect("the binary runs");
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    assert!(report.is_object() || !output.status.success(), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains(MARKER), "alert text in a report");
    let said = Value::String(String::from_utf8_lossy(&output.stderr).into_owned());
    Verdict { code: output.status.code().unwrap_or(-1), report: if report.is_null() { said } else { report } }
}

impl Verdict {
    #[track_caller]
    pub fn is(&self, code: i32, kinds: &[&str]) {
        let found: Vec<&str> =
            self.report["findings"].as_array().into_iter().flatten().filter_map(|one| one["kind"].as_str()).collect();
        assert_eq!((self.code, found.as_slice()), (code, kinds), "{:#}", self.report);
    }

    /// A list of numbers of the only run.
    pub fn run(&self, name: &str) -> &Value {
        assert_eq!(self.report["runs"].as_array().map(Vec::len), Some(1), "{:#}", self.report);
        &self.report["runs"][0][name]
    }
}

/// A heartbeat and `alerts` alerts, as a relay host took them; the setup they came from, and their first recipient's desk.
fn received(alerts: usize) -> Option<(Setup, RelayHost, Vec<Vec<u8>>, Desk)> {
    if !have("gpg") {
        return None;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).heartbeat("24h");
    let messages = more(&setup, &relay_host, alerts, true);
    let desk = Desk::new(&setup.recipients[0].1);
    Some((setup, relay_host, messages, desk))
}

/// What arrives while a daemon runs and takes `alerts` alerts, in the order of the numbers.
fn more(setup: &Setup, relay_host: &RelayHost, alerts: usize, heartbeat: bool) -> Vec<Vec<u8>> {
    let before = relay_host.heard().taken.len();
    let daemon = setup.start();
    let first = before + usize::from(heartbeat);
    relay_host.taken(first);
    for nth in 0..alerts {
        send_alert(&daemon.address, &nth.to_string());
        relay_host.taken(first + nth + 1);
    }
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    assert_eq!(daemon.terminate(), 0);
    relay_host.taken(first + alerts)[before..].iter().map(|taken| taken.message.clone()).collect()
}

/// A heartbeat that an operator asked for.
fn heartbeat(setup: &Setup, relay_host: &RelayHost) -> Vec<u8> {
    let before = relay_host.heard().taken.len();
    let daemon = setup.start();
    assert!(setup.run(&["heartbeat"]).status.success());
    let message = relay_host.taken(before + 1)[before].message.clone();
    assert_eq!(daemon.terminate(), 0);
    message
}

fn slices(messages: &[Vec<u8>]) -> Vec<&[u8]> {
    messages.iter().map(Vec::as_slice).collect()
}

/// A mail from the relay's address around `body`.
fn mail(body: &[u8]) -> Vec<u8> {
    let head = "From: ossec@example.org\r\nTo: admin@example.org\r\nSubject: [...]\r\n\r\n";
    [head.as_bytes(), body].concat()
}

/// Seals raw OpenPGP packets, or a text if `signer` is given or nothing is, to `recipient`.
fn sealed(recipient: &Cert, content: &Content<'_>) -> Vec<u8> {
    let policy = StandardPolicy::new();
    let keys = recipient.keys().with_policy(&policy, None).for_transport_encryption();
    let keys = keys.map(|key| Recipient::new(Features::empty().set_seipdv1(), key.key().key_handle(), key.key()));
    let mut sink = Vec::new();
    let message = Armorer::new(Message::new(&mut sink)).build().expect("armor");
    let mut message = Encryptor::for_recipients(message, keys).build().expect("encrypted");
    match content {
        Content::Packets(packets) => message.write_all(packets).expect("written"),
        Content::Text(text, signer) => {
            if let Some(signer) = signer {
                let key = signer.keys().with_policy(&policy, None).secret().for_signing().next().expect("a key");
                let key = key.key().clone().into_keypair().expect("a pair");
                message = Signer::new(message, key)
                    .expect("signing")
                    .add_intended_recipient(recipient)
                    .build()
                    .expect("signed");
            }
            message = LiteralWriter::new(message).build().expect("literal");
            message.write_all(text).expect("written");
        }
    }
    message.finalize().expect("complete");
    mail(&sink)
}

enum Content<'a> {
    /// As they stand inside the encryption.
    Packets(&'a [u8]),
    /// With a signature or without.
    Text(&'a [u8], Option<&'a Cert>),
}

#[test]
fn a_good_mailbox_is_well_in_every_form_and_once_more_when_mail_was_tidied_away() {
    let Some((setup, relay_host, messages, desk)) = received(3) else { return };
    let signer = setup.path("state/signer.asc");
    let mbox = desk.mbox("mbox", &slices(&messages));
    // Nothing without a signer; with one it is remembered.
    let unknown = desk.verify(&[&mbox]);
    assert_eq!(unknown.code, 64, "{}", unknown.report);
    let first = desk.verify(&[Path::new("--signer"), &signer, &mbox]);
    first.is(0, &[]);
    assert_eq!(
        (&first.report["messages"], &first.report["verified"], &first.report["heartbeats"]),
        (&4.into(), &4.into(), &1.into())
    );
    assert_eq!((first.run("highest"), first.run("seen")), (&4.into(), &4.into()));
    let again = desk.verify(&[&mbox]);
    again.is(0, &[]);
    assert_eq!(
        (&again.report["verified"], &again.report["heartbeats"]),
        (&4.into(), &0.into()),
        "known ones are not opened again"
    );

    // Tidied away but for the last, in a Maildir, with two new ones; the signer by its fingerprint, out of gpg's keyring.
    let new = more(&setup, &relay_host, 2, false);
    for (folder, message) in [("cur", &messages[3]), ("new", &new[0]), ("new", &new[1])] {
        let folder = desk.path("Maildir").join(folder);
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join(format!("{:x}:2,S", message.as_ptr() as usize)), message).expect("written");
    }
    let tidied = desk.verify(&[&desk.path("Maildir")]);
    tidied.is(0, &[]);
    assert_eq!((tidied.run("seen"), tidied.run("highest")), (&6.into(), &6.into()));

    // One file and a folder of files, on a machine that knows nothing yet.
    desk.import(&fs::read(&signer).expect("read"));
    let fingerprint = first.report["signers"][0].as_str().expect("a fingerprint").to_owned();
    fs::create_dir(desk.path("eml")).expect("made");
    for (nth, message) in messages.iter().chain(&new).enumerate() {
        fs::write(desk.path("eml").join(format!("{nth}.eml")), message).expect("written");
    }
    let state = desk.path("another-state.json");
    let files =
        desk.verify(&[Path::new("--state"), &state, Path::new("--signer"), Path::new(&fingerprint), &desk.path("eml")]);
    files.is(0, &[]);
    assert_eq!(files.run("seen"), 6);
    desk.verify(&[Path::new("--state"), &state, &desk.path("eml/2.eml")]).is(0, &[]);
    // People see it too.
    let shown = desk.command(&[&mbox]).output().expect("runs");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(text.starts_with("all is well: 4 message(s), 4 by the relay"), "{text}");
    assert!(text.contains("for admin@example.org, epoch ") && text.contains("last heartbeat: number 1"), "{text}");
    assert!(shown.stderr.is_empty(), "a progress line without a terminal: {shown:?}");
}

#[test]
fn a_gap_is_open_until_a_heartbeat_tells_and_missing_after_that() {
    let Some((setup, relay_host, messages, desk)) = received(3) else { return };
    let signer = setup.path("state/signer.asc");
    let kept = [messages[0].as_slice(), &messages[1], &messages[3]];
    let mbox = desk.mbox("mbox", &kept);
    let open = desk.verify(&[Path::new("--signer"), &signer, &mbox]);
    open.is(75, &[]);
    assert_eq!((open.run("open"), open.run("missing")), (&serde_json::json!([[3, 3]]), &serde_json::json!([])));
    let told = heartbeat(&setup, &relay_host);
    let mbox = desk.mbox("mbox", &[kept.as_slice(), &[&told]].concat());
    // It may still be on its way, for a while; then it was suppressed.
    desk.verify(&[&mbox]).is(75, &[]);
    let Some(later) = desk.verify_later("+2h", &[&mbox]) else { return };
    later.is(65, &[]);
    assert_eq!(later.run("missing"), &serde_json::json!([[3, 3]]));
    let shown = desk.command(&[&mbox]).output().expect("runs");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("number 5"), "{shown:?}");
    // A person looked into it.
    desk.verify_later("+2h", &[Path::new("--acknowledge"), &mbox]).expect("libfaketime").is(65, &[]);
    desk.verify_later("+2h", &[&mbox]).expect("libfaketime").is(0, &[]);
    // It comes after all.
    let mbox = desk.mbox("mbox", &[&messages[2]]);
    desk.verify(&[&mbox]).is(0, &[]);
}

#[test]
fn a_heartbeat_that_does_not_come_is_late() {
    let Some((setup, relay_host, messages, desk)) = received(1) else { return };
    let mbox = desk.mbox("mbox", &slices(&messages));
    desk.verify(&[Path::new("--signer"), &setup.path("state/signer.asc"), &mbox]).is(0, &[]);
    let Some(well) = desk.verify_later("+24h", &[&mbox]) else { return };
    well.is(0, &[]);
    let late = desk.verify_later("+26h", &[&mbox]).expect("libfaketime");
    late.is(65, &[]);
    assert!(late.run("late").as_u64() >= Some(3600), "{}", late.report);
    // A younger epoch takes the place of a lost one, which is late no more.
    fs::remove_dir_all(setup.path("state")).expect("lost");
    let signer = setup.path("state/signer.asc");
    let new = more(&setup, &relay_host, 0, true);
    let mbox = desk.mbox("mbox", &slices(&new));
    let stranger = desk.verify(&[&mbox]);
    stranger.is(65, &["forged"]);
    let told = desk.verify(&[Path::new("--signer"), &signer, &mbox]);
    told.is(0, &[]);
    assert_eq!(told.report["runs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_repeat_is_harmless_and_a_rollback_is_not() {
    let Some((setup, relay_host, messages, desk)) = received(1) else { return };
    let signer = setup.path("state/signer.asc");
    // The state as a careless restore brings it back.
    let copied = Command::new("cp").arg("-a").args([setup.path("state"), setup.path("copy")]).status().expect("cp");
    assert!(copied.success());
    let after = more(&setup, &relay_host, 1, false);
    let mbox = desk.mbox("mbox", &[&messages[0], &messages[1], &after[0], &after[0]]);
    let twice = desk.verify(&[Path::new("--signer"), &signer, &mbox]);
    twice.is(0, &["repeat"]);
    fs::remove_dir_all(setup.path("state")).expect("gone");
    fs::rename(setup.path("copy"), setup.path("state")).expect("restored");
    let other = more(&setup, &relay_host, 1, false);
    let mbox = desk.mbox("mbox", &[&other[0]]);
    let rollback = desk.verify(&[&mbox]);
    rollback.is(65, &["rollback"]);
    assert!(
        rollback.report["findings"][0]["why"].as_str().expect("why").contains("number 3 of epoch"),
        "{}",
        rollback.report
    );
}

#[test]
fn what_claims_to_be_the_relays_and_is_not_is_a_forgery() {
    let Some((setup, _relay_host, messages, desk)) = received(1) else { return };
    let signer = setup.path("state/signer.asc");
    let recipient = &setup.recipients[0].1;
    let genuine = open(&messages[1], recipient, &signer).entity;
    let (other, _) = CertBuilder::general_purpose(Some("<ossec@example.org>")).generate().expect("a key");
    // In gpg's keyring, where it has no say.
    desk.import(&other.armored().to_vec().expect("armored"));
    let plain = mail(b"OSSEC HIDS Notification. All is well, really.\r\n");
    let unsigned = sealed(recipient, &Content::Text(&genuine, None));
    let by_another = sealed(recipient, &Content::Text(&genuine, Some(&other)));
    let other_text = sealed(recipient, &Content::Text(b"just a letter", Some(&other)));
    let cut = {
        let text = String::from_utf8_lossy(&messages[1]).into_owned();
        let middle = text.len() / 2;
        text.replacen(&text[middle..middle + 20], "AAAAAAAAAAAAAAAAAAAA", 1).into_bytes()
    };
    for (forgery, kind, word) in [
        (&plain, "forged", "not sealed"),
        (&unsigned, "forged", "not signed"),
        (&by_another, "forged", "no signer of the relay"),
        (&other_text, "forged", "no signer of the relay"),
        (&cut, "unreadable", "cannot"),
    ] {
        let state = desk.path(&format!("{kind}-{}.json", word.len()));
        let mbox = desk.mbox("mbox", &[&messages[0], &messages[1], forgery]);
        let found = desk.verify(&[Path::new("--state"), &state, Path::new("--signer"), &signer, &mbox]);
        found.is(if kind == "forged" { 65 } else { 75 }, &[kind]);
        let finding = &found.report["findings"][0];
        assert!(finding["why"].as_str().expect("why").contains(word), "{finding}");
        assert!(finding["place"].as_str().expect("where").ends_with("mbox:3"), "{finding}");
    }
}

#[test]
fn what_the_relay_sealed_for_another_recipient_is_a_forgery_when_it_is_passed_on() {
    if !have("gpg") {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).recipient("mallory@example.org", "default = true");
    let daemon = setup.start();
    send_alert(&daemon.address, "for both");
    let taken = relay_host.taken(2);
    let of = |address: &str| taken.iter().find(|taken| taken.rcpt.contains(address)).expect("one").message.clone();
    // Mallory takes the encryption off and seals the relay's own signature to the admin.
    let mallory = Desk::new(&setup.recipients[1].1);
    let text = String::from_utf8_lossy(&of("mallory@")).into_owned();
    let armor = &text[text.find("-----BEGIN").expect("armor")..];
    let signed = mallory.gpg(&["--decrypt", "--unwrap"], armor.as_bytes());
    assert!(signed.status.success() && signed.stdout.len() > 1000, "{signed:?}");
    let passed_on = sealed(&setup.recipients[0].1, &Content::Packets(&signed.stdout));
    let desk = Desk::new(&setup.recipients[0].1);
    let mbox = desk.mbox("mbox", &[&of("admin@"), &passed_on]);
    let found = desk.verify(&[Path::new("--signer"), &setup.path("state/signer.asc"), &mbox]);
    found.is(65, &["wrong-recipient"]);
    // The test itself is sound: to Mallory, who it was meant for, it is good.
    let mbox = mallory.mbox("mbox", &[&sealed(&setup.recipients[1].1, &Content::Packets(&signed.stdout))]);
    mallory.verify(&[Path::new("--signer"), &setup.path("state/signer.asc"), &mbox]).is(0, &[]);
}

#[test]
fn other_peoples_mail_is_counted_and_the_notice_is_listed() {
    let Some((setup, _relay_host, messages, desk)) = received(1) else { return };
    let signer = setup.path("state/signer.asc");
    let (friend, _) = CertBuilder::general_purpose(Some("<friend@example.net>")).generate().expect("a key");
    let (nobody, _) = CertBuilder::general_purpose(Some("<nobody@example.net>")).generate().expect("a key");
    let foreign =
        |mail: Vec<u8>| String::from_utf8_lossy(&mail).replace("ossec@example.org", "friend@example.net").into_bytes();
    let letter = foreign(sealed(&setup.recipients[0].1, &Content::Text(b"hello", Some(&friend))));
    let not_ours = foreign(sealed(&nobody, &Content::Text(b"hello", None)));
    let newsletter = foreign(mail(b"Buy!\r\n\x1b[2J\r\n"));
    let mbox = desk.mbox("mbox", &[&messages[0], &letter, &messages[1], &not_ours, &newsletter]);
    let found = desk.verify(&[Path::new("--signer"), &signer, &mbox]);
    found.is(0, &[]);
    assert_eq!(found.report["foreign"], 3);
    let notice =
        mail(b"Failed to encrypt OSSEC alert. Investigate the mailing configuration on the Monitor Server.\r\n");
    let mbox = desk.mbox("mbox", &[&notice]);
    desk.verify(&[&mbox]).is(75, &["notice"]);
    desk.verify(&[&mbox, Path::new("--acknowledge")]).is(75, &["notice"]);
    desk.verify(&[&mbox]).is(0, &[]);
}

#[test]
fn whatever_lies_in_a_mailbox_stops_nothing_and_reaches_no_terminal_raw() {
    let Some((setup, _relay_host, messages, desk)) = received(1) else { return };
    let signer = setup.path("state/signer.asc");
    // A text that is small until it is unpacked.
    let recipient = setup.recipients[0].1.fingerprint().to_hex();
    fs::write(desk.path("blanks"), vec![b' '; 140 * 1024 * 1024]).expect("written");
    let file = desk.path("blanks");
    let arguments = ["--armor", "--trust-model", "always", "-z", "9", "--output", "-", "--recipient", &recipient];
    let arguments = [arguments.as_slice(), &["--encrypt", file.to_str().expect("a path")]].concat();
    let bomb = desk.gpg(&arguments, b"").stdout;
    assert!((1000..3_000_000).contains(&bomb.len()), "{}", bomb.len());
    let deep = (0..5000).fold(String::new(), |text, nth| {
        format!("{text}Content-Type: multipart/mixed; boundary=b{nth}\r\n\r\n--b{nth}\r\n")
    });
    let deep = format!("MIME-Version: 1.0\r\nX: base64\r\n{deep}").into_bytes();
    let escapes = b"From: \x1b]0;owned\x07 <ossec@example.org>\nDate: \x1b[31m\n\nhello\n".to_vec();
    let garbage = mail(b"-----BEGIN PGP MESSAGE-----\n\n????\n-----END PGP MESSAGE-----\n");
    let long_line = [b"Subject: x\n\n".as_slice(), &b"A".repeat(3_000_000)].concat();
    let mbox = desk.mbox("mbox", &[&mail(&bomb), &deep, &escapes, &garbage, &long_line, &messages[0], &messages[1]]);
    let found = desk.verify(&[Path::new("--signer"), &signer, &mbox]);
    found.is(65, &["forged", "forged", "unreadable"]);
    assert_eq!(found.report["verified"], 2);
    let shown = desk.command(&[&mbox]).output().expect("runs");
    assert!(shown.stdout.iter().all(|octet| *octet == b'\n' || (b' '..=b'~').contains(octet)), "{shown:?}");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("\\x1b"), "{shown:?}");
}

#[test]
fn a_rotated_signer_is_followed_by_those_who_saw_it_announced_and_by_nobody_else() {
    if !have("gpg") {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    let daemon = setup.start_by_clock(&clock);
    let signer = setup.write("old.asc", &fs::read(setup.path("state/signer.asc")).expect("read"));
    assert!(setup.run(&["keys", "signer", "--rotate"]).status.success());
    assert_eq!(daemon.reload().1, 0);
    send_alert(&daemon.address, "announced");
    relay_host.taken(1);
    clock.set_days(31);
    send_alert(&daemon.address, "signed by the new one");
    let taken: Vec<Vec<u8>> = relay_host.taken(2).iter().map(|taken| taken.message.clone()).collect();
    assert_eq!(daemon.terminate(), 0);
    let desk = Desk::new(&setup.recipients[0].1);
    let verify = |state: &str, arguments: &[&Path]| {
        let state = desk.path(state);
        let mut command = desk.command(&[&[Path::new("--state"), &state], arguments].concat());
        clock.rule(&mut command);
        verdict(&mut command)
    };
    let late = desk.mbox("late", &[&taken[1]]);
    verify("who-missed-it", &[Path::new("--signer"), &signer, &late]).is(65, &["forged"]);
    // Whatever the order in which they lie there.
    let both = desk.mbox("both", &[&taken[1], &taken[0]]);
    let followed = verify("who-saw-it", &[Path::new("--signer"), &signer, &both]);
    followed.is(0, &["new-signer"]);
    assert_eq!((followed.run("seen"), followed.report["signers"].as_array().map(Vec::len)), (&2.into(), Some(2)));
    verify("who-saw-it", &[&late]).is(0, &[]);
}

#[test]
fn what_cannot_be_read_or_run_is_said_with_its_own_code() {
    let Some((setup, _relay_host, messages, desk)) = received(0) else { return };
    let signer = setup.path("state/signer.asc");
    let mbox = desk.mbox("mbox", &slices(&messages));
    let with = |more: &[&str]| {
        let mut command = desk.command(&[Path::new("--signer"), &signer, &mbox]);
        verdict(command.args(more))
    };
    assert_eq!(with(&["--gpg", "/nonexistent/gpg"]).code, 69);
    assert_eq!(with(&["/nonexistent/mbox"]).code, 66);
    assert_eq!(with(&["--signer", "/nonexistent/signer.asc"]).code, 66);
    assert_eq!(with(&["--signer", &"0".repeat(40)]).code, 66);
    assert_eq!(with(&["--state", "/proc/nowhere/state.json"]).code, 73);
    fs::write(desk.path("damaged.json"), "{}").expect("written");
    let state = desk.path("damaged.json");
    assert_eq!(with(&["--state", state.to_str().expect("a path")]).code, 73);
    assert_eq!(with(&[]).code, 0);
}
