//! `tests/bad_configs/NN-what-is-wrong/`: a configuration that must be refused, and the two lines it must be refused with.
//!
//! Beside `sealrelay.toml` and `expected` a folder may hold `modes` (lines of `MODE FILE`) and `code` (another exit code
//! than 78). The files of keys/test and certs/test lie in `keys/` and `certs/`; `{admin}` and the like are fingerprints.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::daemon::program;

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
    let mut wrong = String::new();
    for folder in &folders {
        let (code, said) = refused(root, folder);
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

fn refused(root: &Path, folder: &Path) -> (i32, String) {
    let work = tempfile::tempdir().expect("a temporary folder");
    for name in ["keys", "certs"] {
        fs::create_dir(work.path().join(name)).expect("made");
        for file in fs::read_dir(root.join(name).join("test")).expect("test material").flatten() {
            private(&work.path().join(name).join(file.file_name()), &fs::read(file.path()).expect("read"));
        }
    }
    private(&work.path().join("sasl_password"), b"secret\n");
    let mut text = fs::read_to_string(folder.join("sealrelay.toml")).expect("a configuration");
    let fingerprints = fs::read_to_string(root.join("keys/test/fingerprints")).expect("fingerprints");
    for (name, fingerprint) in fingerprints.lines().filter_map(|line| line.split_once(' ')) {
        text = text.replace(&format!("{{{name}}}"), fingerprint);
    }
    let configuration = work.path().join("sealrelay.toml");
    private(&configuration, text.as_bytes());
    for line in fs::read_to_string(folder.join("modes")).unwrap_or_default().lines() {
        let (mode, name) = line.split_once(' ').expect("MODE FILE");
        let mode = u32::from_str_radix(mode, 8).expect("octal");
        fs::set_permissions(work.path().join(name), fs::Permissions::from_mode(mode)).expect("set");
    }
    let output = program().arg("--config").arg(&configuration).args(["config", "check"]).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).replace(&format!("{}/", work.path().display()), "");
    let said = fingerprints
        .lines()
        .filter_map(|line| line.split_once(' '))
        .fold(said, |said, (name, fingerprint)| said.replace(fingerprint, &format!("{{{name}}}")));
    (output.status.code().unwrap_or(-1), said)
}

fn private(path: &Path, content: &[u8]) {
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("private");
}
