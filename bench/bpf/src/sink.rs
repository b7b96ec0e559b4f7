//! The receiving ends: `sink` counts and drops, `reflect` checks and answers,
//! `returns` checks, counts and drops what comes back to the peer.

use aya_ebpf::{
    bindings::xdp_action::XDP_DROP,
    helpers::bpf_redirect,
    macros::{map, xdp},
    maps::PerCpuArray,
    programs::XdpContext,
};
use redirectd_bench_bpf::{Expect, count};

use crate::packet::Frame;

/// Set before loading.
#[unsafe(no_mangle)]
static EXPECT: Expect = Expect { addr: 0, first: 0, last: 0 };

/// See [`count`].
#[map]
static COUNT: PerCpuArray<u64> = PerCpuArray::with_max_entries(count::SLOTS, 0);

/// Counts packets and drops them: the end of a measurement.
#[xdp]
fn sink(ctx: XdpContext) -> u32 {
    match Frame::of_xdp(&ctx) {
        Some(frame) if is_expected(&frame, 30, 36) => add(count::EXPECTED),
        _ => add(count::OTHER),
    }
    XDP_DROP
}

/// Checks the checksums and sends each packet back: what makes flows
/// established, whatever source port home has chosen for them.
#[xdp]
fn reflect(ctx: XdpContext) -> u32 {
    match Frame::of_xdp(&ctx) {
        Some(frame) if is_expected(&frame, 30, 36) => {
            if !frame.sums_are_right() {
                add(count::BAD_CHECKSUM);
                return XDP_DROP;
            }
            add(count::EXPECTED);
            frame.turn_round();
            // Not XDP_TX: from it a veth wakes only a receiver with an XDP program.
            // SAFETY: the helper takes plain values.
            unsafe { bpf_redirect(ctx.ingress_ifindex() as u32, 0) as u32 }
        }
        _ => {
            add(count::OTHER);
            XDP_DROP
        }
    }
}

/// Checks and counts the answers at the peer.
#[xdp]
fn returns(ctx: XdpContext) -> u32 {
    add(match Frame::of_xdp(&ctx) {
        Some(frame) if is_expected(&frame, 26, 34) => {
            if frame.sums_are_right() {
                count::EXPECTED
            } else {
                count::BAD_CHECKSUM
            }
        }
        _ => count::OTHER,
    });
    XDP_DROP
}

/// Whether the address and port at these offsets are the expected ones.
#[inline(always)]
pub(crate) fn is_expected(frame: &Frame, addr: usize, port: usize) -> bool {
    // SAFETY: the loader has set it; volatile keeps the compiler from using the
    // value above.
    let expect = unsafe { core::ptr::read_volatile(&EXPECT) };
    let port = frame.u16(port);
    frame.is_generated()
        && frame.u32(addr) == expect.addr
        && port >= expect.first
        && port <= expect.last
}

#[inline(always)]
fn add(slot: u32) {
    if let Some(counter) = COUNT.get_ptr_mut(slot) {
        // SAFETY: this CPU's own value, and XDP programs do not interrupt each other.
        unsafe { *counter += 1 };
    }
}
