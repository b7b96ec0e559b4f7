//! The packet socket by which held packets come in again.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use redirectd_ebpf::group::REPLAY_OUT;

use super::{
    frame::{offload, tagged},
    queue::Packet,
};

/// How much may wait in the socket: some of the largest packets.
const SEND_BUFFER: libc::c_int = 4 << 20;

/// Sends frames with our mark.
pub(super) struct Sender(OwnedFd);

impl Sender {
    /// Opens it; needs `CAP_NET_RAW`.
    pub(super) fn open() -> io::Result<Self> {
        // Of protocol 0: it receives nothing.
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
        socket.set(libc::SOL_SOCKET, libc::SO_MARK, REPLAY_OUT.cast_signed())?;
        socket.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER)?;
        Ok(socket)
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the value is a whole int, of the size given.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Sends a packet out of the interface it came in by.
    pub(super) fn send(&self, packet: &Packet) -> io::Result<()> {
        let mut frame = tagged(&packet.frame, packet.header.vlan);
        let told = offload(&mut frame, packet.header.segment);
        let ethertype =
            frame.get(12..14).map_or(0, |bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
        let mut parts = [
            libc::iovec { iov_base: told.as_ptr().cast_mut().cast(), iov_len: told.len() },
            libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() },
        ];
        let mut place = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ethertype,
            sll_ifindex: packet.header.ifindex.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0; 8],
        };
        // SAFETY: all zero is a message without parts.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_name = (&raw mut place).cast();
        message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len();
        // SAFETY: the message's address and parts are whole and outlive the call.
        let sent = unsafe { libc::sendmsg(self.0.as_raw_fd(), &raw const message, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
