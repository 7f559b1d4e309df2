//! `sealrelay keys`.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{EX_CONFIG, Failure, load_without_secrets, say, say_json};
use crate::config::{Config, OpenPgpFingerprint};
use crate::seal::signer::{self, Shown};
use crate::seal::{self, Described, SignerError, Unusable};

#[derive(clap::Subcommand)]
pub enum Command {
    Lint(Lint),
    List(List),
    Signer(Signer),
}

/// Say whether alerts can be sealed to a certificate; needs no configuration
///
/// Exit codes: 0 they can, 78 they cannot, with what is wrong and what to do.
#[derive(clap::Args)]
pub struct Lint {
    /// The file with the certificate, armored or binary
    file: PathBuf,
    /// Its full fingerprint: 40 hex digits (64 for version 6), with or without blanks
    #[arg(required = true)]
    fingerprint: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show every configured certificate: whether alerts can be sealed to it, until when, and its algorithms
///
/// Exit codes: 0 all can be used, 78 one cannot.
#[derive(clap::Args)]
pub struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Print the relay's own certificate and fingerprint, which recipients verify messages with
///
/// Exit codes: 0 done, 66 there is no key yet, 73 it cannot be written or another one is there, 75 a new one is already
/// being announced, 78 the key cannot be used.
#[derive(clap::Args)]
pub struct Signer {
    /// Make a new key: the present one goes on signing for 30 days and announces it in every message
    #[arg(long, group = "what")]
    rotate: bool,
    /// Write the SECRET key to a new file, to be kept over a reinstall
    #[arg(long, group = "what", value_name = "FILE")]
    export_backup: Option<PathBuf>,
    /// Bring the key of such a file back; never replaces another key
    #[arg(long, group = "what", value_name = "FILE")]
    import: Option<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "what")]
    json: bool,
}

/// The version of the JSON forms.
const FORMAT: u32 = 1;

pub fn run(file: &Path, command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Lint(arguments) => lint(arguments),
        Command::List(arguments) => list(&load_without_secrets(file)?, arguments),
        Command::Signer(arguments) => own_key(&load_without_secrets(file)?, arguments),
    }
}

/// The verdict on one certificate.
#[derive(Serialize)]
struct Verdict {
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<String>,
    fingerprint: String,
    usable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Described>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Refusal>,
    warnings: Vec<String>,
}

/// Why not.
#[derive(Serialize)]
struct Refusal {
    kind: &'static str,
    what: String,
    hint: String,
}

impl Verdict {
    fn of(fingerprint: String, outcome: Result<(Described, Vec<String>), Refusal>) -> Self {
        let usable = outcome.is_ok();
        let (certificate, refusal, warnings) = match outcome {
            Ok((certificate, warnings)) => (Some(certificate), None, warnings),
            Err(refusal) => (None, Some(refusal), Vec::new()),
        };
        Self { recipient: None, fingerprint, usable, certificate, refusal, warnings }
    }

    fn say(&self) {
        let to = self.recipient.as_ref().map_or_else(String::new, |to| format!("{to}: "));
        match (&self.certificate, &self.refusal) {
            (Some(certificate), _) => say(format!("{to}{} {}", self.fingerprint, in_words(certificate))),
            (_, Some(refusal)) => {
                say(format!("{to}{} CANNOT BE USED", self.fingerprint));
                say(format!("  ! {}", refusal.what));
                say(format!("    {}", refusal.hint));
            }
            (None, None) => {}
        }
        self.warnings.iter().for_each(|warning| say(format!("  ! {warning}")));
    }
}

impl From<Unusable> for Refusal {
    fn from(unusable: Unusable) -> Self {
        Self { kind: unusable.kind(), what: unusable.to_string(), hint: unusable.hint() }
    }
}

/// "holds until 2027-01-01; v4, RSA-4096; encrypted to RSA-4096 (FINGERPRINT)".
fn in_words(certificate: &Described) -> String {
    let until = certificate.until.map_or_else(
        || "holds without an end".to_owned(),
        |until| format!("holds until {}", seal::day(UNIX_EPOCH + std::time::Duration::from_secs(until))),
    );
    let subkeys = certificate.encryption.iter().map(|key| format!("{} ({})", key.algorithm, key.fingerprint));
    let subkeys = subkeys.collect::<Vec<_>>().join(", ");
    format!("{until}; v{}, {}; encrypted to {subkeys}", certificate.version, certificate.primary)
}

fn lint(arguments: &Lint) -> Result<u8, Failure> {
    // `65A1 B5FF ...` without quotes is many arguments.
    let text = arguments.fingerprint.join(" ");
    let outcome = match text.parse::<OpenPgpFingerprint>() {
        Err(error) => {
            Err(Refusal { kind: "not-a-fingerprint", what: error.to_string(), hint: error.hint().to_owned() })
        }
        Ok(fingerprint) => {
            let files = std::slice::from_ref(&arguments.file);
            seal::lint_certificate(files, &fingerprint, None, SystemTime::now()).map_err(Refusal::from)
        }
    };
    let verdict = Verdict::of(text, outcome);
    match (&verdict.refusal, arguments.json) {
        (Some(refusal), false) => Err(Failure::new(&refusal.what, &refusal.hint, EX_CONFIG)),
        (_, true) => {
            say_json(&serde_json::json!({ "format": FORMAT, "file": arguments.file, "verdict": verdict }))?;
            Ok(if verdict.usable { 0 } else { EX_CONFIG })
        }
        (None, false) => {
            verdict.say();
            Ok(0)
        }
    }
}

fn list(config: &Config, arguments: &List) -> Result<u8, Failure> {
    let now = SystemTime::now();
    let mut verdicts = Vec::new();
    for recipient in &config.recipients {
        for fingerprint in &recipient.fingerprints {
            let outcome = seal::lint_certificate(&recipient.certificates, fingerprint, Some(&config.state), now);
            let verdict = Verdict::of(fingerprint.to_string(), outcome.map_err(Refusal::from));
            verdicts.push(Verdict { recipient: Some(recipient.address.to_string()), ..verdict });
        }
    }
    match arguments.json {
        true => say_json(&serde_json::json!({ "format": FORMAT, "certificates": verdicts }))?,
        false => verdicts.iter().for_each(Verdict::say),
    }
    Ok(if verdicts.iter().all(|verdict| verdict.usable) { 0 } else { EX_CONFIG })
}

impl From<SignerError> for Failure {
    fn from(error: SignerError) -> Self {
        Self::new(&error, error.hint(), error.exit_code())
    }
}

fn own_key(config: &Config, arguments: &Signer) -> Result<u8, Failure> {
    let state = &config.state;
    if arguments.rotate {
        let next = signer::rotate(state, &config.sender.address)?;
        say(format!("The next key is {next}."));
        say(
            "Run `sealrelay config reload`: from then on every message announces it for 30 days, signed by the present",
        );
        say("key, and then it takes over by itself. Until the reload nothing changes. Make a new backup.");
    } else if let Some(backup) = &arguments.export_backup {
        let fingerprint = signer::export_backup(state, backup)?;
        say(format!("{} holds the SECRET key {fingerprint}.", backup.display()));
        say("Whoever has it can sign in this relay's name: keep it offline. --import brings it back.");
    } else if let Some(backup) = &arguments.import {
        let fingerprint = signer::import(state, backup)?;
        say(format!("The relay's key is {fingerprint}."));
        say("A relay that is running uses it after `sealrelay config reload`. Remove the backup from this machine.");
    } else {
        show(&signer::show(state)?, arguments.json)?;
    }
    Ok(0)
}

fn show(shown: &Shown, json: bool) -> Result<(), Failure> {
    let from = |at: SystemTime| humantime::format_rfc3339_seconds(at).to_string();
    if json {
        let next = shown.next.as_ref().map(|next| {
            serde_json::json!({
                "fingerprint": next.fingerprint.as_str(), "certificate": next.certificate, "from": next.from.map(from),
            })
        });
        return say_json(&serde_json::json!({
            "format": FORMAT, "fingerprint": shown.fingerprint.as_str(), "certificate": shown.certificate, "next": next,
        }));
    }
    say(format!("Fingerprint: {}\n\n{}", shown.fingerprint, shown.certificate.trim_end()));
    if let Some(next) = &shown.next {
        let when = next.from.map_or_else(
            || "30 days after the next start or reload of the relay".to_owned(),
            |at| format!("on {}", seal::day(at)),
        );
        say(format!("\nThe next key takes over {when}: {}\n\n{}", next.fingerprint, next.certificate.trim_end()));
    }
    Ok(())
}
