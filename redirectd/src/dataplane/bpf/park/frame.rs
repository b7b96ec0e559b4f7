//! What must be known of a held frame: which flow it is of, and what the kernel
//! must be told besides its bytes to take it as it came. Pure.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use redirectd_ebpf::wire::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, proto};

use super::retransmission::Segments;
use crate::rule::Protocol;

/// Length of `struct virtio_net_hdr` (linux/virtio_net.h), the form in which a
/// packet socket takes what a frame's bytes do not say.
pub(super) const OFFLOAD_BYTES: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum is left to hardware.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4` (Linux 6.2).
const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`: the window was reduced in the first segment.
const GSO_ECN: u8 = 0x80;
/// TCP's CWR bit (RFC 3168).
const CWR: u8 = 0x80;
/// TCP's other bits that matter here (RFC 9293, section 3.1).
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;

/// Length of an Ethernet header.
const ETHERNET: usize = 14;

/// The connection that a frame is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) protocol: Protocol,
    pub(super) peer: (IpAddr, u16),
    pub(super) home: (IpAddr, u16),
    /// Whether the frame is an ICMP error about it.
    pub(super) error: bool,
    /// The sequence numbers that it takes, if it is TCP's, and resets nothing.
    pub(super) segments: Option<Segments>,
}

/// An IP packet, and where its parts are in what it lies in.
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// Where the transport header begins.
    l4: usize,
    /// Where the IP packet ends.
    end: usize,
    /// Whether it is part of a datagram only.
    fragment: bool,
    /// Whether it is a part without the transport header.
    later: bool,
}

/// A frame without its tag, as it came, but for what is said in `vlan`: EtherType,
/// then tag; 0 for none. Returns the frame to be sent.
pub(super) fn tagged(frame: &[u8], vlan: u32) -> Vec<u8> {
    if vlan == 0 || frame.len() < ETHERNET {
        return frame.to_vec();
    }
    [&frame[..12], &vlan.to_be_bytes(), &frame[12..]].concat()
}

/// What the kernel must be told of `frame` to take it as it came; writes the
/// checksum that goes with it. `segment` is the payload of each segment of a
/// batch, or 0.
pub(super) fn offload(frame: &mut [u8], segment: u32) -> [u8; OFFLOAD_BYTES] {
    let none = [0; OFFLOAD_BYTES];
    let Some(packet) = ethernet(frame) else { return none };
    if packet.fragment || packet.end > frame.len() {
        return none;
    }
    let tcp = packet.protocol == proto::TCP;
    let offset = match packet.protocol {
        proto::TCP => 16,
        proto::UDP => 6,
        _ => return none,
    };
    let place = packet.l4 + offset;
    let Some(field) = frame.get(place..place + 2) else { return none };
    let field = u16::from_be_bytes([field[0], field[1]]);
    let pseudo = pseudo_sum(&packet);
    if segment == 0 && !is_partial(&frame[packet.l4..packet.end], field, pseudo, tcp) {
        return none;
    }
    frame[place..place + 2].copy_from_slice(&pseudo.to_be_bytes());
    let (kind, header) = match (segment, tcp) {
        (0, _) => (0, 0),
        (_, true) => {
            let flags = frame.get(packet.l4 + 13).copied().unwrap_or(0);
            let length = frame.get(packet.l4 + 12).map_or(20, |byte| usize::from(byte >> 4) * 4);
            let kind = if packet.source.is_ipv4() { GSO_TCPV4 } else { GSO_TCPV6 };
            (if flags & CWR == 0 { kind } else { kind | GSO_ECN }, packet.l4 + length)
        }
        (_, false) => (GSO_UDP_L4, packet.l4 + 8),
    };
    let mut header_bytes = none;
    header_bytes[0] = NEEDS_CSUM;
    header_bytes[1] = kind;
    let numbers = [header as u16, segment as u16, packet.l4 as u16, offset as u16];
    for (bytes, number) in header_bytes[2..].chunks_exact_mut(2).zip(numbers) {
        bytes.copy_from_slice(&number.to_ne_bytes());
    }
    header_bytes
}

/// Whether the checksum `field` of the transport packet `bytes` is left to
/// hardware: it is not right, but is that of the pseudo-header alone.
fn is_partial(bytes: &[u8], field: u16, pseudo: u16, tcp: bool) -> bool {
    let absent = !tcp && field == 0;
    !absent && field == pseudo && sum(bytes, u64::from(pseudo)) != 0xffff
}

/// Which connection a held frame is of. An ICMP error is of the one it is about.
/// `segment` is the payload of each segment of a batch, or 0. The frame may be cut
/// short behind its headers.
pub(super) fn origin(frame: &[u8], segment: u32) -> Option<Origin> {
    let packet = ethernet(frame)?;
    if packet.later {
        return None;
    }
    match packet.protocol {
        proto::ICMP | proto::ICMPV6 => {
            let quote = frame.get(packet.l4 + 8..)?;
            let about = ip(quote, 0, packet.source.is_ipv4())?;
            let sent = of_transport(quote, &about)?;
            // What is quoted was sent from here: its source is home.
            Some(Origin { peer: sent.home, home: sent.peer, error: true, ..sent })
        }
        _ => {
            let segments = segments(frame, &packet, segment);
            Some(Origin { segments, ..of_transport(frame, &packet)? })
        }
    }
}

/// The sequence numbers of a TCP packet; of the first fragment of one, nothing is
/// known.
fn segments(frame: &[u8], packet: &Packet, each: u32) -> Option<Segments> {
    if packet.protocol != proto::TCP || packet.fragment {
        return None;
    }
    let header: &[u8; 14] = frame.get(packet.l4..packet.l4 + 14)?.try_into().ok()?;
    let begin = packet.l4 + usize::from(header[12] >> 4) * 4;
    let flag = |bit| header[13] & bit != 0;
    (!flag(RST)).then_some(Segments {
        first: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        data: u32::try_from(packet.end.checked_sub(begin)?).ok()?,
        each,
        syn: flag(SYN),
        fin: flag(FIN),
        push: flag(PSH),
    })
}

fn of_transport(bytes: &[u8], packet: &Packet) -> Option<Origin> {
    let protocol = match packet.protocol {
        proto::TCP => Protocol::Tcp,
        proto::UDP => Protocol::Udp,
        _ => return None,
    };
    let port = |at| word(bytes, packet.l4 + at);
    let (peer, home) = ((packet.source, port(0)?), (packet.destination, port(2)?));
    Some(Origin { protocol, peer, home, error: false, segments: None })
}

fn ethernet(frame: &[u8]) -> Option<Packet> {
    let mut l3 = ETHERNET;
    loop {
        let ethertype = word(frame, l3 - 2)?.to_be();
        match ethertype {
            ETHERTYPE_IPV4 => return ip(frame, l3, true),
            ETHERTYPE_IPV6 => return ip(frame, l3, false),
            // Two tags at most, as the programs have it.
            _ if l3 >= ETHERNET + 8 => return None,
            redirectd_ebpf::wire::ETHERTYPE_VLAN | redirectd_ebpf::wire::ETHERTYPE_QINQ => l3 += 4,
            _ => return None,
        }
    }
}

fn ip(bytes: &[u8], l3: usize, version4: bool) -> Option<Packet> {
    if version4 {
        let header: &[u8; 20] = bytes.get(l3..l3 + 20)?.try_into().ok()?;
        let address = |at: usize| IpAddr::from([0, 1, 2, 3].map(|n| header[at + n]));
        let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
        return Some(Packet {
            source: address(12),
            destination: address(16),
            protocol: header[9],
            l4: l3 + usize::from(header[0] & 15) * 4,
            end: l3 + usize::from(u16::from_be_bytes([header[2], header[3]])),
            fragment: fragment != 0,
            later: fragment & 0x1fff != 0,
        });
    }
    let header = bytes.get(l3..l3 + 40)?;
    let address = |at: usize| {
        let octets: Option<[u8; 16]> = header[at..at + 16].try_into().ok();
        octets.map(IpAddr::from)
    };
    let mut packet = Packet {
        source: address(8)?,
        destination: address(24)?,
        protocol: header[6],
        l4: l3 + 40,
        end: l3 + 40 + usize::from(u16::from_be_bytes([header[4], header[5]])),
        fragment: false,
        later: false,
    };
    step_over(bytes, &mut packet)?;
    Some(packet)
}

/// Steps over IPv6 extension headers to the transport's.
fn step_over(bytes: &[u8], packet: &mut Packet) -> Option<()> {
    while !packet.later {
        let next = *bytes.get(packet.l4)?;
        match packet.protocol {
            proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION => {
                packet.l4 += (usize::from(*bytes.get(packet.l4 + 1)?) + 1) * 8;
            }
            proto::FRAGMENT => {
                packet.later = word(bytes, packet.l4 + 2)? & 0xfff8 != 0;
                packet.fragment = true;
                packet.l4 += 8;
            }
            _ => break,
        }
        packet.protocol = next;
    }
    Some(())
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The ones' complement sum of the pseudo-header (RFC 9293, section 3.1; RFC
/// 8200, section 8.1).
fn pseudo_sum(packet: &Packet) -> u16 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let addresses = [octets(packet.source), octets(packet.destination)].concat();
    sum(&addresses, (packet.end - packet.l4) as u64 + u64::from(packet.protocol))
}

/// The ones' complement sum of `bytes` and `start`.
fn sum(bytes: &[u8], start: u64) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum = start + words.sum::<u64>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
