//! The wrapper in which a program under test runs: BPF_PROG_TEST_RUN repeats a
//! program on one frame, and leaves what one repetition wrote to the next. So
//! the wrapper writes the whole frame anew, as that of the flow whose turn it is,
//! and goes on in the program under test.

use core::arch::asm;

use aya_ebpf::{
    bindings::xdp_action::XDP_ABORTED,
    macros::{classifier, map, xdp},
    maps::{Array, ProgramArray},
    programs::{TcContext, XdpContext},
};
use redirectd_bench_bpf::{Template, fold, places, places::Places};

use crate::{generate::next, packet::Frame};

/// Set before loading.
#[unsafe(no_mangle)]
static TEMPLATE: Template = Template {
    frame: [0; places::LONGEST],
    kind: 0,
    targets: 1,
    per_target: 1,
    peer: 0,
    sum: 0,
    ip_sum: 0,
    peer_port: 0,
    home_port: 0,
};

/// The XDP program under test, at 0.
#[map]
static TESTED_XDP: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The tc program under test, at 0.
#[map]
static TESTED_TC: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// How often a packet did not take the way it should, counted by the wrapper
/// and by the bench's own programs under test, which count nothing else: a
/// counter would be part of what is measured.
#[map]
static MISSED: Array<u64> = Array::with_max_entries(1, 0);

/// `TC_ACT_SHOT`: drops the packet.
pub(crate) const SHOT: i32 = 2;

/// At XDP.
#[xdp]
fn wrap_xdp(ctx: XdpContext) -> u32 {
    if make(ctx.data(), ctx.data_end()).is_some() {
        // SAFETY: the context is the program's own.
        unsafe { TESTED_XDP.tail_call(&ctx, 0) };
    }
    missed();
    XDP_ABORTED
}

/// At tc.
#[classifier]
fn wrap_tc(ctx: TcContext) -> i32 {
    if make(ctx.data(), ctx.data_end()).is_some() {
        // SAFETY: the context is the program's own.
        unsafe { TESTED_TC.tail_call(&ctx, 0) };
    }
    missed();
    SHOT
}

/// Counts a packet that does not take the way it should.
#[inline(always)]
pub(crate) fn missed() {
    if let Some(counter) = MISSED.get_ptr_mut(0) {
        // SAFETY: one program runs at a time.
        unsafe { *counter += 1 };
    }
}

#[inline(always)]
fn make(start: usize, end: usize) -> Option<()> {
    // SAFETY: the loader has set it; volatile keeps the compiler from using the
    // value above.
    let kind = unsafe { core::ptr::read_volatile(&raw const TEMPLATE.kind) };
    // The verifier knows the kind, and leaves out what is for others.
    match kind {
        places::UDP4 => write::<{ places::UDP4 as usize }>(start, end)?,
        places::TCP4 => write::<{ places::TCP4 as usize }>(start, end)?,
        places::TCP6 => write::<{ places::TCP6 as usize }>(start, end)?,
        _ => write::<{ places::ICMP4 as usize }>(start, end)?,
    }
    settle();
    Some(())
}

/// Writes the next packet of the kind.
#[inline(always)]
fn write<const KIND: usize>(start: usize, end: usize) -> Option<()> {
    const { assert!(KIND < places::OF.len()) };
    let at: Places = const { places::OF[KIND] };
    if start + at.length > end {
        return None;
    }
    // SAFETY: the bounds have been checked.
    let frame = unsafe { Frame::at(start) };
    // SAFETY: as in `make`.
    let field = |field: *const u32| unsafe { core::ptr::read_volatile(field) };
    let (target, flow) =
        next(field(&raw const TEMPLATE.targets), field(&raw const TEMPLATE.per_target))?;
    copy(&frame, at.length);
    let peer = field(&raw const TEMPLATE.peer) + target;
    let peer_port = field(&raw const TEMPLATE.peer_port) + flow;
    let home_port = field(&raw const TEMPLATE.home_port) + target;
    frame.put(at.peer, (peer as u16).to_be());
    frame.put(at.peer_port, (peer_port as u16).to_be());
    frame.put(at.home_port, (home_port as u16).to_be());
    let mut sum = field(&raw const TEMPLATE.sum) + peer_port + home_port;
    if at.peer_in_sum {
        sum += peer & 0xffff;
    }
    // UDP writes a sum of zero in its other form (RFC 768).
    let zero = if KIND == places::UDP4 as usize { 0xffff } else { 0 };
    let check = !fold(sum);
    frame.put(at.check, (if check == 0 { zero } else { check }).to_be());
    if at.ip_check != 0 {
        let ip_sum = field(&raw const TEMPLATE.ip_sum) + (peer & 0xffff);
        frame.put(at.ip_check, (!fold(ip_sum)).to_be());
    }
    Some(())
}

/// Copies the template, by as few stores as can be: loads by the program under
/// test from what was stored in smaller pieces would have to wait.
#[inline(always)]
fn copy(frame: &Frame, length: usize) {
    let template = (&raw const TEMPLATE.frame).cast::<u8>();
    let mut at = 0;
    while at + 8 <= length {
        // SAFETY: within the template, which is aligned to 8; see `make`.
        frame.put_aligned(at, unsafe { core::ptr::read_volatile(template.add(at).cast::<u64>()) });
        at += 8;
    }
    while at + 2 <= length {
        // SAFETY: as above.
        frame.put_aligned(at, unsafe { core::ptr::read_volatile(template.add(at).cast::<u16>()) });
        at += 2;
    }
}

/// An atomic instruction that changes nothing: it waits until all stores before
/// it are done, so that the program under test finds the packet in the cache, as
/// it would find a driver's, and no work on the packet overlaps with making it.
#[inline(always)]
fn settle() {
    let Some(counter) = MISSED.get_ptr_mut(0) else { return };
    // SAFETY: the instruction adds nothing to an aligned u64 in a map's value.
    unsafe {
        asm!(
            "{zero} = atomic_fetch_add((u64 *)({counter} + 0), {zero})",
            zero = inout(reg) 0u64 => _,
            counter = in(reg) counter,
        );
    }
}
