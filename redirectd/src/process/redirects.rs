//! The redirects it takes for the peers of a tree to reach it elsewhere. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;

use super::sockets::{Endpoint, InetSocket, Sockets};
use crate::{
    api::types::Addition,
    config::Spec,
    rule::{Field, Protocol, address_flaw},
};

/// What it takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The redirects, to be added together.
    pub additions: Vec<Addition>,
    /// Sockets that get none, each with the reason, and what else is worth
    /// knowing; one line each.
    pub remarks: Vec<String>,
}

/// How the redirects are to be.
#[derive(Debug, Clone, Copy)]
pub struct Form<'a> {
    /// What their names begin with; a hyphen and the port follow.
    pub name: &'a str,
    /// The host, without a port: each socket keeps its own.
    pub to: &'a str,
    /// `follow` or `new-only`.
    pub flows: &'a str,
}

/// What one redirect is to catch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Catch {
    /// All that is sent to this endpoint.
    Address(SocketAddr),
    /// All that is sent to this port of any home address of these families.
    Port { port: u16, v4: bool, v6: bool },
    /// What these peers send to this endpoint.
    Connections { local: SocketAddr, peers: BTreeSet<IpAddr> },
}

/// The redirects for a tree with these sockets: one for each endpoint it takes
/// packets at, and one for each port that it has connected out from, for those
/// peers alone.
#[must_use]
pub fn redirects(sockets: &Sockets, form: Form<'_>) -> Wanted {
    let mut wanted = Wanted::default();
    let open: BTreeSet<Endpoint> = sockets.inet.iter().filter_map(InetSocket::endpoint).collect();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let of_this: Vec<Endpoint> =
            open.iter().filter(|endpoint| endpoint.protocol == protocol).copied().collect();
        let mut caught = taken(&of_this, &mut wanted.remarks);
        caught.extend(connected(protocol, sockets, &of_this, &mut wanted.remarks));
        wanted.additions.extend(additions(protocol, caught, form));
    }
    wanted.remarks.extend(shared(sockets));
    wanted
}

/// What is to be caught for sockets that take packets of anybody.
fn taken(open: &[Endpoint], remarks: &mut Vec<String>) -> Vec<Catch> {
    let mut families: BTreeMap<u16, (bool, bool)> = BTreeMap::new();
    for endpoint in open.iter().filter(|endpoint| endpoint.at.ip().is_unspecified()) {
        let (v4, v6) = families.entry(endpoint.at.port()).or_default();
        *v4 |= endpoint.at.is_ipv4() || endpoint.both_families;
        *v6 |= endpoint.at.is_ipv6();
    }
    let mut caught = Vec::new();
    for endpoint in open.iter().filter(|endpoint| !endpoint.at.ip().is_unspecified()) {
        let (v4, v6) = families.get(&endpoint.at.port()).copied().unwrap_or_default();
        if let Some(why) = unreachable(endpoint.at.ip()) {
            remarks.push(format!("{endpoint} gets no redirect: {why}"));
        } else if !(if endpoint.at.is_ipv4() { v4 } else { v6 }) {
            caught.push(Catch::Address(endpoint.at));
        }
    }
    caught.extend(families.into_iter().map(|(port, (v4, v6))| Catch::Port { port, v4, v6 }));
    caught
}

/// What is to be caught for connections that no endpoint of `open` takes packets
/// of.
fn connected(
    protocol: Protocol,
    sockets: &Sockets,
    open: &[Endpoint],
    remarks: &mut Vec<String>,
) -> Vec<Catch> {
    let mut peers: BTreeMap<SocketAddr, BTreeSet<IpAddr>> = BTreeMap::new();
    for socket in sockets.inet.iter().filter(|socket| socket.protocol == protocol) {
        let (local, Some(remote)) = (socket.local, socket.remote) else { continue };
        if open.iter().any(|endpoint| endpoint.takes(protocol, local)) {
            continue;
        }
        if let Some(why) = unreachable(local.ip()) {
            remarks.push(format!(
                "{protocol} {local}, connected to {remote}, gets no redirect: {why}"
            ));
        } else if sockets.is_within(socket) {
            remarks.push(format!(
                "{protocol} {local}, connected to {remote}, gets no redirect: both ends are the \
                 process's own"
            ));
        } else {
            peers.entry(local).or_default().insert(remote.ip());
        }
    }
    peers.into_iter().map(|(local, peers)| Catch::Connections { local, peers }).collect()
}

/// Why nobody elsewhere sends to `address`, or no redirect can be for it.
fn unreachable(address: IpAddr) -> Option<String> {
    address_flaw(Field::Home, "socket's", address).map(|flaw| flaw.what)
}

/// Others whose packets go with those of the tree.
fn shared(sockets: &Sockets) -> impl Iterator<Item = String> {
    sockets.strangers.iter().map(|endpoint| {
        format!(
            "another process takes packets at {endpoint}, too; what the redirects catch does not \
             reach it any more"
        )
    })
}

fn additions(protocol: Protocol, caught: Vec<Catch>, form: Form<'_>) -> Vec<Addition> {
    let mut used: BTreeMap<u16, u32> = BTreeMap::new();
    caught
        .into_iter()
        .map(|catch| {
            let port = catch.port();
            let nth = used.entry(port).and_modify(|nth| *nth += 1).or_insert(1);
            let name = name(form.name, protocol, port, *nth);
            // Who was connected to does not listen; and a host that does not
            // answer by UDP tells nothing.
            let check = protocol == Protocol::Tcp && !matches!(catch, Catch::Connections { .. });
            let redirect = Spec {
                protocol: vec![protocol.to_string()],
                home: catch.home(),
                to: form.to.to_owned(),
                peers: catch.peers(),
                mode: None,
                flows: Some(form.flows.to_owned()),
            };
            Addition { name, redirect, check }
        })
        .collect()
}

/// `nginx-4711-80`, `named-812-53-udp`; several of one port are numbered.
fn name(base: &str, protocol: Protocol, port: u16, nth: u32) -> String {
    let udp = if protocol == Protocol::Udp { "-udp" } else { "" };
    match nth {
        1 => format!("{base}-{port}{udp}"),
        nth => format!("{base}-{port}{udp}-{nth}"),
    }
}

/// What redirects of a process are called that the kernel calls `name`, which may
/// have any characters.
#[must_use]
pub fn base_name(name: &str, pid: i32) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let plain = plain.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let plain = if plain.is_empty() { "process" } else { plain };
    format!("{plain}-{pid}")
}

impl Catch {
    fn port(&self) -> u16 {
        match self {
            Self::Address(at) | Self::Connections { local: at, .. } => at.port(),
            Self::Port { port, .. } => *port,
        }
    }

    fn home(&self) -> String {
        match self {
            Self::Address(at) | Self::Connections { local: at, .. } => at.to_string(),
            Self::Port { port, .. } => port.to_string(),
        }
    }

    /// A port of one family alone is one for all peers of that family.
    fn peers(&self) -> Vec<String> {
        match self {
            Self::Address(_) | Self::Port { v4: true, v6: true, .. } => Vec::new(),
            Self::Port { v4, .. } => vec![if *v4 { "0.0.0.0/0" } else { "::/0" }.to_owned()],
            Self::Connections { peers, .. } => {
                peers.iter().map(|&peer| IpNet::from(peer).to_string()).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests;
