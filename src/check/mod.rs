//! `sealrelay check`: what openssl s_client is for, by the very code that delivers.
//!
//! Guarantees: `Verify return code: 0` appears only when handshake, chain and name were verified, or when a pin matched
//! (and then it says so). A login is tried only inside verified TLS. The relay host controls what it says, which is
//! shown as printable text.

mod certificate;
mod report;

pub use report::Report;

use crate::config::Relay;
use crate::deliver::outcome::Trouble;
use crate::deliver::session;
use crate::deliver::starttls::{self, Seen};
use crate::tls::{Handshake, Tls, TrustStore};

/// Whether the credentials are tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Login {
    /// No.
    Skip,
    /// Yes.
    Try,
}

/// Goes the way to `relay` as delivery would, and reports; warns if a mail of `message_size` octets would not fit.
pub async fn check(relay: &Relay, store: TrustStore, login: Login, message_size: usize) -> Report {
    let tls = Tls::new(store);
    let mut seen = Seen::default();
    let trouble = way(relay, &tls, login, &mut seen).await.err();
    Report::new(relay, tls.store(), seen, trouble).with_size_limit(message_size)
}

async fn way(relay: &Relay, tls: &Tls, login: Login, seen: &mut Seen) -> Result<(), Trouble> {
    let mut dialog = starttls::open(relay, tls, Handshake::Complete, seen).await?;
    if let (Login::Try, Some(credentials)) = (login, &relay.login) {
        let offered = seen.inside.clone().unwrap_or_default();
        let reply = session::login(&mut dialog, credentials, &offered).await;
        seen.login = Some(reply?);
    }
    dialog.quit().await;
    Ok(())
}
