//! The namespaces that processes live in, which are not always ours.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    thread,
};

use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use super::{failure::unreadable_io, tree::Tree};
use crate::error::{Error, Kind};

/// Where a tree lives, seen from whoever looked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// The kinds of namespaces, such as `net`, in which the tree's first process is
    /// elsewhere.
    pub elsewhere: Vec<String>,
    /// The first process that lives in another pid namespace than the tree's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nested: Option<i32>,
}

impl Namespaces {
    /// Those of `tree`.
    ///
    /// # Errors
    /// This user may not see them.
    pub(super) fn of(tree: &Tree) -> Result<Self, Error> {
        let root = tree.root().pid;
        let mut elsewhere = Vec::new();
        for kind in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
            // Old kernels lack some kinds; everybody is in the same place then.
            let ours = fs::metadata(format!("/proc/thread-self/ns/{kind}"));
            if let Ok(ours) = ours.map(|file| file.ino())
                && id(root, kind)? != ours
            {
                elsewhere.push(kind.to_owned());
            }
        }
        let pids = id(root, "pid")?;
        let mut others = tree.running().map(|process| process.pid);
        // Those that have ended since the tree was read are nowhere.
        let nested = others.find(|&pid| id(pid, "pid").is_ok_and(|id| id != pids));
        Ok(Self { elsewhere, nested })
    }

    /// Whether the tree's first process is in another one of `kind`.
    #[must_use]
    pub fn differ(&self, kind: &str) -> bool {
        self.elsewhere.iter().any(|other| other == kind)
    }
}

/// What tells one namespace from all others while it exists: the inode of
/// its file on the kernel's nsfs.
pub(super) type Id = u64;

/// The network namespace of process `pid`.
///
/// # Errors
/// There is no such process, or this user may not look at it.
pub(super) fn network_of(pid: i32) -> Result<Id, Error> {
    id(pid, "net")
}

/// The IPC namespace of process `pid`.
///
/// # Errors
/// There is no such process, or this user may not look at it.
pub(super) fn ipc_of(pid: i32) -> Result<Id, Error> {
    id(pid, "ipc")
}

fn id(pid: i32, kind: &str) -> Result<Id, Error> {
    let file = fs::metadata(format!("/proc/{pid}/ns/{kind}"));
    file.map(|file| file.ino()).map_err(|why| unreadable_io(pid, "namespaces", &why))
}

/// Whether process `pid` is in the network namespace of this thread.
///
/// # Errors
/// There is no such process, or this user may not look at it.
pub(super) fn same_network(pid: i32) -> Result<bool, Error> {
    Ok(network_of(pid)? == ours()?)
}

/// Checks that `tree` is in the network namespace of this thread.
///
/// # Errors
/// It is not, or this user may not look.
pub fn must_be_in_this_network(tree: &Tree) -> Result<(), Error> {
    let root = tree.root();
    if same_network(root.pid)? {
        return Ok(());
    }
    let what = format!(
        "process {} ({}) is in another network namespace: its addresses are not home's",
        root.pid,
        root.name.escape_debug()
    );
    Err(Error::new(Kind::Failed, what).cure(
        "name the home endpoints by which peers reach it: `redirect add NAME HOME --to HOST`",
    ))
}

fn ours() -> Result<Id, Error> {
    fs::metadata("/proc/thread-self/ns/net").map(|file| file.ino()).map_err(|why| {
        Error::new(Kind::Failed, format!("cannot read /proc/thread-self/ns/net: {why}"))
            .cure("`mount -t proc proc /proc`")
    })
}

/// Calls `code` in the network namespace of process `pid`: here if that is ours,
/// else on a thread that has gone there.
///
/// # Errors
/// This user may not go there, or `code` fails.
pub(super) fn inside_network_of<T: Send>(
    pid: i32,
    code: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    if same_network(pid)? {
        return code();
    }
    let inside = || {
        let enter = |file: File| setns(file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
        File::open(format!("/proc/{pid}/ns/net"))
            .and_then(enter)
            .map_err(|why| unreadable_io(pid, "network namespace", &why))?;
        code()
    };
    thread::scope(|scope| match scope.spawn(inside).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
