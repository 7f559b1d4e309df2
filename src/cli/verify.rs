//! `sealrelay verify`: for the recipient's own machine; needs no configuration and no daemon.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{
    EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, Failure, say, say_json, time,
};
use crate::verify::{Gpg, GpgError, Memory, MemoryError, Report, RunReport, Verdict, Verifier, VerifyError};

/// Check on the recipient's machine that all messages came, and came from the relay
///
/// Messages are decrypted by the gpg that is set up here, with its agent or smartcard; their signatures are checked by
/// sealrelay itself, whatever gpg's keyring says. Mail may be tidied away once it was verified.
///
/// Exit codes: 0 all is well; 75 something is to be looked at or waited for; 65 messages are missing, late or forged; 64 no
/// signer is known; 66 a mailbox or signer cannot be read; 69 gpg cannot be run; 73 the state cannot be kept.
#[derive(clap::Args)]
pub struct Arguments {
    /// Files (.eml, mbox), Maildirs, folders of .eml files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The relay's certificate: a file, or the full fingerprint of one that gpg has. Needed once, then remembered;
    /// may be given several times
    #[arg(long, value_name = "FILE|FINGERPRINT")]
    signer: Vec<PathBuf>,
    /// Where to remember [default: $XDG_STATE_HOME/sealrelay/verify.json]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Take what is missing, late or forged as looked into: later runs are silent about it
    #[arg(long)]
    acknowledge: bool,
    /// The gpg to decrypt with
    #[arg(long, value_name = "PROGRAM", default_value = "gpg")]
    gpg: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let state = arguments.state.clone().or_else(default_state).ok_or_else(|| {
        let hint = "Name a file with --state, or set HOME.";
        Failure::new("there is no place to remember what was verified", hint, EX_USAGE)
    })?;
    let gpg = Gpg { program: arguments.gpg.clone() };
    let mut memory = Memory::open(&state).map_err(VerifyError::from)?;
    for signer in &arguments.signer {
        memory.signers.name(signer, &gpg).map_err(VerifyError::from)?;
    }
    if memory.signers.is_empty() {
        let hint = "Name the relay's certificate with --signer; its operator gets it from `sealrelay keys signer`.";
        return Err(Failure::new("it is not known who signs for the relay", hint, EX_USAGE));
    }
    let mut line = ProgressLine::new(arguments.json);
    let verified = Verifier::new(&mut memory, &gpg).verify(&arguments.paths, &mut |done, all| line.show(done, all));
    line.clear();
    let report = verified?;
    if arguments.acknowledge {
        report.acknowledge(&mut memory);
    }
    memory.write().map_err(VerifyError::from)?;
    if arguments.json {
        say_json(&report)?;
    } else {
        show(&report);
    }
    Ok(match report.verdict {
        Verdict::Well => 0,
        Verdict::Open => EX_TEMPFAIL,
        Verdict::Wrong => EX_DATAERR,
    })
}

/// The XDG base directory specification's place for what a program remembers.
fn default_state() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(folder.join("sealrelay/verify.json"))
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        let (hint, code) = match &error {
            VerifyError::Mailbox(_) => ("Name a file, a Maildir, or a folder with .eml files.", EX_NOINPUT),
            VerifyError::Gpg(GpgError::Program(..)) => {
                ("Install gnupg, or name the program with --gpg.", EX_UNAVAILABLE)
            }
            VerifyError::Gpg(_) => ("Does `gpg --decrypt` work here?", EX_UNAVAILABLE),
            VerifyError::Memory(MemoryError::InUse(_)) => ("Wait for it to end, or name another --state.", EX_TEMPFAIL),
            VerifyError::Memory(MemoryError::Damaged(..)) => (
                "Restore it, or move it away and name --signer again: then mail that was tidied away counts as missing.",
                EX_CANTCREAT,
            ),
            VerifyError::Memory(_) => ("Name another file with --state.", EX_CANTCREAT),
            VerifyError::Signer(_) => {
                ("The relay's operator gets the certificate from `sealrelay keys signer`.", EX_NOINPUT)
            }
        };
        Self::new(error, hint, code)
    }
}

fn show(report: &Report) {
    let verdict = match report.verdict {
        Verdict::Well => "all is well",
        Verdict::Open => "NOT EVERYTHING IS SETTLED",
        Verdict::Wrong => "SOMETHING IS WRONG",
    };
    say(format!(
        "{verdict}: {} message(s), {} by the relay, {} of others, {} listed below",
        report.messages,
        report.verified,
        report.foreign,
        report.findings.len() as u64 + report.unlisted
    ));
    report.runs.iter().for_each(show_run);
    for finding in &report.findings {
        let kind = serde_json::to_value(finding.kind).ok();
        let kind = kind.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        say(format!("  {} {}", kind.replace('-', " "), finding.place));
        say(format!("      from {:?}, dated {:?}", finding.from, finding.date));
        say(format!("      {}", finding.why));
    }
    if report.unlisted > 0 {
        say(format!("  ... and {} more", report.unlisted));
    }
}

fn show_run(run: &RunReport) {
    let mark = if run.verdict == Verdict::Well { ' ' } else { '!' };
    let ended = if run.current { "" } else { ", a younger one has taken its place" };
    say(format!("{mark} {} for {}, epoch {}{ended}", run.id.instance, run.id.recipient, run.id.epoch));
    say(format!("    signer {}", run.id.signer));
    say(format!("    {} came, the highest number is {}", run.seen, run.highest));
    let lines = [
        ("MISSING, the relay host took them", &run.missing),
        ("not here, the next heartbeat will tell", &run.open),
        ("waiting at the relay when it last told", &run.waiting),
    ];
    let lines = lines.into_iter().filter(|(_, numbers)| !numbers.is_empty());
    lines.for_each(|(what, numbers)| say(format!("    {what}: {numbers}")));
    let never = run.never.iter().filter(|(_, numbers)| !numbers.is_empty());
    never.for_each(|(why, numbers)| {
        say(format!("    will not come, {}: {numbers}", crate::envelope::printable(why.as_bytes())))
    });
    match &run.last_heartbeat {
        None => say("    no heartbeat yet: whether the last messages were suppressed, nobody can tell"),
        Some(last) => {
            say(format!("    last heartbeat: number {} of {}", last.sequence, time(last.made)));
            if last.not_sealed > 0 {
                say(format!("    {} alert(s) could not be sealed for you: see the IDS's own log", last.not_sealed));
            }
        }
    }
    if let Some(late) = run.late {
        let late = humantime::format_duration(Duration::from_secs(late / 60 * 60));
        say(format!("    THE NEXT HEARTBEAT IS LATE by {late}: the relay is down, or its mail is suppressed"));
    }
}

/// How far it is, on one line of a terminal that somebody looks at.
struct ProgressLine {
    visible: bool,
    began: Instant,
    shown: Option<Instant>,
}

impl ProgressLine {
    fn new(json: bool) -> Self {
        let visible = !json && std::io::stderr().is_terminal();
        Self { visible, began: Instant::now(), shown: None }
    }

    fn show(&mut self, done: u64, all: u64) {
        let soon = self.shown.is_some_and(|shown| shown.elapsed() < Duration::from_millis(200));
        // What is over in a moment needs no line.
        if !self.visible || soon || self.began.elapsed() < Duration::from_millis(500) {
            return;
        }
        self.shown = Some(Instant::now());
        let percent = done.saturating_mul(100) / all.max(1);
        let bar = "#".repeat(usize::try_from(percent / 4).unwrap_or(25).min(25));
        let _ = write!(std::io::stderr(), "\r[{bar:25}] {percent:3}% of {} MiB", all.div_ceil(1024 * 1024));
    }

    fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(std::io::stderr(), "\r{:60}\r", "");
        }
    }
}
