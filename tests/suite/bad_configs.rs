//! `tests/bad_configs/NN-what-is-wrong/`: a configuration that must be refused, and the two lines it must be refused with.
//!
//! Beside `sealrelay.toml` and `expected` a folder may hold `modes` (lines of `MODE FILE`) and `code` (another exit code
//! than 78); any other file is copied beside the configuration. In `keys/` lie certificates made just now, one for each
//! fault, in `certs/` the files of certs/test; `{admin}` and the like are the fingerprints. `BAD_CONFIGS_BLESS=1` writes what
//! was said in the place of `expected`; read the difference then. (keys/test will not do: its certificates are refused for
//! being published.)

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sequoia_openpgp::Cert;

use crate::support::certificates::{
    DAY, Weak, armored, armored_secret, fingerprint, of_age, ordinary, revoked, sign_only, weak,
};
use crate::support::daemon::program;

/// How long ago that was, seconds since 1970.
fn since(time: u64) -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_secs(time)).expect("it is past")
}

/// What lies in `keys/` under these names.
fn material() -> Vec<(&'static str, Cert)> {
    vec![
        ("admin", ordinary("admin@example.org")),
        ("alice", ordinary("alice@example.org")),
        ("sign-only", sign_only("sign-only@example.org")),
        ("revoked", revoked(&ordinary("revoked@example.org"))),
        // Fixed days, for the message: the first day of 2020, and a year.
        ("expired", of_age("expired@example.org", since(1_577_836_800), 365 * DAY)),
        ("sha1", weak("sha1@example.org", Weak::UserId)),
    ]
}

#[test]
fn every_bad_configuration_is_refused_for_its_own_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = fs::read_dir(root.join("tests/bad_configs"))
        .expect("bad configurations")
        .flatten()
        .map(|file| file.path())
        .collect();
    folders.sort();
    assert!(folders.len() >= 15, "only {} bad configurations were found", folders.len());
    let keys = material();
    let mut wrong = String::new();
    for folder in &folders {
        let (code, said) = refused(root, folder, &keys);
        if std::env::var_os("BAD_CONFIGS_BLESS").is_some() {
            fs::write(folder.join("expected"), &said).expect("written");
        }
        let expected = fs::read_to_string(folder.join("expected")).unwrap_or_default();
        let expected_code =
            fs::read_to_string(folder.join("code")).map_or(78, |code| code.trim().parse().expect("a code"));
        if (code, said.as_str()) != (expected_code, expected.as_str()) {
            wrong.push_str(&format!(
                "{}: exit {code}\n{said}instead of exit {expected_code}\n{expected}\n",
                folder.display()
            ));
        }
        assert_eq!(said.lines().count(), 2, "{}: one line what, one line what to do:\n{said}", folder.display());
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn refused(root: &Path, folder: &Path, keys: &[(&str, Cert)]) -> (i32, String) {
    let work = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| work.path().join(name);
    fs::create_dir(file("keys")).expect("made");
    fs::create_dir(file("certs")).expect("made");
    for authority in fs::read_dir(root.join("certs/test")).expect("test material").flatten() {
        private(&file("certs").join(authority.file_name()), &fs::read(authority.path()).expect("read"));
    }
    for (name, certificate) in keys {
        private(&file(&format!("keys/{name}.asc")), &armored(certificate));
    }
    private(&file("keys/admin-secret.asc"), &armored_secret(&keys[0].1));
    private(&file("sasl_password"), b"secret\n");
    // What else lies beside the configuration: files with addresses.
    for more in fs::read_dir(folder).expect("a folder").flatten() {
        if !["sealrelay.toml", "expected", "modes", "code"].map(Into::into).contains(&more.file_name()) {
            private(&work.path().join(more.file_name()), &fs::read(more.path()).expect("read"));
        }
    }
    let own = keys.iter().map(|(name, certificate)| (format!("{{{name}}}"), fingerprint(certificate)));
    let subkeys = keys.iter().filter_map(|(name, certificate)| {
        let subkey = certificate.keys().subkeys().last()?;
        Some((format!("{{{name}-subkey}}"), subkey.key().fingerprint().to_hex()))
    });
    let prints: Vec<(String, String)> = own.chain(subkeys).collect();
    let text = fs::read_to_string(folder.join("sealrelay.toml")).expect("a configuration");
    let text = prints.iter().fold(text, |text, (name, print)| text.replace(name, print));
    private(&file("sealrelay.toml"), text.as_bytes());
    for line in fs::read_to_string(folder.join("modes")).unwrap_or_default().lines() {
        let (mode, name) = line.split_once(' ').expect("MODE FILE");
        let mode = u32::from_str_radix(mode, 8).expect("octal");
        fs::set_permissions(file(name), fs::Permissions::from_mode(mode)).expect("set");
    }
    let configuration = file("sealrelay.toml");
    let output = program().arg("--config").arg(&configuration).args(["config", "check"]).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).replace(&format!("{}/", work.path().display()), "");
    let said = prints.iter().fold(said, |said, (name, print)| said.replace(print, name));
    (output.status.code().unwrap_or(-1), said)
}

fn private(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("private");
}
