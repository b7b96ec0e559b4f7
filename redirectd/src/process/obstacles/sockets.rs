//! Sockets and pipes that are in the way: what cannot be saved, and what has its
//! other end where it stays.

use std::collections::BTreeSet;

use super::{holder, list, named};
use crate::{
    process::{
        inventory::{Inventory, Pipe},
        obstacle::{Obstacle, Reason},
        sockets::{InetSocket, OtherSocket, UnixPeer, UnixSocket},
    },
    rule::{Field, address_flaw},
};

/// Those of `inventory`.
pub(super) fn in_the_way(inventory: &Inventory) -> Vec<Obstacle> {
    let sockets = &inventory.sockets;
    let mut found = Vec::new();
    found.extend(sockets.inet.iter().filter_map(|socket| multipath(inventory, socket)));
    found.extend(sockets.inet.iter().filter_map(|socket| local(inventory, socket)));
    found.extend(sockets.other.iter().filter_map(|socket| protocol(inventory, socket)));
    found.extend(sockets.unix.iter().filter_map(|socket| unix(inventory, socket)));
    found.extend(inventory.pipes.iter().filter_map(|one| pipe(inventory, one)));
    found
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
    if socket.datagram && name.is_some() {
        let what = format!("{what}; afterwards it is connected to that of the host");
        let cure = "nothing, if the host has one, too: the system's log, for instance";
        return Some(Obstacle::loss(Reason::UnixSocket, pid, what, cure));
    }
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
