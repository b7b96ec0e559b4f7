//! What a CRIU that was killed leaves behind.
//!
//! Processes that it was reviving wait for ever for its next word, with its log still
//! open; they hold their numbers, and nothing else gets rid of them. Those that are
//! done have closed it, and run. Processes that it was writing down go on, but their
//! connections stay as they were for that: in repair mode (`TCP_REPAIR`), in which
//! they neither send nor receive.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    descriptors, gone,
    guard::below,
    images::{TREE, tree},
};
use crate::{
    error::{Error, Kind},
    process::Tree,
};

/// How long killed processes may take to go.
const GOING: Duration = Duration::from_secs(5);
/// `TCP_REPAIR_OFF` and `TCP_REPAIR_ON`, of `linux/tcp.h`.
const OFF: i32 = 0;
const ON: i32 = 1;

/// Whether a CRIU that nobody waits for is still at work in the folder `images`. It has
/// its log open from beginning to end.
#[must_use]
pub fn works(images: &Path) -> bool {
    let made = in_tree(images);
    holders(images).iter().any(|pid| !made.contains(pid))
}

/// Ends the processes that are half made from `images`: they have never run. Their peers hear
/// nothing of it, though their sockets may speak already.
///
/// # Errors
/// One of them does not go.
pub fn clear(images: &Path) -> Result<(), Error> {
    let made = in_tree(images);
    let half: Vec<i32> = holders(images).into_iter().filter(|pid| made.contains(pid)).collect();
    half.iter().for_each(|&pid| silence(pid));
    for &pid in &half {
        // It may have gone by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    gone::wait(Path::new("/proc"), &half, GOING)
}

/// Has the TCP connections of the process `pid` end without a word.
fn silence(pid: i32) {
    // Of one that has gone by itself, they have ended.
    for (_, socket) in descriptors::sockets(pid).unwrap_or_default() {
        // Listeners, and sockets of other protocols, have none.
        let _ = descriptors::set(&socket, libc::IPPROTO_TCP, libc::TCP_REPAIR, &ON.to_ne_bytes());
    }
}

/// Kills what works in the folder `images` for this process, but for those in `spared`:
/// once the processes that it has revived are dead, CRIU may wait for them for ever.
pub(super) fn abandon(images: &Path, spared: &[i32]) {
    let ours = below(std::process::id().cast_signed());
    let works = |pid: &i32| ours.contains(pid) && !spared.contains(pid);
    for pid in holders(images).into_iter().filter(works) {
        // It may have come to its end by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Has the connections of the process `pid`, and of all below it, go on.
///
/// # Errors
/// There is no such process, or it may not be looked at.
pub fn go_on(pid: i32) -> Result<(), Error> {
    let failed = |why: std::io::Error| {
        let what = format!("the connections of process {pid} may not go on: {why}");
        Error::new(Kind::Failed, what).cure(format!("restart process {pid}"))
    };
    for process in Tree::of(pid)?.running() {
        for (_, socket) in descriptors::sockets(process.pid).map_err(failed)? {
            let (level, option) = (libc::IPPROTO_TCP, libc::TCP_REPAIR);
            if descriptors::number(&socket, level, option).is_some_and(|mode| mode != OFF) {
                descriptors::set(&socket, level, option, &OFF.to_ne_bytes()).map_err(failed)?;
            }
        }
    }
    Ok(())
}

/// The processes whose images are in the folder, if CRIU has come so far.
fn in_tree(images: &Path) -> BTreeSet<i32> {
    let tree = fs::read(images.join(TREE)).ok().and_then(|tree| tree::processes(&tree).ok());
    tree.into_iter().flatten().map(|process| process.pid).collect()
}

/// The processes, other than this one, that have a file in the folder open to write.
/// Who only looks at one, as people do at a log, is none of ours.
fn holders(images: &Path) -> Vec<i32> {
    let own = std::process::id().cast_signed();
    let holds = |pid: &i32| {
        let mut open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|file| file.starts_with(images))
                && fd.file_name().to_str().is_some_and(|fd| writes(*pid, fd))
        })
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // It may have begun its program after the first look, and closed our files by that.
    let keeps = |pid: &i32| holds(pid) && !begins(*pid) && holds(pid);
    pids.filter(|&pid| pid != own).filter(keeps).collect()
}

/// Whether the process `pid` is a child that another thread of this process starts, and
/// does not run its program yet: until then it has all our files open.
fn begins(pid: i32) -> bool {
    let of = |pid: &str, what: &str| Path::new("/proc").join(pid).join(what);
    let pid = pid.to_string();
    let status = fs::read_to_string(of(&pid, "status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let ours = parent.is_some_and(|parent| parent.trim() == std::process::id().to_string());
    let program = |pid: &str| fs::read_link(of(pid, "exe")).ok();
    // A program that is being loaded has no command line; the files are closed before it has.
    let loads = || fs::read(of(&pid, "cmdline")).is_ok_and(|line| line.is_empty());
    ours && (program(&pid) == program("self") || loads())
}

/// Whether the process `pid` may write to what it has open as `fd`.
fn writes(pid: i32, fd: &str) -> bool {
    let told = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read as _},
        net::{TcpListener, TcpStream},
        os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
        process::{Command, Stdio},
    };

    use super::*;
    use crate::migrate::criu::begun::Begun;

    #[test]
    fn a_child_that_begins_does_not_work_here_and_is_not_harmed() {
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("restore.log")).unwrap();
        let child = Begun::with(&log);
        assert!(!works(folder.path()));
        abandon(folder.path(), &[]);
        assert!(child.lives());
    }

    #[test]
    fn who_works_in_a_folder_is_seen_and_not_harmed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!works(folder.path()));
        let log = fs::File::create(folder.path().join("restore.log")).unwrap();
        assert!(!works(folder.path()), "this process does not count");
        let mut child = Command::new("sleep").arg("60").stdout(Stdio::from(log)).spawn().unwrap();
        assert!(works(folder.path()));
        // It is in no image, and so none that CRIU has made.
        clear(folder.path()).unwrap();
        abandon(folder.path(), &[child.id().cast_signed()]);
        assert!(child.try_wait().unwrap().is_none());
        abandon(folder.path(), &[]);
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        assert!(!works(folder.path()));
    }

    #[test]
    fn the_peer_of_who_is_silenced_hears_no_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = Stdio::from(OwnedFd::from(accepted));
        let mut child = Command::new("sleep").arg("60").stdin(accepted).spawn().unwrap();
        silence(child.id().cast_signed());
        child.kill().unwrap();
        child.wait().unwrap();
        // There is no socket any more; what it hears now is of its own making.
        peer.set_nonblocking(true).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn who_only_looks_on_is_not_waited_for_and_not_harmed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("dump.log");
        fs::write(&log, "(00.000000) Version: 4.2").unwrap();
        let log = fs::File::open(&log).unwrap();
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::from(log)).spawn().unwrap();
        assert!(!works(folder.path()));
        abandon(folder.path(), &[]);
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
