//! What the project ships for systemd and AppArmor, judged by systemd and AppArmor themselves.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::client::send_alert;
use crate::support::daemon::{Setup, program, unprivileged};
use crate::support::eventually;
use crate::support::relay_host::RelayHost;
use crate::support::{have, root};

/// The most that systemd may find exposed, in tenths.
const EXPOSURE: &str = "15";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn service() -> String {
    fs::read_to_string(shipped("systemd/sealrelay.service")).expect("the unit")
}

fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } = Command::new(program).args(arguments).output().expect("it runs");
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !have("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let built = program().get_program().to_str().expect("a name").to_owned();
    let mut units = Vec::new();
    for name in ["sealrelay.service", "sealrelay.socket", "sealrelay-ipv6.socket"] {
        let text = fs::read_to_string(shipped("systemd").join(name)).expect("a unit");
        // Where nothing is installed the program lies elsewhere.
        fs::write(folder.path().join(name), text.replace("/usr/bin/sealrelay", &built)).expect("written");
        units.push(folder.path().join(name).to_str().expect("a name").to_owned());
    }
    let verify: Vec<&str> = ["verify", "--man=no"].into_iter().chain(units.iter().map(String::as_str)).collect();
    assert_eq!(run("systemd-analyze", &verify), (true, String::new()));
    // It would have said so.
    let text = service().replace("/usr/bin/sealrelay", &built).replace("ProtectHome=", "ProtectHouse=");
    fs::write(&units[0], text).expect("written");
    assert!(run("systemd-analyze", &verify).1.contains("ProtectHouse"));
}

#[test]
fn systemd_finds_the_service_exposed_by_a_tenth_and_a_half_at_most() {
    if !have("systemd-analyze") {
        return;
    }
    let score = |file: &str| {
        run("systemd-analyze", &["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE, file])
    };
    let (good, said) = score(shipped("systemd/sealrelay.service").to_str().expect("a name"));
    let line = said.lines().find(|line| line.contains("Overall exposure level")).expect("a score");
    assert!(good, "{line}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lax = folder.path().join("sealrelay.service");
    fs::write(&lax, service().replace("ProtectSystem=strict", "").replace("NoNewPrivileges=yes", "")).expect("written");
    assert!(!score(lax.to_str().expect("a name")).0, "the score says nothing");
}

#[test]
fn the_user_and_its_folders_are_made_as_the_units_expect_them() {
    if !have("systemd-sysusers") || !have("systemd-tmpfiles") || !root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = format!("--root={}", folder.path().display());
    // Both programs know files by their own endings and places only.
    for (kind, name) in [("sysusers", "sealrelay.sysusers"), ("tmpfiles", "sealrelay.tmpfiles")] {
        let place = folder.path().join(format!("usr/lib/{kind}.d"));
        fs::create_dir_all(&place).expect("made");
        fs::copy(shipped("systemd").join(name), place.join("sealrelay.conf")).expect("copied");
    }
    fs::create_dir(folder.path().join("etc")).expect("made");
    let (good, said) = run("systemd-sysusers", &[&at, "sealrelay.conf"]);
    assert!(good, "{said}");
    let users = fs::read_to_string(folder.path().join("etc/passwd")).expect("users");
    let user: Vec<&str> = users.lines().find(|line| line.starts_with("sealrelay:")).expect("ours").split(':').collect();
    assert_eq!(user[5..], ["/var/lib/sealrelay", "/usr/sbin/nologin"]);
    let (uid, gid): (u32, u32) = (user[2].parse().expect("a uid"), user[3].parse().expect("a gid"));
    let (good, said) = run("systemd-tmpfiles", &[&at, "--create", "sealrelay.conf"]);
    assert!(good, "{said}");
    let folders = [
        ("var/spool/sealrelay", 0o700, uid),
        ("var/lib/sealrelay", 0o700, uid),
        // The operator's: what the daemon could change there would be read as the operator's word.
        ("etc/sealrelay", 0o750, 0),
    ];
    for (name, mode, owner) in folders {
        let found = fs::metadata(folder.path().join(name)).expect(name);
        assert_eq!((found.permissions().mode() & 0o7777, found.uid(), found.gid()), (mode, owner, gid), "{name}");
    }
}

#[test]
fn whatever_the_daemon_asks_of_the_kernel_the_unit_allows() {
    if !have("systemd-analyze") || !have("strace") || !have("setpriv") || !root() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem).listen("allow_users = [\"root\", \"daemon\"]");
    let calls = setup.path("calls");
    setup.configure();
    setup.give_away();
    let run = setup.command(&["run"]);
    let mut command = unprivileged("strace");
    command.args(["-D", "-f", "-qq", "-o"]).arg(&calls).arg(run.get_program()).args(run.get_args());
    {
        let daemon = setup.start_by(command);
        send_alert(&daemon.address, "an alert");
        relay_host.taken(1);
        eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
        assert_eq!(daemon.reload().1, 0);
    }
    let text = fs::read_to_string(&calls).expect("calls");
    let made: BTreeSet<&str> = text.lines().filter_map(call_of).collect();
    assert!(made.contains("fsync") && made.contains("seccomp") && made.len() > 30, "{made:?}");
    let allowed = allowed_calls();
    // systemd itself makes this one.
    let beyond: Vec<_> = made.into_iter().filter(|call| *call != "execve" && !allowed.contains(*call)).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
}

/// `1234 openat(AT_FDCWD, ...`.
fn call_of(line: &str) -> Option<&str> {
    let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').split('(').next()?;
    let is_name = !call.is_empty() && call.bytes().all(|o| o.is_ascii_lowercase() || o.is_ascii_digit() || o == b'_');
    is_name.then_some(call)
}

/// What the unit's `SystemCallFilter=` lines come to.
fn allowed_calls() -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    let unit = service();
    let lines: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    assert!(lines.len() >= 3, "{lines:?}");
    for line in lines {
        let (is_refused, names) = line.strip_prefix('~').map_or((false, line), |names| (true, names));
        for name in names.split(' ') {
            let calls = members(name);
            if is_refused {
                allowed.retain(|call| !calls.contains(call));
            } else {
                allowed.extend(calls);
            }
        }
    }
    allowed
}

fn members(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return [name.to_owned()].into();
    }
    let (good, said) = run("systemd-analyze", &["syscall-filter", "--no-pager", name]);
    assert!(good, "{said}");
    let names = said.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| !line.starts_with('#'));
    names.flat_map(members).collect()
}

#[test]
fn every_secret_that_the_sample_names_can_be_a_credential_of_the_unit() {
    let sample = fs::read_to_string(shipped("sealrelay.toml")).expect("the sample");
    let mut tried = BTreeSet::new();
    for line in sample.lines() {
        let Some((key, name)) = line.trim_start_matches(['#', ' ']).split_once(" = \"") else { continue };
        // A CA file is no secret, and an access token is renewed more often than the service is started.
        if !key.ends_with("_file") || ["ca_file", "token_file"].contains(&key) {
            continue;
        }
        let name = name.trim_end_matches('"');
        assert!(service().contains(&format!("\nLoadCredential={name}:sealrelay.{name}\n")), "{key} = {name}");
        tried.insert(name.to_owned());
    }
    assert!(tried.len() >= 6, "{tried:?}");
}

#[test]
fn apparmor_takes_the_profile_and_nothing_with_a_mistake_in_it() {
    if !have("apparmor_parser") {
        return;
    }
    let unpacked = std::env::var("PEERS_DIR").map(|folder| format!("{folder}/root/etc/apparmor.d"));
    let base = unpacked.unwrap_or_else(|_| "/etc/apparmor.d".to_owned());
    let judge = |file: &Path| {
        let arguments = ["--skip-kernel-load", "--skip-cache", "--base", &base, file.to_str().expect("a name")];
        run("apparmor_parser", &arguments)
    };
    let profile = shipped("apparmor/sealrelay");
    let (good, said) = judge(&profile);
    assert!(good, "{said}");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let wrong = folder.path().join("sealrelay");
    let text = fs::read_to_string(&profile).expect("the profile");
    fs::write(&wrong, text.replace("/etc/sealrelay/** r,", "/etc/sealrelay/** r")).expect("written");
    assert!(!judge(&wrong).0, "a missing comma is no mistake");
    assert!(service().contains("\nAppArmorProfile=-sealrelay\n"), "nobody takes the profile");
}
