//! The Internet checksum, kept up to date incrementally (RFC 1071, RFC 1624).
//!
//! All sums are ones' complement over 16-bit words *as they lie in memory*: the
//! sum does not care about byte order as long as every word is read the same
//! way (RFC 1071, section 2 (B)), so nothing here swaps bytes.
//!
//! In ones' complement 0x0000 and 0xffff are the same number. A sender that
//! computes a checksum from scratch never writes 0xffff into a TCP, ICMP or
//! IPv4 header field; for such fields every operation here is reversible to the
//! bit. UDP is the exception with its own rule, see [`Check::udp`].

/// A difference between two states of a packet, as something that can be added
/// to a checksum: the sum of every changed word, new minus old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Delta(pub u16);

impl Delta {
    /// Nothing has changed.
    pub const NONE: Self = Self(0);

    /// One word was `old` and is now `new`.
    #[inline(always)]
    #[must_use]
    pub const fn word(old: u16, new: u16) -> Self {
        Self(fold(!old as u32 + new as u32))
    }

    /// Two adjacent words, aligned to a word, were `old` and are now `new`.
    #[inline(always)]
    #[must_use]
    pub const fn long(old: u32, new: u32) -> Self {
        Self(fold(halves(!old) + halves(new)))
    }

    /// Both changes.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(fold(self.0 as u32 + other.0 as u32))
    }

    /// The change that takes this one back.
    #[inline(always)]
    #[must_use]
    pub const fn undone(self) -> Self {
        Self(!self.0)
    }

    /// Whether adding it to a checksum leaves the checksum as it is.
    #[inline(always)]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0 || self.0 == 0xffff
    }
}

/// A checksum field as it lies in memory.
pub struct Check;

impl Check {
    /// The checksum of TCP, ICMP, ICMPv6 or an IPv4 header after `delta`
    /// (RFC 1624, equation 3).
    #[inline(always)]
    #[must_use]
    pub const fn after(check: u16, delta: Delta) -> u16 {
        // −0 is no change; adding it to a sum of +0 would yet flip the bits.
        if delta.0 == 0xffff {
            return check;
        }
        !fold(!check as u32 + delta.0 as u32)
    }

    /// The checksum of UDP after `delta`: none (0) stays none, and one that
    /// comes out as 0 is sent as 0xffff (RFC 768).
    #[inline(always)]
    #[must_use]
    pub const fn udp(check: u16, delta: Delta) -> u16 {
        if check == 0 {
            return 0;
        }
        match Self::after(check, delta) {
            0 => 0xffff,
            check => check,
        }
    }
}

/// The sum of `bytes` as words, folded; an odd last byte counts as a word whose
/// second byte is zero (RFC 1071). The checksum field is its complement.
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    let mut total = 0u32;
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        total += u32::from(u16::from_ne_bytes([word[0], word[1]]));
        total = u32::from(fold(total));
    }
    if let [last] = words.remainder() {
        total += u32::from(u16::from_ne_bytes([*last, 0]));
    }
    fold(total)
}

/// Folds carries back in until the sum fits a word.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Both words of `long`, added.
#[inline(always)]
#[must_use]
pub const fn halves(long: u32) -> u32 {
    (long & 0xffff) + (long >> 16)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// RFC 1624, section 4: the example that equation 2 gets wrong.
    #[test]
    fn rfc_1624_example() {
        let check = Check::after(0xdd2f, Delta::word(0x5555, 0x3285));
        assert_eq!(check, 0x0000);
    }

    #[test]
    fn udp_without_checksum_stays_without() {
        assert_eq!(Check::udp(0, Delta::word(1, 2)), 0);
    }

    #[test]
    fn udp_checksum_never_becomes_none() {
        // The delta that makes the sum all ones, so that its complement is 0.
        assert_eq!(Check::udp(0xdd2f, Delta::word(0x5555, 0x3285)), 0xffff);
    }

    #[test]
    fn an_odd_byte_is_padded_behind() {
        assert_eq!(sum(&[0x12]), sum(&[0x12, 0x00]));
        assert_ne!(sum(&[0x12]), sum(&[0x00, 0x12]));
    }

    proptest! {
        /// Incremental equals from scratch, whatever words change.
        #[test]
        fn incremental_equals_full(
            mut words in proptest::collection::vec(any::<u16>(), 2..40),
            at in any::<proptest::sample::Index>(),
            new in any::<u16>(),
        ) {
            words[0] |= 1; // a packet is never all zeroes
            let bytes = |words: &[u16]| words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<_>>();
            let before = !sum(&bytes(&words));
            let at = 1 + at.index(words.len() - 1);
            let old = core::mem::replace(&mut words[at], new);
            prop_assert_eq!(Check::after(before, Delta::word(old, new)), !sum(&bytes(&words)));
        }

        /// A change and its undoing leave the field as it was.
        #[test]
        fn undone_is_identity(check in 0u16..0xffff, old in any::<u32>(), new in any::<u32>()) {
            let delta = Delta::long(old, new);
            let there = Check::after(check, delta);
            prop_assert_eq!(Check::after(there, delta.undone()), check);
            prop_assert_eq!(Check::after(there, Delta::long(new, old)), check);
        }

        #[test]
        fn long_is_two_words(old in any::<[u16; 2]>(), new in any::<[u16; 2]>()) {
            let long = |w: [u16; 2]| u32::from(w[0]) | u32::from(w[1]) << 16;
            let both = Delta::word(old[0], new[0]).and(Delta::word(old[1], new[1]));
            let check = Check::after(0x1234, Delta::long(long(old), long(new)));
            prop_assert_eq!(check, Check::after(0x1234, both));
        }
    }
}
