//! Every configuration the project ships or describes is accepted: the commented sample, the tutorial's Gmail case, the
//! guide's three tiers of trust.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::daemon::program;

/// A folder with an operator's files, and `text` as its configuration with the fingerprint filled in.
pub fn checked(text: &str) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir_all(folder.path().join("keys")).expect("keys");
    fs::create_dir_all(folder.path().join("certs")).expect("certs");
    let private = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("private");
        path
    };
    // A certificate made just now, as an operator would have it.
    let (certificate, _) = sequoia_openpgp::cert::CertBuilder::general_purpose(Some("<admin@example.org>"))
        .generate()
        .expect("a certificate");
    let armored = {
        use sequoia_openpgp::serialize::SerializeInto;
        certificate.armored().to_vec().expect("armored")
    };
    private("keys/admin.asc", &armored);
    private("keys/ossec.pub", &armored);
    private("keys/alice.asc", &armored);
    for (name, of) in [("MyOrg.crt", "ca.pem"), ("monitor.crt", "localhost.pem"), ("monitor.key", "localhost-key.pem")]
    {
        private(&format!("certs/{name}"), &fs::read(root.join("certs/test").join(of)).expect("test material"));
    }
    for name in ["sasl_password", "proxy_password", "access_token", "client_secret", "refresh_token"] {
        private(name, b"secret\n");
    }
    for name in ["ping_url", "webhook_url"] {
        private(name, b"https://alarm.example.org/token\n");
    }
    let of = |text: &str, name: &str| {
        text.replace(&format!("<40 hex digits of {name}>"), &certificate.fingerprint().to_hex())
    };
    let text = of(&of(text, "keys/admin.asc"), "keys/alice.asc");
    let configuration = private("sealrelay.toml", text.as_bytes());
    let output = program().arg("--config").arg(configuration).args(["config", "check"]).output().expect("runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn sample() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/sealrelay.toml");
    fs::read_to_string(path).expect("deploy/sealrelay.toml")
}

#[test]
fn the_sample_is_accepted_as_it_is() {
    let (good, said) = checked(&sample());
    assert!(good, "{said}");
}

#[test]
fn every_key_the_sample_explains_is_accepted_with_the_value_it_shows() {
    let sample = sample();
    let mut tried = 0;
    let lines: Vec<&str> = sample.lines().collect();
    for (nth, line) in lines.iter().enumerate() {
        let Some(setting) = line.strip_prefix("# ").filter(|rest| is_setting(rest)) else { continue };
        // `pins` and `ca_file` exclude each other; each is tried alone.
        let text: String = lines
            .iter()
            .enumerate()
            .map(|(other, line)| format!("{}\n", if other == nth { setting } else { line }))
            .collect();
        let (good, said) = checked(&text);
        assert!(good, "line {}: {setting}: {said}", nth + 1);
        tried += 1;
    }
    assert!(tried >= 15, "the sample explains only {tried} keys");
}

/// Keys that only work together stand indented, line behind line.
#[test]
fn every_group_of_keys_the_sample_explains_is_accepted_together() {
    let sample = sample();
    let lines: Vec<&str> = sample.lines().collect();
    let is_group = |line: &&str| line.starts_with("#   ");
    let groups = lines.chunk_by(|a, b| is_group(a) == is_group(b)).filter(|chunk| is_group(&chunk[0]));
    let groups: Vec<Vec<&str>> =
        groups.map(|group| group.iter().map(|line| line.trim_start_matches("#   ")).collect()).collect();
    assert_eq!(groups.len(), 8, "{groups:?}");
    for group in groups {
        let of_token = group.iter().any(|setting| setting.starts_with("token"));
        // In the place of the commented group: behind all keys of the relay host.
        let text = sample.lines().filter(|line| !(of_token && line.starts_with("password_file"))).map(|line| {
            if line == "[spool]" { format!("{}\n\n[spool]\n", group.join("\n")) } else { format!("{line}\n") }
        });
        let (good, said) = checked(&text.collect::<String>());
        assert!(good, "{group:?}: {said}");
    }
}

fn is_setting(line: &str) -> bool {
    line.split_once(" = ")
        .is_some_and(|(key, _)| !key.is_empty() && key.bytes().all(|o| o.is_ascii_lowercase() || o == b'_'))
}

/// The tutorial's case: Gmail with a login; From is the login, whatever OSSEC says.
const GMAIL: &str = r#"
[[recipient]]
address = "slacker007.dev@gmail.com"
certificate = "keys/admin.asc"
fingerprint = "<40 hex digits of keys/admin.asc>"

[[relay]]
host = "smtp.gmail.com"
port = 587
username = "slacker007.dev@gmail.com"
password_file = "sasl_password"
"#;

/// The guide's values: sasl_username and sasl_domain joined, its own names for the files.
const GUIDE: &str = r#"
[sender]
address = "ossec@news-org.com"

[[recipient]]
address = "securedrop@freedom.press"
certificate = "keys/ossec.pub"
fingerprint = "<40 hex digits of keys/admin.asc>"

[[relay]]
host = "smtp.news-org.com"
port = 465
username = "ossec@news-org.com"
password_file = "sasl_password"
"#;

#[test]
fn the_tutorials_gmail_case_and_the_guides_three_tiers_of_trust_are_accepted() {
    let ca = format!("{GUIDE}ca_file = \"certs/MyOrg.crt\"\n");
    let pin = format!("{GUIDE}pins = [\"sha1:6D:87:EE:CB:D0:37:2F:88:B8:29:06:FB:35:F4:65:00:7F:FD:84:29\"]\n");
    for text in [GMAIL, GUIDE, &ca, &pin] {
        let (good, said) = checked(text);
        assert!(good, "{said}\n{text}");
    }
}

/// The Markdown pages of the project, the README first.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["deploy", "deploy/recipes", "deploy/migration"].map(|folder| root.join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder").flatten());
    let pages = files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    [root.join("README.md")].into_iter().chain(pages).collect()
}

#[test]
fn every_example_in_the_manual_is_accepted() {
    let recipient = "\n[[recipient]]\naddress = \"admin@example.org\"\ncertificate = \"keys/admin.asc\"\n\
                     fingerprint = \"<40 hex digits of keys/admin.asc>\"\n";
    let relay = "\n[[relay]]\nhost = \"smtp.example.org\"\nusername = \"ossec@example.org\"\n\
                 password_file = \"sasl_password\"\n";
    let mut tried = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().expect("the end of a block");
            let mut whole = block.to_owned();
            for (section, standard) in [("[[recipient]]", recipient), ("[[relay]]", relay)] {
                if !block.contains(section) {
                    whole.push_str(standard);
                }
            }
            let (good, said) = checked(&whole);
            assert!(good, "{}:\n{block}\n{said}", page.display());
            tried += 1;
        }
    }
    assert!(tried >= 9, "only {tried} examples were found");
}

#[test]
fn every_test_the_threat_model_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    let mut found = 0;
    for name in model.split('`').filter(|name| name.contains("::")) {
        let (module, test) = name.split_once("::").expect("two parts");
        let files =
            [format!("{module}.rs"), format!("{module}/mod.rs")].map(|file| root.join("tests/suite").join(file));
        let source = files.iter().find_map(|file| fs::read_to_string(file).ok());
        let source = source.unwrap_or_else(|| panic!("no module for {name}"));
        let wanted = test.strip_suffix('*').map_or_else(|| format!("\nfn {test}("), |begin| format!("\nfn {begin}"));
        assert!(source.contains(&wanted), "no test {name}");
        found += 1;
    }
    assert!(found > 40, "only {found} names were found");
}
