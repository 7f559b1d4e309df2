//! A disk that gives back something else than was written.

use std::fs;
use std::path::PathBuf;

use super::client::send_alert;
use super::daemon::{Daemon, Setup};
use super::eventually;
use super::relay_host::{Act, RelayHost, Script};

/// An entry whose file `damage` changes while it waits, and that cannot even be set aside: a folder of its name lies in
/// `damaged/` already, and nothing is overwritten. The daemon, whose log says so, and that folder.
pub fn not_set_aside<'a>(
    setup: &'a Setup,
    relay_host: &RelayHost,
    damage: impl FnOnce(&mut Vec<u8>),
) -> (Daemon<'a>, PathBuf) {
    let identity = relay_host.identity();
    relay_host.now(Script::honest(&identity).at("greeting", Act::Close));
    let daemon = setup.start();
    send_alert(&daemon.address, "to be damaged");
    eventually("trouble", || daemon.status()["relays"][0]["trouble"].is_string().then_some(()));
    let entry = setup.spooled("queue").remove(0);
    let mut octets = fs::read(&entry).expect("the entry");
    damage(&mut octets);
    fs::write(&entry, octets).expect("damaged");
    let folder = setup.path("spool/damaged").join(entry.file_name().expect("a name"));
    fs::create_dir_all(&folder).expect("a folder in the way");
    relay_host.now(Script::honest(&identity));
    daemon.flush();
    eventually("the log to tell", || setup.log().contains("its file cannot be read").then_some(()));
    (daemon, folder)
}
