//! For tests: a child between fork and exec, as another thread has one while it starts a
//! program. Until then, a child has all files of this process open, those that close on
//! exec too.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, RawFd},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Ends when it is dropped.
pub(super) struct Begun(Pid);

impl Begun {
    /// With `file` open. It closes the others, on which tests beside this one may wait.
    pub(super) fn with(file: &File) -> Self {
        let kept = file.as_raw_fd();
        // SAFETY: the child calls only `wait_in_child`, which is made for this.
        match unsafe { libc::fork() } {
            -1 => panic!("cannot fork: {}", io::Error::last_os_error()),
            0 => wait_in_child(kept),
            child => Self(Pid::from_raw(child)),
        }
    }

    /// Whether nobody has ended it.
    pub(super) fn lives(&self) -> bool {
        waitpid(self.0, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

fn wait_in_child(kept: RawFd) -> ! {
    let kept = kept.cast_unsigned();
    // SAFETY: system calls alone, which are async-signal-safe; nothing here uses the files
    // that are closed, and no memory of the other threads is touched.
    unsafe {
        // It goes with the test, however that ends.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::syscall(libc::SYS_close_range, 3, kept.saturating_sub(1), 0);
        libc::syscall(libc::SYS_close_range, kept + 1, u32::MAX, 0);
        loop {
            libc::pause();
        }
    }
}
