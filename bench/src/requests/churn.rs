//! Connections as fast as they go: connect, request, response, close, and again.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

/// What is asked: one client for each server, each with one connection at a time.
#[derive(Debug, Clone)]
pub(crate) struct Churn {
    /// Where the clients connect to.
    pub(crate) servers: Vec<SocketAddr>,
    /// Bytes of a request.
    pub(crate) request: usize,
    /// Bytes of a response.
    pub(crate) response: usize,
    /// Connections that end before this has passed are not counted.
    pub(crate) warm_up: Duration,
    /// How long those that end are counted.
    pub(crate) duration: Duration,
    /// How long any step of a connection may take; longer is a failure.
    pub(crate) patience: Duration,
}

/// What became of the connections.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tally {
    /// Opened, answered, and closed by both sides.
    pub(crate) completed: u64,
    /// Any other.
    pub(crate) failed: u64,
    /// Why one of those failed.
    pub(crate) failure: Option<String>,
}

impl Tally {
    fn add(mut self, other: Self) -> Self {
        self.completed += other.completed;
        self.failed += other.failed;
        self.failure = self.failure.or(other.failure);
        self
    }
}

impl Churn {
    /// Runs all clients, in the calling thread's network namespace and on its
    /// processors, and counts.
    pub(crate) fn run(&self) -> Tally {
        let start = Instant::now();
        let tallies = thread::scope(|scope| {
            let clients =
                self.servers.iter().map(|server| scope.spawn(|| self.client(start, *server)));
            // All are started before the first is waited for.
            let clients: Vec<_> = clients.collect();
            let ended =
                clients.into_iter().map(|client| client.join().expect("clients do not panic"));
            ended.collect::<Vec<_>>()
        });
        tallies.into_iter().fold(Tally::default(), Tally::add)
    }

    fn client(&self, start: Instant, server: SocketAddr) -> Tally {
        let counted = self.warm_up..self.warm_up + self.duration;
        let mut tally = Tally::default();
        let mut buffer = vec![0; self.request.max(self.response)];
        while start.elapsed() < counted.end {
            let result = self.connection(server, &mut buffer);
            match result {
                Ok(()) if counted.contains(&start.elapsed()) => tally.completed += 1,
                Ok(()) => {}
                // At any time, the warm-up too: a failure is nothing to get used to.
                Err(error) => {
                    tally.failed += 1;
                    tally.failure = Some(format!("{error:#}"));
                    // What fails at once would keep a processor from the others.
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
        tally
    }

    /// One connection, from beginning to end.
    ///
    /// The client closes first and waits for the server to do so too: the proof
    /// that the end got through. So `TIME_WAIT` is the client's.
    fn connection(&self, server: SocketAddr, buffer: &mut [u8]) -> Result<()> {
        let mut stream = self.connect(server).context("cannot connect")?;
        stream.write_all(&buffer[..self.request]).context("cannot send")?;
        stream.read_exact(&mut buffer[..self.response]).context("no response")?;
        stream.shutdown(Shutdown::Write).context("cannot close")?;
        let more = stream.read(buffer).context("the server does not close")?;
        ensure!(more == 0, "the server sends more than the response");
        Ok(())
    }

    fn connect(&self, server: SocketAddr) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        // For connecting too.
        socket.set_write_timeout(Some(self.patience))?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.set_tcp_nodelay(true)?;
        socket.connect(&server.into())?;
        Ok(socket.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
    };

    use super::*;

    /// Serves one connection after the other; closes at once the one in `every`
    /// whose turn it is to fail. Counts those it served to the end.
    fn server(every: u64) -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&served);
        // Ends with the test's process.
        thread::spawn(move || {
            for n in 1.. {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 64];
                if n % every == 0 || stream.read_exact(&mut request).is_err() {
                    continue;
                }
                stream.write_all(&[0; 100]).unwrap();
                if stream.read(&mut request).unwrap() == 0 {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        (address, served)
    }

    fn churn(servers: Vec<SocketAddr>) -> Churn {
        Churn {
            servers,
            request: 64,
            response: 100,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(200),
            patience: Duration::from_secs(5),
        }
    }

    /// Runs `churn`, and has `each` see what became of that, until `enough` have come of all
    /// runs together: one whose machine stalls has few connections or none.
    fn repeated(
        churn: &Churn,
        mut each: impl FnMut(&Tally),
        enough: impl Fn(&Tally) -> bool,
    ) -> Tally {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut all = Tally::default();
        while !enough(&all) && Instant::now() < deadline {
            let tally = churn.run();
            each(&tally);
            all = all.add(tally);
        }
        assert!(enough(&all), "{all:?}");
        all
    }

    #[test]
    fn connections_count_that_were_served_to_the_end() {
        let servers = [server(u64::MAX), server(u64::MAX)];
        let churn = churn(servers.iter().map(|server| server.0).collect());
        let mut before = 0;
        let each = |tally: &Tally| {
            let all: u64 = servers.iter().map(|server| server.1.load(Ordering::Relaxed)).sum();
            let served = all - before;
            before = all;
            assert_eq!((tally.failed, &tally.failure), (0, &None));
            // Each client's last connection may have ended too late.
            let counted = served.saturating_sub(2)..=served;
            assert!(counted.contains(&tally.completed), "{} of {served}", tally.completed);
        };
        repeated(&churn, each, |all| all.completed > 10);
    }

    #[test]
    fn failures_are_counted_and_told() {
        let enough = |all: &Tally| all.failed > 1 && all.completed > 10;
        let tally = repeated(&churn(vec![server(5).0]), |_| (), enough);
        assert!(tally.completed > tally.failed, "{tally:?}");
        assert!(tally.failure.is_some());
    }

    #[test]
    fn nobody_there_is_a_failure_and_no_endless_loop() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = listener.local_addr().unwrap();
        drop(listener);
        let each = |tally: &Tally| {
            assert_eq!(tally.completed, 0);
            assert!(tally.failed <= 200, "{}", tally.failed);
        };
        let tally = repeated(&churn(vec![nobody]), each, |all| all.failed > 0);
        assert!(tally.failure.unwrap().contains("cannot connect"));
    }
}
