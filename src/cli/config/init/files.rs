//! What `config init` writes: the configuration, and beside it the certificate, the authority and the password.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::super::new_file::{self, Access};
use super::super::super::{EX_CANTCREAT, Failure};
use super::answers::Answers;
use crate::config::Trust;
use crate::envelope::{Address, hex, random};
use crate::import::{Draft, Table};

/// The name of the password's file, which is also that of its systemd credential.
const PASSWORD: &str = "sasl_password";

/// One file, by its name beside the configuration.
struct File {
    name: String,
    content: Vec<u8>,
    access: Access,
}

/// Writes all of them, or none; the paths in the order they were put in place.
pub fn install(configuration: &Path, answers: &Answers) -> Result<Vec<PathBuf>, Failure> {
    let configuration = std::path::absolute(configuration).unwrap_or_else(|_| configuration.to_owned());
    let folder = configuration.parent().unwrap_or(Path::new("/"));
    let name = configuration.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let files = files(name.clone(), answers)?;
    files.iter().try_for_each(|file| new_file::refuse_existing(&folder.join(&file.name)))?;
    make(folder)?;
    let staging = Staging(folder.join(format!(".sealrelay-init-{}", hex(&random::<8>()))));
    make(&staging.0)?;
    for file in &files {
        let path = staging.0.join(&file.name);
        make(path.parent().unwrap_or(folder))?;
        new_file::write(&path, &file.content, file.access)?;
    }
    super::super::sound(&staging.0.join(&name))?;
    put(&files, &staging.0, folder)
}

/// In place, one after the other; if one cannot be, those before it go again.
fn put(files: &[File], staging: &Path, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut done = Vec::new();
    for file in files {
        let path = folder.join(&file.name);
        let moved =
            make(path.parent().unwrap_or(folder)).and_then(|()| new_file::put(&staging.join(&file.name), &path));
        if let Err(failure) = moved {
            done.iter().for_each(|path| drop(std::fs::remove_file(path)));
            return Err(failure);
        }
        done.push(path);
    }
    Ok(done)
}

/// One that is new is open to the service's user, whatever this account's umask: what is secret in it is closed itself.
fn make(folder: &Path) -> Result<(), Failure> {
    if folder.is_dir() {
        return Ok(());
    }
    // Those above it, too.
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), make)?;
    let open = || std::fs::set_permissions(folder, Permissions::from_mode(0o755));
    std::fs::create_dir(folder).and_then(|()| open()).map_err(|error| {
        let what = format!("cannot make {}: {error}", folder.display());
        Failure::new(what, "Run this as an account that may write there.", EX_CANTCREAT)
    })
}

/// Goes with all that is still in it.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The configuration last: it names the others.
fn files(name: String, answers: &Answers) -> Result<Vec<File>, Failure> {
    let mut draft = Draft::new("`sealrelay config init`");
    let certificate = format!("keys/{}", plain_name(&answers.certificate, "recipient.asc"));
    let mut files = vec![copy(&answers.certificate, certificate.clone())?];
    draft
        .recipient(answers.recipient.as_str())
        .set("certificate", certificate)
        .set("fingerprint", answers.fingerprint.as_str());
    let mut relay = Table::default();
    relay.set("host", answers.host.as_str()).set("port", i64::from(answers.port));
    if let Some((username, password)) = &answers.login {
        relay.set("username", username.as_str()).set("password_file", PASSWORD);
        let content = format!("{}\n", password.reveal()).into_bytes();
        files.push(File { name: PASSWORD.to_owned(), content, access: Access::Secret });
    }
    match &answers.trust {
        Trust::System => {
            relay.note("Trust by the system's roots.");
        }
        Trust::CaFile(file) => {
            let name = format!("certs/{}", plain_name(file, "relay-ca.pem"));
            files.push(copy(file, name.clone())?);
            relay.set("ca_file", name);
        }
        Trust::Pins(pins) => {
            relay.set("pins", pins.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
    }
    draft.relays.push(relay);
    let is_login = answers
        .login
        .as_ref()
        .is_some_and(|(name, _)| name.parse().is_ok_and(|login: Address| login == answers.sender));
    if !is_login {
        draft.sender.set("address", answers.sender.as_str());
    }
    files.push(File { name, content: draft.to_string().into_bytes(), access: Access::Public });
    Ok(files)
}

/// The last part of a path, if it reads well in a configuration.
fn plain_name(path: &Path, otherwise: &str) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@._+-".contains(c);
    if !name.starts_with('.') && name.chars().all(is_plain) { name } else { otherwise.to_owned() }
}

fn copy(from: &Path, name: String) -> Result<File, Failure> {
    let content = std::fs::read(from).map_err(|error| {
        Failure::new(format!("cannot read {}: {error}", from.display()), "Name a file that can be read.", EX_CANTCREAT)
    })?;
    Ok(File { name, content, access: Access::Public })
}
