//! Processes that are told from all others of their numbers.

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
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

/// What is seen of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It lives, and began then, in ticks since the boot.
    Lives(u64),
    /// It lives, and the kernel tells no more of it (hidepid).
    Hidden,
    /// There is none, or it has ended.
    Ended,
}

impl Sight {
    /// What is seen of the process `pid`.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        match started(pid) {
            Some(started) => Self::Lives(started),
            None if Process::new(pid).is_ok_and(|process| process.stat().is_ok()) => Self::Ended,
            None if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) => Self::Ended,
            None => Self::Hidden,
        }
    }

    /// Whether it may be the one that `began` then, and lives.
    #[must_use]
    pub fn may_be(self, began: u64) -> bool {
        match self {
            Self::Lives(started) => started == began,
            Self::Hidden => true,
            Self::Ended => false,
        }
    }
}

/// When the process began, in ticks since the boot, if it is there and has not ended.
pub fn started(pid: i32) -> Option<u64> {
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
        let seen = Sight::of(living.pid);
        assert_eq!(seen, Sight::Lives(living.started));
        assert!(seen.may_be(living.started) && !seen.may_be(living.started + 1));
        child.kill().unwrap();
        while living.lives() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(Living::of(living.pid), None);
        assert!(
            Sight::of(living.pid) == Sight::Ended && !Sight::of(living.pid).may_be(living.started)
        );
    }
}
