//! The least that a detour can be: home sends every frame on to the other end,
//! and changes nothing but MAC addresses.

use aya_ebpf::{
    bindings::{
        TC_ACT_OK,
        xdp_action::{XDP_PASS, XDP_TX},
    },
    helpers::bpf_redirect,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use redirectd_bench_bpf::Ends;

use crate::packet::Frame;

/// Set before loading.
#[unsafe(no_mangle)]
static ENDS: Ends = Ends { home: [0; 6], peer: [0; 6], host: [0; 6] };

/// In the driver.
#[xdp]
fn turn_xdp(ctx: XdpContext) -> u32 {
    match turn_to_other_end(Frame::of_xdp(&ctx)) {
        Some(()) => XDP_TX,
        None => XDP_PASS,
    }
}

/// At tc.
#[classifier]
fn turn_tc(ctx: TcContext) -> i32 {
    match turn_to_other_end(Frame::of_tc(&ctx)) {
        // SAFETY: the context is the kernel's, and the helper takes plain values.
        Some(()) => unsafe { bpf_redirect((*ctx.skb.skb).ifindex, 0) as i32 },
        None => TC_ACT_OK,
    }
}

/// Addresses the frame to the end that it does not come from; `None` for what
/// comes from neither, or is not for home.
#[inline(always)]
fn turn_to_other_end(frame: Option<Frame>) -> Option<()> {
    let frame = frame?;
    // SAFETY: the loader has set it; volatile keeps the compiler from using the
    // value above.
    let ends = unsafe { core::ptr::read_volatile(&raw const ENDS) };
    if frame.mac(0) != ends.home {
        return None;
    }
    let source = frame.mac(6);
    let other = if source == ends.peer {
        ends.host
    } else if source == ends.host {
        ends.peer
    } else {
        return None;
    };
    frame.put(0, other);
    frame.put(6, ends.home);
    Some(())
}
