//! What was told, over restarts: `alarm.json` in the state directory.
//!
//! On failure to read it, "well" counts as told; on failure to write it, something may be told twice. A disk that hangs
//! holds up the writing and nothing else.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::config::SecretUrl;
use crate::envelope::hex;
use crate::maillog;
use crate::spool::replace;
use crate::status::State;

/// The file and what it says.
#[derive(Clone)]
pub struct Record(Arc<Shared>);

struct Shared {
    file: PathBuf,
    kept: Mutex<Kept>,
    /// Held while the file is written, so that the newest content is written last.
    writing: Mutex<()>,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
struct Kept {
    /// The state that was last announced.
    settled: State,
    /// What the webhook last took; nothing is certain after one that it may or may not have taken.
    told: Option<State>,
    /// Which webhook that was; `None` where an earlier version wrote it down.
    #[serde(default)]
    webhook: Option<String>,
}

/// What is known of a webhook that was never called: it takes a relay for well until it hears otherwise.
const UNTOLD: Option<State> = Some(State::Ok);

impl Record {
    /// Reads the record in `state`.
    pub fn open(state: &Path) -> Self {
        let file = state.join("alarm.json");
        let kept = std::fs::read(&file).ok().and_then(|json| serde_json::from_slice(&json).ok());
        let kept = kept.unwrap_or(Kept { settled: State::Ok, told: UNTOLD, webhook: None });
        Self(Arc::new(Shared { file, kept: Mutex::new(kept), writing: Mutex::default() }))
    }

    /// The state that was last announced.
    pub fn settled(&self) -> State {
        self.kept().settled
    }

    /// The state that this webhook is known to have heard of last.
    pub fn told(&self, webhook: &SecretUrl) -> Option<State> {
        let kept = self.kept();
        let is_another = kept.webhook.as_ref().is_some_and(|known| *known != mark(webhook));
        if is_another { UNTOLD } else { kept.told }
    }

    /// `state` is announced.
    pub fn settle(&self, state: State) {
        self.keep(|kept| kept.settled = state);
    }

    /// This webhook has taken `state`, or, with `None`, may have taken something.
    pub fn tell(&self, webhook: &SecretUrl, state: Option<State>) {
        self.keep(|kept| (kept.told, kept.webhook) = (state, Some(mark(webhook))));
    }

    fn keep(&self, change: impl FnOnce(&mut Kept)) {
        let before = self.kept().clone();
        change(&mut self.kept());
        if before == *self.kept() {
            return;
        }
        let own = self.clone();
        spawn_blocking(move || {
            let _turn = own.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let kept = own.kept().clone();
            let written = serde_json::to_vec(&kept).map_err(std::io::Error::from);
            if let Err(error) = written.and_then(|json| replace(&own.0.file, &json)) {
                maillog::hindered("alarm.json cannot be written", &error.to_string());
            }
        });
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a webhook from another one, and not what its address is.
fn mark(webhook: &SecretUrl) -> String {
    hex(&Sha256::digest(webhook.reveal().to_string())[..8])
}
