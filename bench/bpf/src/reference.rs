//! What redirectd's programs are compared with: nothing at all, the least that
//! sends a packet back, and the least that translates one.

use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_F_NO_PREALLOC, TC_ACT_OK,
        xdp_action::{XDP_ABORTED, XDP_PASS, XDP_TX},
    },
    helpers::{
        bpf_redirect,
        generated::{bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace},
    },
    macros::{classifier, map, xdp},
    maps::HashMap,
    programs::{TcContext, XdpContext},
};
use redirectd_bench_bpf::{BareFlow, BareKey, fold};

use crate::{
    packet::Frame,
    wrap::{SHOT, missed},
};

/// `BPF_F_PSEUDO_HDR`: what changes is in the pseudo-header.
const PSEUDO: u64 = 1 << 4;

/// Flows of the bare redirect; user space writes. Its size is set before loading.
#[map]
static BARE: HashMap<BareKey, BareFlow> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// Does nothing: the floor.
#[xdp]
fn empty_xdp(_: XdpContext) -> u32 {
    XDP_PASS
}

/// As [`empty_xdp`].
#[classifier]
fn empty_tc(_: TcContext) -> i32 {
    TC_ACT_OK
}

/// Swaps the MAC addresses and sends the packet back.
#[xdp]
fn swap_xdp(ctx: XdpContext) -> u32 {
    let Some(frame) = Frame::of_xdp(&ctx) else {
        missed();
        return XDP_ABORTED;
    };
    frame.swap::<[u16; 3]>(0, 6);
    XDP_TX
}

/// As [`swap_xdp`].
#[classifier]
fn swap_tc(ctx: TcContext) -> i32 {
    let Some(frame) = Frame::of_tc(&ctx) else {
        missed();
        return SHOT;
    };
    frame.swap::<[u16; 3]>(0, 6);
    // SAFETY: the context is the program's own; the helper takes plain values.
    unsafe { bpf_redirect((*ctx.skb.skb).ifindex, 0) as i32 }
}

/// Translates UDP or TCP over IPv4: one look-up, addresses, ports, both
/// checksums, MAC addresses. No counters, hop count, states, timers.
#[xdp]
fn bare_xdp(ctx: XdpContext) -> u32 {
    let Some((frame, flow, check)) = find(Frame::of_xdp(&ctx)) else {
        missed();
        return XDP_ABORTED;
    };
    let (addresses, ports) = rewrite(&frame, flow);
    frame.put(24, adjust(frame.raw::<u16>(24), addresses));
    frame.put(check, adjust(frame.raw::<u16>(check), addresses + ports));
    // SAFETY: the helper takes plain values.
    unsafe { bpf_redirect(flow.interface, 0) as u32 }
}

/// As [`bare_xdp`]. Checksums are the kernel's affair here: four calls of its
/// helpers, one for the difference of the addresses, one for each checksum they
/// are in, one for the ports.
#[classifier]
fn bare_tc(ctx: TcContext) -> i32 {
    let Some((frame, flow, check)) = find(Frame::of_tc(&ctx)) else {
        missed();
        return SHOT;
    };
    let mut before = frame.raw::<[u32; 2]>(26);
    let mut after = [flow.source, flow.destination];
    let ports_before = frame.raw::<u32>(34);
    let ports_after = flow.ports;
    let interface = flow.interface;
    rewrite(&frame, flow);
    let skb = ctx.as_ptr().cast();
    // SAFETY: both arrays are of eight bytes, and the context is the program's
    // own; pointers into the packet are not used any more.
    let failed = unsafe {
        let change = bpf_csum_diff(before.as_mut_ptr(), 8, after.as_mut_ptr(), 8, 0) as u64;
        bpf_l3_csum_replace(skb, 24, 0, change, 0)
            | bpf_l4_csum_replace(skb, check as u32, 0, change, PSEUDO)
            | bpf_l4_csum_replace(skb, check as u32, ports_before.into(), ports_after.into(), 4)
    };
    if failed != 0 {
        missed();
        return SHOT;
    }
    // SAFETY: the helper takes plain values.
    unsafe { bpf_redirect(interface, 0) as i32 }
}

/// The flow of a packet, and where its transport's checksum is.
#[inline(always)]
fn find(frame: Option<Frame>) -> Option<(Frame, &'static BareFlow, usize)> {
    let frame = frame?;
    if frame.u16(12) != 0x0800 || frame.u16(14) >> 8 != 0x45 {
        return None;
    }
    let protocol = u32::from(frame.u16(22) as u8);
    let key = BareKey {
        source: frame.raw(26),
        destination: frame.raw(30),
        ports: frame.raw(34),
        protocol,
    };
    // SAFETY: user space changes nothing while programs run.
    let flow = unsafe { BARE.get(&key) }?;
    match protocol {
        6 => Some((frame, flow, 50)),
        17 => Some((frame, flow, 40)),
        _ => None,
    }
}

/// Writes addresses, ports and MAC addresses; what that changes in a sum, the
/// addresses' part and the ports'.
#[inline(always)]
fn rewrite(frame: &Frame, flow: &BareFlow) -> (u64, u64) {
    let [source, destination] = frame.raw::<[u32; 2]>(26);
    let ports = frame.raw::<u32>(34);
    frame.put(0, flow.macs);
    frame.put(26, [flow.source, flow.destination]);
    frame.put(34, flow.ports);
    let sum = |old: u32, new: u32| u64::from(!old) + u64::from(new);
    (sum(source, flow.source) + sum(destination, flow.destination), sum(ports, flow.ports))
}

/// A checksum after a change (RFC 1624, equation 3), all as it lies in memory:
/// a one's complement sum does not mind the byte order.
#[inline(always)]
fn adjust(check: u16, change: u64) -> u16 {
    let sum = u64::from(!check) + change;
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    !fold(sum as u32)
}
