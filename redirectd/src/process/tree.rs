//! A process with all its descendants and threads.

use std::collections::{BTreeMap, BTreeSet};

use procfs::{ProcError, process};
use serde::{Deserialize, Serialize};

use super::failure::unreadable;
use crate::error::{Error, Kind};

/// One process of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id, as whoever looked sees it.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// What the kernel calls it: at most 15 bytes, any characters.
    pub name: String,
    /// The user it acts as.
    pub user: u32,
    /// The session it belongs to, by the id of its leader.
    pub session: i32,
    /// The debugger that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracer: Option<i32>,
    /// The ids of its threads in the pid namespace they live in, the first thread
    /// first: those it must have again wherever it goes on.
    pub threads: Vec<i32>,
    /// It has ended, and waits for its parent to take note.
    pub ended: bool,
}

/// A process and its descendants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// At least one: the one it is about; parents come before their children.
    pub processes: Vec<Process>,
}

/// `PF_KTHREAD` of `include/linux/sched.h`: a thread of the kernel.
const KERNEL_THREAD: u32 = 0x0020_0000;

impl Tree {
    /// The tree of process `pid`.
    ///
    /// # Errors
    /// There is no such process, it is a thread of another one or of the kernel,
    /// it has ended, or this user may not look at it.
    pub fn of(pid: i32) -> Result<Self, Error> {
        let root = process::Process::new(pid).map_err(|why| unreadable(pid, "state", why))?;
        check(pid, &root)?;
        let mut processes = vec![read(&root).map_err(|why| unreadable(pid, "state", why))?];
        for pid in descendants(pid, &parents()?) {
            match process::Process::new(pid).and_then(|process| read(&process)) {
                Ok(process) => processes.push(process),
                // It has ended meanwhile.
                Err(ProcError::NotFound(_)) => {}
                Err(why) => return Err(unreadable(pid, "state", why)),
            }
        }
        Ok(Self { processes })
    }

    /// The process it is about.
    #[must_use]
    pub fn root(&self) -> &Process {
        &self.processes[0]
    }

    /// Those that run, and so have memory and open files.
    pub fn running(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| !process.ended)
    }

    /// Their ids.
    #[must_use]
    pub fn pids(&self) -> BTreeSet<i32> {
        self.processes.iter().map(|process| process.pid).collect()
    }
}

/// Whether `pid` is a process that can have sockets and files.
fn check(pid: i32, process: &process::Process) -> Result<(), Error> {
    let status = process.status().map_err(|why| unreadable(pid, "state", why))?;
    let stat = process.stat().map_err(|why| unreadable(pid, "state", why))?;
    let kernel = stat.flags & KERNEL_THREAD != 0;
    refusal(pid, &status.name, status.tgid, kernel, has_ended(&stat)).map_or(Ok(()), Err)
}

/// What keeps `pid`, called `name`, of the thread group `group`, from being looked
/// at as a process.
fn refusal(pid: i32, name: &str, group: i32, kernel: bool, ended: bool) -> Option<Error> {
    let name = name.escape_debug();
    let (kind, what, cure) = if group != pid {
        (
            Kind::Usage,
            format!("{pid} is a thread of process {group} ({name})"),
            format!("name the process: {group}"),
        )
    } else if kernel {
        (
            Kind::Usage,
            format!("process {pid} ({name}) is a thread of the kernel and stays where it is"),
            "name the process of a program".to_owned(),
        )
    } else if ended {
        (
            Kind::NotFound,
            format!("process {pid} ({name}) has ended, and waits for its parent to take note"),
            "`ps -e` lists those that run".to_owned(),
        )
    } else {
        return None;
    };
    Some(Error::new(kind, what).cure(cure))
}

fn has_ended(stat: &process::Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x')
}

fn read(process: &process::Process) -> Result<Process, ProcError> {
    let stat = process.stat()?;
    let status = process.status()?;
    let mut threads = BTreeSet::new();
    for thread in process.tasks()?.flatten() {
        match thread.status() {
            Ok(status) => threads.insert(innermost(&status)),
            Err(ProcError::NotFound(_)) => continue,
            Err(why) => return Err(why),
        };
    }
    let first = innermost(&status);
    threads.remove(&first);
    Ok(Process {
        pid: stat.pid,
        parent: stat.ppid,
        session: stat.session,
        ended: has_ended(&stat),
        tracer: (status.tracerpid != 0).then_some(status.tracerpid),
        user: status.euid,
        name: status.name,
        threads: [first].into_iter().chain(threads).collect(),
    })
}

/// The id in the innermost of the pid namespaces, each of which gives its own.
fn innermost(status: &process::Status) -> i32 {
    status.nspid.as_ref().and_then(|ids| ids.last().copied()).unwrap_or(status.pid)
}

/// Every process with its parent.
fn parents() -> Result<Vec<(i32, i32)>, Error> {
    let all = process::all_processes().map_err(|why| {
        Error::new(Kind::Failed, format!("cannot read /proc: {why}"))
            .cure("`mount -t proc proc /proc`")
    })?;
    // Those that end meanwhile are nobody's loss.
    Ok(all.flatten().filter_map(|p| p.stat().ok()).map(|stat| (stat.pid, stat.ppid)).collect())
}

/// The descendants of `root`, each after its parent.
fn descendants(root: i32, parents: &[(i32, i32)]) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for &(pid, parent) in parents {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        // Taken out, so that even ids that were used again meanwhile make no circle.
        for child in children.remove(&pid).unwrap_or_default() {
            found.push(child);
            next.push(child);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn our_own_tree_has_our_threads_and_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = std::process::id().cast_signed();
        let tree = Tree::of(pid).unwrap();
        assert_eq!(tree.root().pid, pid);
        assert!(tree.root().threads.len() > 1, "the test's own thread: {tree:?}");
        assert_eq!(tree.root().threads[0], pid);
        let sleep = tree.processes.iter().find(|p| p.pid == child.id().cast_signed()).unwrap();
        assert_eq!((sleep.parent, sleep.ended), (pid, false));
        child.kill().unwrap();
        // Not waited for yet, it is still there.
        while Tree::of(child.id().cast_signed()).is_ok() {
            std::thread::yield_now();
        }
        let tree = Tree::of(pid).unwrap();
        assert!(tree.processes.iter().any(|p| p.pid == child.id().cast_signed() && p.ended));
        let error = Tree::of(child.id().cast_signed()).unwrap_err();
        assert!(error.what.contains("has ended"), "{error}");
        child.wait().unwrap();
        assert_eq!(Tree::of(child.id().cast_signed()).unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn a_thread_of_the_kernel_is_no_program() {
        let error = refusal(2, "kthreadd", 2, true, false).unwrap();
        assert!(error.what.contains("(kthreadd) is a thread of the kernel"), "{error}");
        assert_eq!(refusal(700, "nginx", 700, false, false), None);
    }

    #[test]
    fn a_thread_is_named_with_its_process() {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            std::thread::park();
        });
        let error = Tree::of(told.recv().unwrap()).unwrap_err();
        assert_eq!(error.kind, Kind::Usage);
        assert!(error.what.contains(&format!("of process {} ", std::process::id())), "{error}");
    }

    proptest! {
        #[test]
        fn all_descendants_come_once_and_after_their_parents(
            picks in prop::collection::vec(0usize..1000, 1..60),
            root in 0usize..60,
        ) {
            // Process n + 2 is a child of one of those before it, or of 1.
            let parents: Vec<(i32, i32)> = picks
                .iter()
                .enumerate()
                .map(|(n, pick)| (n as i32 + 2, (pick % (n + 1)) as i32 + 1))
                .collect();
            let root = (root % (picks.len() + 1)) as i32 + 1;
            let found = descendants(root, &parents);
            let parent = |pid| parents.iter().find(|p| p.0 == pid).map(|p| p.1);
            for (place, &pid) in found.iter().enumerate() {
                prop_assert!(!found[..place].contains(&pid));
                let parent = parent(pid).unwrap();
                prop_assert!(parent == root || found[..place].contains(&parent));
            }
            for &(pid, _) in &parents {
                let mut above = parent(pid);
                while let Some(up) = above && up != root {
                    above = parent(up);
                }
                prop_assert_eq!(above == Some(root), found.contains(&pid));
            }
        }
    }
}
