//! How much memory a tree has, and what of it others share.

use std::collections::{BTreeMap, BTreeSet};

use procfs::{
    ProcError,
    process::{self, MemoryMaps},
};
use serde::{Deserialize, Serialize};

use super::{
    failure::unreadable,
    maps::{Mapping, Object},
    strangers::{Found, Stranger},
    tree::Tree,
};
use crate::error::Error;

/// The memory of a tree; sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// In memory now; what several processes of the tree share counts for each.
    pub resident: u64,
    /// In memory now; of what is shared with others, the part that is the tree's.
    pub proportional: u64,
    /// What no file holds, swapped out or not, so that it has to be copied when
    /// the tree moves.
    pub to_copy: u64,
    /// What several processes can map, each once.
    pub shared: Vec<SharedMemory>,
}

/// Memory that what one process writes is seen in by others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMemory {
    /// Its path or name.
    pub what: String,
    /// In bytes, as far as it is mapped.
    pub size: u64,
    /// Somebody may write to it.
    pub written: bool,
    /// It is of System V's kind: known to all processes of one IPC namespace.
    pub system_v: bool,
    /// The processes of the tree that have it, by their ids.
    pub processes: Vec<i32>,
    /// Others that have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strangers: Vec<Stranger>,
}

/// The memory of `tree`, whose mappings are `mappings`; of who shares them,
/// `found` was found.
///
/// # Errors
/// This user may not see it.
pub(super) fn of(tree: &Tree, mappings: &[Mapping], found: &Found) -> Result<Memory, Error> {
    let mut memory = Memory { shared: shared(mappings, found), ..Memory::default() };
    for process in tree.running() {
        let pid = process.pid;
        match process::Process::new(pid).and_then(|process| process.smaps_rollup()) {
            Ok(sums) => memory.add(&sums.memory_map_rollup),
            // A child that has ended since the tree was read.
            Err(ProcError::NotFound(_)) if pid != tree.root().pid => {}
            Err(why) => return Err(unreadable(pid, "memory", why)),
        }
    }
    Ok(memory)
}

impl Memory {
    fn add(&mut self, sums: &MemoryMaps) {
        for sums in sums {
            let of = |key: &str| sums.extension.map.get(key).copied().unwrap_or_default();
            self.resident += of("Rss");
            self.proportional += of("Pss");
            self.to_copy += of("Pss_Anon") + of("Pss_Shmem") + of("SwapPss");
        }
    }
}

/// What of `mappings` is to be looked for at strangers.
pub(super) fn sought(mappings: &[Mapping]) -> BTreeSet<Object> {
    mappings.iter().filter(|mapping| mapping.shared).map(|mapping| mapping.object).collect()
}

fn shared(mappings: &[Mapping], found: &Found) -> Vec<SharedMemory> {
    let mut objects: BTreeMap<Object, Vec<&Mapping>> = BTreeMap::new();
    for mapping in mappings.iter().filter(|mapping| mapping.shared) {
        objects.entry(mapping.object).or_default().push(mapping);
    }
    let describe = |(object, mappings): (Object, Vec<&Mapping>)| {
        let processes: BTreeSet<i32> = mappings.iter().map(|mapping| mapping.pid).collect();
        let size_in = |pid: &i32| -> u64 {
            let of_this = mappings.iter().filter(|mapping| mapping.pid == *pid);
            of_this.map(|mapping| mapping.address.1 - mapping.address.0).sum()
        };
        SharedMemory {
            what: mappings[0].path.trim_end_matches(" (deleted)").to_owned(),
            size: processes.iter().map(size_in).max().unwrap_or_default(),
            written: mappings.iter().any(|mapping| mapping.writable)
                || found.written.contains(&object),
            system_v: object.system_v.is_some(),
            strangers: found.of_memory(object),
            processes: processes.into_iter().collect(),
        }
    };
    objects.into_iter().map(describe).collect()
}
