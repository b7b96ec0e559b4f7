//! Images on their way from one machine to another, over a socket.

use std::{
    path::Path,
    thread::{Scope, ScopedJoinHandle},
};

use redirectd::{
    error::{Error, Kind},
    migrate::criu::stream::{Sum, receive::receive, send::Sender},
};
use tokio::{net::UnixStream, runtime::Builder, sync::oneshot};

/// More than any program of these tests has.
const MOST: u64 = 1 << 30;

/// What is under way. Dropping it ends it.
pub(crate) struct Transfer<'scope> {
    written: oneshot::Sender<()>,
    thread: ScopedJoinHandle<'scope, Result<Sum, Error>>,
}

impl<'scope> Transfer<'scope> {
    /// Begins to send what CRIU will write to `from` into `to`; the open files as
    /// `readdress` gives them back.
    pub(crate) fn begin(
        scope: &'scope Scope<'scope, '_>,
        from: &'scope Path,
        to: &'scope Path,
        readdress: impl FnOnce(&[u8]) -> Result<Vec<u8>, Error> + Send + 'scope,
    ) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::new(Kind::Failed, error.to_string());
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (written, all_written) = oneshot::channel::<()>();
        let both = async move {
            let (near, mut far) = UnixStream::pair().map_err(failed)?;
            let send = async move {
                let mut sender = Sender::new(from, near).await?;
                sender.follow(all_written).await?;
                sender.finish(readdress).await
            };
            let (sent, came) = tokio::try_join!(send, receive(&mut far, to, MOST))?;
            assert_eq!(sent, came);
            Ok(came)
        };
        Ok(Self { written, thread: scope.spawn(move || runtime.block_on(both)) })
    }

    /// All is written: sends the rest, and waits until it has come.
    pub(crate) fn complete(self) -> Result<Sum, Error> {
        let _ = self.written.send(());
        self.thread.join().expect("the transfer does not panic")
    }
}
