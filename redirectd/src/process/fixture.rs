//! A process on paper, for tests of what is pure: nothing is in its way.

use super::{
    files::{FileKind, UsedFile},
    inventory::{Inventory, Machine},
    memory::{Memory, SharedMemory},
    namespace::Namespaces,
    sockets::{Holder, InetSocket, Sockets},
    strangers::Stranger,
    tree::Process,
};
use crate::rule::Protocol;

/// Process 7, `web`, with a child: it serves port 80, and has a library and a
/// folder.
pub(super) fn inventory() -> Inventory {
    Inventory {
        processes: vec![process(7, 1, "web"), process(8, 7, "worker")],
        sockets: Sockets { inet: vec![socket("0.0.0.0:80", None)], ..Sockets::default() },
        pipes: Vec::new(),
        objects: Vec::new(),
        files: vec![
            UsedFile { mapped: vec![7, 8], ..file("/usr/lib/libc.so.6", FileKind::File) },
            UsedFile { folder_of: vec![7, 8], ..file("/srv", FileKind::Folder) },
        ],
        memory: Memory { to_copy: 5_000_000, ..Memory::default() },
        machine: Machine {
            architecture: "x86_64".to_owned(),
            kernel: "6.18.3".to_owned(),
            cpu_features: ["avx2", "sse"].map(str::to_owned).into(),
        },
        namespaces: Namespaces::default(),
        asker: None,
        incomplete: false,
    }
}

pub(super) fn process(pid: i32, parent: i32, name: &str) -> Process {
    Process {
        pid,
        parent,
        name: name.to_owned(),
        user: 33,
        session: 7,
        tracer: None,
        threads: vec![pid, pid + 100],
        ended: false,
    }
}

/// A TCP socket of process 7.
pub(super) fn socket(local: &str, remote: Option<&str>) -> InetSocket {
    InetSocket {
        inode: 1,
        holders: vec![Holder { pid: 7, fd: 3 }],
        protocol: Protocol::Tcp,
        local: local.parse().unwrap(),
        remote: remote.map(|remote| remote.parse().unwrap()),
        listening: remote.is_none(),
        both_families: false,
        multipath: false,
    }
}

/// A file that nobody uses yet.
pub(super) fn file(path: &str, kind: FileKind) -> UsedFile {
    UsedFile {
        path: path.to_owned(),
        kind,
        deleted: false,
        elsewhere: false,
        temporary: false,
        size: 1_000,
        written: false,
        open: Vec::new(),
        mapped: Vec::new(),
        folder_of: Vec::new(),
        sha256: (kind == FileKind::File).then(|| "ba78".to_owned()),
    }
}

/// A file that process 8 has open.
pub(super) fn open_file(path: &str, kind: FileKind) -> UsedFile {
    UsedFile { open: vec![Holder { pid: 8, fd: 5 }], ..file(path, kind) }
}

/// Memory that both processes share with nobody.
pub(super) fn shared_memory(what: &str) -> SharedMemory {
    SharedMemory {
        what: what.to_owned(),
        size: 4_096,
        written: true,
        system_v: false,
        processes: vec![7, 8],
        strangers: Vec::new(),
    }
}

pub(super) fn stranger() -> Stranger {
    Stranger { pid: 99, name: "cron".to_owned() }
}
