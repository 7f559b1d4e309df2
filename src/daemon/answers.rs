//! What is asked through the control socket.
//!
//! Guarantees: one answer for each request, in the form that `control` and `queue` describe. On failure to write it the
//! asker is gone, and what was asked for is done all the same. A local user of the socket's group is an operator, so an
//! attacker who is none does not come here.

use std::io::{self, Write};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::running::Running;
use crate::control::{Reloaded, Request};
use crate::heartbeat::Heart;
use crate::{gather, queue};

/// Who knows the answers.
pub struct Answers {
    pub running: Arc<Running>,
    pub heart: Arc<Heart>,
    /// Where clients come in.
    pub listening: Vec<String>,
    pub runtime: Handle,
}

impl Answers {
    /// Answers `request` into `out`; on a thread for blocking work.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn answer(&self, request: Request, out: &mut dyn Write) -> io::Result<()> {
        let running = &self.running;
        match request {
            Request::Status => serde_json::to_writer(out, &running.status(&self.listening))?,
            Request::Queue(request) => self.queue(&request, out)?,
            Request::Reload => serde_json::to_writer(out, &self.reload())?,
            Request::Recent => serde_json::to_writer(out, &running.deliver.recent())?,
            Request::Log => running.spool.history().copy(out)?,
            Request::Heartbeat => serde_json::to_writer(out, &self.heart.beat_now())?,
            Request::AlarmTest => serde_json::to_writer(out, &self.runtime.block_on(running.alarm.test()))?,
        }
        Ok(())
    }

    fn queue(&self, request: &queue::Request, out: &mut dyn Write) -> io::Result<()> {
        let running = &self.running;
        if let queue::Request::Flush { id } = request {
            if id.is_none() {
                gather::flush(&running.pipeline);
            }
            running.deliver.flush(id.as_ref());
        }
        let trouble = running.deliver.status().into_iter().find_map(|relay| relay.trouble).unwrap_or_default();
        queue::answer(&running.spool, request, &trouble, out)
    }

    fn reload(&self) -> Reloaded {
        match self.running.reload() {
            Ok(()) => Reloaded::Yes { in_force: self.running.in_force() },
            Err(error) => Reloaded::No { what: error.to_string(), hint: error.hint(), exit_code: error.exit_code() },
        }
    }
}
