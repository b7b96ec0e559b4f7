//! `redirect inspect`

use anstream::println;
use clap::{Args, value_parser};
use serde::Serialize;

use super::{
    Context,
    output::{self, BAD, BOLD, DIM, GOOD, WARN},
    table::{Table, number, text},
    units,
};
use crate::{
    error::Error,
    process::{FileKind, Holder, Inventory, Obstacle, UsedFile, obstacles},
};

/// Show what a process is made of, and what keeps it from moving
///
/// What would move with it: its descendants, sockets, memory and files; and
/// everything that is in the way, each with its cure, as far as it can be told
/// here: what the other machine has is not asked. Neither the daemon nor the
/// process is troubled. Other users' processes are shown only to root.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  redirect inspect 4711
  redirect inspect 4711 --json --hash
      with what is in the files that have to be on the other machine as well")]
pub(super) struct Inspect {
    /// The process
    #[arg(value_parser = value_parser!(i32).range(1..))]
    pid: i32,

    /// Read the files that have to be on the other machine, and say what is in them
    #[arg(long)]
    hash: bool,
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Inspected<'a> {
    #[serde(flatten)]
    inventory: &'a Inventory,
    obstacles: &'a [Obstacle],
    movable: bool,
}

impl Inspect {
    pub(super) fn run(self, context: &Context) -> Result<(), Error> {
        let inventory = Inventory::of(self.pid, self.hash)?;
        let obstacles = obstacles(&inventory);
        let movable = !obstacles.iter().any(|obstacle| obstacle.stops);
        if context.json {
            output::json(Inspected { inventory: &inventory, obstacles: &obstacles, movable });
            return Ok(());
        }
        print(&inventory);
        print_obstacles(&obstacles);
        match movable {
            true => println!("{GOOD}it can move{GOOD:#}, as far as this machine is concerned"),
            false => println!("{BAD}it cannot move{BAD:#} as it is"),
        }
        Ok(())
    }
}

/// Prints what a process is made of.
pub(super) fn print(inventory: &Inventory) {
    print_head(inventory);
    println!();
    print_processes(inventory);
    print_sockets(inventory);
    print_files(&inventory.files);
    println!();
}

fn print_head(inventory: &Inventory) {
    let (root, memory) = (inventory.root(), &inventory.memory);
    println!("{BOLD}process {}{BOLD:#} ({})", root.pid, root.name.escape_debug());
    let threads: usize = inventory.processes.iter().map(|process| process.threads.len()).sum();
    output::field("processes", format!("{}, {threads} threads", inventory.processes.len()));
    output::field(
        "memory",
        format!(
            "{} to copy, {} resident",
            units::bytes(memory.to_copy),
            units::bytes(memory.resident)
        ),
    );
    let shared: u64 = memory.shared.iter().filter(|one| one.written).map(|one| one.size).sum();
    if shared > 0 {
        output::field("shared memory", units::bytes(shared));
    }
    let needed: Vec<&UsedFile> = inventory.files.iter().filter(|file| file.must_exist()).collect();
    let size = needed.iter().filter(|file| file.kind == FileKind::File).map(|file| file.size).sum();
    output::field(
        "files",
        format!(
            "{} must be on the other machine, {} in all; {} go along",
            needed.len(),
            units::bytes(size),
            inventory.files.iter().filter(|file| goes_along(file)).count()
        ),
    );
}

/// Whether its content moves with the process.
fn goes_along(file: &UsedFile) -> bool {
    file.kind == FileKind::File && !file.must_exist()
}

fn print_processes(inventory: &Inventory) {
    let mut table = Table::new(&["PROCESS", "PARENT", "USER", "THREADS", "NAME"]);
    for process in &inventory.processes {
        let ended = if process.ended { ", ended" } else { "" };
        table.row([
            number(process.pid).style(BOLD),
            number(process.parent),
            number(process.user),
            number(process.threads.len()),
            text(format!("{}{ended}", process.name.escape_debug())),
        ]);
    }
    table.print();
}

fn print_sockets(inventory: &Inventory) {
    let sockets = &inventory.sockets;
    let mut table = Table::new(&["SOCKET", "AT", "CONNECTED TO", "OF"]);
    for socket in &sockets.inet {
        let protocol =
            if socket.multipath { "mptcp".to_owned() } else { socket.protocol.to_string() };
        let at = match socket.both_families {
            true => format!("*:{}", socket.local.port()),
            false => socket.local.to_string(),
        };
        let remote = socket.remote.map(|remote| remote.to_string()).unwrap_or_default();
        table.row([text(protocol), text(at), text(remote), text(holders(&socket.holders))]);
    }
    for socket in &sockets.unix {
        let at = socket.name.as_deref().unwrap_or_default().escape_debug().to_string();
        let remote = match &socket.peer {
            Some(peer) if !peer.stranger => "itself".to_owned(),
            Some(peer) => peer.name.as_deref().unwrap_or("?").escape_debug().to_string(),
            None => String::new(),
        };
        table.row([text("unix"), text(at), text(remote), text(holders(&socket.holders))]);
    }
    for socket in &sockets.other {
        let protocol = socket.protocol.to_lowercase();
        table.row([text(protocol), text(""), text(""), text(holders(&socket.holders))]);
    }
    if sockets.inet.len() + sockets.unix.len() + sockets.other.len() > 0 {
        println!();
        table.print();
    }
}

fn print_files(files: &[UsedFile]) {
    let mut table = Table::new(&["FILE", "SIZE", "", "OF"]);
    let open = files.iter().filter(|file| !file.open.is_empty());
    let mut shown = 0;
    for file in open.filter(|file| file.kind != FileKind::HarmlessDevice) {
        shown += 1;
        let note = match file.kind {
            FileKind::File if file.deleted => "deleted, goes along",
            FileKind::File if file.temporary => "temporary, goes along",
            FileKind::File => "",
            FileKind::Folder => "folder",
            FileKind::Pipe => "pipe",
            FileKind::Kernel => "the kernel's",
            FileKind::Terminal | FileKind::TerminalMaster => "terminal",
            FileKind::HarmlessDevice | FileKind::Device => "device",
            FileKind::Other => "special",
        };
        let size =
            if file.kind == FileKind::File { units::bytes(file.size) } else { String::new() };
        table.row([
            text(file.path.escape_debug()),
            number(size),
            text(note).style(DIM),
            text(holders(&file.open)),
        ]);
    }
    if shown > 0 {
        println!();
        table.print();
    }
    let mapped =
        files.iter().filter(|file| file.open.is_empty() && !file.mapped.is_empty()).count();
    if mapped > 0 {
        println!("{DIM}and {mapped} programs and libraries; --json lists them{DIM:#}");
    }
}

/// `4711:3,4`: the process, and its descriptors' numbers.
fn holders(holders: &[Holder]) -> String {
    let mut text = String::new();
    let mut last = None;
    for Holder { pid, fd } in holders {
        let separator = if last.is_some() { " " } else { "" };
        match last == Some(pid) {
            true => text.push_str(&format!(",{fd}")),
            false => text.push_str(&format!("{separator}{pid}:{fd}")),
        }
        last = Some(pid);
    }
    text
}

/// Prints what is in the way, each with its cure.
pub(super) fn print_obstacles(obstacles: &[Obstacle]) {
    for obstacle in obstacles {
        match obstacle.stops {
            true => println!("{BAD}in the way:{BAD:#} {}", obstacle.what),
            false => println!("{WARN}beware:{WARN:#} {}", obstacle.what),
        }
        println!("  cure: {}", obstacle.cure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_stand_behind_their_process() {
        let of = |all: &[(i32, i32)]| {
            holders(&all.iter().map(|&(pid, fd)| Holder { pid, fd }).collect::<Vec<_>>())
        };
        assert_eq!(of(&[(7, 3), (7, 4), (8, 3)]), "7:3,4 8:3");
        assert_eq!(of(&[]), "");
    }
}
