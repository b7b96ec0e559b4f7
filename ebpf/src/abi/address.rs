//! IP addresses of both families as the programs handle them.

use crate::csum::Delta;

/// An IP address as it lies in a packet.
pub trait Addr: Copy + Eq {
    /// What changes in a checksum when an address `self` becomes `new`.
    fn delta(self, new: Self) -> Delta;

    /// All of it in 32 bits; an IPv4 address in four words, the first of which
    /// it is, comes out as the address.
    fn fold(self) -> u32;
}

impl Addr for u32 {
    #[inline(always)]
    fn delta(self, new: Self) -> Delta {
        Delta::long(self, new)
    }

    #[inline(always)]
    fn fold(self) -> u32 {
        self
    }
}

impl Addr for [u32; 4] {
    #[inline(always)]
    fn delta(self, new: Self) -> Delta {
        Delta::long(self[0], new[0])
            .and(Delta::long(self[1], new[1]))
            .and(Delta::long(self[2], new[2]))
            .and(Delta::long(self[3], new[3]))
    }

    #[inline(always)]
    fn fold(self) -> u32 {
        // Three odd numbers, so that words that change places change the result.
        self[0]
            ^ self[1].wrapping_mul(0x85eb_ca6b)
            ^ self[2].wrapping_mul(0xc2b2_ae35)
            ^ self[3].wrapping_mul(0x27d4_eb2f)
    }
}
