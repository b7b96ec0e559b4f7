//! A server whose process is frozen for a time that is given, and moved meanwhile.
//!
//! It is a thread of the bench: what CRIU would write down of a process is one
//! socket, and so a freeze can be as long, or as short, as one likes.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    os::fd::AsFd as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    peer::{MESSAGE, Traffic},
    tcp::Taken,
};
use crate::{interrupt, probe::now};

/// How often the server looks whether it is to be frozen.
const TURN: Duration = Duration::from_millis(1);

/// How long the end of a peer may be on its way.
const PATIENCE: Duration = Duration::from_secs(10);

/// What keeps a peer's packets from sockets that are written down: what freezes
/// differ in.
pub(super) trait Lock: Send {
    /// The process is about to be stopped, and still serves.
    ///
    /// # Errors
    /// Packets cannot be kept from it.
    fn prepare(&mut self) -> Result<()>;

    /// It does not run any more. From here on packets do not reach its socket.
    ///
    /// # Errors
    /// They cannot be kept from it.
    fn close(&mut self) -> Result<()>;

    /// The process is there again: puts the connection down where it is then.
    ///
    /// # Errors
    /// It cannot be put down.
    fn revive(&mut self, taken: &Taken) -> Result<TcpStream>;

    /// From here on packets reach it, and those that were kept, if any were.
    ///
    /// # Errors
    /// They do not.
    fn open(&mut self) -> Result<()>;
}

/// When and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Freeze {
    /// After the server's start.
    pub(super) after: Duration,
    /// From the stop until the connection is put down again.
    pub(super) length: Duration,
}

/// The server of one connection.
pub(super) struct Server {
    connection: TcpStream,
    traffic: Traffic,
    /// Of requests, what has been read and not answered.
    pending: Vec<u8>,
    received: u64,
}

impl Server {
    /// Of an accepted connection.
    ///
    /// # Errors
    /// The kernel refuses its options.
    pub(super) fn new(connection: TcpStream, traffic: Traffic) -> Result<Self> {
        let server = Self { connection, traffic, pending: Vec::new(), received: 0 };
        server.prepare()?;
        Ok(server)
    }

    /// Serves until the peer ends, frozen once meanwhile; then raises `thawed`.
    /// Gives how long the process did not run, in nanoseconds.
    ///
    /// # Errors
    /// The connection breaks, it cannot be frozen, or nothing comes of a peer that has
    /// `ended`.
    pub(super) fn serve(
        mut self,
        freeze: Freeze,
        lock: &mut dyn Lock,
        (thawed, ended): (&AtomicBool, &AtomicBool),
    ) -> Result<u64> {
        let begin = now()? + freeze.after.as_nanos() as u64;
        let (mut frozen, mut patience) = (None, None);
        loop {
            interrupt::check()?;
            if ended.load(Ordering::Relaxed) {
                let until = *patience.get_or_insert(now()? + PATIENCE.as_nanos() as u64);
                ensure!(now()? < until, "the peer has ended, and the server is not told");
            }
            if frozen.is_none() && now()? >= begin {
                self.serve_while(|| lock.prepare())?;
                let from = now()?;
                self = self.freeze(freeze.length, lock)?;
                frozen = Some(now()?.saturating_sub(from));
                thawed.store(true, Ordering::Relaxed);
            }
            if !self.turn()? {
                break;
            }
        }
        if self.traffic == Traffic::Bulk {
            let mut last = [0; MESSAGE];
            last[..8].copy_from_slice(&self.received.to_be_bytes());
            self.send(&last)?;
        }
        frozen.context("the peer has ended before the freeze")
    }

    /// Serves until `work` is done.
    fn serve_while(&mut self, work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
        thread::scope(|scope| {
            let work = scope.spawn(work);
            while !work.is_finished() && self.turn()? {}
            work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Takes what has come and answers it; whether there may be more.
    fn turn(&mut self) -> Result<bool> {
        if !self.take_in()? {
            return Ok(false);
        }
        self.answer()?;
        self.wait()?;
        Ok(true)
    }

    /// Does not run for `length`, its connection being nowhere meanwhile.
    fn freeze(mut self, length: Duration, lock: &mut dyn Lock) -> Result<Self> {
        let end = now()? + length.as_nanos() as u64;
        lock.close()?;
        // The process takes along what its socket has in its queue.
        if !self.take_in()? {
            bail!("the peer has ended when the server is frozen");
        }
        let taken = Taken::from(self.connection)?;
        while now()? < end {
            interrupt::check()?;
            let left = Duration::from_nanos(end.saturating_sub(now()?));
            thread::sleep(left.min(Duration::from_millis(100)));
        }
        let connection = lock.revive(&taken)?;
        lock.open()?;
        let server = Self { connection, ..self };
        server.prepare()?;
        Ok(server)
    }

    fn prepare(&self) -> Result<()> {
        self.connection.set_nonblocking(true)?;
        Ok(self.connection.set_nodelay(true)?)
    }

    /// Reads what is there; whether there may be more.
    fn take_in(&mut self) -> Result<bool> {
        let mut buffer = [0; 64 << 10];
        loop {
            match self.connection.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => {
                    self.received += length as u64;
                    if self.traffic == Traffic::Requests {
                        self.pending.extend_from_slice(&buffer[..length]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error).context("the server cannot receive"),
            }
        }
    }

    /// Answers each whole request with itself.
    fn answer(&mut self) -> Result<()> {
        let whole = self.pending.len() / MESSAGE * MESSAGE;
        let answers: Vec<u8> = self.pending.drain(..whole).collect();
        self.send(&answers)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        // A few bytes at a time: there is always room for them.
        self.connection.write_all(bytes).context("the server cannot answer")
    }

    fn wait(&self) -> Result<()> {
        let mut sockets = [PollFd::new(self.connection.as_fd(), PollFlags::POLLIN)];
        poll(&mut sockets, PollTimeout::try_from(TURN)?)?;
        Ok(())
    }
}
