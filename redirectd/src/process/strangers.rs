//! Who outside of a tree has the other ends of what the tree has.

use std::collections::{BTreeMap, BTreeSet};

use procfs::{ProcError, process};
use serde::{Deserialize, Serialize};

use super::{
    descriptors::{self, Open},
    maps::{self, Object},
    tree::Tree,
};
use crate::error::{Error, Kind};

/// A process that is not of the tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stranger {
    /// Its id.
    pub pid: i32,
    /// What the kernel calls it.
    pub name: String,
}

/// `812 (cron)`
impl std::fmt::Display for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.pid, self.name.escape_debug())
    }
}

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sought {
    /// Inodes of pipes and of sockets, which the kernel takes from one sequence.
    pub(super) inodes: BTreeSet<u64>,
    /// What the tree shares.
    pub(super) memory: BTreeSet<Object>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    inodes: BTreeMap<u64, BTreeSet<Stranger>>,
    memory: BTreeMap<Object, BTreeSet<Stranger>>,
    /// What strangers may write to.
    pub(super) written: BTreeSet<Object>,
    /// Some processes are not this user's to look at.
    pub(super) incomplete: bool,
}

impl Found {
    /// Those that have the pipe or socket with this inode.
    pub(super) fn of_inode(&self, inode: u64) -> Vec<Stranger> {
        self.inodes.get(&inode).into_iter().flatten().cloned().collect()
    }

    /// Those that share `object`.
    pub(super) fn of_memory(&self, object: Object) -> Vec<Stranger> {
        self.memory.get(&object).into_iter().flatten().cloned().collect()
    }
}

/// Looks at all processes that are not of `tree`.
///
/// # Errors
/// There is no `/proc`.
pub(super) fn look(tree: &Tree, sought: &Sought) -> Result<Found, Error> {
    let own = tree.pids();
    let all = process::all_processes()
        .map_err(|why| Error::new(Kind::Failed, format!("cannot read /proc: {why}")))?;
    let mut found = Found::default();
    for process in all.flatten().filter(|process| !own.contains(&process.pid)) {
        // Others have ended meanwhile, or have nothing, as threads of the kernel.
        if let Err(ProcError::PermissionDenied(_)) = look_at(&process, sought, &mut found) {
            found.incomplete = true;
        }
    }
    Ok(found)
}

fn look_at(
    process: &process::Process,
    sought: &Sought,
    found: &mut Found,
) -> Result<(), ProcError> {
    let pid = process.pid;
    let stranger = Stranger { pid, name: process.stat()?.comm };
    for descriptor in descriptors::of_process(pid)? {
        if let Open::Pipe(inode) | Open::Socket(inode) = descriptor.open
            && sought.inodes.contains(&inode)
        {
            found.inodes.entry(inode).or_default().insert(stranger.clone());
        }
    }
    if sought.memory.is_empty() {
        return Ok(());
    }
    for mapping in maps::of_process(pid)?.into_iter().filter(|mapping| mapping.shared) {
        if sought.memory.contains(&mapping.object) {
            found.memory.entry(mapping.object).or_default().insert(stranger.clone());
            if mapping.writable {
                found.written.insert(mapping.object);
            }
        }
    }
    Ok(())
}
