//! IP packets of our own making, sent from a host as they are.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, TcpHeader, UdpHeader,
};
use socket2::{Domain, Protocol, Socket, Type};
use xtask::lab::Host;

const HOP_LIMIT: u8 = 64;

/// Sends whole IP packets.
pub(crate) struct RawSender(Socket);

impl RawSender {
    /// One on `host`, for the family of `address`.
    pub(crate) fn new(host: &Host, address: IpAddr) -> Result<Self> {
        let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        // With IPPROTO_RAW the sender writes the IP header, see raw(7).
        let raw = Some(Protocol::from(libc::IPPROTO_RAW));
        let socket = host.enter(|| Socket::new(domain, Type::RAW, raw));
        Ok(Self(socket.context("no raw socket")?))
    }

    /// Sends one packet to the destination in its header.
    pub(crate) fn send(&self, packet: &[u8], to: IpAddr) -> Result<()> {
        let sent = self.0.send_to(packet, &SocketAddr::new(to, 0).into());
        sent.map(drop).with_context(|| format!("cannot send {} bytes to {to}", packet.len()))
    }
}

/// A UDP datagram, header included, with its checksum.
pub(crate) fn udp(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Result<Vec<u8>> {
    let header = match (from.ip(), to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let ip = Ipv4Header::new(
                0,
                HOP_LIMIT,
                IpNumber::UDP,
                source.octets(),
                destination.octets(),
            )?;
            UdpHeader::with_ipv4_checksum(from.port(), to.port(), &ip, data)?
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let ip = ipv6(source.octets(), destination.octets(), IpNumber::UDP, 0);
            UdpHeader::with_ipv6_checksum(from.port(), to.port(), &ip, data)?
        }
        _ => anyhow::bail!("{from} and {to} are of two families"),
    };
    Ok([&header.to_bytes(), data].concat())
}

/// The IP fragments of `payload` in order, each with at most `step` bytes of it.
pub(crate) fn fragments(
    from: IpAddr,
    to: IpAddr,
    identification: u16,
    payload: &[u8],
    step: usize,
) -> Result<Vec<Vec<u8>>> {
    assert_eq!(step % 8, 0, "fragments begin at multiples of 8 bytes");
    let pieces = payload.chunks(step).enumerate();
    let fragment = |(index, piece): (usize, &[u8])| -> Result<Vec<u8>> {
        let offset = IpFragOffset::try_new(u16::try_from(index * step / 8)?)?;
        let more = (index + 1) * step < payload.len();
        let header = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let length = u16::try_from(piece.len())?;
                let mut ip =
                    Ipv4Header::new(length, HOP_LIMIT, IpNumber::UDP, from.octets(), to.octets())?;
                ip.dont_fragment = false;
                (ip.identification, ip.fragment_offset, ip.more_fragments) =
                    (identification, offset, more);
                ip.header_checksum = ip.calc_header_checksum();
                ip.to_bytes().to_vec()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let extension =
                    Ipv6FragmentHeader::new(IpNumber::UDP, offset, more, identification.into());
                let length = Ipv6FragmentHeader::LEN + piece.len();
                let next = IpNumber::IPV6_FRAGMENTATION_HEADER;
                let ip = ipv6(from.octets(), to.octets(), next, u16::try_from(length)?);
                [&ip.to_bytes()[..], &extension.to_bytes()].concat()
            }
            _ => anyhow::bail!("{from} and {to} are of two families"),
        };
        Ok([&header, piece].concat())
    };
    pieces.map(fragment).collect()
}

/// A whole IP packet with a UDP datagram.
pub(crate) fn datagram(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Result<Vec<u8>> {
    let payload = udp(from, to, data)?;
    let length = u16::try_from(payload.len())?;
    let header = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let (from, to) = (from.octets(), to.octets());
            Ipv4Header::new(length, HOP_LIMIT, IpNumber::UDP, from, to)?.to_bytes().to_vec()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ipv6(from.octets(), to.octets(), IpNumber::UDP, length).to_bytes().to_vec()
        }
        _ => anyhow::bail!("{from} and {to} are of two families"),
    };
    Ok([header, payload].concat())
}

/// A TCP SYN over IPv4, as a client sends it that has no options.
pub(crate) fn syn(from: SocketAddr, to: SocketAddr, sequence: u32) -> Result<Vec<u8>> {
    segment(from, to, sequence, |tcp| tcp.syn = true)
}

/// A TCP RST over IPv4, of somebody who knows no acknowledgement number.
pub(crate) fn rst(from: SocketAddr, to: SocketAddr, sequence: u32) -> Result<Vec<u8>> {
    segment(from, to, sequence, |tcp| tcp.rst = true)
}

/// A TCP segment over IPv4 without data, with the control bits that `set` sets.
fn segment(
    from: SocketAddr,
    to: SocketAddr,
    sequence: u32,
    set: impl FnOnce(&mut TcpHeader),
) -> Result<Vec<u8>> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else {
        anyhow::bail!("{from} or {to} is not IPv4");
    };
    let length = u16::try_from(TcpHeader::MIN_LEN)?;
    let ip =
        Ipv4Header::new(length, HOP_LIMIT, IpNumber::TCP, source.octets(), destination.octets())?;
    let mut tcp = TcpHeader::new(from.port(), to.port(), sequence, 64_240);
    set(&mut tcp);
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[])?;
    Ok([&ip.to_bytes()[..], &tcp.to_bytes()].concat())
}

fn ipv6(source: [u8; 16], destination: [u8; 16], next: IpNumber, length: u16) -> Ipv6Header {
    Ipv6Header {
        payload_length: length,
        next_header: next,
        hop_limit: HOP_LIMIT,
        source,
        destination,
        ..Ipv6Header::default()
    }
}
