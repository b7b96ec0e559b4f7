//! Connections that were open before there was a flow of theirs, because their
//! process was at home: entered as established flows, both directions, so that
//! they go on at its new host.

use aya::maps::MapError;
use redirectd_ebpf::{
    abi::{Flow, FlowKey, NextHop, SlotWord, Tuple, count, flow_flags},
    nat::Deltas,
    wire::proto,
};

use super::{
    family::MapAddr,
    flows::now,
    follow::BPF_NOEXIST,
    maps::{FamilyMaps, Maps, failed},
};
use crate::{
    dataplane::{Connection, Slot},
    error::{Error, Kind},
    rule::Protocol,
};

/// A connection to be entered: the word its slot will have after the flip, its
/// slot, and itself.
pub(super) type Claim = (SlotWord, Slot, Connection);

/// Enters all of them or none; returns them with their ports.
pub(super) fn enter(maps: &mut Maps, claims: &[Claim]) -> Result<Vec<Connection>, Error> {
    let settings = maps.settings.get(&0, 0).map_err(|error| failed("read", "SETTINGS", &error))?;
    let ports = settings.snat_first..=settings.snat_last;
    let mut connections = Vec::new();
    let mut flows = 0;
    let mut entered = (Vec::new(), Vec::new());
    let mut result = Ok(());
    for (word, slot, connection) in claims {
        let one = if connection.home.0.is_ipv4() {
            enter_one(&mut maps.v4, (*word, *slot), connection, ports.clone(), &mut entered.0)
        } else {
            enter_one(&mut maps.v6, (*word, *slot), connection, ports.clone(), &mut entered.1)
        };
        match one {
            Ok((port, new)) => {
                connections.push(Connection { snat_port: port, ..*connection });
                flows += u64::from(new);
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    if let Err(error) = result {
        take_back(&mut maps.v4, &entered.0);
        take_back(&mut maps.v6, &entered.1);
        return Err(error);
    }
    // They count as flows: as fewer that have gone, which is this side's word.
    let gone = maps.counts.get(&count::EXPIRED, 0);
    let gone = gone.map_err(|error| failed("read", "COUNTS", &error))?.wrapping_sub(flows);
    maps.counts.set(count::EXPIRED, gone, 0).map_err(|error| failed("write", "COUNTS", &error))?;
    Ok(connections)
}

fn take_back<A: MapAddr>(maps: &mut FamilyMaps<A>, entered: &[FlowKey<A>]) {
    for key in entered {
        let _ = maps.flows.map.remove(key);
    }
}

/// Enters one connection; returns its port towards the host, and whether there was
/// no flow of it: its way back may be there alone, from before it came home. Notes
/// the keys of the entries that are new.
fn enter_one<A: MapAddr>(
    maps: &mut FamilyMaps<A>,
    (word, slot): (SlotWord, Slot),
    connection: &Connection,
    ports: std::ops::RangeInclusive<u16>,
    entered: &mut Vec<FlowKey<A>>,
) -> Result<(u16, bool), Error> {
    let end = |(address, port): (std::net::IpAddr, u16)| Some((A::from_ip(address)?, port.to_be()));
    let (Some(peer), Some(home), Some(host)) =
        (end(connection.peer), end(connection.home), end(connection.host))
    else {
        return Err(refuse(connection, "has endpoints of different families"));
    };
    let protocol = match connection.protocol {
        Protocol::Tcp => proto::TCP,
        Protocol::Udp => proto::UDP,
    };
    let key = FlowKey { tuple: tuple(peer, home), protocol: u32::from(protocol) };
    let present = maps.flows.map.get(&key, 0).ok().filter(|flow| flow.slot == slot);
    let (first, others) = match (present, connection.snat_port) {
        // A flow keeps its port wherever it goes.
        (Some(flow), 0) => (u16::from_be(flow.to.source_port), 0),
        (Some(flow), port) if u16::from_be(flow.to.source_port) != port => {
            return Err(refuse(connection, &format!("does not have the port {port} at home")));
        }
        (_, 0) => (connection.peer.1, ports.len()),
        (_, port) => (port, 0),
    };
    // Not always from the first one on, which others have taken.
    let others = ports.cycle().skip(entered.len()).take(others);
    for port in std::iter::once(first).chain(others) {
        let to = tuple((home.0, port.to_be()), host);
        let flow = flow_of(&key, to, slot, word.generation());
        let back_key = FlowKey { tuple: to.inverse(), protocol: key.protocol };
        let back = back_of(&key, &flow);
        if !reserve(maps, &back_key, &back, entered)? {
            continue;
        }
        if present.is_none() {
            let inserted = maps.flows.map.insert(key, flow, 0);
            inserted.map_err(|error| failed("write", "FLOWS", &error))?;
            entered.push(key);
        }
        return Ok((port, present.is_none()));
    }
    Err(refuse(connection, "finds no free port at home towards its new host"))
}

/// Enters the way back, if nobody has it or it is this very one.
fn reserve<A: MapAddr>(
    maps: &mut FamilyMaps<A>,
    key: &FlowKey<A>,
    back: &Flow<A>,
    entered: &mut Vec<FlowKey<A>>,
) -> Result<bool, Error> {
    if maps.half_open.map.get(key, 0).is_ok_and(|other| other.to != back.to) {
        return Ok(false);
    }
    match maps.flows.map.insert(key, back, BPF_NOEXIST) {
        Ok(()) => {
            entered.push(*key);
            Ok(true)
        }
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::EEXIST) =>
        {
            Ok(maps.flows.map.get(key, 0).is_ok_and(|present| present.to == back.to))
        }
        Err(error) => Err(failed("write", "FLOWS", &error)),
    }
}

fn tuple<A>(source: (A, u16), destination: (A, u16)) -> Tuple<A> {
    Tuple {
        source: source.0,
        destination: destination.0,
        source_port: source.1,
        destination_port: destination.1,
    }
}

fn flow_of<A: MapAddr>(key: &FlowKey<A>, to: Tuple<A>, slot: Slot, generation: u32) -> Flow<A> {
    let deltas = Deltas::between(&key.tuple, &to);
    Flow {
        to,
        slot,
        generation,
        flags: flow_flags::TO_HOST | flow_flags::ANSWERED,
        handed: 0,
        handshake: 0,
        addresses: deltas.addresses.0,
        ports: deltas.ports.0,
        hop: NextHop::default(),
        last_seen: now().as_nanos() as u64,
        packets: 0,
        bytes: 0,
    }
}

fn back_of<A: MapAddr>(key: &FlowKey<A>, flow: &Flow<A>) -> Flow<A> {
    let deltas = Deltas::between(&key.tuple, &flow.to);
    Flow {
        to: key.tuple.inverse(),
        flags: flow_flags::ANSWERED,
        addresses: deltas.addresses.undone().0,
        ports: deltas.ports.undone().0,
        ..*flow
    }
}

fn refuse(connection: &Connection, why: &str) -> Error {
    let Connection { protocol, peer, home, .. } = connection;
    let what = format!(
        "the {protocol} connection from {} port {} to {} port {} {why}",
        peer.0, peer.1, home.0, home.1
    );
    Error::new(Kind::Conflict, what).cure("let the packet path choose the port: give 0")
}
