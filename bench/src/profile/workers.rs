//! Who does home's work, and how long by the scheduler's own account.

use std::{collections::HashSet, fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use anyhow::{Context, Result};

/// Processes that are in the network namespace with the inode `netns` now.
///
/// # Errors
/// /proc cannot be read.
pub(crate) fn processes_in(netns: u64) -> Result<HashSet<u32>> {
    let mut found = HashSet::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse() else { continue };
        // One that has just ended is none.
        let Ok(of) = fs::metadata(entry.path().join("ns/net")) else { continue };
        if of.ino() == netns {
            found.insert(process);
        }
    }
    Ok(found)
}

/// How long `processes` have run so far.
///
/// # Errors
/// One of them has ended, or the kernel keeps no such account.
pub(crate) fn time_of(processes: &HashSet<u32>) -> Result<Duration> {
    let mut nanoseconds = 0;
    for process in processes {
        let tasks = format!("/proc/{process}/task");
        let threads = fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))?;
        for thread in threads {
            nanoseconds += running(&thread?.path().join("schedstat"))?;
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// The first number of a thread's schedstat: nanoseconds on a processor.
fn running(path: &Path) -> Result<u64> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {shown} (a process of home's has ended?)"))?;
    let first = text.split_whitespace().next();
    first.and_then(|n| n.parse().ok()).with_context(|| format!("{shown} is `{}`", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_namespace_and_its_time_grows() {
        let netns = fs::metadata("/proc/self/ns/net").unwrap().ino();
        let own = std::process::id();
        assert!(processes_in(netns).unwrap().contains(&own));
        assert!(processes_in(1).unwrap().is_empty());
        let own = HashSet::from([own]);
        let before = time_of(&own).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(5) {}
        assert!(time_of(&own).unwrap() >= before + Duration::from_millis(1));
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(time_of(&HashSet::from([u32::MAX])).is_err());
    }
}
