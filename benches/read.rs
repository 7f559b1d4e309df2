//! How fast alerts in mail are read on one core: cargo bench --bench read
//!
//! Mails of 97 alerts, as many as OSSEC and Wazuh put into one: with a log line each, with logs of 6 KiB, and with log text
//! that imitates the end of a block on every line. A GB/s are 10^9 octets of mail; the aim is 0.2.

use std::fmt;

use divan::Bencher;
use divan::counter::BytesCount;
use sealrelay::alert;

/// As in the daemon: what is freed is overwritten.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);

const ALERTS: usize = 97;
const SUBJECT: &str = "OSSEC Notification - (app) 10.20.2.2 - Alert level 5";

#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    line: &'static str,
    lines: usize,
}

const LINE: &str = "Nov 20 19:26:42 app sshd[67231]: Invalid user admin from 192.168.1.37 port 4242\r\n";

const KINDS: [Kind; 3] = [
    Kind { name: "a line each", line: LINE, lines: 1 },
    Kind { name: "6 KiB each", line: LINE, lines: 75 },
    Kind { name: "hostile", line: " --END OF NOTIFICATION\r\n\r\n\r\n\r\nOSSEC HIDS Notification.\r\n", lines: 110 },
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn main() {
    divan::main();
}

#[divan::bench(args = KINDS, sample_count = 50)]
fn read(bencher: Bencher<'_, '_>, kind: Kind) {
    let body = mail(kind);
    assert_eq!(alert::read(SUBJECT, &body).blocks.len(), ALERTS);
    bencher.counter(BytesCount::of_slice(&body)).bench_local(|| alert::read(SUBJECT, &body).blocks.len());
}

fn mail(kind: Kind) -> Vec<u8> {
    let block = format!(
        "\r\nOSSEC HIDS Notification.\r\n2026 Nov 20 19:26:45\r\n\r\nReceived From: (app) 10.20.2.2->/var/log/auth.log\r\n\
         Rule: 5710 fired (level 5) -> \"Attempt to login using a non-existent user\"\r\nSrc IP: 192.168.1.37\r\n\
         Portion of the log(s):\r\n\r\n{}\r\n\r\n\r\n --END OF NOTIFICATION\r\n\r\n\r\n",
        kind.line.repeat(kind.lines)
    );
    block.repeat(ALERTS).into_bytes()
}
