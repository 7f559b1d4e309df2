//! The Debian packages, as far as they can be judged without making them; `tests/release.sh` makes them, and lives through
//! their life in a chroot.

use std::fs;
use std::path::Path;
use std::process::Command;

use toml::{Table, Value};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `[package.metadata.deb]` and its variant for the MTA.
fn packages() -> [Table; 2] {
    let manifest: Table = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml").parse().expect("TOML");
    let deb = manifest["package"]["metadata"]["deb"].as_table().expect("the package");
    [deb.clone(), deb["variants"]["mta"].as_table().expect("the variant").clone()]
}

#[test]
fn the_packages_have_the_programs_version_and_the_links_need_exactly_that_one() {
    let changelog = fs::read_to_string(root().join("deploy/debian/changelog")).expect("the changelog");
    let version = changelog.split(['(', ')']).nth(1).expect("a version");
    assert_eq!(version.rsplit_once('-').map(|(ours, _)| ours), Some(env!("CARGO_PKG_VERSION")));
    let [_, mta] = packages();
    assert_eq!(mta["depends"].as_str(), Some(&*format!("sealrelay (= {version})")));
}

#[test]
fn only_the_package_of_the_links_excludes_other_mail_servers() {
    let [program, mta] = packages();
    for relation in ["provides", "conflicts", "replaces"] {
        assert_eq!(mta[relation].as_str(), Some("mail-transport-agent"));
        assert!(!program.contains_key(relation), "{relation}");
    }
}

#[test]
fn everything_the_packages_carry_is_in_the_tree() {
    let mut carried = Vec::new();
    for package in packages() {
        for asset in package["assets"].as_array().expect("assets") {
            // A table is a link within the package.
            if let Value::Array(asset) = asset {
                carried.push(asset[0].as_str().expect("a file").to_owned());
            }
        }
    }
    assert!(carried.len() > 20, "{carried:?}");
    for file in carried.iter().filter(|file| !file.starts_with("target/")) {
        let path = root().join(file.trim_end_matches("/*"));
        assert!(path.exists(), "{file}");
    }
    // And the other way round: what is made for users is carried.
    for folder in ["deploy/systemd", "deploy/apparmor", "deploy/completions", "deploy/man"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = format!("{folder}/{}", entry.file_name().display());
            let is_source = name.ends_with(".in") || entry.path().is_dir();
            assert!(is_source || carried.contains(&name), "no package carries {name}");
        }
    }
}

#[test]
fn the_maintainers_scripts_are_ones_that_sh_can_read() {
    let mut read = 0;
    for package in ["sealrelay", "sealrelay-mta"] {
        for name in ["postinst", "prerm", "postrm"] {
            let script = root().join("deploy/debian").join(package).join(name);
            if script.exists() {
                let output = Command::new("sh").arg("-n").arg(&script).output().expect("sh");
                assert!(output.status.success(), "{output:?}");
                read += 1;
            }
        }
    }
    assert_eq!(read, 4);
}
