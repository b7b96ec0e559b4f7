//! TCP sockets that move: taken up on one host and put down on another, by the
//! kernel's repair mode, as CRIU does it with a process around them.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, AsRawFd as _},
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};
use xtask::lab::Host;

// Options and values of linux/tcp.h.
const TCP_MAXSEG: libc::c_int = 2;
const TCP_REPAIR: libc::c_int = 19;
const TCP_REPAIR_QUEUE: libc::c_int = 20;
const TCP_QUEUE_SEQ: libc::c_int = 21;
const TCP_REPAIR_OPTIONS: libc::c_int = 22;
const TCP_TIMESTAMP: libc::c_int = 24;
const TCP_REPAIR_WINDOW: libc::c_int = 29;
const RECEIVE_QUEUE: libc::c_int = 1;
const SEND_QUEUE: libc::c_int = 2;
/// Repair ends without a segment that asks the peer for its window.
const OFF_WITHOUT_PROBE: libc::c_int = -1;
/// Bits of `tcpi_options`.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const SCALED: u8 = 4;
/// TCP's own option numbers (RFC 9293, RFC 7323, RFC 2018).
const OPTION_MSS: u32 = 2;
const OPTION_SCALE: u32 = 3;
const OPTION_SACK: u32 = 4;
const OPTION_TIMESTAMPS: u32 = 8;

/// An established connection with empty queues, out of its socket.
pub(crate) struct Taken {
    received: libc::c_int,
    sent: libc::c_int,
    clock: libc::c_int,
    segment: libc::c_int,
    scales: u8,
    options: u8,
    window: [u32; 5],
}

impl Taken {
    /// Takes a connection out of its socket; the peer is told nothing.
    pub(crate) fn from(connection: TcpStream) -> Result<Self> {
        set(&connection, TCP_REPAIR, 1)?;
        let sequence = |queue| {
            set(&connection, TCP_REPAIR_QUEUE, queue)?;
            get::<libc::c_int>(&connection, TCP_QUEUE_SEQ)
        };
        let (received, sent) = (sequence(RECEIVE_QUEUE)?, sequence(SEND_QUEUE)?);
        let info: libc::tcp_info = get(&connection, libc::TCP_INFO)?;
        Ok(Self {
            received,
            sent,
            clock: get(&connection, TCP_TIMESTAMP)?,
            segment: get(&connection, TCP_MAXSEG)?,
            scales: info.tcpi_snd_rcv_wscale,
            options: info.tcpi_options,
            window: get(&connection, TCP_REPAIR_WINDOW)?,
        })
        // In repair mode its end is silent.
    }

    /// Puts it down on `host`, as a connection from `own` to `peer`.
    pub(crate) fn put_down(&self, host: &Host, own: &str, peer: SocketAddr) -> Result<TcpStream> {
        let own: SocketAddr = own.parse()?;
        let domain = Domain::for_address(own);
        let socket = host.enter(|| Socket::new(domain, Type::STREAM, None))?;
        set(&socket, TCP_REPAIR, 1)?;
        socket.set_reuse_address(true)?;
        for (queue, sequence) in [(SEND_QUEUE, self.sent), (RECEIVE_QUEUE, self.received)] {
            set(&socket, TCP_REPAIR_QUEUE, queue)?;
            set(&socket, TCP_QUEUE_SEQ, sequence)?;
        }
        socket.bind(&own.into())?;
        socket.connect(&peer.into()).with_context(|| format!("cannot connect to {peer}"))?;
        let mut options = vec![(OPTION_MSS, self.segment.cast_unsigned())];
        if self.options & SCALED != 0 {
            let (to_peer, from_peer) = (u32::from(self.scales & 15), u32::from(self.scales >> 4));
            options.push((OPTION_SCALE, to_peer | from_peer << 16));
        }
        if self.options & SACK != 0 {
            options.push((OPTION_SACK, 0));
        }
        if self.options & TIMESTAMPS != 0 {
            options.push((OPTION_TIMESTAMPS, 0));
        }
        let words: Vec<u32> = options.into_iter().flat_map(|(code, value)| [code, value]).collect();
        set_all(&socket, TCP_REPAIR_OPTIONS, &words)?;
        set(&socket, TCP_TIMESTAMP, self.clock)?;
        set_all(&socket, TCP_REPAIR_WINDOW, &self.window)?;
        set(&socket, TCP_REPAIR, OFF_WITHOUT_PROBE)?;
        Ok(socket.into())
    }
}

fn set(socket: &impl AsFd, option: libc::c_int, value: libc::c_int) -> Result<()> {
    set_all(socket, option, &[value])
}

fn set_all<T: Copy>(socket: &impl AsFd, option: libc::c_int, values: &[T]) -> Result<()> {
    // SAFETY: the values are integers and outlive the call; their size is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            values.as_ptr().cast(),
            size_of_val(values) as libc::socklen_t,
        )
    };
    ensure!(done == 0, "TCP option {option}: {}", io::Error::last_os_error());
    Ok(())
}

/// An option that is made of integers.
pub(crate) fn get<T: Copy>(socket: &impl AsFd, option: libc::c_int) -> Result<T> {
    // SAFETY: all options asked for here are made of integers.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: there is room for as many bytes as `length` says.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    ensure!(done == 0, "TCP option {option}: {}", io::Error::last_os_error());
    Ok(value)
}
