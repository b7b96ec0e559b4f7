//! One measurement: connections from the peer that send as fast as they can to
//! servers on the host, which tell how many bytes they got.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{lan::Lan, load::MachineCpu};

/// The first server's port; the others' follow it.
pub(super) const PORT: u16 = 5000;
/// Bytes of one write, and at most of one read.
pub(super) const CHUNK: usize = 128 * 1024;
/// How long a connection may make no progress.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a measurement saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Transfer {
    /// Payload that was sent and has arrived.
    pub(super) bytes: u64,
    /// From the first byte's sending to the news that the last has arrived.
    seconds: f64,
    /// Of all processors, meanwhile.
    cpu_seconds: f64,
}

impl Transfer {
    /// Payload, Mbit/s.
    pub(super) fn mbit_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.seconds / 1e6
    }

    /// Seconds of work of all processors for 10^9 bytes of payload.
    pub(super) fn cpu_per_gigabyte(&self) -> f64 {
        self.cpu_seconds / (self.bytes as f64 / 1e9)
    }
}

/// Sends for `duration` from the peer of `lan` to `target`, by `streams`
/// connections at once, each to a server of its own.
///
/// # Errors
/// They do not come through, or not every byte of each arrives.
pub(super) fn run(
    lan: &Lan,
    target: Ipv4Addr,
    streams: u16,
    duration: Duration,
) -> Result<Transfer> {
    let connections = lan.peer.enter(|| connect(target, streams))?;
    let cpu = MachineCpu::start()?;
    let start = Instant::now();
    let bytes = thread::scope(|scope| {
        let senders = connections.iter().map(|one| scope.spawn(move || send(one, duration)));
        // All are started before the first is waited for.
        let senders: Vec<_> = senders.collect();
        senders.into_iter().map(join).sum::<Result<u64>>()
    })?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Transfer { bytes, seconds, cpu_seconds: cpu.seconds()? })
}

fn connect(target: Ipv4Addr, streams: u16) -> Result<Vec<TcpStream>> {
    (PORT..PORT + streams)
        .map(|port| {
            let server = SocketAddr::from((target, port));
            let connection = TcpStream::connect_timeout(&server, PATIENCE)
                .with_context(|| format!("the peer cannot connect to {server}"))?;
            connection.set_read_timeout(Some(PATIENCE))?;
            connection.set_write_timeout(Some(PATIENCE))?;
            Ok(connection)
        })
        .collect()
}

/// Sends for `duration`, and returns how many bytes have arrived: all of them.
fn send(mut connection: &TcpStream, duration: Duration) -> Result<u64> {
    let chunk = vec![0x5a; CHUNK];
    let deadline = Instant::now() + duration;
    let mut sent = 0;
    while sent == 0 || Instant::now() < deadline {
        connection.write_all(&chunk).context("cannot send")?;
        sent += chunk.len() as u64;
    }
    connection.shutdown(Shutdown::Write)?;
    let mut receipt = [0; 8];
    connection.read_exact(&mut receipt).context("the server does not say what it got")?;
    let received = u64::from_be_bytes(receipt);
    ensure!(received == sent, "of {sent} bytes sent, {received} have arrived");
    Ok(sent)
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io, net::TcpListener};

    #[test]
    fn figures_are_of_the_payload() {
        let transfer = Transfer { bytes: 500_000_000, seconds: 2.0, cpu_seconds: 3.0 };
        assert!((transfer.mbit_per_second() - 2_000.0).abs() < 1e-9);
        assert!((transfer.cpu_per_gigabyte() - 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_server_that_got_less_is_told_of() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let thread = thread::spawn(move || {
            io::copy(&mut server, &mut io::sink()).unwrap();
            server.write_all(&7_u64.to_be_bytes()).unwrap();
        });
        let error = send(&client, Duration::ZERO).unwrap_err().to_string();
        thread.join().unwrap();
        assert_eq!(error, format!("of {CHUNK} bytes sent, 7 have arrived"));
    }
}
