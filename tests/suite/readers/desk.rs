//! A recipient's machine: the secret key, the relay's certificate, and the programs mail is read with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::parse::Parse;
use openpgp::serialize::SerializeInto;

use super::structures::without_cr;

/// The programs that open one message.
pub const READERS: [&str; 4] = ["gpg", "sq", "sqop", "rnp"];

/// What a program made of a message.
pub struct Reading {
    pub text: Vec<u8>,
    /// Whether it found a good signature of the signer it was told to expect.
    pub good: bool,
    /// All it said.
    pub said: String,
}

/// A desk. What stands on it goes away with it.
pub struct Desk {
    folder: tempfile::TempDir,
    signer: String,
}

impl Desk {
    /// For the holder of the secret `keys`, who expects signatures of the key in `signer`.
    pub fn new(keys: &[&Cert], signer: &Path) -> Self {
        let desk = Self::empty(signer);
        for key in keys {
            desk.put_key(key);
            desk.import("key.asc");
        }
        desk.import("signer.asc");
        desk
    }

    /// The same for a key that programs with a keyring of their own do not take.
    pub fn without_imports(key: &Cert, signer: &Path) -> Self {
        let desk = Self::empty(signer);
        desk.put_key(key);
        desk
    }

    fn empty(signer: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let signer_fingerprint = Cert::from_file(signer).expect("a certificate").fingerprint().to_hex();
        let desk = Self { signer: signer_fingerprint, folder };
        fs::copy(signer, desk.path("signer.asc")).expect("copied");
        for name in ["gpg", "rnp"] {
            fs::create_dir(desk.path(name)).expect("made");
            rustix::fs::chmod(desk.path(name), rustix::fs::Mode::RWXU).expect("private");
        }
        desk
    }

    fn put_key(&self, key: &Cert) {
        fs::write(self.path("key.asc"), key.as_tsk().armored().to_vec().expect("armored")).expect("written");
    }

    fn import(&self, file: &str) {
        said(self.gpg().arg("--import").arg(self.path(file)));
        said(Command::new("rnpkeys").arg("--homedir").arg(self.path("rnp")).arg("--import").arg(self.path(file)));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", self.path("gpg")).args(["--batch", "--no-tty", "--trust-model", "always"]);
        command
    }

    /// The packets of a message, as gpg lists them; it opens it for that.
    pub fn packets(&self, message: &[u8]) -> String {
        said(self.gpg().arg("--list-packets").arg(self.armored("packets.asc", message)))
    }

    /// Opens `message` with one of [`READERS`]; `name` is free to choose, one for each call.
    pub fn read(&self, reader: &str, name: &str, message: &[u8]) -> Reading {
        let file = self.armored(&format!("{name}.asc"), message);
        let verifications = file.with_extension("verifications");
        let mut command = if reader == "gpg" { self.gpg() } else { Command::new(reader) };
        match reader {
            "gpg" => command.args(["--status-fd", "2", "--decrypt"]).arg(&file),
            "sq" => {
                let [recipient, signer] = sq_options();
                command.args(["decrypt", recipient]).arg(self.path("key.asc"));
                command.arg(signer).arg(self.path("signer.asc")).arg(&file)
            }
            "sqop" => {
                command.arg("decrypt").arg("--verify-with").arg(self.path("signer.asc"));
                command.arg("--verifications-out").arg(&verifications).arg("--").arg(self.path("key.asc"))
            }
            "rnp" => command.arg("--homedir").arg(self.path("rnp")).args(["--output", "-", "--decrypt"]).arg(&file),
            _ => unreachable!("no such reader"),
        };
        command.env("HOME", self.folder.path());
        let output = output(command.stdin(fs::File::open(&file).expect("the message")));
        let verifications = fs::read_to_string(verifications).unwrap_or_default();
        let said = format!("{}{verifications}", String::from_utf8_lossy(&output.stderr));
        let names_the_signer = match reader {
            "gpg" => said.contains(&format!("VALIDSIG {}", self.signer)),
            // With a signer named it wants one good signature of that one.
            "sq" => true,
            "sqop" => said.contains(&self.signer),
            _ => said.contains("Good signature") && said.to_uppercase().contains(&self.signer[24..]),
        };
        Reading { text: output.stdout, good: output.status.success() && names_the_signer, said }
    }

    /// The armored part of a mail, in a file.
    fn armored(&self, name: &str, message: &[u8]) -> PathBuf {
        let text = String::from_utf8_lossy(message);
        let (begin, end) = ("-----BEGIN PGP MESSAGE-----", "-----END PGP MESSAGE-----");
        let (start, stop) = (text.find(begin).expect("armor"), text.find(end).expect("the end of armor"));
        let path = self.path(name);
        fs::write(&path, format!("{}\n", &text[start..stop + end.len()])).expect("written");
        path
    }

    /// neomutt in a pseudo-terminal: what it shows of each message, headers and all. `folder` is free to choose.
    pub fn neomutt(&self, folder: &str, messages: &[&[u8]]) -> Vec<String> {
        let home = self.path(folder);
        fs::create_dir(&home).expect("made");
        let line = b"From relay Fri Nov 20 19:26:58 2026\n".as_slice();
        let mailbox: Vec<u8> =
            messages.iter().flat_map(|message| [line, &without_cr(message), b"\n"].concat()).collect();
        fs::write(home.join("mbox"), mailbox).expect("written");
        // The pager is handed a file with what it is to show.
        let pager = "#!/bin/sh\ncp \"$1\" \"$HOME/$(find \"$HOME\" -name '*.shown' | wc -l).shown\"\n";
        fs::write(home.join("pager"), pager).expect("written");
        rustix::fs::chmod(home.join("pager"), rustix::fs::Mode::RWXU).expect("executable");
        let keys = "<display-message><next-entry>".repeat(messages.len());
        let settings = format!(
            "set crypt_use_gpgme=yes pgp_auto_decode=yes crypt_verify_sig=yes charset=utf-8\n\
             set pager=\"{}\" prompt_after=no wait_key=no sleep_time=0 mail_check=0 quit=yes folder=\"~\"\n\
             push '<first-entry>{keys}<exit>'\n",
            home.join("pager").display()
        );
        fs::write(home.join("muttrc"), settings).expect("written");
        let screen = output(
            Command::new("timeout")
                .args(["60", "script", "-qec", "exec neomutt -n -R -F \"$HOME/muttrc\" -f \"$HOME/mbox\"", "/dev/null"])
                .envs([("HOME", &home), ("GNUPGHOME", &self.path("gpg"))])
                .envs([("TERM", "xterm"), ("LC_ALL", "C.UTF-8")])
                .stdin(Stdio::null()),
        );
        let screen = String::from_utf8_lossy(&screen.stdout);
        let shown = |nth: usize| fs::read_to_string(home.join(format!("{nth}.shown"))).ok();
        (0..messages.len()).map(|nth| shown(nth).unwrap_or_else(|| panic!("message {nth}: {screen}"))).collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", self.path("gpg")).args(["--kill", "all"]).status();
    }
}

/// The options of `sq decrypt` for the recipient's key and the signer's certificate: 0.27's, or those of later ones.
fn sq_options() -> [&'static str; 2] {
    static HELP: OnceLock<String> = OnceLock::new();
    let help = HELP.get_or_init(|| said(Command::new("sq").args(["decrypt", "--help"])));
    let known = |new, old| if help.contains(new) { new } else { old };
    [known("--recipient-file", "--recipient-key"), known("--signer-file", "--signer-cert")]
}

fn output(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the program runs")
}

#[track_caller]
fn said(command: &mut Command) -> String {
    let output = output(command.stdin(Stdio::null()));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}
