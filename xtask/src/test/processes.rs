//! Sees the processes that tests leave behind, whatever they call themselves:
//! while the tests run, orphans become this process's children.

use std::{
    collections::BTreeMap,
    fmt, fs, process,
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};

/// How long a process may take to go after the test that started it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process that was left behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Leftover {
    pid: i32,
    command: String,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}: {}", self.pid, self.command)
    }
}

/// Makes every process whose parent ends a child of this one.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn adopt_orphans() -> Result<()> {
    prctl::set_child_subreaper(true).context("cannot adopt orphans")
}

/// Waits for `child`, and meanwhile lets adopted orphans that end go at once,
/// as they would without this process: a test may be waiting to see that.
///
/// # Errors
/// When waiting fails.
pub(super) fn wait_for(child: &mut Child) -> Result<ExitStatus> {
    let awaited = Pid::from_raw(child.id().cast_signed());
    loop {
        // Looks, and leaves the child to be waited for by its owner.
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(status) if status.pid() == Some(awaited) => return Ok(child.wait()?),
            Ok(status) => {
                if let Some(pid) = status.pid() {
                    waitpid(pid, None)?;
                }
            }
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the tests"),
        }
    }
}

/// The processes that the tests left behind; they are killed.
pub(super) fn left_behind() -> Vec<Leftover> {
    let deadline = Instant::now() + PATIENCE;
    let mut left = descendants();
    while !left.is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
        reap();
        left = descendants();
    }
    let seen = left.iter().map(|&pid| Leftover { pid, command: command(pid) }).collect();
    for pid in left {
        // All of them come from the tests. One that has gone meanwhile is fine.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    seen
}

/// Lets children go that have ended.
fn reap() {
    while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|s| s != WaitStatus::StillAlive) {}
}

/// All living processes below this one.
fn descendants() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents = pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent(&stat)?))
    });
    below(process::id().cast_signed(), &parents.collect())
}

/// The parent in a line of `/proc/PID/stat`, unless the process has ended and
/// only waits to be reaped.
fn parent(stat: &str) -> Option<i32> {
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z").then_some(parent)
}

/// The processes below `root`, given each one's parent.
fn below(root: i32, parents: &BTreeMap<i32, i32>) -> Vec<i32> {
    let is_below = |pid: &i32| {
        let mut ancestor = *pid;
        // No family is older than there are processes: a pid that is used again
        // while the list is read could make a circle.
        for _ in 0..parents.len() {
            match parents.get(&ancestor) {
                Some(&parent) if parent == root => return true,
                Some(&parent) => ancestor = parent,
                None => return false,
            }
        }
        false
    };
    parents.keys().copied().filter(is_below).collect()
}

fn command(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn children_and_their_children_are_below() {
        let parents =
            BTreeMap::from([(2, 1), (10, 2), (11, 10), (12, 11), (20, 1), (30, 31), (31, 30)]);
        assert_eq!(below(10, &parents), [11, 12]);
        assert_eq!(below(20, &parents), Vec::<i32>::new());
    }

    #[test]
    fn the_parent_is_read_past_any_name() {
        assert_eq!(parent("12 (a) Z (b) S 7 12 12 0"), Some(7));
        assert_eq!(parent("12 (dead) Z 7 12 12 0"), None);
    }

    #[test]
    fn a_living_child_is_seen_by_its_command() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        // Until the child has become another program, it has this one's name.
        let deadline = Instant::now() + PATIENCE;
        while command(pid) != "sleep 60" && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let (seen, command) = (descendants().contains(&pid), command(pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(seen);
        assert_eq!(command, "sleep 60");
        assert!(!descendants().contains(&pid));
    }
}
