//! A conversation between a peer and a host through home: its packets as each
//! of them sends and receives them.

use std::net::SocketAddr;

use redirectd::rule::Protocol;

use crate::{
    frame::{ACK, Frame, SYN, TTL},
    network::{Family, GATEWAY_MAC, way_to},
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
    pub(crate) fn from_peer(&self) -> Frame {
        let (gateway, home) = way_to(self.peer.ip());
        self.frame(self.peer, self.home).macs(home, gateway)
    }

    /// The same packet as the host gets it.
    pub(crate) fn at_host(&self) -> Frame {
        let (host, home) = way_to(self.host.ip());
        self.frame(self.snat, self.host).macs(host, home)
    }

    /// A packet as the host sends it.
    pub(crate) fn from_host(&self) -> Frame {
        let (host, home) = way_to(self.host.ip());
        self.frame(self.host, self.snat).macs(home, host)
    }

    /// The same packet as the peer gets it.
    pub(crate) fn at_peer(&self) -> Frame {
        let (gateway, home) = way_to(self.peer.ip());
        self.frame(self.home, self.peer).macs(gateway, home)
    }

    /// A packet of the peer's that reaches the host.
    pub(crate) fn to_host(&self, what: &str, edit: impl Fn(Frame) -> Frame) -> Row {
        Row::sent(what, &edit(self.from_peer()), &edit(self.at_host()).ttl(TTL - 1))
    }

    /// A packet of the host's that reaches the peer.
    pub(crate) fn to_peer(&self, what: &str, edit: impl Fn(Frame) -> Frame) -> Row {
        Row::sent(what, &edit(self.from_host()), &edit(self.at_peer()).ttl(TTL - 1))
    }

    /// The packets that open it: the three of TCP's handshake, or with UDP a
    /// question, an answer, and another question. The peer's next sequence number
    /// is 101, the host's 501.
    pub(crate) fn opening(&self) -> Vec<Row> {
        match self.protocol {
            Protocol::Tcp => vec![
                self.to_host("SYN", |frame| frame.flags(SYN).seq(100)),
                self.to_peer("SYN and ACK", |frame| frame.flags(SYN | ACK).seq(500).ack(101)),
                self.to_host("ACK", |frame| frame.flags(ACK).seq(101).ack(501)),
            ],
            Protocol::Udp => vec![
                self.to_host("the first datagram", |frame| frame.data(b"a question")),
                self.to_peer("the first answer", |frame| frame.data(b"an answer")),
                self.to_host("the second datagram", |frame| frame.data(b"a question more")),
            ],
        }
    }
}

const _: () = assert!(GATEWAY_MAC[0] & 1 == 0, "a station, not a group");
