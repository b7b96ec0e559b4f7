//! Killing processes, and waiting until killed processes have gone, so that their numbers are free.
//!
//! A killed process stays as a zombie until its parent has noticed, and CRIU
//! revives no process whose number a zombie still has.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::Signal,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use crate::error::{Error, Kind};

/// How often is looked. Short against what a parent takes to notice.
const LOOK: Duration = Duration::from_millis(1);

/// Kills `pids`, silently for their peers if they are frozen by CRIU: their sockets
/// are in repair mode then.
///
/// # Errors
/// The kernel refuses; the first that it refuses is named. One that is dead already
/// is none.
pub fn kill(pids: &[i32]) -> Result<(), Error> {
    for &pid in pids {
        match nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                let what = format!("cannot kill process {pid}: {errno}");
                return Err(Error::new(Kind::NotPermitted, what));
            }
        }
    }
    Ok(())
}

/// Waits until none of `pids` is there any more, as the folder `proc` of their
/// PID namespace shows it; reaps those that are children of this process.
///
/// # Errors
/// Some are still there after `limit`; the first is named, with its parent.
pub fn wait(proc: &Path, pids: &[i32], limit: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + limit;
    loop {
        // Numbers of this process's own PID namespace only.
        if proc == Path::new("/proc") {
            reap(pids);
        }
        let Some(left) = pids.iter().find(|pid| proc.join(pid.to_string()).exists()) else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(still_there(proc, *left, limit));
        }
        thread::sleep(LOOK);
    }
}

fn reap(pids: &[i32]) {
    for &pid in pids {
        // Those that are not our children are their own parents' to reap.
        let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
    }
}

fn still_there(proc: &Path, pid: i32, limit: Duration) -> Error {
    let status = fs::read_to_string(proc.join(pid.to_string()).join("status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map_or("unknown", str::trim)
    };
    let (state, parent) = (field("State"), field("PPid"));
    Error::new(
        Kind::Failed,
        format!("process {pid} is still there after {limit:?} (state {state}, parent {parent})"),
    )
    .cure(format!("a zombie goes when its parent waits for it: see to process {parent}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const PROC: &str = "/proc";

    #[test]
    #[expect(clippy::zombie_processes, reason = "this is what is tested")]
    fn a_dead_child_of_ours_is_reaped() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().cast_signed();
        kill(&[pid]).unwrap();
        wait(Path::new(PROC), &[pid], Duration::from_secs(10)).unwrap();
        assert!(!Path::new(PROC).join(pid.to_string()).exists());
    }

    #[test]
    fn one_that_stays_is_named() {
        let own = std::process::id().cast_signed();
        let error = wait(Path::new(PROC), &[own], Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains(&format!("process {own} is still there")), "{error}");
        assert!(error.contains("cure: "), "{error}");
    }
}
