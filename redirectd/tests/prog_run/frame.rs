//! Frames as tests write them down: from endpoint to endpoint, with what
//! matters said and the rest as usual. Headers and checksums are etherparse's.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header,
    SingleVlanHeader, TcpHeader, UdpHeader, VlanId, VlanPcp,
};

use crate::{
    extension::Extension,
    network::{Mac, STRANGER_MAC},
};

/// Control bits of TCP.
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PUSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// The time to live that frames have unless told otherwise.
pub(crate) const TTL: u8 = 64;

/// An Ethernet frame with an IP packet in it.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The station it is for, and the one it is from.
    pub(crate) macs: (Mac, Mac),
    /// Tag protocol identifiers and VLANs, the outermost first.
    tags: Vec<(u16, u16)>,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    ttl: u8,
    /// IPv4: type of service. IPv6: traffic class.
    class: u8,
    pub(crate) id: u32,
    dont_fragment: bool,
    /// Which part of a datagram it is: offset in bytes, and whether more follow.
    part: Option<(usize, bool)>,
    options: Vec<u8>,
    extensions: Vec<Extension>,
    body: Body,
}

/// What the IP packet carries.
#[derive(Debug, Clone)]
enum Body {
    Tcp(Box<TcpHeader>, Vec<u8>),
    Udp { ports: (u16, u16), data: Vec<u8>, summed: bool },
    Icmp { kind: u8, code: u8, rest: [u8; 4], data: Vec<u8> },
    Other(u8, Vec<u8>),
}

impl Frame {
    fn new(source: IpAddr, destination: IpAddr, body: Body) -> Self {
        Self {
            macs: (STRANGER_MAC, STRANGER_MAC),
            tags: Vec::new(),
            source,
            destination,
            ttl: TTL,
            class: 0,
            id: 0,
            dont_fragment: true,
            part: None,
            options: Vec::new(),
            extensions: Vec::new(),
            body,
        }
    }

    /// A TCP segment without control bits.
    pub(crate) fn tcp(from: SocketAddr, to: SocketAddr) -> Self {
        let header = TcpHeader::new(from.port(), to.port(), 0, 64_240);
        Self::new(from.ip(), to.ip(), Body::Tcp(Box::new(header), Vec::new()))
    }

    /// A UDP datagram without data.
    pub(crate) fn udp(from: SocketAddr, to: SocketAddr) -> Self {
        let ports = (from.port(), to.port());
        Self::new(from.ip(), to.ip(), Body::Udp { ports, data: Vec::new(), summed: true })
    }

    /// An ICMP or, between IPv6 addresses, an ICMPv6 message.
    pub(crate) fn icmp(from: IpAddr, to: IpAddr, (kind, code): (u8, u8), rest: u32) -> Self {
        let rest = rest.to_be_bytes();
        Self::new(from, to, Body::Icmp { kind, code, rest, data: Vec::new() })
    }

    /// Any other protocol.
    pub(crate) fn other(from: IpAddr, to: IpAddr, protocol: u8, bytes: &[u8]) -> Self {
        Self::new(from, to, Body::Other(protocol, bytes.to_vec()))
    }

    /// With these MAC addresses: the station it is for, and the one it is from.
    pub(crate) fn macs(mut self, to: Mac, from: Mac) -> Self {
        self.macs = (to, from);
        self
    }

    /// With one more tag, inside those it has.
    pub(crate) fn tag(mut self, protocol: u16, vlan: u16) -> Self {
        self.tags.push((protocol, vlan));
        self
    }

    /// With this time to live or hop limit.
    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// With this type of service or traffic class.
    pub(crate) fn class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }

    /// With this identification; in IPv6 only fragments have one.
    pub(crate) fn id(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    /// Without IPv4's don't-fragment bit.
    pub(crate) fn may_fragment(mut self) -> Self {
        self.dont_fragment = false;
        self
    }

    /// With these IPv4 options, padded by the caller to a multiple of four.
    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// With one more IPv6 extension header, behind those it has.
    pub(crate) fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// With this payload.
    pub(crate) fn data(mut self, bytes: &[u8]) -> Self {
        let (Body::Tcp(_, data)
        | Body::Udp { data, .. }
        | Body::Icmp { data, .. }
        | Body::Other(_, data)) = &mut self.body;
        *data = bytes.to_vec();
        self
    }

    /// TCP: with these control bits and no others.
    pub(crate) fn flags(self, flags: u8) -> Self {
        self.edit_tcp(|header| {
            header.fin = flags & FIN != 0;
            header.syn = flags & SYN != 0;
            header.rst = flags & RST != 0;
            header.ack = flags & ACK != 0;
        })
    }

    /// TCP: with this sequence number.
    pub(crate) fn seq(self, sequence: u32) -> Self {
        self.edit_tcp(|header| header.sequence_number = sequence)
    }

    /// TCP: with this acknowledgement number.
    pub(crate) fn ack(self, acknowledgement: u32) -> Self {
        self.edit_tcp(|header| header.acknowledgment_number = acknowledgement)
    }

    /// TCP: with these options, padded by the caller to a multiple of four.
    pub(crate) fn tcp_options(self, options: &[u8]) -> Self {
        self.edit_tcp(|header| header.set_options_raw(options).expect("options fit"))
    }

    fn edit_tcp(mut self, edit: impl FnOnce(&mut TcpHeader)) -> Self {
        let Body::Tcp(header, _) = &mut self.body else { panic!("{self:?} is not TCP") };
        edit(header);
        self
    }

    /// UDP: without a checksum.
    pub(crate) fn unsummed(mut self) -> Self {
        let Body::Udp { summed, .. } = &mut self.body else { panic!("{self:?} is not UDP") };
        *summed = false;
        self
    }

    /// A later fragment, as if it began at `offset`.
    pub(crate) fn offset(mut self, offset: usize) -> Self {
        self.part = Some((offset, true));
        self
    }

    /// An ICMP or ICMPv6 error of home's own about this packet, back to where it
    /// came from and with its tags. It quotes what RFC 792 asks for: the IP header
    /// and eight bytes.
    pub(crate) fn complaint(&self, v4: (u8, u8), v6: (u8, u8), word: u32) -> Self {
        let is_v4 = self.source.is_ipv4();
        let packet = self.packet();
        let headers = packet.len() - self.transport().1.len();
        let kind = if is_v4 { v4 } else { v6 };
        let mut message = Self::icmp(self.destination, self.source, kind, word)
            .macs(self.macs.1, self.macs.0)
            // Internetwork control (RFC 1812, section 4.3.2.5).
            .class(if is_v4 { 0xc0 } else { 0 })
            .data(&packet[..headers + 8]);
        message.tags.clone_from(&self.tags);
        message
    }

    /// The fragments of this packet, each with at most `step` bytes of payload.
    pub(crate) fn fragments(&self, step: usize) -> Vec<Self> {
        assert_eq!(step % 8, 0, "fragments begin at multiples of 8 bytes");
        let (protocol, whole) = self.transport();
        let pieces = whole.chunks(step).enumerate();
        let fragment = |(index, piece): (usize, &[u8])| Self {
            dont_fragment: false,
            part: Some((index * step, (index + 1) * step < whole.len())),
            body: Body::Other(protocol, piece.to_vec()),
            ..self.clone()
        };
        pieces.map(fragment).collect()
    }

    /// The frame.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let ip_type = if self.source.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        let mut types: Vec<_> = self.tags.iter().map(|tag| EtherType(tag.0)).collect();
        types.push(ip_type);
        let (destination, source) = self.macs;
        let ethernet = Ethernet2Header { destination, source, ether_type: types[0] };
        let mut bytes = ethernet.to_bytes().to_vec();
        for ((_, vlan), ether_type) in self.tags.iter().zip(&types[1..]) {
            let vlan_id = VlanId::try_new(*vlan).expect("a VLAN");
            let pcp = VlanPcp::ZERO;
            let tag = SingleVlanHeader {
                pcp,
                drop_eligible_indicator: false,
                vlan_id,
                ether_type: *ether_type,
            };
            bytes.extend(tag.to_bytes());
        }
        bytes.extend(self.packet());
        bytes
    }

    /// The IP packet alone.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let (protocol, payload) = self.transport();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.packet4(source.octets(), destination.octets(), protocol, &payload)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.packet6(source.octets(), destination.octets(), protocol, &payload)
            }
            _ => panic!("{self:?} is of two families"),
        }
    }

    fn packet4(&self, source: [u8; 4], target: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() + self.options.len()) as u16;
        let mut header = Ipv4Header::new(length, self.ttl, IpNumber(protocol), source, target)
            .expect("a packet is shorter than 64 KiB");
        header.dscp = (self.class >> 2).try_into().expect("six bits");
        header.ecn = (self.class & 3).try_into().expect("two bits");
        header.identification = self.id as u16;
        header.dont_fragment = self.dont_fragment;
        header.options = self.options[..].try_into().expect("options fit");
        if let Some((offset, more)) = self.part {
            header.fragment_offset = fragment_offset(offset);
            header.more_fragments = more;
        }
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes()[..], payload].concat()
    }

    fn packet6(&self, source: [u8; 16], target: [u8; 16], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut numbers: Vec<u8> = self.extensions.iter().map(Extension::number).collect();
        if self.part.is_some() {
            numbers.push(IpNumber::IPV6_FRAGMENTATION_HEADER.0);
        }
        numbers.push(protocol);
        let mut extensions: Vec<u8> = self
            .extensions
            .iter()
            .zip(&numbers[1..])
            .flat_map(|(extension, next)| extension.bytes(*next))
            .collect();
        if let Some((offset, more)) = self.part {
            let offset = fragment_offset(offset);
            let header = Ipv6FragmentHeader::new(IpNumber(protocol), offset, more, self.id);
            extensions.extend(header.to_bytes());
        }
        let header = Ipv6Header {
            traffic_class: self.class,
            payload_length: (extensions.len() + payload.len()) as u16,
            next_header: IpNumber(numbers[0]),
            hop_limit: self.ttl,
            source,
            destination: target,
            ..Ipv6Header::default()
        };
        [&header.to_bytes()[..], &extensions, payload].concat()
    }

    /// The protocol's number, and its header and data with the checksum.
    fn transport(&self) -> (u8, Vec<u8>) {
        match &self.body {
            Body::Tcp(header, data) => (6, self.tcp_bytes(header, data)),
            Body::Udp { ports, data, summed } => (17, self.udp_bytes(*ports, data, *summed)),
            Body::Icmp { kind, code, rest, data } => {
                let mut bytes = [&[*kind, *code, 0, 0], &rest[..], data].concat();
                let (number, sum) = match (self.source, self.destination) {
                    (IpAddr::V6(source), IpAddr::V6(destination)) => {
                        let pseudo = crate::check::pseudo6(source, destination, 58, bytes.len());
                        (58, crate::check::sum(&[&pseudo, &bytes]))
                    }
                    _ => (1, crate::check::sum(&[&bytes])),
                };
                bytes[2..4].copy_from_slice(&(!sum).to_be_bytes());
                (number, bytes)
            }
            Body::Other(protocol, bytes) => (*protocol, bytes.clone()),
        }
    }

    fn tcp_bytes(&self, header: &TcpHeader, data: &[u8]) -> Vec<u8> {
        let mut header = header.clone();
        header.checksum = match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), data)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), data)
            }
            _ => panic!("{self:?} is of two families"),
        }
        .expect("a segment is shorter than 64 KiB");
        [&header.to_bytes()[..], data].concat()
    }

    fn udp_bytes(&self, ports: (u16, u16), data: &[u8], summed: bool) -> Vec<u8> {
        let mut header = UdpHeader::without_ipv4_checksum(ports.0, ports.1, data.len())
            .expect("a datagram is shorter than 64 KiB");
        if summed {
            header.checksum = match (self.source, self.destination) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    header.calc_checksum_ipv4_raw(from.octets(), to.octets(), data)
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    header.calc_checksum_ipv6_raw(from.octets(), to.octets(), data)
                }
                _ => panic!("{self:?} is of two families"),
            }
            .expect("a datagram is shorter than 64 KiB");
        }
        [&header.to_bytes()[..], data].concat()
    }
}

fn fragment_offset(bytes: usize) -> IpFragOffset {
    IpFragOffset::try_new((bytes / 8) as u16).expect("an offset has 13 bits")
}
