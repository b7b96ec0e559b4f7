//! The server: one process, one thread, one connection after the other.

use std::{
    io::{Write, stdout},
    net::{Ipv4Addr, SocketAddrV4},
    num::NonZeroU32,
};

use anyhow::{Context, Result};

use super::{
    Exchange,
    sockets::{Descriptor, Failure, Kernel, SocketOption, Sockets},
};
use crate::deputy::forwarding::Forwarding;

/// What a server prints once clients can connect.
pub(crate) const READY: &str = "ready";

/// Connections that wait their turn.
const BACKLOG: u32 = 128;

/// What the server is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The address to listen at; all, if not given
    #[arg(long, default_value_t = Ipv4Addr::UNSPECIFIED)]
    address: Ipv4Addr,
    /// The port to listen at
    #[arg(long)]
    port: u16,
    /// Have this deputy perform all socket calls
    #[arg(long, value_name = "ADDRESS:PORT")]
    deputy: Option<SocketAddrV4>,
    /// Bytes asked for, or given, by one call
    #[arg(long, value_name = "BYTES", default_value = "8192")]
    buffer: NonZeroU32,
    #[command(flatten)]
    behaviour: BehaviourArguments,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct BehaviourArguments {
    /// Receive all there is, then answer with the number of bytes
    #[arg(long)]
    receive: bool,
    /// Answer each request of so many bytes with a response of so many
    #[arg(long, value_name = "REQUEST:RESPONSE")]
    answer: Option<Exchange>,
}

/// What the server does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Receives until the peer ends, then sends the number of bytes received
    /// (8 bytes, big-endian). So the client's clock stops when the server's
    /// program has the last byte, not when the client's kernel has taken it.
    Receive,
    /// Reads a request, sends a response, until the peer ends.
    Answer(Exchange),
}

/// Serves until it is killed.
///
/// # Errors
/// The port is taken, or nobody performs its calls any more.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let behaviour = match arguments.behaviour.answer {
        Some(exchange) => Behaviour::Answer(exchange),
        None => Behaviour::Receive,
    };
    let at = SocketAddrV4::new(arguments.address, arguments.port);
    let buffer = arguments.buffer.get() as usize;
    let mut sockets: Box<dyn Sockets> = match arguments.deputy {
        None => Box::new(Kernel::default()),
        Some(deputy) => Box::new(Forwarding::connect(deputy)?),
    };
    let mut server = Server::listen(&mut *sockets, at, behaviour, buffer)
        .with_context(|| format!("cannot listen at {at}"))?;
    println!("{READY}");
    stdout().flush()?;
    loop {
        server.serve_one()?;
    }
}

/// A listening server.
pub(crate) struct Server<'a> {
    sockets: &'a mut dyn Sockets,
    listener: Descriptor,
    behaviour: Behaviour,
    buffer: Vec<u8>,
}

impl<'a> Server<'a> {
    /// Begins to listen at `at`.
    ///
    /// # Errors
    /// One of the calls fails.
    pub(crate) fn listen(
        sockets: &'a mut dyn Sockets,
        at: SocketAddrV4,
        behaviour: Behaviour,
        buffer: usize,
    ) -> Result<Self, Failure> {
        let listener = sockets.socket()?;
        sockets.set_option(listener, SocketOption::ReuseAddress)?;
        sockets.bind(listener, at)?;
        sockets.listen(listener, BACKLOG)?;
        Ok(Self { sockets, listener, behaviour, buffer: vec![0; buffer] })
    }

    /// Serves the next connection to its end. A peer that breaks it off is no
    /// concern of the server, which is ready for the next.
    ///
    /// # Errors
    /// No connection can be accepted, or nobody performs calls any more.
    pub(crate) fn serve_one(&mut self) -> Result<(), Failure> {
        let connection = self.sockets.accept(self.listener)?;
        let served = match self.behaviour {
            Behaviour::Receive => self.receive(connection),
            Behaviour::Answer(exchange) => self.answer(connection, exchange),
        };
        match served {
            Err(Failure::Call(_)) | Ok(()) => self.sockets.close(connection),
            Err(lost) => Err(lost),
        }
    }

    fn receive(&mut self, connection: Descriptor) -> Result<(), Failure> {
        let mut received = 0_u64;
        loop {
            match self.sockets.recv(connection, &mut self.buffer)? {
                0 => return self.sockets.send_all(connection, &received.to_be_bytes()),
                length => received += length as u64,
            }
        }
    }

    fn answer(&mut self, connection: Descriptor, exchange: Exchange) -> Result<(), Failure> {
        self.sockets.set_option(connection, SocketOption::NoDelay)?;
        let response = vec![0; exchange.response.get() as usize];
        while self.request(connection, exchange.request.get() as usize)? {
            for part in response.chunks(self.buffer.len()) {
                self.sockets.send_all(connection, part)?;
            }
        }
        Ok(())
    }

    /// Reads a request of `length` bytes; whether there was a whole one.
    fn request(&mut self, connection: Descriptor, length: usize) -> Result<bool, Failure> {
        let mut left = length;
        while left > 0 {
            let part = left.min(self.buffer.len());
            match self.sockets.recv(connection, &mut self.buffer[..part])? {
                0 => return Ok(false),
                length => left -= length,
            }
        }
        Ok(true)
    }
}
