//! SCRAM-SHA-256 (RFC 5802, RFC 7677): the password never leaves, and the server must prove that it knows it.
//!
//! Guarantees: the login counts only when the server's signature is right; a server that says 235 without it, or with a
//! wrong one, is not the relay host the password belongs to. A server may ask for no less work than RFC 7677 allows
//! (less would make the password easier to guess from what it learns) and for no more than [`MOST_ITERATIONS`]. It
//! controls salt, nonce and work within these bounds.
//!
//! Channel binding (`-PLUS`) is not offered: TLS is already bound to the relay host by its verified certificate.

use std::num::NonZeroU32;

use aws_lc_rs::{hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Answer, Exchange, nonsense};
use crate::config::Secret;
use crate::deliver::outcome::{Cause, Step, Trouble};
use crate::envelope::random;

/// RFC 7677 4.
const LEAST_ITERATIONS: u32 = 4096;
/// About a second of one core; servers use 4,096 to some 100,000.
const MOST_ITERATIONS: u32 = 1_000_000;
/// GS2 header: no channel binding, no other identity; and the same in base64, as it comes back (RFC 5802 7).
const GS2_HEADER: &str = "n,,";
const GS2_HEADER_ENCODED: &str = "biws";

/// One login.
pub struct Scram {
    password: Zeroizing<String>,
    /// client-first-message-bare.
    first: String,
    nonce: String,
    state: State,
}

enum State {
    /// The client's first message is out.
    Begun,
    /// The proof is out; the server must say this.
    Proven([u8; 32]),
    /// The server has said it.
    Verified,
}

impl Scram {
    /// The password is prepared by SASLprep (RFC 4013) as RFC 5802 2.2 has it; plain ASCII stays as it is.
    pub fn new(username: &str, password: &Secret) -> Result<Self, Trouble> {
        Self::with_nonce(username, password, STANDARD.encode(random::<24>()))
    }

    fn with_nonce(username: &str, password: &Secret, nonce: String) -> Result<Self, Trouble> {
        let username = prepared(username)?.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={username},r={nonce}");
        Ok(Self { password: prepared(password.reveal())?, first, nonce, state: State::Begun })
    }

    /// The client's final message, from the server's first one.
    fn prove(&mut self, challenge: &str) -> Result<Answer, Trouble> {
        let Challenge { nonce, salt, iterations } = Challenge::read(challenge, &self.nonce)?;
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, self.password.as_bytes(), &mut *salted);
        let without_proof = format!("c={GS2_HEADER_ENCODED},r={nonce}");
        let signed = format!("{},{challenge},{without_proof}", self.first);
        let client_key = Zeroizing::new(hmac_of(&*salted, b"Client Key"));
        let signature = hmac_of(&Sha256::digest(*client_key), signed.as_bytes());
        let proof: Zeroizing<Vec<u8>> = Zeroizing::new(client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect());
        self.state = State::Proven(hmac_of(&hmac_of(&*salted, b"Server Key"), signed.as_bytes()));
        Ok(Zeroizing::new(format!("{without_proof},p={}", STANDARD.encode(&*proof)).into_bytes()))
    }
}

impl Exchange for Scram {
    fn first(&mut self) -> Option<Answer> {
        Some(Zeroizing::new(format!("{GS2_HEADER}{}", self.first).into_bytes()))
    }

    fn answer(&mut self, challenge: &[u8]) -> Result<Answer, Trouble> {
        let text = std::str::from_utf8(challenge).map_err(|_| nonsense("its SCRAM challenge is no text"))?;
        match self.state {
            State::Begun => self.prove(text),
            State::Proven(expected) => {
                if is_signature(text, &expected) {
                    self.state = State::Verified;
                    return Ok(Answer::default());
                }
                Err(not_proven())
            }
            State::Verified => Err(nonsense("it asks again after SCRAM")),
        }
    }

    fn finish(&self) -> Result<(), Trouble> {
        if matches!(self.state, State::Verified) { Ok(()) } else { Err(not_proven()) }
    }
}

/// server-first-message, RFC 5802 7.
struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl<'a> Challenge<'a> {
    fn read(text: &'a str, own_nonce: &str) -> Result<Self, Trouble> {
        let unreadable = || nonsense("its SCRAM challenge cannot be read");
        let mut parts = text.split(',');
        // The order is fixed, and an extension that must be understood (`m=`) would stand in front of the nonce.
        let mut next = |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(unreadable);
        let (nonce, salt, iterations) = (next("r=")?, next("s=")?, next("i=")?);
        if nonce.len() <= own_nonce.len() || !nonce.starts_with(own_nonce) {
            return Err(nonsense("its SCRAM challenge belongs to another login"));
        }
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty()).ok_or_else(unreadable)?;
        let iterations: u32 = iterations.parse().map_err(|_| unreadable())?;
        if !(LEAST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations) {
            return Err(nonsense(&format!(
                "its SCRAM challenge asks for {iterations} iterations, which is not within {LEAST_ITERATIONS} to {MOST_ITERATIONS}"
            )));
        }
        Ok(Self { nonce, salt, iterations: NonZeroU32::new(iterations).ok_or_else(unreadable)? })
    }
}

/// Whether the server's final message carries `expected`; compared in constant time.
fn is_signature(text: &str, expected: &[u8; 32]) -> bool {
    let signature = text.strip_prefix("v=").and_then(|rest| rest.split(',').next());
    let signature = signature.and_then(|encoded| STANDARD.decode(encoded).ok());
    signature.is_some_and(|octets| aws_lc_rs::constant_time::verify_slices_are_equal(&octets, expected).is_ok())
}

fn not_proven() -> Trouble {
    Trouble::new(Step::Auth, Cause::NotProven)
}

fn prepared(text: &str) -> Result<Zeroizing<String>, Trouble> {
    stringprep::saslprep(text).map(|text| Zeroizing::new(text.into_owned())).map_err(|_| {
        let what = "user name or password holds characters that SCRAM does not take (RFC 4013); set auth = \"plain\"";
        Trouble::new(Step::Auth, Cause::NoProof(what.to_owned()))
    })
}

fn hmac_of(key: &[u8], text: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let mut octets = [0; 32];
    octets.copy_from_slice(tag.as_ref());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 3.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const FINAL: &[u8] =
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SIGNATURE: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn begun() -> Scram {
        Scram::with_nonce("user", &Secret::new("pencil".to_owned()), NONCE.to_owned()).expect("ASCII")
    }

    #[test]
    fn the_example_of_rfc_7677_comes_out() {
        let mut scram = begun();
        assert_eq!(scram.first().expect("first").as_slice(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(scram.answer(CHALLENGE.as_bytes()).expect("a proof").as_slice(), FINAL);
        assert!(scram.finish().is_err(), "235 before the server has proven anything");
        assert!(scram.answer(SIGNATURE).expect("verified").is_empty());
        assert!(scram.finish().is_ok());
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_not_trusted() {
        let wrong = format!("v={}", STANDARD.encode([7; 32]));
        for last in
            [wrong.as_bytes(), b"v=", b"e=invalid-proof", b"", b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95A=="]
        {
            let mut scram = begun();
            scram.answer(CHALLENGE.as_bytes()).expect("a proof");
            let trouble = scram.answer(last).expect_err("no signature");
            assert!(matches!(trouble.cause, Cause::NotProven), "{trouble}");
            assert!(scram.finish().is_err());
        }
        // At once, without even a challenge.
        assert!(matches!(begun().finish(), Err(Trouble { cause: Cause::NotProven, .. })));
    }

    #[test]
    fn too_little_and_too_much_work_and_a_foreign_nonce_are_not_taken() {
        for challenge in [
            CHALLENGE.replace("4096", "4095"),
            CHALLENGE.replace("4096", "1000001"),
            CHALLENGE.replace("4096", "99999999999999999999"),
            CHALLENGE.replace("4096", "0"),
            CHALLENGE.replace("r=rOpr", "r=xOpr"),
            format!("r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
            format!("m=x,{CHALLENGE}"),
            CHALLENGE.replace("s=W22ZaJ0SNY7soEsUEjb6gQ==", "s="),
            CHALLENGE.replace("s=W22", "s=?"),
            String::new(),
        ] {
            let mut scram = begun();
            assert!(scram.answer(challenge.as_bytes()).is_err(), "{challenge}");
        }
        assert!(begun().answer(b"\xff\xfe").is_err());
    }

    #[test]
    fn names_are_escaped_and_passwords_prepared() {
        let scram = Scram::new("a,b=c", &Secret::new("\u{2168}\u{ad}".to_owned())).expect("prepared");
        assert!(scram.first.starts_with("n=a=2Cb=3Dc,r="));
        assert_eq!(scram.password.as_str(), "IX");
        assert!(Scram::new("user", &Secret::new("bell\u{7}".to_owned())).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_challenge_panics_and_none_is_a_proof(
            parts in proptest::collection::vec(proptest::sample::select(&["r=", "s=", "i=", "v=", NONCE, ",", "=", "4096", "AAAA", "\u{e9}"][..]), 0..12)
        ) {
            let mut scram = begun();
            let text = parts.concat();
            if scram.answer(text.as_bytes()).is_ok() {
                proptest::prop_assert!(scram.answer(text.as_bytes()).is_err());
            }
            proptest::prop_assert!(scram.finish().is_err());
        }
    }
}
