//! Home's pressure: how long its processes wait for their processor.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use anyhow::{Context, Result};

use super::processes;
use crate::{console::say, netns::Netns};

/// The share of time in which some process of home waited for a processor, from
/// [`Self::start`] on (the kernel's pressure stall information). Processes that
/// home starts later count if their parents do. When dropped, the processes are
/// where they were.
#[derive(Debug)]
pub(crate) struct HomePressure {
    /// A control group of our own.
    group: PathBuf,
    /// The one that home's processes were in.
    former: PathBuf,
    started: Instant,
    before: f64,
}

impl HomePressure {
    /// Begins to measure the processes that are in `home` now.
    ///
    /// # Errors
    /// There are no control groups of version 2, or the kernel has no pressure
    /// stall information.
    pub(crate) fn start(home: &Netns) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let root = cgroup2(&mounts).context("no cgroup2 file system is mounted")?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let group = root.join(format!("rdbench-{}-{number}", process::id()));
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let former = root.join(own_group(&own).trim_start_matches('/'));
        fs::create_dir(&group).with_context(|| format!("cannot make {}", group.display()))?;
        let mut pressure = Self { group, former, started: Instant::now(), before: 0.0 };
        for id in processes::of(home.id()?)? {
            enter(&pressure.group, id)?;
        }
        pressure.before = pressure.waited()?;
        pressure.started = Instant::now();
        Ok(pressure)
    }

    /// The share of the time since the start, 0 to 1.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(crate) fn share(&self) -> Result<f64> {
        Ok((self.waited()? - self.before) / self.started.elapsed().as_secs_f64())
    }

    /// Seconds waited in all.
    fn waited(&self) -> Result<f64> {
        let path = self.group.join("cpu.pressure");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("the kernel does not tell pressure: {}", path.display()))?;
        some_total(&text).with_context(|| format!("{} has no total: {text}", path.display()))
    }
}

impl Drop for HomePressure {
    fn drop(&mut self) {
        let left = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for id in left.lines().filter_map(|line| line.parse().ok()) {
            let _ = enter(&self.former, id);
        }
        if let Err(error) = fs::remove_dir(&self.group) {
            say(&format!("warning: {} is left behind: {error}", self.group.display()));
        }
    }
}

/// Moves the process `id` to `group`; one that has ended is nowhere.
fn enter(group: &Path, id: u32) -> Result<()> {
    match fs::write(group.join("cgroup.procs"), id.to_string()) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            Err(error).with_context(|| format!("cannot move process {id} to {}", group.display()))
        }
        _ => Ok(()),
    }
}

/// Where control groups of version 2 are, by the text of /proc/self/mountinfo.
fn cgroup2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        (right.split(' ').next()? == "cgroup2")
            .then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The group of version 2 in the text of /proc/self/cgroup.
fn own_group(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/")
}

/// Seconds in which some process waited, by the text of `cpu.pressure`.
fn some_total(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let micros: f64 = line.rsplit_once("total=")?.1.parse().ok()?;
    Some(micros / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let text = "some avg10=1.00 avg60=2.00 avg300=0.00 total=1500000\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(some_total(text), Some(1.5));
        let mounts = "40 31 0:37 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(own_group("1:cpu:/a\n0::/b/c\n"), "/b/c");
    }
}
