//! Flows that follow their redirect to a new target: the way back from there,
//! before the flip, and the flows themselves, after it.

use std::collections::HashMap;

use aya::maps::MapError;
use redirectd_ebpf::{
    abi::{Flow, FlowKey, Location, NextHop, Tuple, flow_flags},
    nat::Deltas,
};

use super::{
    batch,
    entries::ignore_absent,
    family::{self, MapAddr},
    flows::{note_expired, partner, unreadable},
    maps::{FlowTable, Maps, failed},
};
use crate::{dataplane::Slot, error::Error};

/// Where flows of slots are led: the generation that leads there, and the place.
pub(super) type Leads = HashMap<Slot, (u32, Location)>;

/// Enters the way back from `location` for all flows of `slot` that will follow
/// to it, so that the new host's packets are translated from the first one on.
pub(super) fn prepare(
    maps: &mut Maps,
    slot: Slot,
    generation: u32,
    location: &Location,
) -> Result<(), Error> {
    prepare_all(maps, &Leads::from([(slot, (generation, *location))]))
}

/// As [`prepare`], for several slots.
pub(super) fn prepare_all(maps: &mut Maps, leads: &Leads) -> Result<(), Error> {
    following(&mut maps.v4.flows, leads, enter_way_back)?;
    following(&mut maps.v6.flows, leads, enter_way_back).map(drop)
}

/// After the flip: leads all those flows to `location`, as the programs do with
/// a flow's next packet from its peer, which may be long in coming.
pub(super) fn bring_along(
    maps: &mut Maps,
    slot: Slot,
    generation: u32,
    location: &Location,
) -> Result<(), Error> {
    bring_all_along(maps, &Leads::from([(slot, (generation, *location))]))
}

/// As [`bring_along`], for several slots.
pub(super) fn bring_all_along(maps: &mut Maps, leads: &Leads) -> Result<(), Error> {
    let home = following(&mut maps.v4.flows, leads, follow)?
        + following(&mut maps.v6.flows, leads, follow)?;
    note_expired(maps, home)
}

/// A flow that follows its redirect: its entry towards the host as it will be,
/// and its way back from the new host.
struct Following<A> {
    key: FlowKey<A>,
    to: Flow<A>,
    back_key: FlowKey<A>,
    back: Flow<A>,
}

impl<A: MapAddr> Following<A> {
    /// Whether it comes home: its packets go where they came to.
    fn comes_home(&self) -> bool {
        let (from, to) = (&self.key.tuple, &self.to.to);
        (to.destination, to.destination_port) == (from.destination, from.destination_port)
    }
}

/// Calls `act` for each flow of the slots that follows to where they lead;
/// returns how many flows that has removed.
fn following<A: MapAddr>(
    table: &mut FlowTable<A>,
    leads: &Leads,
    act: fn(&mut FlowTable<A>, &Following<A>) -> Result<u64, Error>,
) -> Result<u64, Error> {
    let version = if A::BITS == 32 { 4 } else { 6 };
    let mut all = Vec::new();
    batch::each::<FlowKey<A>, Flow<A>>(&table.data, |key, flow| {
        let Some((generation, location)) = leads.get(&flow.slot) else { return };
        let follows = flow.flags & (flow_flags::TO_HOST | flow_flags::STAYS) == flow_flags::TO_HOST
            && flow.generation >= location.follow_from
            && flow.generation != *generation;
        let host = A::from_ip(family::ip(location.address, version));
        if let Some(host) = host.filter(|_| follows) {
            let back = partner(table, &key, &flow);
            all.push(followed(&key, &flow, back.as_ref(), host, *generation, location));
        }
    })
    .map_err(|error| unreadable("FLOWS", &error))?;
    let mut removed = 0;
    for one in &all {
        removed += act(table, one)?;
    }
    Ok(removed)
}

/// Enters the way back. What is there already is this very way, or another
/// flow's: then this one cannot follow, and the programs count its packets so.
fn enter_way_back<A: MapAddr>(table: &mut FlowTable<A>, flow: &Following<A>) -> Result<u64, Error> {
    if flow.comes_home() {
        return Ok(0);
    }
    match table.map.insert(flow.back_key, flow.back, BPF_NOEXIST) {
        Ok(()) => Ok(0),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::EEXIST) =>
        {
            Ok(0)
        }
        Err(error) => Err(failed("write", "FLOWS", &error)),
    }
}

/// Leads a flow to its new host, unless its way back is another flow's. At home
/// there is no flow: it is removed.
fn follow<A: MapAddr>(table: &mut FlowTable<A>, flow: &Following<A>) -> Result<u64, Error> {
    if flow.comes_home() {
        let removed = table.map.remove(&flow.key);
        let count = u64::from(removed.is_ok());
        ignore_absent(removed).map_err(|error| failed("write", "FLOWS", &error))?;
        return Ok(count);
    }
    enter_way_back(table, flow)?;
    let ours = table.map.get(&flow.back_key, 0).is_ok_and(|back| back.to == flow.back.to);
    if !ours {
        return Ok(0);
    }
    // Read again, for what the programs have noted meanwhile. If it is gone, or
    // they have led it there themselves, there is nothing to do.
    let Ok(present) = table.map.get(&flow.key, 0) else { return Ok(0) };
    if present.generation == flow.to.generation {
        return Ok(0);
    }
    let Flow { flags, handed, last_seen, packets, bytes, .. } = present;
    let led = Flow { flags, handed, last_seen, packets, bytes, ..flow.to };
    ignore_absent(table.map.insert(flow.key, led, BPF_EXIST))
        .map_err(|error| failed("write", "FLOWS", &error))?;
    Ok(0)
}

/// `BPF_NOEXIST` of linux/bpf.h: only a new entry.
pub(super) const BPF_NOEXIST: u64 = 1;
/// `BPF_EXIST` of linux/bpf.h: only an entry that is there.
const BPF_EXIST: u64 = 2;

/// The flow whose entry towards the host is `from`, led to `location`. What its
/// way `back` has seen is the new one's past.
fn followed<A: MapAddr>(
    key: &FlowKey<A>,
    from: &Flow<A>,
    back: Option<&Flow<A>>,
    host: A,
    generation: u32,
    location: &Location,
) -> Following<A> {
    let port = u16::from_be(key.tuple.destination_port)
        .wrapping_sub(location.home_port)
        .wrapping_add(location.port);
    let tuple = Tuple { destination: host, destination_port: port.to_be(), ..from.to };
    let deltas = Deltas::between(&key.tuple, &tuple);
    let to = Flow {
        to: tuple,
        generation,
        addresses: deltas.addresses.0,
        ports: deltas.ports.0,
        hop: NextHop::default(),
        ..*from
    };
    let back = Flow {
        to: key.tuple.inverse(),
        flags: back.map_or(0, |back| back.flags),
        addresses: deltas.addresses.undone().0,
        ports: deltas.ports.undone().0,
        packets: back.map_or(0, |back| back.packets),
        bytes: back.map_or(0, |back| back.bytes),
        ..to
    };
    let back_key = FlowKey { tuple: tuple.inverse(), protocol: key.protocol };
    Following { key: *key, to, back_key, back }
}
