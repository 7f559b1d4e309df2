//! What the daemon takes from itself before its first thread starts: most files, most ports, most system calls, and its
//! memory from everybody else.
//!
//! It seals what an attacker may have written, and talks to whoever answers for the relay host. Should one of them ever
//! make it run their code, that code finds no program it could start, no file beside mail, configuration and what the
//! system's libraries read, and no other process it could touch.
//!
//! Guarantees: whatever is in force is so for every thread, from before the configuration's first client on, and cannot be
//! taken back; `status` says what it is. On failure (an older kernel, a container that forbids it) the daemon goes on and
//! says so: a lost alert harms more than a wall less. What no start named, or found, a reload cannot reach:
//! [`Sandbox::hides`] knows it. An attacker controls nothing here.

mod calls;
mod files;

use std::io;
use std::path::Path;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Memory holds alerts and passwords: no core dump of it comes into being, and no other process, the same user's either,
/// may attach to this one.
///
/// # Errors
/// The system does not do it; then nothing secret may be read.
pub fn keep_memory_private() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// What is in force, in words, for `status`.
#[derive(Serialize, Deserialize, Default, Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Files and ports.
    pub landlock: String,
    /// System calls.
    pub seccomp: String,
    /// Whether both are.
    pub complete: bool,
}

/// The walls around this process.
pub struct Sandbox {
    /// `None` if all files are within reach.
    files: Option<files::Walls>,
    confinement: Confinement,
}

impl Sandbox {
    /// Confines this process to what `config` needs. The folders it writes to must exist. To be called before the first
    /// thread is started: Landlock binds only the thread that asks for it, and those it starts later.
    pub fn enter(config: &Config) -> Self {
        let files = files::restrict(&files::Needs::of(config));
        // Landlock's own calls are among those that end here.
        let calls = calls::restrict();
        let confinement = Confinement {
            complete: files.is_ok() && calls.is_ok(),
            landlock: files.as_ref().map_or_else(|why| format!("not in force: {why}"), |walls| walls.words.clone()),
            seccomp: calls.map_or_else(|why| format!("not in force: {why}"), |()| "in force".to_owned()),
        };
        Self { files: files.ok(), confinement }
    }

    /// Whether `path` is there and lies where this process can use nothing.
    pub fn hides(&self, path: &Path) -> bool {
        self.files.as_ref().is_some_and(|walls| walls.hide(path))
    }

    /// What is in force.
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }
}
