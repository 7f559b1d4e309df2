//! What the tests share: the daemon as a process, a scripted relay host with real TLS, a CA, a reader of sealed mail, a
//! client.

pub mod certificates;
pub mod client;
pub mod clock;
pub mod daemon;
pub mod damage;
pub mod disk;
pub mod faults;
pub mod pki;
pub mod reader;
pub mod relay_host;
pub mod setup;
pub mod token_server;
pub mod web_server;

use std::time::{Duration, Instant};

/// Long enough for a loaded machine, short enough for a person.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `what` until it answers, for [`PATIENCE`] at most.
#[track_caller]
pub fn eventually<T>(wanted: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = what() {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain for {wanted}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a test that needs a program from outside may go on. In CI a missing one is a failing test.
pub fn have(program: &str) -> bool {
    let there = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    met(there, &format!("{program}, which tests/run.sh brings"))
}

/// Whether a test that needs to be root may go on.
pub fn root() -> bool {
    met(rustix::process::geteuid().is_root(), "root")
}

/// Whether what a test needs is there; in CI a skipped test is a failing one.
#[track_caller]
pub fn met(there: bool, need: &str) -> bool {
    let required = std::env::var_os("TESTS_REQUIRE_PEERS").is_some();
    assert!(there || !required, "this test needs {need}");
    if !there {
        eprintln!("skipped: this test needs {need}");
    }
    there
}
