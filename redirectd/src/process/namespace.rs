//! The namespaces a process lives in: its network is not always ours.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::failure::unreadable_io;
use crate::error::{Error, Kind};

/// What tells one network namespace from all others while it exists: the inode of
/// its file on the kernel's nsfs.
pub(super) type Id = u64;

/// The network namespace of process `pid`.
///
/// # Errors
/// There is no such process, or this user may not look at it.
pub(super) fn network_of(pid: i32) -> Result<Id, Error> {
    let id = fs::metadata(path(pid)).map(|file| file.ino());
    id.map_err(|why| unreadable_io(pid, "network namespace", &why))
}

/// Whether process `pid` is in the network namespace of this thread.
///
/// # Errors
/// There is no such process, or this user may not look at it.
pub fn same_network(pid: i32) -> Result<bool, Error> {
    Ok(network_of(pid)? == ours()?)
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
        File::open(path(pid))
            .and_then(enter)
            .map_err(|why| unreadable_io(pid, "network namespace", &why))?;
        code()
    };
    thread::scope(|scope| match scope.spawn(inside).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn path(pid: i32) -> String {
    format!("/proc/{pid}/ns/net")
}
