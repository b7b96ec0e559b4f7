//! Processes that are told from all others of their numbers.

use procfs::process::Process;
use serde::{Deserialize, Serialize};

/// One that was there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Living {
    /// Its number.
    pub pid: i32,
    /// When the kernel says that it began, in ticks since the boot.
    started: u64,
}

impl Living {
    /// The process `pid`, if it is there and has not ended.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        started(pid).map(|started| Self { pid, started })
    }

    /// Whether it is there still, and has not ended.
    #[must_use]
    pub fn lives(self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// When the process began, in ticks since the boot, if it is there and has not ended.
pub(super) fn started(pid: i32) -> Option<u64> {
    let stat = Process::new(pid).ok()?.stat().ok()?;
    (!matches!(stat.state, 'Z' | 'X' | 'x')).then_some(stat.starttime)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn one_that_has_ended_does_not_live_though_its_parent_has_not_noticed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let living = Living::of(child.id().cast_signed()).unwrap();
        assert!(living.lives());
        assert!(!Living { started: living.started + 1, ..living }.lives(), "another one");
        child.kill().unwrap();
        while living.lives() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(Living::of(living.pid), None);
    }
}
