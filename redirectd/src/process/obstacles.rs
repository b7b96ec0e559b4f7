//! What keeps a tree from moving, as far as it can be told where it is, and what
//! would be lost. Pure.
//!
//! What a checkpoint can hold is that of CRIU 4.2.

use std::collections::BTreeSet;

use super::{
    files::{FileKind, UsedFile},
    inventory::{Inventory, KernelObject, Pipe},
    memory::SharedMemory,
    obstacle::{Obstacle, Reason},
    sockets::{Holder, InetSocket, OtherSocket, UnixPeer, UnixSocket},
    strangers::Stranger,
};
use crate::rule::{Field, address_flaw};

/// All that is in the way of `inventory`, those that stop it first.
#[must_use]
pub fn obstacles(inventory: &Inventory) -> Vec<Obstacle> {
    let sockets = &inventory.sockets;
    let mut found = Vec::new();
    found.extend(whole(inventory));
    found.extend(debugged(inventory));
    found.extend(sockets.inet.iter().filter_map(|socket| multipath(inventory, socket)));
    found.extend(sockets.inet.iter().filter_map(|socket| local(inventory, socket)));
    found.extend(sockets.other.iter().filter_map(|socket| protocol(inventory, socket)));
    found.extend(sockets.unix.iter().filter_map(|socket| unix(inventory, socket)));
    found.extend(inventory.pipes.iter().filter_map(|one| pipe(inventory, one)));
    found.extend(inventory.files.iter().filter_map(|file| device(inventory, file)));
    found.extend(inventory.memory.shared.iter().filter_map(|memory| shared(inventory, memory)));
    found.extend(inventory.objects.iter().filter_map(|one| object(inventory, one)));
    found.sort_by_key(|obstacle| !obstacle.stops);
    found
}

/// `process 4711 (nginx)`
pub(super) fn named(inventory: &Inventory, pid: i32) -> String {
    let process = inventory.processes.iter().find(|process| process.pid == pid);
    match process {
        Some(process) => format!("process {pid} ({})", process.name.escape_debug()),
        None => format!("process {pid}"),
    }
}

/// The process that holds a thing first; everything here is held by one.
fn holder(inventory: &Inventory, holders: &[Holder]) -> i32 {
    holders.first().map_or(inventory.root().pid, |holder| holder.pid)
}

fn list(strangers: &[Stranger]) -> String {
    /// More than these, nobody wants to read.
    const MOST: usize = 5;
    let names: BTreeSet<String> = strangers.iter().map(Stranger::to_string).collect();
    let shown: Vec<String> = names.iter().take(MOST).cloned().collect();
    match names.len().saturating_sub(MOST) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn whole(inventory: &Inventory) -> Vec<Obstacle> {
    let root = inventory.root();
    let mut found = Vec::new();
    if root.pid == 1 {
        let what =
            format!("{} is the first of this machine and stays with it", named(inventory, 1));
        found.push(Obstacle::stop(Reason::Init, 1, what, "name the process of a service"));
    }
    if let Some(asker) = inventory.asker {
        let what = format!(
            "{} is this very command, and a descendant of process {}: it would move as well",
            named(inventory, asker),
            root.pid
        );
        let cure = "name a process that you do not run this from, or run this from another login";
        found.push(Obstacle::stop(Reason::Asker, asker, what, cure));
    }
    if inventory.incomplete {
        let what = format!(
            "not all other processes could be looked at: they may share memory, pipes and sockets \
             with {}",
            named(inventory, root.pid)
        );
        found.push(Obstacle::loss(
            Reason::Incomplete,
            root.pid,
            what,
            "run this as root, with CAP_SYS_PTRACE",
        ));
    }
    found
}

fn debugged(inventory: &Inventory) -> impl Iterator<Item = Obstacle> {
    inventory.processes.iter().filter_map(|process| {
        let tracer = process.tracer?;
        let what =
            format!("{} is held by a debugger, process {tracer}", named(inventory, process.pid));
        let cure = "detach the debugger, or end strace";
        Some(Obstacle::stop(Reason::Debugger, process.pid, what, cure))
    })
}

fn multipath(inventory: &Inventory, socket: &InetSocket) -> Option<Obstacle> {
    let pid = holder(inventory, &socket.holders);
    let who = named(inventory, pid);
    let what = match socket.remote {
        None => format!("{who} listens at {} by Multipath TCP", socket.local),
        Some(remote) => format!("{who} is connected to {remote} by Multipath TCP"),
    };
    let cure = "start it with plain TCP: programs in Go with GODEBUG=multipathtcp=0, any with \
                `sysctl net.mptcp.enabled=0` before";
    socket.multipath.then(|| Obstacle::stop(Reason::MultipathTcp, pid, what, cure))
}

/// Addresses that mean this machine or this link only.
fn local(inventory: &Inventory, socket: &InetSocket) -> Option<Obstacle> {
    let address = socket.local.ip();
    if address.is_unspecified() {
        return None;
    }
    let flaw = address_flaw(Field::Home, "socket's", address)?.what;
    let pid = holder(inventory, &socket.holders);
    let who = named(inventory, pid);
    let protocol = socket.protocol;
    let Some(remote) = socket.remote else {
        let what = format!("peers at home lose {who} at {protocol} {}: {flaw}", socket.local);
        let cure = "let them use home's address, and it listen there";
        return Some(Obstacle::loss(Reason::LocalAddress, pid, what, cure));
    };
    if inventory.sockets.is_within(socket) {
        return None;
    }
    let what = format!("{who} is connected to {protocol} {remote}, which stays here: {flaw}");
    let cure = format!(
        "let it use home's address instead of {}, or move both: start them from one parent",
        remote.ip()
    );
    Some(Obstacle::stop(Reason::LocalAddress, pid, what, cure))
}

fn protocol(inventory: &Inventory, socket: &OtherSocket) -> Option<Obstacle> {
    /// Those that can be saved; TCP and UDP are here if they have no port.
    const SAVED: [&str; 6] = ["TCP", "UDP", "UNIX", "NETLINK", "PING", "?"];
    let pid = holder(inventory, &socket.holders);
    let who = named(inventory, pid);
    let protocol = &socket.protocol;
    if protocol.starts_with("PACKET") || protocol.starts_with("RAW") {
        let what = format!("{who} has a {protocol} socket, which sees the host's packets instead");
        let cure = "nothing, if that is what it is for; else close it";
        return Some(Obstacle::loss(Reason::SocketProtocol, pid, what, cure));
    }
    let saved = SAVED.iter().any(|saved| protocol.starts_with(saved));
    let what = format!("{who} has a {protocol} socket, which cannot be saved");
    let cure = if protocol.starts_with("MPTCP") {
        "start it with plain TCP: programs in Go with GODEBUG=multipathtcp=0"
    } else {
        "let it close the socket, or do without that protocol"
    };
    (!saved).then(|| Obstacle::stop(Reason::SocketProtocol, pid, what, cure))
}

fn unix(inventory: &Inventory, socket: &UnixSocket) -> Option<Obstacle> {
    let peer = socket.peer.as_ref().filter(|peer| peer.stranger)?;
    let UnixPeer { name, held_by, .. } = peer;
    let pid = holder(inventory, &socket.holders);
    let at = match name {
        Some(name) => format!("the Unix socket {name}"),
        None => "a Unix socket without a name".to_owned(),
    };
    let whose = if held_by.is_empty() { String::new() } else { format!(" of {}", list(held_by)) };
    let what = format!("{} is connected to {at}{whose}, which stays here", named(inventory, pid));
    let journal = name.as_deref().is_some_and(|name| name.contains("/systemd/journal/"));
    let cure = if journal {
        "let its service write to a file: StandardOutput=append:FILE, StandardError=inherit"
    } else {
        "let it close the connection, or move both: start them from one parent"
    };
    Some(Obstacle::stop(Reason::UnixSocket, pid, what, cure))
}

fn pipe(inventory: &Inventory, pipe: &Pipe) -> Option<Obstacle> {
    if pipe.strangers.is_empty() {
        return None;
    }
    let pid = holder(inventory, &pipe.holders);
    let numbers: BTreeSet<String> =
        pipe.holders.iter().filter(|h| h.pid == pid).map(|h| h.fd.to_string()).collect();
    let what = format!(
        "{} shares a pipe (descriptor {}) with {}: it ends when they part",
        named(inventory, pid),
        numbers.into_iter().collect::<Vec<_>>().join(", "),
        list(&pipe.strangers)
    );
    let cure = "let it read and write files instead: `program < /dev/null > FILE 2>&1`";
    Some(Obstacle::loss(Reason::Pipe, pid, what, cure))
}

fn device(inventory: &Inventory, file: &UsedFile) -> Option<Obstacle> {
    let pid = file.open.first().map(|holder| holder.pid).or(file.mapped.first().copied())?;
    let who = named(inventory, pid);
    let path = &file.path;
    match file.kind {
        FileKind::Device => {
            let what = format!("{who} uses the device {path} of this machine");
            let cure = "let it close the device, or start it without";
            Some(Obstacle::stop(Reason::Device, pid, what, cure))
        }
        // One that it provides itself goes with it.
        FileKind::Terminal if !provides_terminals(inventory) => {
            let what = format!("{who} has the terminal {path}, which stays here");
            let cure = "start it without one: `setsid program < /dev/null > FILE 2>&1`, or as a \
                        service";
            Some(Obstacle::stop(Reason::Terminal, pid, what, cure))
        }
        _ => None,
    }
}

fn provides_terminals(inventory: &Inventory) -> bool {
    inventory.files.iter().any(|file| file.kind == FileKind::TerminalMaster)
}

fn shared(inventory: &Inventory, memory: &SharedMemory) -> Option<Obstacle> {
    let pid = memory.processes.first().copied()?;
    let who = named(inventory, pid);
    let SharedMemory { what: name, strangers, .. } = memory;
    if memory.system_v {
        let what = format!("{who} uses {name}, which belongs to the whole machine");
        let cure = "start it in an IPC namespace of its own (`unshare --ipc`), or let it use \
                    POSIX shared memory";
        return Some(Obstacle::stop(Reason::SystemVMemory, pid, what, cure));
    }
    if strangers.is_empty() || !memory.written {
        return None;
    }
    let what = format!("{who} shares memory ({name}) with {}", list(strangers));
    let cure = "move all of them together: name the process that started them";
    Some(Obstacle::stop(Reason::SharedMemory, pid, what, cure))
}

fn object(inventory: &Inventory, object: &KernelObject) -> Option<Obstacle> {
    /// Those that can be saved, and namespaces, which are looked at by themselves.
    const SAVED: [&str; 17] = [
        "[eventpoll]",
        "[eventfd]",
        "[signalfd]",
        "[timerfd]",
        "inotify",
        "[fanotify]",
        "[pidfd]",
        "pidfd",
        "bpf-map",
        "cgroup",
        "ipc",
        "mnt",
        "net",
        "pid",
        "time",
        "user",
        "uts",
    ];
    let kind = object.kind.as_str();
    let pid = holder(inventory, &object.holders);
    let what = format!(
        "{} has an object of the kernel open that cannot be saved: {kind}",
        named(inventory, pid)
    );
    let cure = match kind.trim_matches(['[', ']']) {
        "io_uring" => "start it without io_uring: many programs have a setting for that",
        "perf_event" => "end the measurement",
        "userfaultfd" => "wait until its pages are here, or start it without",
        _ => "let it close that, or start it without",
    };
    (!SAVED.contains(&kind)).then(|| Obstacle::stop(Reason::KernelObject, pid, what, cure))
}

#[cfg(test)]
mod tests;
