//! Translation of headers: pure, without maps or packets, the same code in the
//! programs and on the host.
//!
//! A translation turns one [`Tuple`] into another. What it does to checksums is
//! known as soon as both are, so it is worked out once for a flow
//! ([`Deltas::between`]) and only added for each packet.

use crate::{
    abi::{Addr, Tuple},
    csum::{Check, Delta},
    wire::{Ipv4, Ipv6, Ports, Tcp, Udp},
};

/// What a translation changes in checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deltas {
    /// By the addresses: in the IPv4 header, and in the pseudo-header of the
    /// transport's checksum.
    pub addresses: Delta,
    /// By the ports: in the transport's checksum only.
    pub ports: Delta,
}

impl Deltas {
    /// What changes when `from` becomes `to`.
    #[inline(always)]
    #[must_use]
    pub fn between<A: Addr>(from: &Tuple<A>, to: &Tuple<A>) -> Self {
        Self {
            addresses: from.source.delta(to.source).and(from.destination.delta(to.destination)),
            ports: Delta::word(from.source_port, to.source_port)
                .and(Delta::word(from.destination_port, to.destination_port)),
        }
    }

    /// Both, as the transport's checksum sees them.
    #[inline(always)]
    #[must_use]
    pub const fn transport(&self) -> Delta {
        self.addresses.and(self.ports)
    }
}

/// Gives an IPv4 header new addresses; `addresses` is what that changes.
#[inline(always)]
pub fn ipv4(header: &mut Ipv4, source: u32, destination: u32, addresses: Delta) {
    header.source = source;
    header.destination = destination;
    header.check = Check::after(header.check, addresses);
}

/// Takes one off the time to live (RFC 1812, section 5.3.1). The caller has
/// made sure that it is more than 1.
#[inline(always)]
pub fn ipv4_hop(header: &mut Ipv4) {
    let old = u16::from_ne_bytes([header.ttl, header.protocol]);
    header.ttl = header.ttl.wrapping_sub(1);
    let new = u16::from_ne_bytes([header.ttl, header.protocol]);
    header.check = Check::after(header.check, Delta::word(old, new));
}

/// Gives an IPv4 header another identification.
#[inline(always)]
pub fn ipv4_id(header: &mut Ipv4, id: u16) {
    let old = header.id;
    header.id = id;
    header.check = Check::after(header.check, Delta::word(old, id));
}

/// Gives an IPv6 header new addresses.
#[inline(always)]
pub fn ipv6(header: &mut Ipv6, source: [u32; 4], destination: [u32; 4]) {
    header.source = source;
    header.destination = destination;
}

/// Takes one off the hop limit (RFC 8200, section 3). The caller has made sure
/// that it is more than 1.
#[inline(always)]
pub fn ipv6_hop(header: &mut Ipv6) {
    header.hop_limit = header.hop_limit.wrapping_sub(1);
}

/// Gives a transport header new ports.
#[inline(always)]
pub fn ports(header: &mut Ports, source: u16, destination: u16) {
    header.source = source;
    header.destination = destination;
}

/// Brings a TCP checksum up to date.
#[inline(always)]
pub fn tcp_check(header: &mut Tcp, change: Delta) {
    header.check = Check::after(header.check, change);
}

/// Brings a UDP checksum up to date.
#[inline(always)]
pub fn udp_check(header: &mut Udp, change: Delta) {
    header.check = Check::udp(header.check, change);
}

/// What the translation of a quoted packet changes in the checksum of the ICMP
/// message around it, when the quoted transport checksum went from `before` to
/// `after` (equal if the quote is too short to have one).
///
/// The quoted IPv4 header cannot change it: its own checksum takes up what its
/// addresses change. IPv6 has no such checksum, so there the addresses count;
/// give [`Delta::NONE`] for IPv4.
#[inline(always)]
#[must_use]
pub const fn quote_delta(ipv6_addresses: Delta, ports: Delta, before: u16, after: u16) -> Delta {
    ipv6_addresses.and(ports).and(Delta::word(before, after))
}

/// Examples; what holds for all packets is in `tests/properties`.
#[cfg(test)]
mod tests {
    use super::*;

    const PEER_TO_HOME: Tuple<u32> = Tuple {
        source: u32::from_ne_bytes([198, 51, 100, 7]),
        destination: u32::from_ne_bytes([192, 0, 2, 1]),
        source_port: 40_000_u16.to_be(),
        destination_port: 80_u16.to_be(),
    };
    const HOME_TO_HOST: Tuple<u32> = Tuple {
        source: u32::from_ne_bytes([192, 0, 2, 1]),
        destination: u32::from_ne_bytes([10, 0, 0, 3]),
        source_port: 40_000_u16.to_be(),
        destination_port: 8080_u16.to_be(),
    };

    /// The header of an empty TCP segment from the peer, as tcpdump shows it.
    const HEADER: Ipv4 = Ipv4 {
        version_ihl: 0x45,
        tos: 0,
        total_length: 40_u16.to_be(),
        id: 0,
        fragment: 0x4000_u16.to_be(),
        ttl: 64,
        protocol: 6,
        check: 0x4e94_u16.to_be(),
        source: PEER_TO_HOME.source,
        destination: PEER_TO_HOME.destination,
    };

    #[test]
    fn a_header_on_its_way_to_the_host() {
        let mut header = HEADER;
        let deltas = Deltas::between(&PEER_TO_HOME, &HOME_TO_HOST);
        ipv4(&mut header, HOME_TO_HOST.source, HOME_TO_HOST.destination, deltas.addresses);
        ipv4_hop(&mut header);
        assert_eq!(
            (header.source, header.destination),
            (HOME_TO_HOST.source, HOME_TO_HOST.destination)
        );
        assert_eq!((header.ttl, u16::from_be(header.check)), (63, 0x6fcc));
    }

    #[test]
    fn what_does_not_change_changes_no_checksum() {
        let deltas = Deltas::between(&PEER_TO_HOME, &PEER_TO_HOME);
        assert!(deltas.transport().is_none());
        let mut header = HEADER;
        ipv4(&mut header, PEER_TO_HOME.source, PEER_TO_HOME.destination, deltas.addresses);
        assert_eq!(header.check, HEADER.check);
    }

    #[test]
    fn udp_without_a_checksum_stays_without() {
        let mut header = Udp { source: 1, destination: 2, length: 8_u16.to_be(), check: 0 };
        udp_check(&mut header, Deltas::between(&PEER_TO_HOME, &HOME_TO_HOST).transport());
        assert_eq!(header.check, 0);
    }

    /// A quote too short to have a transport checksum: only the ports count.
    #[test]
    fn a_short_quote() {
        let ports = Delta::word(80, 8080);
        assert_eq!(quote_delta(Delta::NONE, ports, 0, 0).and(ports.undone()).0, 0xffff);
    }
}
