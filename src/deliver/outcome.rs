//! What a failed step means: decided here and nowhere else.
//!
//! | what did not work | meaning |
//! | --- | --- |
//! | name, connect, proxy, greeting, EHLO, STARTTLS, handshake, trust | the relay host is out: its mail waits, or the next one takes it |
//! | AUTH: 4xx, broken off; 5xx to a token that was kept from before; no answer of the token server | the same |
//! | AUTH: 5xx, no mechanism in common, no token to be had, a relay host that does not know the password | the same, and the login is tried again after 15 minutes, at most four times an hour |
//! | 421 anywhere; timeout, reset, no reply at MAIL or RCPT | the relay host is out |
//! | closed or 421 at MAIL of a session that has taken messages | nothing: a new session at once |
//! | nonsense or an unfinished reply at MAIL or RCPT | as the next row: nobody can tell what it was about |
//! | 4xx; timeout, reset, nonsense, no reply from DATA on | the message waits; after 15 minutes of that the next relay host gets it |
//! | 5xx to MAIL or RCPT; 5xx that names quota, rate, sender or policy (x.2.x, x.4.x, x.7.x) | a setting or an account is at fault: alarm, next relay host; behind the last one the message waits an hour |
//! | 5xx to DATA or the end of data | next relay host; final when every one has repeated it for 24 hours: `failed/` |
//! | larger than the relay host's SIZE | next relay host; final when none can take it: `failed/` |
//! | our own disk: the entry cannot be read, or not be moved | the message waits; nothing is lost by a full disk |
//!
//! Guarantees: unknown means deferred; sent means a final 250 and nothing else.

use std::fmt;
use std::time::Duration;

use crate::smtp::reply::Reply;
use crate::tls::Verdict;

/// Where in a delivery something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Looking up the name.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The proxy and its connection.
    Proxy,
    /// The 220.
    Greeting,
    /// EHLO, before or inside TLS.
    Ehlo,
    /// STARTTLS and its 220.
    StartTls,
    /// The TLS handshake and its verification.
    Tls,
    /// An access token for the login.
    Token,
    /// The login.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA and its 354.
    Data,
    /// The message and the final reply.
    EndOfData,
    /// RSET after a refusal.
    Reset,
    /// QUIT.
    Quit,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Cause {
    /// The relay host said something else than what was needed.
    Reply(Reply),
    /// It said something that is no reply.
    Nonsense(String),
    /// A reply came before its command.
    Unasked,
    /// Octets came between STARTTLS and the handshake.
    Injected,
    /// It does not offer STARTTLS.
    NoStartTls,
    /// It offers none of our login mechanisms; what it offers.
    NoMechanism(Vec<String>),
    /// There is no access token to log in with, and there will not be one before somebody changes something.
    NoProof(String),
    /// The relay host did not take a token that was kept from an earlier login; the next attempt gets a fresh one.
    OldToken(Reply),
    /// The relay host could not prove that it knows the password (SCRAM).
    NotProven,
    /// TLS could not be verified.
    NotTrusted(Verdict),
    /// TLS could not be set up.
    Tls(String),
    /// It wants a client certificate, or does not take ours: its alert.
    ClientCertificate(String),
    /// The message is larger than it takes: its SIZE.
    TooLarge(u64),
    /// Nothing came in time.
    Timeout,
    /// It closed the connection.
    Closed,
    /// The system said.
    Io(String),
}

impl From<std::io::Error> for Cause {
    fn from(error: std::io::Error) -> Self {
        match crate::tls::is_about_client_certificate(&error) {
            true => Self::ClientCertificate(error.to_string()),
            false => Self::Io(error.to_string()),
        }
    }
}

/// What did not work, and where.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// Where.
    pub step: Step,
    /// What.
    pub cause: Cause,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The relay host is tried again later; the message has nothing to do with it.
    RelayWaits,
    /// The same, but a login that is wrong is not repeated often.
    LoginWrong,
    /// The message is tried again later.
    MessageWaits,
    /// A setting or an account is at fault: alarm, and the message is tried hourly.
    SettingWrong,
    /// The message is refused; final when every relay host has done so for [`FINAL_AFTER`].
    MessageRefused,
    /// This relay host can never take it; final when that goes for all.
    Impossible,
}

/// How long a message must have been refused before that is final.
pub const FINAL_AFTER: Duration = Duration::from_secs(24 * 3600);

impl Trouble {
    /// `cause` happened at `step`.
    pub fn new(step: Step, cause: Cause) -> Self {
        Self { step, cause }
    }

    /// What is to be done about it.
    pub fn meaning(&self) -> Meaning {
        match (&self.cause, self.step) {
            (Cause::TooLarge(_), _) => Meaning::Impossible,
            (Cause::Reply(reply), _) if reply.code == 421 => Meaning::RelayWaits,
            (Cause::NoMechanism(_) | Cause::NoProof(_) | Cause::NotProven, _) => Meaning::LoginWrong,
            (Cause::Reply(reply), Step::Auth) if reply.is_permanent() => Meaning::LoginWrong,
            (_, step) if step.is_before_mail() => Meaning::RelayWaits,
            // Nothing of the message has been said yet that could have caused it.
            (Cause::Timeout | Cause::Closed | Cause::Io(_) | Cause::Unasked, Step::Mail | Step::Rcpt) => {
                Meaning::RelayWaits
            }
            (Cause::Reply(reply), step) if reply.is_permanent() => match (step, reply.enhanced()) {
                (Step::Mail | Step::Rcpt, _) | (_, Some([_, 2 | 4 | 7, _])) => Meaning::SettingWrong,
                _ => Meaning::MessageRefused,
            },
            _ => Meaning::MessageWaits,
        }
    }

    /// Whether the relay host ended the session between two messages, as many do after some.
    pub fn is_end_of_session(&self) -> bool {
        let closing = match &self.cause {
            Cause::Closed | Cause::Io(_) | Cause::Unasked => true,
            Cause::Reply(reply) => reply.code == 421,
            _ => false,
        };
        closing && self.step == Step::Mail
    }

    /// Whether the session can go on with the next message after RSET.
    pub fn session_goes_on(&self) -> bool {
        match &self.cause {
            Cause::Reply(reply) => !self.step.is_before_mail() && reply.code >= 400 && reply.code != 421,
            Cause::TooLarge(_) => true,
            _ => false,
        }
    }

    /// The enhanced status code for the log (RFC 3463): the relay host's, or ours.
    pub fn dsn(&self) -> String {
        match &self.cause {
            Cause::Reply(reply) => match reply.enhanced() {
                Some([class, subject, detail]) => format!("{class}.{subject}.{detail}"),
                None => format!("{}.0.0", reply.code / 100),
            },
            Cause::TooLarge(_) => "5.3.4".to_owned(),
            Cause::NotTrusted(_) | Cause::NoStartTls | Cause::Injected | Cause::NoMechanism(_) => "4.7.5".to_owned(),
            Cause::NoProof(_) | Cause::OldToken(_) | Cause::NotProven => "4.7.8".to_owned(),
            _ => "4.4.2".to_owned(),
        }
    }
}

impl Step {
    fn is_before_mail(self) -> bool {
        !matches!(self, Self::Mail | Self::Rcpt | Self::Data | Self::EndOfData | Self::Reset | Self::Quit)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "looking up its name",
            Self::Connect => "connecting",
            Self::Proxy => "the proxy",
            Self::Greeting => "its greeting",
            Self::Ehlo => "EHLO",
            Self::StartTls => "STARTTLS",
            Self::Tls => "TLS",
            Self::Token => "the access token",
            Self::Auth => "AUTH",
            Self::Mail => "MAIL FROM",
            Self::Rcpt => "RCPT TO",
            Self::Data => "DATA",
            Self::EndOfData => "end of data",
            Self::Reset => "RSET",
            Self::Quit => "QUIT",
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.step;
        match &self.cause {
            Cause::Reply(reply) => write!(f, "the relay host said to {step}: {reply}"),
            Cause::Nonsense(what) => write!(f, "at {step}: {what}"),
            Cause::Unasked => write!(f, "before {step} the relay host sent a reply that nobody had asked for"),
            Cause::Injected => {
                write!(
                    f,
                    "octets came in clear behind the reply to STARTTLS: somebody on the way may have put them there"
                )
            }
            Cause::NoStartTls => write!(f, "the relay host does not offer STARTTLS, or somebody on the way removed it"),
            Cause::NoMechanism(offered) => {
                write!(f, "the relay host offers no login we can use (it offers: {})", offered.join(" "))
            }
            Cause::NotTrusted(verdict) => verdict.fmt(f),
            Cause::NoProof(why) | Cause::Tls(why) => f.write_str(why),
            Cause::NotProven => f.write_str("the relay host could not prove that it knows the password"),
            Cause::OldToken(reply) => {
                write!(f, "the relay host said to {step}: {reply} (the token was an earlier one; a fresh one is next)")
            }
            Cause::ClientCertificate(alert) => {
                write!(f, "the relay host wants a client certificate that it trusts ({alert})")
            }
            Cause::TooLarge(limit) => write!(f, "the message is larger than the relay host's limit of {limit} octets"),
            Cause::Timeout => write!(f, "timed out at {step}"),
            Cause::Closed => write!(f, "the relay host closed the connection at {step}"),
            Cause::Io(why) => write!(f, "at {step}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(step: Step, code: u16, text: &str) -> Meaning {
        Trouble::new(step, Cause::Reply(Reply { code, lines: vec![text.to_owned()] })).meaning()
    }

    #[test]
    fn a_421_makes_the_relay_host_wait_wherever_it_comes() {
        for step in [Step::Greeting, Step::Ehlo, Step::Auth, Step::Mail, Step::Rcpt, Step::Data, Step::EndOfData] {
            assert_eq!(said(step, 421, "4.7.0 later"), Meaning::RelayWaits, "{step}");
        }
    }

    #[test]
    fn a_refused_login_is_not_repeated_often() {
        assert_eq!(said(Step::Auth, 535, "5.7.8 no"), Meaning::LoginWrong);
        assert_eq!(said(Step::Auth, 454, "4.7.0 later"), Meaning::RelayWaits);
        assert_eq!(Trouble::new(Step::Auth, Cause::NoMechanism(vec![])).meaning(), Meaning::LoginWrong);
        assert_eq!(Trouble::new(Step::Auth, Cause::NotProven).meaning(), Meaning::LoginWrong);
        assert_eq!(Trouble::new(Step::Token, Cause::NoProof("invalid_grant".into())).meaning(), Meaning::LoginWrong);
        assert_eq!(Trouble::new(Step::Token, Cause::Timeout).meaning(), Meaning::RelayWaits);
        let old = Reply { code: 535, lines: vec!["5.7.8 expired".to_owned()] };
        assert_eq!(Trouble::new(Step::Auth, Cause::OldToken(old)).meaning(), Meaning::RelayWaits);
    }

    #[test]
    fn a_refused_sender_recipient_or_quota_is_a_fault_of_a_setting() {
        assert_eq!(said(Step::Mail, 550, "no"), Meaning::SettingWrong);
        assert_eq!(said(Step::Rcpt, 550, "5.1.1 no"), Meaning::SettingWrong);
        assert_eq!(said(Step::EndOfData, 550, "5.4.5 daily quota"), Meaning::SettingWrong);
        assert_eq!(said(Step::Data, 552, "5.2.2 over quota"), Meaning::SettingWrong);
    }

    #[test]
    fn only_a_refusal_of_the_message_itself_can_become_final() {
        assert_eq!(said(Step::Data, 554, "no"), Meaning::MessageRefused);
        assert_eq!(said(Step::EndOfData, 554, "5.6.0 no"), Meaning::MessageRefused);
        assert_eq!(said(Step::EndOfData, 451, "later"), Meaning::MessageWaits);
        assert_eq!(said(Step::EndOfData, 354, "what"), Meaning::MessageWaits);
        assert_eq!(said(Step::EndOfData, 251, "nearly"), Meaning::MessageWaits);
    }

    #[test]
    fn whatever_is_unknown_is_deferred() {
        for cause in [Cause::Timeout, Cause::Closed, Cause::Unasked, Cause::Io("x".into()), Cause::Nonsense("x".into())]
        {
            assert_eq!(Trouble::new(Step::EndOfData, cause.clone()).meaning(), Meaning::MessageWaits);
            assert_eq!(Trouble::new(Step::Tls, cause).meaning(), Meaning::RelayWaits);
        }
    }
}
