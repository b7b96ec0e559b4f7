//! One processor, for what must keep its order.

use anyhow::Result;
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};

/// Keeps this thread, and all that it starts from now on, on one processor. The
/// cables of a lab have a queue for each: a datagram that has been sent by one can
/// be overtaken by the next, sent by another, on the switch behind it.
///
/// # Errors
/// When the kernel refuses.
pub fn stay_on_one_processor() -> Result<()> {
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &here)?)
}
