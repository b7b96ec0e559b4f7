//! Atomic addition. The compiler offers none for BPF, although the instruction
//! is there since Linux 5.12.

use core::arch::asm;

/// Adds `amount` to what `counter` points to and returns what was there.
///
/// # Safety
/// `counter` must point to an aligned u64 in a map's value.
#[inline(always)]
pub unsafe fn fetch_add(counter: *mut u64, amount: u64) -> u64 {
    let mut before = amount;
    // SAFETY: the caller's promise; the instruction reads and writes that u64.
    unsafe {
        asm!(
            "{before} = atomic_fetch_add((u64 *)({counter} + 0), {before})",
            before = inout(reg) before,
            counter = in(reg) counter,
        );
    }
    before
}
