//! What the processes of a tree have mapped into their memory.

use procfs::{
    ProcError,
    process::{self, MMPermissions, MMapPath, MemoryMap},
};

use super::{failure::unreadable, namespace, tree::Tree};
use crate::error::Error;

/// What a mapping shows: a file, or memory that several processes may map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Object {
    pub(super) device: (i32, i32),
    pub(super) inode: u64,
    /// System V's numbers are not those of other memory: the IPC namespace whose
    /// number it is.
    pub(super) system_v: Option<namespace::Id>,
}

/// A mapping of a process that shows an [`Object`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) pid: i32,
    /// First byte, and first byte after it.
    pub(super) address: (u64, u64),
    pub(super) object: Object,
    /// What one process writes, others see.
    pub(super) shared: bool,
    pub(super) writable: bool,
    /// As the kernel tells it, ` (deleted)` included.
    pub(super) path: String,
}

/// All mappings of `tree` that show an object.
///
/// # Errors
/// This user may not see them.
pub(super) fn of(tree: &Tree) -> Result<Vec<Mapping>, Error> {
    let mut mappings = Vec::new();
    for process in tree.running() {
        match of_process(process.pid) {
            Ok(found) => mappings.extend(found),
            // A child that has ended since the tree was read.
            Err(ProcError::NotFound(_)) if process.pid != tree.root().pid => {}
            Err(why) => return Err(unreadable(process.pid, "memory", why)),
        }
    }
    Ok(mappings)
}

/// Those of one process.
pub(super) fn of_process(pid: i32) -> Result<Vec<Mapping>, ProcError> {
    let maps = process::Process::new(pid)?.maps()?;
    Ok(maps.into_iter().filter_map(|map| read(pid, map)).collect())
}

fn read(pid: i32, map: MemoryMap) -> Option<Mapping> {
    let (path, system_v) = match map.pathname {
        MMapPath::Path(path) => (path.to_string_lossy().into_owned(), false),
        MMapPath::Vsys(key) => (format!("System V shared memory with the key {key:#010x}"), true),
        MMapPath::Other(name) => (name, false),
        _ => return None,
    };
    // Whoever may see the mappings may see this, unless the process has just ended.
    let system_v = system_v.then(|| namespace::ipc_of(pid).unwrap_or_default());
    // The first System V segment has the number 0; everything else has an inode.
    (map.inode != 0 || system_v.is_some()).then_some(Mapping {
        pid,
        address: map.address,
        object: Object { device: map.dev, inode: map.inode, system_v },
        shared: map.perms.contains(MMPermissions::SHARED),
        writable: map.perms.contains(MMPermissions::WRITE),
        path,
    })
}
