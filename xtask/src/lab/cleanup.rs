//! Removes what labs made, whatever ends the run.
//!
//! Each thing that outlives its maker unless somebody removes it (a namespace,
//! a process group, a folder, cgroups) is held by a [`Token`]. Dropping the token
//! removes the thing; a signal removes the things of all tokens there are.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, MutexGuard, Once,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::PREFIX;

const NAMESPACES: &str = "/run/netns";
pub(super) const PINS: &str = "/sys/fs/bpf";
const CGROUPS: &str = "/sys/fs/cgroup";
/// How often it is tried to remove a cgroup whose last process is going.
const TRIES: u32 = 100;
/// What a shell shows for a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

static THINGS: Mutex<BTreeMap<u64, Thing>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Something to remove. The order is that of removal: processes let go of
/// namespaces, and both let go of files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    ProcessGroup(i32),
    Namespace(String),
    Cgroups(String),
    Folder(PathBuf),
}

/// Holds one thing; dropping the token removes it.
#[derive(Debug)]
pub(super) struct Token(u64);

impl Token {
    /// Holds the process group `leader`, all of which is killed.
    pub(super) fn process_group(leader: u32) -> Self {
        Self::hold(Thing::ProcessGroup(leader.cast_signed()))
    }

    /// Holds the network namespace `name` and all processes in it.
    pub(super) fn namespace(name: &str) -> Self {
        Self::hold(Thing::Namespace(name.to_owned()))
    }

    /// Holds a folder of files or of BPF pins, with all that is in it.
    pub(super) fn folder(path: &Path) -> Self {
        Self::hold(Thing::Folder(path.to_owned()))
    }

    /// Holds the cgroups `name` of every hierarchy, which a runtime of containers
    /// makes.
    pub(super) fn cgroups(name: &str) -> Self {
        Self::hold(Thing::Cgroups(name.to_owned()))
    }

    /// Lets go of the thing without removing it: it has gone by itself.
    pub(super) fn forget(&self) {
        things().remove(&self.0);
    }

    /// Removes the thing now.
    pub(super) fn remove(&self) {
        let thing = things().remove(&self.0);
        if let Some(thing) = thing {
            thing.remove();
        }
    }

    fn hold(thing: Thing) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        things().insert(id, thing);
        Self(id)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.remove();
    }
}

fn things() -> MutexGuard<'static, BTreeMap<u64, Thing>> {
    THINGS.lock().unwrap_or_else(|poison| poison.into_inner())
}

impl Thing {
    /// Removes it as far as that is possible: there is nobody left to tell.
    fn remove(&self) {
        match self {
            Self::ProcessGroup(leader) => {
                let _ = killpg(Pid::from_raw(*leader), Signal::SIGKILL);
            }
            Self::Namespace(name) => remove_namespace(name),
            Self::Cgroups(name) => remove_cgroups(name),
            Self::Folder(path) => {
                let _ = fs::remove_dir_all(path);
            }
        }
    }
}

/// Makes signals clean up, and removes what runs that were killed left behind.
/// Only the first call does something.
pub(super) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        remove_leftovers();
        // Also where a shell made us ignore SIGINT, as it does in the background.
        let set = ctrlc::set_handler(|| {
            eprintln!("\ninterrupted; removing what this run has made");
            remove_everything();
            std::process::exit(INTERRUPTED);
        });
        set.expect("nobody else in this process handles signals");
    });
}

/// Removes everything that is held, processes first.
fn remove_everything() {
    // The lock is kept, so that nobody makes anything new on the way out.
    let mut held = things();
    let mut things: Vec<Thing> = std::mem::take(&mut *held).into_values().collect();
    things.sort();
    for thing in &things {
        thing.remove();
    }
}

fn remove_namespace(name: &str) {
    let path = format!("{NAMESPACES}/{name}");
    let pids = Command::new("ip").args(["netns", "pids", name]).stderr(Stdio::null()).output();
    let pids = pids.map(|output| output.stdout).unwrap_or_default();
    for pid in String::from_utf8_lossy(&pids).lines().filter_map(|line| line.parse().ok()) {
        // A thread of our own may be inside, see Host::enter.
        if pid != std::process::id().cast_signed() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let _ = nix::mount::umount2(path.as_str(), nix::mount::MntFlags::MNT_DETACH);
    let _ = fs::remove_file(path);
}

/// All folders of cgroups: of each hierarchy, at any depth. A runtime of containers
/// makes its own below that of whoever runs it.
fn cgroups() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from(CGROUPS)];
    let mut next = 0;
    while let Some(folder) = found.get(next) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let paths: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
        found.extend(paths);
        next += 1;
    }
    found
}

fn remove_cgroups(name: &str) {
    for cgroup in cgroups().iter().filter(|cgroup| cgroup.ends_with(name)) {
        let going = |_: &u32| cgroup.exists() && fs::remove_dir(cgroup).is_err();
        for _ in (0..TRIES).take_while(going) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Removes namespaces, cgroups, pins and folders whose makers are gone.
fn remove_leftovers() {
    for name in cgroups().iter().flat_map(|folder| orphans(folder)) {
        remove_cgroups(&name);
    }
    for name in orphans(Path::new(NAMESPACES)) {
        remove_namespace(&name);
    }
    for folder in [Path::new(PINS), &std::env::temp_dir()] {
        for name in orphans(folder) {
            let _ = fs::remove_dir_all(folder.join(name));
        }
    }
}

/// The entries of `folder` that a lab made whose process is gone.
fn orphans(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| maker(name).is_some_and(is_gone)).collect()
}

/// The process id in a lab's name.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_labs_name_tells_its_maker() {
        assert_eq!(maker("redirectd-test-4711-2-home"), Some(4711));
        assert_eq!(maker("redirectd-test-4711-2"), Some(4711));
        assert_eq!(maker("redirectd"), None);
        assert_eq!(maker("redirectd-test-x-2"), None);
        assert!(!is_gone(std::process::id()));
    }
}
