//! A verified, logged-in session with a relay host: what it can do, the login, one message after another.
//!
//! Guarantees: a login and a message are only possible with a [`Dialog`] that `starttls::open` returned, which is
//! inside verified TLS. A message counts as sent after a final `250` to its end of data and nothing else.

use super::auth::Account;
use super::dialog::{Dialog, Show, expect};
use super::outcome::{Cause, Step, Trouble};
use crate::config::Login;
use crate::smtp::line::dot_stuffed;
use crate::smtp::reply::Reply;
use crate::spool::Header;

/// What a relay host says it can do (RFC 5321 4.1.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The lines as they were, the greeting first.
    pub lines: Vec<String>,
    /// STARTTLS.
    pub starttls: bool,
    /// The login mechanisms, upper case.
    pub auth: Vec<String>,
    /// The largest message it takes (RFC 1870); `None` if it does not say.
    pub size: Option<u64>,
}

impl Capabilities {
    /// What an EHLO reply says.
    pub fn read(reply: &Reply) -> Self {
        let mut capabilities = Self { lines: reply.lines.clone(), ..Self::default() };
        for line in reply.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("STARTTLS") => capabilities.starttls = true,
                Some("SIZE") => capabilities.size = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0),
                Some("AUTH") => capabilities.auth.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        capabilities
    }
}

/// Logs in once, without a memory of tokens from one login to the next: for `check`. Delivery has an `Account`.
///
/// # Errors
/// No mechanism in common, no token, or the relay host refuses.
pub async fn login(dialog: &mut Dialog, login: &Login, offered: &Capabilities) -> Result<Reply, Trouble> {
    Account::new(login).login(dialog, offered).await
}

/// Sends one message.
///
/// # Errors
/// Whatever did not work. At [`Step::EndOfData`] without a reply it may have been taken: it is sent again, with the
/// same Message-ID, because a duplicate is better than a loss.
pub async fn send(
    dialog: &mut Dialog,
    offered: &Capabilities,
    header: &Header,
    message: Vec<u8>,
) -> Result<Reply, Trouble> {
    if let Some(limit) = offered.size.filter(|limit| *limit < header.size) {
        return Err(Trouble::new(Step::Mail, Cause::TooLarge(limit)));
    }
    let size = if offered.size.is_some() { format!(" SIZE={}", header.size) } else { String::new() };
    let mail = dialog.command(Step::Mail, &format!("MAIL FROM:<{}>{size}", header.reverse_path), Show::Whole).await?;
    expect(Step::Mail, mail, |code| code == 250)?;
    let rcpt = dialog.command(Step::Rcpt, &format!("RCPT TO:<{}>", header.recipient), Show::Whole).await?;
    expect(Step::Rcpt, rcpt, |code| code == 250 || code == 251)?;
    let data = dialog.command(Step::Data, "DATA", Show::Whole).await?;
    expect(Step::Data, data, |code| code == 354)?;
    // From here to the reply a duplicate is possible: it may come, and be lost on the way to us.
    let reply = dialog.message(&dot_stuffed(message)).await?;
    expect(Step::EndOfData, reply, |code| code == 250)
}

/// Clears what a refusal left, so that the session can go on.
///
/// # Errors
/// The relay host does not agree; the session is over.
pub async fn reset(dialog: &mut Dialog) -> Result<(), Trouble> {
    let reply = dialog.command(Step::Reset, "RSET", Show::Whole).await?;
    expect(Step::Reset, reply, |code| code == 250).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_in_any_case() {
        let lines = ["mx.example.org at your service", "size 35882577", "STARTTLS", "auth LOGIN plain XOAUTH2"];
        let reply = Reply { code: 250, lines: lines.map(str::to_owned).to_vec() };
        let read = Capabilities::read(&reply);
        assert_eq!((read.size, read.starttls), (Some(35_882_577), true));
        assert_eq!(read.auth, ["LOGIN", "PLAIN", "XOAUTH2"]);
        // The greeting line is no capability, whatever it says; SIZE 0 is no limit.
        let reply = Reply { code: 250, lines: vec!["STARTTLS".into(), "SIZE 0".into()] };
        assert_eq!(Capabilities::read(&reply), Capabilities { lines: reply.lines.clone(), ..Capabilities::default() });
    }
}
