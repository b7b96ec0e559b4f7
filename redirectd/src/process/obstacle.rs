//! One thing that is in the way of a move.

use serde::{Deserialize, Serialize};

/// One thing that is in the way of a move, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// Its class, for programs.
    pub reason: Reason,
    /// The process it is about.
    pub pid: i32,
    /// What it is; a sentence without a full stop that names the process.
    pub what: String,
    /// What to do about it; likewise.
    pub cure: String,
    /// The tree cannot move as long as it is so; otherwise it can, and something
    /// is lost or different afterwards.
    pub stops: bool,
}

/// The classes of obstacles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Its home is to keep it where it is.
    Locked,
    /// It is the first process of the machine.
    Init,
    /// Whoever asks would move as well.
    Asker,
    /// Its session has processes that stay.
    Session,
    /// It lives in namespaces that cannot be saved from here.
    Namespace,
    /// A debugger holds it.
    Debugger,
    /// A socket of Multipath TCP.
    MultipathTcp,
    /// A socket at an address that is another machine's elsewhere.
    LocalAddress,
    /// A socket of a protocol that cannot be saved, or means another thing
    /// elsewhere.
    SocketProtocol,
    /// A Unix socket whose other end stays.
    UnixSocket,
    /// A pipe whose other end stays.
    Pipe,
    /// Its terminal stays.
    Terminal,
    /// A device of this machine.
    Device,
    /// A file that was renamed, or deleted in one of its places.
    RenamedFile,
    /// Memory that processes share that stay.
    SharedMemory,
    /// Memory that belongs to the whole machine.
    SystemVMemory,
    /// An object of the kernel that cannot be saved.
    KernelObject,
    /// Not everything could be looked at.
    Incomplete,
    /// The machines' processors are of different kinds.
    Architecture,
    /// The host's processors lack features.
    CpuFeature,
    /// The host's kernel is older.
    Kernel,
    /// What saves and restores processes is missing or too old.
    Engine,
    /// The host has not enough memory.
    Memory,
    /// A process on the host has the same id.
    PidTaken,
    /// A process on the host has the same port.
    PortTaken,
    /// A file is not on the host.
    MissingFile,
    /// A file on the host is another one.
    DifferentFile,
}

impl Obstacle {
    pub(super) fn stop(reason: Reason, pid: i32, what: String, cure: impl Into<String>) -> Self {
        Self { reason, pid, what, cure: cure.into(), stops: true }
    }

    pub(super) fn loss(reason: Reason, pid: i32, what: String, cure: impl Into<String>) -> Self {
        Self { stops: false, ..Self::stop(reason, pid, what, cure) }
    }
}
