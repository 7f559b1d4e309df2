//! `caps.json` in the state directory: what the relay hosts have got of their caps, so that a restart does not begin a
//! new day.
//!
//! Written at most once a second while anything is sent, and not synced: after a crash at most that second's messages
//! are not counted; after a power cut maybe more, and a provider may answer with a 4xx, which waits. On failure to
//! write, the cap holds in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::relay::{RelayHost, RelayHosts};
use crate::maillog;
use crate::spool::replace_hint;

type Kept = BTreeMap<String, Vec<(u64, u64)>>;

/// Takes up what an earlier process kept in `state`.
pub fn take_up(state: &Path, hosts: &RelayHosts) {
    let kept: Kept = read(state);
    hosts
        .iter()
        .filter_map(|host| Some((host, kept.get(&host.name())?)))
        .for_each(|(host, kept)| host.cap.take_up(kept));
}

/// Keeps what has changed. Relay hosts without a cap leave nothing.
pub fn keep(state: &Path, hosts: &RelayHosts) {
    let capped: Vec<&RelayHost> = hosts.iter().filter(|host| host.cap.has_changed()).collect();
    if capped.is_empty() {
        return;
    }
    let mut kept = read(state);
    kept.extend(capped.iter().map(|host| (host.name(), host.cap.keep())));
    let written = serde_json::to_vec(&kept).map_err(std::io::Error::from);
    let written = written.and_then(|json| replace_hint(&file(state), &json));
    if let Err(error) = written {
        maillog::hindered("caps.json cannot be written", &error.to_string());
    }
}

/// A file that cannot be read counts for nothing: it is a convenience of the provider's, not of safety.
fn read(state: &Path) -> Kept {
    fs::read(file(state)).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
}

fn file(state: &Path) -> PathBuf {
    state.join("caps.json")
}
