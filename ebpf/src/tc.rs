//! The tc entry: everything the packet path can do. It works on socket buffers,
//! whose checksums may be left to hardware, so the transport's checksum is only
//! ever changed through the kernel's helper.

use aya_ebpf::{
    EbpfContext,
    bindings::__sk_buff,
    helpers::generated::{
        bpf_ktime_get_coarse_ns, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh,
        bpf_skb_pull_data, bpf_skb_vlan_pop,
    },
    macros::classifier,
    programs::TcContext,
};
use redirectd_ebpf::{
    abi::{Flow, NextHop, flow_flags, hop_kind},
    csum::Delta,
    reason::{Fate, Reason},
    wire::{ETHERTYPE_IPV4, Ethernet, Tcp, Udp, VlanTag, proto},
};

use crate::{
    admit,
    family::{Family, V4, V6},
    fragment, hop, icmp,
    lookup::{self, Standing},
    maps, outcome,
    parse::{self, Frame, Packet, Part},
    rewrite::{self, Translation},
    stats, tell,
    track::{self, Segment, Step},
};

/// On with the next program; the last one leaves the packet to the kernel.
/// `TC_ACT_UNSPEC` and `TCX_NEXT` are the same number.
const NEXT: i32 = -1;
/// Drop the packet: `TC_ACT_SHOT`, `TCX_DROP`.
const DROP: i32 = 2;
/// `BPF_F_INGRESS`: as if received on the interface.
const INGRESS: u64 = 1;
/// `BPF_F_PSEUDO_HDR`: what changes is in the pseudo-header.
const PSEUDO: u64 = 1 << 4;
/// `BPF_F_MARK_MANGLED_0`: UDP's rules for a checksum of 0.
const UDP_RULES: u64 = 1 << 5;
/// `PACKET_HOST` of linux/if_packet.h: the frame is for this station.
const PACKET_HOST: u32 = 0;
/// How much of a packet must be in one piece: all headers that are looked at,
/// those of a packet quoted in an ICMP error included.
const LINEAR: u32 = 192;
/// Most VLAN tags a frame may have: a service tag and a customer tag.
const TAGS_MAX: usize = 2;

impl Frame for TcContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }
}

/// The raw context, for helpers and fields aya does not wrap.
#[inline(always)]
pub fn raw(ctx: &TcContext) -> *mut __sk_buff {
    ctx.skb.skb
}

/// What the tail-called programs do; each has two, for IPv4 and then for IPv6.
#[derive(Clone, Copy)]
pub enum Tail {
    /// TCP and UDP that need more than the established flow they belong to.
    Opening = 0,
    /// ICMP errors.
    Icmp = 2,
    /// Later fragments.
    Fragment = 4,
    /// Messages home itself owes.
    Tell = 6,
    /// New flows.
    Admit = 8,
    /// Flows whose redirect has a new target.
    Follow = 10,
}

/// Goes on in another program, which has a stack of its own and parses the
/// packet anew. Only returns if that program is not loaded.
#[inline(always)]
pub fn tail<F: Family>(ctx: &TcContext, tail: Tail) -> Reason {
    let index = tail as u32 + u32::from(F::AF != V4::AF);
    // SAFETY: the context is the program's own.
    unsafe { maps::PROGRAMS.tail_call(ctx, index) };
    Reason::NotReady
}

/// Counts what became of the packet and says so to the kernel.
#[inline(always)]
fn verdict(ctx: &TcContext, result: Result<i32, Reason>) -> i32 {
    match result {
        Ok(action) => action,
        Err(reason) => {
            stats::reason(reason, u64::from(ctx.len()));
            #[cfg(feature = "log")]
            aya_log_ebpf::debug!(ctx, "tc: {} bytes: {}", ctx.len(), reason.name());
            if reason.fate() == Fate::Dropped { DROP } else { NEXT }
        }
    }
}

/// The program on the ingress hook: established flows. What needs more goes on
/// in the programs below.
#[classifier]
pub fn redirectd_tc(ctx: TcContext) -> i32 {
    verdict(&ctx, enter(&ctx))
}

macro_rules! tails {
    ($($name:ident = $f:expr;)*) => {$(
        #[classifier]
        pub fn $name(ctx: TcContext) -> i32 {
            verdict(&ctx, $f(&ctx))
        }
    )*};
}

tails! {
    redirectd_open4 = opening::<V4>;
    redirectd_open6 = opening::<V6>;
    redirectd_icmp4 = icmp::translate::<V4>;
    redirectd_icmp6 = icmp::translate::<V6>;
    redirectd_frag4 = fragment::later::<V4>;
    redirectd_frag6 = fragment::later::<V6>;
    redirectd_tell4 = tell::tell::<V4>;
    redirectd_tell6 = tell::tell::<V6>;
    redirectd_admit4 = admit::admit::<V4>;
    redirectd_admit6 = admit::admit::<V6>;
    redirectd_follow4 = follow::<V4>;
    redirectd_follow6 = follow::<V6>;
}

#[inline(always)]
fn enter(ctx: &TcContext) -> Result<i32, Reason> {
    // SAFETY: the context is valid while the program runs.
    if unsafe { (*raw(ctx)).pkt_type } != PACKET_HOST {
        return Err(Reason::OtherHost);
    }
    linearise(ctx);
    let (ethertype, l3) = parse::ethernet(ctx)?;
    if tags(ctx, l3) > TAGS_MAX {
        return Err(Reason::NotIp);
    }
    if ethertype == ETHERTYPE_IPV4 { dispatch::<V4>(ctx, l3) } else { dispatch::<V6>(ctx, l3) }
}

/// The packet, in a program that was tail-called with it.
#[inline(always)]
pub fn again<F: Family>(ctx: &TcContext) -> Result<Packet<F::Addr>, Reason> {
    let (_, l3) = parse::ethernet(ctx)?;
    F::parse(ctx, l3)
}

/// Brings the headers into one piece, where they are not.
#[inline(always)]
fn linearise(ctx: &TcContext) {
    let wanted = if ctx.len() < LINEAR { ctx.len() } else { LINEAR };
    if ctx.data() + wanted as usize > ctx.data_end() {
        // SAFETY: the context is valid; a failure shows as `Truncated` later.
        unsafe { bpf_skb_pull_data(raw(ctx), wanted) };
    }
}

#[inline(always)]
fn dispatch<F: Family>(ctx: &TcContext, l3: usize) -> Result<i32, Reason> {
    let packet = F::parse(ctx, l3)?;
    let protocol = packet.key.protocol as u8;
    if packet.part == Part::Later {
        return Err(tail::<F>(ctx, Tail::Fragment));
    }
    if protocol == F::ICMP {
        return Err(tail::<F>(ctx, Tail::Icmp));
    }
    if protocol != proto::TCP && protocol != proto::UDP {
        return Err(Reason::OtherProtocol);
    }
    transport::<F>(ctx, &packet)
}

/// TCP and UDP: translates what belongs to an established flow and is plain,
/// lets go at once what no flow and no redirect can be for.
#[inline(always)]
fn transport<F: Family>(ctx: &TcContext, packet: &Packet<F::Addr>) -> Result<i32, Reason> {
    let Some(flow) = F::maps().flows.get_ptr_mut(packet.key) else {
        let tuple = &packet.key.tuple;
        let protocol = packet.key.protocol;
        if packet.part == Part::Whole
            && !lookup::is_known_port(protocol, tuple.destination_port)
            && !lookup::is_known_port(protocol, tuple.source_port)
        {
            return Err(Reason::NoRedirect);
        }
        return Err(tail::<F>(ctx, Tail::Opening));
    };
    // SAFETY: a map's value stays valid while the program runs.
    let flow = unsafe { &mut *flow };
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
    let translation = Translation::of(flow)?;
    check_hop::<F>(ctx, packet, flow, &translation, now)?;
    account(ctx, flow, segment, packet, now);
    let hop = &flow.hop;
    rewrite::headers::<F>(ctx, packet, &translation)?;
    finish::<F>(ctx, packet, hop, &translation)?;
    Ok(send(ctx, hop))
}

/// TCP and UDP, everything: flows that begin, move or end, first fragments,
/// tagged frames.
#[inline(always)]
fn opening<F: Family>(ctx: &TcContext) -> Result<i32, Reason> {
    let mut packet = again::<F>(ctx)?;
    let result = opening_packet::<F>(ctx, &mut packet);
    if packet.part == Part::First
        && let Err(reason) = result
        && reason.fate() == Fate::Passed
    {
        fragment::own::<F>(&F::fragment_key(&packet));
    }
    result
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
fn follow<F: Family>(ctx: &TcContext) -> Result<i32, Reason> {
    let packet = again::<F>(ctx)?;
    let flow = F::maps().flows.get_ptr_mut(packet.key).ok_or(Reason::NoEffect)?;
    // SAFETY: a map's value stays valid while the program runs.
    let flow = unsafe { &mut *flow };
    if let Standing::Moved(word) = lookup::standing(flow) {
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
    match lookup::standing(flow) {
        Standing::Current => {}
        Standing::Moved(_) => return Err(tail::<F>(ctx, Tail::Follow)),
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
    let step = match maps.half_open.get_ptr_mut(packet.key) {
        // SAFETY: a map's value stays valid while the program runs.
        Some(flow) => step::<F>(packet, unsafe { &mut *flow }, segment, now)?,
        None if segment.opens() || packet.key.protocol == u32::from(proto::UDP) => Step::Admit,
        None => return Err(unopened::<F>(packet)),
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
fn unopened<F: Family>(packet: &Packet<F::Addr>) -> Reason {
    match lookup::redirect::<F>(&packet.key) {
        Ok(_) => Reason::NotAnOpening,
        Err(reason) => reason,
    }
}

#[inline(always)]
fn step<F: Family>(
    packet: &Packet<F::Addr>,
    flow: &mut Flow<F::Addr>,
    segment: Segment,
    now: u64,
) -> Result<Step, Reason> {
    let moved = lookup::standing(flow) != Standing::Current;
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
    check_hop::<F>(ctx, packet, flow, &translation, now)?;
    if packet.part == Part::First {
        let held = fragment::first::<F>(packet, flow, now);
        if held > 0 {
            return Ok(fragment::release::<F>(ctx, packet, held));
        }
    }
    account(ctx, flow, segment, packet, now);
    let hop = &flow.hop;
    untag(ctx, packet)?;
    if packet.part == Part::First {
        fragment::identify::<F>(ctx, packet)?;
    }
    rewrite::headers::<F>(ctx, packet, &translation).map_err(|_| Reason::NoEffect)?;
    finish::<F>(ctx, packet, hop, &translation)?;
    Ok(send(ctx, hop))
}

/// Looks up where the packet goes, and whether it may.
#[inline(always)]
fn check_hop<F: Family>(
    ctx: &TcContext,
    packet: &Packet<F::Addr>,
    flow: &mut Flow<F::Addr>,
    translation: &Translation<F::Addr>,
    now: u64,
) -> Result<(), Reason> {
    hop::refresh::<F>(ctx.as_ptr(), &packet.key, &translation.to, now, &mut flow.hop);
    let hop = &flow.hop;
    if hop.kind == hop_kind::NONE {
        return Err(Reason::NoRoute);
    }
    if packet.ttl <= 1 {
        return Err(owe::<F>(ctx, Reason::TtlExpired, 0));
    }
    if hop.mtu != 0 && packet.length > u32::from(hop.mtu) && is_too_big(ctx, packet, hop) {
        return Err(owe::<F>(ctx, Reason::TooBig, hop.mtu));
    }
    Ok(())
}

/// Leaves it to the next program to tell the sender why its packet is dropped.
#[inline(always)]
fn owe<F: Family>(ctx: &TcContext, reason: Reason, mtu: u16) -> Reason {
    // SAFETY: the context is valid while the program runs; `cb` is for programs
    // to leave notes in.
    unsafe { (*raw(ctx)).cb[0] = (reason as u32) << 16 | u32::from(mtu) };
    tail::<F>(ctx, Tail::Tell);
    reason
}

/// MAC addresses and the transport's checksum: the last steps, as the helper
/// for the latter takes the packet out of our hands.
#[inline(always)]
fn finish<F: Family>(
    ctx: &TcContext,
    packet: &Packet<F::Addr>,
    hop: &NextHop,
    translation: &Translation<F::Addr>,
) -> Result<(), Reason> {
    if hop.kind != hop_kind::UNRESOLVED {
        rewrite::macs(ctx, hop).map_err(|_| Reason::NoEffect)?;
    }
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

/// Takes VLAN tags off: the interface the packet leaves through puts its own on.
#[inline(always)]
pub fn untag<A>(ctx: &TcContext, packet: &mut Packet<A>) -> Result<(), Reason> {
    for _ in 0..TAGS_MAX {
        if tags(ctx, packet.l3) == 0 {
            return Ok(());
        }
        // SAFETY: the context is valid; packet pointers are made anew afterwards.
        if unsafe { bpf_skb_vlan_pop(raw(ctx)) } != 0 {
            return Err(Reason::NoEffect);
        }
        let (_, l3) = parse::ethernet(ctx).map_err(|_| Reason::NoEffect)?;
        packet.shift_down(packet.l3 - l3);
    }
    if tags(ctx, packet.l3) == 0 { Ok(()) } else { Err(Reason::NoEffect) }
}

/// How many VLAN tags a frame has whose IP header is at `l3`: those in it, and
/// the one the driver or the kernel has taken out and noted.
#[inline(always)]
fn tags(ctx: &TcContext, l3: usize) -> usize {
    // SAFETY: the context is valid while the program runs.
    let noted = unsafe { (*raw(ctx)).vlan_present } as usize & 1;
    noted + (l3 - size_of::<Ethernet>()) / size_of::<VlanTag>()
}

/// Brings the transport's checksum up to date, whether it is complete or left
/// to hardware.
#[inline(always)]
fn transport_check<F: Family>(
    ctx: &TcContext,
    packet: &Packet<F::Addr>,
    translation: &Translation<F::Addr>,
) -> Result<(), Reason> {
    let (offset, rules) = if packet.key.protocol == u32::from(proto::TCP) {
        (packet.l4 + Tcp::CHECK_OFFSET, 0)
    } else {
        (packet.l4 + Udp::CHECK_OFFSET, UDP_RULES)
    };
    // Two steps: where hardware finishes the checksum, the field holds that of
    // the pseudo-header alone, which knows addresses but no ports.
    replace(ctx, offset, translation.addresses, PSEUDO | rules, F::L4_FLAGS)?;
    replace(ctx, offset, translation.ports, rules, 0)
}

/// One call of the helper. `extra` is left away on kernels that do not know it.
#[inline(always)]
fn replace(
    ctx: &TcContext,
    offset: usize,
    change: Delta,
    flags: u64,
    extra: u64,
) -> Result<(), Reason> {
    if change.is_none() {
        return Ok(());
    }
    let (offset, difference) = (offset as u32, u64::from(change.0));
    // SAFETY: the context is valid; packet pointers are not used afterwards.
    unsafe {
        let skb = raw(ctx);
        if bpf_l4_csum_replace(skb, offset, 0, difference, flags | extra) == 0 {
            return Ok(());
        }
        if extra != 0 && bpf_l4_csum_replace(skb, offset, 0, difference, flags) == 0 {
            return Ok(());
        }
    }
    Err(Reason::NoEffect)
}

/// Sends the packet to `hop`.
#[inline(always)]
pub fn send(ctx: &TcContext, hop: &NextHop) -> i32 {
    let _ = ctx;
    // SAFETY: no pointers but a null one, which stands for "as routed".
    unsafe {
        match hop.kind {
            hop_kind::UNRESOLVED => {
                bpf_redirect_neigh(hop.ifindex, core::ptr::null_mut(), 0, 0) as i32
            }
            // `lo` has no address; `find` has left both zero, as `lo` wants them.
            hop_kind::LOCAL => bpf_redirect(hop.ifindex, INGRESS) as i32,
            _ => bpf_redirect(hop.ifindex, 0) as i32,
        }
    }
}
