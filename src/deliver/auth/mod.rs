//! The login at a relay host (RFC 4954): which mechanism, and its exchange of challenges and answers.
//!
//! Guarantees: only inside verified TLS, because only there is a [`Dialog`] with AUTH to be had; by the strongest
//! mechanism that is offered and that what we have serves, or by the configured one and no other. A refusal ends the
//! login: nothing weaker is tried after it. No password, token or answer reaches the log. The relay host controls the
//! challenges, which are bounded in size, number and work.

mod kept;
mod oauth;
mod scram;
mod simple;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use self::oauth::Tokens;
use self::scram::Scram;
use self::simple::{Bearer, LoginPrompts, Plain};
use super::dialog::{Dialog, Show};
use super::outcome::{Cause, Step, Trouble};
use super::session::Capabilities;
use crate::config::{Login, Mechanism, Proof};
use crate::smtp::reply::Reply;

/// The longest AUTH command with its first answer in it: RFC 5321 4.5.3.1.4, less the end of the line. A longer answer
/// waits for the first 334 (RFC 4954 4).
const COMMAND_LIMIT: usize = 510;
/// The most challenges of one login; SCRAM has two.
const CHALLENGES_LIMIT: usize = 4;

/// What we say in a login.
type Answer = Zeroizing<Vec<u8>>;

/// One mechanism's part of a login.
trait Exchange: Send {
    /// What is said before any challenge; `None` if the server speaks first.
    fn first(&mut self) -> Option<Answer>;

    /// The answer to `challenge`.
    fn answer(&mut self, challenge: &[u8]) -> Result<Answer, Trouble>;

    /// The server says that we are in: whether that is enough.
    fn finish(&self) -> Result<(), Trouble> {
        Ok(())
    }
}

/// A login that is used again and again, with its access token as long as that lives.
pub struct Account {
    login: Login,
    tokens: Tokens,
}

impl Account {
    /// For `login`.
    pub fn new(login: &Login) -> Self {
        Self { login: login.clone(), tokens: Tokens::default() }
    }

    /// Whether a login may renew tokens: breaking that off could lose the only refresh token there is, because the
    /// server has spent the old one.
    pub fn renews_tokens(&self) -> bool {
        matches!(self.login.proof, Proof::OAuth(_))
    }

    /// Logs in; the final reply.
    ///
    /// # Errors
    /// No mechanism in common, no token to be had, the relay host refuses, or it cannot prove that it knows the
    /// password.
    pub async fn login(&self, dialog: &mut Dialog, offered: &Capabilities) -> Result<Reply, Trouble> {
        let mechanism = choose(&self.login, &offered.auth)?;
        let username = self.login.username.as_str();
        let mut token = None;
        let exchange: Box<dyn Exchange> = match &self.login.proof {
            Proof::Password(password) => match mechanism {
                Mechanism::ScramSha256 => Box::new(Scram::new(username, password)?),
                Mechanism::Login => Box::new(LoginPrompts::new(username, password)),
                _ => Box::new(Plain::new(username, password)),
            },
            Proof::TokenFile(file) => {
                let token = token.insert(oauth::from_file(file)?);
                Box::new(Bearer::new(mechanism, username, &token.secret))
            }
            Proof::OAuth(oauth) => {
                let token = token.insert(self.tokens.get(oauth).await?);
                Box::new(Bearer::new(mechanism, username, &token.secret))
            }
        };
        let secret = token.as_ref().map(|token| &token.secret).or(match &self.login.proof {
            Proof::Password(password) => Some(password),
            _ => None,
        });
        secret.into_iter().for_each(|secret| dialog.hide(secret.reveal()));
        let outcome = run(dialog, mechanism.name(), exchange).await;
        match (outcome, token) {
            // It may have been revoked, or the clock may have stood still: a fresh one is worth an attempt.
            (Err(Trouble { cause: Cause::Reply(reply), .. }), Some(token)) if reply.is_permanent() && token.is_old => {
                self.tokens.forget().await;
                Err(Trouble::new(Step::Auth, Cause::OldToken(reply)))
            }
            (outcome, _) => outcome,
        }
    }
}

/// The mechanism to use.
fn choose(login: &Login, offered: &[String]) -> Result<Mechanism, Trouble> {
    login
        .proof
        .mechanisms()
        .iter()
        .copied()
        .filter(|one| login.mechanism.is_none_or(|wanted| wanted == *one))
        .find(|one| offered.iter().any(|name| name == one.name()))
        .ok_or_else(|| Trouble::new(Step::Auth, Cause::NoMechanism(offered.to_vec())))
}

/// The exchange from AUTH to the final reply.
async fn run(dialog: &mut Dialog, name: &str, mut exchange: Box<dyn Exchange>) -> Result<Reply, Trouble> {
    let mut first = exchange.first();
    let mut line = Zeroizing::new(format!("AUTH {name}"));
    if let Some(answer) = &first {
        dialog.hide(&encoded(answer));
        let whole = Zeroizing::new(format!("AUTH {name} {}", *encoded(answer)));
        if whole.len() <= COMMAND_LIMIT {
            (line, first) = (whole, None);
        }
    }
    for _ in 0..=CHALLENGES_LIMIT {
        let reply = dialog.command(Step::Auth, &line, Show::Redacted).await?;
        line = match reply.code {
            235 => return exchange.finish().map(|()| reply),
            334 => match respond(exchange, first.take(), &reply).await {
                Ok((next, answer)) => {
                    exchange = next;
                    dialog.hide(&encoded(&answer));
                    encoded(&answer)
                }
                Err(trouble) => return Err(cancel(dialog, trouble).await),
            },
            _ => return Err(Trouble::new(Step::Auth, Cause::Reply(reply))),
        };
    }
    Err(Trouble::new(Step::Auth, Cause::Nonsense("the relay host asks on and on".to_owned())))
}

/// What is said to a 334: the first answer, if it has not been said yet, or one to the challenge. That is worked out
/// where it keeps nobody waiting: SCRAM may ask for a second of work.
async fn respond(
    mut exchange: Box<dyn Exchange>,
    first: Option<Answer>,
    reply: &Reply,
) -> Result<(Box<dyn Exchange>, Answer), Trouble> {
    if let Some(answer) = first {
        return Ok((exchange, answer));
    }
    let challenge = challenge(reply)?;
    let work = move || exchange.answer(&challenge).map(|answer| (exchange, answer));
    spawn_blocking(work).await.unwrap_or_else(|_| Err(nonsense("working out the answer was broken off")))
}

/// Ends the exchange as RFC 4954 4 has it, so that the session stays in step for QUIT.
async fn cancel(dialog: &mut Dialog, trouble: Trouble) -> Trouble {
    let _ = dialog.command(Step::Auth, "*", Show::Redacted).await;
    trouble
}

fn challenge(reply: &Reply) -> Result<Vec<u8>, Trouble> {
    STANDARD.decode(reply.lines.concat().trim()).map_err(|_| nonsense("its challenge is not base64"))
}

fn encoded(answer: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(answer))
}

fn nonsense(what: &str) -> Trouble {
    Trouble::new(Step::Auth, Cause::Nonsense(what.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn chosen(mechanism: Option<Mechanism>, offered: &[&str]) -> Option<Mechanism> {
        let proof = Proof::Password(Secret::new("x".to_owned()));
        let login = Login { username: "user".to_owned(), proof, mechanism };
        choose(&login, &offered.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).ok()
    }

    #[test]
    fn the_strongest_mechanism_that_is_offered_is_taken() {
        for (offered, taken) in [
            (&["PLAIN", "LOGIN", "SCRAM-SHA-256"][..], Some(Mechanism::ScramSha256)),
            (&["LOGIN", "PLAIN", "SCRAM-SHA-1", "CRAM-MD5"], Some(Mechanism::Plain)),
            (&["LOGIN", "XOAUTH2"], Some(Mechanism::Login)),
            (&["XOAUTH2", "GSSAPI"], None),
            (&[], None),
        ] {
            assert_eq!(chosen(None, offered), taken, "{offered:?}");
        }
    }

    #[test]
    fn a_forced_mechanism_is_taken_or_nothing() {
        assert_eq!(chosen(Some(Mechanism::Plain), &["SCRAM-SHA-256", "PLAIN"]), Some(Mechanism::Plain));
        assert_eq!(chosen(Some(Mechanism::ScramSha256), &["LOGIN", "PLAIN"]), None);
    }
}
