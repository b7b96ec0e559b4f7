//! The peer: what it sends, and the longest silence it hears meanwhile.
//!
//! Either one request after the other, each when its turn comes and none while
//! one is unanswered; or a stream as fast as the socket is paced to. A response
//! breaks the silence of requests, an acknowledgement that of a stream.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{silence::Silence, tcp};
use crate::{interrupt, netns::Netns, probe::now};

/// Bytes of a request, and of a response.
pub(crate) const MESSAGE: usize = 64;
/// A request each.
pub(super) const INTERVAL: Duration = Duration::from_micros(200);
/// Bits a second of the stream: a gigabit Ethernet's.
pub(super) const PACE: u64 = 1_000_000_000;
/// How often it is looked how much of the stream is acknowledged.
pub(super) const LOOK: Duration = Duration::from_micros(100);
/// It goes on for so long after what was to be seen is over.
const CALM: Duration = Duration::from_millis(50);
/// The longest silence that is waited out.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a stream is made of.
const BLOCK: usize = 64 << 10;

/// What a peer sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// One request at a time.
    Requests,
    /// A stream.
    Bulk,
}

/// What it has heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Heard {
    /// The longest silence, in nanoseconds.
    pub(super) gap: u64,
    /// Segments that its kernel has sent again.
    pub(super) retransmissions: u32,
    /// The last response, for what the server tells by it.
    pub(super) last: [u8; MESSAGE],
}

/// Connects from `peer` to `port` of `address`.
///
/// # Errors
/// Nobody is there.
pub(super) fn connect(peer: &Netns, address: Ipv4Addr, port: u16) -> Result<TcpStream> {
    let to = SocketAddr::from((address, port));
    let connect = || Ok(TcpStream::connect_timeout(&to, Duration::from_secs(5))?);
    let connection =
        peer.enter(connect).with_context(|| format!("the peer cannot connect to {to}"))?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

/// Sends `traffic` until `over`, and until what is sent after that has been heard
/// of. Gives the connection back as well, still open.
///
/// # Errors
/// The connection breaks, what comes back is wrong, or the run was interrupted.
pub(super) fn send(connection: &TcpStream, traffic: Traffic, over: &AtomicBool) -> Result<Heard> {
    let mut heard = match traffic {
        Traffic::Requests => requests(connection, over)?,
        Traffic::Bulk => bulk(connection, over)?,
    };
    heard.retransmissions = tcp::info(connection)?.tcpi_total_retrans;
    Ok(heard)
}

/// Whether enough was heard after `over`.
struct End<'a> {
    over: &'a AtomicBool,
    since: Option<u64>,
}

impl<'a> End<'a> {
    fn after(over: &'a AtomicBool) -> Self {
        Self { over, since: None }
    }

    /// Whether it is reached at `now`, when `silence` was broken last.
    fn is_reached(&mut self, now: u64, silence: Silence) -> bool {
        if self.since.is_none() && self.over.load(Ordering::Relaxed) {
            self.since = Some(now);
        }
        let calm = self.since.map(|since| since + CALM.as_nanos() as u64);
        calm.is_some_and(|calm| silence.last().is_some_and(|last| last >= calm))
    }
}

fn requests(mut connection: &TcpStream, over: &AtomicBool) -> Result<Heard> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let (mut silence, mut end) = (Silence::default(), End::after(over));
    let (mut number, mut last) = (0_u64, [0; MESSAGE]);
    let mut due = now()?;
    while !end.is_reached(now()?, silence) {
        interrupt::check()?;
        number += 1;
        let mut request = [0; MESSAGE];
        request[..8].copy_from_slice(&number.to_be_bytes());
        connection.write_all(&request).context("the peer cannot send a request")?;
        connection.read_exact(&mut last).context("no response comes")?;
        let at = now()?;
        ensure!(last[..8] == request[..8], "request {number} has the response to another");
        silence.heard(at);
        due = due.max(at.saturating_sub(INTERVAL.as_nanos() as u64)) + INTERVAL.as_nanos() as u64;
        thread::sleep(Duration::from_nanos(due.saturating_sub(at)));
    }
    Ok(Heard { gap: silence.longest(), retransmissions: 0, last })
}

fn bulk(mut connection: &TcpStream, over: &AtomicBool) -> Result<Heard> {
    tcp::pace(connection, PACE / 8)?;
    connection.set_nonblocking(true)?;
    let (mut silence, mut end) = (Silence::default(), End::after(over));
    let (mut sent, mut acknowledged) = (0_u64, 0);
    let block = vec![0x5a; BLOCK];
    loop {
        interrupt::check()?;
        match connection.write(&block) {
            Ok(bytes) => sent += bytes as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(LOOK),
            Err(error) => bail!("the peer cannot send on: {error}"),
        }
        let (at, progress) = (now()?, tcp::info(connection)?.tcpi_bytes_acked);
        if progress > acknowledged {
            silence.heard(at);
            acknowledged = progress;
        }
        let silent = silence.last().map_or(0, |last| at.saturating_sub(last));
        ensure!(silent < PATIENCE.as_nanos() as u64, "nothing is acknowledged any more");
        if end.is_reached(at, silence) {
            break;
        }
    }
    let gap = silence.longest();
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.shutdown(Shutdown::Write)?;
    let mut last = [0; MESSAGE];
    connection.read_exact(&mut last).context("the server does not say how much it got")?;
    let got = u64::from_be_bytes(last[..8].try_into().expect("eight bytes are eight"));
    ensure!(got == sent, "of {sent} bytes {got} have arrived");
    Ok(Heard { gap, retransmissions: 0, last })
}
