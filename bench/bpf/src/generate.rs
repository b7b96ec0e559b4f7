//! The generator, and which packet is next.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP},
    helpers::bpf_ktime_get_ns,
    macros::{map, xdp},
    maps::{Array, DevMap},
    programs::XdpContext,
};
use redirectd_bench_bpf::{CLOCKED, Position, Stream};

use crate::packet::Frame;

/// Set before loading.
#[unsafe(no_mangle)]
static STREAM: Stream = Stream {
    peer: 0,
    home: 0,
    targets: 1,
    per_target: 1,
    ip_sum: 0,
    udp_sum: 0,
    peer_port: 0,
    home_port: 0,
    home_mac: [0; 6],
    peer_mac: [0; 6],
};

/// Written here; user space resets it between runs.
#[map]
static POSITION: Array<Position> = Array::with_max_entries(1, 0);

/// The peer's interface, at 0.
#[map]
static OUT: DevMap = DevMap::with_max_entries(1, 0);

/// The generator, for live frames: makes each the next packet and sends it out
/// of the peer's interface.
#[xdp]
fn generate(ctx: XdpContext) -> u32 {
    match make(Frame::of_xdp(&ctx)) {
        Some(()) => OUT.redirect(0, 0).unwrap_or(XDP_ABORTED),
        None => XDP_DROP,
    }
}

#[inline(always)]
fn make(frame: Option<Frame>) -> Option<()> {
    // SAFETY: the loader has set it; volatile keeps the compiler from using the
    // value above.
    let stream = unsafe { core::ptr::read_volatile(&raw const STREAM) };
    let frame = frame?;
    let (target, flow) = next(stream.targets, stream.per_target)?;
    frame.write_headers(&stream, target, flow);
    Some(())
}

/// Which of `targets` targets and `per_target` flows it is the turn of, and one
/// step on.
#[inline(always)]
pub(crate) fn next(targets: u32, per_target: u32) -> Option<(u32, u32)> {
    let position = POSITION.get_ptr_mut(0)?;
    // SAFETY: the map's own value; no other generator runs.
    let position = unsafe { &mut *position };
    if position.made % CLOCKED == 0 {
        // SAFETY: the helper takes nothing.
        position.last = unsafe { bpf_ktime_get_ns() };
        if position.made == 0 {
            position.first = position.last;
        }
    }
    position.made += 1;
    let turn = (position.target, position.flow);
    position.target += 1;
    if position.target >= targets {
        position.target = 0;
        position.flow += position.stride;
        if position.flow >= per_target {
            position.flow -= per_target;
        }
    }
    Some(turn)
}
