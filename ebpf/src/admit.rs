//! New flows: which port on the SNAT side, and whether there is room.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_ANY, BPF_NOEXIST, bpf_sock_tuple},
    helpers::generated::{
        bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_loop, bpf_sk_lookup_udp, bpf_sk_release,
        bpf_skc_lookup_tcp,
    },
    programs::TcContext,
};
use redirectd_ebpf::{
    abi::{
        ABI_VERSION, Flow, FlowKey, Location, NextHop, Settings, Tuple, count, flow_flags, hop_kind,
    },
    nat::Deltas,
    reason::{Fate, Reason},
    wire::proto,
};

use crate::{
    family::Family,
    hop::{self, LOOPBACK},
    maps::{self, Draft},
    park,
    parse::Part,
    stats,
    tc::{Tail, again, disown, owe, raw, tail},
};

/// How many ports are tried before a flow is refused.
const TRIES: u32 = 32;

/// From this try on a port is taken away from a flow that is only half-open:
/// those are the first to go, so a flood of openings cannot use the ports up.
const STEAL_FROM: u64 = 16;

/// `BPF_F_CURRENT_NETNS` (linux/bpf.h): the network namespace of the packet.
const CURRENT_NETNS: u64 = -1i64 as u64;

/// The program for packets that may open a flow: takes the flow as half-open,
/// both directions, and goes back to the program that translates.
#[inline(always)]
pub fn admit<F: Family>(ctx: &TcContext) -> Result<i32, Reason> {
    let packet = again::<F>(ctx)?;
    // SAFETY: the context is valid while the program runs.
    let from_wire = unsafe { (*raw(ctx)).ifindex } != LOOPBACK;
    let result = try_admit::<F>(ctx, &packet.key, from_wire);
    if let Err(reason) = result {
        return Err(match reason.fate() {
            Fate::Dropped => owe::<F>(ctx, reason, 0),
            _ if packet.part == Part::First => disown::<F>(ctx, reason),
            _ => reason,
        });
    }
    Err(tail::<F>(ctx, Tail::Opening))
}

/// Whether packets of `key` can be from a peer: its address is one that home
/// would send to. The kernel's own check of sources comes after this program.
#[inline(never)]
fn is_peer<F: Family>(ctx: *mut c_void, key: &FlowKey<F::Addr>) -> bool {
    if F::is_reserved(key.tuple.source) {
        return false;
    }
    let mut hop = NextHop::default();
    hop::find::<F>(ctx, &key.tuple.inverse(), key.protocol, 0, &mut hop);
    hop.kind != hop_kind::LOCAL
}

#[inline(always)]
fn try_admit<F: Family>(
    ctx: &TcContext,
    key: &FlowKey<F::Addr>,
    from_wire: bool,
) -> Result<(), Reason> {
    let way = park::redirect::<F>(ctx, key)?;
    let (slot, word, location) = (way.slot, way.word, way.location);
    if F::is_link_local(key.tuple.source) {
        return Err(Reason::LinkLocalPeer);
    }
    if from_wire && !is_peer::<F>(ctx.as_ptr(), key) {
        return Err(Reason::StrangeSource);
    }
    let settings = maps::SETTINGS.get(0).ok_or(Reason::NotReady)?;
    if settings.abi_version != ABI_VERSION {
        return Err(Reason::NotReady);
    }
    if !has_room(settings) {
        stats::refused(slot);
        return Err(Reason::TableFull);
    }
    let draft = F::draft()?;
    // SAFETY: no arguments, no preconditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    draft.flow = Flow {
        to: location_tuple::<F>(key, location),
        slot,
        generation: word.generation(),
        flags: 0,
        handed: 0,
        handshake: 0,
        addresses: 0,
        ports: 0,
        hop: NextHop::default(),
        last_seen: now,
        packets: 0,
        bytes: 0,
    };
    let result = reserve::<F>(ctx.as_ptr(), key, draft, settings);
    match result {
        Ok(()) => stats::opened(slot),
        Err(_) => stats::refused(slot),
    }
    result
}

/// What packets of `key` become at `location`, with the peer's own port.
#[inline(always)]
pub fn location_tuple<F: Family>(key: &FlowKey<F::Addr>, location: &Location) -> Tuple<F::Addr> {
    let port = u16::from_be(key.tuple.destination_port)
        .wrapping_sub(location.home_port)
        .wrapping_add(location.port);
    Tuple {
        source: key.tuple.destination,
        destination: F::address(location),
        source_port: key.tuple.source_port,
        destination_port: port.to_be(),
    }
}

/// Whether one more flow may be established.
#[inline(always)]
fn has_room(settings: &Settings) -> bool {
    let counted = |index| maps::COUNTS.get(index).copied().unwrap_or(0);
    let gone = counted(count::REMOVED).wrapping_add(counted(count::EXPIRED));
    counted(count::ESTABLISHED).wrapping_sub(gone) < settings.flows_max
}

/// What the search for a port works on.
struct Search<A: 'static> {
    ctx: *mut c_void,
    key: *const FlowKey<A>,
    draft: *mut Draft<A>,
    first: u32,
    span: u32,
    found: bool,
}

/// Finds a port for the SNAT side and enters both directions under it. The
/// opposite entry is entered first and only if nobody has it: that is what
/// makes the port ours.
#[inline(always)]
fn reserve<F: Family>(
    ctx: *mut c_void,
    key: &FlowKey<F::Addr>,
    draft: &mut Draft<F::Addr>,
    settings: &Settings,
) -> Result<(), Reason> {
    let first = u32::from(settings.snat_first);
    let span = u32::from(settings.snat_last).wrapping_sub(first) + 1;
    let mut search = Search { ctx, key, draft, first, span, found: false };
    // SAFETY: the callback takes what `bpf_loop` (Linux 5.17) calls it with, and
    // `search` outlives the call.
    unsafe {
        let callback: unsafe extern "C" fn(u64, *mut c_void) -> i64 = try_port::<F>;
        bpf_loop(TRIES, callback as *mut c_void, (&raw mut search).cast(), 0);
    }
    if search.found { Ok(()) } else { Err(Reason::PortsExhausted) }
}

/// One try; returns whether to stop.
unsafe extern "C" fn try_port<F: Family>(attempt: u64, search: *mut c_void) -> i64 {
    // SAFETY: `reserve` passes a whole `Search`, and nobody else has it meanwhile.
    let search = unsafe { &mut *search.cast::<Search<F::Addr>>() };
    // SAFETY: both outlive the search and are not part of it.
    let (key, draft) = unsafe { (&*search.key, &mut *search.draft) };
    if attempt > 0 {
        // SAFETY: no arguments, no preconditions.
        let random = u64::from(unsafe { bpf_get_prandom_u32() });
        // Scaled to the range: a division would bring a panic with it.
        let offset = ((random * u64::from(search.span)) >> 32) as u32;
        draft.flow.to.source_port = ((search.first + offset) as u16).to_be();
    }
    draft.key = FlowKey { tuple: draft.flow.to.inverse(), protocol: key.protocol };
    // SAFETY: only the presence of the key is asked for.
    let taken = unsafe { F::maps().flows.get(&draft.key).is_some() };
    if !taken && !has_socket(search.ctx, key.protocol, &draft.key.tuple) {
        search.found = enter::<F>(key, draft, attempt >= STEAL_FROM);
    }
    i64::from(search.found)
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
fn enter<F: Family>(key: &FlowKey<F::Addr>, draft: &mut Draft<F::Addr>, steal: bool) -> bool {
    let half_open = F::maps().half_open;
    let flow = &mut draft.flow;
    let deltas = Deltas::between(&key.tuple, &flow.to);
    flow.to = key.tuple.inverse();
    flow.flags = 0;
    flow.addresses = deltas.addresses.undone().0;
    flow.ports = deltas.ports.undone().0;
    let how = if steal { BPF_ANY } else { BPF_NOEXIST };
    let entered = half_open.insert(&draft.key, &*flow, u64::from(how)).is_ok();
    flow.to = draft.key.tuple.inverse();
    if !entered {
        return false;
    }
    flow.flags = flow_flags::TO_HOST;
    flow.addresses = deltas.addresses.0;
    flow.ports = deltas.ports.0;
    half_open.insert(key, &*flow, u64::from(BPF_ANY)).is_ok()
}
