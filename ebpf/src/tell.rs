//! ICMP errors that home itself owes a sender, as the router it is on the way:
//! time exceeded (RFC 1812, section 5.3.1; RFC 4443, section 3.3) and packet too
//! big (RFC 1191; RFC 8201). The packet in hand is turned into the message and
//! sent back the way it came.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{
        bpf_csum_diff, bpf_ktime_get_coarse_ns, bpf_redirect, bpf_skb_change_head,
        bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use redirectd_ebpf::{
    abi::Tuple,
    csum::{fold, halves},
    reason::Reason,
    wire::{Icmp, Ipv4, Ipv6, Tcp, Udp, proto},
};

use crate::{
    family::{Family, V4, V6},
    hop::LOOPBACK,
    maps,
    parse::{Frame, Packet, bounded},
    stats,
    tc::{again, raw, word},
};

/// Between two messages of one processor, on average, in nanoseconds: a
/// thousand a second (RFC 1812, section 4.3.2.8, asks for a limit).
const INTERVAL: u64 = 1_000_000;
/// How far a burst may run ahead of the average, in nanoseconds.
const BURST: u64 = 50 * INTERVAL;
/// Most of the packet that is quoted: headers, and what must follow them.
const QUOTE_MAX: usize = 128;
/// `BPF_F_INGRESS`: as if received on the interface.
const INGRESS: u64 = 1;
/// The time to live of what home sends itself.
const TTL: u8 = 64;

/// How to write the headers in front of a quote.
pub trait Message: Family {
    /// Both together.
    const HEADERS: usize;
    /// Type and code: time exceeded in transit.
    const TTL_EXPIRED: (u8, u8);
    /// Type and code: packet too big.
    const TOO_BIG: (u8, u8);
    /// Type and code: communication administratively prohibited, which RFC 5508,
    /// REQ-8, asks for where a translator lacks resources.
    const REFUSED: (u8, u8);
    /// Writes IP and ICMP headers at `l3`, in front of `quote` bytes whose sum is
    /// `quote_sum`.
    fn write(
        ctx: &TcContext,
        l3: usize,
        tuple: &Tuple<Self::Addr>,
        icmp: Icmp,
        quote: u32,
        quote_sum: u32,
    ) -> bool;
}

#[repr(C, packed)]
struct Headers<H> {
    ip: H,
    icmp: Icmp,
}

/// What is in front of the IP header: MAC addresses, then the EtherType and up to
/// two tags. With fewer tags the last bytes are the IP header's.
#[derive(Clone, Copy)]
#[repr(C)]
struct LinkHeader {
    destination: [u8; 6],
    source: [u8; 6],
    types_and_tags: [u8; 10],
}

/// Sums a header whose length is a multiple of four.
#[inline(always)]
fn sum<T>(header: &T, seed: u32) -> u32 {
    // SAFETY: the header is whole; the helper only reads it.
    let sum = unsafe {
        bpf_csum_diff(
            core::ptr::null_mut(),
            0,
            core::ptr::from_ref(header).cast_mut().cast(),
            size_of::<T>() as u32,
            seed,
        )
    };
    sum as u32
}

/// The checksum field for a sum.
#[inline(always)]
fn check(sum: u32) -> u16 {
    !fold(halves(sum))
}

#[inline(always)]
fn store<T>(ctx: &TcContext, at: usize, headers: &T) -> bool {
    let from = core::ptr::from_ref(headers).cast_mut().cast::<c_void>();
    // SAFETY: the context is valid; packet pointers are made anew afterwards.
    unsafe { bpf_skb_store_bytes(raw(ctx), at as u32, from, size_of::<T>() as u32, 0) == 0 }
}

impl Message for V4 {
    const HEADERS: usize = size_of::<Headers<Ipv4>>();
    const TTL_EXPIRED: (u8, u8) = (11, 0);
    const TOO_BIG: (u8, u8) = (3, 4);
    const REFUSED: (u8, u8) = (3, 13);

    #[inline(always)]
    fn write(
        ctx: &TcContext,
        l3: usize,
        tuple: &Tuple<u32>,
        mut icmp: Icmp,
        quote: u32,
        quote_sum: u32,
    ) -> bool {
        let length = (size_of::<Ipv4>() + size_of::<Icmp>()) as u32 + quote;
        let mut ip = Ipv4 {
            version_ihl: 0x45,
            // Internetwork control (RFC 1812, section 4.3.2.5).
            tos: 0xc0,
            total_length: (length as u16).to_be(),
            id: 0,
            fragment: 0x4000u16.to_be(),
            ttl: TTL,
            protocol: proto::ICMP,
            check: 0,
            source: tuple.source,
            destination: tuple.destination,
        };
        ip.check = check(sum(&ip, 0));
        icmp.check = check(sum(&icmp, quote_sum));
        store(ctx, l3, &Headers { ip, icmp })
    }
}

impl Message for V6 {
    const HEADERS: usize = size_of::<Headers<Ipv6>>();
    const TTL_EXPIRED: (u8, u8) = (3, 0);
    const TOO_BIG: (u8, u8) = (2, 0);
    const REFUSED: (u8, u8) = (1, 1);

    #[inline(always)]
    fn write(
        ctx: &TcContext,
        l3: usize,
        tuple: &Tuple<[u32; 4]>,
        mut icmp: Icmp,
        quote: u32,
        quote_sum: u32,
    ) -> bool {
        let length = size_of::<Icmp>() as u32 + quote;
        let ip = Ipv6 {
            version_class_flow: 0x6000_0000u32.to_be(),
            payload_length: (length as u16).to_be(),
            next_header: proto::ICMPV6,
            hop_limit: TTL,
            source: tuple.source,
            destination: tuple.destination,
        };
        // The pseudo-header (RFC 8200, section 8.1).
        let pseudo = [length.to_be(), u32::from(proto::ICMPV6).to_be()];
        let addresses = [tuple.source, tuple.destination];
        let seed = sum(&addresses, sum(&pseudo, quote_sum));
        icmp.check = check(sum(&icmp, seed));
        store(ctx, l3, &Headers { ip, icmp })
    }
}

/// Turns the packet into the message that [`crate::tc`] has left word of. The
/// packet itself counts as dropped, whether the message can be sent or not.
///
/// Packets that are too big but may be cut up do not come here: home's IP stack
/// gets them (`transport::TO_STACK`).
#[inline(always)]
pub fn tell<F: Message>(ctx: &TcContext) -> Result<i32, Reason> {
    let (reason, mtu) = word(ctx);
    let (kind, code) = match reason {
        Reason::TooBig => F::TOO_BIG,
        Reason::TtlExpired => F::TTL_EXPIRED,
        _ => F::REFUSED,
    };
    let icmp = Icmp { kind, code, check: 0, rest: u32::from(mtu).to_be() };
    let packet = &again::<F>(ctx).map_err(|_| reason)?;
    if !may_tell() {
        return Err(reason);
    }
    let link = *read::<LinkHeader>(ctx, 0).ok_or(reason)?;
    let (length, sum) = quote(ctx, packet).ok_or(reason)?;
    let back = Tuple { source_port: 0, destination_port: 0, ..packet.key.tuple.inverse() };
    // SAFETY: the context is valid; packet pointers are made anew afterwards.
    if unsafe { bpf_skb_change_head(raw(ctx), F::HEADERS as u32, 0) } != 0 {
        return Err(reason);
    }
    // The frame goes back to where it came from, with the tags it came with.
    let link = LinkHeader { destination: link.source, source: link.destination, ..link };
    let written =
        store(ctx, 0, &link) && <F as Message>::write(ctx, packet.l3, &back, icmp, length, sum);
    if !written {
        return Err(reason);
    }
    // The frame that was dropped, as for all such reasons; by now it is another.
    stats::reason(reason, packet.l3 as u64 + u64::from(packet.length));
    Ok(send_back(ctx))
}

#[inline(always)]
fn read<T>(frame: &TcContext, offset: usize) -> Option<&T> {
    let header = frame.at::<T>(offset).ok()?;
    // SAFETY: `at` has checked the bounds.
    Some(unsafe { &*header })
}

/// Whether one more message is within the limit.
#[inline(always)]
fn may_tell() -> bool {
    let Some(due) = maps::ICMP_DUE.get_ptr_mut(0) else { return false };
    // SAFETY: this processor's own; the helper has no preconditions.
    let (now, due) = unsafe { (bpf_ktime_get_coarse_ns(), &mut *due) };
    if *due > now + BURST {
        return false;
    }
    *due = if *due > now { *due } else { now } + INTERVAL;
    true
}

/// Cuts the packet down to what is quoted; returns its length and its sum as it
/// will be on the wire.
///
/// A packet whose checksum is left to hardware keeps that mark whatever it
/// becomes, so the quoted checksum will be filled in over the quote. Then the
/// quote must reach over the whole header, and the sum count what will be there.
#[inline(always)]
fn quote<A>(ctx: &TcContext, packet: &Packet<A>) -> Option<(u32, u32)> {
    let tcp = packet.key.protocol == u32::from(proto::TCP);
    let headers = packet.l4 - packet.l3;
    if headers > QUOTE_MAX - size_of::<Tcp>() {
        return None;
    }
    let full = if tcp { size_of::<Tcp>() } else { size_of::<Udp>() };
    let [.., last] = *read::<[u8; size_of::<Udp>()]>(ctx, packet.l4)?;
    let cut = |bytes: usize| {
        // SAFETY: the context is valid; packet pointers are made anew afterwards.
        unsafe { bpf_skb_change_tail(raw(ctx), (packet.l4 + bytes) as u32, 0) == 0 }
    };
    // The kernel refuses to cut through a checksum that is still to be filled in.
    let unfinished = !cut(if tcp { size_of::<Udp>() } else { size_of::<Udp>() - 1 });
    let length = if unfinished {
        if !cut(full) {
            return None;
        }
        headers + full
    } else {
        let at = (packet.l4 + size_of::<Udp>() - 1) as u32;
        let byte = (&raw const last).cast_mut().cast();
        // SAFETY: one byte of this function's own.
        let restored = cut(size_of::<Udp>())
            && (tcp || unsafe { bpf_skb_store_bytes(raw(ctx), at, byte, 1, 0) } == 0);
        if !restored {
            return None;
        }
        headers + size_of::<Udp>()
    };
    let transport = if unfinished { full } else { 0 };
    Some((length as u32, sum_of_quote(ctx, packet.l3, headers, length, transport)?))
}

/// Sums the quote of `length` bytes at `l3`; with `transport`, as if the
/// checksum of that many last bytes were filled in.
#[inline(always)]
fn sum_of_quote(
    ctx: &TcContext,
    l3: usize,
    headers: usize,
    length: usize,
    transport: usize,
) -> Option<u32> {
    let scratch = maps::SCRATCH.get_ptr_mut(0)?;
    // SAFETY: this processor's own; `bytes` is within the array.
    unsafe {
        (*scratch).length = length as u32;
        let bytes = bounded::<{ QUOTE_MAX as u32 }>(&(*scratch).length);
        let packet = (&raw mut (*scratch).packet).cast::<u32>();
        if bpf_skb_load_bytes(raw(ctx).cast(), l3 as u32, packet.cast(), bytes) != 0 {
            return None;
        }
        let all = bpf_csum_diff(core::ptr::null_mut(), 0, packet, bytes, 0) as u32;
        if transport == 0 {
            return Some(all);
        }
        let start = headers & 0x7c;
        let size = if transport == size_of::<Tcp>() { size_of::<Tcp>() } else { size_of::<Udp>() };
        let at = if size == size_of::<Tcp>() { Tcp::CHECK_OFFSET } else { Udp::CHECK_OFFSET };
        let part = packet.byte_add(start);
        let partial = bpf_csum_diff(core::ptr::null_mut(), 0, part, size as u32, 0) as u32;
        let filled = match check(partial) {
            0 if size == size_of::<Udp>() => 0xffff,
            filled => filled,
        };
        let field = *part.byte_add(at).cast::<u16>();
        let change = redirectd_ebpf::csum::Delta::word(field, filled);
        Some(halves(all) + u32::from(change.0))
    }
}

/// Sends the frame out where the packet came in.
#[inline(always)]
fn send_back(ctx: &TcContext) -> i32 {
    // SAFETY: the context is valid; the helper takes no pointers.
    unsafe {
        let ifindex = (*raw(ctx)).ingress_ifindex;
        let ifindex = if ifindex == 0 { (*raw(ctx)).ifindex } else { ifindex };
        let flags = if ifindex == LOOPBACK { INGRESS } else { 0 };
        bpf_redirect(ifindex, flags) as i32
    }
}
