//! The relay's own key: shown, rotated so that recipients can follow, kept over a reinstall.

use std::path::Path;

use sequoia_openpgp as openpgp;

use openpgp::Cert;
use openpgp::parse::Parse;
use serde_json::Value;

use crate::support::certificates::{DAY, fingerprint};
use crate::support::client::send_alert;
use crate::support::clock::Clock;
use crate::support::daemon::Setup;
use crate::support::reader::open_at;
use crate::support::relay_host::RelayHost;
use crate::support::root;

fn shown(setup: &Setup) -> Value {
    let output = setup.run(&["keys", "signer", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn fingerprint_in(file: &Path) -> String {
    fingerprint(&Cert::from_file(file).expect("a certificate"))
}

/// Exit code and standard error.
fn signer(setup: &Setup, arguments: &[&str]) -> (i32, String) {
    let output = setup.run(&[&["keys", "signer"], arguments].concat());
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_rotated_key_is_announced_by_the_old_one_for_thirty_days_and_then_signs() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let Some(clock) = Clock::new(&setup.path("")) else { return };
    setup.configure();
    assert_eq!(signer(&setup, &[]).0, 66, "there is none yet");
    let daemon = setup.start_by_clock(&clock);
    let (certificate, next_certificate) = (setup.path("state/signer.asc"), setup.path("state/signer-next.asc"));
    let old = fingerprint_in(&certificate);
    assert_eq!(shown(&setup)["fingerprint"], *old);
    assert_eq!(daemon.status()["signer"], *old);
    let kept = setup.write("old.asc", &std::fs::read(&certificate).expect("read"));

    let rotated = setup.run(&["keys", "signer", "--rotate"]);
    let said = String::from_utf8_lossy(&rotated.stdout);
    assert!(rotated.status.success() && said.contains("Run `sealrelay config reload`"), "{rotated:?}");
    let (code, said) = signer(&setup, &["--rotate"]);
    assert!(code == 75 && said.contains("is already being announced"), "{code} {said}");
    let next = fingerprint_in(&next_certificate);
    assert_eq!(shown(&setup)["next"]["fingerprint"], *next);
    assert_eq!(shown(&setup)["next"]["from"], Value::Null, "the days begin with the reload");
    assert_eq!(daemon.reload().1, 0);
    assert_ne!(shown(&setup)["next"]["from"], Value::Null);

    let recipient = setup.recipients[0].1.clone();
    let today = clock.set_days(29) + DAY / 2;
    send_alert(&daemon.address, "announced");
    let taken = relay_host.taken(1);
    // Whoever pinned the old key finds the new one in what the old one signed ...
    let opened = open_at(&taken[0].message, &recipient, &kept, today);
    assert_eq!(opened.manifest["signer"], *old);
    assert_eq!(opened.manifest["next_signer"]["fingerprint"], *next);
    assert!(opened.noticed().contains(&next), "{}", opened.noticed());
    let announced = opened.manifest["next_signer"]["certificate"].as_str().expect("armored");
    let followed = setup.write("followed.asc", announced.as_bytes());
    assert_eq!(fingerprint_in(&followed), next);
    assert_eq!(daemon.status()["signer"], *old);

    // ... and can verify what comes when the time is over: in the running daemon, and after a restart.
    let then = clock.set_days(31) + DAY / 2;
    send_alert(&daemon.address, "taken over");
    let taken = relay_host.taken(2);
    let opened = open_at(&taken[1].message, &recipient, &followed, then);
    assert_eq!(opened.manifest["signer"], *next);
    assert_eq!(opened.manifest["next_signer"], Value::Null);
    assert_eq!(daemon.status()["signer"], *next);
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start_by_clock(&clock);
    send_alert(&daemon.address, "restarted");
    open_at(&relay_host.taken(3)[2].message, &recipient, &followed, then);
    assert_eq!(fingerprint_in(&certificate), next);
    assert_eq!(fingerprint_in(&setup.path(&format!("state/signer-{old}.asc"))), old);
    assert!(!next_certificate.exists());
    assert_eq!(shown(&setup)["next"], Value::Null);
}

#[test]
fn a_backup_keeps_the_relays_key_over_a_reinstall_and_never_replaces_another() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    assert_eq!(setup.start().terminate(), 0);
    let before = shown(&setup)["fingerprint"].clone();
    let backup = setup.path("backup.asc");
    let backup = backup.to_str().expect("a path");
    assert_eq!(signer(&setup, &["--export-backup", backup]).0, 0);
    let (code, said) = signer(&setup, &["--export-backup", backup]);
    assert!(code == 73 && said.contains("File exists"), "{code} {said}");
    // A first start before the import has made a key of its own: it is not silently lost.
    std::fs::remove_dir_all(setup.path("state")).expect("lost");
    assert_eq!(setup.start().terminate(), 0);
    assert_ne!(shown(&setup)["fingerprint"], before);
    let (code, said) = signer(&setup, &["--import", backup]);
    assert!(code == 73 && said.contains("another signing key") && said.contains("move it away: mv "), "{code} {said}");
    std::fs::remove_file(setup.path("state/signer.pgp")).expect("moved away");
    assert_eq!(signer(&setup, &["--import", backup]), (0, String::new()));
    assert_eq!(shown(&setup)["fingerprint"], before);
    let daemon = setup.start();
    assert_eq!(daemon.status()["signer"], before);
    // A backup that others can read is no secret any more.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(backup, std::fs::Permissions::from_mode(0o644)).expect("set");
    let (code, said) = signer(&setup, &["--import", backup]);
    assert!(code == 78 && said.contains("is open to others"), "{code} {said}");
}

#[test]
fn what_root_does_to_the_relays_key_stays_readable_for_the_services_user() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !root() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    assert_eq!(setup.start().terminate(), 0);
    let user = 65_534;
    chown(setup.path("state"), Some(user), Some(user)).expect("given away");
    assert_eq!(signer(&setup, &["--rotate"]).0, 0);
    for name in ["signer-next.pgp", "signer-next.asc"] {
        let file = std::fs::metadata(setup.path("state").join(name)).expect("made");
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (user, user, 0o600), "{name}");
    }
}
