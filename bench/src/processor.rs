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
    // A refusal shows in `switches`.
    schedule(libc::SCHED_FIFO, 1);
    Ok(())
}

/// Has the calling thread, and all threads and programs that it starts
/// meanwhile, run ahead of ordinary ones until this is dropped.
#[derive(Debug)]
pub(crate) struct Ahead;

impl Ahead {
    /// From now on, where the kernel permits it.
    pub(crate) fn of_others() -> Self {
        schedule(libc::SCHED_FIFO, 1);
        Self
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        schedule(libc::SCHED_OTHER, 0);
    }
}

/// Schedules the calling thread by `policy`, if the kernel permits it. A refusal
/// costs steadiness, nothing else.
fn schedule(policy: libc::c_int, priority: libc::c_int) {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: `parameter` outlives the call, which reads it.
    unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) };
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
    all()?.last().copied().context("no processor to run on")
}

/// `processor`, if this process may use it.
///
/// # Errors
/// It may not; the message says which it may use.
pub(crate) fn usable(processor: usize) -> Result<usize> {
    let all = all()?;
    let known = || all.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    ensure!(
        all.contains(&processor),
        "there is no processor {processor} to be used (--processor); there are {}",
        known()
    );
    Ok(processor)
}

/// All processors this process may use, in their order.
fn all() -> Result<Vec<usize>> {
    let set = nix::sched::sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|&n| set.is_set(n).unwrap_or(false)).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// Held by tests that have work of their own on the [`last`](super::last) processor,
    /// or measure what there is: one at a time.
    pub(crate) fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        // A test that failed has left nothing there.
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
