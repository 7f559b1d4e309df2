//! One dialog with an alert client, from the banner to the close.
//!
//! Guarantees: 250 after the end of data only when the mail is durable; every wait has a limit; a mail without its end
//! of data is dropped (it was never ours), unless a lone dot was taken for text before: then all that came is stored.
//! An attacker controls every octet that is read here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::places::{Place, Places};
use super::reply;
use super::room::Activity;
use super::surplus::Surplus;
use crate::config::Listen;
use crate::envelope::{Envelope, Path, QueueId};
use crate::mail::{Greeting, Mail, Note};
use crate::maillog;
use crate::pipeline::{AcceptError, Pipeline};
use crate::shutdown::Shutdown;
use crate::smtp::command::{self, Command, Malformed};
use crate::smtp::data::{Complete, Data};
use crate::smtp::line::{Line, Received};
use crate::status::Counters;

/// The longest command line, octets. RFC 5321 4.5.3.1.4 says 512; real clients' addresses and file names are longer.
const LINE_LIMIT: usize = 2048;
/// Malformed commands in a session before it is closed.
const BAD_COMMANDS: u32 = 20;
/// How long a client may be silent after a lone dot was taken for text; then what came is the mail.
const AFTER_EARLY_DOT: Duration = Duration::from_secs(30);
/// How long a client may be silent once the daemon is ending.
const WHILE_ENDING: Duration = Duration::from_secs(3);
/// How long a client may leave a reply unread; only one that has left thousands unread ever makes us wait.
const REPLY_PATIENCE: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Octets read at once.
const CHUNK: usize = 16 * 1024;

/// A client's connection.
pub trait Client: AsyncRead + AsyncWrite + Unpin + Send {
    /// Whether octets wait to be read at this very moment.
    fn has_octets(&self) -> bool;
}

impl Client for tokio::net::TcpStream {
    fn has_octets(&self) -> bool {
        octets_wait_in(self)
    }
}

impl Client for tokio::net::UnixStream {
    fn has_octets(&self) -> bool {
        octets_wait_in(self)
    }
}

/// Asked of the kernel, because tokio only learns of new octets when its own loop has turned.
fn octets_wait_in(socket: impl std::os::fd::AsFd) -> bool {
    use rustix::net::{RecvFlags, recv};
    let mut octet = [0_u8; 1];
    matches!(recv(socket, &mut octet, RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok((1, _)))
}

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

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Quit,
    Closed,
    TimedOut,
    MadeRoom,
    Stopping,
    TooManyBad,
}

/// MAIL to the end of data.
#[derive(Default)]
struct Transaction {
    envelope: Envelope,
    notes: Vec<Note>,
}

struct Session<'a, S> {
    stream: S,
    received: Received,
    client: String,
    greeting: Greeting,
    transaction: Option<Transaction>,
    /// Mails whose end of data was found, those over the limit too.
    mails: usize,
    bad_commands: u32,
    intake: &'a Intake,
    activity: &'a Arc<Activity>,
    clock: Instant,
    shutdown: Shutdown,
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
        stream,
        received: Received::default(),
        client,
        greeting: Greeting::default(),
        transaction: None,
        mails: 0,
        bad_commands: 0,
        intake,
        activity,
        clock,
        shutdown,
    };
    let end = session.dialog().await.err().unwrap_or(End::Quit);
    let goodbye = match end {
        End::Quit | End::Closed => None,
        End::TimedOut => Some(reply::TIMEOUT),
        End::MadeRoom => Some(reply::MADE_ROOM),
        End::Stopping => Some(reply::STOPPING),
        End::TooManyBad => Some(reply::TOO_MANY_BAD),
    };
    if end == End::MadeRoom {
        session.intake.counters.closed_for_room.up();
    }
    if let Some(goodbye) = goodbye {
        let _ = timeout(GOODBYE, session.say(goodbye)).await;
    }
    let _ = timeout(GOODBYE, session.stream.shutdown()).await;
    maillog::disconnected(&session.client, &format!("{end:?}"));
}

impl<S: Client> Session<'_, S> {
    async fn dialog(&mut self) -> Result<(), End> {
        self.say(reply::GREETING).await?;
        loop {
            let line = match self.line().await? {
                Line::Complete(line) => line,
                Line::TooLong => {
                    self.bad_command(reply::LINE_TOO_LONG).await?;
                    continue;
                }
            };
            match command::parse(&line) {
                Ok(Command::Quit) => return self.say(reply::QUIT).await,
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
                self.say(reply::RESET).await
            }
            Command::Noop => self.say(reply::NOOP).await,
            Command::Vrfy => self.say(reply::VRFY).await,
            Command::Quit => Err(End::Quit),
        }
    }

    async fn greet(&mut self, greeting: Greeting, reply: &str) -> Result<(), End> {
        // Log text behind an early dot may say EHLO, to pass for a client that needs no mark and no gap.
        if self.mails == 0 && !matches!(self.greeting, Greeting::Helo(_)) {
            self.greeting = greeting;
        }
        self.transaction = None;
        self.say(reply).await
    }

    async fn mail(&mut self, path: Option<Path>, size: Option<u64>) -> Result<(), End> {
        if self.transaction.is_some() {
            return self.say(reply::NESTED_MAIL).await;
        }
        if size.is_some_and(|size| size > self.intake.limits.message_size as u64) {
            self.intake.counters.oversize.up();
            maillog::not_accepted(&self.client, reply::TOO_LARGE, "over listen.message_size");
            return self.say(reply::TOO_LARGE).await;
        }
        let mut transaction = Transaction::default();
        transaction.notes.extend(path.as_ref().and_then(unreadable));
        transaction.envelope.reverse_path = path;
        self.transaction = Some(transaction);
        self.say(reply::MAIL).await
    }

    /// Every recipient is taken: OSSEC abandons the whole mail when one is refused, and nobody but configured
    /// recipients ever gets anything.
    async fn rcpt(&mut self, path: Path) -> Result<(), End> {
        let Some(transaction) = &mut self.transaction else { return self.say(reply::NEED_MAIL).await };
        let note = unreadable(&path);
        let known = transaction.envelope.forward_paths.len();
        transaction.envelope.add(path);
        // One note for each that is remembered: a client must not be able to fill the memory with them.
        if transaction.envelope.forward_paths.len() > known {
            transaction.notes.extend(note);
        }
        self.say(reply::RCPT).await
    }

    async fn data(&mut self) -> Result<(), End> {
        match &self.transaction {
            None => return self.say(reply::NEED_MAIL).await,
            Some(transaction) if transaction.envelope.forward_paths.is_empty() => {
                return self.say(reply::NEED_RCPT).await;
            }
            Some(_) => {}
        }
        self.say(reply::DATA).await?;
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
                self.answer(reply::TOO_LARGE).await
            }
        }
    }

    /// Reads up to the end of data.
    async fn receive(&mut self, place: &mut Place) -> Result<Message, End> {
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
            match self.read(deadline.min(Instant::now() + patience)).await {
                Ok(octets) => {
                    self.intake.places.grow(place, data.len() + octets.len(), self.activity, self.clock).await;
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
            if Instant::now() >= until && !self.stream.has_octets() {
                return !matches!(Surplus::of(data.surplus().unwrap_or_default()), Surplus::PartOfQuit);
            }
            match self.read_within_gap(until).await {
                Some(octets) if octets.is_empty() => return true,
                Some(octets) => data.push(&octets),
                None => {}
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
            Ok(Ok(ids)) if self.greeting.is_helo() || ids.is_empty() => return self.answer(reply::ACCEPTED).await,
            Ok(Ok(ids)) => return self.answer(&reply::accepted_as(&ids)).await,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "sealing was broken off".to_owned(),
        };
        self.intake.counters.not_taken.up();
        maillog::not_accepted(&self.client, reply::NOT_STORED, &why);
        self.answer(reply::NOT_STORED).await
    }

    async fn bad_command(&mut self, reply: &str) -> Result<(), End> {
        self.bad_commands += 1;
        if self.bad_commands > BAD_COMMANDS {
            return Err(End::TooManyBad);
        }
        self.say(reply).await
    }

    async fn line(&mut self) -> Result<Line, End> {
        let deadline = Instant::now() + self.intake.limits.command_timeout;
        loop {
            if let Some(line) = self.received.next_line(LINE_LIMIT) {
                return Ok(line);
            }
            let octets = self.read(deadline).await?;
            self.received.push(&octets);
        }
    }

    /// Some octets, at least one.
    async fn read(&mut self, deadline: Instant) -> Result<Vec<u8>, End> {
        let mut chunk = vec![0; CHUNK];
        let read = self.stream.read(&mut chunk);
        let count = attend(self.activity, self.clock, &self.shutdown, deadline, read).await?.unwrap_or(0);
        if count == 0 {
            return Err(End::Closed);
        }
        chunk.truncate(count);
        Ok(chunk)
    }

    /// What comes until `until`: octets, nothing (`None`), or the end of the stream (empty).
    async fn read_within_gap(&mut self, until: Instant) -> Option<Vec<u8>> {
        let mut chunk = vec![0; CHUNK];
        // What waits already counts even when the gap is zero or over.
        let until = if self.stream.has_octets() { Instant::now() + Duration::from_secs(1) } else { until };
        match timeout_at(until, self.stream.read(&mut chunk)).await {
            Err(_) => None,
            Ok(read) => {
                chunk.truncate(read.unwrap_or(0));
                Some(chunk)
            }
        }
    }

    /// One reply in one write. A client that does not read it may be closed to make room.
    async fn say(&mut self, reply: &str) -> Result<(), End> {
        let deadline = Instant::now() + REPLY_PATIENCE;
        let line = format!("{reply}\r\n");
        let write = self.stream.write_all(line.as_bytes());
        attend(self.activity, self.clock, &self.shutdown, deadline, write).await?.map_err(|_| End::Closed)
    }

    /// The reply to an end of data, in one write. Never broken off to make room.
    async fn answer(&mut self, reply: &str) -> Result<(), End> {
        self.activity.has_progress(self.clock);
        let line = format!("{reply}\r\n");
        match timeout(REPLY_PATIENCE, self.stream.write_all(line.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Closed),
            Err(_) => Err(End::TimedOut),
        }
    }
}

/// Waits for the client, for its octets or until it takes ours: until `deadline`, or until its place or its time is
/// needed.
async fn attend<T>(
    activity: &Activity,
    clock: Instant,
    shutdown: &Shutdown,
    deadline: Instant,
    client: impl Future<Output = T>,
) -> Result<T, End> {
    let mut ending = shutdown.clone();
    activity.begins_to_wait(clock);
    let outcome = tokio::select! {
        // What the client has done by now counts before whatever would end its session.
        biased;
        done = client => Ok(done),
        () = activity.must_make_room() => Err(End::MadeRoom),
        () = sleep_until(deadline) => Err(End::TimedOut),
        () = async {
            ending.wait().await;
            sleep(WHILE_ENDING).await;
        } => Err(End::Stopping),
    };
    activity.waits_no_more();
    outcome
}

/// What came of DATA.
enum Message {
    /// A mail, and why the session is over behind it, if it is.
    Complete(Complete, Option<End>),
    /// Over the limit; what followed its end.
    TooLarge(Vec<u8>),
}

fn unreadable(path: &Path) -> Option<Note> {
    (!path.is_readable()).then(|| Note::UnreadablePath(path.as_str().to_owned()))
}
