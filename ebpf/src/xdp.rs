//! The XDP entry: packets of established flows, at once. Whatever needs more
//! than that it leaves, untouched, to the tc entry of the same interface.

use aya_ebpf::{
    EbpfContext,
    bindings::xdp_action,
    helpers::generated::{bpf_ktime_get_coarse_ns, bpf_redirect},
    macros::xdp,
    programs::XdpContext,
};
use redirectd_ebpf::{
    abi::{Flow, NextHop, flow_flags, hop_kind},
    reason::Reason,
    wire::{ETHERTYPE_IPV4, Ethernet, Tcp, proto},
};

use crate::{
    family::{Family, V4, V6},
    hop,
    lookup::{self, Standing},
    maps,
    parse::{self, Frame, Packet, Part},
    rewrite::{self, Translation},
    stats,
    track::{self, Segment},
};

impl Frame for XdpContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }
}

/// The program on the driver's hook.
#[xdp]
pub fn redirectd_xdp(ctx: XdpContext) -> u32 {
    match translate_frame(&ctx) {
        Ok(action) => action,
        // What no flow names is not counted here: the tc entry sees it too.
        Err(Reason::HandedToTc) => {
            stats::reason(Reason::HandedToTc, (ctx.data_end() - ctx.data()) as u64);
            xdp_action::XDP_PASS
        }
        Err(Reason::NoEffect) => {
            stats::reason(Reason::NoEffect, (ctx.data_end() - ctx.data()) as u64);
            xdp_action::XDP_DROP
        }
        Err(_) => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn translate_frame(ctx: &XdpContext) -> Result<u32, Reason> {
    if !is_ours(ctx)? {
        return Err(Reason::OtherHost);
    }
    // A frame that still has its tag in it goes to tc, which can take it out.
    let l3 = size_of::<Ethernet>();
    let (ethertype, offset) = parse::ethernet(ctx)?;
    if offset != l3 {
        return Err(Reason::NoRedirect);
    }
    if ethertype == ETHERTYPE_IPV4 {
        translate::<V4>(ctx, &V4::parse(ctx, l3)?)
    } else {
        translate::<V6>(ctx, &V6::parse(ctx, l3)?)
    }
}

/// Whether the frame is for this station: a promiscuous interface brings others.
#[inline(always)]
fn is_ours(ctx: &XdpContext) -> Result<bool, Reason> {
    let Some(station) = maps::XDP_INTERFACES.get(ctx.ingress_ifindex() as u32) else {
        return Ok(false);
    };
    // SAFETY: `at` has checked the bounds.
    let [a, b, c] = unsafe { *ctx.near::<[u16; 3]>(0)? };
    Ok(station.on != 0 && [a, b, c] == station.mac)
}

#[inline(always)]
fn translate<F: Family>(ctx: &XdpContext, packet: &Packet<F::Addr>) -> Result<u32, Reason> {
    if !lookup::may_be_ours(&packet.key) {
        return Err(Reason::NoRedirect);
    }
    let flow = F::maps().flows.get_ptr_mut(packet.key).ok_or(Reason::NoRedirect)?;
    // SAFETY: a map's value stays valid while the program runs.
    let flow = unsafe { &mut *flow };
    if flow.handed != 0 {
        return Err(Reason::HandedToTc);
    }
    let action = translate_by::<F>(ctx, packet, flow);
    if matches!(action, Err(Reason::HandedToTc)) {
        flow.handed = 1;
    }
    action
}

/// Translates a packet of `flow`.
///
/// # Errors
/// The reason to leave it to tc, untouched; or that it is to be dropped.
#[inline(always)]
fn translate_by<F: Family>(
    ctx: &XdpContext,
    packet: &Packet<F::Addr>,
    flow: &mut Flow<F::Addr>,
) -> Result<u32, Reason> {
    if packet.part != Part::Whole || lookup::standing(flow) != Standing::Current {
        return Err(Reason::HandedToTc);
    }
    let segment = segment(ctx, packet)?;
    if segment.opens() {
        return Err(Reason::HandedToTc);
    }
    // SAFETY: no arguments, no preconditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let translation = Translation::of(flow)?;
    if hop::refresh::<F>(ctx.as_ptr(), &packet.key, &translation.to, now, &mut flow.hop)
        && hop::is_neighbour_due(&flow.hop, now, false)
    {
        // tc looks it up again, and lets the kernel see the packet.
        flow.hop.checked = 0;
        return Err(Reason::HandedToTc);
    }
    let hop = flow.hop;
    if !can_send(ctx, &hop) || packet.ttl <= 1 || packet.length > u32::from(hop.mtu) {
        return Err(Reason::HandedToTc);
    }
    rewrite::headers::<F>(ctx, packet, &translation)?;
    let change = translation.addresses.and(translation.ports);
    rewrite::transport_check(ctx, packet, change).map_err(|_| Reason::NoEffect)?;
    rewrite::macs(ctx, &hop)?;
    account(flow, segment, u64::from(packet.length), now);
    Ok(send(ctx, &hop))
}

/// The control bits of a TCP segment.
#[inline(always)]
fn segment<A>(ctx: &XdpContext, packet: &Packet<A>) -> Result<Segment, Reason> {
    if packet.key.protocol != u32::from(proto::TCP) {
        return Ok(Segment::default());
    }
    // SAFETY: `at` has checked the bounds.
    let flags = unsafe { (*ctx.at::<Tcp>(packet.l4)?).flags };
    Ok(Segment { flags, ..Segment::default() })
}

#[inline(always)]
fn account<A>(flow: &mut Flow<A>, segment: Segment, bytes: u64, now: u64) {
    track::note(flow, segment);
    flow.last_seen = now;
    flow.packets += 1;
    flow.bytes += bytes;
    stats::translated(flow.slot, flow.flags & flow_flags::TO_HOST != 0, 1, bytes);
}

#[inline(always)]
fn can_send(ctx: &XdpContext, hop: &NextHop) -> bool {
    hop.kind == hop_kind::ETHERNET_XDP
        || hop.kind == hop_kind::ETHERNET && hop.ifindex == ctx.ingress_ifindex() as u32
}

#[inline(always)]
fn send(ctx: &XdpContext, hop: &NextHop) -> u32 {
    if hop.ifindex == ctx.ingress_ifindex() as u32 {
        return xdp_action::XDP_TX;
    }
    // SAFETY: no pointers; an interface that is gone makes the frame be dropped.
    unsafe { bpf_redirect(hop.ifindex, 0) as u32 }
}
