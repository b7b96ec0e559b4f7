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
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    LITTLE, MUCH, PIECE, Progress, Range, ends,
    frame::{Frame, PREAMBLE, broken, cut},
    left::Left,
    server::{Command, LENGTH},
};
use crate::{
    error::{Error, Kind},
    migrate::criu::pipes::Widened,
};

/// So much of what the host says may wait. It has at most one wish for each thread
/// that waits for a page.
const HEARD: usize = 1024;
/// So long after a wish, the next one is expected.
const MORE: Duration = Duration::from_millis(10);

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

/// What the host says.
enum Heard {
    /// These before all others.
    Wish(Range),
    /// So many bytes more have come.
    Got(u64),
}

/// What is under way.
struct Giving<'a, W> {
    left: Left,
    /// So many bytes have been sent and not acknowledged.
    on_its_way: u64,
    /// When the host last wished for something.
    wished: Option<Instant>,
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
        let (widened, piece) = (Some(self.widened), Vec::new());
        let mut giving =
            Giving { left, on_its_way: 0, wished: None, writer, progress, widened, piece };
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
                    Heard::Wish(wish) => if !giving.from_frozen(&frozen, wish).await? {
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
        self.piece.resize(frame.len() + range.bytes(), 0);
        self.piece[..frame.len()].copy_from_slice(&frame);
        &mut self.piece[frame.len()..]
    }

    async fn send(&mut self, range: Range) -> Result<(), Error> {
        let piece = std::mem::take(&mut self.piece);
        self.say(&piece).await?;
        self.piece = piece;
        self.on_its_way += range.bytes() as u64;
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

    /// Gives all that is left, what is wished for first.
    async fn all(
        &mut self,
        criu: &mut UnixStream,
        heard: &mut mpsc::Receiver<Heard>,
    ) -> Result<(), Error> {
        loop {
            while let Ok(heard) = heard.try_recv() {
                self.heed(criu, heard).await?;
            }
            let expected =
                self.wished.map(|wished| wished + MORE).filter(|end| *end > Instant::now());
            if self.on_its_way < if expected.is_some() { LITTLE } else { MUCH } {
                let Some(next) = self.left.next(PIECE) else { return Ok(()) };
                self.from_criu(criu, next).await?;
                continue;
            }
            tokio::select! {
                Some(heard) = heard.recv() => self.heed(criu, heard).await?,
                () = sleep_until(expected.unwrap_or_else(Instant::now)), if expected.is_some() => {}
                // The host is silent; whoever hears that says so.
                else => std::future::pending().await,
            }
        }
    }

    async fn heed(&mut self, criu: &mut UnixStream, heard: Heard) -> Result<(), Error> {
        match heard {
            Heard::Got(bytes) => self.got(bytes),
            Heard::Wish(wish) => {
                self.wished = Some(Instant::now());
                if let Some(range) = self.take(wish) {
                    self.from_criu(criu, range).await?;
                }
            }
        }
        Ok(())
    }

    fn got(&mut self, bytes: u64) {
        self.on_its_way = self.on_its_way.saturating_sub(bytes);
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

fn silent(why: &io::Error) -> Error {
    failed(format!("CRIU has ended while it had memory that was left behind: {why}"))
}

fn failed(what: String) -> Error {
    Error::new(Kind::Failed, what)
}
