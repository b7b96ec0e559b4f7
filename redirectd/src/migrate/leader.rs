//! Whoever leads a move, for as long as it lives.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::criu::Process;

/// A process that leads a move; another one of its number is not taken for it.
#[derive(Debug, Clone)]
pub struct Leader(Arc<Process>);

impl Leader {
    /// The process `pid` of this PID namespace.
    ///
    /// # Errors
    /// There is none, or the kernel does not tell (before Linux 5.3).
    pub fn of(pid: i32) -> io::Result<Self> {
        Process::open(pid).map(Arc::new).map(Self)
    }

    /// The process that made the connection to the other end of `socket`, which is of Unix;
    /// one of another PID namespace as well.
    ///
    /// # Errors
    /// The kernel does not tell (before Linux 6.5).
    pub fn at_the_other_end_of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        Process::at_the_other_end_of(socket).map(Arc::new).map(Self)
    }

    /// Whether it has ended, be it a zombie still.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // Such a descriptor can be read when its process has ended (pidfd_open(2)).
        let mut ended = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_end_of_a_process_is_seen_before_its_parent_takes_note() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let leader = Leader::of(child.id().cast_signed()).unwrap();
        assert!(!leader.has_ended());
        child.kill().unwrap();
        while !leader.has_ended() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(leader.has_ended());
        assert!(Leader::of(i32::MAX).is_err());
    }
}
