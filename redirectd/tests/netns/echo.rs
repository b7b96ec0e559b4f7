//! Servers of our own that say who they are: each answer is the server's name
//! (one byte) and what was asked.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use xtask::lab::{Host, soon};

/// How often a server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// What a socket gets to hold what its reader has not read yet.
pub(crate) const ROOM: usize = 4 << 20;

/// A server on a host; dropping it ends it.
pub(crate) struct Echo {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Answers UDP datagrams that come to `endpoint`.
    pub(crate) fn udp(host: &Host, endpoint: &str, name: u8) -> Result<Self> {
        Self::at(udp(host, endpoint)?, name)
    }

    /// Answers the datagrams that come to `socket`.
    pub(crate) fn at(socket: UdpSocket, name: u8) -> Result<Self> {
        Self::serve(move || match answer_datagram(&socket, name) {
            // A client that went away says so to the next call.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            done => done,
        })
    }

    /// Answers what comes over each connection to `endpoint`, in pieces as they
    /// come; one thread a connection.
    pub(crate) fn tcp(host: &Host, endpoint: &str, name: u8) -> Result<Self> {
        let listener = host.enter(|| TcpListener::bind(endpoint)).context("cannot listen")?;
        listener.set_nonblocking(true)?;
        Self::serve(move || match listener.accept() {
            Ok((connection, _)) => {
                std::thread::spawn(move || answer_connection(connection, name));
                Ok(())
            }
            Err(error) => {
                std::thread::sleep(Duration::from_millis(2));
                Err(error)
            }
        })
    }

    /// Calls `step` until told to end; that it has nothing to do is no reason.
    fn serve(mut step: impl FnMut() -> io::Result<()> + Send + 'static) -> Result<Self> {
        let end = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                match step() {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                        panic!("an echo server fails: {error}")
                    }
                    _ => {}
                }
            }
        });
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A UDP socket on `host` with much room, whose reads give up after [`LOOK`].
pub(crate) fn udp(host: &Host, endpoint: &str) -> Result<UdpSocket> {
    let endpoint: SocketAddr = endpoint.parse()?;
    let socket = host.enter(|| UdpSocket::bind(endpoint));
    let socket = socket.with_context(|| format!("{}: cannot bind {endpoint}", host.name()))?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(ROOM)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// Whether half of the room that `socket` has is taken.
pub(crate) fn is_half_full(socket: &UdpSocket) -> Result<bool> {
    // Two fields of the kernel's `SK_MEMINFO_VARS`: what is taken, and the room.
    let mut meminfo = [0_u32; 2];
    let mut size = size_of_val(&meminfo) as libc::socklen_t;
    let to = meminfo.as_mut_ptr().cast();
    // SAFETY: writes at most `size` bytes to `meminfo`, which outlives the call.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MEMINFO, to, &raw mut size)
    };
    ensure!(done == 0, "{}", io::Error::last_os_error());
    let [taken, room] = meminfo;
    Ok(taken > room / 2)
}

/// Sets a socket option that takes an `int`.
pub(crate) fn set(
    socket: &UdpSocket,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> Result<()> {
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: these options take an int, which outlives the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size)
    };
    ensure!(done == 0, "{}", io::Error::last_os_error());
    Ok(())
}

/// A TCP connection from `host` to `endpoint`, whose reads and writes give up
/// after five seconds.
pub(crate) fn connect(host: &Host, endpoint: &str) -> io::Result<TcpStream> {
    let endpoint: SocketAddr = endpoint.parse().expect("an endpoint is ADDRESS:PORT");
    let limit = Duration::from_secs(5);
    let connection = host.enter(|| TcpStream::connect_timeout(&endpoint, limit))?;
    connection.set_read_timeout(Some(limit))?;
    connection.set_write_timeout(Some(limit))?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

/// Sends `word` to an echo server and gives its name; the rest of the answer
/// must be `word`.
pub(crate) fn ask(connection: &mut TcpStream, word: &[u8]) -> io::Result<char> {
    connection.write_all(word)?;
    let mut answer = vec![0; word.len() + 1];
    connection.read_exact(&mut answer)?;
    assert_eq!(&answer[1..], word, "the echo differs");
    Ok(char::from(answer[0]))
}

/// Sends `data` to an echo server called c, whose answer must bring it back
/// unchanged.
pub(crate) fn there_and_back(socket: &UdpSocket, data: &[u8]) -> Result<()> {
    socket.send(data)?;
    let mut answer = vec![0; 65_536];
    let what = format!("{} bytes come back", data.len());
    let length = soon(&what, || socket.recv(&mut answer).ok())?;
    let same = answer[0] == b'c' && answer[1..length] == *data;
    ensure!(same, "{} bytes came back as {} others", data.len(), length - 1);
    Ok(())
}

fn answer_datagram(socket: &UdpSocket, name: u8) -> io::Result<()> {
    let mut buffer = [0; 65_536];
    buffer[0] = name;
    let (length, from) = socket.recv_from(&mut buffer[1..])?;
    socket.send_to(&buffer[..=length], from).map(drop)
}

fn answer_connection(mut connection: TcpStream, name: u8) {
    let mut buffer = [0; 4096];
    buffer[0] = name;
    // However the connection ends, the client is the one to judge it.
    while let Ok(length @ 1..) = connection.read(&mut buffer[1..]) {
        if connection.write_all(&buffer[..=length]).is_err() {
            break;
        }
    }
}
