//! Who ends processes whose memory will not come.
//!
//! When the last descriptor of a userfaultfd closes, the kernel lets the process
//! that waits for a page run on with one full of zeros. That must not happen when
//! CRIU or redirectd dies while memory is still at home. So a small program of its
//! own has the same descriptors, and waits for a word from us; if we are gone
//! before the word, it kills the processes, and only then lets go.

use std::{
    fs, io,
    io::Write as _,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::descriptors::Process;

/// Waits for the word. Without it, kills the process `$1`, and what it has started
/// meanwhile: nobody forks who is stopped.
const WAIT: &str = "end() {
    kill -STOP \"$1\"
    for child in $(cat /proc/\"$1\"/task/*/children); do end \"$child\"; done
    kill -KILL \"$1\"
}
read -r word
[ \"$word\" = over ] && exit
for process; do end \"$process\"; done";

/// Ends processes when it is dropped, or when this process dies, without
/// [`Guard::release`].
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    /// Guards `processes`, parents before their children, which have
    /// `userfaults`.
    pub(super) fn new(processes: &[i32], userfaults: &[OwnedFd]) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", WAIT, "guard"]).args(processes.iter().map(i32::to_string));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let fds: Vec<RawFd> = userfaults.iter().map(AsRawFd::as_raw_fd).collect();
        // SAFETY: between fork and exec only setsid and fcntl are called, which are
        // async-signal-safe and touch no memory of ours.
        unsafe {
            command.pre_exec(move || {
                // What is typed at our terminal is not for it.
                nix::unistd::setsid()?;
                fds.iter().try_for_each(|fd| keep_open(*fd))
            });
        }
        command.spawn().map(Self)
    }

    /// All memory is there: the processes need no guard any more.
    pub(super) fn release(mut self) {
        if let Some(word) = &mut self.0.stdin {
            // Fails if it has ended, as somebody has killed it.
            let _ = word.write_all(b"over\n");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Ends `processes`, parents before their children, and what they have started.
///
/// # Errors
/// `sh` cannot be run.
pub(in crate::migrate) fn end(processes: &[i32]) -> io::Result<()> {
    Guard::new(processes, &[]).map(drop)
}

/// The userfaultfds of process `pid`, as descriptors of ours.
pub(super) fn userfaults(pid: i32) -> io::Result<Vec<OwnedFd>> {
    let process = Process::open(pid)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let fd = entry.file_name().to_str().and_then(|fd| fd.parse().ok());
        if let Some(fd) = fd.filter(|_| target.as_os_str() == "anon_inode:[userfaultfd]") {
            found.push(process.descriptor(fd)?);
        }
    }
    Ok(found)
}

/// The processes below `pid`, parents before their children.
pub(super) fn below(pid: i32) -> Vec<i32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children: Vec<i32> = threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
            .flat_map(|line| {
                line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
            })
            .collect();
        all.extend(children);
        next += 1;
    }
    all.remove(0);
    all
}

/// Lets the program that is executed next have `fd`.
pub(super) fn keep_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: the descriptor was open in the parent and no one closes it here.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::migrate::criu::gone;

    /// A shell with a child, both of which wait.
    fn tree() -> (Child, Vec<i32>) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 60 & echo started; wait"]).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut said = [0; 8];
        io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut said).unwrap();
        let pid = shell.id().cast_signed();
        let below = below(pid);
        assert_eq!(below.len(), 1, "{below:?}");
        (shell, [vec![pid], below].concat())
    }

    #[test]
    fn without_the_word_processes_end_with_what_they_have_started() {
        let (_shell, pids) = tree();
        drop(Guard::new(&pids[..1], &[]).unwrap());
        gone::wait(Path::new("/proc"), &pids[..1], Duration::from_secs(10)).unwrap();
        // Whoever adopts orphans here reaps it, or does not; dying takes a moment.
        let started = Instant::now();
        loop {
            let child = fs::read_to_string(format!("/proc/{}/stat", pids[1])).unwrap_or_default();
            if child.is_empty() || child.contains(") Z") {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{child}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn with_the_word_they_are_left_alone() {
        let (mut shell, pids) = tree();
        Guard::new(&pids, &[]).unwrap().release();
        assert!(shell.try_wait().unwrap().is_none());
        gone::kill(&pids).unwrap();
        shell.wait().unwrap();
    }
}
