//! How functions of their own tell the caller what to do: a BPF function can
//! only return a number.

use redirectd_ebpf::reason::Reason;

/// Success as 0, a reason as a negative number.
#[inline(always)]
pub fn from(result: Result<(), Reason>) -> i64 {
    match result {
        Ok(()) => 0,
        Err(reason) => -1 - i64::from(reason as u32),
    }
}

/// The way back.
#[inline(always)]
pub fn check(outcome: i64) -> Result<(), Reason> {
    if outcome >= 0 {
        return Ok(());
    }
    Err(Reason::from_index((-1 - outcome) as u32).unwrap_or(Reason::NoEffect))
}
