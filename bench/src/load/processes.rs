//! The processes of a namespace.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Context, Result};

/// The ids of the processes that are in the network namespace `netns` (its
/// inode number) with all their threads. Threads of the bench that have
/// entered it are not among them.
///
/// # Errors
/// /proc cannot be read.
pub(crate) fn of(netns: u64) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse() else { continue };
        // One that has ended meanwhile is in no namespace.
        let inode = fs::metadata(entry.path().join("ns/net")).map_or(0, |file| file.ino());
        if inode == netns {
            found.push(id);
        }
    }
    Ok(found)
}

/// How many threads of the process `id` run, wait for a processor, or wait for
/// a disk: those that the kernel's load average counts.
pub(super) fn runnable(id: u32) -> usize {
    let folder = format!("/proc/{id}/task");
    // It may have ended.
    let Ok(threads) = Path::new(&folder).read_dir() else { return 0 };
    threads
        .flatten()
        .filter(|thread| {
            fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| is_runnable(&stat))
        })
        .count()
}

/// By the text of a thread's `stat`.
fn is_runnable(stat: &str) -> bool {
    // The name before it, in parentheses, may have any characters.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('R' | 'D'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_want_a_processor_are_runnable() {
        assert!(is_runnable("12 (so) R (cat) R 1 2 3"));
        assert!(is_runnable("12 (socat) D 1 2 3"));
        assert!(!is_runnable("12 (a) R) S 1 2 3"));
        assert!(!is_runnable(""));
    }

    #[test]
    fn this_process_is_in_its_namespace_and_runs() {
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        assert!(of(own).unwrap().contains(&std::process::id()));
        assert!(runnable(std::process::id()) > 0);
    }
}
