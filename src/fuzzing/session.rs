//! Whole sessions over a stream in memory, with a clock that stands still while nobody waits.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Choices;
use super::data::{first_end, stuffed, unstuffed};
use crate::config::Listen;
use crate::envelope::QueueId;
use crate::intake::{Activity, Client, Intake, Keeper, Places, serve};
use crate::mail::{Greeting, Mail, Note};
use crate::pipeline::AcceptError;
use crate::shutdown;
use crate::status::Counters;

/// Splits a scripted stream; the octet behind it chooses the pause. Rare in text, so seeds read as they are.
const CUT: u8 = 0xff;
/// Pauses a script may choose, milliseconds: around the gap behind a dot, and over every time limit.
const PAUSES: [u64; 8] = [0, 1, 50, 299, 301, 1_000, 31_000, 400_000];
/// Nothing a client does keeps a session for longer than this behind its last octet: message and command time, twice.
const LONGEST: Duration = Duration::from_secs(2 * (600 + 300));

/// What a scripted client does at the end of its script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closes,
    FallsSilent,
}

/// A client in memory.
struct Scripted {
    /// What it sends, each a while after the one before was read.
    steps: VecDeque<(Duration, Vec<u8>)>,
    due: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    ending: Ending,
    /// How many writes it reads; then it stops reading.
    reads: usize,
    /// Each write it was sent.
    written: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Scripted {
    fn new(steps: Vec<(Duration, Vec<u8>)>, ending: Ending, reads: usize) -> Self {
        let mut steps: VecDeque<_> = steps.into_iter().filter(|(_, octets)| !octets.is_empty()).collect();
        let due = Instant::now() + steps.front_mut().map_or(Duration::ZERO, |(pause, _)| *pause);
        Self { steps, due, timer: None, ending, reads, written: Arc::default() }
    }
}

impl AsyncRead for Scripted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some((_, octets)) = this.steps.front_mut() else {
            return if this.ending == Ending::Closes { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        if Instant::now() < this.due {
            let due = this.due;
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        this.timer = None;
        let count = octets.len().min(buffer.remaining());
        buffer.put_slice(&octets[..count]);
        octets.drain(..count);
        if octets.is_empty() {
            this.steps.pop_front();
            this.due = Instant::now() + this.steps.front().map_or(Duration::ZERO, |(pause, _)| *pause);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.len() >= self.reads {
            return Poll::Pending;
        }
        written.push(octets.to_vec());
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Client for Scripted {
    fn has_octets(&self) -> bool {
        !self.steps.is_empty() && self.due <= Instant::now()
    }
}

/// A mail as it reached the pipeline.
struct Kept {
    octets: Vec<u8>,
    notes: Vec<Note>,
    greeting: Greeting,
}

/// Collects mails; may refuse every second one.
#[derive(Default)]
struct Collector {
    kept: Mutex<Vec<Kept>>,
    asked: AtomicUsize,
    refuses: bool,
}

impl Keeper for Collector {
    fn accept(&self, mail: &Mail) -> Result<Vec<QueueId>, AcceptError> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % 2 == 1 && self.refuses {
            return Err(AcceptError::Unsealable);
        }
        let kept = Kept { octets: mail.octets.clone(), notes: mail.notes.clone(), greeting: mail.greeting.clone() };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        Ok(vec![QueueId::new(SystemTime::now())])
    }

    fn can_take(&self) -> bool {
        true
    }
}

/// How the listener is set for a run.
#[derive(Clone, Copy, Default)]
struct Setting {
    small_limit: bool,
    no_gap: bool,
    refuses: bool,
    is_ending: bool,
}

impl Setting {
    fn limits(self) -> Listen {
        Listen {
            socket: None,
            allow_users: Vec::new(),
            addresses: Vec::new(),
            networks: Vec::new(),
            sessions: 1,
            message_size: if self.small_limit { 200 } else { 1 << 20 },
            memory: 1 << 24,
            command_timeout: Duration::from_secs(300),
            message_timeout: Duration::from_secs(600),
            early_dot_wait: if self.no_gap { Duration::ZERO } else { Duration::from_millis(300) },
        }
    }
}

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime without a driver");
}

/// Serves `script`; what was kept, and each write.
fn run(script: impl FnOnce() -> Scripted, setting: Setting) -> (Vec<Kept>, Vec<Vec<u8>>) {
    let collector = Arc::new(Collector { refuses: setting.refuses, ..Collector::default() });
    let written = RUNTIME.with(|runtime| runtime.block_on(serve_one(script(), setting, Arc::clone(&collector))));
    let kept = std::mem::take(&mut *collector.kept.lock().unwrap_or_else(PoisonError::into_inner));
    (kept, written)
}

async fn serve_one(client: Scripted, setting: Setting, collector: Arc<Collector>) -> Vec<Vec<u8>> {
    let limits = setting.limits();
    let places = Places::new(limits.memory, limits.sessions, limits.message_size);
    let intake = Intake { pipeline: collector, limits, places, counters: Arc::new(Counters::default()) };
    let (trigger, shutdown) = shutdown::channel();
    if setting.is_ending {
        trigger.fire();
    }
    let pauses: Duration = client.steps.iter().map(|(pause, _)| *pause).sum();
    let written = Arc::clone(&client.written);
    let activity = Arc::new(Activity::default());
    let served = serve(client, "fuzz".to_owned(), &intake, &activity, Instant::now(), shutdown);
    tokio::time::timeout(pauses + LONGEST, served).await.expect("a session ends");
    std::mem::take(&mut *written.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Any client at all: replies keep their form, what is answered with 250 was kept, and what was kept is what was sent.
pub fn session(input: &[u8]) {
    let (&flags, script) = input.split_first().unwrap_or((&0, b""));
    let is_set = |bit: u8| flags & (1 << bit) != 0;
    let ending = if is_set(0) { Ending::FallsSilent } else { Ending::Closes };
    let setting = Setting { small_limit: is_set(1), no_gap: is_set(2), refuses: is_set(3), is_ending: is_set(4) };
    let reads = if is_set(5) { 4 } else { usize::MAX };
    let steps = steps(script);
    let sent: Vec<u8> = steps.iter().flat_map(|(_, octets)| octets).copied().collect();
    let (kept, written) = run(|| Scripted::new(steps, ending, reads), setting);
    written.iter().for_each(|reply| check_reply(reply));
    let said = |text: &[u8]| written.iter().filter(|reply| reply.starts_with(text)).count();
    if reads == usize::MAX {
        assert_eq!(said(b"250 2.0.0 Sealed"), kept.len(), "250 and what was kept are not the same");
        assert!(setting.refuses || said(b"451") == 0);
    }
    assert!(said(b"354") >= kept.len(), "a mail without DATA");
    check_kept(&kept, &sent);
}

fn steps(script: &[u8]) -> Vec<(Duration, Vec<u8>)> {
    let mut steps = vec![(Duration::ZERO, Vec::new())];
    let mut octets = script.iter();
    while let Some(&octet) = octets.next() {
        if octet == CUT {
            let choice = usize::from(octets.next().copied().unwrap_or_default()) % PAUSES.len();
            steps.push((Duration::from_millis(PAUSES[choice]), Vec::new()));
        } else if let Some((_, last)) = steps.last_mut() {
            last.push(octet);
        }
    }
    steps
}

/// One line in one write (but EHLO's), short, and no digits of a positive reply in a refusal.
fn check_reply(reply: &[u8]) {
    let text = std::str::from_utf8(reply).expect("a reply is text");
    assert!(text.ends_with("\r\n") && text.len() < 512, "{text:?}");
    let code = &text[..3];
    if code != "250" {
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
    }
    if !["220", "250", "354"].contains(&code) {
        assert!(!["220", "250", "354"].iter().any(|digits| text.contains(digits)), "{text:?}");
    }
}

/// Each mail stands in what was sent, in order, with its end behind it unless it says that it has none.
fn check_kept(kept: &[Kept], sent: &[u8]) {
    let mut at = 0;
    for (nth, mail) in kept.iter().enumerate() {
        let cut = mail.notes.contains(&Note::EndedAfterEarlyDot);
        let end: &[u8] = if cut { b"" } else { b".\r\n" };
        let found = [mail.octets.clone(), stuffed(&mail.octets)].into_iter().find_map(|raw| {
            let wanted = [raw.as_slice(), end].concat();
            find(&sent[at..], &wanted).map(|start| start + wanted.len())
        });
        at += found.expect("a mail is not what was sent");
        if nth > 0 && !matches!(mail.greeting, Greeting::Ehlo(_)) {
            assert!(mail.notes.contains(&Note::SecondTransaction), "a second mail is not marked");
        }
        let was_helo = matches!(kept[0].greeting, Greeting::Helo(_));
        assert!(!was_helo || mail.greeting.is_helo(), "log text made an EHLO client out of a HELO one");
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    (0..=haystack.len().checked_sub(needle.len())?).find(|&at| haystack[at..].starts_with(needle))
}

/// An honest client with any alert at all, cut anywhere: one mail, whole, marked only for what it holds.
pub fn alert(input: &[u8]) {
    let (mut choices, text) = Choices::split(input);
    let stuffs = choices.next() % 2 == 1;
    let message = [text, b"\r\n"].concat();
    let (sent, expected) =
        if stuffs { (stuffed(&message), message) } else { (message.clone(), unstuffed_if_no_dot_is_early(&message)) };
    let on_the_wire = [sent.as_slice(), b".\r\n"].concat();
    let dots = early_dots(&on_the_wire);
    let mut steps = greeted(stuffs);
    let mut rest = on_the_wire.as_slice();
    while !rest.is_empty() {
        let (piece, behind) = choices.piece(rest);
        // A client that does not stuff must not pause for longer than the gap, or its lone dot is an end.
        let longest = if stuffs { 100_000 } else { 40 };
        let pause = Duration::from_millis([0, 1, 20, longest][choices.next() % 4]);
        steps.push((if steps.len() == 4 { Duration::from_millis(1) } else { pause }, piece.to_vec()));
        rest = behind;
    }
    steps.push((Duration::from_secs(1), b"QUIT\r\n".to_vec()));
    // A slow stuffing client may be stopped by the time limit of a message: such scripts prove nothing here.
    let total: Duration = steps.iter().map(|(pause, _)| *pause).sum();
    if total > Duration::from_secs(500) {
        return;
    }
    let (kept, written) = run(|| Scripted::new(steps, Ending::Closes, usize::MAX), Setting::default());
    assert_eq!(kept.len(), 1, "an honest alert did not arrive once");
    assert_eq!(kept[0].octets, expected, "an honest alert did not arrive whole");
    let notes: Vec<Note> = (dots > 0).then_some(Note::EarlyDot(dots)).into_iter().collect();
    assert_eq!(kept[0].notes, notes);
    let codes: Vec<&[u8]> = written.iter().map(|reply| &reply[..3]).collect();
    let wanted = ["220", "250", "250", "250", "354", "250", "221"].map(str::as_bytes);
    assert_eq!(codes, wanted, "the dialog is out of step");
}

fn greeted(stuffs: bool) -> Vec<(Duration, Vec<u8>)> {
    let hello = if stuffs { "EHLO monitor\r\n" } else { "Helo notify.ossec.net\r\n" };
    [hello, "Mail From: <ossec@ossec.server>\r\n", "Rcpt To: <root@localhost>\r\n", "DATA\r\n"]
        .map(|line| (Duration::from_millis(1), line.as_bytes().to_vec()))
        .to_vec()
}

fn unstuffed_if_no_dot_is_early(message: &[u8]) -> Vec<u8> {
    let on_the_wire = [message, b".\r\n"].concat();
    if early_dots(&on_the_wire) == 0 { unstuffed(message) } else { message.to_vec() }
}

/// Lone dots before the last one.
fn early_dots(on_the_wire: &[u8]) -> usize {
    let mut from = 0;
    let mut ends = 0;
    while let Some(end) = first_end(on_the_wire, from) {
        ends += 1;
        from = end - 2;
    }
    ends - 1
}
