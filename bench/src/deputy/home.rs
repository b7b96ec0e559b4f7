//! The deputy: the end at home, which holds the process's sockets and performs
//! its calls.

use std::{
    collections::BTreeMap,
    io::{self, Write as _, stdout},
    net::{SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsFd,
    process, thread,
};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::SockRef;

use super::{
    LEAST_CHARGE, WINDOW, charge,
    frame::{Answer, Call, Frames, MAX_DATA, VERSION},
};
use crate::pair::{
    server::READY,
    sockets::{Descriptor, Failure, Kernel, Sockets},
};

/// What the deputy is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where its process will connect to
    #[arg(long, value_name = "ADDRESS:PORT")]
    at: SocketAddrV4,
    /// Read ahead, and let the process gather writes
    #[arg(long)]
    gather: bool,
}

/// Waits for its process, and is its deputy until one of the two ends.
///
/// # Errors
/// The port is taken, or what the process sends makes no sense.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let at = arguments.at;
    let listener = TcpListener::bind(at).with_context(|| format!("cannot listen at {at}"))?;
    println!("{READY}");
    stdout().flush()?;
    let (process, _) = listener.accept().context("no process comes")?;
    drop(listener);
    end_with(process.try_clone()?);
    match Deputy::new(process, arguments.gather)?.serve() {
        // A process that is killed with answers unread resets its connection.
        Err(error) if is_end(&error) => Ok(()),
        result => result.context("the process's calls"),
    }
}

/// Ends this program when its process ends, even in the midst of a call that
/// may never return. The thread is asleep until then: it waits for nothing that
/// a frame would wake it for.
fn end_with(process: TcpStream) {
    thread::spawn(move || {
        // nix does not name it.
        let ended = PollFlags::from_bits_retain(libc::POLLRDHUP);
        let mut fds = [PollFd::new(process.as_fd(), ended)];
        while poll(&mut fds, PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
        // Closes all sockets, as home does for a process that has ended.
        process::exit(0);
    });
}

/// Whether the process at the other end is gone.
fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// The deputy of one process.
pub(crate) struct Deputy {
    process: TcpStream,
    calls: Frames<TcpStream>,
    sockets: Kernel,
    gather: bool,
    /// What may still be sent ahead, by socket.
    windows: BTreeMap<Descriptor, usize>,
    /// What has been read from a socket.
    data: Vec<u8>,
    /// What is about to be sent to the process.
    frames: Vec<u8>,
}

impl Deputy {
    /// Of the process at the other end of `process`.
    ///
    /// # Errors
    /// It is gone already.
    pub(crate) fn new(process: TcpStream, gather: bool) -> io::Result<Self> {
        process.set_nodelay(true)?;
        if gather {
            // Room for all that may be sent ahead, so that it never waits for
            // the process in a write.
            SockRef::from(&process).set_send_buffer_size(4 * WINDOW)?;
        }
        let mut deputy = Self {
            calls: Frames::new(process.try_clone()?),
            process,
            sockets: Kernel::default(),
            gather,
            windows: BTreeMap::new(),
            data: Vec::new(),
            frames: Vec::new(),
        };
        Answer::Greeting { version: VERSION, gather }.write(&mut deputy.frames);
        deputy.send_off()?;
        Ok(deputy)
    }

    /// Performs calls until the process ends; its sockets are then closed.
    ///
    /// # Errors
    /// The connection breaks, or the process sends what makes no sense.
    pub(crate) fn serve(mut self) -> io::Result<()> {
        loop {
            if self.gather && !self.calls.begun() && !self.read_ahead()? {
                continue;
            }
            let Some(frame) = self.calls.next()? else { return Ok(()) };
            let call = Call::read(frame)?;
            perform(&mut self.sockets, &mut self.windows, &mut self.data, call, &mut self.frames)?;
            self.send_off()?;
        }
    }

    /// Waits for a call or for data that may be sent ahead, and sends these;
    /// whether there is a call.
    fn read_ahead(&mut self) -> io::Result<bool> {
        let open: Vec<Descriptor> = self.windows.iter().filter(may_go).map(|one| *one.0).collect();
        let mut fds = vec![PollFd::new(self.process.as_fd(), PollFlags::POLLIN)];
        for socket in &open {
            fds.push(PollFd::new(self.sockets.get(*socket)?.as_fd(), PollFlags::POLLIN));
        }
        poll(&mut fds, PollTimeout::NONE)?;
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        for (socket, _) in open.iter().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            let window = self.windows.get_mut(socket).expect("it is open");
            self.data.resize(*window, 0);
            match self.sockets.recv(*socket, &mut self.data) {
                Ok(length) => {
                    Answer::Ahead(*socket, &self.data[..length]).write(&mut self.frames);
                    // Behind the end there is nothing to be read.
                    *window = if length == 0 { 0 } else { *window - charge(length) };
                }
                Err(failure) => {
                    Answer::AheadFailed(*socket, errno(&failure)).write(&mut self.frames);
                    *window = 0;
                }
            }
            self.send_off()?;
        }
        Ok(ready[0])
    }

    fn send_off(&mut self) -> io::Result<()> {
        if !self.frames.is_empty() {
            self.process.write_all(&self.frames)?;
            self.frames.clear();
        }
        Ok(())
    }
}

fn may_go((_, window): &(&Descriptor, &usize)) -> bool {
    **window >= LEAST_CHARGE
}

/// Performs `call` with `sockets`, and writes what it returns to `frames`.
fn perform(
    sockets: &mut Kernel,
    windows: &mut BTreeMap<Descriptor, usize>,
    data: &mut Vec<u8>,
    call: Call<'_>,
    frames: &mut Vec<u8>,
) -> io::Result<()> {
    let nothing = |()| 0;
    let done = match call {
        Call::Socket => sockets.socket().map(|socket| socket.0),
        Call::SetOption(socket, option) => sockets.set_option(socket, option).map(nothing),
        Call::Bind(socket, address) => sockets.bind(socket, address).map(nothing),
        Call::Listen(socket, backlog) => sockets.listen(socket, backlog).map(nothing),
        Call::Accept(listener) => sockets.accept(listener).map(|socket| socket.0),
        Call::Send(socket, bytes) => sockets.send_all(socket, bytes).map(|()| bytes.len() as u32),
        Call::Shutdown(socket) => sockets.shutdown(socket).map(nothing),
        Call::Close(socket) => {
            windows.remove(&socket);
            sockets.close(socket).map(nothing)
        }
        Call::Recv(socket, length) => {
            data.resize((length as usize).min(MAX_DATA), 0);
            match sockets.recv(socket, data) {
                Ok(length) => {
                    Answer::Data(&data[..length]).write(frames);
                    return Ok(());
                }
                Err(failure) => Err(failure),
            }
        }
        Call::Window(socket, more) => {
            return open_window(sockets, windows, socket, more as usize, frames);
        }
    };
    match done {
        Ok(value) => Answer::Done(value).write(frames),
        Err(failure) => Answer::Failed(errno(&failure)).write(frames),
    }
    Ok(())
}

/// Lets `more` be sent ahead from `socket`.
fn open_window(
    sockets: &Kernel,
    windows: &mut BTreeMap<Descriptor, usize>,
    socket: Descriptor,
    more: usize,
    frames: &mut Vec<u8>,
) -> io::Result<()> {
    if let Err(error) = sockets.get(socket) {
        // The process reads from what is no socket: so it would be told.
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Answer::AheadFailed(socket, errno).write(frames);
        return Ok(());
    }
    let window = windows.entry(socket).or_default();
    if *window + more > WINDOW {
        let text = format!("a window of {} bytes; {WINDOW} are the most", *window + more);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    *window += more;
    Ok(())
}

fn errno(failure: &Failure) -> i32 {
    match failure {
        Failure::Call(error) => error.raw_os_error().unwrap_or(libc::EIO),
        // The kernel is never lost.
        Failure::Lost(_) => libc::EIO,
    }
}
