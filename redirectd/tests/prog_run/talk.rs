//! A conversation between a peer and a host through home: its packets as each
//! of them sends and receives them.

use std::net::SocketAddr;

use redirectd::rule::Protocol;

use crate::{
    frame::{ACK, Frame, SYN, TTL},
    network::{Family, way_to},
    table::Row,
};

/// One conversation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Talk {
    pub(crate) protocol: Protocol,
    pub(crate) peer: SocketAddr,
    pub(crate) home: SocketAddr,
    /// Home's endpoint towards the host.
    pub(crate) snat: SocketAddr,
    pub(crate) host: SocketAddr,
}

/// The home port of conversations, unless they say otherwise.
pub(crate) const HOME_PORT: u16 = 80;
/// The target port.
pub(crate) const HOST_PORT: u16 = 8080;

impl Talk {
    /// Of the peer, from `port`, with [`HOME_PORT`] of home, which is really
    /// [`HOST_PORT`] of the host. Home keeps the peer's port.
    pub(crate) fn new(protocol: Protocol, family: &Family, port: u16) -> Self {
        Self {
            protocol,
            peer: (family.peer, port).into(),
            home: (family.home, HOME_PORT).into(),
            snat: (family.home, port).into(),
            host: (family.host, HOST_PORT).into(),
        }
    }

    fn frame(&self, from: SocketAddr, to: SocketAddr) -> Frame {
        match self.protocol {
            Protocol::Tcp => Frame::tcp(from, to),
            Protocol::Udp => Frame::udp(from, to),
        }
    }

    /// A packet as the peer sends it, at home's door.
    pub(crate) fn peer_sends(&self) -> Frame {
        let (gateway, home) = way_to(self.peer.ip());
        self.frame(self.peer, self.home).macs(home, gateway)
    }

    /// The same packet as the host gets it.
    pub(crate) fn host_gets(&self) -> Frame {
        let (host, home) = way_to(self.host.ip());
        self.frame(self.snat, self.host).macs(host, home)
    }

    /// A packet as the host sends it.
    pub(crate) fn host_sends(&self) -> Frame {
        let (host, home) = way_to(self.host.ip());
        self.frame(self.host, self.snat).macs(home, host)
    }

    /// The same packet as the peer gets it.
    pub(crate) fn peer_gets(&self) -> Frame {
        let (gateway, home) = way_to(self.peer.ip());
        self.frame(self.home, self.peer).macs(gateway, home)
    }

    /// A packet of the peer's that reaches the host.
    pub(crate) fn reaches_host(&self, what: &str, edit: impl Fn(Frame) -> Frame) -> Row {
        Row::sent(what, &edit(self.peer_sends()), &edit(self.host_gets()).ttl(TTL - 1))
    }

    /// A packet of the host's that reaches the peer.
    pub(crate) fn reaches_peer(&self, what: &str, edit: impl Fn(Frame) -> Frame) -> Row {
        Row::sent(what, &edit(self.host_sends()), &edit(self.peer_gets()).ttl(TTL - 1))
    }

    /// The host's "port unreachable" about a packet of the peer's that `edit` has
    /// made, and how the peer gets it.
    pub(crate) fn port_unreachable(&self, edit: impl Fn(Frame) -> Frame) -> (Frame, Frame) {
        let kind = if self.peer.is_ipv4() { (3, 3) } else { (1, 4) };
        let error = |like: Frame, about: Frame| {
            Frame::icmp(like.source, like.destination, kind, 0)
                .macs(like.macs.0, like.macs.1)
                .data(&edit(about).packet())
        };
        (
            error(self.host_sends(), self.host_gets()),
            error(self.peer_gets(), self.peer_sends()).ttl(TTL - 1),
        )
    }

    /// The packets that open it: the three of TCP's handshake, or with UDP a
    /// question, an answer, and another question. The peer's next sequence number
    /// is 101, the host's 501.
    pub(crate) fn opening(&self) -> Vec<Row> {
        match self.protocol {
            Protocol::Tcp => vec![
                self.reaches_host("SYN", |frame| frame.flags(SYN).seq(100)),
                self.reaches_peer("SYN and ACK", |frame| frame.flags(SYN | ACK).seq(500).ack(101)),
                self.reaches_host("ACK", |frame| frame.flags(ACK).seq(101).ack(501)),
            ],
            Protocol::Udp => vec![
                self.reaches_host("the first datagram", |frame| frame.data(b"a question")),
                self.reaches_peer("the first answer", |frame| frame.data(b"an answer")),
                self.reaches_host("the second datagram", |frame| frame.data(b"a question more")),
            ],
        }
    }
}
