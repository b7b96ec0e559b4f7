//! ICMP errors about a flow: the message and the packet it quotes are both
//! translated, whichever side they come from (RFC 5508, section 4).

use aya_ebpf::{EbpfContext, helpers::generated::bpf_ktime_get_coarse_ns, programs::TcContext};
use redirectd_ebpf::{
    abi::{Flow, FlowKey, Tuple, hop_kind},
    csum::{Check, Delta},
    nat::{self, Deltas},
    reason::Reason,
    wire::{Icmp, Ipv4, Ipv6, Ipv6Extension, Ports, Tcp, Udp, proto},
};

use crate::{
    family::{Family, V4, V6},
    fragment, hop,
    lookup::Standing,
    park,
    parse::{Frame, Packet, Part},
    rewrite::{self, Translation},
    stats,
    tc::{again, send, settle, untag},
};

/// A packet as an ICMP error quotes it.
pub struct Quote<A> {
    /// Where its IP header is.
    l3: usize,
    /// Where its transport header is.
    l4: usize,
    /// Its 5-tuple.
    key: FlowKey<A>,
}

/// What ICMP of each family does differently.
pub trait Errors: Family {
    /// Whether a message of this type is an error that quotes a packet.
    fn is_error(kind: u8) -> bool;
    /// Reads the packet quoted at `l3`.
    fn quote(frame: &impl Frame, l3: usize) -> Result<Quote<Self::Addr>, Reason>;
    /// Writes the quoted packet's addresses. Its time to live is history.
    fn write_quote(
        frame: &impl Frame,
        l3: usize,
        tuple: &Tuple<Self::Addr>,
        addresses: Delta,
    ) -> Result<(), Reason>;
    /// What of a change of addresses the ICMP checksum sees: in IPv6 there is no
    /// header checksum to take it up.
    fn visible(addresses: Delta) -> Delta;
}

impl Errors for V4 {
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // Destination unreachable, time exceeded, parameter problem. Source
        // quench is obsolete (RFC 6633), redirects concern this link only.
        matches!(kind, 3 | 11 | 12)
    }

    #[inline(always)]
    fn quote(frame: &impl Frame, l3: usize) -> Result<Quote<u32>, Reason> {
        // SAFETY: `at` has checked the bounds; see `wire` for the alignment.
        let header = unsafe { &*frame.at::<Ipv4>(l3)? };
        let words = usize::from(header.version_ihl & 0x0f);
        if header.version_ihl >> 4 != 4 || words < 5 {
            return Err(Reason::BadHeader);
        }
        if u16::from_be(header.fragment) & 0x1fff != 0 {
            return Err(Reason::IcmpNotOurs);
        }
        let (source, destination) = (header.source, header.destination);
        let protocol = header.protocol;
        quoted_ports(frame, l3, l3 + words * 4, source, destination, protocol)
    }

    #[inline(always)]
    fn write_quote(
        frame: &impl Frame,
        l3: usize,
        tuple: &Tuple<u32>,
        addresses: Delta,
    ) -> Result<(), Reason> {
        // SAFETY: `at` has checked the bounds.
        let header = unsafe { &mut *frame.at::<Ipv4>(l3)? };
        nat::ipv4(header, tuple.source, tuple.destination, addresses);
        Ok(())
    }

    #[inline(always)]
    fn visible(_: Delta) -> Delta {
        Delta::NONE
    }
}

impl Errors for V6 {
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        // RFC 4443: unreachable, packet too big, time exceeded, parameter problem.
        matches!(kind, 1..=4)
    }

    #[inline(always)]
    fn quote(frame: &impl Frame, l3: usize) -> Result<Quote<[u32; 4]>, Reason> {
        // SAFETY: `at` has checked the bounds; see `wire` for the alignment.
        let header = unsafe { &*frame.at::<Ipv6>(l3)? };
        let (source, destination) = (header.source, header.destination);
        let mut next = header.next_header;
        let mut l4 = l3 + size_of::<Ipv6>();
        for _ in 0..2 {
            let length = match next {
                proto::HOP_BY_HOP | proto::DESTINATION => {
                    // SAFETY: `at` has checked the bounds.
                    let extension = unsafe { &*frame.at::<Ipv6Extension>(l4)? };
                    next = extension.next_header;
                    (usize::from(extension.length) + 1) * 8
                }
                proto::FRAGMENT => {
                    // SAFETY: `at` has checked the bounds.
                    let extension = unsafe { &*frame.at::<Ipv6Extension>(l4)? };
                    if u16::from_ne_bytes([extension.kind, extension.segments_left])
                        & 0xfff8u16.to_be()
                        != 0
                    {
                        return Err(Reason::IcmpNotOurs);
                    }
                    next = extension.next_header;
                    8
                }
                _ => 0,
            };
            l4 += length;
        }
        quoted_ports(frame, l3, l4, source, destination, next)
    }

    #[inline(always)]
    fn write_quote(
        frame: &impl Frame,
        l3: usize,
        tuple: &Tuple<[u32; 4]>,
        _: Delta,
    ) -> Result<(), Reason> {
        // SAFETY: `at` has checked the bounds.
        nat::ipv6(unsafe { &mut *frame.at::<Ipv6>(l3)? }, tuple.source, tuple.destination);
        Ok(())
    }

    #[inline(always)]
    fn visible(addresses: Delta) -> Delta {
        addresses
    }
}

#[inline(always)]
fn quoted_ports<A>(
    frame: &impl Frame,
    l3: usize,
    l4: usize,
    source: A,
    destination: A,
    protocol: u8,
) -> Result<Quote<A>, Reason> {
    if protocol != proto::TCP && protocol != proto::UDP {
        return Err(Reason::IcmpNotOurs);
    }
    // SAFETY: `at` has checked the bounds. A quote has at least eight bytes of
    // the transport header (RFC 792); with fewer it is not looked at.
    let ports = unsafe { &*frame.at::<Udp>(l4)? };
    Ok(Quote {
        l3,
        l4,
        key: FlowKey {
            tuple: Tuple {
                source,
                destination,
                source_port: ports.source,
                destination_port: ports.destination,
            },
            protocol: u32::from(protocol),
        },
    })
}

/// Translates an ICMP error about a flow; everything else is home's own.
#[inline(always)]
pub fn translate<F: Errors>(ctx: &TcContext) -> Result<i32, Reason> {
    let packet = &mut again::<F>(ctx)?;
    if packet.part == Part::First {
        fragment::own::<F>(&F::fragment_key(packet));
        return Err(Reason::IcmpNotOurs);
    }
    // SAFETY: `at` has checked the bounds.
    let kind = unsafe { (*ctx.at::<Icmp>(packet.l4)?).kind };
    if !F::is_error(kind) {
        return Err(Reason::IcmpNotOurs);
    }
    let quote = F::quote(ctx, packet.l4 + size_of::<Icmp>())?;
    // The message's checksum is over all of it, and can only be kept right if all
    // of it is there; behind it there may be padding.
    let end = packet.l3 + packet.length as usize;
    if end > ctx.len() as usize || quote.l4 + size_of::<Udp>() > end {
        return Err(Reason::Truncated);
    }
    // What we are told about is what was sent from here: the answer to it is
    // what would have come here.
    let key = FlowKey { tuple: quote.key.tuple.inverse(), protocol: quote.key.protocol };
    let flow = find::<F>(ctx, &key)?;
    let translation = Translation::of(flow)?;
    let to = translation.to;
    // SAFETY: no arguments, no preconditions.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    // By itself, as nothing is to be gained with packets so rare.
    if !hop::is_fresh(&flow.hop, now) {
        hop::find::<F>(ctx.as_ptr(), &to, key.protocol, now, &mut flow.hop);
    }
    let hop = &flow.hop;
    if hop.kind == hop_kind::NONE {
        return Err(Reason::NoRoute);
    }
    if packet.ttl <= 1 {
        // No ICMP error is sent about an ICMP error (RFC 1122, section 3.2.2).
        return Err(Reason::TtlExpired);
    }
    let shift = packet.l3;
    untag(ctx, packet)?;
    let shift = shift - packet.l3;
    let quote = Quote { l3: quote.l3 - shift, l4: quote.l4 - shift, key: quote.key };
    rewrite_error::<F>(ctx, packet, &quote, &translation).map_err(|_| Reason::NoEffect)?;
    if hop.kind != hop_kind::UNRESOLVED {
        rewrite::macs(ctx, hop).map_err(|_| Reason::NoEffect)?;
    }
    stats::reason(Reason::IcmpTranslated, u64::from(packet.length));
    Ok(send(ctx, hop))
}

#[inline(always)]
fn find<F: Family>(
    ctx: &TcContext,
    key: &FlowKey<F::Addr>,
) -> Result<&'static mut Flow<F::Addr>, Reason> {
    let maps = F::maps();
    let flow = match maps.flows.get_ptr_mut(key) {
        Some(flow) => flow,
        None => match maps.half_open.get_ptr_mut(key) {
            Some(flow) => flow,
            None => return Err(unknown::<F>(ctx, key)),
        },
    };
    // SAFETY: a map's value stays valid while the program runs.
    let flow = unsafe { &mut *flow };
    if park::standing(ctx, flow)? == Standing::Void {
        return Err(Reason::IcmpNotOurs);
    }
    Ok(flow)
}

/// Why an error about no flow is left alone. It may be about a connection of a
/// process at home that is about to move: then it is held.
#[inline(always)]
fn unknown<F: Family>(ctx: &TcContext, key: &FlowKey<F::Addr>) -> Reason {
    match park::redirect::<F>(ctx, key) {
        // The tail call to hold it has failed.
        Err(Reason::NotReady) => Reason::NotReady,
        _ => Reason::IcmpNotOurs,
    }
}

/// Rewrites both headers and both checksums. The message's sender becomes home,
/// as for all that home sends on: the other side has no business with routers
/// behind it, and may have no route to them.
#[inline(always)]
fn rewrite_error<F: Errors>(
    ctx: &TcContext,
    packet: &Packet<F::Addr>,
    quote: &Quote<F::Addr>,
    translation: &Translation<F::Addr>,
) -> Result<(), Reason> {
    let outer = Tuple {
        source: translation.to.source,
        destination: translation.to.destination,
        ..packet.key.tuple
    };
    let outer_change = Deltas::between(&packet.key.tuple, &outer).addresses;
    let header = ctx.at::<F::Header>(packet.l3)?;
    let icmp = ctx.at::<Icmp>(packet.l4)?;
    let inner = translation.to.inverse();
    let change = translation.addresses.and(translation.ports);
    F::write_quote(ctx, quote.l3, &inner, translation.addresses)?;
    let end = packet.l3 + packet.length as usize;
    let (before, after) = quoted_check(ctx, quote, end, change);
    // SAFETY: the bounds were checked when the quote was read.
    let ports = unsafe { &mut *ctx.at::<Ports>(quote.l4)? };
    nat::ports(ports, inner.source_port, inner.destination_port);
    let seen = nat::quote_delta(
        F::visible(translation.addresses.and(outer_change)),
        translation.ports,
        before,
        after,
    );
    // SAFETY: `at` has checked the bounds of both.
    unsafe {
        F::write(&mut *header, outer.source, outer.destination, outer_change);
        settle(ctx, F::age(&mut *header));
        (*icmp).check = Check::after((*icmp).check, seen);
    }
    Ok(())
}

/// Brings the quoted transport checksum up to date where the quote is long
/// enough to have it; returns it before and after. Behind `end`, where the
/// packet ends, there may be padding in the frame.
#[inline(always)]
fn quoted_check<A>(frame: &impl Frame, quote: &Quote<A>, end: usize, change: Delta) -> (u16, u16) {
    if quote.key.protocol == u32::from(proto::UDP) {
        let Ok(header) = frame.at::<Udp>(quote.l4) else { return (0, 0) };
        // SAFETY: `at` has checked the bounds.
        let header = unsafe { &mut *header };
        let before = header.check;
        nat::udp_check(header, change);
        return (before, header.check);
    }
    if quote.l4 + Tcp::CHECK_OFFSET + size_of::<u16>() > end {
        return (0, 0);
    }
    let Ok(check) = frame.at::<u16>(quote.l4 + Tcp::CHECK_OFFSET) else { return (0, 0) };
    // SAFETY: `at` has checked the bounds.
    unsafe {
        let before = *check;
        *check = Check::after(before, change);
        (before, *check)
    }
}
