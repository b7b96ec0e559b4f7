//! The process's end: sockets whose calls are all performed by the deputy.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Write as _},
    net::{SocketAddrV4, TcpStream},
};

use anyhow::{Context, Result, ensure};

use super::{
    GATHERED, WINDOW, charge,
    frame::{Answer, Call, Frames, MAX_DATA, VERSION},
};
use crate::pair::sockets::{Descriptor, Failure, SocketOption, Sockets};

/// Sockets that a deputy holds.
pub(crate) struct Forwarding {
    deputy: SocketAddrV4,
    stream: TcpStream,
    answers: Frames<TcpStream>,
    /// What is about to be sent to the deputy.
    frames: Vec<u8>,
    /// Whether the deputy reads ahead, and writes are gathered.
    gather: bool,
    /// What has been sent ahead, by socket.
    ahead: BTreeMap<Descriptor, Ahead>,
    /// Written by the process and not sent off yet, all to one socket.
    gathered: Option<(Descriptor, Vec<u8>)>,
}

/// What has been sent ahead from one socket.
#[derive(Default)]
struct Ahead {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that the process has.
    taken: usize,
    /// How it ends behind the pieces: with an `errno`, or with 0.
    end: Option<i32>,
    /// Of the window, and not yet given back.
    used: usize,
}

impl Forwarding {
    /// Takes up the connection to the deputy that listens at `deputy`.
    ///
    /// # Errors
    /// There is none, or one of another version.
    pub(crate) fn connect(deputy: SocketAddrV4) -> Result<Self> {
        let stream = TcpStream::connect(deputy)
            .with_context(|| format!("cannot connect to the deputy at {deputy}"))?;
        stream.set_nodelay(true)?;
        let mut answers = Frames::new(stream.try_clone()?);
        let greeting = answers.next().and_then(|frame| Answer::read(frame.unwrap_or_default()));
        let Ok(Answer::Greeting { version, gather }) = greeting else {
            anyhow::bail!("what listens at {deputy} is no deputy: {greeting:?}");
        };
        ensure!(
            version == VERSION,
            "the deputy at {deputy} is of version {version}, this process of {VERSION}"
        );
        Ok(Self {
            deputy,
            stream,
            answers,
            frames: Vec::new(),
            gather,
            ahead: BTreeMap::new(),
            gathered: None,
        })
    }

    /// Has the deputy perform `call`, and waits until it has.
    fn call(&mut self, call: Call<'_>) -> Result<u32, Failure> {
        self.flush()?;
        self.put(call)?;
        self.done()
    }

    /// What the call under way returns.
    fn done(&mut self) -> Result<u32, Failure> {
        loop {
            let answer = next(&mut self.answers, self.deputy)?;
            match answer {
                Answer::Done(value) => return Ok(value),
                Answer::Failed(errno) => return Err(errno_failure(errno)),
                Answer::Ahead(socket, bytes) => arrive(&mut self.ahead, socket, bytes),
                Answer::AheadFailed(socket, errno) => {
                    self.ahead.entry(socket).or_default().end = Some(errno);
                }
                other => return Err(nonsense(self.deputy, &other)),
            }
        }
    }

    /// Sends `call` off.
    fn put(&mut self, call: Call<'_>) -> Result<(), Failure> {
        self.frames.clear();
        call.write(&mut self.frames);
        self.stream.write_all(&self.frames).map_err(|error| lost(self.deputy, &error))
    }

    /// Sends off what has been gathered.
    fn flush(&mut self) -> Result<(), Failure> {
        let Some((socket, bytes)) = self.gathered.take() else { return Ok(()) };
        self.put(Call::Send(socket, &bytes))?;
        let sent = self.done()?;
        if sent as usize != bytes.len() {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
        Ok(())
    }

    /// `recv` where the deputy does not read ahead.
    fn recv_now(&mut self, socket: Descriptor, buffer: &mut [u8]) -> Result<usize, Failure> {
        let length = buffer.len().min(MAX_DATA);
        self.put(Call::Recv(socket, length as u32))?;
        match next(&mut self.answers, self.deputy)? {
            Answer::Data(bytes) if bytes.len() <= buffer.len() => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Answer::Failed(errno) => Err(errno_failure(errno)),
            other => Err(nonsense(self.deputy, &other)),
        }
    }

    /// `recv` from what has been sent ahead; waits for it if need be.
    fn recv_ahead(&mut self, socket: Descriptor, buffer: &mut [u8]) -> Result<usize, Failure> {
        if !self.ahead.contains_key(&socket) {
            // The first time; nothing is read ahead that might never be wanted.
            self.flush()?;
            self.ahead.insert(socket, Ahead::default());
            self.put(Call::Window(socket, WINDOW as u32))?;
        }
        loop {
            let ahead = self.ahead.entry(socket).or_default();
            if let Some(taken) = ahead.take(buffer) {
                let used = ahead.used;
                if used >= WINDOW / 2 {
                    ahead.used = 0;
                    self.put(Call::Window(socket, used as u32))?;
                }
                return taken.map_err(Failure::from);
            }
            if self.gathered.is_some() {
                // The peer may be waiting for it; and while it is sent off,
                // what is waited for here may come.
                self.flush()?;
                continue;
            }
            match next(&mut self.answers, self.deputy)? {
                Answer::Ahead(socket, bytes) => arrive(&mut self.ahead, socket, bytes),
                Answer::AheadFailed(socket, errno) => {
                    self.ahead.entry(socket).or_default().end = Some(errno);
                }
                other => return Err(nonsense(self.deputy, &other)),
            }
        }
    }
}

impl Ahead {
    /// Moves what there is into `buffer`; `None` if there is nothing yet.
    fn take(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        let Some(piece) = self.pieces.front() else {
            return match self.end? {
                0 => Some(Ok(0)),
                errno => Some(Err(io::Error::from_raw_os_error(errno))),
            };
        };
        let length = buffer.len().min(piece.len() - self.taken);
        buffer[..length].copy_from_slice(&piece[self.taken..self.taken + length]);
        self.taken += length;
        if self.taken == piece.len() {
            self.used += charge(piece.len());
            self.taken = 0;
            self.pieces.pop_front();
        }
        Some(Ok(length))
    }
}

impl Sockets for Forwarding {
    fn socket(&mut self) -> Result<Descriptor, Failure> {
        self.call(Call::Socket).map(Descriptor)
    }

    fn set_option(&mut self, socket: Descriptor, option: SocketOption) -> Result<(), Failure> {
        self.call(Call::SetOption(socket, option)).map(drop)
    }

    fn bind(&mut self, socket: Descriptor, address: SocketAddrV4) -> Result<(), Failure> {
        self.call(Call::Bind(socket, address)).map(drop)
    }

    fn listen(&mut self, socket: Descriptor, backlog: u32) -> Result<(), Failure> {
        self.call(Call::Listen(socket, backlog)).map(drop)
    }

    fn accept(&mut self, listener: Descriptor) -> Result<Descriptor, Failure> {
        self.call(Call::Accept(listener)).map(Descriptor)
    }

    fn recv(&mut self, socket: Descriptor, buffer: &mut [u8]) -> Result<usize, Failure> {
        if self.gather { self.recv_ahead(socket, buffer) } else { self.recv_now(socket, buffer) }
    }

    fn send(&mut self, socket: Descriptor, bytes: &[u8]) -> Result<usize, Failure> {
        if !self.gather {
            let bytes = &bytes[..bytes.len().min(MAX_DATA)];
            return self.call(Call::Send(socket, bytes)).map(|sent| sent as usize);
        }
        if self.gathered.as_ref().is_some_and(|(other, _)| *other != socket) {
            self.flush()?;
        }
        let bytes = &bytes[..bytes.len().min(GATHERED)];
        let (_, gathered) = self.gathered.get_or_insert_with(|| (socket, Vec::new()));
        gathered.extend(bytes);
        if gathered.len() >= GATHERED {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn shutdown(&mut self, socket: Descriptor) -> Result<(), Failure> {
        self.call(Call::Shutdown(socket)).map(drop)
    }

    fn close(&mut self, socket: Descriptor) -> Result<(), Failure> {
        // What could not be sent any more is lost by a close, as in the kernel.
        if let Err(Failure::Lost(reason)) = self.flush() {
            return Err(Failure::Lost(reason));
        }
        let closed = self.call(Call::Close(socket));
        self.ahead.remove(&socket);
        closed.map(drop)
    }
}

/// The next answer of the deputy.
fn next(answers: &mut Frames<TcpStream>, deputy: SocketAddrV4) -> Result<Answer<'_>, Failure> {
    match answers.next() {
        Ok(Some(frame)) => Answer::read(frame).map_err(|error| lost(deputy, &error)),
        Ok(None) => Err(lost(deputy, &"it has closed the connection")),
        Err(error) => Err(lost(deputy, &error)),
    }
}

fn arrive(ahead: &mut BTreeMap<Descriptor, Ahead>, socket: Descriptor, bytes: &[u8]) {
    let ahead = ahead.entry(socket).or_default();
    if bytes.is_empty() {
        ahead.end = Some(0);
    } else {
        ahead.pieces.push_back(bytes.to_vec());
    }
}

fn errno_failure(errno: i32) -> Failure {
    io::Error::from_raw_os_error(errno).into()
}

fn lost(deputy: SocketAddrV4, why: &dyn std::fmt::Display) -> Failure {
    Failure::Lost(format!(
        "the deputy at {deputy} is gone ({why}); without it there are no sockets to go on with"
    ))
}

fn nonsense(deputy: SocketAddrV4, answer: &Answer<'_>) -> Failure {
    lost(deputy, &format!("it answered what was not asked: {answer:?}"))
}
