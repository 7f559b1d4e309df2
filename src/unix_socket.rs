//! Sockets in the file system, and the folders they lie in: for clients, operators and Prometheus.
//!
//! Guarantees: only a dead socket is replaced, never one that answers, nor anything that is no socket. Whom a socket is for
//! gets through every folder that is made for it, whatever the process's umask is. On failure there is no socket. An
//! attacker who may write to the folder can put another one in its place; the folders that are made here let nobody.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::net::UnixListener;

/// Whom a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The process's user and group.
    Group,
    /// Every account of this machine.
    Everybody,
}

impl Reach {
    fn of_folder(self) -> Permissions {
        Permissions::from_mode(if self == Self::Group { 0o750 } else { 0o755 })
    }

    fn of_socket(self) -> Permissions {
        Permissions::from_mode(if self == Self::Group { 0o660 } else { 0o666 })
    }
}

/// Makes the socket at `path`, in place of one that a dead process left.
///
/// # Errors
/// It cannot be made, a living process answers there, or what lies there is no socket.
pub fn bind(path: &Path, reach: Reach) -> io::Result<UnixListener> {
    make_way(path)?;
    make_folder(path, reach)?;
    let listener = UnixListener::bind(path)?;
    // The daemon's umask closes it to everybody else up to here.
    fs::set_permissions(path, reach.of_socket())?;
    Ok(listener)
}

fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"))
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there"))
        }
        Ok(_) => fs::remove_file(path),
    }
}

/// Makes the folder of the socket `path`, and those above it, if they are not there. (systemd's `RuntimeDirectory=` does;
/// without it we do.)
///
/// # Errors
/// One cannot be made.
pub fn make_folder(path: &Path, reach: Reach) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.exists()) else { return Ok(()) };
    make_folder(folder, reach)?;
    fs::create_dir(folder)?;
    fs::set_permissions(folder, reach.of_folder())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_a_living_one_and_a_file_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let living = bind(&path, Reach::Group).expect("made");
        assert_eq!(bind(&path, Reach::Group).expect_err("a living one").kind(), io::ErrorKind::AddrInUse);
        drop(living);
        bind(&path, Reach::Group).expect("replaced");
        fs::remove_file(&path).and_then(|()| fs::write(&path, "a file")).expect("written");
        assert_eq!(bind(&path, Reach::Group).expect_err("a file").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("there"), b"a file");
    }

    #[tokio::test]
    async fn whom_a_socket_is_for_gets_to_it_through_every_folder_that_is_made() {
        for (reach, folders, socket) in [(Reach::Group, 0o750, 0o660), (Reach::Everybody, 0o755, 0o666)] {
            let folder = tempfile::tempdir().expect("a folder");
            let mode = |name: &str| fs::metadata(folder.path().join(name)).expect("there").permissions().mode() & 0o777;
            let _listener = bind(&folder.path().join("a/b/c.sock"), reach).expect("made");
            assert_eq!((mode("a"), mode("a/b"), mode("a/b/c.sock")), (folders, folders, socket), "{reach:?}");
        }
    }
}
