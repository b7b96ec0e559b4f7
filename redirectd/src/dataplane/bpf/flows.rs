//! Flows in the kernel: listing them, removing those whose time has run out,
//! and preparing the way back from a new host.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use aya::maps::MapError;
use redirectd_ebpf::{
    abi::{Flow, FlowKey, Location, NextHop, Tuple, count, flow_flags},
    nat::Deltas,
};

use super::{
    batch,
    entries::ignore_absent,
    family::MapAddr,
    maps::{FamilyMaps, FlowTable, Maps, failed},
};
use crate::{
    dataplane::{FlowInfo, FlowState, Slot, Timers, Traffic},
    error::{Error, Kind},
    rule::Protocol,
};

/// A failure to read a whole table.
pub(super) fn unreadable(table: &str, error: &std::io::Error) -> Error {
    Error::new(Kind::Failed, format!("cannot read the map {table}: {error}"))
}

/// How many entries the established flows of a family are: two for each.
pub(super) fn entries<A: MapAddr>(maps: &FamilyMaps<A>) -> Result<u64, Error> {
    count_entries(&maps.flows)
}

/// Entries of a table.
pub(super) fn count_entries<A: MapAddr>(table: &FlowTable<A>) -> Result<u64, Error> {
    let mut entries = 0;
    batch::each::<FlowKey<A>, Flow<A>>(&table.data, |_, _| entries += 1)
        .map_err(|error| unreadable("FLOWS", &error))?;
    Ok(entries)
}

/// The monotonic clock, as the programs read it.
pub(super) fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn idle<A>(flow: &Flow<A>, now: Duration) -> Duration {
    now.saturating_sub(Duration::from_nanos(flow.last_seen))
}

fn opposite<A: Copy>(key: &FlowKey<A>, flow: &Flow<A>) -> FlowKey<A> {
    FlowKey { tuple: flow.to.inverse(), protocol: key.protocol }
}

/// The opposite entry, if it is there and is this one's.
fn partner<A: MapAddr>(table: &FlowTable<A>, key: &FlowKey<A>, flow: &Flow<A>) -> Option<Flow<A>> {
    let other = table.map.get(&opposite(key, flow), 0).ok()?;
    (other.to == key.tuple.inverse()).then_some(other)
}

/// Lists all flows, established ones first.
pub(super) fn list(maps: &Maps, visit: &mut dyn FnMut(FlowInfo)) -> Result<(), Error> {
    list_table(&maps.v4.flows, true, visit)?;
    list_table(&maps.v6.flows, true, visit)?;
    list_table(&maps.v4.half_open, false, visit)?;
    list_table(&maps.v6.half_open, false, visit)
}

fn list_table<A: MapAddr>(
    table: &FlowTable<A>,
    established: bool,
    visit: &mut dyn FnMut(FlowInfo),
) -> Result<(), Error> {
    let now = now();
    batch::each::<FlowKey<A>, Flow<A>>(&table.data, |key, flow| {
        if flow.flags & flow_flags::TO_HOST != 0 {
            let other = partner(table, &key, &flow);
            visit(describe(&key, &flow, other.as_ref(), established, now));
        }
    })
    .map_err(|error| unreadable("FLOWS", &error))
}

fn describe<A: MapAddr>(
    key: &FlowKey<A>,
    flow: &Flow<A>,
    other: Option<&Flow<A>>,
    established: bool,
    now: Duration,
) -> FlowInfo {
    let port = u16::from_be;
    let traffic = |flow: &Flow<A>| Traffic { packets: flow.packets, bytes: flow.bytes };
    FlowInfo {
        slot: flow.slot,
        protocol: protocol(key),
        peer: (key.tuple.source.to_ip(), port(key.tuple.source_port)),
        home: (key.tuple.destination.to_ip(), port(key.tuple.destination_port)),
        host: (flow.to.destination.to_ip(), port(flow.to.destination_port)),
        snat_port: port(flow.to.source_port),
        state: state(flow, other, established),
        idle: other.map_or(Duration::MAX, |other| idle(other, now)).min(idle(flow, now)),
        to_host: traffic(flow),
        to_peer: other.map(traffic).unwrap_or_default(),
    }
}

fn protocol<A>(key: &FlowKey<A>) -> Protocol {
    if key.protocol == u32::from(redirectd_ebpf::wire::proto::UDP) {
        Protocol::Udp
    } else {
        Protocol::Tcp
    }
}

fn state<A>(flow: &Flow<A>, other: Option<&Flow<A>>, established: bool) -> FlowState {
    if !established {
        return FlowState::HalfOpen;
    }
    let other = other.map_or(0, |other| other.flags);
    let (any, both) = (flow.flags | other, flow.flags & other);
    if any & flow_flags::RST != 0 || both & flow_flags::FIN != 0 {
        FlowState::Closed
    } else if any & flow_flags::FIN != 0 {
        FlowState::HalfClosed
    } else {
        FlowState::Established
    }
}

/// How long a flow may be idle.
fn patience(timers: &Timers, protocol: Protocol, state: FlowState, answered: bool) -> Duration {
    match (protocol, state) {
        (Protocol::Udp, FlowState::HalfOpen) if !answered => timers.udp_unreplied,
        (Protocol::Udp, _) => timers.udp,
        // A connection closed in one direction may go on in the other for as
        // long as one that is open.
        (Protocol::Tcp, FlowState::Established | FlowState::HalfClosed) => timers.tcp_established,
        (Protocol::Tcp, FlowState::HalfOpen | FlowState::Closed) => timers.tcp_transitory,
    }
}

/// How long the way back from a host that a flow has left is kept after the last
/// packet from there: longer than any packet is under way.
const LEFT_BEHIND: Duration = Duration::from_secs(10);

/// What a sweep has found.
#[derive(Default)]
pub(super) struct Swept {
    /// Flows removed.
    pub removed: u64,
    /// Slots that flows still name.
    pub in_use: HashSet<Slot>,
}

/// Removes flows that have been idle too long, and all flows of the slots in
/// `doomed`; those in `moving` are left alone.
pub(super) fn sweep(
    maps: &mut Maps,
    timers: &Timers,
    doomed: &BTreeSet<Slot>,
    moving: &HashSet<Slot>,
) -> Result<Swept, Error> {
    let mut swept = Swept::default();
    let mut sweep = Sweep { timers, doomed, moving, now: now(), swept: &mut swept };
    let established =
        sweep.table(&mut maps.v4.flows, true)? + sweep.table(&mut maps.v6.flows, true)?;
    let half_open =
        sweep.table(&mut maps.v4.half_open, false)? + sweep.table(&mut maps.v6.half_open, false)?;
    swept.removed = established + half_open;
    note_expired(maps, established)?;
    Ok(swept)
}

struct Sweep<'s> {
    timers: &'s Timers,
    doomed: &'s BTreeSet<Slot>,
    moving: &'s HashSet<Slot>,
    now: Duration,
    swept: &'s mut Swept,
}

impl Sweep<'_> {
    /// Sweeps one table; returns how many flows, not entries, went.
    fn table<A: MapAddr>(
        &mut self,
        table: &mut FlowTable<A>,
        established: bool,
    ) -> Result<u64, Error> {
        let mut over = Vec::new();
        batch::each::<FlowKey<A>, Flow<A>>(&table.data, |key, flow| {
            if self.is_over(table, &key, &flow, established) {
                over.push((key, flow.flags & flow_flags::TO_HOST != 0));
            } else {
                self.swept.in_use.insert(flow.slot);
            }
        })
        .map_err(|error| unreadable("FLOWS", &error))?;
        let mut flows = 0;
        for (key, to_host) in over {
            let removed = table.map.remove(&key);
            // Each flow has one entry of this direction, so this counts flows.
            flows += u64::from(to_host && removed.is_ok());
            ignore_absent(removed).map_err(|error| failed("write", "FLOWS", &error))?;
        }
        Ok(flows)
    }

    fn is_over<A: MapAddr>(
        &self,
        table: &FlowTable<A>,
        key: &FlowKey<A>,
        flow: &Flow<A>,
        established: bool,
    ) -> bool {
        if self.doomed.contains(&flow.slot) {
            return true;
        }
        if self.moving.contains(&flow.slot) {
            return false;
        }
        let own = idle(flow, self.now);
        // Most entries end here, without a look at the opposite one.
        let least = |state| patience(self.timers, protocol(key), state, false);
        let shortest = [FlowState::HalfOpen, FlowState::Established, FlowState::Closed].map(least);
        let shortest = shortest.into_iter().min().unwrap_or_default();
        if own < shortest.min(LEFT_BEHIND) {
            return false;
        }
        let other = partner(table, key, flow);
        if established && other.is_none() && flow.flags & flow_flags::TO_HOST == 0 {
            return own >= LEFT_BEHIND;
        }
        let state = state(flow, other.as_ref(), established);
        let idle = other.map_or(own, |other| own.min(idle(&other, self.now)));
        let flags = flow.flags | other.map_or(0, |other| other.flags);
        let answered = flags & flow_flags::ANSWERED != 0;
        idle >= patience(self.timers, protocol(key), state, answered)
    }
}

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

/// Counts flows that user space has removed.
fn note_expired(maps: &mut Maps, flows: u64) -> Result<(), Error> {
    if flows == 0 {
        return Ok(());
    }
    let expired =
        maps.counts.get(&count::EXPIRED, 0).map_err(|error| failed("read", "COUNTS", &error))?;
    maps.counts
        .set(count::EXPIRED, expired.wrapping_add(flows), 0)
        .map_err(|error| failed("write", "COUNTS", &error))
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
        let host = A::from_ip(super::family::ip(location.address, version));
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
    let Flow { flags, last_seen, packets, bytes, .. } = present;
    let led = Flow { flags, last_seen, packets, bytes, ..flow.to };
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
