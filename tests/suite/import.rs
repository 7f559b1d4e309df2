//! `sealrelay import`: each folder of `tests/import/` holds another program's files, the `command` that reads them, and
//! the configuration `expected.toml` that must come out. `IMPORT_BLESS=1` writes what came out in its place.
//!
//! Whatever comes out must be accepted by `config check` once what stands in angle brackets is filled in and the files it
//! names are there, and must hold none of the words in `secrets`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use toml::{Table, Value};

use crate::support::certificates::{armored, fingerprint, ordinary};
use crate::support::daemon::program;

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).expect("inputs").flatten().map(|entry| entry.path()).collect();
    folders.sort();
    assert!(folders.len() >= 17, "inputs were lost: {folders:?}");
    folders
}

fn import(folder: &Path, more: &[&str]) -> Output {
    let command = fs::read_to_string(folder.join("command")).expect("a command");
    program().current_dir(folder).arg("import").args(command.split_whitespace()).args(more).output().expect("runs")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn each_input_gives_the_configuration_that_is_expected_of_it() {
    let mut wrong = String::new();
    for folder in folders() {
        let output = import(&folder, &[]);
        let got = text(&output.stdout);
        assert!(output.status.success(), "{}: {}", folder.display(), text(&output.stderr));
        if std::env::var_os("IMPORT_BLESS").is_some() {
            fs::write(folder.join("expected.toml"), &got).expect("written");
        }
        if fs::read_to_string(folder.join("expected.toml")).unwrap_or_default() != got {
            wrong.push_str(&format!("{}:\n{got}\n", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn no_password_comes_out() {
    let mut tried = 0;
    for folder in folders() {
        let Ok(secrets) = fs::read_to_string(folder.join("secrets")) else { continue };
        let output = import(&folder, &[]);
        for secret in secrets.lines() {
            tried += 1;
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(!said.contains(secret), "{}: {said}", folder.display());
        }
    }
    assert!(tried >= 8, "only {tried} passwords were looked for");
}

#[test]
fn what_comes_out_is_accepted_once_the_certificate_is_there() {
    for folder in folders().iter().filter(|folder| !folder.ends_with("hostile-postfix")) {
        let output = import(folder, &[]);
        let asked: Vec<String> = text(&output.stderr).lines().map(str::to_owned).collect();
        let mut configuration: Table = text(&output.stdout).parse().expect("TOML");
        let work = tempfile::tempdir().expect("a folder");
        let filled = Filled::of(work.path(), &mut configuration);
        assert_eq!(asked, filled.places, "{}", folder.display());
        let file = work.path().join("sealrelay.toml");
        fs::write(&file, toml::to_string(&configuration).expect("TOML")).expect("written");
        let output = program().arg("--config").arg(&file).args(["config", "check"]).output().expect("runs");
        assert!(output.status.success(), "{}: {}\n{configuration}", folder.display(), text(&output.stderr));
    }
}

/// An operator who follows the comments.
struct Filled<'a> {
    work: &'a Path,
    /// What the command asked for.
    places: Vec<String>,
}

impl<'a> Filled<'a> {
    fn of(work: &'a Path, configuration: &mut Table) -> Self {
        let mut filled = Self { work, places: Vec::new() };
        for section in ["sender", "recipient", "relay"] {
            match configuration.get_mut(section) {
                Some(Value::Table(table)) => filled.table(table),
                Some(Value::Array(tables)) => {
                    tables.iter_mut().filter_map(Value::as_table_mut).for_each(|table| filled.table(table));
                }
                _ => {}
            }
        }
        filled
    }

    fn table(&mut self, table: &mut Table) {
        // As they stand in the file, not as a table sorts them.
        let order =
            ["address", "certificate", "fingerprint", "host", "username", "password_file", "client_certificate"];
        for key in order.into_iter().chain(["client_key", "ca_file", "pins"]) {
            let Some(value) = table.get(key).cloned() else { continue };
            let shown = match &value {
                Value::Array(parts) => {
                    parts.iter().find(|part| part.as_str().is_some_and(|text| text.starts_with('<')))
                }
                one => Some(one),
            };
            let Some(shown) = shown.and_then(Value::as_str) else { continue };
            if shown.starts_with('<') {
                self.places.push(format!("left to fill in: {shown}"));
            }
            if let Some(value) = self.value(key, shown, table) {
                table.insert(key.to_owned(), value);
            }
        }
    }

    fn value(&self, key: &str, shown: &str, table: &mut Table) -> Option<Value> {
        let certs = Path::new(env!("CARGO_MANIFEST_DIR")).join("certs/test");
        match key {
            "certificate" => {
                let certificate = ordinary("somebody@example.org");
                self.file(shown, &armored(&certificate));
                table.insert("made".to_owned(), fingerprint(&certificate).into());
                None
            }
            "fingerprint" => table.remove("made"),
            "password_file" => self.file(shown, b"secret\n"),
            "ca_file" => self.file(shown, &fs::read(certs.join("ca.pem")).expect("read")),
            "client_certificate" => self.file(shown, &fs::read(certs.join("localhost.pem")).expect("read")),
            "client_key" => self.file(shown, &fs::read(certs.join("localhost-key.pem")).expect("read")),
            _ if !shown.starts_with('<') => None,
            "pins" => Some(vec![format!("sha256:{}", "ab".repeat(32))].into()),
            "host" => Some("smtp.example.org".into()),
            _ => Some(format!("filled-in-{}@example.org", self.places.len()).into()),
        }
    }

    fn file(&self, name: &str, content: &[u8]) -> Option<Value> {
        let path = self.work.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("private");
        None
    }
}

/// Nothing of a hostile main.cf, ossec.conf or table becomes a key, a section or a control character.
#[test]
fn a_hostile_input_adds_no_key_and_no_section() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/hostile-postfix");
    let got = text(&import(&folder, &[]).stdout);
    assert!(got.chars().all(|c| c == '\n' || !c.is_control()), "{got:?}");
    let configuration: Table = got.parse().expect("TOML");
    let sections: Vec<&str> = configuration.keys().map(String::as_str).collect();
    assert_eq!(
        sections,
        ["listen", "recipient", "relay", "sender", "spool"]
            .into_iter()
            .filter(|s| configuration.contains_key(*s))
            .collect::<Vec<_>>()
    );
    let relays = configuration["relay"].as_array().expect("relay hosts");
    assert_eq!(relays.len(), 1);
    assert!(!relays[0].as_table().expect("a table").contains_key("pins"));
    assert!(!got.contains("hostile-password"));
}

#[test]
fn files_that_are_none_or_too_large_are_refused_and_nothing_is_waited_for() {
    let work = tempfile::tempdir().expect("a folder");
    let large = work.path().join("large");
    fs::File::create(&large).expect("made").set_len(1 << 40).expect("sparse");
    let pipe = work.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let cases = [
        ("ossec", large.as_path(), 66, "is larger than 2 MiB"),
        ("securedrop", &pipe, 66, "is no regular file"),
        ("postfix", &work.path().join("absent"), 66, "cannot read"),
        ("ossec", work.path(), 66, "is no regular file"),
    ];
    for (kind, path, code, what) in cases {
        let output = program().args(["import", kind]).arg(path).output().expect("runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(what) && said.lines().count() == 2, "{said}");
    }
    let yaml = work.path().join("site-specific");
    fs::write(&yaml, "a: [1\nb: '\x1b").expect("written");
    let output = program().args(["import", "securedrop"]).arg(&yaml).output().expect("runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{said}");
    assert!(said.contains("site-specific:") && !said.contains('\x1b'), "{said:?}");
}

#[test]
fn what_is_written_is_new_and_the_password_is_its_owners_alone() {
    let work = tempfile::tempdir().expect("a folder");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/securedrop-roots");
    let (file, password) = (work.path().join("sealrelay.toml"), work.path().join("sasl_password"));
    let arguments = ["--write", file.to_str().expect("text"), "--password-file", password.to_str().expect("text")];
    let output = import(&folder, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    let configuration: Table = fs::read_to_string(&file).expect("written").parse().expect("TOML");
    assert_eq!(configuration["relay"][0]["password_file"].as_str(), Some("sasl_password"));
    assert_eq!(fs::read_to_string(&password).expect("written"), "correct horse: battery # staple\n");
    assert_eq!(fs::metadata(&password).expect("there").permissions().mode() & 0o7777, 0o400);
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o7777, 0o644);
    assert_eq!(fs::read_dir(work.path()).expect("read").count(), 2, "something else was left behind");
    // A second time: neither is touched.
    fs::remove_file(&password).expect("removed");
    fs::write(&file, "mine").expect("written");
    let output = import(&folder, &arguments);
    assert_eq!(output.status.code(), Some(73));
    assert!(text(&output.stderr).contains("sealrelay.toml is there already"));
    assert_eq!(fs::read_to_string(&file).expect("read"), "mine");
    assert!(!password.exists());
    // Where the configuration cannot be written, no password stays behind.
    let nowhere = work.path().join("absent/sealrelay.toml");
    let output = import(&folder, &["--write", nowhere.to_str().expect("text"), "--password-file", arguments[3]]);
    assert_eq!(output.status.code(), Some(73));
    assert!(!password.exists());
}

#[test]
fn a_password_that_is_not_there_is_not_written() {
    let work = tempfile::tempdir().expect("a folder");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/wazuh-granular");
    let password = work.path().join("password");
    let output = import(&folder, &["--password-file", password.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(66));
    assert!(!password.exists() && output.stdout.is_empty());
}
