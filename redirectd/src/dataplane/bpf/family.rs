//! Addresses between `std` and the maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::Pod;
use redirectd_ebpf::abi::Addr;

/// An address as one of the two families' maps has it.
pub(super) trait MapAddr: Addr + Pod {
    /// Bits of an address.
    const BITS: u32;
    /// The address, if it is of this family.
    fn from_ip(ip: IpAddr) -> Option<Self>;
    /// The way back.
    fn to_ip(self) -> IpAddr;
}

impl MapAddr for u32 {
    const BITS: u32 = 32;

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(u32::from_ne_bytes(ip.octets())),
            IpAddr::V6(_) => None,
        }
    }

    fn to_ip(self) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(self.to_ne_bytes()))
    }
}

impl MapAddr for [u32; 4] {
    const BITS: u32 = 128;

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(words_of(ip)),
        }
    }

    fn to_ip(self) -> IpAddr {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(4).zip(self) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        IpAddr::V6(Ipv6Addr::from(octets))
    }
}

fn words_of(ip: Ipv6Addr) -> [u32; 4] {
    let octets = ip.octets();
    std::array::from_fn(|word| {
        let at = word * 4;
        u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
    })
}

/// The address as four words, IPv4 in the first.
pub(super) fn words(ip: IpAddr) -> [u32; 4] {
    match ip {
        IpAddr::V4(ip) => [u32::from_ne_bytes(ip.octets()), 0, 0, 0],
        IpAddr::V6(ip) => words_of(ip),
    }
}

/// The address that `words` has, IPv4 or IPv6 by `version`.
pub(super) fn ip(words: [u32; 4], version: u8) -> IpAddr {
    if version == 4 { words[0].to_ip() } else { words.to_ip() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        for text in ["192.0.2.1", "2001:db8::1:2:3"] {
            let address: IpAddr = text.parse().unwrap();
            let version = if address.is_ipv4() { 4 } else { 6 };
            assert_eq!(ip(words(address), version), address);
        }
    }

    #[test]
    fn an_address_is_of_one_family() {
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(<u32 as MapAddr>::from_ip(v4).map(MapAddr::to_ip), Some(v4));
        assert_eq!(<[u32; 4] as MapAddr>::from_ip(v4), None);
    }
}
