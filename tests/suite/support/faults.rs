//! Faults in the daemon's system calls, and power cuts. See `tests/support/faults.c`.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::daemon::Setup;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not work, with this errno.
    Errno(&'static str, i32),
    /// The process dies before it.
    Kill,
    /// The machine loses its power before it: of all that was not synced the worst is on the disk.
    PowerCut,
}

/// One call that touched the spool or the state directory.
#[derive(Clone, Debug)]
pub struct Call {
    pub number: usize,
    pub kind: String,
    pub worked: bool,
    inode: u64,
    pub path: PathBuf,
    to: PathBuf,
}

/// The calls of one process, and its faults.
pub struct Faults<'a> {
    setup: &'a Setup,
    /// fsync and fdatasync do nothing.
    pub planted: bool,
}

impl<'a> Faults<'a> {
    pub fn of(setup: &'a Setup) -> Self {
        let _ = fs::remove_file(setup.path("calls"));
        fs::create_dir_all(setup.path("keep")).expect("made");
        Self { setup, planted: false }
    }

    /// Those of a run that is over.
    pub fn of_run(setup: &'a Setup) -> Self {
        Self { setup, planted: false }
    }

    /// `command` with call number `at` failing by `fault`; 0 for none.
    pub fn prepare(&self, command: &mut Command, at: usize, fault: Fault) {
        let errno = if let Fault::Errno(_, number) = fault { number } else { 0 };
        let under = ["spool", "state"].map(|name| self.setup.path(name).display().to_string()).join(":");
        command.env("LD_PRELOAD", library()).env("FAULTS_UNDER", under);
        command.env("FAULTS_AT", at.to_string()).env("FAULTS_ERRNO", errno.to_string());
        command.env("FAULTS_LOG", self.setup.path("calls")).env("FAULTS_KEEP", self.setup.path("keep"));
        if self.planted {
            command.env("FAULTS_NO_SYNC", "1");
        }
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        let log = fs::read_to_string(self.setup.path("calls")).unwrap_or_default();
        log.lines().map(call).collect()
    }

    /// Whether `path` was removed, and so that it stays removed after `fault`.
    pub fn is_gone(&self, path: &Path, fault: Fault) -> bool {
        let calls = self.calls();
        let mut since = calls.iter().skip_while(|call| !(call.kind == "unlink" && call.worked && call.path == path));
        let is_removed = since.next().is_some();
        let synced = |call: &Call| call.kind == "fsync" && call.worked && Some(call.path.as_path()) == path.parent();
        is_removed && (fault != Fault::PowerCut || since.any(synced))
    }

    /// Whether every removal was synced.
    pub fn removals_are_synced(&self) -> bool {
        let calls = self.calls();
        let mut removed = calls.iter().filter(|call| call.kind == "unlink" && call.worked);
        removed.all(|call| self.is_gone(&call.path, Fault::PowerCut) || call.path.extension().is_some())
    }

    /// Leaves on the disk what a power cut leaves at worst: names as they were when their directory was synced last,
    /// nothing in a file whose content was not synced, garbage where a synced one was being written over.
    pub fn cut_power(&self) {
        let disk = Disk::after(&self.calls());
        let root = [self.setup.path("spool"), self.setup.path("state")];
        let mut now: HashMap<u64, PathBuf> = HashMap::new();
        for folder in &root {
            files_under(folder, &mut |path, inode| _ = now.insert(inode, path.to_owned()));
        }
        // What was there before the first call was logged is taken for durable: it was made by hand, or by a run that ended.
        let known: Vec<u64> = disk.inodes.keys().copied().collect();
        let survivors: Vec<(PathBuf, Vec<u8>)> = disk
            .durable
            .iter()
            .map(|(path, inode)| {
                let source = now.get(inode).cloned().unwrap_or_else(|| self.setup.path("keep").join(inode.to_string()));
                let content = fs::read(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
                (path.clone(), disk.inodes[inode].survives(content))
            })
            .collect();
        now.iter()
            .filter(|(inode, _)| known.contains(inode))
            .for_each(|(_, path)| fs::remove_file(path).expect("gone"));
        for (path, content) in survivors {
            // Not written over: the file of that name may be another one now.
            let _ = fs::remove_file(&path);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).expect("made");
            file.write_all(&content).expect("brought back");
        }
    }
}

/// What is durable of what was done.
#[derive(Default)]
struct Disk {
    names: HashMap<PathBuf, u64>,
    durable: HashMap<PathBuf, u64>,
    inodes: HashMap<u64, Content>,
}

/// A file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Never synced: at worst nothing is there.
    Lost,
    /// As it was synced.
    Synced,
    /// Synced once, written over since.
    Torn,
}

impl Content {
    fn survives(self, mut content: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Synced => content,
            Self::Lost => Vec::new(),
            Self::Torn => {
                let half = content.len() / 2;
                content[..half].fill(0);
                content
            }
        }
    }
}

impl Disk {
    fn after(calls: &[Call]) -> Self {
        let mut disk = Self::default();
        for call in calls.iter().filter(|call| call.worked) {
            disk.apply(call);
        }
        disk
    }

    fn apply(&mut self, call: &Call) {
        match call.kind.as_str() {
            "create" | "truncate" => {
                self.names.insert(call.path.clone(), call.inode);
                self.inodes.insert(call.inode, Content::Lost);
            }
            "open" if call.path.is_file() => {
                self.names.insert(call.path.clone(), call.inode);
                self.inodes.entry(call.inode).or_insert(Content::Synced);
            }
            "write" => {
                let content = self.inodes.entry(call.inode).or_insert(Content::Synced);
                if *content == Content::Synced {
                    *content = Content::Torn;
                }
            }
            "rename" => {
                self.names.remove(&call.path);
                self.names.insert(call.to.clone(), call.inode);
            }
            "unlink" => _ = self.names.remove(&call.path),
            "fsync" | "fdatasync" if self.inodes.contains_key(&call.inode) => {
                self.inodes.insert(call.inode, Content::Synced);
            }
            "fsync" => {
                let is_in = |path: &Path| path.parent() == Some(&call.path);
                self.durable.retain(|path, _| !is_in(path));
                self.durable
                    .extend(self.names.iter().filter(|(path, _)| is_in(path)).map(|(path, id)| (path.clone(), *id)));
            }
            _ => {}
        }
    }
}

/// `NUMBER KIND RESULT INODE PATH SECOND`.
fn call(line: &str) -> Call {
    let mut parts = line.splitn(6, ' ');
    let mut next = || parts.next().unwrap_or_default();
    let (number, kind, result, inode) = (next(), next(), next(), next());
    Call {
        number: number.parse().expect("a number"),
        kind: kind.to_owned(),
        worked: result == "0",
        inode: inode.parse().expect("an inode"),
        path: next().into(),
        to: next().into(),
    }
}

fn files_under(folder: &Path, with: &mut impl FnMut(&Path, u64)) {
    use std::os::unix::fs::MetadataExt;
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, data) = (file.path(), file.metadata().expect("there"));
        if data.is_dir() { files_under(&path, with) } else { with(&path, data.ino()) }
    }
}

/// The library, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // One for each process: two may test at the same time.
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults.{}.so", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(root.join("tests/support/faults.c"))
            .status();
        assert!(compiled.is_ok_and(|status| status.success()), "faults.c does not compile");
        library
    })
}
