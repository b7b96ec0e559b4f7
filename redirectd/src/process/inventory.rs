//! All that a tree is made of, and the machine it has been running on.

use std::{collections::BTreeMap, env, fs};

use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use super::{
    cpu,
    descriptors::{self, Descriptor, Open},
    files::{self, UsedFile},
    maps,
    memory::{self, Memory},
    namespace::Namespaces,
    sockets::{self, Holder, Sockets},
    strangers::{self, Found, Sought, Stranger},
    tree::{Process, Tree},
};
use crate::error::{Error, Kind};

/// What would move with a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The process it is about, and then its descendants.
    pub processes: Vec<Process>,
    /// Their sockets.
    pub sockets: Sockets,
    /// Their pipes without a path.
    pub pipes: Vec<Pipe>,
    /// What else of the kernel's they have open.
    pub objects: Vec<KernelObject>,
    /// The files they use.
    pub files: Vec<UsedFile>,
    /// Their memory.
    pub memory: Memory,
    /// What they run on.
    pub machine: Machine,
    /// Where they live.
    pub namespaces: Namespaces,
    /// The one of them that is whoever asked for this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asker: Option<i32>,
    /// Not all other processes could be looked at, so that more may be shared with
    /// them than is said.
    pub incomplete: bool,
}

/// A pipe without a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipe {
    /// What tells it from all others.
    pub inode: u64,
    /// Who of the tree has it open, at either end.
    pub holders: Vec<Holder>,
    /// Others that have it open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strangers: Vec<Stranger>,
}

/// An object of the kernel that is no file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelObject {
    /// What the kernel calls its kind, such as `[eventpoll]`.
    pub kind: String,
    /// Who has such ones open.
    pub holders: Vec<Holder>,
}

/// What programs may have come to count on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// As `uname -m` prints it.
    pub architecture: String,
    /// As `uname -r` prints it.
    pub kernel: String,
    /// Features of its processors, by the kernel's names.
    pub cpu_features: Vec<String>,
}

impl Inventory {
    /// What process `pid` and its descendants are made of; with what is in the
    /// files that are needed wherever they go, if `hash`.
    ///
    /// # Errors
    /// As for [`Tree::of`]; or this user may not see all of it.
    pub fn of(pid: i32, hash: bool) -> Result<Self, Error> {
        let tree = Tree::of(pid)?;
        let descriptors = descriptors::of(&tree)?;
        let mappings = maps::of(&tree)?;
        let mut sockets = sockets::of(&tree, &descriptors)?;
        let mut pipes = pipes(&descriptors);
        let found = strangers::look(&tree, &sought(&sockets, &pipes, &mappings))?;
        name_strangers(&mut sockets, &mut pipes, &found);
        Ok(Self {
            memory: memory::of(&tree, &mappings, &found)?,
            files: files::of(&tree, &descriptors, &mappings, hash),
            objects: objects(&tree, &descriptors),
            machine: Machine::this()?,
            namespaces: Namespaces::of(&tree)?,
            asker: asker(&tree),
            incomplete: found.incomplete,
            processes: tree.processes,
            sockets,
            pipes,
        })
    }

    /// The process it is about.
    #[must_use]
    pub fn root(&self) -> &Process {
        &self.processes[0]
    }
}

impl Machine {
    /// This machine.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn this() -> Result<Self, Error> {
        let features = cpu::features()
            .map_err(|why| Error::new(Kind::Failed, format!("cannot read /proc/cpuinfo: {why}")))?;
        let name = uname()
            .map_err(|why| Error::new(Kind::Failed, format!("cannot ask for the kernel: {why}")))?;
        Ok(Self {
            architecture: env::consts::ARCH.to_owned(),
            kernel: name.release().to_string_lossy().into_owned(),
            cpu_features: features.into_iter().collect(),
        })
    }
}

fn pipes(descriptors: &[Descriptor]) -> Vec<Pipe> {
    let mut holders: BTreeMap<u64, Vec<Holder>> = BTreeMap::new();
    for &Descriptor { pid, fd, ref open, .. } in descriptors {
        if let Open::Pipe(inode) = open {
            holders.entry(*inode).or_default().push(Holder { pid, fd });
        }
    }
    let pipe = |(inode, holders)| Pipe { inode, holders, strangers: Vec::new() };
    holders.into_iter().map(pipe).collect()
}

/// What is said of a pidfd that stands for a process that is not of the tree.
pub(super) const PIDFD_OF_STRANGER: &str = "pidfd of another process";

fn objects(tree: &Tree, descriptors: &[Descriptor]) -> Vec<KernelObject> {
    let own = tree.pids();
    let mut holders: BTreeMap<&str, Vec<Holder>> = BTreeMap::new();
    for &Descriptor { pid, fd, ref open, .. } in descriptors {
        let kind = match open {
            Open::Anonymous(kind) => kind,
            // `pidfd:[4711]`, `net:[4026531840]`: the number tells nothing.
            Open::Other(text) => text.split(':').next().unwrap_or(text),
            _ => continue,
        };
        let of_stranger =
            kind.contains("pidfd") && pidfd_target(pid, fd).is_some_and(|of| !own.contains(&of));
        let kind = if of_stranger { PIDFD_OF_STRANGER } else { kind };
        holders.entry(kind).or_default().push(Holder { pid, fd });
    }
    let object = |(kind, holders): (&str, _)| KernelObject { kind: kind.to_owned(), holders };
    holders.into_iter().map(object).collect()
}

/// The process that a pidfd stands for; -1 if it has ended.
fn pidfd_target(pid: i32, fd: i32) -> Option<i32> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

fn sought(sockets: &Sockets, pipes: &[Pipe], mappings: &[maps::Mapping]) -> Sought {
    let peers = sockets.unix.iter().filter_map(|socket| socket.peer.as_ref());
    let peers = peers.filter(|peer| peer.stranger).map(|peer| peer.inode);
    Sought {
        inodes: pipes.iter().map(|pipe| pipe.inode).chain(peers).collect(),
        memory: memory::sought(mappings),
    }
}

fn name_strangers(sockets: &mut Sockets, pipes: &mut [Pipe], found: &Found) {
    for pipe in pipes {
        pipe.strangers = found.of_inode(pipe.inode);
    }
    for peer in sockets.unix.iter_mut().filter_map(|socket| socket.peer.as_mut()) {
        if peer.stranger {
            peer.held_by = found.of_inode(peer.inode);
        }
    }
}

/// This process, if it is one of `tree`.
fn asker(tree: &Tree) -> Option<i32> {
    let own = std::process::id().cast_signed();
    tree.pids().contains(&own).then_some(own)
}
