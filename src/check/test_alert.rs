//! `--send-test`: a marked alert goes the whole way, through intake, seal, spool and deliver of the running daemon, and
//! the relay host's true answer is told.
//!
//! Guarantees: it is handed in like any client's, to the default recipients. Sent means the relay host's final 250. The
//! wait is bounded; what is not known by then is in the spool and said to be so. On failure nothing is lost but time.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::config::{Config, Doors};
use crate::control::{self, Request};
use crate::deliver::Settled;
use crate::envelope::QueueId;
use crate::queue;
use crate::sendmail::hand_over_to_default;
use crate::status::Status;

/// How long the relay host's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the daemon is asked.
const EVERY: Duration = Duration::from_millis(200);

/// What became of a test alert.
#[derive(Serialize, Debug, Clone, Default)]
pub struct TestAlert {
    /// The messages made of it, one for each recipient.
    pub queue_ids: Vec<String>,
    /// What became of each that is settled.
    pub outcomes: Vec<Settled>,
    /// What did not work, if not all of them were sent.
    pub trouble: Option<String>,
    /// What to do about it.
    pub advice: Option<String>,
    /// The sysexits code.
    pub exit_code: u8,
}

/// Sends a marked alert through the daemon of `config`.
pub fn send_test(config: &Config) -> TestAlert {
    let doors = Doors {
        socket: config.listen.socket.clone(),
        addresses: config.listen.addresses.clone(),
        control: config.control.clone(),
    };
    let reply = match hand_over_to_default(&doors, &message()) {
        Ok(reply) => reply,
        Err(error) => {
            return TestAlert {
                trouble: Some(error.to_string()),
                advice: Some(error.hint().to_owned()),
                exit_code: error.exit_code(),
                ..TestAlert::default()
            };
        }
    };
    let text = reply.text();
    let ids = text.split(' ').filter(|word| word.parse::<QueueId>().is_ok()).map(str::to_owned).collect();
    // A relay host that is in trouble is tried now, and not when its back-off is over.
    let _ = control::ask::<serde_json::Value>(&config.control, Request::Queue(queue::Request::Flush { id: None }));
    follow(config, ids)
}

fn message() -> Vec<u8> {
    let mut octets = [0; 4];
    // A mark that is not random only makes two tests look alike.
    let _ = getrandom::fill(&mut octets);
    let mark = u32::from_be_bytes(octets);
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    format!(
        "Subject: sealrelay test alert {mark:08x}\r\n\r\nThis is a test alert, made by `sealrelay check --send-test` at \
         {now}.\r\nNothing has happened. Mark: {mark:08x}\r\n"
    )
    .into_bytes()
}

/// Asks the daemon until all of `ids` are settled, or the relay hosts have shown that they cannot be used now.
fn follow(config: &Config, ids: Vec<String>) -> TestAlert {
    let until = Instant::now() + PATIENCE;
    let mut test = TestAlert { queue_ids: ids, ..TestAlert::default() };
    loop {
        let recent = control::ask::<Vec<Settled>>(&config.control, Request::Recent).unwrap_or_default();
        test.outcomes = recent.into_iter().filter(|one| test.queue_ids.contains(&one.queue_id)).collect();
        if test.outcomes.len() == test.queue_ids.len() && !test.queue_ids.is_empty() {
            return test.judged();
        }
        // After a flush a time of the next attempt stands there only if one has been made since.
        let status = control::ask::<Status>(&config.control, Request::Status).ok();
        let relays = status.map(|status| status.relays).unwrap_or_default();
        let out = |relay: &crate::status::RelayStatus| relay.next_attempt.is_some_and(|at| at > 0);
        let tried_in_vain = !relays.is_empty() && relays.iter().all(out);
        if tried_in_vain || Instant::now() > until {
            let told = relays.into_iter().find(|relay| relay.trouble.is_some());
            let (trouble, advice) = told.map_or((None, None), |relay| (relay.trouble, relay.advice));
            return TestAlert {
                trouble: Some(trouble.unwrap_or_else(|| format!("no answer within {} s", PATIENCE.as_secs()))),
                advice: Some(advice.unwrap_or_else(|| "`sealrelay queue list` says why it waits.".to_owned())),
                exit_code: 75,
                ..test
            };
        }
        sleep(EVERY);
    }
}

impl TestAlert {
    fn judged(mut self) -> Self {
        if let Some(not_sent) = self.outcomes.iter().find(|one| one.status != "sent") {
            self.trouble = Some(not_sent.reply.clone());
            self.advice.clone_from(&not_sent.advice);
            self.exit_code = if not_sent.status == "deferred" { 75 } else { 69 };
        }
        self
    }
}

impl fmt::Display for TestAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "---\nTest alert: {} message(s) sealed and stored", self.queue_ids.len())?;
        for one in &self.outcomes {
            writeln!(f, "  {} to {} by {}: {} ({})", one.queue_id, one.recipient, one.relay, one.status, one.reply)?;
        }
        match (&self.trouble, &self.advice) {
            (None, _) => write!(f, "Sent: the relay host has taken all of them."),
            (Some(trouble), advice) if self.queue_ids.is_empty() => {
                write!(f, "NOT TAKEN: {trouble}\n  {}", advice.as_deref().unwrap_or_default())
            }
            (Some(trouble), advice) => {
                write!(f, "NOT SENT YET, kept in the spool: {trouble}\n  {}", advice.as_deref().unwrap_or_default())
            }
        }
    }
}
