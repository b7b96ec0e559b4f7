//! What travels between a process and its deputy: frames of a length (4 bytes,
//! of what follows), a kind (1 byte) and what belongs to it. Numbers are
//! big-endian.

use std::{
    io::{self, BufReader, ErrorKind, Read},
    net::SocketAddrV4,
};

use crate::pair::sockets::{Descriptor, SocketOption};

/// The most bytes one frame carries for a socket.
pub(super) const MAX_DATA: usize = 1 << 20;

/// The longest frame: kind, descriptor, data.
const MAX_LENGTH: usize = 1 + 4 + MAX_DATA;

/// Both ends are of the same binary, as a rule; this tells if they are not.
pub(super) const VERSION: u8 = 1;

/// What the process asks of its deputy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call<'a> {
    Socket,
    SetOption(Descriptor, SocketOption),
    Bind(Descriptor, SocketAddrV4),
    Listen(Descriptor, u32),
    Accept(Descriptor),
    /// Of at most so many bytes.
    Recv(Descriptor, u32),
    Send(Descriptor, &'a [u8]),
    Shutdown(Descriptor),
    Close(Descriptor),
    /// So much more may be sent ahead from this socket. Has no answer.
    Window(Descriptor, u32),
}

/// What the deputy sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// The first frame: of which version it is, and whether it reads ahead.
    Greeting { version: u8, gather: bool },
    /// The call is done; a descriptor, a number of bytes, or nothing.
    Done(u32),
    /// The call, `recv`, has yielded this.
    Data(&'a [u8]),
    /// The call has failed, with this `errno`.
    Failed(i32),
    /// Data of this socket, unasked for; nothing is its end.
    Ahead(Descriptor, &'a [u8]),
    /// No more can be read from this socket, for this `errno`.
    AheadFailed(Descriptor, i32),
}

impl<'a> Call<'a> {
    /// Appends it, as a whole frame, to `frames`.
    pub(super) fn write(self, frames: &mut Vec<u8>) {
        match self {
            Self::Socket => Writer::new(frames, 0).end(),
            Self::SetOption(socket, option) => {
                Writer::new(frames, 1).socket(socket).byte(option as u8).end()
            }
            Self::Bind(socket, address) => Writer::new(frames, 2)
                .socket(socket)
                .number(u32::from(*address.ip()))
                .number(address.port().into())
                .end(),
            Self::Listen(socket, backlog) => {
                Writer::new(frames, 3).socket(socket).number(backlog).end()
            }
            Self::Accept(socket) => Writer::new(frames, 4).socket(socket).end(),
            Self::Recv(socket, length) => {
                Writer::new(frames, 5).socket(socket).number(length).end()
            }
            Self::Send(socket, bytes) => Writer::new(frames, 6).socket(socket).bytes(bytes).end(),
            Self::Shutdown(socket) => Writer::new(frames, 7).socket(socket).end(),
            Self::Close(socket) => Writer::new(frames, 8).socket(socket).end(),
            Self::Window(socket, length) => {
                Writer::new(frames, 9).socket(socket).number(length).end()
            }
        }
    }

    /// The call in `frame`, which has no length before it.
    ///
    /// # Errors
    /// There is no such call.
    pub(super) fn read(frame: &'a [u8]) -> io::Result<Self> {
        let (mut rest, kind) = Rest::new(frame)?;
        let call = match kind {
            0 => Self::Socket,
            1 => Self::SetOption(rest.socket()?, rest.option()?),
            2 => Self::Bind(rest.socket()?, rest.address()?),
            3 => Self::Listen(rest.socket()?, rest.number()?),
            4 => Self::Accept(rest.socket()?),
            5 => Self::Recv(rest.socket()?, rest.number()?),
            6 => Self::Send(rest.socket()?, rest.bytes()),
            7 => Self::Shutdown(rest.socket()?),
            8 => Self::Close(rest.socket()?),
            9 => Self::Window(rest.socket()?, rest.number()?),
            _ => return Err(malformed(&format!("no call is of kind {kind}"))),
        };
        rest.end()?;
        Ok(call)
    }
}

impl<'a> Answer<'a> {
    /// Appends it, as a whole frame, to `frames`.
    pub(super) fn write(self, frames: &mut Vec<u8>) {
        match self {
            Self::Greeting { version, gather } => {
                Writer::new(frames, 0).byte(version).byte(gather.into()).end()
            }
            Self::Done(value) => Writer::new(frames, 1).number(value).end(),
            Self::Data(bytes) => Writer::new(frames, 2).bytes(bytes).end(),
            Self::Failed(errno) => Writer::new(frames, 3).number(errno.cast_unsigned()).end(),
            Self::Ahead(socket, bytes) => Writer::new(frames, 4).socket(socket).bytes(bytes).end(),
            Self::AheadFailed(socket, errno) => {
                Writer::new(frames, 5).socket(socket).number(errno.cast_unsigned()).end();
            }
        }
    }

    /// The answer in `frame`, which has no length before it.
    ///
    /// # Errors
    /// There is no such answer.
    pub(super) fn read(frame: &'a [u8]) -> io::Result<Self> {
        let (mut rest, kind) = Rest::new(frame)?;
        let answer = match kind {
            0 => Self::Greeting { version: rest.byte()?, gather: rest.flag()? },
            1 => Self::Done(rest.number()?),
            2 => Self::Data(rest.bytes()),
            3 => Self::Failed(rest.number()?.cast_signed()),
            4 => Self::Ahead(rest.socket()?, rest.bytes()),
            5 => Self::AheadFailed(rest.socket()?, rest.number()?.cast_signed()),
            _ => return Err(malformed(&format!("no answer is of kind {kind}"))),
        };
        rest.end()?;
        Ok(answer)
    }
}

/// Frames as they come in.
pub(super) struct Frames<R> {
    stream: BufReader<R>,
    frame: Vec<u8>,
}

impl<R: Read> Frames<R> {
    /// From `stream`.
    pub(super) fn new(stream: R) -> Self {
        Self { stream: BufReader::with_capacity(64 << 10, stream), frame: Vec::new() }
    }

    /// The next one, without its length; `None` when there will be no more.
    ///
    /// # Errors
    /// Reading fails, a frame is cut short or too long.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut length = [0; 4];
        match self.stream.read(&mut length)? {
            0 => return Ok(None),
            read => self.stream.read_exact(&mut length[read..])?,
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_LENGTH {
            return Err(malformed(&format!(
                "a frame of {length} bytes; {MAX_LENGTH} are the most"
            )));
        }
        self.frame.resize(length, 0);
        self.stream.read_exact(&mut self.frame)?;
        Ok(Some(&self.frame))
    }

    /// Whether something of the next one has been read already, so that waiting
    /// for the stream to become readable could be waiting for ever.
    pub(super) fn begun(&self) -> bool {
        !self.stream.buffer().is_empty()
    }
}

/// A frame that is being written.
struct Writer<'a> {
    frames: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    fn new(frames: &'a mut Vec<u8>, kind: u8) -> Self {
        let start = frames.len();
        frames.extend([0, 0, 0, 0, kind]);
        Self { frames, start }
    }

    fn byte(self, byte: u8) -> Self {
        self.frames.push(byte);
        self
    }

    fn number(self, number: u32) -> Self {
        self.frames.extend(number.to_be_bytes());
        self
    }

    fn socket(self, socket: Descriptor) -> Self {
        self.number(socket.0)
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        assert!(bytes.len() <= MAX_DATA, "more than a frame may carry");
        self.frames.extend(bytes);
        self
    }

    fn end(self) {
        let length = (self.frames.len() - self.start - 4) as u32;
        self.frames[self.start..self.start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// What has not been read yet of a frame.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// And the kind of the frame.
    fn new(frame: &'a [u8]) -> io::Result<(Self, u8)> {
        let mut rest = Self(frame);
        let kind = rest.byte()?;
        Ok((rest, kind))
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| malformed("cut short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> io::Result<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> io::Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(malformed(&format!("{other} is neither no nor yes"))),
        }
    }

    fn number(&mut self) -> io::Result<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn socket(&mut self) -> io::Result<Descriptor> {
        self.number().map(Descriptor)
    }

    fn option(&mut self) -> io::Result<SocketOption> {
        let number = self.byte()?;
        let known = [SocketOption::ReuseAddress, SocketOption::NoDelay];
        let found = known.into_iter().find(|option| *option as u8 == number);
        found.ok_or_else(|| malformed(&format!("no option has the number {number}")))
    }

    fn address(&mut self) -> io::Result<SocketAddrV4> {
        let ip = self.number()?;
        let port = self.number()?;
        let port = u16::try_from(port).map_err(|_| malformed(&format!("no port is {port}")))?;
        Ok(SocketAddrV4::new(ip.into(), port))
    }

    fn bytes(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn end(self) -> io::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("something behind its end")) }
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("malformed frame: {what}"))
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
