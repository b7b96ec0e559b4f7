//! The least that sends a packet on: two MAC addresses and a redirect. No
//! forwarder on the same hook can be faster.

use aya_ebpf::{
    bindings::xdp_action::XDP_DROP,
    helpers::bpf_redirect,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use redirectd_bench_bpf::Bounce;

use crate::packet::Frame;

/// Set before loading.
#[unsafe(no_mangle)]
static BOUNCE: Bounce = Bounce { interface: 0, destination: [0; 6], source: [0; 6] };

/// `TC_ACT_SHOT`: drops the packet.
const SHOT: i32 = 2;

/// In the driver.
#[xdp]
fn bounce_xdp(ctx: XdpContext) -> u32 {
    send_on(Frame::of_xdp(&ctx)).map_or(XDP_DROP, |action| action as u32)
}

/// At the traffic control.
#[classifier]
fn bounce_tc(ctx: TcContext) -> i32 {
    send_on(Frame::of_tc(&ctx)).map_or(SHOT, |action| action as i32)
}

#[inline(always)]
fn send_on(frame: Option<Frame>) -> Option<i64> {
    let frame = frame?;
    // SAFETY: the loader has set it; volatile keeps the compiler from using the
    // value above.
    let bounce = unsafe { core::ptr::read_volatile(&raw const BOUNCE) };
    frame.put(0, bounce.destination);
    frame.put(6, bounce.source);
    // SAFETY: the helper takes plain values.
    Some(unsafe { bpf_redirect(bounce.interface, 0) })
}
