//! Every fault a certificate can have: what `keys lint`, `config check`, `keys list` and `run` say and do. Every
//! certificate is made just now.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use sequoia_openpgp::Cert;
use serde_json::Value;

use crate::support::certificates::{
    DAY, Weak, armored, armored_secret, binary, encryption_subkeys, fingerprint, of_age, of_the_future, ordinary,
    revoked, revoked_by, secret, sign_only, version_6, weak, with_expired_subkey, with_revoked_subkeys,
};
use crate::support::daemon::{Setup, program};
use crate::support::have;
use crate::support::pki::Authority;

const ADDRESS: &str = "row@example.org";

/// What `run` does at its first start.
#[derive(PartialEq)]
enum Run {
    /// Exit 78 with the same words: it never had a usable one.
    Stops,
    /// It starts: the holder can still read.
    Starts,
}

/// One fault.
struct Row {
    fault: &'static str,
    /// `None`: there is no file.
    file: Option<Vec<u8>>,
    mode: u32,
    fingerprint: String,
    kind: &'static str,
    /// Part of the first line.
    says: String,
    /// Part of the second line.
    advises: &'static str,
    run: Run,
}

fn row(
    fault: &'static str,
    file: Vec<u8>,
    fingerprint: &str,
    kind: &'static str,
    says: impl Into<String>,
    advises: &'static str,
) -> Row {
    let fingerprint = fingerprint.to_owned();
    Row { fault, file: Some(file), mode: 0o600, fingerprint, kind, says: says.into(), advises, run: Run::Stops }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let good = ordinary(ADDRESS);
    let good_print = fingerprint(&good);
    let other = ordinary("other@example.org");
    let subkey = encryption_subkeys(&good)[0].fingerprint().to_hex();
    let of = |certificate: &Cert| (armored(certificate), fingerprint(certificate));
    let mut rows = vec![
        row("short id", armored(&good), &good_print[24..], "not-a-fingerprint",
            "is not a full fingerprint: it has 16 hexadecimal digits instead of 40 (or 64 for version 6)", "Give all the digits"),
        row("a letter that is no digit", armored(&good), &format!("O{}", &good_print[1..]), "not-a-fingerprint",
            "'O' is not a hexadecimal digit", "Give all the digits"),
        row("no such fingerprint in the file", [armored(&good), armored(&other)].concat(), &"A".repeat(40), "not-found",
            format!("; there: {good_print}, {}", fingerprint(&other)), "compare the fingerprint"),
        row("a subkey's fingerprint", armored(&good), &subkey, "subkey",
            format!("{subkey} is the fingerprint of a subkey of the certificate {good_print}"), "Write the certificate's own"),
        row("a secret key, armored", armored_secret(&good), &good_print, "secret-key", "holds a SECRET key", "Remove"),
        row("a secret key, binary", secret(&good), &good_print, "secret-key", "holds a SECRET key", "Remove"),
        row("a secret key beside the certificate", [armored(&good), armored_secret(&other)].concat(), &good_print,
            "secret-key", "holds a SECRET key", "Remove"),
        row("no OpenPGP", b"-----BEGIN CERTIFICATE-----\nMIIB\n".to_vec(), &good_print, "not-a-certificate",
            "is no OpenPGP certificate: there is no `-----BEGIN PGP PUBLIC KEY BLOCK-----` in it", "Export the right one"),
        row("an empty file", Vec::new(), &good_print, "not-a-certificate", "it is empty", "Export the right one"),
        row("SecureDrop's first test key", armored(&good), "65A1B5FF195B56353CC63DFFCC40EF1228271441", "published",
            "is one of SecureDrop's test keys: everybody can have its secret key", "its holder alone has"),
        row("SecureDrop's second test key", armored(&good), "600BC6D5142C68F35DDBCEA87B597104EDDDC102", "published",
            "is one of SecureDrop's test keys", "its holder alone has"),
    ];
    let published = Path::new(env!("CARGO_MANIFEST_DIR")).join("keys/test");
    let known = std::fs::read_to_string(published.join("fingerprints")).expect("fingerprints");
    for (name, print) in known.lines().filter_map(|line| line.split_once(' ')) {
        let file = std::fs::read(published.join(format!("{name}.asc"))).expect("a test certificate");
        rows.push(row("a certificate of keys/", file, print, "published", "is one of sealrelay's test keys", "its holder alone has"));
    }
    let faulty = [
        ("only for signing", sign_only(ADDRESS), "no-encryption-subkey", "has no subkey that can encrypt", "add an encryption subkey"),
        ("revoked", revoked(&good), "revoked", "is revoked", "a new certificate"),
        ("its encryption subkeys revoked", with_revoked_subkeys(&good), "subkeys-revoked",
            "has no subkey left that can encrypt:", "add an encryption subkey"),
        ("SHA-1 binds the user id", weak(ADDRESS, Weak::UserId), "weak-signature",
            "signatures that can be forged: SHA1 is not considered secure since 2023-02-01", "--cert-digest-algo SHA256"),
        ("SHA-1 binds the subkey", weak(ADDRESS, Weak::SubkeyBinding), "weak-signature",
            ": SHA1 is not considered secure since 2023-02-01", "--cert-digest-algo SHA256"),
        ("a primary key of 1024 bits", weak(ADDRESS, Weak::Primary), "weak-key",
            "has a key that is too weak: RSA1024 is not considered secure", "a new certificate"),
        ("an encryption subkey of 1024 bits", weak(ADDRESS, Weak::Subkey), "weak-key",
            "RSA1024 is not considered secure", "a new certificate"),
        ("from the future", of_the_future(ADDRESS), "not-yet-valid", "is of the future: it was made on 20", "clock"),
    ];
    rows.extend(faulty.iter().map(|(fault, certificate, kind, says, advises)| {
        let (file, print) = of(certificate);
        row(fault, file, &print, kind, *says, advises)
    }));
    let expired = [
        ("expired", of_age(ADDRESS, 400 * DAY, 365 * DAY), "expired", "expired on 20", "--quick-set-expire"),
        ("its encryption subkey expired", with_expired_subkey(ADDRESS, 10 * DAY), "subkeys-expired",
            "has no subkey left that can encrypt:", "--quick-set-expire"),
    ];
    rows.extend(expired.iter().map(|(fault, certificate, kind, says, advises)| {
        let (file, print) = of(certificate);
        Row { run: Run::Starts, ..row(fault, file, &print, kind, *says, advises) }
    }));
    for mode in [0o666, 0o620] {
        let says = format!("can be changed by others than its owner (mode {mode:04o})");
        rows.push(Row { mode, ..row("writable by others", armored(&good), &good_print, "writable-by-others", says, "chmod go-w") });
    }
    rows.push(Row { file: None, ..row("no file", Vec::new(), &good_print, "unreadable",
        "cannot read the encryption certificate", "gpg --export") });
    rows.push(row("a huge file", vec![b'\n'; 9 << 20], &good_print, "unreadable", "it has more than", "gpg --export"));
    rows
}

/// A folder whose configuration has `admin@example.org`, and as second recipient what is in `row.asc`.
fn setup(file: Option<&[u8]>, mode: u32, fingerprint_text: &str) -> Setup {
    let stand_in = ordinary(ADDRESS);
    let setup = Setup::new(1, &Authority::new("test CA").pem).recipient_with(ADDRESS, stand_in.clone(), "");
    let setup = setup.with_fingerprint(&fingerprint(&stand_in), fingerprint_text);
    let path = setup.path(&format!("{ADDRESS}.asc"));
    match file {
        Some(octets) => {
            std::fs::write(&path, octets).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        }
        None => std::fs::remove_file(&path).expect("removed"),
    }
    setup.configure();
    setup
}

fn lint(setup: &Setup, fingerprint: &str, more: &[&str]) -> Output {
    let file = setup.path(&format!("{ADDRESS}.asc"));
    // Without any configuration: the administrator's own machine has none.
    let mut command = program();
    command.args(["--config", "/nonexistent/sealrelay.toml", "keys", "lint"]).arg(file);
    command.args(fingerprint.split(' ')).args(more).output().expect("the binary runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn assert_refused(row: &Row, by: &str, output: &Output) {
    let text = said(output);
    assert_eq!(output.status.code(), Some(78), "{}: {by}: {text}", row.fault);
    // `run` writes what the log's rules do not fire on.
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("]: ")).collect();
    assert_eq!(lines.len(), 2, "{}: {by}: one line what, one line what to do: {text}", row.fault);
    assert!(lines[0].contains(&row.says), "{}: {by}: {text}", row.fault);
    assert!(lines[1].contains(row.advises), "{}: {by}: {text}", row.fault);
}

#[test]
fn every_fault_of_a_certificate_is_refused_in_its_own_words() {
    let rows = rows();
    assert!(rows.len() >= 25, "only {} faults", rows.len());
    for row in &rows {
        let setup = setup(row.file.as_deref(), row.mode, &row.fingerprint);
        assert_refused(row, "keys lint", &lint(&setup, &row.fingerprint, &[]));
        assert_refused(row, "config check", &setup.run(&["config", "check"]));
        let output = lint(&setup, &row.fingerprint, &["--json"]);
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(output.status.code(), Some(78), "{}", row.fault);
        assert_eq!(json["verdict"]["refusal"]["kind"], row.kind, "{}: {json}", row.fault);
        assert_eq!(json["verdict"]["usable"], false);
        match row.run {
            Run::Stops => assert_refused(row, "run", &setup.run(&["run"])),
            Run::Starts => {
                let daemon = setup.start();
                assert!(daemon.status()["warnings"].to_string().contains(&row.says), "{}", daemon.status());
            }
        }
    }
}

#[test]
fn every_form_of_a_usable_certificate_is_taken_and_described() {
    let good = ordinary(ADDRESS);
    let print = fingerprint(&good);
    let other = ordinary("other@example.org");
    let keyring = [binary(&other), binary(&good)].concat();
    let spelled: Vec<String> =
        print.to_lowercase().as_bytes().chunks(4).map(|four| String::from_utf8_lossy(four).into_owned()).collect();
    let six = version_6(ADDRESS);
    for (form, file, text, algorithm) in [
        ("armored", armored(&good), print.clone(), "v4, Ed25519; encrypted to Curve25519"),
        ("binary", binary(&good), print.clone(), "v4, Ed25519"),
        ("several in one binary file", keyring, print.clone(), "v4"),
        ("several armored blocks in one file", [armored(&other), armored(&good)].concat(), print.clone(), "v4"),
        ("text around the block", [b"From admin:\n".as_slice(), &armored(&good)].concat(), print.clone(), "v4"),
        ("blanks and lower case", armored(&good), spelled.join(" "), "v4"),
        ("colons", armored(&good), spelled.join(":"), "v4"),
        ("version 6", armored(&six), fingerprint(&six), "v6, Ed25519; encrypted to X25519"),
    ] {
        let setup = setup(Some(&file), 0o644, &text);
        let output = lint(&setup, &text, &[]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{form}: {}", said(&output));
        assert!(shown.contains("holds until 20") && shown.contains(algorithm), "{form}: {shown}");
        let check = setup.run(&["config", "check"]);
        assert_eq!(check.status.code(), Some(0), "{form}: {}", said(&check));
    }
}

#[test]
fn a_revocation_by_somebody_else_and_a_near_end_are_warned_about_and_do_not_stop_anything() {
    let good = ordinary(ADDRESS);
    let doubtful = revoked_by(&good, &ordinary("mallory@example.org"));
    let near = of_age(ADDRESS, 345 * DAY - DAY / 2, 365 * DAY);
    // What has time is advice.
    for (certificate, says, list) in [
        (&doubtful, "somebody other than its holder says that the certificate", "warnings"),
        (&near, "in 20 days. Ask its holder to extend it", "advice"),
    ] {
        let setup = setup(Some(&armored(certificate)), 0o600, &fingerprint(certificate));
        let output = lint(&setup, &fingerprint(certificate), &[]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{shown}{}", said(&output));
        assert!(shown.contains(says), "{shown}");
        let status = setup.start().status();
        assert!(status[list].to_string().contains(says), "{status}");
    }
}

#[test]
fn keys_list_shows_every_configured_certificate_with_its_verdict() {
    let expired = of_age(ADDRESS, 400 * DAY, 365 * DAY);
    let setup = setup(Some(&armored(&expired)), 0o600, &fingerprint(&expired));
    let output = setup.run(&["keys", "list"]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(78), "{shown}{}", said(&output));
    let admin = fingerprint(&setup.recipients[0].1);
    assert!(shown.contains(&format!("admin@example.org: {admin} holds until 20")), "{shown}");
    assert!(shown.contains(&format!("{ADDRESS}: {} CANNOT BE USED", fingerprint(&expired))), "{shown}");
    let json: Value = serde_json::from_slice(&setup.run(&["keys", "list", "--json"]).stdout).expect("JSON");
    let certificates = json["certificates"].as_array().expect("a list");
    assert_eq!(certificates.len(), 2);
    assert_eq!(certificates[0]["certificate"]["encryption"][0]["algorithm"], "Curve25519");
    assert!(certificates[0]["certificate"]["until"].as_u64().is_some_and(|until| until > 1_790_000_000), "{json}");
    assert_eq!(certificates[1]["refusal"]["kind"], "expired");
}

#[test]
fn what_is_advised_against_weak_signatures_and_expiry_works_in_gpg() {
    if !have("gpg") {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder");
    let gpg = |arguments: &[&str]| {
        let mut command = std::process::Command::new("gpg");
        command.env("GNUPGHOME", home.path()).args(["--batch", "--quiet", "--no-tty"]).args(arguments);
        let output = command.output().expect("gpg runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    };
    let old = ["--cert-digest-algo", "SHA1", "--allow-weak-digest-algos"];
    let past = ["--faked-system-time", "20200101T000000"];
    for (how, kind) in [(old.as_slice(), "weak-signature"), (past.as_slice(), "expired")] {
        let address = format!("{kind}@example.org");
        let parameters = home.path().join("parameters");
        let text = format!(
            "%no-protection\nKey-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\nSubkey-Type: RSA\nSubkey-Length: 2048\n\
             Subkey-Usage: encrypt\nName-Email: {address}\nExpire-Date: 1y\n%commit\n"
        );
        std::fs::write(&parameters, text).expect("written");
        gpg(&[how, &["--generate-key", parameters.to_str().expect("a path")]].concat());
        let listed = String::from_utf8_lossy(&gpg(&["--with-colons", "--list-keys", &address])).into_owned();
        let print = listed.lines().find(|line| line.starts_with("fpr:")).and_then(|line| line.split(':').nth(9));
        let print = print.expect("a fingerprint").to_owned();
        let linted = || {
            let setup = setup(Some(&gpg(&["--export", &print])), 0o600, &print);
            let output = lint(&setup, &print, &["--json"]);
            let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            json["verdict"]["refusal"].clone()
        };
        let refusal = linted();
        assert_eq!(refusal["kind"], kind, "{refusal}");
        // The commands in the hint, as they stand there.
        let hint = refusal["hint"].as_str().expect("a hint").replace('\'', "");
        for command in hint.split('`').skip(1).step_by(2) {
            gpg(&command.split(' ').skip(1).collect::<Vec<_>>());
        }
        assert_eq!(linted(), Value::Null, "{hint}");
    }
    let _ = std::process::Command::new("gpgconf").env("GNUPGHOME", home.path()).args(["--kill", "all"]).status();
}
