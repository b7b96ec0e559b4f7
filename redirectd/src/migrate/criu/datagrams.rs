//! Datagrams that wait in a socket's queue: CRIU loses them.
//!
//! While the process is frozen they are looked at without being taken. On the new
//! host, when the process is revived, they are sent to it again from where they
//! came, by the name that this has there.

use std::{
    collections::BTreeSet,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
        SockaddrStorage, getsockname, recvmsg, sendto, socket,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    descriptors,
    images::sockets::{Connection, Family, Socket},
};
use crate::error::{Error, Kind};

/// The longest datagram there is, in bytes.
const LONGEST: usize = 65_535;
const UDP: u8 = libc::IPPROTO_UDP as u8;
const UDP_HEADER: usize = 8;
/// Linux's default.
const HOP_LIMIT: u8 = 64;

/// A datagram in the queue of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagram {
    /// Who sent it, as the process sees it.
    pub from: SocketAddr,
    /// Where it was sent to.
    pub to: SocketAddr,
    /// What is in it.
    pub data: Vec<u8>,
}

impl Datagram {
    /// As if its socket were connected to who sent it: what its names become is
    /// asked for like those of a connection.
    #[must_use]
    pub fn as_socket(&self) -> Socket {
        let family = if self.to.is_ipv4() { Family::V4 } else { Family::V6 };
        Socket { protocol: UDP, family, local: self.to, remote: Some(self.from), listens: false }
    }

    /// With the names that its connection has elsewhere.
    #[must_use]
    pub fn renamed(self, connection: &Connection) -> Self {
        Self { from: connection.remote, to: connection.local, data: self.data }
    }
}

/// What waits in the sockets of the processes `pids`, which are frozen; it goes on
/// waiting.
///
/// # Errors
/// There is no such process, or it may not be looked at.
pub fn waiting(pids: &[i32]) -> Result<Vec<Datagram>, Error> {
    // Processes and descriptors may share a socket.
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    let mut look = |pid| -> io::Result<()> {
        for (_, socket) in descriptors::sockets(pid)? {
            let cookie = descriptors::get(&socket, libc::SOL_SOCKET, libc::SO_COOKIE);
            if is_udp(&socket) && seen.insert(cookie) {
                all.extend(peek(&socket)?);
            }
        }
        Ok(())
    };
    for &pid in pids {
        look(pid).map_err(|error| {
            let what = format!("cannot look at the datagrams that process {pid} has: {error}");
            Error::new(Kind::Failed, what)
        })?;
    }
    Ok(all)
}

fn is_udp(socket: &OwnedFd) -> bool {
    descriptors::number(socket, libc::SOL_SOCKET, libc::SO_PROTOCOL) == Some(UDP.into())
}

/// All that waits in one socket. Its options are afterwards as they were.
fn peek(socket: &OwnedFd) -> io::Result<Vec<Datagram>> {
    // Each look begins where the last one ended, and tells where to.
    let wanted: [(i32, i32, i32); 3] = [
        (libc::SOL_SOCKET, libc::SO_PEEK_OFF, 0),
        (libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    ];
    let mut before = Vec::new();
    for (level, option, value) in wanted {
        if let Some(was) = descriptors::number(socket, level, option) {
            descriptors::set(socket, level, option, &value.to_ne_bytes())?;
            before.push((level, option, was));
        }
    }
    let looked = look_through(socket);
    for (level, option, was) in before {
        descriptors::set(socket, level, option, &was.to_ne_bytes())?;
    }
    looked
}

fn look_through(socket: &OwnedFd) -> io::Result<Vec<Datagram>> {
    let bound = getsockname::<SockaddrStorage>(socket.as_raw_fd())?;
    let bound = endpoint(&bound).ok_or(io::ErrorKind::Unsupported)?;
    let mut datagrams = Vec::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        let mut room = cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let mut pieces = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut pieces,
            Some(&mut room),
            flags,
        ) {
            Err(Errno::EAGAIN) => return Ok(datagrams),
            message => message?,
        };
        let to = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::from(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical())
            }
            _ => None,
        });
        let from = message.address.as_ref().and_then(endpoint);
        let length = message.bytes;
        if let (Some(from), Some(to)) = (from, to.or(Some(bound.ip()))) {
            let to = SocketAddr::new(to, bound.port());
            datagrams.push(Datagram { from, to, data: buffer[..length].to_vec() });
        }
    }
}

/// An endpoint of either family, those of IPv4 by their own name.
fn endpoint(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(address) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(address.ip().into(), address.port()));
    }
    let address = address.as_sockaddr_in6()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Sends `datagrams`, whose `to` is of this machine's own, as if they came from
/// their `from`. Tells how many could not be sent, and why the first could not.
///
/// # Errors
/// There are no raw sockets: it takes root's rights.
pub fn deliver(datagrams: &[Datagram]) -> Result<(), Error> {
    let mut lost: Option<(usize, io::Error)> = None;
    for datagram in datagrams {
        if let Err(error) = send(datagram) {
            let (count, first) = lost.unwrap_or((0, error));
            lost = Some((count + 1, first));
        }
    }
    let Some((count, error)) = lost else { return Ok(()) };
    let (all, what) = (datagrams.len(), "waiting datagrams cannot be delivered");
    Err(Error::new(Kind::Failed, format!("{count} of {all} {what}: {error}")))
}

fn send(datagram: &Datagram) -> io::Result<()> {
    let Datagram { from, to, data } = datagram;
    let (family, header, target) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            (AddressFamily::Inet, header_v4(from, to, data.len())?, SocketAddr::new(to.into(), 0))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            (AddressFamily::Inet6, header_v6(from, to, data.len())?, SocketAddr::new(to.into(), 0))
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let raw = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    let packet = [header, udp(from, to, data)].concat();
    let target = SockaddrStorage::from(target);
    sendto(raw.as_raw_fd(), &packet, &target, MsgFlags::empty())?;
    Ok(())
}

/// An IPv4 header without its checksum and identification, which the kernel adds.
fn header_v4(from: Ipv4Addr, to: Ipv4Addr, data: usize) -> io::Result<Vec<u8>> {
    let length = u16::try_from(20 + UDP_HEADER + data).map_err(io::Error::other)?.to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, HOP_LIMIT, UDP, 0, 0];
    header.extend(from.octets());
    header.extend(to.octets());
    Ok(header)
}

fn header_v6(from: Ipv6Addr, to: Ipv6Addr, data: usize) -> io::Result<Vec<u8>> {
    let length = u16::try_from(UDP_HEADER + data).map_err(io::Error::other)?.to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, length[0], length[1], UDP, HOP_LIMIT];
    header.extend(from.octets());
    header.extend(to.octets());
    Ok(header)
}

/// The datagram with its header (RFC 768).
fn udp(from: &SocketAddr, to: &SocketAddr, data: &[u8]) -> Vec<u8> {
    let length = (UDP_HEADER + data.len()) as u16;
    let mut udp = Vec::with_capacity(length.into());
    for number in [from.port(), to.port(), length, 0] {
        udp.extend(number.to_be_bytes());
    }
    udp.extend_from_slice(data);
    let pseudo = sum(&octets(from.ip())) + sum(&octets(to.ip())) + u64::from(UDP);
    let mut total = pseudo + u64::from(length) + sum(&udp);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    // 0 would mean that there is none.
    let checksum = if total == 0xffff { 0xffff } else { !(total as u16) };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    udp
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The sum of all words of two bytes; an odd byte is the first of one.
fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| low.into());
    bytes.chunks(2).map(word).sum()
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::*;

    /// What waits in `socket`, of this process.
    fn waiting_in(socket: &UdpSocket) -> Vec<Datagram> {
        peek(&socket.try_clone().unwrap().into()).unwrap()
    }

    /// The options of `socket` that looking at it takes.
    fn options(socket: &UdpSocket) -> [Option<i32>; 3] {
        let socket = socket.try_clone().unwrap().into();
        [
            (libc::SOL_SOCKET, libc::SO_PEEK_OFF),
            (libc::IPPROTO_IP, libc::IP_PKTINFO),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        ]
        .map(|(level, option)| descriptors::number(&socket, level, option))
    }

    #[test]
    fn no_checksum_says_that_there_is_none() {
        let (from, to) = ("192.0.2.9:4000".parse().unwrap(), "10.0.0.3:7000".parse().unwrap());
        // One of these has the sum that would be 0.
        for word in 0..=u16::MAX {
            assert_ne!(udp(&from, &to, &word.to_be_bytes())[6..8], [0, 0], "{word}");
        }
    }

    #[test]
    fn what_waits_is_seen_whole_in_order_and_goes_on_waiting() {
        for (at, ip) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let server = UdpSocket::bind(at).unwrap();
            server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let to = SocketAddr::new(ip.parse().unwrap(), server.local_addr().unwrap().port());
            let peer = UdpSocket::bind(SocketAddr::new(to.ip(), 0)).unwrap();
            let from = peer.local_addr().unwrap();
            let all = [b"one".to_vec(), Vec::new(), vec![7; 9000], b"last".to_vec()];
            for data in &all {
                peer.send_to(data, to).unwrap();
            }
            let expected = all.clone().map(|data| Datagram { from, to, data });
            let before = options(&server);
            assert_eq!(waiting_in(&server), expected, "{at}, {ip}");
            assert_eq!(options(&server), before);
            let mut buffer = vec![0; LONGEST];
            for data in &all {
                let (length, _) = server.recv_from(&mut buffer).unwrap();
                assert_eq!(buffer[..length], data[..]);
            }
            assert_eq!(waiting_in(&server), []);
        }
    }

    #[test]
    fn what_waits_in_a_shared_socket_is_seen_once() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (_shared, to) = (server.try_clone().unwrap(), server.local_addr().unwrap());
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.send_to(b"one", to).unwrap();
        let mut all = waiting(&[std::process::id().cast_signed(); 2]).unwrap();
        // Other tests have sockets too.
        all.retain(|datagram| datagram.to == to);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(waiting(&[i32::MAX]).is_err());
    }

    #[test]
    fn what_is_delivered_comes_from_elsewhere() {
        for (ip, from) in [("127.0.0.1", "192.0.2.9:4000"), ("::1", "[2001:db8::9]:4000")] {
            let server = UdpSocket::bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
            server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let (from, to) = (from.parse().unwrap(), server.local_addr().unwrap());
            for data in [b"odd".to_vec(), Vec::new(), (0..=255).cycle().take(60_000).collect()] {
                deliver(&[Datagram { from, to, data: data.clone() }]).unwrap();
                let mut buffer = vec![0; LONGEST];
                let (length, seen) = server.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..length], seen), (&data[..], from));
            }
        }
    }

    #[test]
    fn what_cannot_be_delivered_is_told() {
        let (v4, v6) = ("192.0.2.9:4000".parse().unwrap(), "[::1]:7".parse().unwrap());
        let datagram = |from, to| Datagram { from, to, data: vec![] };
        let told = deliver(&[datagram(v4, v6), datagram(v6, v4)]).unwrap_err().to_string();
        assert!(told.starts_with("2 of 2 waiting datagrams cannot be delivered"), "{told}");
    }
}
