//! What the daemon takes from itself: every thread of it, for as long as it lives, and what that means for a reload.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use sealrelay::config::Config;
use sealrelay::daemon::confine;

use crate::support::client::send_alert;
use crate::support::daemon::{Daemon, Setup, unprivileged};
use crate::support::relay_host::RelayHost;
use crate::support::{eventually, have, met, root};

/// Set for the process that confines itself: the folder with everything it tries.
const PLACE: &str = "SANDBOX_TEST_PLACE";

#[test]
fn worker_and_blocking_threads_reach_what_the_configuration_names_and_nothing_else() {
    let setup = Setup::new(1, &crate::support::pki::Authority::new("test CA").pem);
    // The control socket's folder is one of its own: the configuration's is only read.
    let text = fs::read_to_string(setup.configure()).expect("read").replace("\"control.sock\"", "\"run/control.sock\"");
    setup.write("sealrelay.toml", text.as_bytes());
    let outside = tempfile::tempdir().expect("a temporary folder");
    fs::write(outside.path().join("secret"), "secret").expect("written");
    symlink(outside.path().join("secret"), setup.path("link")).expect("linked");
    symlink(outside.path(), setup.path("outside")).expect("linked");
    // What waits for it outside.
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let name = format!("sealrelay-test-{}", std::process::id());
    let local = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("bound");
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "sandbox::in_a_process_of_its_own", "--nocapture", "--test-threads=1"])
        .env(PLACE, setup.path(""))
        .env("SANDBOX_TEST_PORT", tcp.local_addr().expect("bound").port().to_string())
        .env("SANDBOX_TEST_NAME", &name)
        .output()
        .expect("it runs");
    drop(local);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !met(!said.contains("no Landlock"), "Landlock") {
        return;
    }
    assert!(output.status.success(), "{said}");
    for thread in ["worker", "blocking"] {
        assert!(said.contains(&format!("{thread}: all tried")), "{said}");
    }
}

/// No test by itself: there is no way back out, so the test above runs this in a process of its own.
#[test]
fn in_a_process_of_its_own() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let place = Path::new(&place);
    let config = Config::load(&place.join("sealrelay.toml")).expect("a configuration");
    let sandbox = confine(&config).expect("folders");
    println!("{:?}", sandbox.confinement());
    if !sandbox.confinement().complete {
        return;
    }
    assert!(sandbox.hides(&place.join("link")) && !sandbox.hides(&place.join("ca.pem")));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("started");
    runtime.block_on(async {
        let (one, two) = (place.to_owned(), place.to_owned());
        tokio::spawn(async move { try_all("worker", &one) }).await.expect("the worker's outcome");
        tokio::task::spawn_blocking(move || try_all("blocking", &two)).await.expect("the blocking thread's outcome");
    });
}

fn try_all(thread: &str, place: &Path) {
    files(place);
    let refused = Some(io::ErrorKind::PermissionDenied);
    // Ports: to others, but none of its own that nobody configured; 0 is in the configuration.
    let port = std::env::var("SANDBOX_TEST_PORT").expect("set").parse::<u16>().expect("a port");
    assert!(TcpStream::connect(("localhost", port)).is_ok(), "names are looked up, and relay hosts reached");
    assert_eq!(TcpListener::bind("127.0.0.1:50025").err().map(|error| error.kind()), refused);
    let name = SocketAddr::from_abstract_name(std::env::var("SANDBOX_TEST_NAME").expect("set")).expect("a name");
    assert_eq!(UnixStream::connect_addr(&name).err().map(|error| error.kind()), refused);
    // System calls.
    let absent = Some(Errno::NOSYS.raw_os_error());
    assert_eq!(Command::new("/bin/true").status().err().and_then(|error| error.raw_os_error()), absent);
    assert_eq!(socket(AddressFamily::NETLINK, SocketType::RAW, None).err(), Some(Errno::NOSYS));
    let parent = rustix::process::getppid().expect("a parent");
    assert_eq!(rustix::process::kill_process(parent, rustix::process::Signal::CONT).err(), Some(Errno::NOSYS));
    println!("{thread}: all tried");
}

fn files(place: &Path) {
    let refused = Some(io::ErrorKind::PermissionDenied);
    let kind = |outcome: io::Result<()>| outcome.err().map(|error| error.kind());
    let read = |name: &str| kind(fs::read(place.join(name)).map(drop));
    assert_eq!(read("ca.pem"), None);
    assert_eq!(kind(fs::read("/etc/resolv.conf").map(drop)), None);
    assert_eq!(read("link"), refused, "a link leads no further than where it leads");
    assert_eq!(read("outside/secret"), refused);
    assert_eq!(kind(fs::read_dir(place.join("outside")).map(drop)), refused);
    assert_eq!(kind(fs::write(place.join("ca.pem"), "other")), refused, "the configuration is only read");
    assert_eq!(kind(fs::write(place.join("outside/new"), "new")), refused);
    // The spool and the state are written, and moved about in.
    let (from, to) = (place.join("spool/incoming"), place.join("spool/queue"));
    fs::create_dir_all(&from).and_then(|()| fs::create_dir_all(&to)).expect("made");
    fs::write(from.join("1"), "sealed").and_then(|()| fs::rename(from.join("1"), to.join("1"))).expect("moved");
    fs::write(place.join("state/new"), "x").and_then(|()| fs::remove_file(place.join("state/new"))).expect("written");
    // Where the sockets are, nothing else comes to be.
    let socket = place.join("run/one.sock");
    UnixListener::bind(&socket).and_then(|_| fs::remove_file(&socket)).expect("bound");
    assert_eq!(kind(fs::write(place.join("run/file"), "x")), refused);
}

#[test]
fn every_thread_of_the_daemon_is_confined_and_status_and_log_say_so() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    send_alert(&daemon.address, "an alert");
    relay_host.taken(1);
    let status = daemon.status();
    let complete = status["sandbox"]["complete"] == true;
    if !met(complete, "Landlock and seccomp") {
        return;
    }
    assert!(
        status["sandbox"]["landlock"].as_str().is_some_and(|words| words.starts_with("in force (ABI ")),
        "{status}"
    );
    assert!(setup.log().contains("confined: Landlock in force (ABI "), "{}", setup.log());
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", daemon.id())).expect("threads").flatten().collect();
    let mut names = Vec::new();
    for thread in threads {
        // A thread of the blocking pool may have ended.
        let Ok(text) = fs::read_to_string(thread.path().join("status")) else { continue };
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        assert_eq!((field("Seccomp:"), field("NoNewPrivs:")), (Some("2"), Some("1")), "{text}");
        names.extend(field("Name:").map(str::to_owned));
    }
    assert!(names.len() > 2 && names.iter().any(|name| name == "log"), "{names:?}");
}

#[test]
fn another_process_of_the_same_user_cannot_look_into_the_daemon_nor_does_it_dump_core() {
    if !have("setpriv") || !root() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    setup.configure();
    setup.give_away();
    let run = setup.command(&["run"]);
    let mut command = unprivileged(run.get_program());
    command.args(run.get_args());
    let daemon = setup.start_by(command);
    send_alert(&daemon.address, "as an unprivileged user");
    relay_host.taken(1);
    let may_read = |pid: u32, file: &str| {
        let mut command = unprivileged("head");
        command.args(["-c", "1"]).arg(format!("/proc/{pid}/{file}")).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("it runs").success()
    };
    let mut other = unprivileged("sleep").arg("600").spawn().expect("started");
    eventually("a process that can be looked into", || may_read(other.id(), "environ").then_some(()));
    assert!(!may_read(daemon.id(), "environ") && !may_read(daemon.id(), "maps"));
    other.kill().and_then(|()| other.wait()).expect("ended");
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).expect("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a core limit");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"]);
}

#[test]
fn a_reload_that_names_a_file_outside_says_so_and_asks_for_the_restart_that_helps() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let outside = tempfile::tempdir().expect("a temporary folder");
    // As the unit has it: sockets, spool and state lie elsewhere than the configuration.
    let own = tempfile::tempdir().expect("a temporary folder");
    let text = ["control.sock", "spool", "state"]
        .iter()
        .fold(fs::read_to_string(setup.configure()).expect("read"), |text, name| {
            text.replace(&format!("\"{name}\""), &format!("\"{}\"", own.path().join(name).display()))
        });
    let setup = setup.with_configuration(&text);
    let daemon = setup.start();
    assert_eq!(daemon.reload().1, 0);
    if !met(daemon.status()["sandbox"]["complete"] == true, "Landlock") {
        return;
    }
    let good = fs::read_to_string(setup.path("sealrelay.toml")).expect("a configuration");
    let mut files = Vec::new();
    for name in ["ca.pem", "sasl_password", "admin@example.org.asc"] {
        let copy = outside.path().join(name);
        fs::copy(setup.path(name), &copy).expect("copied");
        files.push((name, copy.display().to_string()));
    }
    symlink(outside.path().join("ca.pem"), setup.path("link.pem")).expect("linked");
    files.push(("ca.pem", setup.path("link.pem").display().to_string()));
    for (nth, (name, elsewhere)) in files.iter().enumerate() {
        setup.write("sealrelay.toml", good.replace(&format!("\"{name}\""), &format!("\"{elsewhere}\"")).as_bytes());
        let (said, code) = daemon.reload();
        let what =
            format!("{elsewhere} lies where the daemon, since its start, can reach nothing, which needs a restart");
        assert!(code == 78 && said.contains(&what) && said.contains("restart the service"), "{said}");
        assert!(setup.log().contains("configuration not reloaded"));
        send_alert(&daemon.address, "the old configuration serves on");
        relay_host.taken(nth + 1);
    }
    assert_eq!(daemon.terminate(), 0);
    let daemon = setup.start_by(setup.command(&["run"]));
    send_alert(&daemon.address, "with what lies outside");
    relay_host.taken(files.len() + 1);
    // What a start named is read again, even a new file of that name.
    let new = outside.path().join("new");
    fs::copy(setup.path("ca.pem"), &new)
        .and_then(|_| fs::rename(&new, outside.path().join("ca.pem")))
        .expect("renewed");
    let (said, code) = daemon.reload();
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_folder_that_comes_or_is_exchanged_while_the_daemon_runs_needs_a_restart_and_that_is_said() {
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    // A volume of its own, say.
    let volume = tempfile::tempdir().expect("a temporary folder");
    let (keys, away) = (volume.path().join("keys"), volume.path().join("away"));
    let certificate = keys.join("admin.asc");
    fs::create_dir(&keys).expect("made");
    fs::copy(setup.path("admin@example.org.asc"), &certificate).expect("copied");
    let text = fs::read_to_string(setup.configure()).expect("read");
    let setup =
        setup.with_configuration(&text.replace("\"admin@example.org.asc\"", &format!("\"{}\"", certificate.display())));
    let daemon = setup.start();
    if !met(daemon.status()["sandbox"]["complete"] == true, "Landlock") {
        return;
    }
    let needs_restart = |daemon: &Daemon<'_>, when: &str| {
        let (said, code) = daemon.reload();
        let what = format!("{} lies where the daemon, since its start, can reach nothing", certificate.display());
        assert!(code == 78 && said.contains(&what), "{when}: {said}");
    };
    // What is nowhere needs no restart, which would not help.
    let (said, code) = daemon.reload();
    assert_eq!(code, 0, "{said}");
    // Another folder of that name.
    fs::rename(&keys, &away).and_then(|()| fs::create_dir(&keys)).expect("exchanged");
    fs::copy(away.join("admin.asc"), &certificate).expect("copied");
    needs_restart(&daemon, "exchanged");
    assert_eq!(daemon.terminate(), 0);
    fs::remove_dir_all(&keys).expect("removed");
    // It starts with the copy that is kept of the certificate.
    let daemon = setup.start();
    fs::rename(&away, &keys).expect("back");
    needs_restart(&daemon, "back again");
    send_alert(&daemon.address, "an alert");
    relay_host.taken(1);
    assert_eq!(daemon.terminate(), 0);
    assert_eq!(setup.start().reload().1, 0);
}

#[test]
fn a_followed_log_and_the_rules_of_the_ids_are_read_outside_and_others_need_a_restart() {
    let (relay_host, authority, _) = RelayHost::honest();
    // The IDS's own place; beside its rules it has its keys.
    let ids = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| ids.path().join(name).display().to_string();
    ["logs/alerts", "logs/others", "etc/rules"].into_iter().for_each(|name| {
        fs::create_dir_all(ids.path().join(name)).expect("made");
    });
    fs::write(place("etc/rules/local.xml"), "<group name=\"pam,\"><rule id=\"5503\" level=\"5\"/></group>")
        .expect("written");
    let line = "{\"rule\":{\"level\":10,\"description\":\"x\",\"id\":\"5503\",\"mail\":true,\"groups\":[\"pam\"]},\
                \"agent\":{\"id\":\"000\",\"name\":\"mon\"},\"id\":\"1.1\",\"full_log\":\"a log line\",\"location\":\"/x\"}\n";
    fs::write(place("logs/alerts/alerts.json"), line).expect("written");
    fs::write(place("logs/others/alerts.json"), line).expect("written");
    let lines = format!(
        "accept = [{{ group = \"pam\" }}]\n[alerts]\nrules = [\"{}\"]\n[[follow]]\npath = \"{}\"\nfrom = \"start\"",
        place("etc/rules"),
        place("logs/alerts/alerts.json")
    );
    let setup = Setup::new(relay_host.port, &authority.pem).recipient("alice@example.org", &lines);
    let daemon = setup.start();
    let status = daemon.status();
    if !met(status["sandbox"]["complete"] == true, "Landlock") {
        return;
    }
    relay_host.taken(2);
    assert!(!status["warnings"].to_string().contains("rules"), "{status}");
    // Rotated files are looked for in the folder.
    fs::rename(place("logs/alerts/alerts.json"), place("logs/alerts/alerts.json.1")).expect("renamed");
    fs::write(place("logs/alerts/alerts.json"), line.replace("1.1", "1.2")).expect("written");
    relay_host.taken(4);
    let good = fs::read_to_string(setup.path("sealrelay.toml")).expect("a configuration");
    let change = |from: &str, to: &str| {
        setup.write(
            "sealrelay.toml",
            good.replace(&format!("\"{}\"", place(from)), &format!("\"{}\"", place(to))).as_bytes(),
        );
        daemon.reload()
    };
    // The keys' folder is none that the daemon could read.
    let (said, code) = change("etc/rules", "etc");
    assert!(code == 78 && said.contains("since its start, can reach nothing, which needs a restart"), "{said}");
    let (said, code) = change("logs/alerts/alerts.json", "logs/others/alerts.json");
    assert!(code == 78 && said.contains("[[follow]] changed, which needs a restart"), "{said}");
    assert_eq!(daemon.terminate(), 0);
    let _daemon = setup.start_by(setup.command(&["run"]));
    relay_host.taken(6);
}

#[test]
fn a_kernel_without_landlock_or_seccomp_is_told_of_and_mail_is_relayed_all_the_same() {
    if !have("strace") {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let rows = [
        ("landlock_create_ruleset:error=ENOSYS", "Landlock not in force: this kernel has no Landlock"),
        // The first version of it, which could not move a message from incoming/ to queue/.
        ("landlock_create_ruleset:retval=1", "Landlock not in force: this kernel has no Landlock that allows moves"),
        ("landlock_restrict_self:error=EPERM", "Landlock not in force: "),
        ("seccomp:error=EINVAL", "seccomp not in force: "),
    ];
    for (nth, (fault, words)) in rows.into_iter().enumerate() {
        let setup = Setup::new(relay_host.port, &authority.pem);
        let calls = "trace=landlock_create_ruleset,landlock_restrict_self,seccomp";
        let trace = ["-D", "-f", "-qq", "-o", "/dev/null", "-e", calls, "-e", &format!("inject={fault}")];
        let daemon = setup.start_under("strace", &trace, |_| {});
        send_alert(&daemon.address, fault);
        relay_host.taken(nth + 1);
        assert!(setup.log().contains("warning: not wholly confined: "), "{fault}: {}", setup.log());
        assert!(setup.log().contains(words), "{fault}: {}", setup.log());
        assert_eq!(daemon.status()["sandbox"]["complete"], false);
    }
}
