//! Telling without mail: the ping that stops, the webhook and the syslog line for each change of state, against servers
//! that are honest, broken and hostile.

use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::metrics::scraped;
use crate::support::client::send_alert;
use crate::support::daemon::{Daemon, MARKER, Setup};
use crate::support::pki::{Authority, Identity};
use crate::support::relay_host::{PASSWORD, RelayHost, Script};
use crate::support::web_server::{Answer, WebServer};
use crate::support::{eventually, have};
use crate::systemd::Manager;

/// What makes an address a secret.
const TOKEN: &str = "T0KENquibblewort";

/// A relay host, a web server, and a daemon's folder with these lines in `[alarm]`.
struct Stage {
    relay_host: RelayHost,
    server: WebServer,
    setup: Setup,
    identity: Identity,
}

impl Stage {
    fn new(lines: &str) -> Self {
        Self::with(lines, |setup| setup)
    }

    fn with(lines: &str, change: impl FnOnce(Setup) -> Setup) -> Self {
        let (relay_host, authority, identity) = RelayHost::honest();
        let server = WebServer::saying(&identity, 200);
        let setup = change(Setup::new(relay_host.port, &authority.pem));
        let setup =
            setup.logging(&format!("output = \"text\"\n[alarm]\nca_file = \"ca.pem\"\nname = \"mon\"\n{lines}\n"));
        for (name, query) in [("ping", "a=b"), ("webhook", "tpl=1&m={{.text}}")] {
            setup.write(name, format!("https://localhost:{}/{name}/{TOKEN}?{query}\n", server.port).as_bytes());
        }
        Self { relay_host, server, setup, identity }
    }

    /// The relay host takes nothing, in sessions that are open neither.
    fn is_down(&self) {
        let down = Script::honest(&self.identity).says("greeting", "421 later").says("MAIL", "421 4.3.2 later");
        self.relay_host.now(down);
    }

    fn is_up(&self) {
        self.relay_host.now(Script::honest(&self.identity));
    }

    /// Holds whatever waits, as an operator would.
    fn hold(&self) {
        eventually("one to be held", || {
            // It is left to a delivery that has it in hand.
            self.setup.run(&["queue", "hold", "ALL"]);
            (self.setup.spooled("held").len() == 1).then_some(())
        });
    }

    /// What was told is on the disk.
    fn remembers(&self, state: &str) {
        let record = format!("{{\"settled\":\"{state}\",\"told\":\"{state}\",");
        eventually("the record", || {
            std::fs::read_to_string(self.setup.path("state/alarm.json")).ok().filter(|kept| kept.starts_with(&record))
        });
    }

    /// How often the log says that.
    fn logged(&self, what: &str) -> usize {
        self.setup.log().matches(what).count()
    }
}

impl Drop for Stage {
    /// Whatever a test was about, the addresses stand nowhere.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let record = std::fs::read_to_string(self.setup.path("state/alarm.json")).unwrap_or_default();
        assert!(!self.setup.log().contains(TOKEN) && !record.contains(TOKEN), "the token leaked");
    }
}

/// What `status` says of a channel.
fn channel(daemon: &Daemon<'_>, name: &str) -> Value {
    let status = daemon.status();
    assert!(!status.to_string().contains(TOKEN), "{status}");
    let channels = status["alarm"].as_array().expect("channels").clone();
    channels.into_iter().find(|channel| channel["channel"] == name).expect("the channel")
}

fn withheld(daemon: &Daemon<'_>, why: &str) {
    eventually(why, || channel(daemon, "ping")["withheld"].as_str().filter(|said| said.contains(why)).map(|_| ()));
}

/// The webhook's bodies, once there are `count`.
fn told(server: &WebServer, count: usize) -> Vec<Value> {
    server.asked_for(count).iter().map(|asked| serde_json::from_str(&asked.body).expect("JSON")).collect()
}

const PING: &str = "ping_url_file = \"ping\"\nping_every = \"1s\"\nping_oldest = \"3s\"";
const WEBHOOK: &str = "webhook_url_file = \"webhook\"\nsettle = \"1s\"";

#[test]
fn the_ping_stops_while_a_message_waits_too_long_and_goes_on_when_it_is_sent() {
    let stage = Stage::new(PING);
    let daemon = stage.setup.start();
    let first = stage.server.asked_for(2).remove(0);
    assert!(first.head.starts_with(&format!("GET /ping/{TOKEN}?a=b HTTP/1.1\r\n")), "{}", first.head);
    assert_eq!(first.body, "");
    stage.is_down();
    send_alert(&daemon.address, "waits");
    withheld(&daemon, "a message has waited for longer than 3s");
    let count = stage.server.asked().len();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(stage.server.asked().len(), count, "it is called while mail is late");
    assert!(daemon.status()["warnings"].to_string().contains("is not called: a message has waited"));
    stage.is_up();
    daemon.flush();
    stage.relay_host.taken(1);
    stage.server.asked_for(count + 2);
    let ping = channel(&daemon, "ping");
    assert_eq!((&ping["withheld"], &ping["trouble"]), (&Value::Null, &Value::Null), "{ping}");
    assert!(ping["last_success"].is_u64() && ping["to"] == format!("localhost:{}", stage.server.port), "{ping}");
    assert_eq!((stage.logged("not called for now: "), stage.logged(", called again")), (1, 1));
}

#[test]
fn the_ping_stops_until_a_heartbeat_is_taken_and_a_held_alert_or_a_quiet_day_do_not_stop_it() {
    let stage = Stage::with(PING, |setup| setup.heartbeat("24h"));
    stage.is_down();
    let daemon = stage.setup.start();
    // Held, so that nothing waits: the heartbeat itself is missed.
    stage.hold();
    withheld(&daemon, "no relay host has taken the last heartbeat for admin@example.org");
    // One that is gone for good was not taken either.
    let held = stage.setup.spooled("held").remove(0);
    let id = held.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(stage.setup.run(&["queue", "remove", "--yes", id]).status.success());
    let count = stage.server.asked().len();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(stage.server.asked().len(), count, "it is called without a heartbeat");
    stage.is_up();
    assert!(stage.setup.run(&["heartbeat"]).status.success());
    stage.relay_host.taken(1);
    // From here on nothing happens, for longer than a message may wait: a quiet day.
    let count = stage.server.asked_for(count + 1).len();
    std::thread::sleep(Duration::from_secs(4));
    stage.server.asked_for(count + 2);
    stage.is_down();
    send_alert(&daemon.address, "held");
    stage.hold();
    std::thread::sleep(Duration::from_secs(4));
    let count = stage.server.asked().len();
    stage.server.asked_for(count + 2);
    assert_eq!(channel(&daemon, "ping")["withheld"], Value::Null);
}

#[test]
fn each_change_of_state_is_told_once_over_restarts_and_nothing_is_told_twice() {
    let stage = Stage::new(WEBHOOK);
    stage.setup.write("sasl_password", b"wrong");
    let daemon = stage.setup.start();
    send_alert(&daemon.address, "the login is refused");
    let first = told(&stage.server, 1).remove(0);
    assert_eq!((&first["state"], &first["before"]), (&"degraded".into(), &"ok".into()), "{first}");
    let text = first["text"].as_str().expect("text");
    assert!(text.starts_with("sealrelay on mon: DEGRADED (before: ok). 1 waiting"), "{text}");
    assert!(text.contains("1 of 1 relay host(s) in trouble. Run `sealrelay status` there."), "{text}");
    // Neither a word of the alert, nor one of the relay host.
    let request = stage.server.asked()[0].clone();
    assert!(!request.body.contains(MARKER) && !request.body.contains("535") && !request.body.contains("localhost"));
    assert!(
        request.head.starts_with(&format!("POST /webhook/{TOKEN}?tpl=1&m={{{{.text}}}} HTTP/1.1\r\n")),
        "{}",
        request.head
    );
    assert!(request.head.to_ascii_lowercase().contains("content-type: application/json\r\n"), "{}", request.head);
    // Crashes: the state is the same again and again.
    stage.remembers("degraded");
    daemon.kill();
    for _ in 0..2 {
        let daemon = stage.setup.start();
        eventually("the trouble", || daemon.status()["relays"][0]["trouble"].as_str().map(|_| ()));
        std::thread::sleep(Duration::from_secs(4));
        daemon.kill();
    }
    assert_eq!(stage.server.asked().len(), 1, "{:?}", stage.server.asked());
    stage.setup.write("sasl_password", PASSWORD.as_bytes());
    let daemon = stage.setup.start();
    stage.relay_host.taken(1);
    let second = told(&stage.server, 2).remove(1);
    assert_eq!((&second["state"], &second["before"]), (&"ok".into(), &"degraded".into()), "{second}");
    stage.remembers("ok");
    assert_eq!(daemon.terminate(), 0);
    let _daemon = stage.setup.start();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(stage.server.asked().len(), 2);
    assert_eq!(stage.logged("state=degraded, before=ok, waiting=1"), 1);
}

#[test]
fn a_webhook_that_is_named_while_something_is_wrong_hears_of_it_and_one_named_in_good_times_of_nothing() {
    let stage = Stage::new(WEBHOOK);
    let name = |path: &str| {
        let address = format!("https://localhost:{}/{path}/{TOKEN}\n", stage.server.port);
        stage.setup.write("webhook", address.as_bytes());
    };
    stage.setup.write("sasl_password", b"wrong");
    let daemon = stage.setup.start();
    send_alert(&daemon.address, "the login is refused");
    told(&stage.server, 1);
    let is_told = |count: usize, path: &str| {
        let body = told(&stage.server, count).remove(count - 1);
        assert_eq!((&body["state"], &body["before"]), (&"degraded".into(), &"ok".into()), "{body}");
        let head = stage.server.asked()[count - 1].head.clone();
        assert!(head.starts_with(&format!("POST /{path}/")), "{head}");
    };
    name("second");
    assert_eq!(daemon.reload().1, 0);
    is_told(2, "second");
    stage.remembers("degraded");
    // By a start too.
    assert_eq!(daemon.terminate(), 0);
    name("third");
    let daemon = stage.setup.start();
    is_told(3, "third");
    stage.setup.write("sasl_password", PASSWORD.as_bytes());
    assert_eq!(daemon.reload().1, 0);
    let last = told(&stage.server, 4).remove(3);
    assert_eq!((&last["state"], &last["before"]), (&"ok".into(), &"degraded".into()), "{last}");
    stage.remembers("ok");
    name("fourth");
    assert_eq!(daemon.reload().1, 0);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(stage.server.asked().len(), 4, "{:?}", stage.server.asked());
}

#[test]
fn trouble_that_is_over_before_it_has_lasted_is_not_told() {
    let stage = Stage::new(&WEBHOOK.replace("1s", "1h"));
    stage.is_down();
    let daemon = stage.setup.start();
    send_alert(&daemon.address, "a hiccup");
    eventually("the trouble", || daemon.status()["relays"][0]["trouble"].as_str().map(|_| ()));
    std::thread::sleep(Duration::from_secs(5));
    stage.is_up();
    daemon.flush();
    stage.relay_host.taken(1);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(stage.server.asked().len(), 0);
}

#[test]
fn a_server_that_is_broken_or_hostile_harms_nothing_is_logged_once_and_gets_the_newest_state_in_the_end() {
    let stage = Stage::new(&format!("{WEBHOOK}\n[metrics]\nsocket = \"metrics.sock\""));
    let setup = &stage.setup;
    let stranger = Authority::new("another CA").issue("localhost");
    stage.server.now(|_| Answer::Say(500, TOKEN.to_owned()));
    setup.write("sasl_password", b"wrong");
    let daemon = setup.start();
    send_alert(&daemon.address, "somebody should hear of this");
    let trouble = |why: &str| {
        eventually(why, || {
            channel(&daemon, "webhook")["trouble"].as_str().filter(|said| said.contains(why)).map(|_| ())
        });
    };
    trouble("it answered 500");
    let page = scraped(UnixStream::connect(setup.path("metrics.sock")).expect("connected"));
    assert!(page.contains("sealrelay_alarm_up{channel=\"webhook\"} 0\n"), "{page}");
    assert!(!page.contains("sealrelay_alarm_last_success") && !page.contains("sealrelay_alarm_withheld"), "{page}");
    let warnings = daemon.status()["warnings"].to_string();
    assert!(warnings.contains("it answered 500; `sealrelay alarm test` tries it"), "{warnings}");
    // A reload tries at once what could not be told.
    let mut count = 1;
    for (answer, why) in [
        (Answer::Say(302, String::new()), "it answered 302; the address must be the one that is redirected to"),
        (Answer::Endless, "its answer is longer than"),
        (Answer::Say(404, String::new()), "it answered 404"),
    ] {
        stage.server.now(move |_| answer.clone());
        assert_eq!(daemon.reload().1, 0);
        trouble(why);
        count += 1;
        assert!(stage.server.asked().len() >= count);
    }
    stage.server.shows(&stranger);
    assert_eq!(daemon.reload().1, 0);
    trouble("not trusted");
    stage.server.shows(&stage.identity);
    assert_eq!(stage.logged("webhook localhost"), 1, "{}", setup.log());
    // One that says nothing holds up neither alerts nor the end.
    stage.server.now(|_| Answer::Hang);
    let asked = stage.server.asked().len();
    setup.write("sasl_password", PASSWORD.as_bytes());
    assert_eq!(daemon.reload().1, 0);
    stage.server.asked_for(asked + 1);
    send_alert(&daemon.address, "while it hangs");
    stage.relay_host.taken(2);
    assert_eq!(daemon.terminate(), 0);
    // What it may have shown is uncertain: the state that is true now is told, and told until it was taken.
    let asked = stage.server.asked().len();
    stage.server.now(|_| Answer::Say(204, String::new()));
    let daemon = setup.start();
    let last = told(&stage.server, asked + 1).pop().expect("a body");
    assert_eq!((&last["state"], &last["before"]), (&"ok".into(), &Value::Null), "{last}");
    eventually("a success", || channel(&daemon, "webhook")["last_success"].as_u64());
    assert_eq!(channel(&daemon, "webhook")["trouble"], Value::Null);
}

#[test]
fn a_collector_hears_of_a_change_by_udp_in_the_form_of_rfc_5424_and_no_rule_fires_on_it() {
    let collector = UdpSocket::bind("127.0.0.1:0").expect("bound");
    collector.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    let address = collector.local_addr().expect("an address");
    let stage = Stage::new(&format!("syslog = \"{address}\"\nsettle = \"1s\""));
    stage.relay_host.now(Script::honest(&stage.identity).says("END", "552 5.2.2 Error: quota exceeded, access denied"));
    let daemon = stage.setup.start();
    send_alert(&daemon.address, "refused");
    let hear = || {
        let mut octets = [0; 4096];
        let count = collector.recv(&mut octets).expect("a datagram");
        assert!(count <= 1024);
        String::from_utf8(octets[..count].to_vec()).expect("UTF-8")
    };
    let first = hear();
    let fields: Vec<&str> = first.splitn(7, ' ').collect();
    // PRI and VERSION: facility mail, severity warning.
    assert_eq!((fields[0], fields[2], fields[3], fields[5]), ("<20>1", "mon", "sealrelay", "STATE"), "{first}");
    assert!(humantime::parse_rfc3339(fields[1]).is_ok(), "{first}");
    assert_eq!(fields[4], daemon.id().to_string());
    assert!(fields[6].contains("[origin software=\"sealrelay\" swVersion=\""), "{first}");
    assert!(fields[6].contains("sequenceId=\"1\""), "{first}");
    assert!(first.contains("] state=degraded, before=ok, waiting=1, "), "{first}");
    assert!(first.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{first}");
    let output = stage.setup.run(&["alarm", "test"]);
    assert!(output.status.success(), "{output:?}");
    let second = hear();
    assert!(second.contains(" TEST [") && second.contains("] this is a test; nothing has changed"), "{second}");
    stage.is_up();
    daemon.flush();
    stage.relay_host.taken(1);
    let third = hear();
    assert!(third.starts_with("<21>1 ") && third.contains("] state=ok, before=degraded, waiting=0, "), "{third}");
    for message in [first, second, third] {
        let lower = message.to_ascii_lowercase();
        let fires = sealrelay::maillog::TRIGGERS.iter().find(|trigger| lower.contains(**trigger));
        assert_eq!(fires, None, "{message}");
    }
}

#[test]
fn the_test_command_tries_each_channel_through_the_daemon_and_says_the_truth() {
    let stage = Stage::new(&format!("{PING}\n{WEBHOOK}").replace("\"1s\"", "\"1h\""));
    let daemon = stage.setup.start();
    let test = |arguments: &[&str]| {
        let output = stage.setup.run(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let host = format!("localhost:{}", stage.server.port);
    let (code, said) = test(&["alarm", "test"]);
    assert_eq!((code, said), (Some(0), format!("ping     {host}: taken\nwebhook  {host}: taken\n")));
    let asked = stage.server.asked_for(2);
    let webhook = asked.iter().find(|request| request.head.starts_with("POST")).expect("a webhook");
    let body: Value = serde_json::from_str(&webhook.body).expect("JSON");
    assert_eq!((&body["test"], &body["state"]), (&true.into(), &"test".into()));
    assert!(body["text"].as_str().expect("text").contains("TEST"));
    stage.server.now(|_| Answer::Say(404, TOKEN.to_owned()));
    let (code, said) = test(&["alarm", "test"]);
    assert_eq!(code, Some(69));
    assert!(said.contains(&format!("webhook  {host}: NOT taken: it answered 404\n")), "{said}");
    let (code, said) = test(&["alarm", "test", "--json"]);
    let tried: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &tried[0]["trouble"]), (Some(69), &"it answered 404".into()));
    assert!(!said.contains(TOKEN));
    // A trial is no event: nothing of it stands in `status`.
    assert_eq!(channel(&daemon, "webhook")["trouble"], Value::Null);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(test(&["alarm", "test"]).0, Some(69), "no daemon runs");
}

#[test]
fn a_reload_takes_other_addresses_and_takes_them_away() {
    let stage = Stage::new("");
    let daemon = stage.setup.start();
    assert_eq!(daemon.status()["alarm"], Value::Array(Vec::new()));
    assert_eq!(stage.setup.run(&["alarm", "test"]).status.code(), Some(78));
    let text = std::fs::read_to_string(stage.setup.path("sealrelay.toml")).expect("a configuration");
    let with = text.replace("name = \"mon\"\n", &format!("name = \"mon\"\n{PING}\n"));
    stage.setup.write("sealrelay.toml", with.as_bytes());
    daemon.hang_up();
    stage.server.asked_for(2);
    stage.setup.write("ping", format!("https://localhost:{}/other/{TOKEN}\n", stage.server.port).as_bytes());
    assert_eq!(daemon.reload().1, 0);
    eventually("the other address", || stage.server.asked().last()?.head.starts_with("GET /other/").then_some(()));
    // One that cannot be used leaves the one that is in force.
    stage.setup.write("ping", format!("http://localhost/{TOKEN}\n").as_bytes());
    let (said, code) = daemon.reload();
    assert!(code == 78 && said.contains("does not begin with https://") && !said.contains(TOKEN), "{code} {said}");
    let count = stage.server.asked().len();
    stage.server.asked_for(count + 2);
    stage.setup.write("sealrelay.toml", text.as_bytes());
    assert_eq!(daemon.reload().1, 0);
    // One may be under way.
    std::thread::sleep(Duration::from_secs(2));
    let count = stage.server.asked().len();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(stage.server.asked().len(), count);
    assert_eq!(daemon.status()["alarm"], Value::Array(Vec::new()));
}

#[test]
fn a_daemon_that_dies_and_comes_back_again_and_again_does_not_ping() {
    let stage = Stage::new(&PING.replace("\"1s\"", "\"30s\""));
    for _ in 0..2 {
        let daemon = stage.setup.start();
        // Time enough for a call, and far from the first one that is due.
        std::thread::sleep(Duration::from_secs(3));
        daemon.kill();
    }
    assert_eq!(stage.server.asked().len(), 0);
}

#[test]
fn a_disk_that_does_not_answer_stops_the_ping_and_is_told_as_broken() {
    if !have("strace") {
        return;
    }
    let stage = Stage::new(&format!("{PING}\n{WEBHOOK}"));
    // The file system hangs some seconds after the start, for longer than anybody waits.
    let inject = "inject=statfs:delay_enter=40s:when=8+";
    let trace = ["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=statfs", "-e", inject];
    let _daemon = stage.setup.start_under("strace", &trace, |_| ());
    eventually("the ping to stop", || {
        (stage.logged("not called for now: the spool's disk does not answer") == 1).then_some(())
    });
    let of = |kind: &str| stage.server.asked().iter().filter(|asked| asked.head.starts_with(kind)).count();
    eventually("the webhook", || (of("POST") > 0).then_some(()));
    let asked = stage.server.asked().clone();
    let told = asked.iter().find(|asked| asked.head.starts_with("POST")).expect("a webhook");
    let body: Value = serde_json::from_str(&told.body).expect("JSON");
    assert_eq!(body["state"], "broken", "{body}");
    assert!(body["text"].as_str().expect("text").contains("the spool's disk does not answer"), "{body}");
}

/// What an operator sees, where, when a relay host refuses the login. `--nocapture` shows it with the times.
#[test]
fn a_refused_login_is_told_on_every_channel() {
    let collector = UdpSocket::bind("127.0.0.1:0").expect("bound");
    collector.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    let lines = format!(
        "{}\nwebhook_url_file = \"webhook\"\nsettle = \"5s\"\nsyslog = \"{}\"\n[metrics]\nsocket = \"metrics.sock\"",
        PING.replace("3s", "10s"),
        collector.local_addr().expect("an address")
    );
    let stage = Stage::new(&lines);
    let setup = &stage.setup;
    setup.write("sasl_password", b"wrong");
    let manager = Manager::bind(setup);
    let daemon = setup.start_with(|command| Manager::environment(setup, command));
    let of = |kind: &str| stage.server.asked().iter().filter(|asked| asked.head.starts_with(kind)).count();
    eventually("the first ping", || (of("GET") > 0).then_some(()));
    let began = Instant::now();
    let show = |what: &str, text: &str| eprintln!("+{:4.1} s  {what:8} {text}", began.elapsed().as_secs_f64());
    send_alert(&daemon.address, "the login is refused");
    let logged = |what: &str| {
        let line = eventually(what, || setup.log().lines().find(|line| line.contains(what)).map(str::to_owned));
        show("log", &line);
        line
    };
    let line = logged("crit: relay=localhost");
    // Readable, and no rule fires on it.
    assert!(line.contains("535 5.7.8 E\\x72ror: authentication f\\x61iled"), "{line}");
    let status = eventually("the state", || Some(daemon.status()).filter(|status| status["state"] == "degraded"));
    let trouble = &status["relays"][0];
    assert!(trouble["trouble"].as_str().expect("trouble").contains("535 5.7.8"), "{trouble}");
    show("status", &format!("{}: {}. {}", status["state"], trouble["trouble"], trouble["advice"]));
    let page = scraped(UnixStream::connect(setup.path("metrics.sock")).expect("connected"));
    for series in
        ["sealrelay_state 1", &format!("sealrelay_relay_up{{relay=\"localhost:{}\"}} 0", stage.relay_host.port)]
    {
        assert!(page.lines().any(|line| line == series), "{page}");
        show("metrics", series);
    }
    let line = manager.hears("in trouble", Duration::from_secs(20)).expect("a line");
    assert!(line.contains("STATUS=somebody should look; 1 accepted, 0 sent, 1 queued; localhost:"), "{line}");
    show("systemd", line.lines().last().unwrap_or_default());
    let mut octets = [0; 2048];
    let count = collector.recv(&mut octets).expect("a datagram");
    show("syslog", &String::from_utf8_lossy(&octets[..count]));
    eventually("the webhook", || (of("POST") > 0).then_some(()));
    let asked = stage.server.asked().clone();
    show("webhook", &asked.iter().find(|asked| asked.head.starts_with("POST")).expect("one").body);
    withheld(&daemon, "a message has waited for longer than 10s");
    show("ping", &format!("stopped after {} calls: {}", of("GET"), channel(&daemon, "ping")["withheld"]));
    logged("not called for now");
    // systemd reads on and on; a socket that nobody reads would hold up whoever tells it something.
    drop(manager);
    setup.write("sasl_password", PASSWORD.as_bytes());
    assert_eq!(daemon.reload().1, 0);
    stage.relay_host.taken(1);
    show("repair", "the password is right, `sealrelay config reload`: the message is taken");
    logged("called again");
    logged("state=ok, before=degraded");
    eventually("the webhook", || (of("POST") > 1).then_some(()));
    show("webhook", &stage.server.asked().iter().rfind(|asked| asked.head.starts_with("POST")).expect("one").body);
}
