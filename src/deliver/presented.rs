//! `certificates.json` in the state directory: what each relay host presented, so that a change is noticed, over
//! restarts too, and its expiry is told in time.
//!
//! Every session is looked at; there is no resumption. A change that verifies is no trouble, and most are renewals; an
//! operator should know of it all the same. Relay hosts behind one name take turns, so the last few are remembered and
//! only what is new is told. Nothing in the file is secret. On failure to read or write it, a change goes untold once.

use std::collections::BTreeMap;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::relay::RelayHosts;
use crate::config::colon_hex;
use crate::maillog;
use crate::spool::replace;
use crate::status::{Certificate, EXPIRES_SOON, seconds_now};
use crate::tls;

/// So many different chains are remembered for each relay host.
const REMEMBERED: usize = 8;
/// An expiry that comes near is told this often, seconds.
const TELL_EVERY: u64 = 24 * 3600;

/// The chains that one relay host presented, the last new one at the end.
#[derive(Serialize, Deserialize, Default, Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    chains: Vec<Chain>,
    #[serde(skip)]
    has_changed: bool,
    #[serde(skip)]
    expiry_told: u64,
    /// Which of them the last session had.
    #[serde(skip)]
    last: Option<String>,
}

#[derive(Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
struct Chain {
    /// SHA-256 over all certificates.
    chain: String,
    /// SHA-256 over the server's own, as a pin.
    own: String,
    /// Seconds since 1970.
    expires: Option<u64>,
    /// Seconds since 1970 at which it was seen first.
    since: u64,
}

impl Presented {
    /// A session of `relay` was opened with this chain. Tells what is new, and what expires soon if dates count.
    pub fn session(&mut self, relay: &str, chain: &[CertificateDer<'_>], dates_count: bool) {
        let Some(own) = chain.first() else { return };
        let whole = chain.iter().fold(Sha256::new(), |hash, one| hash.chain_update(Sha256::digest(one)));
        let seen = Chain {
            chain: colon_hex(&whole.finalize()),
            own: format!("sha256:{}", colon_hex(&Sha256::digest(own))),
            expires: tls::expiry(own),
            since: seconds_now(),
        };
        self.last = Some(seen.chain.clone());
        self.tell_expiry(relay, seen.expires.filter(|_| dates_count));
        if self.chains.iter().any(|known| known.chain == seen.chain) {
            return;
        }
        match self.chains.last() {
            Some(before) if before.own == seen.own => maillog::chain_changed(relay, &seen.own),
            Some(before) => maillog::certificate_changed(relay, &seen.own, &before.own),
            None => {}
        }
        if self.chains.len() == REMEMBERED {
            self.chains.remove(0);
        }
        self.chains.push(seen);
        self.has_changed = true;
    }

    fn tell_expiry(&mut self, relay: &str, expires: Option<u64>) {
        let now = seconds_now();
        let left = expires.map(|expires| expires.saturating_sub(now)).filter(|left| *left < EXPIRES_SOON);
        if let Some(left) = left.filter(|_| now.saturating_sub(self.expiry_told) >= TELL_EVERY) {
            maillog::certificate_expires(relay, left / (24 * 3600));
            self.expiry_told = now;
        }
    }

    /// For `status`: the chain of the last session, or the one remembered from an earlier process.
    pub fn certificate(&self, dates_count: bool) -> Option<Certificate> {
        let at = self.chains.iter().rposition(|chain| self.last.as_ref().is_none_or(|last| *last == chain.chain))?;
        let before = self.chains[..at].last();
        let Chain { own, expires, since, .. } = self.chains[at].clone();
        Some(Certificate { own, expires, since, before: before.map(|before| before.own.clone()), dates_count })
    }
}

type Kept = BTreeMap<String, Presented>;

/// Takes up what an earlier process kept in `state`.
pub fn take_up(state: &Path, hosts: &RelayHosts) {
    let mut kept = read(state);
    for host in hosts.iter() {
        if let Some(kept) = kept.remove(&host.name()) {
            host.health.with_presented(|presented| *presented = kept);
        }
    }
}

/// Keeps what is new.
pub fn keep(state: &Path, hosts: &RelayHosts) {
    let taken = |host: &super::relay::RelayHost| {
        let new = host
            .health
            .with_presented(|presented| std::mem::take(&mut presented.has_changed).then(|| presented.clone()));
        Some((host.name(), new?))
    };
    let new: Vec<(String, Presented)> = hosts.iter().filter_map(taken).collect();
    if new.is_empty() {
        return;
    }
    let mut kept = read(state);
    kept.extend(new);
    let written = serde_json::to_vec(&kept).map_err(std::io::Error::from);
    if let Err(error) = written.and_then(|json| replace(&state.join(FILE), &json)) {
        maillog::hindered("certificates.json cannot be written", &error.to_string());
    }
}

const FILE: &str = "certificates.json";

/// A file that cannot be read counts for nothing.
fn read(state: &Path) -> Kept {
    std::fs::read(state.join(FILE)).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(text: &str) -> CertificateDer<'static> {
        CertificateDer::from(text.as_bytes().to_vec())
    }

    #[test]
    fn only_what_is_new_is_kept_and_relay_hosts_that_take_turns_are_not_new() {
        let mut presented = Presented::default();
        let (one, two, issuer) = (certificate("one"), certificate("two"), certificate("issuer"));
        presented.session("r", &[one.clone(), issuer.clone()], true);
        assert!(std::mem::take(&mut presented.has_changed));
        assert_eq!(presented.certificate(true).expect("one").before, None);
        presented.session("r", &[two.clone(), issuer.clone()], true);
        let first = format!("sha256:{}", colon_hex(&Sha256::digest(b"one")));
        assert_eq!(presented.certificate(true).expect("two").before, Some(first.clone()));
        assert!(std::mem::take(&mut presented.has_changed));
        presented.session("r", &[one.clone(), issuer], true);
        assert!(!presented.has_changed);
        assert_eq!(presented.certificate(true).expect("one").own, first);
        // Another issuer is another chain.
        presented.session("r", &[one], true);
        assert!(presented.has_changed);
        for nth in 0..20 {
            presented.session("r", &[certificate(&format!("number {nth}"))], true);
        }
        assert_eq!(presented.chains.len(), REMEMBERED);
    }
}
