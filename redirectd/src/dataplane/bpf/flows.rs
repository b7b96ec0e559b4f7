//! Flows in the kernel: listing them, and removing those whose time has run out.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use redirectd_ebpf::abi::{Flow, FlowKey, count, flow_flags};

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
pub(super) fn partner<A: MapAddr>(
    table: &FlowTable<A>,
    key: &FlowKey<A>,
    flow: &Flow<A>,
) -> Option<Flow<A>> {
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

/// Counts flows that user space has removed.
pub(super) fn note_expired(maps: &mut Maps, flows: u64) -> Result<(), Error> {
    if flows == 0 {
        return Ok(());
    }
    let expired =
        maps.counts.get(&count::EXPIRED, 0).map_err(|error| failed("read", "COUNTS", &error))?;
    maps.counts
        .set(count::EXPIRED, expired.wrapping_add(flows), 0)
        .map_err(|error| failed("write", "COUNTS", &error))
}
