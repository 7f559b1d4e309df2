//! One dialog with an alert client, from the banner to the close.
//!
//! The commands, and what becomes of a mail, are here; `connection` reads and writes, `data` reads what follows DATA.
//!
//! Guarantees: 250 after the end of data only when the mail is durable; every wait has a limit. On failure to keep a mail
//! the client is told 451, bare of reasons, and may send it again. An attacker controls every octet that is read here.

mod connection;
mod data;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

pub use connection::Client;

use super::places::{Place, Places};
use super::reply;
use super::room::Activity;
use crate::config::Listen;
use crate::envelope::{Envelope, Path, QueueId};
use crate::mail::{Greeting, Mail, Note};
use crate::maillog;
use crate::pipeline::{AcceptError, Pipeline};
use crate::shutdown::Shutdown;
use crate::smtp::command::{self, Command, Malformed};
use crate::smtp::data::Complete;
use crate::smtp::line::{Line, Received};
use crate::status::Counters;
use connection::{Connection, End};
use data::Message;

/// The longest command line, octets. RFC 5321 4.5.3.1.4 says 512; real clients' addresses and file names are longer.
const LINE_LIMIT: usize = 2048;
/// Malformed commands in a session before it is closed.
const BAD_COMMANDS: u32 = 20;

/// Takes responsibility for mails: the pipeline, and in tests whatever only collects them.
pub trait Keeper: Send + Sync {
    /// As [`Pipeline::accept`].
    ///
    /// # Errors
    /// The mail is not kept.
    fn accept(&self, mail: &Mail) -> Result<Vec<QueueId>, AcceptError>;
    /// As [`Pipeline::can_take`].
    fn can_take(&self) -> bool;
}

impl Keeper for Pipeline {
    fn accept(&self, mail: &Mail) -> Result<Vec<QueueId>, AcceptError> {
        self.accept(mail)
    }

    fn can_take(&self) -> bool {
        self.can_take()
    }
}

/// What all sessions share.
pub struct Intake {
    /// Where mails go.
    pub pipeline: Arc<dyn Keeper>,
    /// Settings.
    pub limits: Listen,
    /// Memory.
    pub places: Places,
    /// What happened.
    pub counters: Arc<Counters>,
}

/// MAIL to the end of data.
#[derive(Default)]
struct Transaction {
    envelope: Envelope,
    notes: Vec<Note>,
}

struct Session<'a, S> {
    connection: Connection<'a, S>,
    received: Received,
    client: String,
    greeting: Greeting,
    transaction: Option<Transaction>,
    /// Mails whose end of data was found, those over the limit too.
    mails: usize,
    bad_commands: u32,
    intake: &'a Intake,
}

/// Serves one client. `clock` is the listener's.
pub async fn serve<S: Client>(
    stream: S,
    client: String,
    intake: &Intake,
    activity: &Arc<Activity>,
    clock: Instant,
    shutdown: Shutdown,
) {
    maillog::connected(&client);
    activity.has_progress(clock);
    let mut session = Session {
        connection: Connection { stream, activity, clock, shutdown },
        received: Received::default(),
        client,
        greeting: Greeting::default(),
        transaction: None,
        mails: 0,
        bad_commands: 0,
        intake,
    };
    let end = session.dialog().await.err().unwrap_or(End::Quit);
    if end == End::MadeRoom {
        session.intake.counters.closed_for_room.up();
    }
    session.connection.close(end).await;
    maillog::disconnected(&session.client, &format!("{end:?}"));
}

impl<S: Client> Session<'_, S> {
    async fn dialog(&mut self) -> Result<(), End> {
        self.connection.say(reply::GREETING).await?;
        loop {
            let line = match self.line().await? {
                Line::Complete(line) => line,
                Line::TooLong => {
                    self.bad_command(reply::LINE_TOO_LONG).await?;
                    continue;
                }
            };
            match command::parse(&line) {
                Ok(Command::Quit) => return self.connection.say(reply::QUIT).await,
                Ok(command) => self.execute(command).await?,
                Err(Malformed::UnknownVerb) => self.bad_command(reply::UNKNOWN).await?,
                Err(Malformed::MissingColon) => self.bad_command(reply::SYNTAX).await?,
            }
        }
    }

    async fn execute(&mut self, command: Command) -> Result<(), End> {
        match command {
            Command::Helo(name) => self.greet(Greeting::Helo(name), reply::HELO).await,
            Command::Ehlo(name) => {
                let lines = reply::ehlo(self.intake.limits.message_size);
                self.greet(Greeting::Ehlo(name), &lines).await
            }
            Command::Mail { path, size } => self.mail(path, size).await,
            Command::Rcpt(path) => self.rcpt(path).await,
            Command::Data => self.data().await,
            Command::Rset => {
                self.transaction = None;
                self.connection.say(reply::RESET).await
            }
            Command::Noop => self.connection.say(reply::NOOP).await,
            Command::Vrfy => self.connection.say(reply::VRFY).await,
            Command::Quit => Err(End::Quit),
        }
    }

    async fn greet(&mut self, greeting: Greeting, reply: &str) -> Result<(), End> {
        // Log text behind an early dot may say EHLO, to pass for a client that needs no mark and no gap.
        if self.mails == 0 && !matches!(self.greeting, Greeting::Helo(_)) {
            self.greeting = greeting;
        }
        self.transaction = None;
        self.connection.say(reply).await
    }

    async fn mail(&mut self, path: Option<Path>, size: Option<u64>) -> Result<(), End> {
        if self.transaction.is_some() {
            return self.connection.say(reply::NESTED_MAIL).await;
        }
        if size.is_some_and(|size| size > self.intake.limits.message_size as u64) {
            self.intake.counters.oversize.up();
            maillog::not_accepted(&self.client, reply::TOO_LARGE, "over listen.message_size");
            return self.connection.say(reply::TOO_LARGE).await;
        }
        let mut transaction = Transaction::default();
        transaction.notes.extend(path.as_ref().and_then(unreadable));
        transaction.envelope.reverse_path = path;
        self.transaction = Some(transaction);
        self.connection.say(reply::MAIL).await
    }

    /// Every recipient is taken: OSSEC abandons the whole mail when one is refused, and nobody but configured
    /// recipients ever gets anything.
    async fn rcpt(&mut self, path: Path) -> Result<(), End> {
        let Some(transaction) = &mut self.transaction else { return self.connection.say(reply::NEED_MAIL).await };
        let note = unreadable(&path);
        let known = transaction.envelope.forward_paths.len();
        transaction.envelope.add(path);
        // One note for each that is remembered: a client must not be able to fill the memory with them.
        if transaction.envelope.forward_paths.len() > known {
            transaction.notes.extend(note);
        }
        self.connection.say(reply::RCPT).await
    }

    async fn data(&mut self) -> Result<(), End> {
        match &self.transaction {
            None => return self.connection.say(reply::NEED_MAIL).await,
            Some(transaction) if transaction.envelope.forward_paths.is_empty() => {
                return self.connection.say(reply::NEED_RCPT).await;
            }
            Some(_) => {}
        }
        self.connection.say(reply::DATA).await?;
        let mut place = Place::default();
        let received = self.receive(&mut place).await;
        let transaction = self.transaction.take().unwrap_or_default();
        match received? {
            Message::Complete(complete, end) => {
                self.accept(transaction, complete, end.is_some()).await?;
                end.map_or(Ok(()), Err)
            }
            Message::TooLarge(surplus) => {
                self.mails += 1;
                self.received.push(&surplus);
                self.intake.counters.oversize.up();
                maillog::not_accepted(&self.client, reply::TOO_LARGE, "over listen.message_size");
                self.connection.answer(reply::TOO_LARGE).await
            }
        }
    }

    async fn accept(&mut self, transaction: Transaction, complete: Complete, cut: bool) -> Result<(), End> {
        self.received.push(&complete.surplus);
        let mut notes = transaction.notes;
        if complete.early_dots > 0 {
            self.intake.counters.early_dots.up();
            notes.push(Note::EarlyDot(complete.early_dots));
        }
        notes.extend(cut.then_some(Note::EndedAfterEarlyDot));
        if self.greeting.is_helo() && self.mails > 0 {
            self.intake.counters.second_transactions.up();
            notes.push(Note::SecondTransaction);
        }
        self.mails += 1;
        if !notes.is_empty() {
            let kinds: Vec<&str> = notes.iter().map(Note::kind).collect();
            maillog::noticed(&self.client, &kinds.join(","));
        }
        let mail = Mail {
            envelope: transaction.envelope,
            octets: complete.octets,
            arrival: SystemTime::now(),
            client: self.client.clone(),
            greeting: self.greeting.clone(),
            notes,
            source: None,
            block: None,
        };
        let pipeline = Arc::clone(&self.intake.pipeline);
        let accepted = spawn_blocking(move || pipeline.accept(&mail)).await;
        let why = match accepted {
            // The mail is durable: now, and not before, 250 may be said.
            Ok(Ok(ids)) if self.greeting.is_helo() || ids.is_empty() => {
                return self.connection.answer(reply::ACCEPTED).await;
            }
            Ok(Ok(ids)) => return self.connection.answer(&reply::accepted_as(&ids)).await,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "sealing was broken off".to_owned(),
        };
        self.intake.counters.not_taken.up();
        maillog::not_accepted(&self.client, reply::NOT_STORED, &why);
        self.connection.answer(reply::NOT_STORED).await
    }

    async fn bad_command(&mut self, reply: &str) -> Result<(), End> {
        self.bad_commands += 1;
        if self.bad_commands > BAD_COMMANDS {
            return Err(End::TooManyBad);
        }
        self.connection.say(reply).await
    }

    async fn line(&mut self) -> Result<Line, End> {
        let deadline = Instant::now() + self.intake.limits.command_timeout;
        loop {
            if let Some(line) = self.received.next_line(LINE_LIMIT) {
                return Ok(line);
            }
            let octets = self.connection.read(deadline).await?;
            self.received.push(&octets);
        }
    }
}

fn unreadable(path: &Path) -> Option<Note> {
    (!path.is_readable()).then(|| Note::UnreadablePath(path.as_str().to_owned()))
}
