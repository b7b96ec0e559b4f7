//! What keeps a tree from moving, as far as it can be told where it is, and what
//! would be lost. Pure.
//!
//! What can be saved is what CRIU 4.2.1 saves on Linux 6.18 with --shell-job,
//! --tcp-established, --ext-unix-sk and --file-locks, as it was tried.

mod sockets;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::{
    files::{FileKind, UsedFile},
    inventory::{Inventory, KernelObject, PIDFD_OF_STRANGER},
    memory::SharedMemory,
    obstacle::{Obstacle, Reason},
    sockets::Holder,
    strangers::Stranger,
};

/// All that is in the way of `inventory`, those that stop it first.
#[must_use]
pub fn obstacles(inventory: &Inventory) -> Vec<Obstacle> {
    let mut found = Vec::new();
    found.extend(whole(inventory));
    found.extend(session(inventory));
    found.extend(namespaces(inventory));
    found.extend(debugged(inventory));
    found.extend(sockets::in_the_way(inventory));
    found.extend(inventory.files.iter().filter_map(|file| device(inventory, file)));
    found.extend(inventory.files.iter().filter_map(|file| renamed(inventory, file)));
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

/// A session of which its leader stays.
fn session(inventory: &Inventory) -> Option<Obstacle> {
    let root = inventory.root();
    let within = inventory.processes.iter().any(|process| process.pid == root.session);
    // Whose leader is out of sight is a matter of namespaces.
    if within || root.session == 0 {
        return None;
    }
    let what = format!(
        "{} is of session {}, whose leader stays; afterwards it is of another one",
        named(inventory, root.pid),
        root.session
    );
    let cure = "start it as a service or with `setsid`, if it matters to whom its signals go";
    Some(Obstacle::loss(Reason::Session, root.pid, what, cure))
}

fn namespaces(inventory: &Inventory) -> Vec<Obstacle> {
    let Inventory { namespaces, .. } = inventory;
    let root = inventory.root();
    let who = named(inventory, root.pid);
    let container = "let whoever made its container move it, or start it without one";
    let mut found = Vec::new();
    let stop = |pid, what, cure| Obstacle::stop(Reason::Namespace, pid, what, cure);
    if namespaces.differ("user") {
        let what = format!("{who} lives in a user namespace of its own");
        found.push(stop(root.pid, what, container));
    }
    if let Some(nested) = namespaces.nested {
        let what =
            format!("{} lives in another pid namespace than {who}", named(inventory, nested));
        found.push(stop(nested, what, "name the first process of that namespace"));
    }
    if namespaces.differ("pid") && (root.threads.first() != Some(&1) || root.session != root.pid) {
        let what = format!(
            "{who} lives in a pid namespace of its own, and does not lead it and a session there"
        );
        let cure = "name the first process of that namespace, started with `setsid`";
        found.push(stop(root.pid, what, cure));
    }
    if namespaces.differ("mnt") {
        let what = format!(
            "{who} sees file systems of its own, which have to be on the other machine as well"
        );
        found.push(Obstacle::loss(Reason::Namespace, root.pid, what, container));
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
        // One that it provides itself goes with it, but CRIU does not find that one
        // behind this name.
        FileKind::Terminal if path == "/dev/tty" && provides_terminals(inventory) => {
            let what = format!("{who} has its terminal open as {path}, which cannot be saved");
            let cure = "end its session first, or use a shell that does not do so: bash does not";
            Some(Obstacle::stop(Reason::Terminal, pid, what, cure))
        }
        FileKind::Terminal if !provides_terminals(inventory) => {
            let what = format!("{who} has the terminal {path}, which stays here");
            let cure = "start it without one: `setsid program < /dev/null > FILE 2>&1`, or as a \
                        service";
            Some(Obstacle::stop(Reason::Terminal, pid, what, cure))
        }
        _ => None,
    }
}

/// A deleted file goes along; one with another path does not, for that is nowhere
/// to be found out.
fn renamed(inventory: &Inventory, file: &UsedFile) -> Option<Obstacle> {
    let pid = file.open.first().map(|holder| holder.pid).or(file.mapped.first().copied())?;
    let what = format!(
        "{} uses a file that is not at {} any more, but somewhere else",
        named(inventory, pid),
        file.path
    );
    let cure = "let it open the file anew: many programs do so at SIGHUP";
    file.elsewhere.then(|| Obstacle::stop(Reason::RenamedFile, pid, what, cure))
}

fn provides_terminals(inventory: &Inventory) -> bool {
    inventory.files.iter().any(|file| file.kind == FileKind::TerminalMaster)
}

fn shared(inventory: &Inventory, memory: &SharedMemory) -> Option<Obstacle> {
    let pid = memory.processes.first().copied()?;
    let who = named(inventory, pid);
    let SharedMemory { what: name, strangers, .. } = memory;
    // A namespace of its own goes along.
    if memory.system_v && !inventory.namespaces.differ("ipc") {
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
    /// Those that can be saved, and namespaces, which are looked at by themselves. Maps of
    /// BPF are none: CRIU writes some down, but only where it is built with libbpf, and
    /// Debian's (4.2.1) refuses all.
    const SAVED: [&str; 16] = [
        "[eventpoll]",
        "[eventfd]",
        "[signalfd]",
        "[timerfd]",
        "inotify",
        "[fanotify]",
        "[pidfd]",
        "pidfd",
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
        PIDFD_OF_STRANGER => "let it close that, or move both: start them from one parent",
        "userfaultfd" => "wait until its pages are here, or start it without",
        _ => "let it close that, or start it without",
    };
    (!SAVED.contains(&kind)).then(|| Obstacle::stop(Reason::KernelObject, pid, what, cure))
}
