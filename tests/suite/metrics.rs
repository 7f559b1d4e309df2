//! Metrics for Prometheus: by file, by Unix socket and by TCP, true and in the form that promtool takes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::support::client::send_alert;
use crate::support::daemon::Setup;
use crate::support::relay_host::RelayHost;
use crate::support::{eventually, have};

/// The page at `stream`.
pub fn scraped(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, page) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
    page.to_owned()
}

fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{page}")).parse().expect("a number")
}

#[test]
fn the_same_true_numbers_are_in_the_file_at_the_socket_and_at_the_address() {
    let (relay_host, authority, _) = RelayHost::honest();
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("free").port();
    let more = format!(
        "output = \"text\"\n[metrics]\ntextfile = \"sealrelay.prom\"\nsocket = \"metrics.sock\"\nlisten = \"127.0.0.1:{port}\"\n"
    );
    let setup = Setup::new(relay_host.port, &authority.pem).logging(&more);
    let daemon = setup.start();
    (0..3).for_each(|nth| send_alert(&daemon.address, &format!("alert {nth}")));
    relay_host.taken(3);
    eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
    let pages = [
        scraped(UnixStream::connect(setup.path("metrics.sock")).expect("connected")),
        scraped(TcpStream::connect(("127.0.0.1", port)).expect("connected")),
    ];
    for page in &pages {
        assert_eq!(value(page, "sealrelay_messages_accepted_total"), 3.0);
        assert_eq!(value(page, "sealrelay_messages_sent_total"), relay_host.heard().taken.len() as f64);
        assert_eq!(value(page, "sealrelay_spool_messages{queue=\"queue\"}"), 0.0);
        assert_eq!(value(page, &format!("sealrelay_relay_up{{relay=\"localhost:{}\"}}", relay_host.port)), 1.0);
        assert_eq!(
            value(page, &format!("sealrelay_pin_mismatch_total{{relay=\"localhost:{}\"}}", relay_host.port)),
            0.0
        );
        assert_eq!(value(page, "sealrelay_state"), 0.0, "{}", daemon.status());
        assert!(!page.contains("sealrelay_spool_oldest"), "nothing waits");
    }
    // It is written every 15 s.
    eventually("the same page in the file", || {
        fs::read_to_string(setup.path("sealrelay.prom")).ok().filter(|file| *file == pages[0])
    });
    assert_eq!(pages[0], pages[1]);
    if have("promtool") {
        let mut check = Command::new("promtool");
        let mut check =
            check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
        check.stdin.take().expect("piped").write_all(pages[0].as_bytes()).expect("written");
        let output = check.wait_with_output().expect("ended");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    }
    assert_eq!(daemon.terminate(), 0);
    assert!(!setup.path("sealrelay.prom").exists(), "numbers of a daemon that is gone");
}

#[test]
fn a_peer_that_says_nothing_or_too_much_is_harmless() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem)
        .logging("output = \"text\"\n[metrics]\nsocket = \"metrics.sock\"\n");
    let daemon = setup.start();
    let silent: Vec<UnixStream> =
        (0..3).map(|_| UnixStream::connect(setup.path("metrics.sock")).expect("connected")).collect();
    let mut endless = UnixStream::connect(setup.path("metrics.sock")).expect("connected");
    while endless.write_all(&[b'x'; 4096]).is_ok() {}
    let page = scraped(UnixStream::connect(setup.path("metrics.sock")).expect("connected"));
    assert_eq!(value(&page, "sealrelay_messages_accepted_total"), 0.0);
    drop(silent);
    send_alert(&daemon.address, "still well");
    relay_host.taken(1);
}

/// What the rules and the dashboard ask for is what the daemon tells.
#[test]
fn the_alert_rules_hold_in_promtool_and_name_only_metrics_that_exist() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring");
    let page = include_str!("../../src/metrics/mod.rs");
    let mut names = 0;
    for file in ["alerts.yml", "dashboard.json"] {
        let text = fs::read_to_string(folder.join(file)).expect(file);
        for name in text.split("sealrelay_").skip(1) {
            let name = name.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().expect("a name");
            assert!(page.contains(&format!("\"{name}\"")), "{file}: sealrelay_{name} is no metric of ours");
            names += 1;
        }
    }
    assert!(names > 20, "only {names} metrics were looked at");
    let dashboard = fs::read_to_string(folder.join("dashboard.json")).expect("a dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(!panels.is_empty());
    for panel in panels {
        let asks = panel["targets"].as_array().is_some_and(|targets| targets.iter().all(|t| t["expr"].is_string()));
        assert!(asks && panel["title"].is_string(), "{panel}");
    }
    if have("promtool") {
        for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
            let output = Command::new("promtool").args(arguments).current_dir(&folder).output().expect("ran");
            assert!(output.status.success(), "{output:?}");
        }
    }
}
