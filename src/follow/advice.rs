//! What people are told when a log cannot be followed, each with what to do.

use std::io;
use std::path::{Path, PathBuf};

/// A panic in the reading or storing of a line.
pub const BROKE_OFF: &str = "reading it broke off by a fault of the relay's own, which the log names; it is tried again every minute \
                         from where everything is durable, and what is behind that waits. Please report the fault";

/// The log at `path` cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => {
            "it is read as soon as it is there. The IDS writes it with <jsonout_output>yes</jsonout_output> in \
             <global>; if it does, the path is another one"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => format!(
            "the service's user must be able to read it: usermod -a -G {} USER, then restart the service (which is \
             needed too if its folder was made after the start)",
            group_of(path)
        ),
        _ => "it is tried again".to_owned(),
    };
    format!("it cannot be read: {error}; {advice}")
}

/// These files were compressed before they were read.
pub fn never_read(files: &[PathBuf]) -> String {
    let names = match files {
        [first, .., last] => format!("{} files from {} to {}", files.len(), first.display(), last.display()),
        _ => files.iter().map(|file| file.display().to_string()).collect(),
    };
    format!("nothing of {names} was sent: compressed before it was read, and only text can be read")
}

/// The group that may read `path`, or else that of the nearest folder that can be looked at.
fn group_of(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let known = path.ancestors().find_map(|path| std::fs::metadata(path).ok());
    let group = known.and_then(|data| nix::unistd::Group::from_gid(data.gid().into()).ok().flatten());
    group.map_or_else(|| "GROUP".to_owned(), |group| group.name)
}
