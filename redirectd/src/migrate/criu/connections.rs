//! TCP connections of a process that is revived a second time, or has run where it must not.
//!
//! Once home delivers, which is at the abort, and after the commit when the process is
//! said to stand, packets come to the sockets of the copy that was revived first, and its
//! kernel acknowledges what they bring, whether the copy ever runs or not. When that copy
//! is ended, CRIU sees to it that no peer hears of it; so a peer goes on with a connection
//! of whose data the images know nothing, and which nobody sends again. Once the copy is
//! gone, none can tell which connections that has happened to. So all are reset, for the
//! peer and for the process.
//!
//! Those of a process that nobody has any more are [`super::lost`]'s.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use super::descriptors;
use crate::{
    error::{Error, Kind},
    process::Tree,
};

/// `TCP_CLOSE` and `TCP_LISTEN`, of the kernel's `net/tcp_states.h`: no connections.
const NO_CONNECTION: [u8; 2] = [7, 10];

/// Resets the connections of the process `pid`, and of all below it, which speak and do
/// not run yet; what is lost by that. Those within the machine stay: both ends of them are
/// in the images.
#[must_use]
pub fn give_up(pid: i32) -> Option<String> {
    let all = Tree::of(pid).map(|tree| tree.running().map(|process| process.pid).collect());
    match all.and_then(|pids: Vec<i32>| reset(&pids)) {
        Ok(0) => None,
        Ok(count) => Some(format!("open connections, as it was revived twice: {count}")),
        Err(error) => Some(error.one_line()),
    }
}

/// Resets the connections of these processes: how many.
///
/// # Errors
/// One of them cannot be looked at, or the kernel refuses.
pub fn reset(pids: &[i32]) -> Result<usize, Error> {
    let mut count = 0;
    for &pid in pids {
        let failed = |why: io::Error| {
            let what = format!("the connections of process {pid} cannot be reset: {why}");
            Error::new(Kind::Failed, what)
                .cure(format!("restart process {pid} if connections of it stay silent"))
        };
        for (_, socket) in descriptors::sockets(pid).map_err(failed)? {
            // One that several processes have is closed when it comes again.
            if is_connection(&socket) && !descriptors::peer(&socket).is_some_and(is_within) {
                descriptors::disconnect(&socket).map_err(failed)?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Whether this is a socket of TCP, and connected, or about to be.
fn is_connection(socket: &OwnedFd) -> bool {
    // The state is the first byte of `struct tcp_info`.
    let info = descriptors::get(socket, libc::IPPROTO_TCP, libc::TCP_INFO);
    info.is_some_and(|info| info.first().is_some_and(|state| !NO_CONNECTION.contains(state)))
}

/// Whether a connection to `peer` has both its ends on the machine that it moves with.
pub(super) fn is_within(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn both_ends_hear_of_it_and_listeners_are_no_connections() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let listener = OwnedFd::from(listener);
        let socket = OwnedFd::from(accepted.try_clone().unwrap());
        assert!(is_connection(&socket) && !is_connection(&listener));
        descriptors::disconnect(&socket).unwrap();
        assert!(!is_connection(&socket));
        for end in [&mut peer, &mut { accepted }] {
            let error = end.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[test]
    fn loopback_is_within_the_machine() {
        let of = |peer: &str| is_within(peer.parse().unwrap());
        assert!(of("127.0.0.1:4000") && of("[::1]:4000") && of("[::ffff:127.0.0.1]:4000"));
        assert!(!of("10.0.0.2:4000") && !of("[fd00::2]:4000"));
    }

    #[test]
    fn other_sockets_are_no_connections() {
        let udp = OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let (unix, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!is_connection(&udp) && !is_connection(&OwnedFd::from(unix)));
    }
}
