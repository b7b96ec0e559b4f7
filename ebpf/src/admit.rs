//! New flows: which port on the SNAT side, and whether there is room.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST, bpf_sock_tuple},
    helpers::generated::{
        bpf_get_prandom_u32, bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp,
    },
};
use redirectd_ebpf::{
    abi::{ABI_VERSION, Flow, FlowKey, NextHop, Settings, Tuple, count, flow_flags, slot_state},
    nat::Deltas,
    reason::Reason,
    wire::proto,
};

use crate::{family::Family, lookup, maps, outcome, stats};

/// How many ports are tried before a flow is refused.
const TRIES: u32 = 32;

/// From this try on a port is taken away from a flow that is only half-open:
/// those are the first to go, so a flood of openings cannot use the ports up.
const STEAL_FROM: u32 = 16;

/// `BPF_F_CURRENT_NETNS` (linux/bpf.h): the network namespace of the packet.
const CURRENT_NETNS: u64 = -1i64 as u64;

/// Takes a new flow for packets of `key` as half-open, both directions.
/// Returns as [`crate::outcome`] says.
#[inline(never)]
pub fn admit<F: Family>(ctx: *mut c_void, key: &FlowKey<F::Addr>, now: u64) -> i64 {
    outcome::from(try_admit::<F>(ctx, key, now))
}

#[inline(always)]
fn try_admit<F: Family>(ctx: *mut c_void, key: &FlowKey<F::Addr>, now: u64) -> Result<(), Reason> {
    let slot = lookup::redirect::<F>(key)?;
    if F::is_link_local(key.tuple.source) {
        return Err(Reason::LinkLocalPeer);
    }
    let settings = maps::SETTINGS.get(0).ok_or(Reason::NotReady)?;
    if settings.abi_version != ABI_VERSION {
        return Err(Reason::NotReady);
    }
    let word = *maps::SLOTS.get(slot).ok_or(Reason::NoRedirect)?;
    if word.state() != slot_state::ACTIVE {
        return Err(Reason::NoRedirect);
    }
    let location = maps::LOCATIONS.get(word.location(slot)).ok_or(Reason::NoRedirect)?;
    if !has_room(settings) {
        stats::refused(slot);
        return Err(Reason::TableFull);
    }
    let port = u16::from_be(key.tuple.destination_port)
        .wrapping_sub(location.home_port)
        .wrapping_add(location.port);
    let mut flow = Flow {
        to: Tuple {
            source: key.tuple.destination,
            destination: F::address(location),
            source_port: key.tuple.source_port,
            destination_port: port.to_be(),
        },
        slot,
        generation: word.generation(),
        flags: 0,
        handshake: 0,
        addresses: 0,
        ports: 0,
        hop: NextHop::default(),
        last_seen: now,
        packets: 0,
        bytes: 0,
    };
    let result = reserve::<F>(ctx, key, &mut flow, settings);
    match result {
        Ok(()) => stats::opened(slot),
        Err(_) => stats::refused(slot),
    }
    result
}

/// Whether one more flow may be established.
#[inline(always)]
fn has_room(settings: &Settings) -> bool {
    let counted = |index| maps::COUNTS.get(index).copied().unwrap_or(0);
    let gone = counted(count::REMOVED).wrapping_add(counted(count::EXPIRED));
    counted(count::ESTABLISHED).wrapping_sub(gone) < settings.flows_max
}

/// Finds a port for the SNAT side and enters both directions under it. The
/// opposite entry is entered first and only if nobody has it: that is what
/// makes the port ours.
#[inline(always)]
fn reserve<F: Family>(
    ctx: *mut c_void,
    key: &FlowKey<F::Addr>,
    flow: &mut Flow<F::Addr>,
    settings: &Settings,
) -> Result<(), Reason> {
    let span = u32::from(settings.snat_last.wrapping_sub(settings.snat_first)) + 1;
    for attempt in 0..TRIES {
        if attempt > 0 {
            // SAFETY: no arguments, no preconditions.
            let random = unsafe { bpf_get_prandom_u32() } % span;
            flow.to.source_port = ((u32::from(settings.snat_first) + random) as u16).to_be();
        }
        if is_free::<F>(ctx, key.protocol, &flow.to)
            && enter::<F>(key, flow, attempt >= STEAL_FROM)?
        {
            return Ok(());
        }
    }
    Err(Reason::PortsExhausted)
}

/// Whether `to` can be told apart from all other flows and home's own sockets.
#[inline(always)]
fn is_free<F: Family>(ctx: *mut c_void, protocol: u32, to: &Tuple<F::Addr>) -> bool {
    let answer = FlowKey { tuple: to.inverse(), protocol };
    // SAFETY: only the presence of the key is asked for.
    let taken = unsafe { F::maps().flows.get(answer).is_some() };
    !taken && !has_socket(ctx, protocol, &answer.tuple)
}

/// Whether a socket of this node would receive a packet with `tuple`.
#[inline(always)]
fn has_socket<A>(ctx: *mut c_void, protocol: u32, tuple: &Tuple<A>) -> bool {
    let size = size_of::<Tuple<A>>() as u32;
    // A tuple is laid out as the members of `struct bpf_sock_tuple`.
    let tuple = core::ptr::from_ref(tuple).cast_mut().cast::<bpf_sock_tuple>();
    // SAFETY: `tuple` and `size` describe one whole tuple; a socket that is
    // found is released before anything else happens.
    unsafe {
        let socket = if protocol == u32::from(proto::TCP) {
            bpf_skc_lookup_tcp(ctx, tuple, size, CURRENT_NETNS, 0)
        } else {
            bpf_sk_lookup_udp(ctx, tuple, size, CURRENT_NETNS, 0)
        };
        if socket.is_null() {
            return false;
        }
        bpf_sk_release(socket.cast());
    }
    true
}

/// Enters both directions among the half-open flows; false if the port is
/// taken, by a half-open flow and `steal` is not set.
#[inline(always)]
fn enter<F: Family>(
    key: &FlowKey<F::Addr>,
    flow: &mut Flow<F::Addr>,
    steal: bool,
) -> Result<bool, Reason> {
    let half_open = F::maps().half_open;
    let to = flow.to;
    let answer = FlowKey { tuple: to.inverse(), protocol: key.protocol };
    let deltas = Deltas::between(&key.tuple, &to);
    flow.to = key.tuple.inverse();
    flow.flags = 0;
    flow.addresses = deltas.addresses.undone().0;
    flow.ports = deltas.ports.undone().0;
    let how = if steal { BPF_ANY } else { BPF_NOEXIST };
    let entered = half_open.insert(answer, &*flow, u64::from(how)).is_ok();
    flow.to = to;
    if !entered {
        return Ok(false);
    }
    flow.flags = flow_flags::TO_HOST;
    flow.addresses = deltas.addresses.0;
    flow.ports = deltas.ports.0;
    half_open.insert(key, &*flow, u64::from(BPF_ANY)).map_err(|_| Reason::TableFull)?;
    Ok(true)
}
