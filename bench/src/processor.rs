//! Where threads run.

use anyhow::{Context, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// Keeps the calling thread on `processor`, ahead of ordinary threads where the
/// kernel permits it: on a machine that does other work too, the figures are
/// then those of the packets. Meant for a thread that ends with its measurement.
///
/// # Errors
/// There is no such processor for us.
pub(crate) fn occupy(processor: usize) -> Result<()> {
    sched_setaffinity(Pid::from_raw(0), &set(&[processor])?)
        .with_context(|| format!("cannot run on processor {processor}"))?;
    let parameter = libc::sched_param { sched_priority: 1 };
    // SAFETY: `parameter` outlives the call, which reads it. A refusal costs
    // steadiness, nothing else; `switches` shows it.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) };
    Ok(())
}

/// `processors` as the kernel takes them.
///
/// # Errors
/// One is beyond what the kernel knows.
pub(crate) fn set(processors: &[usize]) -> Result<CpuSet> {
    let mut set = CpuSet::new();
    for &processor in processors {
        set.set(processor).with_context(|| format!("no processor {processor}"))?;
    }
    Ok(set)
}

/// How often the calling thread has been pushed off its processor.
pub(crate) fn switches() -> Result<u64> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD)?;
    Ok(usage.involuntary_context_switches().try_into().unwrap_or(0))
}

/// The last processor this process may use: the least used one, as a rule.
///
/// # Errors
/// The kernel does not say which there are.
pub(crate) fn last() -> Result<usize> {
    let set = nix::sched::sched_getaffinity(Pid::from_raw(0))?;
    let last = (0..CpuSet::count()).rev().find(|&n| set.is_set(n).unwrap_or(false));
    ensure!(last.is_some(), "no processor to run on");
    Ok(last.unwrap_or(0))
}
