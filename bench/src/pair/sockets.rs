//! What a server asks of a system: the socket calls, one method for each. The
//! server does not know who performs them.

use std::{
    io::{self, Read as _},
    net::{Shutdown, SocketAddr, SocketAddrV4},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Names an open socket of one [`Sockets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Descriptor(pub(crate) u32);

/// An option that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SocketOption {
    /// `SO_REUSEADDR`
    ReuseAddress,
    /// `TCP_NODELAY`
    NoDelay,
}

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The call was performed and failed.
    Call(io::Error),
    /// There is nobody left to perform calls.
    Lost(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Lost(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Call(error)
    }
}

/// The socket calls, each as its system call: TCP over IPv4, blocking.
pub(crate) trait Sockets {
    /// `socket`
    fn socket(&mut self) -> Result<Descriptor, Failure>;

    /// `setsockopt`, to 1
    fn set_option(&mut self, socket: Descriptor, option: SocketOption) -> Result<(), Failure>;

    /// `bind`
    fn bind(&mut self, socket: Descriptor, address: SocketAddrV4) -> Result<(), Failure>;

    /// `listen`
    fn listen(&mut self, socket: Descriptor, backlog: u32) -> Result<(), Failure>;

    /// `accept`
    fn accept(&mut self, listener: Descriptor) -> Result<Descriptor, Failure>;

    /// `recv`; 0 is the end of what the peer sends.
    fn recv(&mut self, socket: Descriptor, buffer: &mut [u8]) -> Result<usize, Failure>;

    /// `send`; what is returned may be less than there is.
    fn send(&mut self, socket: Descriptor, bytes: &[u8]) -> Result<usize, Failure>;

    /// `shutdown`, of what is sent
    fn shutdown(&mut self, socket: Descriptor) -> Result<(), Failure>;

    /// `close`
    fn close(&mut self, socket: Descriptor) -> Result<(), Failure>;

    /// Sends all of `bytes`.
    fn send_all(&mut self, socket: Descriptor, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let sent = self.send(socket, bytes)?;
            if sent == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            bytes = &bytes[sent..];
        }
        Ok(())
    }
}

/// The kernel's own sockets, of the machine this process is on.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    /// By descriptor; numbers are not used again, so that nothing that is under
    /// way for a closed socket can hit another.
    open: Vec<Option<Socket>>,
}

impl Kernel {
    fn enter(&mut self, socket: Socket) -> Descriptor {
        self.open.push(Some(socket));
        Descriptor((self.open.len() - 1) as u32)
    }

    /// The open socket of this name.
    ///
    /// # Errors
    /// There is none: `EBADF`.
    pub(crate) fn get(&self, socket: Descriptor) -> io::Result<&Socket> {
        let entry = self.open.get(socket.0 as usize).and_then(Option::as_ref);
        entry.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }
}

impl Sockets for Kernel {
    fn socket(&mut self) -> Result<Descriptor, Failure> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        Ok(self.enter(socket))
    }

    fn set_option(&mut self, socket: Descriptor, option: SocketOption) -> Result<(), Failure> {
        let socket = self.get(socket)?;
        match option {
            SocketOption::ReuseAddress => socket.set_reuse_address(true)?,
            SocketOption::NoDelay => socket.set_tcp_nodelay(true)?,
        }
        Ok(())
    }

    fn bind(&mut self, socket: Descriptor, address: SocketAddrV4) -> Result<(), Failure> {
        Ok(self.get(socket)?.bind(&SocketAddr::V4(address).into())?)
    }

    fn listen(&mut self, socket: Descriptor, backlog: u32) -> Result<(), Failure> {
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        Ok(self.get(socket)?.listen(backlog)?)
    }

    fn accept(&mut self, listener: Descriptor) -> Result<Descriptor, Failure> {
        let (socket, _) = self.get(listener)?.accept()?;
        Ok(self.enter(socket))
    }

    fn recv(&mut self, socket: Descriptor, buffer: &mut [u8]) -> Result<usize, Failure> {
        let mut socket = self.get(socket)?;
        Ok(socket.read(buffer)?)
    }

    fn send(&mut self, socket: Descriptor, bytes: &[u8]) -> Result<usize, Failure> {
        Ok(self.get(socket)?.send(bytes)?)
    }

    fn shutdown(&mut self, socket: Descriptor) -> Result<(), Failure> {
        Ok(self.get(socket)?.shutdown(Shutdown::Write)?)
    }

    fn close(&mut self, socket: Descriptor) -> Result<(), Failure> {
        self.get(socket)?;
        self.open[socket.0 as usize] = None;
        Ok(())
    }
}
