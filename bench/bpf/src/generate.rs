//! Which packet is next, and two users of it: the generator, and the wrapper in
//! which a program under test runs.

use aya_ebpf::{
    bindings::{
        TC_ACT_OK,
        xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
    },
    helpers::bpf_ktime_get_ns,
    macros::{classifier, map, xdp},
    maps::{Array, DevMap, ProgramArray},
    programs::{TcContext, XdpContext},
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

/// The XDP program under test, at 0.
#[map]
static TESTED_XDP: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The tc program under test, at 0.
#[map]
static TESTED_TC: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// `TC_ACT_SHOT`, for a wrapper without a program.
const SHOT: i32 = 2;

/// The generator, for live frames: makes each the next packet and sends it out
/// of the peer's interface.
#[xdp]
fn generate(ctx: XdpContext) -> u32 {
    match make(Frame::of_xdp(&ctx)) {
        Some(()) => OUT.redirect(0, 0).unwrap_or(XDP_ABORTED),
        None => XDP_DROP,
    }
}

/// The wrapper, for repetitions on one frame: makes it the next packet and goes
/// on in the program under test.
#[xdp]
fn wrap_xdp(ctx: XdpContext) -> u32 {
    if make(Frame::of_xdp(&ctx)).is_some() {
        // SAFETY: the context is the program's own.
        unsafe { TESTED_XDP.tail_call(&ctx, 0) };
    }
    XDP_ABORTED
}

/// As [`wrap_xdp`].
#[classifier]
fn wrap_tc(ctx: TcContext) -> i32 {
    if make(Frame::of_tc(&ctx)).is_some() {
        // SAFETY: the context is the program's own.
        unsafe { TESTED_TC.tail_call(&ctx, 0) };
    }
    SHOT
}

/// What a wrapper alone costs is seen with this in it.
#[xdp]
fn empty_xdp(_: XdpContext) -> u32 {
    XDP_PASS
}

/// As [`empty_xdp`].
#[classifier]
fn empty_tc(_: TcContext) -> i32 {
    TC_ACT_OK
}

#[inline(always)]
fn make(frame: Option<Frame>) -> Option<()> {
    // SAFETY: the loader has set it; volatile keeps the compiler from using the
    // value above.
    let stream = unsafe { core::ptr::read_volatile(&raw const STREAM) };
    let frame = frame?;
    let (target, flow) = next(&stream)?;
    frame.write_headers(&stream, target, flow);
    Some(())
}

/// Which target and flow it is the turn of, and one step on.
#[inline(always)]
fn next(stream: &Stream) -> Option<(u32, u32)> {
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
    if position.target >= stream.targets {
        position.target = 0;
        position.flow += position.stride;
        if position.flow >= stream.per_target {
            position.flow -= stream.per_target;
        }
    }
    Some(turn)
}
