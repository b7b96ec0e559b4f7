//! What the processes of a tree have open.

use std::path::PathBuf;

use procfs::{
    ProcError,
    process::{self, FDInfo, FDPermissions, FDTarget},
};

use super::{failure::unreadable, tree::Tree};
use crate::error::Error;

/// One open file descriptor of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// The process.
    pub(super) pid: i32,
    /// Its number there.
    pub(super) fd: i32,
    /// What it is.
    pub(super) open: Open,
    /// It may be written to.
    pub(super) writable: bool,
}

/// What a descriptor stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Open {
    /// A file, folder or device, as the kernel tells its path; ` (deleted)` behind
    /// it if it has none any more.
    Path(PathBuf),
    /// A socket, by its inode.
    Socket(u64),
    /// A pipe without a name, by its inode.
    Pipe(u64),
    /// An object of the kernel's without inode, such as `[eventpoll]`.
    Anonymous(String),
    /// A file in memory that never had a path (memfd_create), by its name.
    Memory(String),
    /// Anything else, as the kernel writes it: a namespace, for instance.
    Other(String),
}

/// All descriptors of `tree`.
///
/// # Errors
/// This user may not see them.
pub(super) fn of(tree: &Tree) -> Result<Vec<Descriptor>, Error> {
    let mut descriptors = Vec::new();
    for process in tree.running() {
        match of_process(process.pid) {
            Ok(open) => descriptors.extend(open),
            // A child that has ended since the tree was read.
            Err(ProcError::NotFound(_)) if process.pid != tree.root().pid => {}
            Err(why) => return Err(unreadable(process.pid, "open files", why)),
        }
    }
    Ok(descriptors)
}

/// Those of one process.
pub(super) fn of_process(pid: i32) -> Result<Vec<Descriptor>, ProcError> {
    let read = |fd: FDInfo| {
        let writable = fd.mode().contains(FDPermissions::WRITE);
        Descriptor { pid, fd: fd.fd, open: fd.target.into(), writable }
    };
    Ok(process::Process::new(pid)?.fd()?.flatten().map(read).collect())
}

impl From<FDTarget> for Open {
    fn from(target: FDTarget) -> Self {
        match target {
            // Of memfd_secret(2); it has no file.
            FDTarget::Path(path) if path.as_os_str() == "/secretmem (deleted)" => {
                Self::Anonymous("memfd_secret".to_owned())
            }
            FDTarget::Path(path) => Self::Path(path),
            FDTarget::Socket(inode) => Self::Socket(inode),
            FDTarget::Pipe(inode) => Self::Pipe(inode),
            FDTarget::AnonInode(name) => Self::Anonymous(name),
            FDTarget::MemFD(name) => Self::Memory(name),
            FDTarget::Net(inode) => Self::Other(format!("net:[{inode}]")),
            FDTarget::Other(kind, inode) => Self::Other(format!("{kind}:[{inode}]")),
            FDTarget::Unknown(kind, rest) => Self::Other(format!("{kind}:{rest}")),
        }
    }
}
