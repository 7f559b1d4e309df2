//! Sealing is work for all cores, and nobody else's session waits for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, alert, send};
use crate::support::daemon::Setup;
use crate::support::relay_host::RelayHost;

#[test]
fn replies_to_others_come_at_once_while_large_mails_are_sealed() {
    const MAILS: usize = 12;
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    let large = alert(&"long ".repeat(180_000));
    let answered = AtomicUsize::new(0);
    let (mut longest, mut replies) = (Duration::ZERO, 0);
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..MAILS {
            scope.spawn(|| {
                assert!(send(&daemon.address, &["root"], &large).starts_with("250"));
                answered.fetch_add(1, Ordering::Relaxed);
            });
        }
        let (mut other, _) = Client::connect(&daemon.address);
        while answered.load(Ordering::Relaxed) < MAILS && began.elapsed() < Duration::from_secs(60) {
            let asked = Instant::now();
            assert!(other.say("NOOP").starts_with("250"));
            longest = longest.max(asked.elapsed());
            replies += 1;
            // Leaves the cores to what is measured.
            thread::sleep(Duration::from_millis(1));
        }
    });
    println!(
        "{MAILS} mails of 900 KB sealed in {:?}; {replies} replies meanwhile, the slowest {longest:?}",
        began.elapsed()
    );
    assert!(replies > MAILS && longest < began.elapsed() / 2, "{replies} replies, the slowest {longest:?}");
}
