//! What an operator should do about each trouble: one sentence each, in one table, for the log, `status` and `check`.

use super::outcome::{Cause, Step, Trouble};

/// What to do about `trouble`.
pub fn for_trouble(trouble: &Trouble) -> &'static str {
    match (&trouble.cause, trouble.step) {
        (_, Step::Resolve) => "Check relay.host, and that this machine can look up names (DNS, firewall).",
        (Cause::Timeout, Step::Connect) => {
            "Check relay.host and relay.port, and that the firewall lets this user out to that port."
        }
        (_, Step::Connect) => "Check relay.host and relay.port: nothing takes connections there.",
        (_, Step::Proxy) => {
            "Check relay.proxy and its login; the proxy looks up the relay host's name itself, and may not know it."
        }
        (Cause::NoProof(_), Step::Auth) => "Change the password, or set relay.auth.",
        (Cause::NoProof(_), _) => {
            "Give consent again and write the new token into its file; it is read at the next attempt (`sealrelay queue flush`)."
        }
        (_, Step::Token) => {
            "Look at what is named there: the file, or relay.oauth.token_url and the way to it; it will be tried again."
        }
        (Cause::OldToken(_), _) => "Nothing yet: the next attempt gets a fresh token.",
        (Cause::NotProven, _) => {
            "Check the password; if it is right, this is not the relay host it belongs to: check ca_file or pins."
        }
        (Cause::NoStartTls, _) => {
            "Use the submission port (587), or tls = \"implicit\" on port 465; if it used to work, suspect the network in between."
        }
        (Cause::Injected | Cause::Unasked, _) => "Suspect the network between here and the relay host.",
        (Cause::NotTrusted(_), _) => {
            "Run `sealrelay check` to see the certificates; set ca_file or pins if the relay host is the right one."
        }
        (Cause::ClientCertificate(_), _) => {
            "Set client_certificate and client_key to what the relay host's operator issued; look at its dates."
        }
        (_, Step::Tls) => "Run `sealrelay check`; is this the port for the configured tls mode?",
        (_, Step::StartTls) => "The relay host does not start TLS at the moment; its operator can tell why.",
        (Cause::NoMechanism(_), _) => {
            "A password needs SCRAM-SHA-256, PLAIN or LOGIN, a token XOAUTH2 or OAUTHBEARER; see relay.auth."
        }
        (_, Step::Auth) => {
            "Check username and password_file; Gmail and others want an app password or a token (README), not the account's password."
        }
        (Cause::Reply(_), Step::Mail) => {
            "The relay host does not take the sender: sender.address must belong to the login, or an account limit is reached."
        }
        (Cause::Reply(_), Step::Rcpt) => "The relay host does not take the recipient: check the recipient's address.",
        (Cause::TooLarge(_), _) => "Lower listen.message_size, or ask the relay host's operator for a higher limit.",
        (Cause::Reply(_), _) => "The relay host's words above say why; its operator can tell more.",
        (Cause::Timeout | Cause::Closed | Cause::Io(_), _) => {
            "It will be tried again; if it stays so, look at the network and at the relay host."
        }
        (Cause::Nonsense(_), _) => "Is that port an SMTP server's? `sealrelay check` shows the dialog.",
        (Cause::Tls(_), _) => "Run `sealrelay check`.",
    }
}
