//! A clock that a test moves while the daemon runs, by libfaketime.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::certificates::DAY;
use super::{have, met};

/// How far the daemon's clock is ahead of ours.
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A right clock, whose setting lies in `folder`; `None` where there is no libfaketime and need not be.
    pub fn new(folder: &Path) -> Option<Self> {
        if !have("faketime") {
            return None;
        }
        let library = std::fs::read_dir("/usr/lib")
            .expect("/usr/lib")
            .flatten()
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.exists());
        if !met(library.is_some(), "libfaketime") {
            return None;
        }
        let clock = Self { library: library?, file: folder.join("clock") };
        clock.set(0);
        Some(clock)
    }

    /// Puts the clock ahead by so many seconds, or back, at once.
    fn set(&self, seconds: i64) {
        // Renamed into place: the daemon reads it at any moment.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("written");
        std::fs::rename(&new, &self.file).expect("renamed");
    }

    /// The same in days; the time it is then.
    pub fn set_days(&self, days: u32) -> SystemTime {
        self.set_time(SystemTime::now() + days * DAY)
    }

    /// Makes it `now`; the same.
    pub fn set_time(&self, now: SystemTime) -> SystemTime {
        let seconds = |span: Duration| i64::try_from(span.as_secs()).expect("some years");
        self.set(match now.duration_since(SystemTime::now()) {
            Ok(ahead) => seconds(ahead),
            Err(back) => -seconds(back.duration()),
        });
        now
    }

    /// Makes `command` live by this clock. Its timers run on by the right one: only the date moves.
    pub fn rule(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }
}
