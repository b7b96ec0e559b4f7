//! Where the kernel is: its stack at every tick of a clock.

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_get_stack},
    macros::{map, perf_event},
    maps::{PerCpuArray, RingBuf},
    programs::PerfEventContext,
};
use redirectd_bench_bpf::{MAX_FRAMES, Sample};

/// Read by user space when the measurement is over; its real size is set before
/// loading, as the other users of this object have no use for it.
#[map]
static SAMPLES: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Samples for which there was no room.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Notes the kernel's stack; where there is none, user space was running.
#[perf_event]
fn sample(ctx: PerfEventContext) -> u32 {
    let Some(mut entry) = SAMPLES.reserve::<Sample>(0) else {
        if let Some(lost) = LOST.get_ptr_mut(0) {
            // SAFETY: this CPU's own value, and the clock does not tick in its own tick.
            unsafe { *lost += 1 };
        }
        return 0;
    };
    let sample = entry.as_mut_ptr();
    // SAFETY: the entry is as large as a sample; what the helper does not write
    // of the frames is not read, as `bytes` says how much it wrote.
    unsafe {
        (*sample).process = (bpf_get_current_pid_tgid() >> 32) as u32;
        (*sample).bytes = bpf_get_stack(
            ctx.as_ptr(),
            (&raw mut (*sample).frames).cast(),
            (MAX_FRAMES * size_of::<u64>()) as u32,
            0,
        ) as i32;
    }
    // Nobody waits: it is read afterwards.
    entry.submit(BPF_RB_NO_WAKEUP.into());
    0
}
