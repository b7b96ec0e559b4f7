//! TCP connections of a process that is lost.
//!
//! Where no copy of a process is left, no socket of it can say so: CRIU, and whoever ends what is
//! half made, has them end without a word. A peer that says nothing either would wait for ever.
//! So each connection is made once more, from the images alone, by the kernel's repair mode
//! (`TCP_REPAIR`), and reset.
//!
//! The peer heeds a reset that has the very number it expects next (RFC 5961, section 3): that
//! behind all that was sent. Should it be another one, as what was sent last has not come, the peer
//! acknowledges what it has; and so it does as the kernel asks it whenever repair mode ends. When
//! that arrives, there is no socket for it any more, and the kernel answers with a reset that has
//! the right number.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect, socket,
};
use tracing::warn;

use super::{
    connections::is_within,
    descriptors,
    images::{
        FILES, STREAM,
        connections::{self, Reached, Written},
        file::Malformed,
        sockets::Connection,
    },
};
use crate::{
    error::{Error, Kind},
    migrate::record::Id,
};

/// How long the sockets of a copy that has ended may take to go.
const GOING: Duration = Duration::from_secs(5);
/// How often is looked whether they have.
const LOOK: Duration = Duration::from_millis(10);
/// Of `linux/tcp.h`: `TCP_REPAIR_ON`, `TCP_REPAIR_OFF`, `TCP_RECV_QUEUE` and `TCP_SEND_QUEUE`.
const ON: i32 = 1;
const OFF: i32 = 0;
const RECEIVED: i32 = 1;
const SENT: i32 = 2;

/// Resets the connections of the process `pid`, of which `move` has left no copy but the one in
/// the folder `images`, and tells it. Those within the machine have no other end.
///
/// A connection whose socket is still on this machine is left alone, whosever it is.
pub fn tell_peers(pid: i32, r#move: Id, images: &Path) {
    match reset(images) {
        Ok((reset, left)) => {
            warn!(pid, r#move, reset, ?left, "reset the connections of a process that is lost");
        }
        Err(error) => {
            warn!(pid, r#move, error = error.one_line(), "peers do not hear of a process's end");
        }
    }
}

/// Resets them: how many, and which could not be.
fn reset(images: &Path) -> Result<(usize, Vec<String>), Error> {
    let files = images.join(FILES);
    let failed = |why: &dyn std::fmt::Display| {
        let what = format!("its connections are not known from {}: {why}", files.display());
        Error::new(Kind::Failed, what).cure("restart those of its peers that stay silent")
    };
    let image = fs::read(&files).map_err(|why| failed(&why))?;
    let mut open = connections::open(&image).map_err(|why| failed(&why))?;
    open.retain(|written| !is_within(written.connection.remote));
    let deadline = Instant::now() + GOING;
    let mut left = Vec::new();
    for written in &open {
        if let Err(why) = end_written(images, written, deadline) {
            let Connection { local, remote, .. } = written.connection;
            left.push(format!("{local} – {remote}: {why}"));
        }
    }
    Ok((open.len() - left.len(), left))
}

fn end_written(images: &Path, written: &Written, deadline: Instant) -> io::Result<()> {
    let image = fs::read(images.join(format!("{STREAM}{:x}.img", written.image)))?;
    let malformed = |why: Malformed| io::Error::new(io::ErrorKind::InvalidData, why);
    let reached = connections::reached(&image).map_err(malformed)?;
    loop {
        match end(&written.connection, reached) {
            Err(why) if why.kind() != io::ErrorKind::AddrNotAvailable => return Err(why),
            Err(_) if Instant::now() >= deadline => {
                return Err(io::Error::other("its socket is still on this machine"));
            }
            Err(_) => thread::sleep(LOOK),
            Ok(()) => return Ok(()),
        }
    }
}

/// Resets one connection that has no socket any more.
///
/// # Errors
/// `AddrNotAvailable`: it has one, on this machine. Or the kernel refuses anything else.
fn end(connection: &Connection, reached: Reached) -> io::Result<()> {
    let socket = remade(connection, reached)?;
    descriptors::set(&socket, libc::IPPROTO_TCP, libc::TCP_REPAIR, &OFF.to_ne_bytes())?;
    descriptors::disconnect(&socket)
}

/// The connection as a socket in repair mode.
fn remade(connection: &Connection, reached: Reached) -> io::Result<OwnedFd> {
    let Connection { local, remote, .. } = *connection;
    let (family, (level, free)) = if local.is_ipv4() {
        (AddressFamily::Inet, (libc::IPPROTO_IP, libc::IP_FREEBIND))
    } else {
        (AddressFamily::Inet6, (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND))
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, SockProtocol::Tcp)?;
    let tcp = |option, value: i32| {
        descriptors::set(&socket, libc::IPPROTO_TCP, option, &value.to_ne_bytes())
    };
    tcp(libc::TCP_REPAIR, ON)?;
    // What is wrong with an address, the way to the peer tells.
    descriptors::set(&socket, level, free, &1_i32.to_ne_bytes())?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(local))?;
    for (queue, number) in [(SENT, reached.next), (RECEIVED, reached.due)] {
        tcp(libc::TCP_REPAIR_QUEUE, queue)?;
        tcp(libc::TCP_QUEUE_SEQ, number.cast_signed())?;
    }
    connect(socket.as_raw_fd(), &SockaddrStorage::from(remote))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// A connection of this machine's, as its two ends.
    fn pair(listener: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(listener).unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, peer)
    }

    /// How far a connection has come whose queues are empty; its end is silent from here on.
    fn written(end: &TcpStream) -> (Connection, Reached) {
        let socket = OwnedFd::from(end.try_clone().unwrap());
        let set = |option, value: i32| {
            descriptors::set(&socket, libc::IPPROTO_TCP, option, &value.to_ne_bytes()).unwrap();
        };
        set(libc::TCP_REPAIR, ON);
        let [next, due] = [SENT, RECEIVED].map(|queue| {
            set(libc::TCP_REPAIR_QUEUE, queue);
            let number =
                descriptors::number(&socket, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ).unwrap();
            number.cast_unsigned()
        });
        let (local, remote) = (end.local_addr().unwrap(), end.peer_addr().unwrap());
        (Connection { protocol: 6, local, remote }, Reached { next, due })
    }

    #[test]
    fn a_peer_that_only_waits_hears_of_the_end() {
        for listener in ["127.0.0.1:0", "[::1]:0"] {
            let (lost, mut peer) = pair(listener);
            let (connection, reached) = written(&lost);
            drop(lost);
            end(&connection, reached).unwrap();
            let error = peer.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{listener}");
        }
    }

    #[test]
    fn one_that_lives_is_left_alone() {
        for listener in ["127.0.0.1:0", "[::1]:0"] {
            let (mut lives, mut peer) = pair(listener);
            let (connection, reached) = written(&lives);
            let off = OwnedFd::from(lives.try_clone().unwrap());
            let (level, option) = (libc::IPPROTO_TCP, libc::TCP_REPAIR);
            descriptors::set(&off, level, option, &OFF.to_ne_bytes()).unwrap();
            let error = end(&connection, reached).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable, "{listener}");
            io::Write::write_all(&mut lives, b"x").unwrap();
            assert_eq!(peer.read(&mut [0; 2]).unwrap(), 1, "{listener}");
        }
    }

    #[test]
    fn images_that_are_not_there_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = reset(folder.path()).unwrap_err().to_string();
        assert!(error.contains("files.img") && error.contains("cure:"), "{error}");
    }
}
