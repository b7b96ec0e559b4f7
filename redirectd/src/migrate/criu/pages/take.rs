//! The host's side: takes the pages, and gives them to CRIU as it asks for them.

use std::{collections::VecDeque, os::fd::OwnedFd};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::{mpsc, watch},
};

use super::{
    PIECE, Progress, Range,
    frame::{Frame, broken, cut, preamble},
    give::open,
    server::{CLOSED, Command, LENGTH},
    shelf::Shelf,
};
use crate::{
    error::{Error, Kind},
    migrate::criu::lazy::LazyPages,
};

/// So many pieces may wait to be put where they belong.
const EVENTS: usize = 16;

/// Takes the pages, by [`Taker::take`].
#[derive(Debug)]
pub struct Taker(pub(in crate::migrate::criu) OwnedFd);

/// What happens.
enum Event {
    /// Home has left so many bytes behind.
    Total(u64),
    /// Pages have come.
    Came(Range, Vec<u8>),
    /// All have come.
    End,
    /// CRIU asks for pages.
    Asked(Range),
    /// CRIU needs no more.
    Close,
}

/// What is under way.
struct Taking<'a, W> {
    shelf: Shelf,
    /// What CRIU has asked for and not got, in order: it takes the answers so.
    asked: VecDeque<Range>,
    criu: &'a mut OwnedWriteHalf,
    home: W,
    progress: &'a watch::Sender<Progress>,
}

impl Taker {
    /// Takes all pages from home at the other end of `stream`, until each is where
    /// it belongs in the processes that `lazy` serves. To be started before they
    /// are revived. From [`Progress::done`] on, home is not needed any more; `Ok`
    /// comes when CRIU is not, either.
    ///
    /// # Errors
    /// The stream is cut, or CRIU has ended before its time. The processes cannot
    /// go on without their memory: when this returns, they are killed, with all
    /// that they have started, and if they are not revived yet they will not be.
    pub async fn take(
        self,
        stream: impl AsyncRead + AsyncWrite,
        lazy: &LazyPages,
        progress: &watch::Sender<Progress>,
    ) -> Result<(), Error> {
        match open(self.0) {
            Ok(criu) => {
                let (mut read, mut write) = criu.into_split();
                let taken = run(stream, &mut read, &mut write, progress).await;
                // CRIU still has its socket. Without, it would end, and the kernel
                // would let the processes run on with pages full of zeros.
                lazy.end(taken.is_ok());
                taken
            }
            Err(why) => {
                lazy.end(false);
                Err(why)
            }
        }
    }
}

/// Takes the pages; CRIU is there until this has returned.
pub(super) async fn run(
    stream: impl AsyncRead + AsyncWrite,
    from_criu: &mut OwnedReadHalf,
    criu: &mut OwnedWriteHalf,
    progress: &watch::Sender<Progress>,
) -> Result<(), Error> {
    let (reader, home) = split(stream);
    let (event, events) = mpsc::channel(EVENTS);
    let (shelf, asked) = (Shelf::default(), VecDeque::new());
    let taking = Taking { shelf, asked, criu, home, progress };
    tokio::select! {
        biased;
        done = taking.work(events) => done,
        Err(why) = hear_home(reader, event.clone()) => Err(why),
        Err(why) = hear_criu(from_criu, event) => Err(why),
    }
}

impl<W: AsyncWrite + Unpin> Taking<'_, W> {
    async fn work(mut self, mut events: mpsc::Receiver<Event>) -> Result<(), Error> {
        while let Some(event) = events.recv().await {
            match event {
                Event::Total(bytes) => self.progress.send_modify(|now| now.total = bytes),
                Event::Came(range, bytes) => {
                    let come = bytes.len() as u64;
                    self.progress.send_modify(|now| now.over += come);
                    self.say(Frame::Got(come)).await?;
                    self.shelf.put(range.pid, range.address, bytes);
                    self.answer().await?;
                }
                Event::End => {
                    self.progress.send_modify(|now| now.done = true);
                    // All is here, whether home hears this or not.
                    let _ = self.say(Frame::Over).await;
                    self.answer().await?;
                }
                Event::Asked(range) => {
                    let done = self.progress.borrow().done;
                    if !done && self.shelf.get(range).is_none() {
                        let pages = range.pages.min(PIECE);
                        self.say(Frame::Want(Range { pages, ..range })).await?;
                    }
                    self.asked.push_back(range);
                    self.answer().await?;
                }
                Event::Close => return self.close().await,
            }
        }
        Err(failed("CRIU and home are both silent".into()))
    }

    /// Gives CRIU what it has asked for, as far as it has come.
    async fn answer(&mut self) -> Result<(), Error> {
        while let Some(&range) = self.asked.front() {
            let Some(bytes) = self.shelf.get(range) else {
                if self.progress.borrow().done {
                    return Err(failed(format!("home has not left {range:?}, and CRIU wants it")));
                }
                return Ok(());
            };
            let pages = bytes.len() as u64 / super::PAGE;
            let answer = Command::Pages(Range { pages, ..range }).encode();
            self.criu.write_all(&answer).await.map_err(|why| silent(&why))?;
            self.criu.write_all(bytes).await.map_err(|why| silent(&why))?;
            self.asked.pop_front();
        }
        Ok(())
    }

    /// All is where it belongs.
    async fn close(&mut self) -> Result<(), Error> {
        // It has got all it wanted, whether it hears this or not.
        let _ = self.criu.write_all(&CLOSED).await;
        if !self.progress.borrow().done {
            self.progress.send_modify(|now| now.done = true);
            // The processes need no more; home will see that by itself, too.
            let _ = self.say(Frame::Over).await;
        }
        Ok(())
    }

    async fn say(&mut self, frame: Frame) -> Result<(), Error> {
        self.home.write_all(&frame.encode()).await.map_err(cut)?;
        self.home.flush().await.map_err(cut)
    }
}

/// Takes what home sends, to its end.
async fn hear_home(
    mut reader: impl AsyncRead + Unpin,
    event: mpsc::Sender<Event>,
) -> Result<(), Error> {
    preamble(&mut reader).await?;
    loop {
        let happened = match Frame::read(&mut reader).await? {
            Frame::Total(bytes) => Event::Total(bytes),
            Frame::Pages(range) => {
                let mut bytes = vec![0; range.bytes()];
                reader.read_exact(&mut bytes).await.map_err(cut)?;
                Event::Came(range, bytes)
            }
            Frame::End => Event::End,
            other => return Err(broken(&format!("home sent {other:?}"))),
        };
        let end = matches!(happened, Event::End);
        // If nobody takes it, there is an error that says why.
        let _ = event.send(happened).await;
        if end {
            return Ok(());
        }
    }
}

/// Takes what CRIU asks for, until it needs no more.
async fn hear_criu(criu: &mut OwnedReadHalf, event: mpsc::Sender<Event>) -> Result<(), Error> {
    loop {
        let mut command = [0; LENGTH];
        criu.read_exact(&mut command).await.map_err(|why| silent(&why))?;
        let happened = match Command::decode(&command)? {
            Command::Get(range) => Event::Asked(range),
            Command::Close => Event::Close,
            Command::Pages(range) => {
                return Err(failed(format!("CRIU sent {range:?} instead of asking")));
            }
        };
        let end = matches!(happened, Event::Close);
        let _ = event.send(happened).await;
        if end {
            return Ok(());
        }
    }
}

fn silent(why: &std::io::Error) -> Error {
    failed(format!("CRIU has ended before all memory was where it belongs: {why}"))
}

fn failed(what: String) -> Error {
    Error::new(Kind::Failed, what)
}
