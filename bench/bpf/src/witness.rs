//! `witness`: notes when which of a stream of numbered packets came by, and
//! answers, so that the flow is an established one.

use aya_ebpf::{
    bindings::xdp_action::XDP_DROP,
    helpers::{bpf_ktime_get_ns, bpf_redirect},
    macros::{map, xdp},
    maps::Array,
    programs::XdpContext,
};
use redirectd_bench_bpf::Seen;

use crate::{packet::Frame, sink::is_expected};

/// Written here, by one processor at a time: an interface with one queue.
#[map]
static SEEN: Array<Seen> = Array::with_max_entries(1, 0);

/// Notes each expected packet, and sends it back.
#[xdp]
fn witness(ctx: XdpContext) -> u32 {
    match Frame::of_xdp(&ctx) {
        Some(frame) if is_expected(&frame, 30, 36) => {
            note(frame.number());
            frame.turn_round();
            // Not XDP_TX, as in `reflect`.
            // SAFETY: the helper takes plain values.
            unsafe { bpf_redirect(ctx.ingress_ifindex() as u32, 0) as u32 }
        }
        _ => XDP_DROP,
    }
}

#[inline(always)]
fn note(number: u64) {
    let Some(seen) = SEEN.get_ptr_mut(0) else { return };
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the map's own value, and nobody else writes it.
    let seen = unsafe { &mut *seen };
    if seen.packets == 0 || number != seen.last + 1 {
        seen.visits += 1;
        seen.first = number;
        seen.first_at = now;
    }
    seen.packets += 1;
    seen.last = number;
    seen.last_at = now;
}
