//! TCP connections to the servers, and the monotonic clock.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    ptr, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;

use super::Link;

/// Connections whose calls never wait, save [`Link::wait`].
pub(crate) struct Sockets {
    streams: Vec<TcpStream>,
    /// What each is watched for, and what has been seen.
    watched: Vec<libc::pollfd>,
    buffer: Box<[u8]>,
    origin: Instant,
    vigil: Duration,
}

/// How long a server may take to accept.
const PATIENCE: Duration = Duration::from_secs(5);

impl Sockets {
    /// One connection to each of `servers`, in the calling thread's network
    /// namespace. For the last `vigil` before a request is due they are watched
    /// without sleeping, for a sleeper wakes late; whoever else has work on this
    /// processor goes first.
    ///
    /// # Errors
    /// A server does not accept.
    pub(crate) fn connect(servers: &[SocketAddr], vigil: Duration) -> Result<Self> {
        let streams = servers.iter().map(connect).collect::<Result<Vec<_>>>()?;
        let watched = |stream: &TcpStream| libc::pollfd {
            fd: stream.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        be_punctual();
        Ok(Self {
            watched: streams.iter().map(watched).collect(),
            streams,
            buffer: vec![0; 64 * 1024].into(),
            origin: Instant::now(),
            vigil,
        })
    }
}

fn connect(server: &SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(server, PATIENCE)
        .with_context(|| format!("cannot connect to {server}"))?;
    // A request is sent when it is due, not when the one before is acknowledged.
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Has the calling thread woken when its time has come, not up to 50 µs later as
/// the kernel does for ordinary threads to save power.
fn be_punctual() {
    // SAFETY: with this option the call takes a number and touches no memory. If
    // it failed, requests would be late, which their latency shows.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}

impl Link for Sockets {
    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    fn wait(&mut self, until: u64, blocked: impl Fn(usize) -> bool) -> Result<()> {
        for (n, watched) in self.watched.iter_mut().enumerate() {
            watched.events = libc::POLLIN | if blocked(n) { libc::POLLOUT } else { 0 };
        }
        let sleep = Duration::from_nanos(until.saturating_sub(self.now()));
        let sleep = sleep.saturating_sub(self.vigil);
        if sleep.is_zero() {
            thread::yield_now();
        }
        let timeout = libc::timespec {
            tv_sec: sleep.as_secs() as libc::time_t,
            tv_nsec: sleep.subsec_nanos().into(),
        };
        let (first, count) = (self.watched.as_mut_ptr(), self.watched.len());
        // SAFETY: `first` and `count` are those of a Vec that nobody else uses
        // meanwhile; `timeout` outlives the call, which only reads it.
        let ready =
            unsafe { libc::ppoll(first, count as libc::nfds_t, &raw const timeout, ptr::null()) };
        match Errno::result(ready) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for responses"),
        }
    }

    fn send(&mut self, connection: usize, bytes: usize) -> Result<usize> {
        let some = &self.buffer[..bytes.min(self.buffer.len())];
        moved(self.streams[connection].write(some), connection)
    }

    fn receive(&mut self, connection: usize) -> Result<usize> {
        let seen = std::mem::take(&mut self.watched[connection].revents);
        if seen & !libc::POLLOUT == 0 {
            return Ok(0);
        }
        match self.streams[connection].read(&mut self.buffer) {
            Ok(0) => bail!("the server has closed connection {connection}"),
            result => moved(result, connection),
        }
    }
}

/// How many bytes a call moved that does not wait.
fn moved(result: std::io::Result<usize>, connection: usize) -> Result<usize> {
    match result {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error).with_context(|| format!("connection {connection} broke")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::requests::{Requests, generate};

    /// Answers requests of 64 bytes, but sleeps before the `stalled`-th.
    fn server(stalled: usize, stall: Duration) -> (SocketAddr, thread::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let mut answered = 0;
            let mut request = [0; 64];
            while stream.read_exact(&mut request).is_ok() {
                if answered == stalled {
                    thread::sleep(stall);
                }
                stream.write_all(&request).unwrap();
                answered += 1;
            }
            answered
        });
        (address, thread)
    }

    /// Only what the stall makes slower is judged, so that a busy machine, which
    /// makes things slower too, fails nothing.
    #[test]
    fn a_real_server_that_stalls_once_is_slow_for_all_that_were_due_meanwhile() {
        let (address, thread) = server(250, Duration::from_millis(100));
        let asked = Requests {
            rate: 1_000,
            connections: 1,
            request: 64,
            response: 64,
            warm_up: Duration::from_millis(100),
            duration: Duration::from_millis(400),
            patience: Duration::from_secs(10),
        };
        let mut sockets = Sockets::connect(&[address], Duration::ZERO).unwrap();
        let outcome = generate(&asked, &mut sockets).unwrap();
        drop(sockets);
        assert_eq!(thread.join().unwrap(), 500);
        assert_eq!((outcome.requests, outcome.answered), (400, 400));
        let slow = outcome.latency.count_between(50_000_000, u64::MAX);
        assert!(slow >= 49, "{slow} of about 50");
        assert!(outcome.latency.value_at_quantile(0.999) >= 99_000_000);
    }

    #[test]
    fn a_server_that_goes_away_is_an_error_that_names_the_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut sockets = Sockets::connect(&[address], Duration::ZERO).unwrap();
        drop(listener.accept().unwrap());
        sockets.wait(PATIENCE.as_nanos() as u64, |_| false).unwrap();
        let error = sockets.receive(0).unwrap_err();
        assert!(error.to_string().contains("connection 0"), "{error}");
    }
}
