//! Access tokens (RFC 6749, RFC 6750): from a file that somebody renews, or from a token server.
//!
//! Guarantees: a token is asked for once at a time, used until shortly before it expires, and forgotten when the relay
//! host refuses it. No program is executed. On failure there is no login: a server that cannot be reached makes the
//! relay host wait, a refusal is an operator's to repair. The token server controls the token, which must be plain
//! enough to stand in AUTH, and its words, which are shown as printable text.

use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::kept::{self, Refresh};
use crate::config::{Grant, OAuth, Secret, SecretError, SecretFile};
use crate::deliver::outcome::{Cause, Step, Trouble};
use crate::envelope::printable;
use crate::https::{Answer, Https};
use crate::maillog;

/// A token is renewed this long before it expires, or a tenth of its life, whichever is less.
const MARGIN: Duration = Duration::from_secs(300);
/// What is assumed of a server that does not say (RFC 6749 5.1 only recommends that it does).
const ASSUMED_LIFE: u64 = 600;
/// No server's word counts for longer.
const LONGEST_LIFE: u64 = 24 * 3600;
/// The longest token, octets: in base64 it fits the 12,288 that RFC 4954 4 names.
const TOKEN_LIMIT: usize = 8192;
/// How much of a server's explanation is shown.
const WORDS_LIMIT: usize = 300;

/// The token of one login, as long as it lives.
#[derive(Default)]
pub struct Tokens {
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    /// The token, and when it is to be renewed.
    token: Option<(Secret, Instant)>,
    /// A refresh token that could not be written yet.
    unkept: Option<Refresh>,
}

/// An access token.
pub struct Token {
    pub secret: Secret,
    /// Whether it was kept from an earlier login.
    pub is_old: bool,
}

/// The token that `file` holds now.
pub fn from_file(file: &SecretFile) -> Result<Token, Trouble> {
    // Whoever renews it may be about to: tried again as any passing trouble.
    let unusable = |error: SecretError| Trouble::new(Step::Token, Cause::Io(error.to_string()));
    Ok(Token { secret: plain(file.read().map_err(unusable)?)?, is_old: false })
}

impl Tokens {
    /// The token at hand, or a fresh one.
    pub async fn get(&self, oauth: &OAuth) -> Result<Token, Trouble> {
        // Held while the server is asked: one request serves all who wait.
        let mut cache = self.cache.lock().await;
        if let Some((secret, until)) = &cache.token
            && Instant::now() < *until
        {
            return Ok(Token { secret: secret.clone(), is_old: true });
        }
        cache.token = None;
        let granted = cache.renew(oauth).await?;
        let life = Duration::from_secs(granted.expires_in.unwrap_or(ASSUMED_LIFE).min(LONGEST_LIFE));
        maillog::token_renewed(&oauth.token_url.authority(), life.as_secs());
        cache.token = Some((granted.access_token.clone(), Instant::now() + life - MARGIN.min(life / 10)));
        Ok(Token { secret: granted.access_token, is_old: false })
    }

    /// The relay host does not take it.
    pub async fn forget(&self) {
        self.cache.lock().await.token = None;
    }
}

impl Cache {
    async fn renew(&mut self, oauth: &OAuth) -> Result<Granted, Trouble> {
        let Grant::RefreshToken { file, kept } = &oauth.grant else {
            return ask(oauth, &[("grant_type", "client_credentials")]).await;
        };
        let state = |error: std::io::Error| {
            let folder = kept.parent().unwrap_or(kept).display().to_string();
            let what = format!("the state directory {folder} must be there and belong to the service's user: {error}");
            Trouble::new(Step::Token, Cause::Io(what))
        };
        let _turn = kept::turn(kept).await.map_err(state)?;
        if let Some(unkept) = &self.unkept
            && kept::keep(kept, unkept).await
        {
            self.unkept = None;
        }
        let current = kept::current(file, kept)
            .map_err(|error| Trouble::new(Step::Token, Cause::NoProof(format!("{error}; {}", error.hint()))))?;
        let current = self.unkept.clone().filter(|own| own.grown_from == current.grown_from).unwrap_or(current);
        let mut granted =
            ask(oauth, &[("grant_type", "refresh_token"), ("refresh_token", current.token.reveal())]).await?;
        // Before anything is done with the access token: a crash must not leave us with the spent one.
        if let Some(token) = granted.refresh_token.take().filter(|token| *token != current.token) {
            let next = Refresh { token, grown_from: current.grown_from };
            self.unkept = if kept::keep(kept, &next).await { None } else { Some(next) };
        }
        Ok(granted)
    }
}

/// What a token server grants (RFC 6749 5.1).
struct Granted {
    access_token: Secret,
    expires_in: Option<u64>,
    refresh_token: Option<Secret>,
}

async fn ask(oauth: &OAuth, grant: &[(&str, &str)]) -> Result<Granted, Trouble> {
    let mut fields = grant.to_vec();
    fields.push(("client_id", &oauth.client_id));
    fields.extend(oauth.client_secret.as_ref().map(|secret| ("client_secret", secret.reveal())));
    fields.extend(oauth.scope.as_deref().map(|scope| ("scope", scope)));
    let https = Https::new(oauth.trust.clone(), oauth.proxy.clone());
    let answer = https.post_form(&oauth.token_url, &fields).await;
    let server = oauth.token_url.authority();
    granted(&answer.map_err(|error| unreachable_now(&server, &error.to_string()))?, &server)
}

fn granted(answer: &Answer, server: &str) -> Result<Granted, Trouble> {
    /// RFC 6749 5.1. Some servers write the number as text.
    #[derive(Deserialize)]
    struct Success {
        access_token: String,
        token_type: String,
        expires_in: Option<serde_json::Value>,
        refresh_token: Option<String>,
    }
    if answer.status != 200 {
        return Err(refused(answer, server));
    }
    // serde's message may quote what it read: a secret.
    let success: Success = serde_json::from_slice(&answer.body)
        .map_err(|_| unreachable_now(server, "its answer is no token (RFC 6749 5.1)"))?;
    let (access_token, refresh_token) = (Secret::new(success.access_token), success.refresh_token.map(Secret::new));
    if !success.token_type.eq_ignore_ascii_case("bearer") {
        return Err(unreachable_now(server, "its token is of another type than Bearer"));
    }
    let expires_in = success.expires_in.and_then(|value| match value {
        serde_json::Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    });
    let refresh_token = refresh_token.map(plain).transpose()?;
    Ok(Granted { access_token: plain(access_token)?, expires_in, refresh_token })
}

/// What a status code other than 200 means (RFC 6749 5.2): 4xx is an operator's to repair, all else passes.
fn refused(answer: &Answer, server: &str) -> Trouble {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Refusal {
        error: String,
        error_description: String,
    }
    let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
    let words = format!("{} {}", refusal.error, refusal.error_description);
    let words: String = printable(words.trim().as_bytes()).chars().take(WORDS_LIMIT).collect();
    let passes = matches!(refusal.error.as_str(), "temporarily_unavailable" | "slow_down" | "server_error");
    match answer.status {
        400..=499 if !passes && ![408, 429].contains(&answer.status) => {
            let why = format!("the token server {server} gives no token ({}: {words})", answer.status);
            Trouble::new(Step::Token, Cause::NoProof(why))
        }
        status => unreachable_now(server, &format!("it answered {status} {words}")),
    }
}

fn unreachable_now(server: &str, why: &str) -> Trouble {
    Trouble::new(Step::Token, Cause::Io(format!("the token server {server}: {}", why.trim_end())))
}

/// A token that can stand in AUTH: RFC 6750 2.1's characters are among these, and no control character is.
fn plain(token: Secret) -> Result<Secret, Trouble> {
    let text = token.reveal();
    if !text.is_empty() && text.len() <= TOKEN_LIMIT && text.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Ok(token);
    }
    let what = format!("the token is not 1 to {TOKEN_LIMIT} printable octets");
    Err(Trouble::new(Step::Token, Cause::NoProof(what)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::outcome::Meaning;

    fn read(status: u16, body: &str) -> Result<Granted, Trouble> {
        granted(&Answer { status, body: body.as_bytes().to_vec().into() }, "login.example.org")
    }

    #[test]
    fn a_grant_is_read_in_the_forms_servers_use() {
        let granted = read(200, r#"{"access_token":"a.b-c","token_type":"Bearer","expires_in":3599,"scope":"x"}"#);
        let granted = granted.expect("granted");
        assert_eq!((granted.access_token.reveal(), granted.expires_in), ("a.b-c", Some(3599)));
        let granted = read(200, r#"{"access_token":"a","token_type":"bearer","expires_in":"60","refresh_token":"r"}"#);
        let granted = granted.expect("granted");
        assert_eq!((granted.expires_in, granted.refresh_token.as_ref().map(Secret::reveal)), (Some(60), Some("r")));
    }

    #[test]
    fn refusals_are_an_operators_and_the_rest_passes() {
        let meaning = |status, body| read(status, body).err().map(|trouble| trouble.meaning());
        for (status, body, expected) in [
            (400, r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#, true),
            (401, r#"{"error":"invalid_client"}"#, true),
            (403, "<html>", true),
            (400, r#"{"error":"temporarily_unavailable"}"#, false),
            (429, "{}", false),
            (503, "", false),
            (302, "", false),
            (200, "<html>captive portal</html>", false),
            (200, r#"{"access_token":"a","token_type":"mac"}"#, false),
            (200, r#"{"access_token":"a\u0001b","token_type":"bearer"}"#, true),
            (200, r#"{"access_token":"","token_type":"bearer"}"#, true),
        ] {
            let expected = if expected { Meaning::LoginWrong } else { Meaning::RelayWaits };
            assert_eq!(meaning(status, body), Some(expected), "{status} {body}");
        }
        let Err(trouble) = read(400, "{\"error\":\"invalid_grant\",\"error_description\":\"\\u001b[2J revoked\"}")
        else {
            panic!("granted");
        };
        assert_eq!(
            trouble.to_string(),
            "the token server login.example.org gives no token (400: invalid_grant \\x1b[2J revoked)"
        );
    }
}
