//! Frames of TCP, UDP and ICMP errors, and the templates of many flows' frames.

use std::net::{IpAddr, SocketAddr};

use redirectd_bench_bpf::{
    Template, fold,
    places::{self, LONGEST},
};

/// Control bits of TCP.
pub(super) const SYN: u8 = 0x02;
/// As [`SYN`].
pub(super) const ACK: u8 = 0x10;

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// The shortest frame, without the FCS.
const SHORTEST: usize = 60;
/// Protocol numbers.
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// MAC addresses, destination first.
pub(super) type Macs = [[u8; 6]; 2];

/// What a packet carries.
#[derive(Debug, Clone, Copy)]
pub(super) enum Transport {
    /// A datagram without payload.
    Udp,
    /// A segment without payload.
    Tcp {
        /// Control bits.
        flags: u8,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
    },
}

/// Where the transport header of a frame with this address is.
pub(super) fn transport_at(address: IpAddr) -> usize {
    ETHERNET + if address.is_ipv4() { 20 } else { 40 }
}

/// A frame from `from` to `to`, both of one family, with right checksums.
pub(super) fn frame(macs: Macs, from: SocketAddr, to: SocketAddr, transport: Transport) -> Vec<u8> {
    let (protocol, mut segment) = match transport {
        Transport::Udp => (UDP, vec![0; 8]),
        Transport::Tcp { flags, sequence, acknowledgement } => {
            let mut segment = vec![0; 20];
            segment[4..8].copy_from_slice(&sequence.to_be_bytes());
            segment[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
            segment[12] = 5 << 4;
            segment[13] = flags;
            segment[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
            (TCP, segment)
        }
    };
    let length = segment.len() as u16;
    segment[..2].copy_from_slice(&from.port().to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    if protocol == UDP {
        segment[4..6].copy_from_slice(&length.to_be_bytes());
    }
    let pseudo = words(&octets(from.ip())) + words(&octets(to.ip()));
    let check = !fold(pseudo + u32::from(protocol) + u32::from(length) + words(&segment));
    let at = if protocol == UDP { 6 } else { 16 };
    segment[at..at + 2].copy_from_slice(&check.to_be_bytes());
    let mut frame = headers(macs, from.ip(), to.ip(), protocol, length);
    frame.extend(segment);
    frame.resize(frame.len().max(SHORTEST), 0);
    frame
}

/// An ICMP error from `by` to `home`: that home's segment from `from` to `to`
/// could not be delivered. It quotes as much of it as every router does.
fn icmp_error(macs: Macs, by: IpAddr, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let segment = Transport::Tcp { flags: ACK, sequence: 1, acknowledgement: 1 };
    let quoted = &frame(macs, from, to, segment)[ETHERNET..ETHERNET + 28];
    // Destination unreachable: host unreachable.
    let mut message = vec![3, 1, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    let check = !fold(words(&message));
    message[2..4].copy_from_slice(&check.to_be_bytes());
    let mut frame = headers(macs, by, from.ip(), ICMP, message.len() as u16);
    frame.extend(message);
    frame
}

/// Ethernet and IP headers around `length` bytes.
fn headers(macs: Macs, from: IpAddr, to: IpAddr, protocol: u8, length: u16) -> Vec<u8> {
    let mut header = macs.concat();
    if from.is_ipv4() {
        header.extend([0x08, 0x00, 0x45, 0]);
        header.extend((length + 20).to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    } else {
        header.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        header.extend(length.to_be_bytes());
        header.extend([protocol, 64]);
    }
    header.extend(octets(from));
    header.extend(octets(to));
    if from.is_ipv4() {
        let check = !fold(words(&header[ETHERNET..]));
        header[24..26].copy_from_slice(&check.to_be_bytes());
    }
    header
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().into(),
        IpAddr::V6(v6) => v6.octets().into(),
    }
}

/// The sum of big-endian words; an even number of bytes.
fn words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

/// The flows of a template: how many targets, how many flows to each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    /// Peer addresses, and home ports.
    pub(super) targets: u32,
    /// Peer ports at each.
    pub(super) per_target: u32,
}

/// Frames like that of `first` for `spread` flows, which begin with the one
/// between `peer` and `home`.
fn template(
    kind: u32,
    first: &[u8],
    (peer, home): (SocketAddr, SocketAddr),
    spread: Spread,
) -> Template {
    let at = places::OF[kind as usize];
    assert_eq!(first.len(), at.length, "the frame is of another kind");
    let mut frame = [0; LONGEST];
    frame[..first.len()].copy_from_slice(first);
    let low = words(&first[at.peer..at.peer + 2]);
    // A one's complement sum: what the words add up to is what the checksum lacks.
    let checked = |check: usize| u32::from(!u16::from_be_bytes([first[check], first[check + 1]]));
    let less = |sum: u32, parts: u32| sum + 0xffff * 4 - parts;
    let ports = u32::from(peer.port()) + u32::from(home.port());
    let in_sum = if at.peer_in_sum { low } else { 0 };
    Template {
        frame,
        kind,
        targets: spread.targets,
        per_target: spread.per_target,
        peer: low,
        sum: less(checked(at.check), ports + in_sum),
        ip_sum: if at.ip_check == 0 { 0 } else { less(checked(at.ip_check), low) },
        peer_port: peer.port().into(),
        home_port: home.port().into(),
    }
}

/// Frames of TCP, with these control bits, from `peer` and the addresses and
/// ports after it to `home` and the ports after it.
pub(super) fn tcp(
    macs: Macs,
    peer: SocketAddr,
    home: SocketAddr,
    flags: u8,
    spread: Spread,
) -> Template {
    let segment = Transport::Tcp { flags, sequence: 101, acknowledgement: 501 };
    let kind = if home.is_ipv4() { places::TCP4 } else { places::TCP6 };
    template(kind, &frame(macs, peer, home, segment), (peer, home), spread)
}

/// As [`tcp`], of UDP over IPv4.
pub(super) fn udp(macs: Macs, peer: SocketAddr, home: SocketAddr, spread: Spread) -> Template {
    template(places::UDP4, &frame(macs, peer, home, Transport::Udp), (peer, home), spread)
}

/// ICMP errors from a router `by` about what home sent to `peer`, IPv4.
pub(super) fn icmp(macs: Macs, by: IpAddr, peer: SocketAddr, home: SocketAddr) -> Template {
    let spread = Spread { targets: 1, per_target: 1 };
    template(places::ICMP4, &icmp_error(macs, by, home, peer), (peer, home), spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: Macs = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// What the wrapper makes of a template for one flow.
    fn made(template: &Template, target: u32, flow: u32) -> Vec<u8> {
        let at = places::OF[template.kind as usize];
        let mut frame = template.frame[..at.length].to_vec();
        let mut put = |at: usize, word: u32| {
            frame[at..at + 2].copy_from_slice(&(word as u16).to_be_bytes());
        };
        let peer = template.peer + target;
        let (peer_port, home_port) = (template.peer_port + flow, template.home_port + target);
        put(at.peer, peer);
        put(at.peer_port, peer_port);
        put(at.home_port, home_port);
        let in_sum = if at.peer_in_sum { peer } else { 0 };
        put(at.check, u32::from(!fold(template.sum + peer_port + home_port + in_sum)));
        if at.ip_check != 0 {
            put(at.ip_check, u32::from(!fold(template.ip_sum + peer)));
        }
        frame
    }

    #[test]
    fn other_flows_of_a_template_are_frames_of_their_own() {
        let spread = Spread { targets: 4, per_target: 1_000 };
        let segment = Transport::Tcp { flags: ACK, sequence: 101, acknowledgement: 501 };
        for (peer, home, others) in [
            ("198.18.0.2:10000", "198.18.0.1:9000", ("198.18.0.5:10999", "198.18.0.1:9003")),
            ("[2001:2::2]:10000", "[2001:2::1]:9000", ("[2001:2::5]:10999", "[2001:2::1]:9003")),
        ] {
            let template = tcp(MACS, address(peer), address(home), ACK, spread);
            let expected = frame(MACS, address(others.0), address(others.1), segment);
            assert_eq!(made(&template, 3, 999), expected);
        }
        let template = udp(MACS, address("198.18.0.2:10000"), address("198.18.0.1:9000"), spread);
        let other =
            frame(MACS, address("198.18.0.3:10500"), address("198.18.0.1:9001"), Transport::Udp);
        assert_eq!(made(&template, 1, 500), other);
    }

    #[test]
    fn an_icmp_error_quotes_what_home_sent_and_its_sums_are_right() {
        let by = "198.18.0.9".parse().unwrap();
        let (peer, home) = (address("198.18.0.2:10000"), address("198.18.0.1:9000"));
        let frame = made(&icmp(MACS, by, peer, home), 0, 0);
        assert_eq!(frame, icmp_error(MACS, by, home, peer));
        // Outer header, message, quoted header.
        for (from, to) in [(14, 34), (34, 70), (42, 62)] {
            assert_eq!(fold(words(&frame[from..to])), 0xffff, "{from} to {to}");
        }
        assert_eq!(frame[54..58], [198, 18, 0, 1]);
        assert_eq!(frame[62..66], [0x23, 0x28, 0x27, 0x10]);
    }

    #[test]
    fn sums_of_frames_are_right() {
        let (peer, home) = (address("198.18.0.2:10000"), address("198.18.0.1:9000"));
        let frame =
            frame(MACS, peer, home, Transport::Tcp { flags: SYN, sequence: 7, acknowledgement: 0 });
        assert_eq!(fold(words(&frame[14..34])), 0xffff);
        assert_eq!(fold(words(&frame[26..54]) + 6 + 20), 0xffff);
    }
}
