//! The client: as many connections at once as there are pairs, each to a server
//! of its own, and the time they take.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream},
    num::{NonZeroU16, NonZeroU32},
    sync::{Barrier, OnceLock},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    Exchange,
    figures::{Connection, Figures},
};

/// What the client is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Where the servers are
    #[arg(long)]
    pub(crate) to: Ipv4Addr,
    /// The port of the first server; the others' follow it
    #[arg(long)]
    pub(crate) port: u16,
    /// Number of pairs: connections at once, each to a port of its own
    #[arg(long, default_value = "1")]
    pub(crate) pairs: NonZeroU16,
    /// Bytes given to one call
    #[arg(long, value_name = "BYTES", default_value = "8192")]
    pub(crate) buffer: NonZeroU32,
    #[command(flatten)]
    pub(crate) extent: Extent,
    /// Exchange requests and responses of so many bytes, with servers that do
    #[arg(long, value_name = "REQUEST:RESPONSE")]
    pub(crate) answer: Option<Exchange>,
    /// Print one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How much is sent: one of the two.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Extent {
    /// Bytes to send on each connection
    #[arg(long, value_name = "BYTES")]
    pub(crate) amount: Option<u64>,
    /// Seconds to send
    #[arg(long, value_name = "SECONDS")]
    pub(crate) time: Option<f64>,
}

impl Extent {
    /// Bytes that may still be sent after `sent`, `elapsed` after the start;
    /// at most `buffer`.
    fn next(self, sent: u64, elapsed: Duration, buffer: usize) -> usize {
        let over = self.time.is_some_and(|seconds| elapsed.as_secs_f64() >= seconds);
        let left = self.amount.map_or(u64::MAX, |amount| amount.saturating_sub(sent));
        if over { 0 } else { usize::try_from(left).unwrap_or(usize::MAX).min(buffer) }
    }
}

/// Connects, sends, prints.
///
/// # Errors
/// A connection fails, or a server did not receive what was sent.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let figures = measure(arguments)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print!("{}", figures.text());
    }
    Ok(())
}

/// All connections, from a common start.
///
/// # Errors
/// As [`run`].
pub(crate) fn measure(arguments: &Arguments) -> Result<Figures> {
    let pairs = arguments.pairs.get();
    ensure!(
        arguments.port.checked_add(pairs - 1).is_some(),
        "{pairs} ports from {} on are more than there are",
        arguments.port
    );
    let barrier = Barrier::new(usize::from(pairs));
    // Of the first that gets to run: the others have been made to wait by it.
    let start = OnceLock::new();
    let connections = thread::scope(|scope| {
        let started = (0..pairs).map(|n| {
            let (barrier, start) = (&barrier, &start);
            scope.spawn(move || {
                barrier.wait();
                let start = *start.get_or_init(Instant::now);
                let port = arguments.port + n;
                one(arguments, port, start)
                    .with_context(|| format!("{}, port {port}", arguments.to))
            })
        });
        // All are started before the first is waited for.
        let started: Vec<_> = started.collect();
        let ended = started.into_iter().map(|thread| thread.join().expect("clients do not panic"));
        ended.collect::<Result<Vec<_>>>()
    })?;
    let seconds = connections.iter().map(|connection| connection.seconds).fold(0.0, f64::max);
    Ok(Figures { seconds, connections })
}

/// One connection, whose time counts from `start`.
fn one(arguments: &Arguments, port: u16, start: Instant) -> Result<Connection> {
    let mut stream =
        TcpStream::connect(SocketAddrV4::new(arguments.to, port)).context("cannot connect")?;
    let (sent, arrived, returned) = match arguments.answer {
        None => send(arguments, &mut stream, start)?,
        Some(exchange) => exchange_all(arguments, exchange, &mut stream, start)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    Ok(Connection { port, seconds, sent, arrived, returned })
}

/// Sends to the end, and waits for the server to say how much it has.
fn send(arguments: &Arguments, stream: &mut TcpStream, start: Instant) -> Result<(u64, u64, u64)> {
    let buffer = vec![0x5a; arguments.buffer.get() as usize];
    let mut sent = 0;
    loop {
        let length = arguments.extent.next(sent, start.elapsed(), buffer.len());
        if length == 0 {
            break;
        }
        stream.write_all(&buffer[..length]).context("cannot send")?;
        sent += length as u64;
    }
    stream.shutdown(Shutdown::Write).context("cannot end")?;
    let mut count = [0; 8];
    stream.read_exact(&mut count).context("the server does not say how much it received")?;
    let arrived = u64::from_be_bytes(count);
    ensure!(arrived == sent, "of {sent} bytes {arrived} reached the server");
    Ok((sent, arrived, count.len() as u64))
}

/// Exchanges requests and responses one after the other.
fn exchange_all(
    arguments: &Arguments,
    exchange: Exchange,
    stream: &mut TcpStream,
    start: Instant,
) -> Result<(u64, u64, u64)> {
    stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
    let request = vec![0x5a; exchange.request.get() as usize];
    let mut response = vec![0; exchange.response.get() as usize];
    let (mut sent, mut returned) = (0, 0);
    while arguments.extent.next(sent, start.elapsed(), request.len()) == request.len() {
        stream.write_all(&request).context("cannot send")?;
        sent += request.len() as u64;
        stream.read_exact(&mut response).context("no response")?;
        returned += response.len() as u64;
    }
    Ok((sent, sent, returned))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, num::NonZeroU32};

    use super::*;

    /// A server which says, after `pause`, that it has `received` so many bytes: its
    /// port, and what a client is told that sends it 100,000.
    fn server(pause: Duration, received: u64) -> (u16, Arguments) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut server, _) = listener.accept().unwrap();
            std::io::copy(&mut server, &mut std::io::sink()).unwrap();
            thread::sleep(pause);
            server.write_all(&received.to_be_bytes()).unwrap();
        });
        let arguments = Arguments {
            to: Ipv4Addr::LOCALHOST,
            port,
            pairs: NonZeroU16::MIN,
            buffer: NonZeroU32::new(8192).unwrap(),
            extent: Extent { amount: Some(100_000), time: None },
            answer: None,
            json: false,
        };
        (port, arguments)
    }

    /// What the client of such a server sees.
    fn client_of(pause: Duration, received: u64) -> Result<Figures> {
        measure(&server(pause, received).1)
    }

    /// What the servers' programs have not yet is not there yet, whatever the
    /// kernels have taken.
    #[test]
    fn the_clock_runs_until_the_server_has_told_what_it_received() {
        let pause = Duration::from_millis(200);
        let figures = client_of(pause, 100_000).unwrap();
        assert!(figures.seconds >= pause.as_secs_f64(), "{figures:?}");
        assert!(figures.connections[0].seconds >= pause.as_secs_f64(), "{figures:?}");
        assert_eq!(figures.arrived(), 100_000);
    }

    /// One of 50 that does not get to run at once is no faster for that.
    #[test]
    fn time_counts_from_the_common_start_of_all_connections() {
        let (port, arguments) = server(Duration::ZERO, 100_000);
        let late = Duration::from_secs(5);
        let connection = one(&arguments, port, Instant::now().checked_sub(late).unwrap()).unwrap();
        assert!(connection.seconds >= late.as_secs_f64(), "{connection:?}");
    }

    #[test]
    fn bytes_that_did_not_arrive_are_an_error() {
        let error = client_of(Duration::ZERO, 99_999).unwrap_err();
        assert!(format!("{error:#}").contains("of 100000 bytes 99999 reached"), "{error:#}");
    }

    #[test]
    fn an_amount_is_sent_to_the_last_byte_and_no_further() {
        let extent = Extent { amount: Some(20_000), time: None };
        assert_eq!(extent.next(0, Duration::ZERO, 8192), 8192);
        assert_eq!(extent.next(16_384, Duration::MAX, 8192), 3_616);
        assert_eq!(extent.next(20_000, Duration::ZERO, 8192), 0);
    }

    #[test]
    fn a_time_ends_what_is_sent() {
        let extent = Extent { amount: None, time: Some(0.5) };
        assert_eq!(extent.next(1 << 40, Duration::from_millis(499), 8192), 8192);
        assert_eq!(extent.next(0, Duration::from_millis(500), 8192), 0);
    }
}
