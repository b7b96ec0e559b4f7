//! Images on their way from one machine to another, over a socket.

use std::path::PathBuf;

use redirectd::{
    error::{Error, Kind},
    migrate::criu::stream::{Sum, receive::receive, send::Sender},
};
use tokio::{net::UnixStream, runtime::Runtime, sync::oneshot, task::JoinHandle};

/// More than any program of these tests has.
const MOST: u64 = 1 << 30;

/// What is under way. Dropping it ends it.
pub(crate) struct Transfer {
    runtime: Runtime,
    written: oneshot::Sender<()>,
    sending: JoinHandle<Result<Sum, Error>>,
    receiving: JoinHandle<Result<Sum, Error>>,
}

impl Transfer {
    /// Begins to send what CRIU will write to `from` into `to`; the open files as
    /// `readdress` gives them back.
    pub(crate) fn begin(
        from: PathBuf,
        to: PathBuf,
        readdress: impl FnOnce(&[u8]) -> Result<Vec<u8>, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::new(Kind::Failed, error.to_string());
        let runtime = Runtime::new().map_err(failed)?;
        let (near, mut far) = {
            let _entered = runtime.enter();
            UnixStream::pair().map_err(failed)?
        };
        let (written, all_written) = oneshot::channel::<()>();
        let sending = runtime.spawn(async move {
            let mut sender = Sender::new(&from, near).await?;
            sender.follow(all_written).await?;
            sender.finish(readdress).await
        });
        let receiving = runtime.spawn(async move { receive(&mut far, &to, MOST).await });
        Ok(Self { runtime, written, sending, receiving })
    }

    /// All is written: sends the rest, and waits until it has come.
    pub(crate) fn complete(self) -> Result<Sum, Error> {
        let Self { runtime, written, sending, receiving } = self;
        let _ = written.send(());
        let sent = runtime.block_on(sending).expect("the sender does not panic")?;
        let came = runtime.block_on(receiving).expect("the receiver does not panic")?;
        assert_eq!(sent, came);
        Ok(came)
    }
}
