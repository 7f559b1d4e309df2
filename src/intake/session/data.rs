//! What follows DATA: where it ends, what it may take of memory and time, and what it is if its end never comes.
//!
//! Guarantees: a mail without its end of data is dropped (it was never ours), unless a lone dot was taken for text before:
//! then all that came is the mail. What is over the limit is read to its end, so that no octet of it is a command, and
//! not kept. An attacker controls every octet, and the pauses between them.

use std::time::Duration;

use tokio::time::Instant;

use super::super::places::Place;
use super::super::surplus::Surplus;
use super::Session;
use super::connection::{Client, End};
use crate::maillog;
use crate::smtp::data::{Complete, Data};

/// How long a client may be silent after a lone dot was taken for text; then what came is the mail.
const AFTER_EARLY_DOT: Duration = Duration::from_secs(30);

/// What came of DATA.
pub enum Message {
    /// A mail, and why the session is over behind it, if it is.
    Complete(Complete, Option<End>),
    /// Over the limit; what followed its end.
    TooLarge(Vec<u8>),
}

impl<S: Client> Session<'_, S> {
    /// Reads up to the end of data; the memory it takes is held in `place`.
    ///
    /// # Errors
    /// The session ended before: what came is a fragment, and not ours.
    pub(super) async fn receive(&mut self, place: &mut Place) -> Result<Message, End> {
        let deadline = Instant::now() + self.intake.limits.message_timeout;
        let mut data = Data::new(self.intake.limits.message_size);
        data.push(&self.received.take());
        loop {
            if data.surplus().is_some() {
                if self.is_end(&mut data).await {
                    // Behind a lone dot that was text, what fits and what came with it is kept, as without this end.
                    let oversize = data.is_oversize() && !data.may_end_at_last_octet();
                    let complete = data.end_here();
                    return Ok(if oversize {
                        Message::TooLarge(complete.surplus)
                    } else {
                        Message::Complete(complete, None)
                    });
                }
                data.dot_was_text();
                continue;
            }
            if data.is_oversize() && data.may_end_at_last_octet() {
                // What follows would be read as commands: the session ends here.
                return data
                    .end_at_last_octet()
                    .map(|all| Message::Complete(all, Some(End::Closed)))
                    .ok_or(End::Closed);
            }
            if data.is_oversize() {
                data.discard();
                *place = Place::default();
            }
            let patience = if data.has_early_dot() { AFTER_EARLY_DOT } else { self.intake.limits.command_timeout };
            match self.connection.read(deadline.min(Instant::now() + patience)).await {
                Ok(octets) => {
                    let (activity, clock) = (self.connection.activity, self.connection.clock);
                    self.intake.places.grow(place, data.len() + octets.len(), activity, clock).await;
                    data.push(&octets);
                }
                // A candidate end is never taken back for nothing; without one this is a fragment and not ours.
                Err(end) => {
                    return match data.end_at_last_octet() {
                        Some(all) => Ok(Message::Complete(all, Some(end))),
                        None => {
                            maillog::not_accepted(&self.client, "none", "the session ended before the end of data");
                            Err(end)
                        }
                    };
                }
            }
        }
    }

    /// Whether the candidate in `data` is the end. An honest client, who was not offered PIPELINING, has nothing to say
    /// before our reply: octets that follow at once show that the dot was text. QUIT alone is a script that does not
    /// read replies.
    async fn is_end(&mut self, data: &mut Data) -> bool {
        let whole_gap = Instant::now() + self.intake.limits.early_dot_wait;
        let mut until = if self.greeting.is_helo() { whole_gap } else { Instant::now() };
        loop {
            match Surplus::of(data.surplus().unwrap_or_default()) {
                Surplus::Text => return false,
                Surplus::PartOfQuit => until = whole_gap,
                Surplus::Nothing | Surplus::Quit => {}
            }
            if Instant::now() >= until && !self.connection.stream.has_octets() {
                return !matches!(Surplus::of(data.surplus().unwrap_or_default()), Surplus::PartOfQuit);
            }
            match self.connection.read_within_gap(until).await {
                Some(octets) if octets.is_empty() => return true,
                Some(octets) => data.push(&octets),
                None => {}
            }
        }
    }
}
