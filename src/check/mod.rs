//! `sealrelay check`: what openssl s_client is for, by the very code that delivers.
//!
//! Guarantees: `Verify return code: 0` appears only when handshake, chain and name were verified, or when a pin matched
//! (and then it says so). A login is tried only inside verified TLS. Nothing is sent but a test alert that was asked for.
//! The relay host controls what it says, which is shown as printable text.

mod certificate;
mod report;
mod test_alert;
mod text;

pub use report::Report;
pub use test_alert::{TestAlert, send_test};

use crate::config::Relay;
use crate::deliver::outcome::{Cause, Step, Trouble};
use crate::deliver::starttls::{self, Seen};
use crate::deliver::{Dialog, Show, expect, session};
use crate::envelope::Address;
use crate::smtp::reply::Reply;
use crate::tls::{Handshake, Names, Tls, TrustStore};

/// What is asked beyond a verified session.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    /// Whether the credentials are taken.
    pub login: bool,
    /// Whether this sender and these recipients are taken.
    pub envelope: Option<(Address, Vec<Address>)>,
    /// Other names than the host's.
    pub names: Names,
    /// Whether the certificates themselves are shown.
    pub certificates: bool,
    /// The largest mail that intake takes, octets: does it fit, once sealed?
    pub message_size: Option<usize>,
}

/// What MAIL and RCPT were answered with.
type Answers = Vec<(String, Reply)>;

/// Goes the way to `relay` as delivery would, and reports.
pub async fn check(relay: &Relay, store: TrustStore, questions: &Questions) -> Report {
    let tls = Tls::new(store).with_names(questions.names.clone());
    let (mut seen, mut answers) = (Seen::default(), Answers::new());
    let trouble = way(relay, &tls, questions, &mut seen, &mut answers).await.err();
    Report::new(relay, tls.store(), seen, answers, trouble, questions)
}

async fn way(
    relay: &Relay,
    tls: &Tls,
    questions: &Questions,
    seen: &mut Seen,
    answers: &mut Answers,
) -> Result<(), Trouble> {
    let mut dialog = starttls::open(relay, tls, Handshake::Complete, seen).await?;
    if let Some(login) = relay.login.as_ref().filter(|_| questions.login) {
        let offered = seen.inside.clone().unwrap_or_default();
        seen.login = Some(session::login(&mut dialog, login, &offered).await?);
    }
    let asked = match &questions.envelope {
        Some((sender, recipients)) => ask(&mut dialog, sender, recipients, answers).await,
        None => Ok(()),
    };
    dialog.quit().await;
    asked
}

/// MAIL and RCPT, then RSET: nothing is sent. Every recipient is asked for, and the first that is not taken told.
async fn ask(
    dialog: &mut Dialog,
    sender: &Address,
    recipients: &[Address],
    answers: &mut Answers,
) -> Result<(), Trouble> {
    let mail = dialog.command(Step::Mail, &format!("MAIL FROM:<{sender}>"), Show::Whole).await?;
    answers.push((format!("MAIL FROM:<{sender}>"), mail.clone()));
    expect(Step::Mail, mail, |code| code == 250)?;
    let mut not_taken = None;
    for recipient in recipients {
        let rcpt = dialog.command(Step::Rcpt, &format!("RCPT TO:<{recipient}>"), Show::Whole).await?;
        answers.push((format!("RCPT TO:<{recipient}>"), rcpt.clone()));
        if !matches!(rcpt.code, 250 | 251) && not_taken.is_none() {
            not_taken = Some(Trouble::new(Step::Rcpt, Cause::Reply(rcpt)));
        }
    }
    session::reset(dialog).await?;
    not_taken.map_or(Ok(()), Err)
}
