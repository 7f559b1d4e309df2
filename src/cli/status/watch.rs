//! `status --watch`: the same again and again.
//!
//! On a terminal it is drawn in place, on the terminal's second screen, which is left as it was found: at Ctrl-C, at
//! SIGTERM, and when something goes wrong. Elsewhere one picture follows the other, with an empty line between, until
//! nobody reads any more.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::super::page::Medium;
use super::super::{EX_OSERR, Failure, runtime};

/// Makes one picture; called on a thread for blocking work.
pub type Draw = Arc<dyn Fn() -> Result<Vec<String>, Failure> + Send + Sync>;

/// Draws every `every` until it is told to end. `is_dense`: no empty lines between pictures.
pub fn run(every: Duration, is_dense: bool, draw: Draw) -> Result<u8, Failure> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(repeat(every, is_dense, draw));
    // A daemon that does not answer must not keep the command.
    runtime.shutdown_background();
    outcome.map(|()| 0)
}

async fn repeat(every: Duration, is_dense: bool, draw: Draw) -> Result<(), Failure> {
    let on = |kind| -> Result<Signal, Failure> {
        signal(kind).map_err(|error| Failure::new(error, "Look at this machine's limits.", EX_OSERR))
    };
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let mut resized = on(SignalKind::window_change())?;
    let screen = (Medium::obeys() && !is_dense).then(Screen::open);
    loop {
        let own = Arc::clone(&draw);
        let lines = tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            drawn = spawn_blocking(move || own()) => drawn.unwrap_or_else(|_| Ok(Vec::new()))?,
        };
        let written = match &screen {
            Some(screen) => screen.show(&lines, every),
            None => write(&lines.join("\n"), if is_dense { "\n" } else { "\n\n" }),
        };
        if written.is_err() {
            return Ok(());
        }
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = resized.recv() => {}
            () = sleep(every) => {}
        }
    }
}

fn write(text: &str, end: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(end.as_bytes())?;
    out.flush()
}

/// The terminal's second screen, without its cursor; the first one comes back when this goes.
struct Screen;

impl Screen {
    fn open() -> Self {
        let _ = write("\x1b[?1049h\x1b[?25l\x1b[2J", "");
        Self
    }

    /// Draws over what is there, line by line: nothing flickers.
    fn show(&self, lines: &[String], every: Duration) -> io::Result<()> {
        let foot = format!("every {}; Ctrl-C ends", humantime::format_duration(every));
        let rows = Medium::rows().unwrap_or(usize::MAX);
        let room = rows.saturating_sub(2);
        let hidden = lines.len().saturating_sub(room);
        let foot = if hidden > 0 { format!("{hidden} more line(s) below; {foot}") } else { foot };
        let shown = lines.iter().take(room).map(|line| format!("{line}\x1b[K\r\n")).collect::<String>();
        write(&format!("\x1b[H{shown}\x1b[K\r\n{foot}\x1b[K\x1b[J"), "")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write("\x1b[?25h\x1b[?1049l", "");
    }
}
