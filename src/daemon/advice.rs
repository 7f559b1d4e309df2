//! Settings that work and should be changed.
//!
//! Guarantees: advice is told at the start, after a reload and by `status`; it degrades nothing and stops nothing. What
//! cannot be found out is not advised on. An attacker chooses none of it.

use crate::config::{Config, Relay, TlsPin, Trust};

/// What about `config`, and about the machine it is used on, should be changed.
pub fn advice(config: &Config) -> Vec<String> {
    let mut advice: Vec<String> = config.relays.iter().flat_map(advice_on).collect();
    if config.heartbeat.is_none() {
        let what = "heartbeat.every is \"off\": nobody notices when alerts stop coming; set it to \"24h\"";
        advice.push(what.to_owned());
    }
    if swap_is_possible() {
        advice.push(
            "this machine swaps, and alerts in memory may reach the disk: set MemorySwapMax=0 in the unit".to_owned(),
        );
    }
    advice
}

fn advice_on(relay: &Relay) -> Vec<String> {
    let name = relay.name();
    let pins = if let Trust::Pins(pins) = &relay.trust { pins.as_slice() } else { &[] };
    let sha1 = pins.iter().filter(|pin| matches!(pin, TlsPin::Sha1(_)));
    let sha1 = sha1.map(|pin| {
        format!("relay {name}: {pin} rests on SHA-1; `sealrelay check` prints the sha256: pin to put instead")
    });
    let no_login = relay.login.is_none();
    let no_login = no_login.then(|| format!("relay {name}: no username is set, so it gets mail without a login"));
    sha1.chain(no_login).collect()
}

/// There is swap, and no control group keeps this process from it.
fn swap_is_possible() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    // Not /proc/swaps, which the unit hides.
    let is_there = rustix::system::sysinfo().totalswap > 0;
    let group = read("/proc/self/cgroup");
    let group = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let limit = read(&format!("/sys/fs/cgroup{}/memory.swap.max", group.trim_end_matches('/')));
    is_there && limit.trim() != "0"
}
