//! The set of endpoints that packets of flows come from or go to, as a table of
//! bits: where the bit of an endpoint stands. Several endpoints may share one,
//! so a bit that is set means "perhaps", and one that is not means "no".

use crate::abi::Addr;

/// The set has two to the power of this bits.
const BITS: u32 = 20;

/// How many words of 64 bits it has.
pub const WORDS: u32 = 1 << (BITS - 6);

/// Where an endpoint's bit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(u32);

impl Place {
    /// The place of `address` and `port` (both in network byte order) with the
    /// IP protocol number `protocol`.
    #[inline(always)]
    #[must_use]
    pub fn of<A: Addr>(address: A, port: u16, protocol: u32) -> Self {
        let endpoint =
            u64::from(address.fold()) << 32 | u64::from(port) << 16 | u64::from(protocol);
        // Fibonacci hashing: the upper bits depend on all of the endpoint's.
        Self((endpoint.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as u32)
    }

    /// Index of its word, less than [`WORDS`].
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u32 {
        self.0 >> 6
    }

    /// Its bit in the word.
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << (self.0 & 63)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::wire::proto;

    const TCP: u32 = proto::TCP as u32;
    const UDP: u32 = proto::UDP as u32;

    fn v4(last: u8) -> u32 {
        u32::from_ne_bytes([192, 0, 2, last])
    }

    fn v6(last: u8) -> [u32; 4] {
        let end = u32::from_ne_bytes([0, 0, 0, last]);
        [u32::from_ne_bytes([0x20, 0x01, 0x0d, 0xb8]), 0, 0, end]
    }

    #[test]
    fn each_part_of_an_endpoint_counts() {
        let port = 80_u16.to_be();
        let place = Place::of(v4(1), port, TCP);
        assert_ne!(place, Place::of(v4(2), port, TCP));
        assert_ne!(place, Place::of(v4(1), 81_u16.to_be(), TCP));
        assert_ne!(place, Place::of(v4(1), port, UDP));
        assert_ne!(Place::of(v6(1), port, TCP), Place::of(v6(2), port, TCP));
    }

    /// What user space keeps as four words has the place of the one.
    #[test]
    fn an_ipv4_address_may_be_in_four_words() {
        let port = 443_u16.to_be();
        assert_eq!(Place::of([v4(9), 0, 0, 0], port, TCP), Place::of(v4(9), port, TCP));
    }

    /// Neighbouring addresses with neighbouring ports, as ranges have them.
    #[test]
    fn endpoints_are_spread() {
        let mut places = HashSet::new();
        let mut words = HashSet::new();
        for last in 0..64 {
            for port in 8000..8100_u16 {
                for place in
                    [Place::of(v4(last), port.to_be(), TCP), Place::of(v6(last), port.to_be(), UDP)]
                {
                    assert!(place.word() < WORDS);
                    words.insert(place.word());
                    places.insert(place);
                }
            }
        }
        // Of 12,800 thrown at random into so many places, 78 would share one.
        assert!(places.len() > 12_500, "{} places", places.len());
        assert!(words.len() > WORDS as usize / 3, "{} words", words.len());
    }
}
