//! Start-up from whatever a crash, an operator or a bad disk left in the spool.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::numbers::may_trace;
use crate::support::client::{alert, send, send_alert};
use crate::support::daemon::{Daemon, Setup, program, unprivileged};
use crate::support::disk::SmallDisk;
use crate::support::relay_host::{RelayHost, Script};
use crate::support::{eventually, met, root};

/// A spool with `count` waiting entries, whose daemon has ended, and a relay host that would now take them.
fn with_leftovers(count: usize) -> (RelayHost, Setup) {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let daemon = setup.start();
    (0..count).for_each(|nth| send_alert(&daemon.address, &format!("{nth}")));
    assert_eq!(daemon.terminate(), 0);
    relay_host.now(Script::honest(&identity));
    (relay_host, setup)
}

#[test]
fn fragments_foreign_files_and_broken_state_files_do_not_hinder_the_start() {
    let (relay_host, setup) = with_leftovers(3);
    let entries = setup.spooled("queue");
    let whole = fs::read(&entries[0]).expect("an entry");
    let at = |name: &str| setup.path("spool").join(name);
    fs::write(at("incoming/0123456789ABCDEF012"), &whole[..whole.len() / 2]).expect("a fragment");
    fs::write(entries[0].with_extension("state"), "{\"count\":1,\"ne").expect("half a state file");
    fs::write(entries[1].with_extension("state.new"), "{").expect("one that was being replaced");
    fs::write(at("queue/0123456789ABCDEF013.state"), "{}").expect("a state file without its entry");
    fs::write(at("failed/0123456789ABCDEF013.state"), "{}").expect("another");
    // Foreign things, some under names that could be ours.
    fs::write(at("queue/README"), "hello").expect("written");
    fs::write(at("queue/0123456789abcdef012"), "lower case").expect("written");
    fs::create_dir(at("queue/0123456789ABCDEF014")).expect("a directory");
    symlink("/etc/hostname", at("queue/0123456789ABCDEF015")).expect("a link");
    let pipe = Command::new("mkfifo").arg(at("queue/0123456789ABCDEF016")).status().expect("mkfifo runs");
    assert!(pipe.success());
    // A power cut on a file system that lost the content; a cut entry; one without its header line.
    fs::write(at("queue/0123456789ABCDEF017"), "").expect("written");
    fs::write(at("queue/0123456789ABCDEF018"), &whole[..100]).expect("written");
    fs::write(at("queue/0123456789ABCDEF019"), &whole[..whole.len() - 1]).expect("written");
    let daemon = setup.start();
    relay_host.taken(3);
    eventually("three damaged entries", || (setup.spooled("damaged").len() == 3).then_some(()));
    assert_eq!(fs::read(at("damaged/0123456789ABCDEF018")).expect("kept"), &whole[..100]);
    assert_eq!(relay_host.heard().taken.len(), 3, "something was sent that should not be");
    let log = setup.log();
    for line in [
        "1 fragment(s) of mails that were never acknowledged removed",
        "its state file cannot be read: it is tried now",
        "queue/README",
        "queue/0123456789ABCDEF014",
        "queue/0123456789ABCDEF015",
        "queue/0123456789ABCDEF016",
        "0123456789ABCDEF017: damaged, set aside: its first line is no entry header",
        "0123456789ABCDEF019: damaged, set aside: its checksum does not match",
    ] {
        assert!(log.contains(line), "{line:?} is missing in:\n{log}");
    }
    for gone in ["incoming/0123456789ABCDEF012", "queue/0123456789ABCDEF013.state", "failed/0123456789ABCDEF013.state"]
    {
        assert!(!at(gone).exists(), "{gone}");
    }
    for kept in ["queue/README", "queue/0123456789abcdef012", "queue/0123456789ABCDEF014"] {
        assert!(at(kept).exists(), "{kept}");
    }
    assert_eq!(daemon.status()["spool"]["damaged"], 3);
    assert_eq!(daemon.terminate(), 0);
    // Whoever looks through these files next would wait for it.
    fs::remove_file(at("queue/0123456789ABCDEF016")).expect("kept until now");
}

#[test]
fn a_damaged_entry_never_replaces_one_that_was_set_aside_before() {
    let (_relay_host, setup) = with_leftovers(0);
    let at = |name: &str| setup.path("spool").join(name);
    fs::write(at("damaged/0123456789ABCDEF017"), "the first").expect("written");
    fs::write(at("queue/0123456789ABCDEF017"), "the second").expect("written");
    let daemon = setup.start();
    assert_eq!(daemon.status()["spool"]["unreadable"], 1);
    assert_eq!(fs::read(at("damaged/0123456789ABCDEF017")).expect("kept"), b"the first");
    assert_eq!(fs::read(at("queue/0123456789ABCDEF017")).expect("kept"), b"the second");
}

#[test]
fn a_header_line_that_says_what_cannot_be_neither_stops_the_start_nor_uses_up_numbers_or_room() {
    let (relay_host, setup) = with_leftovers(1);
    let identity = relay_host.identity();
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let entry = setup.spooled("queue").remove(0);
    let most = u64::MAX;
    for name in ["queue/0123456789ABCDEF017", "held/0123456789ABCDEF018"] {
        let text = fs::read_to_string(&entry).expect("an entry");
        let text = text.replacen("\"sequence\":1,", &format!("\"sequence\":{most},"), 1);
        let size = text.split_once("\"size\":").and_then(|(_, rest)| rest.split_once([',', '}'])).expect("a size").0;
        let text = text.replacen(&format!("\"size\":{size}"), &format!("\"size\":{most}"), 1);
        assert_eq!(text.matches(&most.to_string()).count(), 2, "nothing was changed");
        fs::write(setup.path("spool").join(name), text).expect("written");
    }
    let daemon = setup.start();
    assert_eq!(daemon.status()["spool"]["room"], "enough");
    send_alert(&daemon.address, "the next one");
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    relay_host.taken(2);
    eventually("a damaged entry", || (setup.spooled("damaged").len() == 1).then_some(()));
    assert_eq!(daemon.status()["recipients"][0]["last_number"], 2);
    assert_eq!(daemon.terminate(), 0);
}

/// Runs the daemon, which must not start; its exit code and two lines.
fn refused(setup: &Setup) -> (Option<i32>, String) {
    // Should it start all the same, it ends some time.
    let run = setup.command(&["run"]);
    let output = Command::new("timeout").arg("20").arg(run.get_program()).args(run.get_args()).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> =
        said.lines().filter(|line| line.starts_with("sealrelay:") || line.starts_with("  ")).collect();
    assert_eq!(lines.len(), 2, "one line what, one line what to do:\n{said}");
    (output.status.code(), lines.join("\n"))
}

#[test]
fn a_spool_that_cannot_be_used_is_exit_code_73_with_what_to_do() {
    let (_relay_host, setup) = with_leftovers(1);
    let held = setup.path("spool/held");
    fs::rename(&held, setup.path("elsewhere")).expect("moved");
    fs::write(&held, "a file").expect("written");
    let (code, said) = refused(&setup);
    assert_eq!(code, Some(73), "{said}");
    assert!(said.contains("spool/held"), "{said}");
    fs::remove_file(&held).expect("removed");
    // Whoever else may write there could take alerts away.
    fs::set_permissions(setup.path("spool"), fs::Permissions::from_mode(0o770)).expect("opened");
    let (code, said) = refused(&setup);
    assert_eq!(code, Some(73), "{said}");
    assert!(said.contains("chmod go-w"), "{said}");
    fs::set_permissions(setup.path("spool"), fs::Permissions::from_mode(0o700)).expect("closed");
    // Numbers that were given out must not be forgotten silently.
    fs::write(setup.path("state/numbers.0"), "x").expect("written");
    fs::write(setup.path("state/numbers.1"), "y").expect("written");
    let (code, said) = refused(&setup);
    assert_eq!(code, Some(73), "{said}");
    assert!(said.contains("move them away"), "{said}");
}

#[test]
fn a_read_only_file_system_stops_the_start_and_says_so() {
    let (relay_host, setup) = with_leftovers(0);
    let disk = SmallDisk::mount(setup.path("disk"), "2m");
    if !met(disk.is_some(), "to mount a small disk, as root") {
        return;
    }
    let (disk, setup) = (disk.expect("mounted"), on_disk(setup, ""));
    setup.start().kill();
    disk.remount("ro");
    let (code, said) = refused(&setup);
    assert_eq!(code, Some(73), "{said}");
    assert!(said.contains("read-only"), "{said}");
    disk.remount("rw");
    let daemon = setup.start();
    send_alert(&daemon.address, "well again");
    relay_host.taken(1);
}

/// The same with its spool on the disk mounted at `disk`.
fn on_disk(setup: Setup, more: &str) -> Setup {
    let text = fs::read_to_string(setup.configure()).expect("read");
    setup.with_configuration(&text.replace("\"spool\"", &format!("\"disk/spool\"\n{more}")))
}

#[test]
fn a_disk_that_is_full_at_the_start_empties_all_the_same() {
    let (relay_host, authority, identity) = RelayHost::honest();
    relay_host.now(Script::honest(&identity).says("greeting", "421 later"));
    let setup = Setup::new(relay_host.port, &authority.pem);
    let disk = SmallDisk::mount(setup.path("disk"), "1m");
    if !met(disk.is_some(), "to mount a small disk, as root") {
        return;
    }
    let setup = on_disk(setup, "quota = \"100%\"\nreserve = \"0\"");
    let daemon = setup.start();
    let took = (0..200).take_while(|nth| send(&daemon.address, &["root"], &alert(&nth.to_string())).starts_with("250"));
    let took = took.count();
    assert!((20..100).contains(&took), "{took} fitted");
    daemon.kill();
    // Not an octet is left.
    let mut filler = fs::File::create(setup.path("disk/filler")).expect("made");
    while std::io::Write::write_all(&mut filler, &[0; 512]).is_ok() {}
    relay_host.now(Script::honest(&identity));
    let daemon = setup.start();
    relay_host.taken(took);
    let queue = setup.path("disk/spool/queue");
    eventually("an empty spool", || {
        let left = fs::read_dir(&queue).ok()?.flatten().filter(|file| file.path().extension().is_none()).count();
        (left == 0).then_some(())
    });
    assert_eq!(relay_host.heard().taken.len(), took, "something was sent twice");
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_spool_of_another_owner_is_refused_at_the_start_and_an_entry_of_another_owner_is_left() {
    if !root() {
        return;
    }
    let nobody = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"];
    let reachable = Command::new("setpriv").args(nobody).arg(program().get_program()).arg("--version").output();
    if !met(reachable.is_ok_and(|output| output.status.success()), "a build that every account can read") {
        return;
    }
    let (relay_host, setup) = with_leftovers(2);
    fs::set_permissions(setup.path(""), fs::Permissions::from_mode(0o777)).expect("opened");
    let own = |owner: &str, path: PathBuf| {
        assert!(Command::new("chown").arg("-R").arg(owner).arg(path).status().expect("chown runs").success());
    };
    for name in ["spool", "state", "sealrelay.toml", "ca.pem", "sasl_password", "admin@example.org.asc"] {
        own("nobody:nogroup", setup.path(name));
    }
    let run = || {
        let mut run = Command::new("setpriv");
        run.args(nobody).arg(program().get_program()).arg("--config").arg(setup.path("sealrelay.toml")).arg("run");
        run
    };
    own("root:root", setup.path("spool/held"));
    let output =
        Command::new("timeout").arg("20").arg(run().get_program()).args(run().get_args()).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(73), "{said}");
    assert!(said.contains("spool/held") && said.contains("chown -R"), "{said}");
    own("nobody:nogroup", setup.path("spool/held"));
    let others = setup.spooled("queue").remove(0);
    own("root:root", others.clone());
    let daemon = setup.start_by(run());
    relay_host.taken(1);
    assert_eq!(daemon.status()["spool"]["unreadable"], 1);
    assert!(others.exists());
    assert!(setup.log().contains("cannot be read, left where it is until the next start"));
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn the_name_of_every_folder_that_is_made_is_on_the_disk() {
    if !may_trace() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let text = fs::read_to_string(setup.configure()).expect("a configuration");
    let setup = setup.with_configuration(&text.replace("\"spool\"", "\"new/er/spool\""));
    let trace = setup.path("trace");
    let options = ["-D", "-f", "-y", "-qq", "-e", "trace=fsync", "-o", trace.to_str().expect("text")];
    let _daemon = setup.start_under("strace", &options, |_| ());
    let own = setup.path("new");
    for folder in [own.parent().expect("the test's"), &own, &setup.path("new/er"), &setup.path("new/er/spool")] {
        let synced = format!("<{}>", folder.display());
        eventually(&synced, || fs::read_to_string(&trace).ok().filter(|calls| calls.contains(&synced)));
    }
}

#[test]
fn folders_in_one_that_may_not_be_listed_are_taken() {
    if !root() {
        return;
    }
    let (relay_host, authority, _) = RelayHost::honest();
    let setup = Setup::new(relay_host.port, &authority.pem);
    let text = fs::read_to_string(setup.configure()).expect("a configuration");
    let text = text.replace("\"spool\"", "\"closed/spool\"").replace("\"state\"", "\"closed/state\"");
    let setup = setup.with_configuration(&text);
    setup.configure();
    setup.give_away();
    for name in ["closed", "closed/spool", "closed/state"] {
        fs::create_dir(setup.path(name)).expect("made");
        chown(setup.path(name), (name != "closed").then_some(1), None).expect("given");
        fs::set_permissions(setup.path(name), fs::Permissions::from_mode(0o711)).expect("closed");
    }
    let run = setup.command(&["run"]);
    let mut command = unprivileged(run.get_program());
    command.args(run.get_args());
    let daemon = setup.start_by(command);
    send_alert(&daemon.address, "an alert");
    relay_host.taken(1);
    assert_eq!(daemon.terminate(), 0);
}

#[test]
fn a_clock_that_jumps_a_year_either_way_neither_expires_nor_delays_what_waits() {
    let Some(library) = faketime() else { return };
    for jump in ["+365d", "-365d"] {
        let (relay_host, setup) = with_leftovers(2);
        relay_host.now(Script::honest(&relay_host.identity()).says("END", "451 4.3.0 Not now"));
        setup.write("clock", b"+0");
        // Not by the program of that name, which would stand between us and the daemon.
        let mut run = setup.command(&["run"]);
        run.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", setup.path("clock"));
        run.envs([("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]);
        let daemon = setup.start_by(run);
        let deferred = |daemon: &Daemon<'_>| daemon.status()["counts"]["deferred"].as_u64().expect("a number");
        eventually("an attempt on both", || (deferred(&daemon) == 2).then_some(()));
        setup.write("clock", jump.as_bytes());
        // The next attempts were half a minute away by the old clock; the spool is asked again within that.
        relay_host.now(Script::honest(&relay_host.identity()));
        let began = Instant::now();
        relay_host.taken(2);
        assert!(began.elapsed() < Duration::from_secs(31), "{jump}: {:?}", began.elapsed());
        eventually("an empty spool", || setup.spooled("queue").is_empty().then_some(()));
        assert!(setup.spooled("failed").is_empty());
        assert_eq!(daemon.terminate(), 0);
    }
}

#[test]
fn a_long_queue_starts_at_once_and_stays_small_in_memory() {
    let count = std::env::var("ENTRIES").map_or(2000, |count| count.parse().expect("a number"));
    let (relay_host, setup) = with_leftovers(1);
    multiply(&setup, count);
    let honest = Script::honest(&relay_host.identity());
    relay_host.now(honest.clone().says("greeting", "421 later"));
    let began = Instant::now();
    let daemon = setup.start();
    let started = began.elapsed();
    assert_eq!(daemon.status()["spool"]["queued"], count);
    let (idle, most) = memory(&daemon);
    let listed = setup.run(&["queue", "list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&format!(" Kbytes in {count} Requests.")), "{listed:?}");
    let (_, most_listing) = memory(&daemon);
    // Each is tried once, so that each has a last reply.
    relay_host
        .now(honest.clone().says("RCPT", "451 4.2.1 The mailbox cannot be written at the moment, try again later"));
    daemon.flush();
    let until = Instant::now() + Duration::from_secs(900);
    while daemon.status()["counts"]["deferred"].as_u64() < Some(count as u64) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
    }
    let (_, most_deferred) = memory(&daemon);
    daemon.kill();
    relay_host.now(honest);
    let began = Instant::now();
    let daemon = setup.start();
    daemon.flush();
    relay_host.taken(1);
    let (first, processor) = (began.elapsed(), processor_time(&daemon));
    eprintln!(
        "{count} entries: start {started:.2?}, the first delivery after {first:.2?} ({processor:.2?} of processor); memory {idle} KiB, at most {most} KiB, \
         {most_listing} KiB with a listing, {most_deferred} KiB with a last reply each"
    );
    // The figures aimed at are for the release build; this one is several times slower, and shares the machine.
    assert!(started.max(first) < Duration::from_secs(if is_trial() { 2 } else { 10 }), "{started:?}, {first:?}");
    assert!(most_deferred < 96 * 1024, "{most_deferred} KiB");
}

fn is_trial() -> bool {
    std::env::var_os("TRIAL_PROGRAM").is_some()
}

/// What the daemon has computed so far, on all cores together.
fn processor_time(daemon: &Daemon<'_>) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.id())).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split(' ').collect();
    // utime and stime, in hundredths of a second on every Linux.
    let ticks: u64 = [12, 13].iter().map(|nth| fields[*nth].parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory now and at its highest, KiB.
fn memory(daemon: &Daemon<'_>) -> (usize, usize) {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("a process");
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    (value("VmRSS:"), value("VmHWM:"))
}

/// Makes `count` entries of the one that waits, each with its own number.
fn multiply(setup: &Setup, count: usize) {
    use sha2::{Digest, Sha256};
    let path = setup.spooled("queue").remove(0);
    let octets = fs::read(&path).expect("an entry");
    let end = octets.iter().position(|&octet| octet == b'\n').expect("a header line");
    let line = String::from_utf8(octets[..end].to_vec()).expect("text");
    let (magic, json) = (&line[..18], &line[18 + 65..]);
    let first = u64::from_str_radix(&path.file_name().expect("a name").to_string_lossy()[..13], 16).expect("a time");
    let mut header: serde_json::Value = serde_json::from_str(json).expect("JSON");
    for nth in 2..=count as u64 {
        header["sequence"] = nth.into();
        let json = header.to_string();
        let digest = Sha256::new_with_prefix(&json).chain_update(&octets[end..]).finalize();
        let digest: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
        let entry = [format!("{magic}{digest} {json}").as_bytes(), &octets[end..]].concat();
        fs::write(path.with_file_name(format!("{:013X}{:06X}", first + nth, nth & 0xFF_FFFF)), entry).expect("written");
    }
}

/// The library that sets a process's clock.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let library = libraries.find(|library| library.exists());
    met(library.is_some(), "libfaketime, which tests/run.sh brings").then_some(library)?
}
