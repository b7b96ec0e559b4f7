//! Staying on one processor while packets are delivered, so that a packet that
//! the programs have counted has left, too.

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};
use tracing::warn;

/// This thread, as 0 names it.
const SELF: Pid = Pid::from_raw(0);

/// This thread on the processor that it is on; dropped, it may go anywhere again.
///
/// The programs count a delivered packet before the kernel sends it. If the next
/// packet of its flow were let through on another processor at that moment, it
/// could overtake it. But what is sent by a packet socket and turned round is
/// received on the processor that sent it, in a softirq, and nothing else runs
/// there until that is done with the packet. So a thread on the same processor
/// that sees the count knows that the packet is gone. (Where an interface has
/// receive packet steering, the kernel may take another processor; then order is
/// kept as far as that one is quick.)
pub(super) struct Settled(Option<CpuSet>);

impl Settled {
    /// Stays here from now on.
    pub(super) fn here() -> Self {
        let settle = || {
            let before = sched_getaffinity(SELF)?;
            let mut here = CpuSet::new();
            here.set(sched_getcpu()?)?;
            sched_setaffinity(SELF, &here)?;
            Ok(before)
        };
        let before: nix::Result<CpuSet> = settle();
        if let Err(error) = &before {
            warn!(%error, "cannot stay on one processor; held packets may be overtaken");
        }
        Self(before.ok())
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // That it stays here is no harm but to speed.
            let _ = sched_setaffinity(SELF, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> usize {
        let set = sched_getaffinity(SELF).expect("processors");
        (0..CpuSet::count()).filter(|&n| set.is_set(n).unwrap_or(false)).count()
    }

    #[test]
    fn a_thread_settles_and_is_let_go() {
        let before = allowed();
        let settled = Settled::here();
        assert_eq!(allowed(), 1);
        drop(settled);
        assert_eq!(allowed(), before);
    }
}
