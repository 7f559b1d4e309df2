//! SIGTERM in each phase of intake and of delivery: what was acknowledged is there, what was not is not, and the end comes
//! within its bound.

use std::time::{Duration, Instant};

use crate::support::client::{Client, alert, send_alert};
use crate::support::daemon::Setup;
use crate::support::eventually;
use crate::support::reader::open;
use crate::support::relay_host::{Act, RelayHost, Script};

/// How long the end may take, with room for a loaded machine.
const BOUND: Duration = Duration::from_secs(35);

#[test]
fn sigterm_in_each_phase_of_a_clients_session_keeps_what_was_acknowledged_and_nothing_else() {
    let whole = format!("{}.\r\n", alert("phase."));
    let half = whole[..whole.len() / 2].to_owned();
    // What the client has said when the signal comes, and what it says then.
    let phases: [(&str, Vec<String>, Option<String>); 6] = [
        ("after the banner", vec![], None),
        ("after EHLO", lines(&["EHLO x"]), None),
        ("after RCPT", lines(&["EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<root>"]), None),
        ("after DATA", lines(&["EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<root>", "DATA"]), Some(whole.clone())),
        (
            "in the middle of the data",
            [lines(&["EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<root>", "DATA"]), vec![half.clone()]].concat(),
            Some(whole[half.len()..].to_owned()),
        ),
        // OSSEC's greeting: the signal comes while a lone dot is watched.
        (
            "right behind the end of data",
            [lines(&["HELO x", "MAIL FROM:<a@b>", "RCPT TO:<root>", "DATA"]), vec![whole.clone()]].concat(),
            None,
        ),
    ];
    for (name, before, after) in phases {
        let (relay_host, authority, identity) = RelayHost::honest();
        relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
        let setup = Setup::new(relay_host.port, &authority.pem);
        let daemon = setup.start();
        let (mut client, banner) = Client::connect(&daemon.address);
        assert!(banner.starts_with("220"));
        for octets in &before {
            client.send(octets.as_bytes());
            if octets.len() < 100 {
                client.reply();
            }
        }
        let began = Instant::now();
        let ending = std::thread::scope(|scope| {
            let ending = scope.spawn(|| daemon.terminate());
            eventually("the signal", || setup.log().contains("stopping on SIGTERM").then_some(()));
            if let Some(octets) = &after {
                client.send(octets.as_bytes());
            }
            ending.join().expect("ended")
        });
        let said: Vec<String> = std::iter::from_fn(|| Some(client.reply()).filter(|reply| !reply.is_empty())).collect();
        let was_acknowledged = said.first().is_some_and(|reply| reply.starts_with("250"));
        assert_eq!(ending, 0, "{name}");
        assert!(began.elapsed() < Duration::from_secs(10), "{name}: {:?}", began.elapsed());
        let is_whole = before.iter().chain(&after).any(|octets| octets.ends_with("\r\n.\r\n"));
        assert_eq!(was_acknowledged, is_whole, "{name}: {said:?}");
        assert_eq!(setup.spooled("queue").len(), usize::from(was_acknowledged), "{name}");
        assert!(said.last().is_some_and(|reply| reply.starts_with("421") || was_acknowledged), "{name}: {said:?}");
    }
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

#[test]
fn sigterm_while_a_relay_host_hangs_ends_within_the_bound_and_loses_nothing() {
    let steps = ["greeting", "EHLO", "STARTTLS", "EHLO inside", "AUTH", "MAIL", "RCPT", "DATA", "END", "QUIT"];
    // All at once: they wait, most of the time.
    std::thread::scope(|scope| {
        for step in steps {
            scope.spawn(move || hangs_at(step));
        }
    });
}

fn hangs_at(step: &'static str) {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).at(step, Act::Silence(Duration::from_secs(120))));
    let setup = Setup::new(relay_host.port, &authority.pem).relay("timeout = \"1m\"");
    let daemon = setup.start();
    send_alert(&daemon.address, &format!("hangs at {step}."));
    match step {
        "greeting" | "EHLO" | "STARTTLS" => eventually(step, || (relay_host.heard().connections > 0).then_some(())),
        "END" => eventually(step, || (relay_host.heard().offered > 0).then_some(())),
        "EHLO inside" => eventually(step, || (!relay_host.heard().inside.is_empty()).then_some(())),
        _ => eventually(step, || relay_host.heard().inside.iter().any(|line| line.starts_with(step)).then_some(())),
    }
    let began = Instant::now();
    assert_eq!(daemon.terminate(), 0, "at {step}");
    assert!(began.elapsed() < BOUND, "at {step}: {:?}", began.elapsed());
    eprintln!("a relay host that hangs at {step}: the end took {:.1?}", began.elapsed());
    relay_host.now(Script::honest(&identity));
    let daemon = setup.start();
    let taken = relay_host.taken(1);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(relay_host.heard().taken.len(), 1, "at {step}: taken once, whatever was offered");
    let opened = open(&taken[0].message, &setup.recipients[0].1, &setup.path("state/signer.asc"));
    assert!(String::from_utf8_lossy(opened.alert()).contains(&format!("hangs at {step}.")));
}
