//! A server that knows how long it did not run: one process, one thread, one
//! connection after the other, some memory, and a look at the clock several times
//! a millisecond.

use std::{
    io::{ErrorKind, Read as _, Write as _, stdout},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime},
};

use super::server::READY;
use crate::suite::moving::peer::MESSAGE;

/// How often it looks at the clock.
pub(crate) const TICK: Duration = Duration::from_micros(100);
const PAGE: usize = 4096;

/// What it is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The port to listen at
    #[arg(long)]
    port: u16,
    /// So many megabytes (10^6 bytes) of memory, all of it written to
    #[arg(long, value_name = "MB", default_value_t = 0)]
    memory: usize,
}

/// Answers requests of 64 bytes with their first eight, and the longest time it did
/// not run so far in the next, until it is killed.
///
/// # Errors
/// The port is taken.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    close_inherited();
    let memory = touched(arguments.memory * 1_000_000);
    let at = (Ipv4Addr::UNSPECIFIED, arguments.port);
    let listener = TcpListener::bind(at).with_context(|| format!("cannot listen at {at:?}"))?;
    println!("{READY}");
    stdout().flush()?;
    loop {
        let (connection, _) = listener.accept()?;
        // A peer that breaks off is no concern of the server.
        let _ = serve(&connection);
        std::hint::black_box(&memory);
    }
}

/// Closes what whoever runs the bench has left open: those files are of another
/// machine than the one this process is on.
fn close_inherited() {
    // SAFETY: nothing in this process has opened a file yet that it would miss.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

/// So many bytes, no page of which is like another or empty.
fn touched(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    for (number, page) in memory.chunks_mut(PAGE).enumerate() {
        let number = (number as u64 + 1).to_be_bytes();
        let length = page.len().min(number.len());
        page[..length].copy_from_slice(&number[..length]);
    }
    memory
}

fn serve(mut connection: &TcpStream) -> Result<()> {
    connection.set_nodelay(true)?;
    connection.set_nonblocking(true)?;
    let (mut last, mut longest) = (now()?, 0);
    let mut message = [0; MESSAGE];
    let mut length = 0;
    loop {
        let present = now()?;
        longest = longest.max(present.saturating_sub(last));
        last = present;
        match connection.read(&mut message[length..]) {
            Ok(0) => return Ok(()),
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(connection.as_fd())?,
            // As after a freeze: it is no reason to end.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        if length == MESSAGE {
            message[8..16].copy_from_slice(&longest.to_be_bytes());
            connection.write_all(&message)?;
            length = 0;
        }
    }
}

/// The time of day, in nanoseconds. CRIU makes the monotonic clock of what it
/// revives go on from where it was, and so leaves the freeze out of it.
fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).context("cannot read the clock")?;
    Ok(Duration::from(now).as_nanos() as u64)
}

fn wait(connection: BorrowedFd<'_>) -> Result<()> {
    let mut sockets = [PollFd::new(connection, PollFlags::POLLIN)];
    match ppoll(&mut sockets, Some(TimeSpec::from_duration(TICK)), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How long the server did not run, in nanoseconds, as a response tells.
pub(crate) fn frozen(response: &[u8; MESSAGE]) -> u64 {
    u64::from_be_bytes(response[8..16].try_into().expect("eight bytes are eight"))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn no_page_is_empty_or_like_another() {
        let memory = touched(3 * PAGE + 5);
        let pages: Vec<_> = memory.chunks(PAGE).collect();
        assert_eq!(pages.len(), 4);
        for (n, page) in pages.iter().enumerate() {
            assert!(page.iter().any(|byte| *byte != 0) || n == 3, "page {n} is empty");
            assert!(!pages[..n].contains(page), "page {n} is like another");
        }
        assert!(touched(0).is_empty());
    }

    /// However its requests are cut into pieces.
    #[test]
    fn a_response_has_the_requests_number_and_the_longest_pause() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = thread::spawn(move || serve(&listener.accept().unwrap().0));
        let mut before = 0;
        for number in 1..=3_u64 {
            let mut request = [0; MESSAGE];
            request[..8].copy_from_slice(&number.to_be_bytes());
            peer.write_all(&request[..10]).unwrap();
            peer.write_all(&request[10..]).unwrap();
            let mut response = [0; MESSAGE];
            peer.read_exact(&mut response).unwrap();
            assert_eq!(response[..8], request[..8]);
            assert!(frozen(&response) >= before);
            before = frozen(&response);
        }
        assert!(before > 0);
        drop(peer);
        server.join().unwrap().unwrap();
    }
}
