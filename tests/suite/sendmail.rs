//! The sendmail personality, and the real programs that hand in mail: through it, and by SMTP.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::support::daemon::{Daemon, MARKER, Setup};
use crate::support::pki::Identity;
use crate::support::reader::{Opened, open};
use crate::support::relay_host::{RelayHost, Script};
use crate::support::{eventually, have, root};

/// A daemon whose mails can be read at its relay host.
struct Site {
    setup: Setup,
    relay_host: RelayHost,
    identity: Identity,
}

impl Site {
    fn new(listen: &str) -> Self {
        let (relay_host, authority, identity) = RelayHost::honest();
        let setup = Setup::new(relay_host.port, &authority.pem).listen(listen);
        Self { setup, relay_host, identity }
    }

    /// The messages that arrived, by number; there must be `count`.
    fn arrived(&self, count: usize) -> Vec<Opened> {
        let taken = self.relay_host.taken(count);
        let signer = self.setup.path("state/signer.asc");
        let mut opened: Vec<Opened> =
            taken.iter().map(|taken| open(&taken.message, &self.setup.recipients[0].1, &signer)).collect();
        opened.sort_by_key(|opened| opened.manifest["sequence"].as_u64());
        opened
    }

    /// The program under another name.
    fn link(&self, name: &str) -> PathBuf {
        let link = self.setup.path(name);
        if !link.exists() {
            symlink(env!("CARGO_BIN_EXE_sealrelay"), &link).expect("a link");
        }
        link
    }

    /// The program under another name, with this site's configuration.
    fn named(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.with_configuration(self.link(name));
        command.args(arguments);
        command
    }

    /// A program that may call `sendmail` with this site's configuration. Variables are strict, so none of the test
    /// run's own may come along.
    fn with_configuration(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SEALRELAY_")) {
            command.env_remove(name);
        }
        command.env("SEALRELAY_CONFIG", self.setup.path("sealrelay.toml")).current_dir(self.setup.path(""));
        command
    }

    fn sendmail(&self, arguments: &[&str], message: &[u8]) -> Output {
        run(&mut self.named("sendmail", arguments), message)
    }
}

/// Runs a program with `input`; it need not read all of it.
fn run(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("ended")
    })
}

#[track_caller]
fn assert_taken(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// All files and folders below `folder`.
fn everything_in(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("listed").flatten() {
        found.insert(file.path());
        if file.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(everything_in(&file.path()));
        }
    }
    found
}

fn paths(opened: &Opened) -> Vec<&str> {
    let paths = opened.manifest["client"]["forward_paths"].as_array().expect("paths");
    paths.iter().filter_map(|path| path.as_str()).collect()
}

fn with_crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

// ---- the command

#[test]
fn wazuhs_call_without_arguments_takes_recipients_from_the_header_block_and_dots_as_text() {
    let site = Site::new("");
    let _daemon = site.setup.start();
    let body = format!("\r\nWazuh Notification.\r\n.\r\n..x\r\n{MARKER}\r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\n");
    let message =
        format!("To: <root@localhost>\r\nFrom: Wazuh <wazuh@monitor>\r\nSubject: Alert level 5\r\n\r\n{body}");
    let mut command = site.named("sendmail", &[]);
    command.stdin(Stdio::piped());
    let mut child = command.spawn().expect("started");
    child.stdin.take().expect("piped").write_all(message.as_bytes()).expect("written");
    let pid = child.id();
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    let opened = site.arrived(1).remove(0);
    assert_eq!(opened.alert(), body.as_bytes());
    assert_eq!(opened.subject, "Alert level 5");
    assert_eq!(opened.noticed(), "");
    assert_eq!(paths(&opened), ["root@localhost"]);
    let client = &opened.manifest["client"];
    assert_eq!(client["address"], format!("uid={} pid={pid}", rustix::process::getuid().as_raw()));
    assert_eq!(client["greeting"], "sendmail");
    site.setup.assert_nothing_leaked();
}

#[test]
fn a_mail_that_names_nobody_arrives_all_the_same() {
    let site = Site::new("");
    let _daemon = site.setup.start();
    // Wazuh's sms format.
    assert_taken(&site.sendmail(&[], b"Subject: x\r\n\r\nsms\r\n"));
    assert_taken(&site.sendmail(&["-t", "-i"], b"no header block at all\n"));
    let opened = site.arrived(2);
    assert_eq!(paths(&opened[0]), ["postmaster"]);
    assert_eq!(opened[1].alert(), b"no header block at all\r\n");
    let nothing = site.sendmail(&["-t"], b"");
    assert_eq!(nothing.status.code(), Some(65), "{nothing:?}");
}

#[test]
fn t_takes_to_cc_and_bcc_and_changes_no_header_line() {
    let site = Site::new("");
    let _daemon = site.setup.start();
    let message = "From: root\nTo: root,\n\tAlice <alice@x>\nCc: (nobody) bob@x\nBcc: carol@x, -oQ/tmp\nSubject: x\n\nTo: dave@x\n";
    assert_taken(&site.sendmail(&["-t", "--", "erin"], message.as_bytes()));
    let opened = site.arrived(1).remove(0);
    assert_eq!(paths(&opened), ["erin", "root", "alice@x", "bob@x", "carol@x"]);
    let (head, body) = message.split_once("\n\n").expect("a blank line");
    assert_eq!(opened.part("header.txt"), with_crlf(&format!("{head}\n")));
    assert_eq!(opened.alert(), with_crlf(body));
}

#[test]
fn recipients_and_the_sender_of_the_command_line_stand_in_the_manifest() {
    let site = Site::new("");
    let _daemon = site.setup.start();
    let message = b"Subject: x\nTo: nobody@x\n\ntext\n";
    assert_taken(&site.sendmail(&["-froot@monitor", "-i", "admin@example.org", "root,ops"], message));
    assert_taken(&site.sendmail(&["-f", "", "--", "root"], message));
    let verb = run(site.setup.command(&["sendmail", "-oi", "-r", "root", "--", "root"]).stdin(Stdio::piped()), message);
    assert_taken(&verb);
    let opened = site.arrived(3);
    assert_eq!(paths(&opened[0]), ["admin@example.org", "root", "ops"]);
    let from = |nth: usize| opened[nth].manifest["client"]["reverse_path"].clone();
    assert_eq!((from(0), from(1), from(2)), ("root@monitor".into(), serde_json::Value::Null, "root".into()));
}

#[test]
fn a_lone_dot_ends_the_message_and_with_i_it_does_not() {
    let site = Site::new("");
    let _daemon = site.setup.start();
    for (nth, (text, arguments, expected)) in [
        ("a\n.\nb\n", &["root"][..], "a\n"),
        ("a\r\n.\r\nb\r\n", &["-t"], "a\n"),
        ("a\n.\nb\n", &["-i", "root"], "a\n.\nb\n"),
        ("a\n.\nb\n", &["-oi", "-t"], "a\n.\nb\n"),
        ("a\r\n.\r\n..\r\n.\r\n", &["-ti"], "a\n.\n..\n.\n"),
        ("..a\n.b\n", &["root"], "..a\n.b\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let output = site.sendmail(arguments, format!("Subject: x\n\n{text}").as_bytes());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr).contains("lone dot");
        assert_eq!(told, nth < 2, "{text:?} {arguments:?}: {output:?}");
        let opened = site.arrived(nth + 1).remove(nth);
        assert_eq!(String::from_utf8_lossy(opened.alert()), expected.replace('\n', "\r\n"), "{text:?} {arguments:?}");
        assert_eq!(opened.noticed(), "");
    }
}

#[test]
fn every_octet_but_line_ends_arrives_as_it_was() {
    let site = Site::new("");
    let _daemon = site.setup.start();
    let mut body: Vec<u8> = (0..=255).filter(|octet| *octet != b'\n').collect();
    body.extend(b"\r\n\x1b[31m\r\r\n");
    body.extend(vec![b'x'; 100_000]);
    body.extend(b"\r\n.\r\n\xff\xfe\0\r\n.x\r\n  \r\n");
    let lf = body.iter().copied().filter(|octet| *octet != b'\r').collect::<Vec<u8>>();
    let head = b"Subject: caf\xe9\r\n\r\n";
    assert_taken(&site.sendmail(&["-i", "root"], &[head, body.as_slice()].concat()));
    assert_taken(&site.sendmail(&["-i", "root"], &[head, lf.as_slice()].concat()));
    let opened = site.arrived(2);
    assert_eq!(opened[0].alert(), body);
    let without_cr: Vec<u8> = opened[1].alert().iter().copied().filter(|octet| *octet != b'\r').collect();
    assert_eq!(without_cr, lf);
    assert!(opened[1].alert().ends_with(b"\r\n.\r\n\xff\xfe\0\r\n.x\r\n  \r\n"));
}

#[test]
fn a_big_message_arrives_and_one_over_the_limit_is_exit_code_65() {
    let site = Site::new("");
    let daemon = site.setup.start();
    let body: String = (0..200_000).map(|nth| format!("line {nth} of a long cron job's output\n")).collect();
    assert_taken(&site.sendmail(&["root"], format!("Subject: x\n\n{body}").as_bytes()));
    let opened = site.arrived(1).remove(0);
    assert!(opened.alert() == with_crlf(&body), "{} octets", opened.alert().len());
    let output = site.sendmail(&["-i", "root"], &vec![b'x'; 17 * 1024 * 1024]);
    assert_eq!(output.status.code(), Some(65), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("552"), "{output:?}");
    assert_eq!(daemon.status()["counts"]["accepted"], 1);
}

#[test]
fn an_address_that_begins_with_a_dash_is_refused_and_nothing_is_sent() {
    let site = Site::new("");
    let daemon = site.setup.start();
    for arguments in [&["--", "-oQ/tmp"][..], &["root", "--", "-X/tmp/x"], &["-f", "-x", "root"], &["root,-x"]] {
        let output = site.sendmail(arguments, b"Subject: x\n\ntext\n");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("begins with a dash"), "{output:?}");
    }
    assert_eq!(daemon.status()["counts"]["accepted"], 0);
}

#[test]
fn without_a_daemon_the_exit_code_is_75_and_nothing_is_written() {
    let site = Site::new("");
    let folder = tempfile::tempdir().expect("a folder");
    site.setup.configure();
    for name in ["sendmail", "mailq"] {
        site.link(name);
    }
    let before = everything_in(&site.setup.path(""));
    // Port 1 of the loopback address: nobody listens there.
    let variables = [("SEALRELAY_LISTEN__ADDRESSES", "127.0.0.1:1")];
    for arguments in [&[][..], &["-t"], &["-i", "root"], &["-bs"]] {
        let mut command = site.named("sendmail", arguments);
        command.envs(variables).current_dir(folder.path()).env("HOME", folder.path()).env("TMPDIR", folder.path());
        let output = run(&mut command, format!("To: root\n\n{MARKER}\n").as_bytes());
        assert_eq!(output.status.code(), Some(75), "{arguments:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("the mail relay is away") && said.contains("nothing is kept here"), "{said}");
        // The caller's log is the IDS's to read: its rules fire on this word.
        assert!(!said.contains("refused"), "{said}");
    }
    // Nor does an account without the configuration learn that a queue it cannot see were empty.
    let mut mailq = site.named("mailq", &[]);
    mailq.env("SEALRELAY_CONFIG", folder.path().join("none")).env("SEALRELAY_CONTROL__SOCKET", "/nowhere/control.sock");
    let output = run(&mut mailq, b"");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(75), b"".as_slice()), "{output:?}");
    assert_eq!(everything_in(folder.path()), BTreeSet::new());
    assert_eq!(everything_in(&site.setup.path("")), before);
}

#[test]
fn another_mail_server_at_the_relays_address_is_told_nothing() {
    let site = Site::new("");
    site.setup.configure();
    let other = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = other.local_addr().expect("bound").to_string();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().expect("a client");
        stream.write_all(b"220 monitor ESMTP Postfix\r\n").expect("said");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).expect("heard");
        heard
    });
    let mut command = site.named("sendmail", &["-t"]);
    let output = run(command.env("SEALRELAY_LISTEN__ADDRESSES", address), format!("To: root\n\n{MARKER}\n").as_bytes());
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another mail server"), "{output:?}");
    assert_eq!(heard.join().expect("heard"), b"");
}

#[test]
fn a_daemon_that_turns_the_client_away_is_exit_code_75() {
    let site = Site::new("");
    site.setup.configure();
    let busy = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = busy.local_addr().expect("bound").to_string();
    let serving = std::thread::spawn(move || {
        busy.accept().expect("a client").0.write_all(b"421 4.3.2 No room now, try again later\r\n").expect("said");
    });
    let mut command = site.named("sendmail", &["-t"]);
    let output = run(command.env("SEALRELAY_LISTEN__ADDRESSES", address), b"To: root\n\ntext\n");
    serving.join().expect("served");
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("421 4.3.2 No room now"), "{output:?}");
}

#[test]
fn the_names_mailq_and_newaliases_and_their_flags_do_what_is_expected_of_them() {
    let site = Site::new("");
    site.relay_host.now(Script::honest(&site.identity).says("END", "451 4.3.0 Not now"));
    let daemon = site.setup.start();
    let stdout = |command: &mut Command| String::from_utf8_lossy(&run(command, b"").stdout).into_owned();
    for (name, arguments) in [("mailq", &[][..]), ("mailq", &["-v"]), ("sendmail", &["-bp"])] {
        assert_eq!(stdout(&mut site.named(name, arguments)), "Mail queue is empty\n", "{name} {arguments:?}");
    }
    for (name, arguments, code) in [
        ("newaliases", &[][..], 0),
        ("sendmail", &["-bi"], 0),
        ("sendmail", &["-I"], 0),
        ("sendmail", &["-q"], 0),
        ("sendmail", &["-bv", "root"], 0),
        ("sendmail", &["--help"], 0),
        ("sendmail", &["-bd"], 64),
        ("sendmail", &["-bd", "-q15m"], 64),
        ("sendmail", &["-f"], 64),
    ] {
        let output = run(&mut site.named(name, arguments), b"");
        assert_eq!(output.status.code(), Some(code), "{name} {arguments:?}: {output:?}");
    }
    assert_eq!(daemon.status()["counts"]["accepted"], 0, "one of these sent a mail");
    assert_taken(&site.sendmail(&["root"], b"Subject: x\n\ntext\n"));
    eventually("a deferred message", || (daemon.status()["counts"]["deferred"] == 1).then_some(()));
    let with = stdout(&mut site.named("mailq", &[]));
    assert_eq!(daemon.terminate(), 0);
    let without = stdout(&mut site.named("mailq", &[]));
    for text in [&with, &without] {
        assert!(text.starts_with("-Queue ID-"), "{text}");
        assert!(text.contains("451 4.3.0 Not now") && text.ends_with(" Kbytes in 1 Request.\n"), "{text}");
        let entries =
            text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_hexdigit() && !c.is_lowercase()));
        assert_eq!(entries.count(), 1, "{text}");
    }
}

#[test]
fn closed_standard_streams_are_no_reason_to_lose_a_mail() {
    let site = Site::new("");
    let _daemon = site.setup.start();
    let mut shell = site.with_configuration("sh");
    // The dot makes it say something on the closed stream.
    shell.arg("-c").arg(format!("{} root >&- 2>&-", site.link("sendmail").display()));
    let output = run(&mut shell, b"Subject: x\n\ntext\n.\nmore\n");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(site.arrived(1)[0].alert(), b"text\r\n");
    for streams in ["<&- >&- 2>&-", "</dev/null >/dev/full 2>/dev/full"] {
        let mut shell = site.with_configuration("sh");
        shell.arg("-c").arg(format!("{} -t {streams}", site.link("sendmail").display()));
        assert_eq!(run(&mut shell, b"").status.code(), Some(65), "{streams}");
    }
}

#[test]
fn bs_carries_the_callers_own_smtp() {
    let site = Site::new("");
    let _daemon = site.setup.start();
    let mut child =
        site.named("sendmail", &["-bs"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut reply = || {
        let mut octets = [0; 1023];
        let count = stdout.read(&mut octets).expect("read");
        String::from_utf8_lossy(&octets[..count]).into_owned()
    };
    assert!(reply().starts_with("220 sealrelay"));
    for (line, expected) in [
        ("EHLO localhost", "250-"),
        ("MAIL FROM:<root>", "250 "),
        ("RCPT TO:<root>", "250 "),
        ("DATA", "354 "),
        ("Subject: x\r\n\r\nby hand\r\n.", "250 "),
        ("QUIT", "221 "),
    ] {
        stdin.write_all(format!("{line}\r\n").as_bytes()).expect("written");
        let reply = reply();
        assert!(reply.starts_with(expected), "{line}: {reply}");
    }
    // Its standard input is still open: the daemon's last word ends it.
    assert_eq!(child.wait().expect("ended").code(), Some(0));
    assert_eq!(site.arrived(1)[0].alert(), b"by hand\r\n");
}

#[test]
fn an_account_that_can_read_no_configuration_hands_in_mail_and_is_named() {
    if !root() {
        return;
    }
    use std::os::unix::process::CommandExt;
    let site = Site::new("");
    let _daemon = site.setup.start();
    // Its own copy: the build's folder may be closed to others. The folder lets others through, but not read.
    std::fs::set_permissions(site.setup.path(""), std::fs::Permissions::from_mode(0o711)).expect("open");
    let as_nobody = |name: &str, arguments: &[&str]| {
        let program = site.setup.path(&format!("copy/{name}"));
        if !program.exists() {
            std::fs::create_dir_all(site.setup.path("copy")).expect("a folder");
            std::fs::copy(env!("CARGO_BIN_EXE_sealrelay"), &program).expect("copied");
        }
        let mut command = site.with_configuration(program);
        command.args(arguments).uid(65534).gid(65534).current_dir("/");
        command
            .env("SEALRELAY_LISTEN__SOCKET", site.setup.path("smtp.sock"))
            .env("SEALRELAY_CONTROL__SOCKET", site.setup.path("control.sock"));
        command
    };
    assert_taken(&run(&mut as_nobody("sendmail", &["-t"]), b"To: root\nSubject: x\n\nfrom an ordinary account\n"));
    let opened = site.arrived(1).remove(0);
    let address = opened.manifest["client"]["address"].as_str().expect("a client").to_owned();
    assert!(address.starts_with("uid=65534 pid="), "{address}");
    let mailq = run(&mut as_nobody("mailq", &[]), b"");
    assert_eq!(mailq.status.code(), Some(77), "{mailq:?}");
    assert!(String::from_utf8_lossy(&mailq.stderr).contains("not open to this account"), "{mailq:?}");
    assert_eq!(mailq.stdout, b"");
}

// ---- the Unix socket

#[test]
fn a_socket_that_cannot_be_made_leaves_the_daemon_on_tcp_and_so_sendmail() {
    let site = Site::new("socket = \"in/the/way\"");
    site.setup.write("in", b"a file where a folder is needed");
    let daemon = site.setup.start();
    assert_eq!(daemon.status()["listening"].as_array().map(Vec::len), Some(1));
    assert!(site.setup.log().contains("in/the/way"), "{}", site.setup.log());
    let mut command = site.named("sendmail", &["root"]);
    assert_taken(&run(command.env("SEALRELAY_LISTEN__ADDRESSES", &daemon.address), b"Subject: x\n\nby TCP\n"));
    let opened = site.arrived(1).remove(0);
    assert_eq!(opened.alert(), b"by TCP\r\n");
    assert!(opened.manifest["client"]["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")));
}

#[test]
fn the_socket_is_open_to_all_goes_with_the_daemon_and_is_made_again_after_a_crash() {
    let site = Site::new("");
    let socket = site.setup.path("smtp.sock");
    let daemon = site.setup.start();
    assert_eq!(std::fs::metadata(&socket).expect("there").permissions().mode() & 0o777, 0o666);
    assert_eq!(daemon.status()["listening"][1], socket.to_str().expect("a path"));
    daemon.kill();
    assert!(socket.exists(), "a crash leaves it");
    let daemon = site.setup.start();
    assert_taken(&site.sendmail(&["root"], b"Subject: x\n\nafter a crash\n"));
    assert_eq!(daemon.terminate(), 0);
    assert!(!socket.exists());
    let without = Site::new("socket = \"\"");
    let daemon = without.setup.start();
    assert_eq!(daemon.status()["listening"].as_array().map(Vec::len), Some(1));
}

// ---- real programs

/// What the programs are given: dots, 8-bit, a long line, and the marker at the end to show that it is whole.
fn text() -> String {
    format!("first line\n..two dots\n.one dot\ncaf\u{e9}\n{}\n\n{MARKER} last line\n", "long ".repeat(300))
}

/// Whether `text` came out of one part; programs may add blank lines at the end and write CRLF.
#[track_caller]
fn assert_whole(opened: &Opened, text: &str, subject: &str) {
    assert_eq!(opened.subject, subject);
    assert_eq!(opened.noticed(), "");
    let arrived: Vec<String> =
        opened.parts.iter().map(|(_, part)| String::from_utf8_lossy(part).replace("\r\n", "\n")).collect();
    let whole = arrived.iter().any(|part| part.trim_end() == text.trim_end());
    assert!(whole, "{text:?} is none of {arrived:?}");
}

/// One real program hands in `text` with the subject `subject` to root; `command` says how.
#[track_caller]
fn arrives_whole(program: &str, text: &str, command: impl FnOnce(&Site, &Daemon<'_>, &mut Command)) {
    if !have(program) {
        return;
    }
    let site = Site::new("");
    let daemon = site.setup.start();
    site.link("sendmail");
    let mut program = site.with_configuration(program);
    program.env("HOME", site.setup.path("")).env("LC_ALL", "C.UTF-8");
    command(&site, &daemon, &mut program);
    let output = run(&mut program, text.as_bytes());
    assert!(output.status.success(), "{output:?}");
    let opened = site.arrived(1).remove(0);
    assert_whole(&opened, text, "subject");
    assert!(paths(&opened).iter().any(|path| path.starts_with("root")), "{:?}", paths(&opened));
    site.setup.assert_nothing_leaked();
}

#[test]
fn bsd_mailx_hands_in_mail() {
    // It takes a lone dot for text where its input is no terminal, and so do we, called with -i.
    let text = text().replace("first line\n", "first line\n.\n");
    arrives_whole("bsd-mailx", &text, |site, _, command| {
        let settings = format!("set sendmail={}\n", site.setup.path("sendmail").display());
        command.env("MAILRC", site.setup.write("mailrc", settings.as_bytes())).args(["-s", "subject", "root"]);
    });
}

#[test]
fn gnu_mailutils_hands_in_mail() {
    arrives_whole("mail.mailutils", &text(), |site, _, command| {
        let mailer = format!("set sendmail=sendmail:{}", site.setup.path("sendmail").display());
        command.args(["--no-config", "-E", &mailer, "-s", "subject", "root"]);
    });
}

#[test]
fn s_nail_hands_in_mail_through_sendmail_and_by_smtp() {
    let common = ["-n", "-S", "sendwait", "-S", "ttycharset=utf-8", "-s", "subject"];
    arrives_whole("s-nail", &text(), |site, _, command| {
        command.args(common).args(["-S", &format!("mta={}", site.setup.path("sendmail").display()), "root"]);
    });
    arrives_whole("s-nail", &text(), |_, daemon, command| {
        let mta = format!("mta=smtp://{}", daemon.address);
        command.args(common).args(["-S", &mta, "-S", "smtp-auth=none", "-S", "from=root@localhost", "root@localhost"]);
    });
}

#[test]
fn msmtp_hands_in_mail() {
    let head = "From: root\nTo: root\nSubject: subject\n\n";
    arrives_with_head("msmtp", head, |_, daemon, command| {
        let (host, port) = daemon.address.split_once(':').expect("an address");
        let (host, port) = (format!("--host={host}"), format!("--port={port}"));
        command.args([
            "--file=/dev/null",
            &host,
            &port,
            "--tls=off",
            "--auth=off",
            "--from=root@localhost",
            "-t",
            "-i",
        ]);
    });
}

#[test]
fn swaks_hands_in_mail() {
    let head = "From: root\nTo: root\nSubject: subject\n\n";
    arrives_with_head("swaks", head, |_, daemon, command| {
        command.args([
            "--server",
            &daemon.address,
            "--from",
            "root@localhost",
            "--to",
            "root@localhost",
            "--data",
            "-",
        ]);
    });
}

#[test]
fn curl_hands_in_mail_with_its_bare_line_feeds() {
    let head = "From: root\nTo: root\nSubject: subject\n\n";
    arrives_with_head("curl", head, |_, daemon, command| {
        let url = format!("smtp://{}", daemon.address);
        command.args(["-sS", &url, "--mail-from", "root@localhost", "--mail-rcpt", "root@localhost", "-T", "-"]);
    });
}

#[test]
fn pythons_smtplib_hands_in_mail() {
    let head = "From: root\nTo: root\nSubject: subject\n\n";
    arrives_with_head("python3", head, |_, daemon, command| {
        let (host, port) = daemon.address.split_once(':').expect("an address");
        let script = "import email, smtplib, sys\nmessage = email.message_from_binary_file(sys.stdin.buffer)\n\
                      with smtplib.SMTP(sys.argv[1], int(sys.argv[2])) as relay:\n    relay.send_message(message)\n";
        command.args(["-c", script, host, port]);
    });
}

/// The same for a program that is given header block and text.
#[track_caller]
fn arrives_with_head(program: &str, head: &str, command: impl FnOnce(&Site, &Daemon<'_>, &mut Command)) {
    if !have(program) {
        return;
    }
    let site = Site::new("");
    let daemon = site.setup.start();
    let mut program = site.with_configuration(program);
    program.env("HOME", site.setup.path(""));
    command(&site, &daemon, &mut program);
    let output = run(&mut program, format!("{head}{}", text()).as_bytes());
    assert!(output.status.success(), "{output:?}");
    assert_whole(&site.arrived(1)[0], &text(), "subject");
    site.setup.assert_nothing_leaked();
}

/// What cron hands in: its argv and its header block, as recorded from Debian's.
#[test]
fn crons_call_arrives_whole() {
    let site = Site::new("");
    let _daemon = site.setup.start();
    let head = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@monitor> /usr/local/bin/job\nMIME-Version: 1.0\n\
                Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\n\n";
    let output = "line\n.\ncaf\u{e9}\n";
    assert_taken(
        &site.sendmail(&["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"], format!("{head}{output}").as_bytes()),
    );
    assert_whole(&site.arrived(1)[0], output, "Cron <root@monitor> /usr/local/bin/job");
}

#[test]
fn a_real_cron_job_mails_what_it_prints_from_where_no_configuration_is() {
    // The folder of unpacked programs has both; cron itself is not on PATH, where it would be this machine's.
    if !have("mail.mailutils") || !root() {
        return;
    }
    // cron sees a root of its own: there is no configuration in it, and the daemon's socket at its usual place.
    let site = Site::new("socket = \"cron/run/sealrelay/smtp.sock\"");
    let root = site.setup.path("cron");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/cron_root.sh");
    let made = Command::new(script).arg(&root).arg(env!("CARGO_BIN_EXE_sealrelay")).output().expect("runs");
    assert!(made.status.success(), "{made:?}");
    std::fs::write(root.join("output"), text().replace("first line\n", "first line\n.\n")).expect("written");
    std::fs::write(root.join("etc/crontab"), "MAILTO=root\n@reboot root cat /output\n").expect("written");
    let _daemon = site.setup.start();
    let mut cron = Command::new("chroot").arg(&root).args(["/usr/sbin/cron", "-f"]).spawn().expect("started");
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| site.arrived(1).remove(0)));
    cron.kill().expect("killed");
    cron.wait().expect("gone");
    let opened = opened.expect("cron's mail");
    let subject = opened.subject.clone();
    assert!(subject.starts_with("Cron <root@") && subject.ends_with("cat /output"), "{subject}");
    assert_whole(&opened, &text().replace("first line\n", "first line\n.\n"), &subject);
    assert!(opened.manifest["client"]["address"].as_str().is_some_and(|address| address.starts_with("uid=0 pid=")));
}

// ---- timing

#[test]
fn handing_in_costs_no_early_dot_wait() {
    let site = Site::new("early_dot_wait = \"5s\"");
    let _daemon = site.setup.start();
    let began = std::time::Instant::now();
    assert_taken(&site.sendmail(&["root"], b"Subject: x\n\ntext\n"));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
