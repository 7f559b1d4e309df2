//! The mechanisms that say it all at once: PLAIN, LOGIN, XOAUTH2, OAUTHBEARER.

use super::{Answer, Exchange, nonsense};
use crate::config::{Mechanism, Secret};
use crate::deliver::outcome::Trouble;

fn joined(parts: &[&str]) -> Answer {
    let mut answer = Answer::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| answer.extend_from_slice(part.as_bytes()));
    answer
}

/// RFC 4616.
pub struct Plain(Answer);

impl Plain {
    pub fn new(username: &str, password: &Secret) -> Self {
        Self(joined(&["\0", username, "\0", password.reveal()]))
    }
}

impl Exchange for Plain {
    fn first(&mut self) -> Option<Answer> {
        Some(self.0.clone())
    }

    fn answer(&mut self, _challenge: &[u8]) -> Result<Answer, Trouble> {
        Err(nonsense("it asks again after PLAIN"))
    }
}

/// LOGIN (draft-murchison-sasl-login): two prompts. Their words differ from server to server, their order does not.
pub struct LoginPrompts(Vec<Answer>);

impl LoginPrompts {
    pub fn new(username: &str, password: &Secret) -> Self {
        Self(vec![joined(&[password.reveal()]), joined(&[username])])
    }
}

impl Exchange for LoginPrompts {
    fn first(&mut self) -> Option<Answer> {
        None
    }

    fn answer(&mut self, _prompt: &[u8]) -> Result<Answer, Trouble> {
        self.0.pop().ok_or_else(|| nonsense("it asks for more than user name and password"))
    }
}

/// An access token, in Google's and Microsoft's form or in that of RFC 7628.
pub struct Bearer {
    mechanism: Mechanism,
    whole: Answer,
    /// The server has said in its challenge why it does not take the token; its reply comes after an empty answer.
    refused: bool,
}

impl Bearer {
    pub fn new(mechanism: Mechanism, username: &str, token: &Secret) -> Self {
        let whole = match mechanism {
            Mechanism::Oauthbearer => {
                // RFC 5801 4: these two octets have a meaning in the header.
                let username = username.replace('=', "=3D").replace(',', "=2C");
                joined(&["n,a=", &username, ",\x01auth=Bearer ", token.reveal(), "\x01\x01"])
            }
            _ => joined(&["user=", username, "\x01auth=Bearer ", token.reveal(), "\x01\x01"]),
        };
        Self { mechanism, whole, refused: false }
    }
}

impl Exchange for Bearer {
    fn first(&mut self) -> Option<Answer> {
        Some(self.whole.clone())
    }

    fn answer(&mut self, _why_not: &[u8]) -> Result<Answer, Trouble> {
        if std::mem::replace(&mut self.refused, true) {
            return Err(nonsense("it asks again after the token"));
        }
        // RFC 7628 3.2.3 wants one octet 0x01; XOAUTH2 an empty line.
        Ok(joined(&[if self.mechanism == Mechanism::Oauthbearer { "\x01" } else { "" }]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn each_mechanism_says_what_its_document_shows() {
        let said = |mut exchange: Box<dyn Exchange>| exchange.first().map(|answer| answer.to_vec());
        assert_eq!(said(Box::new(Plain::new("tim", &secret("tanstaaftanstaaf")))).as_deref(), {
            Some(&b"\0tim\0tanstaaftanstaaf"[..])
        });
        let xoauth2 = Bearer::new(
            Mechanism::Xoauth2,
            "someuser@example.com",
            &secret("ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"),
        );
        assert_eq!(
            said(Box::new(xoauth2)).as_deref(),
            Some(
                &b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"[..]
            )
        );
        let bearer = Bearer::new(
            Mechanism::Oauthbearer,
            "a,b=c@example.com",
            &secret("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="),
        );
        assert_eq!(
            said(Box::new(bearer)).as_deref(),
            Some(&b"n,a=a=2Cb=3Dc@example.com,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"[..])
        );
    }

    #[test]
    fn the_reason_in_a_challenge_is_answered_once_so_that_the_reply_comes() {
        for (mechanism, answer) in [(Mechanism::Xoauth2, &b""[..]), (Mechanism::Oauthbearer, b"\x01")] {
            let mut exchange = Bearer::new(mechanism, "user", &secret("token"));
            assert_eq!(exchange.answer(b"{\"status\":\"401\"}").expect("an answer").as_slice(), answer);
            assert!(exchange.answer(b"{}").is_err());
        }
    }

    #[test]
    fn login_gives_the_name_then_the_password_then_nothing() {
        let mut exchange = LoginPrompts::new("user", &secret("word"));
        assert!(exchange.first().is_none());
        assert_eq!(exchange.answer(b"Username:").expect("name").as_slice(), b"user");
        assert_eq!(exchange.answer(b"What?").expect("password").as_slice(), b"word");
        assert!(exchange.answer(b"More").is_err());
    }
}
