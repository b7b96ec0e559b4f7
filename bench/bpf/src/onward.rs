//! The least that sends a packet on: two MAC addresses and a redirect. No
//! forwarder on the same hook can be faster.

use aya_ebpf::{
    bindings::xdp_action::XDP_DROP,
    helpers::bpf_redirect,
    macros::{classifier, map, xdp},
    maps::Array,
    programs::{TcContext, XdpContext},
};
use redirectd_bench_bpf::Onward;

use crate::packet::Frame;

/// Set before loading.
#[unsafe(no_mangle)]
static ONWARD: Onward = Onward { interface: 0, destination: [0; 6], source: [0; 6] };

/// Two cache lines for each flow, as processors fetch them in pairs. The loader
/// sets the size, which is a power of two.
#[map]
static TOUCHED: Array<[u64; 16]> = Array::with_max_entries(1, 0);

/// The size of [`TOUCHED`] less one. Set before loading.
#[unsafe(no_mangle)]
static TOUCHED_MASK: u32 = 0;

/// `TC_ACT_SHOT`: drops the packet.
const SHOT: i32 = 2;

/// In the driver.
#[xdp]
fn onward_xdp(ctx: XdpContext) -> u32 {
    send_on(Frame::of_xdp(&ctx)).map_or(XDP_DROP, |action| action as u32)
}

/// In the driver, with the least that anyone needs who knows anything of each
/// flow: one place in memory, computed without a search, read and written.
#[xdp]
fn touch_xdp(ctx: XdpContext) -> u32 {
    let frame = Frame::of_xdp(&ctx);
    match frame.as_ref().and_then(touch).and_then(|()| send_on(frame)) {
        Some(action) => action as u32,
        None => XDP_DROP,
    }
}

#[inline(always)]
fn touch(frame: &Frame) -> Option<()> {
    let peer = u64::from(frame.u32(26)) << 16 | u64::from(frame.u16(34));
    // SAFETY: the loader has set it; volatile keeps the compiler from using the
    // value above.
    let mask = unsafe { core::ptr::read_volatile(&raw const TOUCHED_MASK) };
    // Fibonacci hashing spreads neighbouring flows over all of the table.
    let place = (peer.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32 & mask;
    let lines = TOUCHED.get_ptr_mut(place)?;
    // SAFETY: the map's own value; one processor is at work.
    let lines = unsafe { &mut *lines };
    lines[0] += 1;
    lines[8] += u64::from(frame.u16(16));
    Some(())
}

/// At the traffic control.
#[classifier]
fn onward_tc(ctx: TcContext) -> i32 {
    send_on(Frame::of_tc(&ctx)).map_or(SHOT, |action| action as i32)
}

#[inline(always)]
fn send_on(frame: Option<Frame>) -> Option<i64> {
    let frame = frame?;
    // SAFETY: the loader has set it; volatile keeps the compiler from using the
    // value above.
    let onward = unsafe { core::ptr::read_volatile(&raw const ONWARD) };
    frame.put(0, onward.destination);
    frame.put(6, onward.source);
    // SAFETY: the helper takes plain values.
    Some(unsafe { bpf_redirect(onward.interface, 0) })
}
