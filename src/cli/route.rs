//! `sealrelay route`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::{EX_DATAERR, EX_NOINPUT, Failure, load_without_secrets, say, say_json};
use crate::alert::{self, Block, Doubt, Groups, Kind};
use crate::config::{Accept, Config, Follow, Format, Recipient};
use crate::envelope::{Envelope, Path as ForwardPath, printable};
use crate::follow;
use crate::mail::{Greeting, Mail};
use crate::route::{self, Chosen, Reason, Share};
use crate::seal;
use crate::share::{self, Shares};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Say who would get a mail or an alert, which of its alerts, in what format and size, and by which condition;
    /// nothing is sent. Exit code 0, 65 if it is too large, 66 if it cannot be read, 78 configuration
    Test(Arguments),
}

#[derive(clap::Args)]
pub struct Arguments {
    /// A mail (.eml), alerts cut from one, or a line of alerts.json; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// An envelope address it is for, as in RCPT TO; may be given several times. Default: one that nobody claims
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// Name who gets nothing too, and every condition that does not hold
    #[arg(long)]
    explain: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(file: &Path, command: &Command) -> Result<u8, Failure> {
    let Command::Test(arguments) = command;
    let config = load_without_secrets(file)?;
    let octets = read(&arguments.file, config.listen.message_size)?;
    let (groups, mut warnings) = share::groups(&config);
    warnings.extend(not_sent(&config, octets.trim_ascii()));
    let mail = arguments.mail(octets);
    let shares = Shares::of(&mail, &config.recipients, &groups);
    let report = Report::of(&config, &mail, &shares, &groups, warnings, arguments.explain);
    if arguments.json {
        say_json(&report)?;
    } else {
        report.show();
    }
    Ok(0)
}

impl Arguments {
    fn mail(&self, octets: Vec<u8>) -> Mail {
        let mut envelope = Envelope::default();
        self.to.iter().for_each(|to| envelope.add(ForwardPath::new(to.as_bytes(), true)));
        let line = octets.trim_ascii();
        if let Some(alert) = alert::json::read(line) {
            return Mail { envelope, ..follow::mail_about(&alert, line, "a followed log", SystemTime::now()) };
        }
        Mail {
            envelope,
            octets,
            arrival: SystemTime::now(),
            client: "127.0.0.1:25".to_owned(),
            greeting: Greeting::Helo("localhost".to_owned()),
            notes: Vec::new(),
            source: None,
            block: None,
        }
    }
}

/// Followed logs in which this line would not be sent at all.
fn not_sent(config: &Config, line: &[u8]) -> Vec<String> {
    let Some(weight) = alert::json::weigh(line) else { return Vec::new() };
    if config.follows.is_empty() {
        return vec!["there is no [[follow]]: no line of a log is read".to_owned()];
    }
    let silent = config.follows.iter().filter(|follow| !follow::is_sent(follow, &weight));
    let why = |follow: &Follow| {
        let log = follow.path.display();
        format!(
            "in {log} this line is not sent to anybody: see its email_level, alert_by_email, no_email_alert, and the line's own rule.mail"
        )
    };
    silent.map(why).collect()
}

/// At most what a client could hand in.
fn read(file: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let name = file.display();
    let unreadable =
        |error: io::Error| Failure::new(format!("cannot read {name}: {error}"), "Name a file, or - .", EX_NOINPUT);
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(file).map_err(unreadable)?),
    };
    let mut octets = Vec::new();
    source.take(limit as u64 + 1).read_to_end(&mut octets).map_err(unreadable)?;
    if octets.len() > limit {
        let what = format!("{name} has more than {limit} octets, and intake would not take it");
        return Err(Failure::new(what, "See listen.message_size.", EX_DATAERR));
    }
    Ok(octets)
}

/// What is printed.
#[derive(Serialize)]
struct Report {
    format: u32,
    kind: &'static str,
    /// Why it cannot be read with certainty.
    doubt: Option<String>,
    alerts: Vec<Alert>,
    recipients: Vec<Of>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Alert {
    number: usize,
    date: String,
    location: String,
    rule: u32,
    level: u32,
    description: String,
    groups: String,
    doubt: Option<String>,
}

/// What somebody gets.
#[derive(Serialize)]
struct Of {
    recipient: String,
    /// `whole`, `part`, `fixed text` or `nothing`.
    gets: &'static str,
    /// The numbers of the alerts.
    alerts: Vec<usize>,
    format: Option<&'static str>,
    /// Octets; missing if it is not filled up.
    size_class: Option<usize>,
    because: Vec<String>,
    /// Conditions that do not hold.
    but: Vec<String>,
}

impl Report {
    fn of(
        config: &Config,
        mail: &Mail,
        shares: &Shares<'_>,
        groups: &Groups,
        warnings: Vec<String>,
        explain: bool,
    ) -> Self {
        let reading = &shares.reading;
        let alerts = reading.blocks.iter().zip(1..).map(|(block, number)| Alert::of(block, number, groups));
        let of_each = config.recipients.iter().enumerate().filter_map(|(nth, recipient)| {
            let chosen = shares.chosen.iter().find(|chosen| chosen.nth == nth);
            let but = if explain { unmet(recipient, shares, groups) } else { Vec::new() };
            let of = match chosen {
                Some(chosen) => Of::chosen(config, mail, shares, chosen),
                None => Of::nothing(recipient),
            };
            (explain || chosen.is_some()).then_some(Of { but, ..of })
        });
        Self {
            format: 1,
            kind: match reading.kind {
                Kind::Alerts => "alerts",
                Kind::Sms => "sms",
                Kind::Report => "report",
                Kind::Other => "other",
            },
            doubt: reading.any_doubt().map(|doubt| doubt.to_string()),
            alerts: alerts.collect(),
            recipients: of_each.collect(),
            warnings,
        }
    }

    fn show(&self) {
        let what = match (self.kind, self.alerts.len()) {
            ("alerts", 1) => "1 alert".to_owned(),
            ("alerts", count) => format!("{count} alerts"),
            ("sms", _) => "1 alert, as an sms".to_owned(),
            ("report", _) => "a daily report: it goes by its envelope alone".to_owned(),
            _ => "no alert of OSSEC's or Wazuh's form: it goes by its envelope alone".to_owned(),
        };
        match &self.doubt {
            Some(doubt) => say(format!("{what}; not all is certain: {doubt}")),
            None => say(what),
        }
        for Alert { number, location, rule, level, description, groups, doubt, .. } in &self.alerts {
            let doubt = doubt.as_ref().map_or_else(String::new, |doubt| format!("  ! {doubt}"));
            let line = format!("  {number:2}  level {level}  rule {rule}  {location}  \"{description}\"  {groups}");
            say(format!("{}{doubt}", line.trim_end()));
        }
        self.recipients.iter().for_each(Of::show);
        self.warnings.iter().for_each(|warning| say(format!("! {warning}")));
    }
}

impl Alert {
    fn of(block: &Block<'_>, number: usize, groups: &Groups) -> Self {
        Self {
            number,
            date: printable(&block.date),
            location: printable(block.location.as_bytes()),
            rule: block.rule,
            level: block.level,
            description: printable(&block.description),
            groups: printable(&groups.of_block(block)),
            doubt: block.doubt.as_ref().map(Doubt::to_string),
        }
    }
}

impl Of {
    fn nothing(recipient: &Recipient) -> Self {
        let recipient = recipient.address.to_string();
        Self {
            recipient,
            gets: "nothing",
            alerts: vec![],
            format: None,
            size_class: None,
            because: vec![],
            but: vec![],
        }
    }

    fn chosen(config: &Config, mail: &Mail, shares: &Shares<'_>, chosen: &Chosen) -> Self {
        let recipient = &config.recipients[chosen.nth];
        let part = shares.part(chosen);
        let (gets, alerts) = match &chosen.share {
            Share::Whole => ("whole", (0..shares.reading.blocks.len()).collect()),
            Share::Blocks(own) => ("part", own.clone()),
            Share::Fixed(_) => ("fixed text", Vec::new()),
        };
        let (notes, blocks) = (shares.notes(chosen), shares.blocks(chosen));
        let size = seal::size_class(&config.sender, recipient, part.as_ref().unwrap_or(mail), &notes, blocks);
        Self {
            gets,
            alerts: numbers(&alerts),
            format: Some(match recipient.format {
                Format::PgpMime => "pgp-mime",
                Format::Inline => "inline",
            }),
            size_class: size,
            because: chosen.reasons.iter().map(|reason| in_words(reason, recipient)).collect(),
            ..Self::nothing(recipient)
        }
    }

    fn show(&self) {
        let what = match self.gets {
            "whole" => "all of it".to_owned(),
            "fixed text" => "a fixed text, if its turn has come".to_owned(),
            "part" => format!("only {}", alerts(&self.alerts)),
            _ => "nothing".to_owned(),
        };
        let format = self.format.map_or_else(String::new, |format| format!(", {format}"));
        let size = match self.size_class {
            Some(size) => format!(", {} KiB", size / 1024),
            None => self.format.map_or_else(String::new, |_| ", not filled up to a size class".to_owned()),
        };
        say(format!("{}: {what}{format}{size}", self.recipient));
        self.because.iter().for_each(|why| say(format!("    {why}")));
        self.but.iter().for_each(|why| say(format!("    but {why}")));
    }
}

fn in_words(reason: &Reason, recipient: &Recipient) -> String {
    let table = |nth: &usize| recipient.accept.get(*nth).map_or_else(String::new, Accept::to_string);
    match reason {
        Reason::Unclaimed => "it is a default recipient, and nobody claims the envelope address".to_owned(),
        Reason::NotCertain => "it is a default recipient, and not all can be divided with certainty".to_owned(),
        Reason::Claims(nth) => format!("{{ {} }} claims the envelope address", table(nth)),
        Reason::Accepts { table: nth, blocks } => {
            format!("{{ {} }} holds for {}", table(nth), alerts(&numbers(blocks)))
        }
    }
}

/// Which conditions of which tables hold for which alerts not.
fn unmet(recipient: &Recipient, shares: &Shares<'_>, groups: &Groups) -> Vec<String> {
    let tables = recipient.accept.iter().filter(|accept| accept.looks_at_alerts());
    let of_table = |accept: &Accept| {
        let of_block = |(nth, block): (usize, &Block<'_>)| {
            let unmet = route::unmet(accept, block, groups);
            let uncertain = recipient.split && !shares.reading.is_certain(nth);
            let why = if uncertain && unmet.is_empty() { "it is not certain".to_owned() } else { unmet.join(", ") };
            (!why.is_empty()).then(|| format!("{{ {accept} }} does not hold for alert {}: {why}", nth + 1))
        };
        shares.reading.blocks.iter().enumerate().filter_map(of_block).collect::<Vec<_>>()
    };
    tables.flat_map(of_table).collect()
}

/// People count from one.
fn numbers(blocks: &[usize]) -> Vec<usize> {
    blocks.iter().map(|nth| nth + 1).collect()
}

fn alerts(numbers: &[usize]) -> String {
    let words: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!("{} {}", if numbers.len() == 1 { "alert" } else { "alerts" }, words.join(", "))
}
