//! What in the spool an operator should know.
//!
//! Guarantees: told from numbers alone. An attacker who floods the relay, or keeps it from its relay hosts, brings these
//! warnings about; that is what they are for.

use super::seconds_now;
use crate::spool::{Room, Totals};

/// An entry that waits longer than this, seconds, is worth a look, whatever the reason.
pub const LATE: u64 = 15 * 60;

/// What in the spool an operator should know.
pub fn spool_warnings(totals: &Totals) -> Vec<String> {
    let late = totals.oldest.map_or(0, |oldest| seconds_now().saturating_sub(oldest));
    let told = [
        (totals.failed, "message(s) lie in failed/: `sealrelay queue list` says why"),
        (totals.damaged, "entry(ies) lie in damaged/: the disk may be going bad"),
        (totals.unreadable, "file(s) in queue/ could not be read at the start: the disk may be going bad"),
        (totals.unremoved, "sent message(s) cannot be removed from the spool: is the disk full or read-only?"),
    ];
    let counted = told.iter().filter(|(count, _)| *count > 0).map(|(count, text)| format!("{count} {text}"));
    let waits = (late > LATE)
        .then(|| format!("the oldest message has waited for {} minutes: `sealrelay queue list` says why", late / 60));
    counted.chain(waits).chain(room_warnings(totals)).collect()
}

fn room_warnings(totals: &Totals) -> Option<String> {
    let usage = &totals.usage;
    let what_to_do = "let the relay host take what waits, make room on the disk, or raise spool.quota";
    match totals.room {
        _ if usage.is_filled_by_failed() => Some(format!(
            "failed/ takes {} MiB and fills the disk: `sealrelay queue retry` or `sealrelay queue remove` what lies there",
            usage.failed.div_ceil(1024 * 1024)
        )),
        Room::None => Some(format!("the spool has NO ROOM, alerts are refused and lost: {usage}; {what_to_do}")),
        Room::Scarce => Some(format!("the spool has little room left: {usage}; {what_to_do}")),
        Room::Enough => None,
    }
}
