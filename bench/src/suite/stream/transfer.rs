//! One measurement: connections from the peer that send as fast as they can to
//! a server on the host, which tells each how many bytes it got.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{interrupt, lan::Lan, load::MachineCpu};

/// The server's port.
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
/// connections at once.
///
/// # Errors
/// They do not come through, or not every byte of each arrives.
pub(super) fn run(
    lan: &Lan,
    target: Ipv4Addr,
    streams: usize,
    duration: Duration,
) -> Result<Transfer> {
    let connections = connect(lan, SocketAddr::from((target, PORT)), streams)?;
    let cpu = MachineCpu::start()?;
    let start = Instant::now();
    let bytes = thread::scope(|scope| {
        let pairs: Vec<_> = connections
            .iter()
            .map(|(sender, receiver)| {
                (scope.spawn(|| receive(receiver)), scope.spawn(move || send(sender, duration)))
            })
            .collect();
        pairs.into_iter().try_fold(0, |sum, (receiver, sender)| {
            let (sent, received) = (join(sender), join(receiver));
            received.context("at the server")?;
            Ok::<_, anyhow::Error>(sum + sent.context("at the client")?)
        })
    })?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Transfer { bytes, seconds, cpu_seconds: cpu.seconds()? })
}

/// Connections, each as its client at the peer and its server on the host have it.
fn connect(lan: &Lan, target: SocketAddr, streams: usize) -> Result<Vec<(TcpStream, TcpStream)>> {
    let everywhere = (Ipv4Addr::UNSPECIFIED, PORT);
    let listener = lan.host.enter(|| Ok(TcpListener::bind(everywhere)?))?;
    listener.set_nonblocking(true)?;
    (0..streams)
        .map(|_| {
            let client = lan.peer.enter(|| {
                TcpStream::connect_timeout(&target, PATIENCE)
                    .with_context(|| format!("the peer cannot connect to {target}"))
            })?;
            let server = accept(&listener)?;
            for end in [&client, &server] {
                end.set_read_timeout(Some(PATIENCE))?;
                end.set_write_timeout(Some(PATIENCE))?;
            }
            Ok((client, server))
        })
        .collect()
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        interrupt::check()?;
        match listener.accept() {
            Ok((connection, _)) => {
                connection.set_nonblocking(false)?;
                return Ok(connection);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ensure!(Instant::now() < deadline, "no connection reaches the host");
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).context("the host cannot accept"),
        }
    }
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

/// Receives until the client has no more, and tells it how many bytes these were.
fn receive(mut connection: &TcpStream) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut received = 0_u64;
    loop {
        match connection.read(&mut chunk).context("cannot receive")? {
            0 => break,
            length => received += length as u64,
        }
    }
    connection.write_all(&received.to_be_bytes()).context("cannot tell the client")
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lan::{HOST, Wire};

    #[test]
    fn figures_are_of_the_payload() {
        let transfer = Transfer { bytes: 500_000_000, seconds: 2.0, cpu_seconds: 3.0 };
        assert!((transfer.mbit_per_second() - 2_000.0).abs() < 1e-9);
        assert!((transfer.cpu_per_gigabyte() - 6.0).abs() < 1e-9);
    }

    #[test]
    fn a_shaped_wire_is_no_faster_than_it_should_be() {
        if !crate::route::tests::is_root() {
            return;
        }
        let wire = Wire { rate: Some(100), offloads: false, xdp: false };
        let lan = Lan::new(&wire).unwrap();
        for streams in [1, 8] {
            let transfer = run(&lan, HOST, streams, Duration::from_millis(500)).unwrap();
            eprintln!("{streams} streams: {:.2} Mbit/s", transfer.mbit_per_second());
            // Of each 1,538 bytes on the wire 1,448 are payload: 94.15 Mbit/s;
            // a burst of ten frames may come on top of it.
            assert!(transfer.mbit_per_second() < 94.6, "{transfer:?}");
        }
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
