//! Questions on a terminal, and passwords that do not show.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

use super::super::{EX_USAGE, Failure, runtime};
use crate::config::Secret;

/// Answers that will not do, before we give up.
const TRIES: usize = 5;
/// Octets of an answer.
const LIMIT: u64 = 4096;
/// What a shell says of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Asks until `judge` takes the answer, and gives what it made of it. An empty answer means `default`, where there is one.
///
/// # Errors
/// No answer that will do.
pub fn ask<T>(question: &str, default: Option<&str>, judge: impl Fn(&str) -> Result<T, Failure>) -> Result<T, Failure> {
    let mut wrong = None;
    for _ in 0..TRIES {
        let shown = default.map_or_else(String::new, |default| format!(" [{default}]"));
        prompt(&format!("{question}{shown}: "));
        let line = line()?;
        let line = line.trim();
        match judge(if line.is_empty() { default.unwrap_or_default() } else { line }) {
            Ok(answer) => return Ok(answer),
            Err(failure) => {
                super::super::report(&failure, false);
                wrong = Some(failure);
            }
        }
    }
    Err(wrong.unwrap_or_else(no_answer))
}

/// Yes or no; no is what anything but a yes means.
pub fn confirm(question: &str) -> bool {
    prompt(&format!("{question} [y/N]: "));
    line().is_ok_and(|line| ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()))
}

/// A password, typed without an echo.
pub fn password(question: &str) -> Result<Secret, Failure> {
    let _hidden = Hidden::begin();
    prompt(&format!("{question} (does not show): "));
    let typed = line().map(Secret::new);
    let _ = writeln!(io::stderr());
    typed
}

/// Whether somebody is there to be asked.
pub fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// On standard error: standard output is for what comes out.
fn prompt(text: &str) {
    let mut error = io::stderr();
    let _ = error.write_all(text.as_bytes()).and_then(|()| error.flush());
}

/// One line of standard input, without its end.
pub fn line() -> Result<String, Failure> {
    let mut octets = Vec::new();
    let mut input = io::Read::take(io::stdin().lock(), LIMIT);
    let read = input.read_until(b'\n', &mut octets);
    match (read, String::from_utf8(octets)) {
        (Ok(1..), Ok(text)) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        _ => Err(no_answer()),
    }
}

fn no_answer() -> Failure {
    Failure::new("there is no answer", "Answer on the terminal, or give every answer as an option (--help).", EX_USAGE)
}

/// A terminal that shows nothing of what is typed, until it goes.
struct Hidden(Option<Termios>);

impl Hidden {
    fn begin() -> Self {
        let Ok(before) = tcgetattr(io::stdin()) else { return Self(None) };
        show_again_at_ctrl_c(before.clone());
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // What was typed ahead was typed for another question.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &hidden);
        Self(Some(before))
    }
}

/// Whoever gives up at this question gets a terminal back that shows what is typed.
fn show_again_at_ctrl_c(before: Termios) {
    let Ok(runtime) = runtime() else { return };
    // From here on it does not end us by itself.
    let Ok(mut interrupt) = runtime.block_on(async { signal(SignalKind::interrupt()) }) else { return };
    std::thread::spawn(move || {
        runtime.block_on(interrupt.recv());
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        std::process::exit(INTERRUPTED);
    });
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}
