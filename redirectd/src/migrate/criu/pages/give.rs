//! Home's side: gives the pages away.

use std::{
    convert::Infallible,
    fs::File,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::{
    io::{AsyncRead, AsyncWrite, split},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
};

use super::{
    Progress, ends,
    frame::{Frame, PREAMBLE, broken},
    giving::{Giving, Heard},
    left::Left,
};
use crate::{
    error::{Error, Kind},
    migrate::criu::pipes::Widened,
};

/// So much of what the host says may wait. It has at most one wish for each thread
/// that waits for a page.
const HEARD: usize = 1024;

/// CRIU's end, for [`Criu::dump_lazily`](crate::migrate::criu::Criu::dump_lazily).
#[derive(Debug)]
pub struct Source {
    pub(in crate::migrate::criu) socket: OwnedFd,
    /// Where what CRIU needs until it has given the first page goes.
    pub(in crate::migrate::criu) widened: oneshot::Sender<Option<Widened>>,
}

/// Tells [`Giver`] how far the processes are; from the stages of the dump.
#[derive(Debug)]
pub struct Stages {
    /// The giver's end of CRIU's socket, until the processes are ended.
    criu: Option<OwnedFd>,
    frozen: Option<oneshot::Sender<Frozen>>,
    ended: Option<oneshot::Sender<()>>,
}

/// Gives the pages away, over a stream, by [`Giver::give`].
#[derive(Debug)]
pub struct Giver {
    criu: OwnedFd,
    frozen: oneshot::Receiver<Frozen>,
    ended: oneshot::Receiver<()>,
    widened: oneshot::Receiver<Option<Widened>>,
}

/// Processes that are written down and not yet ended.
#[derive(Debug)]
struct Frozen {
    images: PathBuf,
    /// Their numbers in the images, and their memory.
    memory: Vec<(u32, File)>,
}

impl Source {
    /// Its number, which CRIU has it by, too.
    pub(in crate::migrate::criu) fn number(&self) -> i32 {
        self.socket.as_raw_fd()
    }
}

/// What leaving memory behind takes.
///
/// # Errors
/// The kernel has no socket left.
pub fn leave() -> Result<(Source, Stages, Giver), Error> {
    let (ours, crius) = ends()?;
    let (tell_frozen, frozen) = oneshot::channel();
    let (tell_ended, ended) = oneshot::channel();
    let criu = ours.try_clone().map_err(|why| failed(format!("no socket for CRIU: {why}")))?;
    let stages = Stages { criu: Some(criu), frozen: Some(tell_frozen), ended: Some(tell_ended) };
    let (tell_widened, widened) = oneshot::channel();
    let source = Source { socket: crius, widened: tell_widened };
    Ok((source, stages, Giver { criu: ours, frozen, ended, widened }))
}

impl Stages {
    /// All is written but the memory ([`DumpStage::Written`]), and the processes are
    /// frozen: to be called before the host revives them. `processes` are their
    /// numbers in the images, and those that they have here.
    ///
    /// # Errors
    /// Their memory cannot be read, or the giver has failed, and tells why.
    ///
    /// [`DumpStage::Written`]: crate::migrate::criu::DumpStage::Written
    pub fn frozen(&mut self, images: &Path, processes: &[(i32, i32)]) -> Result<(), Error> {
        let mut memory = Vec::new();
        for (pid, here) in processes {
            let path = format!("/proc/{here}/mem");
            let file =
                File::open(&path).map_err(|why| failed(format!("cannot open {path}: {why}")))?;
            memory.push((pid.unsigned_abs(), file));
        }
        let frozen = Frozen { images: images.to_owned(), memory };
        let tell = self.frozen.take().expect("they are frozen once");
        tell.send(frozen).map_err(|_| failed("the memory cannot go to the host".into()))
    }

    /// Whether CRIU is there still, which has the memory.
    ///
    /// # Errors
    /// It has ended: the processes run on here.
    pub fn must_be_kept(&self) -> Result<(), Error> {
        let mut ended = self.criu.iter().map(|criu| PollFd::new(criu.as_fd(), PollFlags::empty()));
        // The end of the other side is told unasked (poll(2)).
        let ended = ended.next().map(|ended| poll(&mut [ended], PollTimeout::ZERO));
        match ended {
            Some(Ok(0)) => Ok(()),
            _ => Err(failed("CRIU has ended before the process was handed over".into())),
        }
    }

    /// The processes are ended here for good, and only CRIU still has their memory:
    /// from here on it goes over.
    pub fn ended(&mut self) {
        // Once the giver is gone, CRIU is to see that.
        self.criu = None;
        // If nobody hears it, the giver has failed, and says so.
        let _ = self.ended.take().map(|tell| tell.send(()));
    }
}

impl Giver {
    /// Gives all pages to the host at the other end of `stream`, from when the
    /// processes are frozen until the host has all, or needs no more. To be
    /// started before the dump. Is well when dropped before the processes are
    /// ended; after that, their memory is lost.
    ///
    /// # Errors
    /// The processes were not ended after all ([`Stages`] is dropped), or the
    /// stream is cut, or CRIU has ended before its time. Unless
    /// [`Progress::done`], the processes are lost then: the host ends them.
    pub async fn give(
        self,
        stream: impl AsyncRead + AsyncWrite,
        progress: &watch::Sender<Progress>,
    ) -> Result<(), Error> {
        let (reader, writer) = split(stream);
        let (hears, heard) = mpsc::channel(HEARD);
        tokio::select! {
            over = hear(reader, hears) => over?,
            told = self.tell(writer, heard, progress) => match told? {},
        }
        progress.send_modify(|progress| progress.done = true);
        Ok(())
    }

    /// Gives all, and what is wished for first. Never comes to an end: the host says
    /// when all is over.
    async fn tell(
        mut self,
        writer: impl AsyncWrite + Unpin,
        mut heard: mpsc::Receiver<Heard>,
        progress: &watch::Sender<Progress>,
    ) -> Result<Infallible, Error> {
        let frozen = self.frozen.await.map_err(|_| stayed())?;
        let left = Left::behind(&frozen.images)?;
        let total = left.bytes();
        progress.send_modify(|progress| progress.total = total);
        let mut giving = Giving::new(left, writer, progress, self.widened);
        giving.say(&[&PREAMBLE[..], &Frame::Total(total).encode()].concat()).await?;
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                biased;
                ended = &mut self.ended => {
                    ended.map_err(|_| stayed())?;
                    break;
                }
                Some(heard) = heard.recv() => match heard {
                    Heard::Wish(wish) => if !giving.give_frozen(&frozen.memory, wish).await? {
                        waiting.push(wish);
                    },
                    Heard::Got(bytes) => giving.got(bytes),
                }
            }
        }
        let mut criu = open(self.criu)?;
        for wish in waiting {
            giving.heed(&mut criu, Heard::Wish(wish)).await?;
        }
        giving.all(&mut criu, &mut heard).await?;
        giving.say(&Frame::End.encode()).await?;
        // CRIU keeps the pages until the host has them all.
        std::future::pending().await
    }
}

/// Takes what the host says until it says that all is over.
async fn hear(mut reader: impl AsyncRead + Unpin, hears: mpsc::Sender<Heard>) -> Result<(), Error> {
    loop {
        let heard = match Frame::read(&mut reader).await? {
            Frame::Want(range) => Heard::Wish(range),
            Frame::Got(bytes) => Heard::Got(bytes),
            Frame::Over => return Ok(()),
            other => return Err(broken(&format!("the host sent {other:?}"))),
        };
        // If nobody takes it, there is an error that says why.
        let _ = hears.send(heard).await;
    }
}

/// Our end of a socket of CRIU's.
pub(super) fn open(socket: OwnedFd) -> Result<UnixStream, Error> {
    let socket = std::os::unix::net::UnixStream::from(socket);
    let made = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket));
    made.map_err(|why| failed(format!("cannot speak with CRIU: {why}")))
}

fn stayed() -> Error {
    failed("the process was not ended here, so its memory stays too".into())
}

fn failed(what: String) -> Error {
    Error::new(Kind::Failed, what)
}
