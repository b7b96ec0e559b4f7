//! Whether a machine has fallen silent: nothing comes back from it, not even a word that
//! nobody listens there.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::migrate::handover::Way;

/// Set once the machine at the other end of a [`Listened`] is silent.
#[derive(Debug, Clone, Default)]
pub(super) struct Silence(Arc<AtomicBool>);

/// A way on which silence is noticed.
pub(super) struct Listened {
    way: Way,
    silence: Silence,
}

impl Silence {
    /// Whether it is.
    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Looks after `way`.
    pub(super) fn on(&self, way: Way) -> Way {
        Box::new(Listened { way, silence: self.clone() })
    }
}

impl Listened {
    fn note<T>(&self, done: io::Result<T>) -> io::Result<T> {
        done.inspect_err(|error| {
            use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
            if matches!(error.kind(), TimedOut | HostUnreachable | NetworkUnreachable) {
                self.silence.0.store(true, Ordering::Relaxed);
            }
        })
    }
}

impl AsyncRead for Listened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.way).poll_read(context, buffer));
        Poll::Ready(self.note(done))
    }
}

impl AsyncWrite for Listened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = ready!(Pin::new(&mut self.way).poll_write(context, bytes));
        Poll::Ready(self.note(done))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.way).poll_flush(context));
        Poll::Ready(self.note(done))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = ready!(Pin::new(&mut self.way).poll_shutdown(context));
        Poll::Ready(self.note(done))
    }
}
