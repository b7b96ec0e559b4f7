//! A thread with a network, mounts and pins of its own. Nothing outlives its last
//! thread or process, however they end, so there is nothing to clean up.

use std::{fs, panic, path::Path, process::Command, thread};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

const NONE: Option<&str> = None;

/// Runs `test` on a thread that shares neither network nor mounts with anybody:
/// `lo` is up and there is no other interface, `/sys` shows this network, and
/// `/sys/fs/bpf` is empty.
pub(crate) fn apart(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("root");
        mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).unwrap();
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), NONE).unwrap();
        mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), NONE).unwrap();
        ip("link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        panic::resume_unwind(panic);
    }
}

/// Runs `ip` with the words of `arguments`, in the network of this thread.
#[track_caller]
pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Puts a file with `text` in the place of `path`, for this thread and its
/// children.
pub(crate) fn instead_of(path: &str, text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    mount(Some(file.path()), Path::new(path), NONE, MsFlags::MS_BIND, NONE).unwrap();
}
