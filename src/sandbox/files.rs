//! Files and ports, by Landlock.
//!
//! A rule is for a folder and all below it, never for a single file: whoever changes a file well writes a new one and
//! renames it into place, which a rule for the old one would not cover. A resolver that cannot read a new resolv.conf
//! would defer all mail for ever.

use std::collections::HashSet;
use std::env;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

use crate::config::Config;

/// Read by the system's libraries, whoever looks up a name or a user, or loads the system's roots. What is secret under
/// these is closed to the service's user.
const SYSTEM: [&str; 11] = [
    // resolv.conf, hosts, nsswitch.conf, passwd, the roots: renamed into place by DHCP clients and package managers.
    "/etc",
    // The name service's modules are loaded when they are first needed; the roots and the time zones are here too.
    "/usr",
    "/lib",
    "/lib64",
    // openSUSE's roots.
    "/var/lib/ca-certificates",
    // systemd-resolved's resolv.conf, and the users of systemd's services.
    "/run/systemd",
    // Clients' owners, control groups. A rule for /proc/self would end when the kernel forgets that entry.
    "/proc",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/null",
    "/dev/urandom",
];

/// The last one whose restrictions are known to do no harm here. A later one lets connections to Unix sockets be
/// restricted, which would have to spare journal, syslog and the name service's.
const KNOWN: ABI = ABI::V6;

/// What the daemon cannot do without.
pub struct Needs {
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    /// Folders that it makes sockets in.
    sockets: Vec<PathBuf>,
    /// TCP ports that it listens on.
    ports: Vec<u16>,
}

/// What is in force.
pub struct Walls {
    /// Under these lies whatever this process can still use.
    reachable: HashSet<Identity>,
    /// What is in force, for people.
    pub words: String,
}

/// The file system, and the number in it: the kernel's rules are for what a name led to when they were made.
#[derive(PartialEq, Eq, Hash)]
struct Identity(u64, u64);

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

impl Walls {
    /// Whether `path` is there and lies where this process can use nothing. Looking at what is there is still allowed; what
    /// is not there nobody hides.
    pub fn hide(&self, path: &Path) -> bool {
        let real = real(path);
        let mut places = real.ancestors().filter_map(|place| place.metadata().ok());
        path.exists() && !places.any(|place| self.reachable.contains(&Identity::of(&place)))
    }
}

impl Needs {
    /// What `config` and the environment name.
    pub fn of(config: &Config) -> Self {
        let listen = [&config.listen.socket, &config.metrics.socket].into_iter().flatten().chain([&config.control]);
        let listen: Vec<&PathBuf> = listen.collect();
        let mut writable = vec![config.spool.clone(), config.state.clone()];
        writable.extend(config.metrics.textfile.as_deref().and_then(Path::parent).map(Path::to_owned));
        let is_written = |path: &&PathBuf| {
            listen.contains(path) || writable.contains(path) || config.metrics.textfile.as_ref() == Some(*path)
        };
        // Only these folders: beside them the IDS has its keys.
        let rules = &config.alerts.rules;
        let named = config.files.iter().filter(|path| !is_written(path) && !rules.contains(path)).chain([&config.file]);
        let mut readable: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
        readable.extend(named.flat_map(|path| places(path)));
        readable.extend(rules.iter().cloned());
        readable.extend(places(Path::new("/etc/resolv.conf")));
        readable.extend(env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from));
        readable.extend(env::var_os("SSL_CERT_FILE").iter().flat_map(|file| places(Path::new(file))));
        readable.extend(env::var_os("SSL_CERT_DIR").iter().flat_map(|folders| env::split_paths(folders)));
        let ports = config.listen.addresses.iter().chain(&config.metrics.listen).map(std::net::SocketAddr::port);
        Self {
            readable,
            sockets: listen.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect(),
            writable,
            ports: ports.collect(),
        }
    }
}

/// The folder a file is in, by its name and behind its links; the file itself, if that folder is the root.
fn places(file: &Path) -> [PathBuf; 2] {
    let place = |file: &Path| file.parent().filter(|folder| folder.parent().is_some()).unwrap_or(file).to_owned();
    [place(file), place(&real(file))]
}

/// Where `path` really is: its links followed as far as it exists.
fn real(path: &Path) -> PathBuf {
    let found = path.canonicalize().or_else(|error| {
        let (folder, name) = path.parent().zip(path.file_name()).ok_or(error)?;
        folder.canonicalize().map(|folder| folder.join(name))
    });
    found.unwrap_or_else(|_| path.to_owned())
}

/// Confines the calling thread, and all it starts from now on.
///
/// # Errors
/// The kernel has nothing that would do; in words for the log.
pub fn restrict(needs: &Needs) -> Result<Walls, &'static str> {
    let mut reachable = HashSet::new();
    let status = ruleset().and_then(|ruleset| with_rules(ruleset, needs, &mut reachable)?.restrict_self());
    match status {
        Ok(status) if status.ruleset != RulesetStatus::NotEnforced => {
            Ok(Walls { reachable, words: words(&status.ruleset, &status.landlock) })
        }
        _ => Err("this kernel has no Landlock that allows moves between folders (Linux 5.19), or it is switched off"),
    }
}

/// Everything that can be restricted, without harm, by the kernel that is there.
fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        // The first Landlock forbids every move between folders, and the spool lives by them.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        // Outgoing ports are free: those of relay hosts may change with a reload, the resolver has its own, and UDP knows
        // no restriction, so it would stop no one.
        .handle_access(AccessNet::BindTcp)?
        .scope(scopes())?
        .create()
}

/// No signal to other processes, no abstract Unix socket of theirs, unless systemd's is one.
fn scopes() -> BitFlags<Scope> {
    let notify = env::var_os("NOTIFY_SOCKET").is_some_and(|name| name.as_encoded_bytes().starts_with(b"@"));
    if notify { Scope::Signal.into() } else { Scope::Signal | Scope::AbstractUnixSocket }
}

fn with_rules(
    mut ruleset: RulesetCreated,
    needs: &Needs,
    reachable: &mut HashSet<Identity>,
) -> Result<RulesetCreated, RulesetError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let write =
        read | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer});
    let listen = make_bitflags!(AccessFs::{MakeSock | RemoveFile});
    let rules = needs.readable.iter().map(|path| (path, read));
    let rules = rules.chain(needs.writable.iter().map(|path| (path, write)));
    for (path, access) in rules.chain(needs.sockets.iter().map(|path| (path, listen))) {
        // What is not there can have no rule, and stays out of reach when it comes.
        let (Ok(handle), Ok(metadata)) = (PathFd::new(path), path.metadata()) else { continue };
        let access = if metadata.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
        reachable.insert(Identity::of(&metadata));
        ruleset = ruleset.add_rule(PathBeneath::new(handle, access))?;
    }
    for port in &needs.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    Ok(ruleset)
}

fn words(ruleset: &RulesetStatus, landlock: &LandlockStatus) -> String {
    let LandlockStatus::Available { effective_abi, .. } = landlock else { return "in force".to_owned() };
    let abi = format!("{effective_abi:?}");
    let part = if *ruleset == RulesetStatus::FullyEnforced { "" } else { ", as far as this kernel can" };
    format!("in force (ABI {}{part})", abi.trim_start_matches('V'))
}
