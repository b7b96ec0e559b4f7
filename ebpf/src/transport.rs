//! TCP and UDP at tc: from a packet to its flow, and the flow's life.

use aya_ebpf::{EbpfContext, helpers::generated::bpf_ktime_get_coarse_ns, programs::TcContext};
use redirectd_ebpf::{
    abi::{Flow, NextHop, flow_flags, hop_kind},
    csum::Delta,
    reason::{Fate, Reason},
    wire::{Tcp, Udp, proto},
};

use crate::{
    family::Family,
    fragment, hop,
    lookup::{self, Standing},
    outcome, park,
    parse::{Frame, Packet, Part},
    rewrite::{self, Translation},
    stats,
    tc::{Tail, again, disown, owe, raw, send, settle, tags, tail, transport_check, untag},
    track::{self, Segment, Step},
};

/// TCP and UDP: translates what belongs to an established flow and is plain,
/// lets go at once what no flow and no redirect can be for.
#[inline(always)]
pub fn transport<F: Family>(ctx: &TcContext, packet: &Packet<F::Addr>) -> Result<i32, Reason> {
    // Fragments are looked into all the same: the later ones must be told of the
    // first.
    if packet.part == Part::Whole && !lookup::may_be_ours(&packet.key) {
        return Err(Reason::NoRedirect);
    }
    let Some(flow) = F::maps().flows.get_ptr_mut(packet.key) else {
        return Err(tail::<F>(ctx, Tail::Opening));
    };
    // SAFETY: a map's value stays valid while the program runs.
    let flow = unsafe { &mut *flow };
    flow.handed = 0;
    // Before the segment is looked at: a first fragment may not have all of it.
    if packet.part != Part::Whole {
        return Err(tail::<F>(ctx, Tail::Opening));
    }
    let segment = segment(ctx, packet)?;
    if tags(ctx, packet.l3) != 0 || segment.opens() || lookup::standing(flow) != Standing::Current {
        return Err(tail::<F>(ctx, Tail::Opening));
    }
    // SAFETY: no arguments, no preconditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let Ok(translation) = Translation::of(flow) else {
        return Err(tail::<F>(ctx, Tail::Opening));
    };
    let way = check_hop::<F>(ctx, packet, flow, &translation, now)?;
    if way == Way::Stack {
        return Err(tail::<F>(ctx, Tail::Opening));
    }
    account(ctx, flow, segment, packet, now);
    let by_neighbour = NextHop { kind: hop_kind::UNRESOLVED, ..flow.hop };
    let hop = if way == Way::Neighbour { &by_neighbour } else { &flow.hop };
    let aged = rewrite::headers::<F>(ctx, packet, &translation)?;
    finish::<F>(ctx, packet, hop, &translation, aged)?;
    Ok(send(ctx, hop))
}

/// TCP and UDP, everything: flows that begin, move or end, first fragments,
/// tagged frames.
#[inline(always)]
pub fn opening<F: Family>(ctx: &TcContext) -> Result<i32, Reason> {
    let mut packet = again::<F>(ctx)?;
    let result = opening_packet::<F>(ctx, &mut packet);
    match result {
        Err(reason) if packet.part == Part::First && reason.fate() == Fate::Passed => {
            Err(disown::<F>(ctx, reason))
        }
        result => result,
    }
}

#[inline(always)]
fn opening_packet<F: Family>(ctx: &TcContext, packet: &mut Packet<F::Addr>) -> Result<i32, Reason> {
    let segment = segment(ctx, packet)?;
    // SAFETY: no arguments, no preconditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let mut flow = F::maps().flows.get_ptr_mut(packet.key);
    if let Some(established) = flow {
        // SAFETY: a map's value stays valid while the program runs.
        if !is_valid::<F>(ctx, packet, unsafe { &*established }, segment)? {
            flow = None;
        }
    }
    let flow = match flow {
        Some(flow) => flow,
        None => half_open::<F>(ctx, packet, segment, now)?,
    };
    // SAFETY: a map's value stays valid while the program runs.
    translate::<F>(ctx, packet, unsafe { &mut *flow }, segment, now)
}

/// Brings an established flow up to its redirect's new target, and goes back to
/// the program that translates.
#[inline(always)]
pub fn follow<F: Family>(ctx: &TcContext) -> Result<i32, Reason> {
    let packet = again::<F>(ctx)?;
    let flow = F::maps().flows.get_ptr_mut(packet.key).ok_or(Reason::NoEffect)?;
    // SAFETY: a map's value stays valid while the program runs.
    let flow = unsafe { &mut *flow };
    let standing = match lookup::standing(flow) {
        // Whether the packet is held was decided on the way here.
        Standing::Gated(word) => lookup::standing_by(flow, park::effective(word)),
        standing => standing,
    };
    if let Standing::Moved(word) = standing {
        track::follow::<F>(&packet.key, flow, word)?;
    }
    Err(tail::<F>(ctx, Tail::Opening))
}

/// Whether an established flow still stands. If it does not it is removed, and
/// the packet may open another.
#[inline(always)]
fn is_valid<F: Family>(
    ctx: &TcContext,
    packet: &Packet<F::Addr>,
    flow: &Flow<F::Addr>,
    segment: Segment,
) -> Result<bool, Reason> {
    match park::standing(ctx, flow)? {
        Standing::Current => {}
        Standing::Moved(_) | Standing::Gated(_) => return Err(tail::<F>(ctx, Tail::Follow)),
        Standing::Void => {
            track::remove::<F>(&packet.key, flow);
            return Ok(false);
        }
    }
    if segment.opens() && track::is_over::<F>(&packet.key, flow) != 0 {
        track::remove::<F>(&packet.key, flow);
        return Ok(false);
    }
    Ok(true)
}

/// The flow of a packet that belongs to no established one.
#[inline(always)]
fn half_open<F: Family>(
    ctx: &TcContext,
    packet: &Packet<F::Addr>,
    segment: Segment,
    now: u64,
) -> Result<*mut Flow<F::Addr>, Reason> {
    let maps = F::maps();
    let known = maps.half_open.get_ptr_mut(packet.key);
    let standing = match known {
        // SAFETY: a map's value stays valid while the program runs.
        Some(flow) => park::standing(ctx, unsafe { &*flow })?,
        None => Standing::Void,
    };
    let step = match known {
        Some(flow) if standing != Standing::Void => {
            // SAFETY: as above.
            step::<F>(packet, unsafe { &mut *flow }, segment, standing, now)?
        }
        _ if segment.opens() || packet.key.protocol == u32::from(proto::UDP) => Step::Admit,
        _ => return Err(unopened::<F>(ctx, packet)),
    };
    let flow = match step {
        Step::Drop => return Err(Reason::NotAnswered),
        Step::Promote => maps.flows.get_ptr_mut(packet.key),
        Step::Translate => maps.half_open.get_ptr_mut(packet.key),
        Step::Admit => return Err(tail::<F>(ctx, Tail::Admit)),
    };
    flow.ok_or(Reason::NoEffect)
}

/// Why a segment that opens nothing and belongs to nothing is left alone.
#[inline(always)]
fn unopened<F: Family>(ctx: &TcContext, packet: &Packet<F::Addr>) -> Reason {
    match park::redirect::<F>(ctx, &packet.key) {
        Ok(_) => Reason::NotAnOpening,
        Err(reason) => reason,
    }
}

#[inline(always)]
fn step<F: Family>(
    packet: &Packet<F::Addr>,
    flow: &mut Flow<F::Addr>,
    segment: Segment,
    standing: Standing,
    now: u64,
) -> Result<Step, Reason> {
    let moved = standing != Standing::Current;
    let step = track::half_open::<F>(&packet.key, flow, segment, moved);
    if step == Step::Promote {
        flow.last_seen = now;
        outcome::check(track::promote::<F>(&packet.key, flow))?;
    }
    Ok(step)
}

/// What TCP's part of the packet says.
#[inline(always)]
fn segment<A>(ctx: &TcContext, packet: &Packet<A>) -> Result<Segment, Reason> {
    if packet.key.protocol != u32::from(proto::TCP) {
        ctx.at::<Udp>(packet.l4)?;
        return Ok(Segment::default());
    }
    // SAFETY: `at` has checked the bounds.
    let header = unsafe { &*ctx.at::<Tcp>(packet.l4)? };
    Ok(Segment {
        flags: header.flags,
        sequence: u32::from_be(header.sequence),
        acknowledgement: u32::from_be(header.acknowledgement),
    })
}

/// Rewrites a packet of `flow` and sends it on, whatever it is.
#[inline(always)]
fn translate<F: Family>(
    ctx: &TcContext,
    packet: &mut Packet<F::Addr>,
    flow: &mut Flow<F::Addr>,
    segment: Segment,
    now: u64,
) -> Result<i32, Reason> {
    let translation = Translation::of(flow)?;
    let way = check_hop::<F>(ctx, packet, flow, &translation, now)?;
    if packet.part == Part::First {
        let held = fragment::first::<F>(packet, flow, now);
        if held > 0 {
            return Ok(fragment::release::<F>(ctx, packet, held));
        }
    }
    account(ctx, flow, segment, packet, now);
    untag(ctx, packet)?;
    if packet.part == Part::First {
        fragment::identify::<F>(ctx, packet)?;
    }
    let aged = rewrite::headers::<F>(ctx, packet, &translation).map_err(|_| Reason::NoEffect)?;
    let by_neighbour = NextHop { kind: hop_kind::UNRESOLVED, ..flow.hop };
    let hop = match way {
        Way::Hop => &flow.hop,
        Way::Neighbour => &by_neighbour,
        Way::Stack => &TO_STACK,
    };
    finish::<F>(ctx, packet, hop, &translation, aged)?;
    Ok(send(ctx, hop))
}

/// How a packet goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To its next hop.
    Hop,
    /// To its next hop by way of the kernel's neighbour table, so that the kernel
    /// sees a packet for that neighbour once more.
    Neighbour,
    /// Through home's own IP stack, by `lo`: it is too big for its hop but may be
    /// cut up, which the stack can do (RFC 4787, REQ-13).
    Stack,
}

/// The hop of [`Way::Stack`]. `lo` is the interface on which home forwards.
pub static TO_STACK: NextHop = NextHop {
    destination: [0; 6],
    source: [0; 6],
    ifindex: hop::LOOPBACK,
    mtu: 0,
    kind: hop_kind::LOCAL,
    checked: 0,
};

/// Looks up where the packet goes, and whether it may.
#[inline(always)]
fn check_hop<F: Family>(
    ctx: &TcContext,
    packet: &Packet<F::Addr>,
    flow: &mut Flow<F::Addr>,
    translation: &Translation<F::Addr>,
    now: u64,
) -> Result<Way, Reason> {
    let looked_up =
        hop::refresh::<F>(ctx.as_ptr(), &packet.key, &translation.to, now, &mut flow.hop);
    let hop = &flow.hop;
    if hop.kind == hop_kind::NONE {
        return Err(Reason::NoRoute);
    }
    if packet.ttl <= 1 {
        return Err(owe::<F>(ctx, Reason::TtlExpired, 0));
    }
    if hop.mtu != 0 && packet.length > u32::from(hop.mtu) && is_too_big(ctx, packet, hop) {
        if packet.may_cut {
            return Ok(Way::Stack);
        }
        return Err(owe::<F>(ctx, Reason::TooBig, hop.mtu));
    }
    let ethernet = hop.kind == hop_kind::ETHERNET || hop.kind == hop_kind::ETHERNET_XDP;
    if looked_up && ethernet && hop::is_neighbour_due(hop, now, true) {
        return Ok(Way::Neighbour);
    }
    Ok(Way::Hop)
}

/// MAC addresses and the transport's checksum: the last steps, as the helper
/// for the latter takes the packet out of our hands.
#[inline(always)]
fn finish<F: Family>(
    ctx: &TcContext,
    packet: &Packet<F::Addr>,
    hop: &NextHop,
    translation: &Translation<F::Addr>,
    aged: Delta,
) -> Result<(), Reason> {
    if hop.kind != hop_kind::UNRESOLVED {
        rewrite::macs(ctx, hop).map_err(|_| Reason::NoEffect)?;
    }
    settle(ctx, aged);
    transport_check::<F>(ctx, packet, translation)
}

/// Whether the packet, or what it will be cut into, is larger than the hop takes.
#[inline(always)]
fn is_too_big<A>(ctx: &TcContext, packet: &Packet<A>, hop: &NextHop) -> bool {
    // SAFETY: the context is valid while the program runs.
    let segment = unsafe { (*raw(ctx)).gso_size };
    if segment == 0 {
        return true;
    }
    let transport = if packet.key.protocol == u32::from(proto::TCP) {
        match ctx.at::<Tcp>(packet.l4) {
            // SAFETY: `at` has checked the bounds.
            Ok(header) => u32::from(unsafe { (*header).data_offset } >> 4) * 4,
            Err(_) => return true,
        }
    } else {
        size_of::<Udp>() as u32
    };
    (packet.l4 - packet.l3) as u32 + transport + segment > u32::from(hop.mtu)
}

#[inline(always)]
fn account<A>(ctx: &TcContext, flow: &mut Flow<A>, segment: Segment, packet: &Packet<A>, now: u64) {
    // SAFETY: the context is valid while the program runs.
    let segments = unsafe { (*raw(ctx)).gso_segs };
    let packets = if segments == 0 { 1 } else { u64::from(segments) };
    let bytes = u64::from(packet.length);
    track::note(flow, segment);
    flow.last_seen = now;
    flow.packets += packets;
    flow.bytes += bytes;
    stats::translated(flow.slot, flow.flags & flow_flags::TO_HOST != 0, packets, bytes);
}
