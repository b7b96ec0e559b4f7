//! The thread that empties the ring buffer while there are groups, so that what
//! is held is bounded by the setting and not by the ring buffer's size.

use std::{
    io::{self, PipeReader, PipeWriter},
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::queue::Queues;

/// The running thread; it ends when this is dropped.
pub(super) struct Drain {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    /// Starts it; `ring` is the ring buffer's descriptor.
    pub(super) fn start(queues: &Arc<Mutex<Queues>>, ring: OwnedFd) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let queues = Arc::clone(queues);
        let thread = thread::Builder::new()
            .name("held packets".to_owned())
            .spawn(move || follow(&queues, &ring, &stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        // The other end sees that it is closed.
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(queues: &Mutex<Queues>, ring: &OwnedFd, stopped: &PipeReader) {
    loop {
        let mut fds = [
            PollFd::new(ring.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        let woken = poll(&mut fds, PollTimeout::NONE);
        if woken.is_ok() && fds[1].revents().is_some_and(|events| !events.is_empty()) {
            return;
        }
        queues.lock().unwrap_or_else(PoisonError::into_inner).drain();
    }
}
