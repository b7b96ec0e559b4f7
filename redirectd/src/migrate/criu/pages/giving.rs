//! What home gives, and in which order.

use std::{fs::File, io, os::unix::fs::FileExt as _, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    LITTLE, MUCH, PIECE, Progress, Range,
    frame::{Frame, cut},
    left::Left,
    server::{Command, LENGTH},
};
use crate::{
    error::{Error, Kind},
    migrate::criu::pipes::Widened,
};

/// So long after a wish, the next one is expected.
const MORE: Duration = Duration::from_millis(10);

/// What the host says.
pub(super) enum Heard {
    /// These before all others.
    Wish(Range),
    /// So many bytes more have come.
    Got(u64),
}

/// What is under way.
pub(super) struct Giving<'a, W> {
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

impl<'a, W: AsyncWrite + Unpin> Giving<'a, W> {
    /// Is to give `left` to `writer`. `widened` is what CRIU needs until it has given
    /// the first.
    pub(super) fn new(
        left: Left,
        writer: W,
        progress: &'a watch::Sender<Progress>,
        widened: oneshot::Receiver<Option<Widened>>,
    ) -> Self {
        Self {
            left,
            on_its_way: 0,
            wished: None,
            writer,
            progress,
            widened: Some(widened),
            piece: Vec::new(),
        }
    }

    pub(super) async fn say(&mut self, frame: &[u8]) -> Result<(), Error> {
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

    /// Gives pages of processes that are `frozen`, by their numbers and their memory;
    /// says whether it could, as they may have been ended in this moment. Memory is
    /// read at once: it is there, or the process would wait for it too.
    pub(super) async fn give_frozen(
        &mut self,
        frozen: &[(u32, File)],
        wish: Range,
    ) -> Result<bool, Error> {
        let Some(range) = self.take(wish) else { return Ok(true) };
        let memory = frozen.iter().find(|(pid, _)| *pid == range.pid);
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
    pub(super) async fn all(
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
                self.give_kept(criu, next).await?;
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

    pub(super) async fn heed(&mut self, criu: &mut UnixStream, heard: Heard) -> Result<(), Error> {
        match heard {
            Heard::Got(bytes) => self.got(bytes),
            Heard::Wish(wish) => {
                self.wished = Some(Instant::now());
                if let Some(range) = self.take(wish) {
                    self.give_kept(criu, range).await?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn got(&mut self, bytes: u64) {
        self.on_its_way = self.on_its_way.saturating_sub(bytes);
    }

    /// Gives pages that CRIU has; as many of `range` as it gives at once, the
    /// others stay.
    async fn give_kept(&mut self, criu: &mut UnixStream, range: Range) -> Result<(), Error> {
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

fn silent(why: &io::Error) -> Error {
    failed(format!("CRIU has ended while it had memory that was left behind: {why}"))
}

fn failed(what: String) -> Error {
    Error::new(Kind::Failed, what)
}
