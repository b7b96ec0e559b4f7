//! What really leaves home: frames at the far ends of its interfaces. A test
//! run does not send the packet in hand, but it does send clones of it.

use std::{
    io::{self, Read as _},
    net::IpAddr,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use nix::{
    net::if_::if_nametoindex,
    sys::socket::{setsockopt, sockopt::RcvBufForce},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::network::{BACK_MAC, way_to};

/// How long a frame may take from one end to the other.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than any frame here.
const LONGEST: usize = 4096;
/// Room for frames that nobody has looked at yet, in bytes.
const ROOM: usize = 16 << 20;
/// `ETH_P_ALL` of linux/if_ether.h.
const ALL: u16 = 3;

/// Receives frames at one far end.
pub(crate) struct Capture(Socket);

impl Capture {
    /// Of what home sends towards `address`.
    pub(crate) fn towards(address: IpAddr) -> Self {
        let far_end = if way_to(address).1 == BACK_MAC { "back-far" } else { "front-far" };
        let protocol = Protocol::from(i32::from(ALL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).expect("a socket");
        let place = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ALL.to_be(),
            sll_ifindex: if_nametoindex(far_end).expect("it is there").cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: `place` is a whole sockaddr_ll, and its size is given.
        let bound = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const place).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        setsockopt(&socket, RcvBufForce, &ROOM).expect("root may have as much");
        socket.set_nonblocking(true).expect("a socket can do without waiting");
        Self(socket)
    }

    /// The next `count` frames, and that there are no more.
    pub(crate) fn frames(&mut self, count: usize) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        let mut frames = Vec::new();
        while frames.len() < count {
            // The clock first: what has come in time is seen, however late one looks.
            let late = Instant::now() > deadline;
            match self.next() {
                Some(frame) => frames.push(frame),
                None if late => break,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        assert_eq!(frames.len(), count, "frames that left");
        let more = self.next();
        assert!(more.is_none(), "one frame too many: {more:02x?}");
        frames
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut frame = vec![0; LONGEST];
            match self.0.read(&mut frame) {
                // What the kernel says to all its neighbours, when it likes.
                Ok(_) if frame[0] & 1 == 1 => {}
                Ok(length) => {
                    frame.truncate(length);
                    return Some(frame);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
