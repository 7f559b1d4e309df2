//! Files that a command makes for the operator: whole or not at all, and never over one that is there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{EX_CANTCREAT, Failure};

/// Who may read it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody: it holds no secret.
    Public,
    /// Its owner alone; that is the service's user where there is one.
    Secret,
}

/// The account the packages and the role make.
const SERVICE_USER: &str = "sealrelay";

/// Writes `path`. A reader sees all of it or nothing.
///
/// # Errors
/// It is there already, or cannot be made.
pub fn write(path: &Path, content: &[u8], access: Access) -> Result<(), Failure> {
    refuse_existing(path)?;
    let temporary =
        PathBuf::from(format!("{}.{}", path.display(), crate::envelope::hex(&crate::envelope::random::<8>())));
    let written = fill(&temporary, content, access).and_then(|()| rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(|error| refused(path, &error))
}

/// Gives the finished file at `from` its name.
///
/// # Errors
/// The name is taken, or cannot be given.
pub fn put(from: &Path, path: &Path) -> Result<(), Failure> {
    rename(from, path).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return there_already(path);
    }
    let hint = "Make its folder, or run this as an account that may write there.";
    Failure::new(format!("cannot write {}: {error}", path.display()), hint, EX_CANTCREAT)
}

/// So that a command of several files finds out before the first one.
pub fn refuse_existing(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() { Err(there_already(path)) } else { Ok(()) }
}

fn there_already(path: &Path) -> Failure {
    let hint = "It is left as it is. Name another file, or move it away if it is not needed.";
    Failure::new(format!("{} is there already", path.display()), hint, EX_CANTCREAT)
}

fn fill(temporary: &Path, content: &[u8], access: Access) -> io::Result<()> {
    // Closed until it is complete and has its owner.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(content)?;
    let mode = match access {
        Access::Public => 0o644,
        Access::Secret => {
            give_to_service(&file);
            0o400
        }
    };
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Only root can; and whose it is decides nothing that `config check` would not notice.
fn give_to_service(file: &File) {
    if let Ok(Some(user)) = nix::unistd::User::from_name(SERVICE_USER) {
        let _ = std::os::unix::fs::fchown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw()));
    }
}

fn rename(temporary: &Path, path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
