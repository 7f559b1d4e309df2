//! The login of a `[[relay]]`: who, what proves it, by which mechanism.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Validator;
use crate::config::raw::{RawAuth, RawGrant, RawOAuth, RawRelay};
use crate::config::{
    ConfigError, Grant, HttpsUrl, Login, Mechanism, OAuth, Proof, Proxy, Secret, SecretError, SecretFile, Trust,
};
use crate::envelope::hex;
use crate::tls::TrustStore;

impl Validator<'_> {
    /// The login, if there is one. Every file it names is read once, so that a fault shows at the start.
    pub(super) fn login(
        &self,
        raw: &mut RawRelay,
        proxy: Option<&Proxy>,
        state: &Path,
    ) -> Result<Option<Login>, ConfigError> {
        let Some(username) = raw.username.take() else { return self.no_login(raw).map(|()| None) };
        if username.is_empty() || username.contains(|c: char| c.is_control()) {
            return Err(self.wrong("relay.username", "is empty or holds a control character", "Write it again."));
        }
        // What `import` leaves where it does not know the login.
        if username.starts_with('<') && username.ends_with('>') {
            return Err(self.wrong(
                "relay.username",
                format!("{username:?} is still to be filled in"),
                "Write the login.",
            ));
        }
        let proof = match (raw.password_file.take(), raw.token_file.take(), raw.oauth.take()) {
            (Some(file), None, None) => {
                Proof::Password(self.secret("relay.password_file", &self.secret_file("password", &file))?)
            }
            (None, Some(file), None) => {
                let file = self.secret_file("token", &file);
                self.secret("relay.token_file", &file)?;
                Proof::TokenFile(file)
            }
            (None, None, Some(raw)) => Proof::OAuth(Box::new(self.oauth(raw, &username, proxy, state)?)),
            (None, None, None) => {
                let hint = "Write the password into a file of mode 0400 and name it.";
                return Err(self.wrong("relay.password_file", "missing, though there is a username", hint));
            }
            _ => {
                let what = "a password, a token file and [relay.oauth] exclude each other";
                return Err(self.wrong("relay.password_file", what, "Keep the one that the relay host wants."));
            }
        };
        let mechanism = raw.auth.take().map(Mechanism::from);
        if let Some(mechanism) = mechanism.filter(|one| !proof.mechanisms().contains(one)) {
            let usable: Vec<String> = proof.mechanisms().iter().map(|one| one.name().to_ascii_lowercase()).collect();
            let hint =
                format!("Remove the key to take the strongest that is offered, or choose {}.", usable.join(", "));
            let what = format!("{} does not go with what proves the login", mechanism.name());
            return Err(self.wrong("relay.auth", what, hint));
        }
        Ok(Some(Login { username, proof, mechanism }))
    }

    /// What a file of secrets holds; a fault of it is one of the key that names it.
    pub(super) fn secret(&self, key: &str, file: &SecretFile) -> Result<Secret, ConfigError> {
        file.read().map_err(|error| self.secret_fault(key, error))
    }

    /// The fault of a secret that `key` names.
    pub(super) fn secret_fault(&self, key: &str, error: SecretError) -> ConfigError {
        ConfigError::Secret { place: self.place(key), error }
    }

    /// Without a username nothing may wait for one.
    fn no_login(&self, raw: &RawRelay) -> Result<(), ConfigError> {
        let keys = [
            ("password_file", raw.password_file.is_some()),
            ("token_file", raw.token_file.is_some()),
            ("[relay.oauth]", raw.oauth.is_some()),
            ("auth", raw.auth.is_some()),
        ];
        match keys.iter().find(|(_, there)| *there) {
            None => Ok(()),
            Some((key, _)) => {
                Err(self.wrong("relay.username", format!("missing, though there is a {key}"), "Set the login."))
            }
        }
    }

    fn oauth(&self, raw: RawOAuth, username: &str, proxy: Option<&Proxy>, state: &Path) -> Result<OAuth, ConfigError> {
        let token_url = self.present("relay.oauth.token_url", raw.token_url)?;
        let token_url: HttpsUrl = token_url.parse().map_err(|error: crate::config::url::UrlError| {
            self.wrong("relay.oauth.token_url", error.to_string(), "Write it as https://host/path: it carries secrets.")
        })?;
        let client_id = self.present("relay.oauth.client_id", raw.client_id)?;
        let secret =
            |file: String| self.secret("relay.oauth.client_secret_file", &self.secret_file("client secret", &file));
        let secret = raw.client_secret_file.map(secret).transpose()?;
        let grant = match (raw.grant.unwrap_or(RawGrant::RefreshToken), raw.refresh_token_file) {
            (RawGrant::RefreshToken, Some(file)) => {
                let file = self.secret_file("refresh token", &file);
                self.secret("relay.oauth.refresh_token_file", &file)?;
                Grant::RefreshToken { file, kept: state.join(kept_name(&token_url, &client_id, username)) }
            }
            (RawGrant::ClientCredentials, None) if secret.is_some() => Grant::ClientCredentials,
            (RawGrant::RefreshToken, None) => {
                let hint = "Write the refresh token into a file of mode 0400 and name it.";
                return Err(self.wrong("relay.oauth.refresh_token_file", "missing", hint));
            }
            (RawGrant::ClientCredentials, Some(_)) => {
                let what = "not used by grant = \"client_credentials\"";
                return Err(self.wrong("relay.oauth.refresh_token_file", what, "Remove one of the two."));
            }
            (RawGrant::ClientCredentials, None) => {
                let hint = "Write the client's secret into a file of mode 0400 and name it.";
                return Err(self.wrong("relay.oauth.client_secret_file", "missing", hint));
            }
        };
        let trust = raw.ca_file.map_or(Trust::System, |file| Trust::CaFile(self.path(&file)));
        let trust = TrustStore::load(&trust)
            .map_err(|error| self.wrong("relay.oauth.ca_file", error.to_string(), error.hint()))?;
        Ok(OAuth {
            token_url,
            grant,
            client_id,
            client_secret: secret,
            scope: raw.scope,
            trust: Arc::new(trust),
            proxy: proxy.cloned(),
        })
    }
}

/// A kept refresh token belongs to a server, a client and a login: another of these has another file.
fn kept_name(url: &HttpsUrl, client_id: &str, username: &str) -> String {
    let digest = Sha256::digest(format!("{url}\n{client_id}\n{username}"));
    format!("refresh-token-{}", &hex(&digest)[..16])
}

impl From<RawAuth> for Mechanism {
    fn from(raw: RawAuth) -> Self {
        match raw {
            RawAuth::ScramSha256 => Self::ScramSha256,
            RawAuth::Plain => Self::Plain,
            RawAuth::Login => Self::Login,
            RawAuth::Xoauth2 => Self::Xoauth2,
            RawAuth::Oauthbearer => Self::Oauthbearer,
        }
    }
}
