//! Home's side: gives the pages away.

use std::{
    convert::Infallible,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
};

use super::{
    PIECE, Progress, Range, ends,
    frame::{Frame, PREAMBLE, broken, cut},
    left::Left,
    server::{Command, LENGTH},
};
use crate::{
    error::{Error, Kind},
    migrate::criu::pipes::Widened,
};

/// So many wishes of the host may wait. It has at most one for each thread that
/// waits for a page.
const WISHES: usize = 1024;

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

/// What is under way.
struct Giving<'a, W> {
    left: Left,
    writer: W,
    progress: &'a watch::Sender<Progress>,
    /// Until CRIU has given a page.
    widened: Option<oneshot::Receiver<Option<Widened>>>,
    /// A frame and its pages.
    piece: Vec<u8>,
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
    let stages = Stages { frozen: Some(tell_frozen), ended: Some(tell_ended) };
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

    /// The processes are ended here for good, and only CRIU still has their memory:
    /// from here on it goes over.
    pub fn ended(&mut self) {
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
        let (wish, wishes) = mpsc::channel(WISHES);
        tokio::select! {
            heard = hear(reader, wish) => heard?,
            told = self.tell(writer, wishes, progress) => match told? {},
        }
        progress.send_modify(|progress| progress.done = true);
        Ok(())
    }

    /// Gives all, and what is wished for first. Never comes to an end: the host says
    /// when all is over.
    async fn tell(
        mut self,
        writer: impl AsyncWrite + Unpin,
        mut wishes: mpsc::Receiver<Range>,
        progress: &watch::Sender<Progress>,
    ) -> Result<Infallible, Error> {
        let frozen = self.frozen.await.map_err(|_| stayed())?;
        let left = Left::behind(&frozen.images)?;
        let total = left.bytes();
        progress.send_modify(|progress| progress.total = total);
        let widened = Some(self.widened);
        let mut giving = Giving { left, writer, progress, widened, piece: Vec::new() };
        giving.say(&[&PREAMBLE[..], &Frame::Total(total).encode()].concat()).await?;
        let mut waiting = Vec::new();
        loop {
            tokio::select! {
                biased;
                ended = &mut self.ended => {
                    ended.map_err(|_| stayed())?;
                    break;
                }
                Some(wish) = wishes.recv() => {
                    if !giving.from_frozen(&frozen, wish).await? {
                        waiting.push(wish);
                    }
                }
            }
        }
        let mut criu = open(self.criu)?;
        for wish in waiting {
            giving.wished(&mut criu, wish).await?;
        }
        loop {
            while let Ok(wish) = wishes.try_recv() {
                giving.wished(&mut criu, wish).await?;
            }
            let Some(next) = giving.left.next(PIECE) else { break };
            giving.from_criu(&mut criu, next).await?;
        }
        giving.say(&Frame::End.encode()).await?;
        // CRIU keeps the pages until the host has them all.
        std::future::pending().await
    }
}

impl<W: AsyncWrite + Unpin> Giving<'_, W> {
    async fn say(&mut self, frame: &[u8]) -> Result<(), Error> {
        self.writer.write_all(frame).await.map_err(cut)?;
        self.writer.flush().await.map_err(cut)
    }

    /// What of `wish` is to be given now; nothing if it has gone already.
    fn take(&mut self, wish: Range) -> Option<Range> {
        self.left.take(Range { pages: wish.pages.min(PIECE), ..wish })
    }

    /// Makes room for pages behind their frame, and gives it.
    fn room(&mut self, range: Range) -> &mut [u8] {
        let frame = Frame::Pages(range).encode();
        self.piece.clear();
        self.piece.extend_from_slice(&frame);
        self.piece.resize(frame.len() + range.bytes(), 0);
        &mut self.piece[frame.len()..]
    }

    async fn send(&mut self, range: Range) -> Result<(), Error> {
        let piece = std::mem::take(&mut self.piece);
        self.say(&piece).await?;
        self.piece = piece;
        self.progress.send_modify(|progress| progress.over += range.bytes() as u64);
        Ok(())
    }

    /// Gives pages of a frozen process; says whether it could, as it may have been
    /// ended in this moment. Memory is read at once: it is there, or the process
    /// would wait for it too.
    async fn from_frozen(&mut self, frozen: &Frozen, wish: Range) -> Result<bool, Error> {
        let Some(range) = self.take(wish) else { return Ok(true) };
        let memory = frozen.memory.iter().find(|(pid, _)| *pid == range.pid);
        let room = self.room(range);
        let read = memory.map(|(_, memory)| memory.read_exact_at(room, range.address));
        if !matches!(read, Some(Ok(()))) {
            self.left.put(range);
            return Ok(false);
        }
        self.send(range).await?;
        Ok(true)
    }

    async fn wished(&mut self, criu: &mut UnixStream, wish: Range) -> Result<(), Error> {
        match self.take(wish) {
            Some(range) => self.from_criu(criu, range).await,
            None => Ok(()),
        }
    }

    /// Gives pages that CRIU has; as many of `range` as it gives at once, the
    /// others stay.
    async fn from_criu(&mut self, criu: &mut UnixStream, range: Range) -> Result<(), Error> {
        criu.write_all(&Command::Get(range).encode()).await.map_err(|why| silent(&why))?;
        let mut answer = [0; LENGTH];
        criu.read_exact(&mut answer).await.map_err(|why| silent(&why))?;
        self.widened = None;
        let given = match Command::decode(&answer)? {
            Command::Pages(given)
                if (given.pid, given.address) == (range.pid, range.address)
                    && (1..=range.pages).contains(&given.pages) =>
            {
                given
            }
            other => {
                return Err(failed(format!("CRIU was asked for {range:?} and answered {other:?}")));
            }
        };
        let room = self.room(given);
        criu.read_exact(room).await.map_err(|why| silent(&why))?;
        self.left.put(Range {
            pid: range.pid,
            address: range.address + given.bytes() as u64,
            pages: range.pages - given.pages,
        });
        self.send(given).await
    }
}

/// Takes the host's wishes until it says that all is over.
async fn hear(mut reader: impl AsyncRead + Unpin, wish: mpsc::Sender<Range>) -> Result<(), Error> {
    loop {
        match Frame::read(&mut reader).await? {
            Frame::Want(range) => {
                // If nobody takes it, there is an error that says why.
                let _ = wish.send(range).await;
            }
            Frame::Over => return Ok(()),
            other => return Err(broken(&format!("the host sent {other:?}"))),
        }
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

fn silent(why: &io::Error) -> Error {
    failed(format!("CRIU has ended while it had memory that was left behind: {why}"))
}

fn failed(what: String) -> Error {
    Error::new(Kind::Failed, what)
}
