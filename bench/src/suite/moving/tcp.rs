//! What the kernel knows of a TCP socket, and how it can be taken out of one and
//! put into another: by repair mode, as CRIU does it with a process around it.

use std::{
    io,
    net::{SocketAddrV4, TcpStream},
    os::fd::{AsFd, AsRawFd as _},
};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::netns::Netns;

// Options and values of linux/tcp.h and asm/socket.h.
const TCP_MAXSEG: libc::c_int = 2;
const TCP_REPAIR: libc::c_int = 19;
const TCP_REPAIR_QUEUE: libc::c_int = 20;
const TCP_QUEUE_SEQ: libc::c_int = 21;
const TCP_REPAIR_OPTIONS: libc::c_int = 22;
const TCP_TIMESTAMP: libc::c_int = 24;
const TCP_REPAIR_WINDOW: libc::c_int = 29;
const SO_MAX_PACING_RATE: libc::c_int = 47;
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

/// What the kernel says of `connection`.
///
/// # Errors
/// It does not.
pub(super) fn info(connection: &TcpStream) -> Result<libc::tcp_info> {
    get(connection, libc::IPPROTO_TCP, libc::TCP_INFO)
}

/// Has `connection` send at most so many bytes a second.
///
/// # Errors
/// The kernel refuses.
pub(super) fn pace(connection: &TcpStream, rate: u64) -> Result<()> {
    set_all(connection, libc::SOL_SOCKET, SO_MAX_PACING_RATE, &[rate])
}

/// An established connection with empty queues, out of its socket.
pub(super) struct Taken {
    received: libc::c_int,
    sent: libc::c_int,
    clock: libc::c_int,
    segment: libc::c_int,
    scales: u8,
    options: u8,
    window: [u32; 5],
    buffers: [libc::c_int; 2],
}

impl Taken {
    /// Takes a connection out of its socket; the peer is told nothing.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn from(connection: TcpStream) -> Result<Self> {
        set(&connection, TCP_REPAIR, 1)?;
        let sequence = |queue| {
            set(&connection, TCP_REPAIR_QUEUE, queue)?;
            get::<libc::c_int>(&connection, libc::IPPROTO_TCP, TCP_QUEUE_SEQ)
        };
        let (received, sent) = (sequence(RECEIVE_QUEUE)?, sequence(SEND_QUEUE)?);
        let info = info(&connection)?;
        let buffer = |option| get(&connection, libc::SOL_SOCKET, option);
        Ok(Self {
            received,
            sent,
            clock: get(&connection, libc::IPPROTO_TCP, TCP_TIMESTAMP)?,
            segment: get(&connection, libc::IPPROTO_TCP, TCP_MAXSEG)?,
            scales: info.tcpi_snd_rcv_wscale,
            options: info.tcpi_options,
            window: get(&connection, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW)?,
            buffers: [buffer(libc::SO_SNDBUF)?, buffer(libc::SO_RCVBUF)?],
        })
        // In repair mode its end is silent.
    }

    /// Puts it down on `host`, as a connection from `own` to `peer`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn put_down(
        &self,
        host: &Netns,
        own: SocketAddrV4,
        peer: SocketAddrV4,
    ) -> Result<TcpStream> {
        let socket = host.enter(|| Ok(Socket::new(Domain::IPV4, Type::STREAM, None)?))?;
        set(&socket, TCP_REPAIR, 1)?;
        socket.set_reuse_address(true)?;
        for (option, bytes) in [libc::SO_SNDBUFFORCE, libc::SO_RCVBUFFORCE].iter().zip(self.buffers)
        {
            // The kernel doubles what it is given.
            set_all(&socket, libc::SOL_SOCKET, *option, &[bytes / 2])?;
        }
        for (queue, sequence) in [(SEND_QUEUE, self.sent), (RECEIVE_QUEUE, self.received)] {
            set(&socket, TCP_REPAIR_QUEUE, queue)?;
            set(&socket, TCP_QUEUE_SEQ, sequence)?;
        }
        socket.bind(&own.into())?;
        socket.connect(&peer.into()).with_context(|| format!("cannot connect to {peer}"))?;
        set_all(&socket, libc::IPPROTO_TCP, TCP_REPAIR_OPTIONS, &self.negotiated())?;
        set(&socket, TCP_TIMESTAMP, self.clock)?;
        set_all(&socket, libc::IPPROTO_TCP, TCP_REPAIR_WINDOW, &self.window)?;
        set(&socket, TCP_REPAIR, OFF_WITHOUT_PROBE)?;
        Ok(socket.into())
    }

    /// What the two ends have agreed on, as pairs of option and value.
    fn negotiated(&self) -> Vec<u32> {
        let mut options = vec![OPTION_MSS, self.segment.cast_unsigned()];
        if self.options & SCALED != 0 {
            let (to_peer, from_peer) = (u32::from(self.scales & 15), u32::from(self.scales >> 4));
            options.extend([OPTION_SCALE, to_peer | from_peer << 16]);
        }
        if self.options & SACK != 0 {
            options.extend([OPTION_SACK, 0]);
        }
        if self.options & TIMESTAMPS != 0 {
            options.extend([OPTION_TIMESTAMPS, 0]);
        }
        options
    }
}

fn set(socket: &impl AsFd, option: libc::c_int, value: libc::c_int) -> Result<()> {
    set_all(socket, libc::IPPROTO_TCP, option, &[value])
}

fn set_all<T: Copy>(
    socket: &impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    values: &[T],
) -> Result<()> {
    // SAFETY: the values are integers and outlive the call; their size is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            values.as_ptr().cast(),
            size_of_val(values) as libc::socklen_t,
        )
    };
    ensure!(done == 0, "option {option} cannot be set: {}", io::Error::last_os_error());
    Ok(())
}

/// An option that is made of integers.
fn get<T: Copy>(socket: &impl AsFd, level: libc::c_int, option: libc::c_int) -> Result<T> {
    // SAFETY: all options asked for here are made of integers.
    let mut value: T = unsafe { std::mem::zeroed() };
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: there is room for as many bytes as `length` says.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    ensure!(done == 0, "option {option} cannot be read: {}", io::Error::last_os_error());
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_agreed_on_is_set_again() {
        let taken = Taken {
            received: 0,
            sent: 0,
            clock: 0,
            segment: 1448,
            scales: 0x97,
            options: SCALED | TIMESTAMPS,
            window: [0; 5],
            buffers: [0; 2],
        };
        assert_eq!(taken.negotiated(), [2, 1448, 3, 7 | 9 << 16, 8, 0]);
    }
}
