//! The sockets of a network namespace, as the kernel's socket diagnostics
//! (sock_diag(7)) tell of them.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
};

use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_LISTEN},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
    unix::{self, ShowFlags, UnixRequest, UnixResponse, nlas::UnixDiagName},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::sockets::Endpoint;
use crate::{netlink::dump, rule::Protocol};

/// A TCP or UDP socket. Addresses are as on the wire: IPv4 where an IPv6 socket
/// speaks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inet {
    /// 0 for a connection that nobody has accepted yet, and for one that only the
    /// kernel still knows.
    pub(super) inode: u64,
    pub(super) protocol: Protocol,
    pub(super) local: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    pub(super) listening: bool,
    /// Connections that it has and nobody has accepted yet, if it listens.
    pub(super) unaccepted: u32,
    /// Bound to no address, by IPv6, and takes IPv4 as well.
    pub(super) both_families: bool,
}

impl Inet {
    /// Where it takes packets of anybody.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        let Self { protocol, local: at, both_families, .. } = *self;
        let open = self.listening || protocol == Protocol::Udp;
        (open && self.remote.is_none()).then_some(Endpoint { protocol, at, both_families })
    }
}

/// A Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unix {
    pub(super) inode: u64,
    pub(super) name: Option<String>,
    pub(super) datagram: bool,
    /// The socket at the other end, or the listener that is to accept it.
    pub(super) peer: Option<u64>,
}

/// All TCP and UDP sockets of this thread's network.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn inet() -> io::Result<Vec<Inet>> {
    let mut sockets = Vec::new();
    for (protocol, number) in [(Protocol::Tcp, IPPROTO_TCP), (Protocol::Udp, IPPROTO_UDP)] {
        for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            let request = InetRequest {
                family,
                protocol: number,
                extensions: ExtensionFlags::empty(),
                states: StateFlags::all(),
                socket_id,
            };
            for answer in dump(NETLINK_SOCK_DIAG, SockDiagMessage::InetRequest(request))? {
                if let SockDiagMessage::InetResponse(response) = answer {
                    sockets.extend(read_inet(protocol, &response));
                }
            }
        }
    }
    Ok(sockets)
}

/// All Unix sockets of this thread's network.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn unix() -> io::Result<Vec<Unix>> {
    let request = UnixRequest {
        state_flags: unix::StateFlags::from_bits_retain(u32::MAX),
        inode: 0,
        show_flags: ShowFlags::NAME | ShowFlags::PEER | ShowFlags::ICONS,
        cookie: [0xff; 8],
    };
    let answers = dump(NETLINK_SOCK_DIAG, SockDiagMessage::UnixRequest(request))?;
    let responses = answers.iter().filter_map(|answer| match answer {
        SockDiagMessage::UnixResponse(response) => Some(response),
        _ => None,
    });
    let mut sockets = Vec::new();
    // What nobody has accepted yet has no other end, but a listener that knows it.
    let mut pending = HashMap::new();
    for response in responses {
        let listener = u64::from(response.header.inode);
        let waiting = response.pending_connections().unwrap_or_default();
        pending.extend(waiting.iter().map(|&inode| (u64::from(inode), listener)));
        sockets.push(read_unix(response));
    }
    for socket in &mut sockets {
        socket.peer = socket.peer.or_else(|| pending.get(&socket.inode).copied());
    }
    Ok(sockets)
}

/// `None` for a socket without a port, which nobody can send to.
fn read_inet(protocol: Protocol, response: &InetResponse) -> Option<Inet> {
    let id = &response.header.socket_id;
    if id.source_port == 0 {
        return None;
    }
    let only_v6 = response.nlas.iter().any(|nla| matches!(nla, Nla::SkV6Only(true)));
    let wildcard_v6 = id.source_address.is_ipv6() && id.source_address.is_unspecified();
    let connected = id.destination_port != 0;
    let listening = protocol == Protocol::Tcp && response.header.state == TCP_LISTEN;
    Some(Inet {
        inode: response.header.inode.into(),
        protocol,
        local: endpoint(id.source_address, id.source_port),
        remote: connected.then(|| endpoint(id.destination_address, id.destination_port)),
        listening,
        unaccepted: if listening { response.header.recv_queue } else { 0 },
        both_families: wildcard_v6 && !only_v6 && !connected,
    })
}

fn endpoint(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

fn read_unix(response: &UnixResponse) -> Unix {
    let name = response.name().map(|name| match name {
        UnixDiagName::Pathname(path) => path.to_string_lossy().into_owned(),
        // As ss and lsof write names that are not paths.
        UnixDiagName::Abstract(name) => format!("@{}", String::from_utf8_lossy(name)),
    });
    let peer = response.peer().filter(|&peer| peer != 0).map(u64::from);
    let datagram = i32::from(response.header.kind) == libc::SOCK_DGRAM;
    Unix { inode: response.header.inode.into(), name, datagram, peer }
}
