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

#[cfg(test)]
mod tests {
    use io::ErrorKind;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// A way on which nothing goes well.
    struct Broken(ErrorKind);

    impl AsyncRead for Broken {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(self.0.into()))
        }
    }

    impl AsyncWrite for Broken {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(self.0.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(self.0.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(self.0.into()))
        }
    }

    /// Whether silence is noticed by each of the things that are done on a way, if each
    /// fails with `kind`: reading, writing, flushing, ending.
    async fn noticed(kind: ErrorKind) -> [bool; 4] {
        let mut noticed = [false; 4];
        for (done, noticed) in noticed.iter_mut().enumerate() {
            let silence = Silence::default();
            let mut way = silence.on(Box::new(Broken(kind)));
            let failed = match done {
                0 => way.read_u8().await.map(drop),
                1 => way.write_all(b"x").await,
                2 => way.flush().await,
                _ => way.shutdown().await,
            };
            assert_eq!(failed.unwrap_err().kind(), kind, "it is told as it was");
            *noticed = silence.is_there();
        }
        noticed
    }

    #[tokio::test]
    async fn who_does_not_answer_is_silent() {
        for kind in [ErrorKind::TimedOut, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable]
        {
            assert_eq!(noticed(kind).await, [true; 4], "{kind}");
        }
    }

    /// Whoever says that, or has its kernel say so, is there.
    #[tokio::test]
    async fn who_ends_or_refuses_is_not() {
        for kind in [
            ErrorKind::ConnectionReset,
            ErrorKind::ConnectionAborted,
            ErrorKind::ConnectionRefused,
            ErrorKind::BrokenPipe,
            ErrorKind::UnexpectedEof,
            ErrorKind::InvalidData,
            ErrorKind::Other,
        ] {
            assert_eq!(noticed(kind).await, [false; 4], "{kind}");
        }
    }

    #[tokio::test]
    async fn what_goes_well_goes_as_without_it() {
        let (near, mut far) = duplex(4);
        let silence = Silence::default();
        let mut way = silence.on(Box::new(near));
        let say = async {
            way.write_all(b"to the source").await.unwrap();
            way.shutdown().await.unwrap();
            let mut heard = String::new();
            way.read_to_string(&mut heard).await.unwrap();
            heard
        };
        let answer = async {
            let mut heard = String::new();
            far.read_to_string(&mut heard).await.unwrap();
            far.write_all(b"from it").await.unwrap();
            drop(far);
            heard
        };
        assert_eq!(tokio::join!(say, answer), ("from it".into(), "to the source".into()));
        // Neither is its end.
        assert!(!silence.is_there());
    }
}
