//! Next hops that flows share: what the kernel said last about the way between
//! two addresses.
//!
//! A route look-up takes longer than all the rest of a packet's way. A flow
//! asks itself when it begins; when its answer is half a second old, another
//! flow between the same addresses has mostly asked again meanwhile, and if that
//! one was told what this one knows, this one believes it too. Ports may matter
//! to routes (equal-cost paths, policy rules), hence the conditions: a flow
//! believes only what it was once told itself, and asks itself now and then.

use crate::abi::{Addr, NextHop};

/// The table has two to the power of this places.
const BITS: u32 = 10;

/// How many places it has.
pub const PLACES: u32 = 1 << BITS;

/// One in this many times, a flow asks itself whatever others were told.
pub const OWN_TURN: u32 = 16;

/// What one flow was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct SharedHop<A> {
    /// Source address of the translated packets, network byte order.
    pub source: A,
    /// Destination address of the translated packets, network byte order.
    pub destination: A,
    /// The answer, and when it was given.
    pub hop: NextHop,
}

const _: () = {
    assert!(size_of::<SharedHop<u32>>() == 32);
    assert!(size_of::<SharedHop<[u32; 4]>>() == 56);
};

impl<A: Addr> SharedHop<A> {
    /// Whether a flow from `source` to `destination` that was once told `own`
    /// would be told the same by the kernel's answer in here.
    #[inline(always)]
    #[must_use]
    pub fn confirms(&self, source: A, destination: A, own: &NextHop) -> bool {
        self.source == source
            && self.destination == destination
            && self.hop.destination == own.destination
            && self.hop.source == own.source
            && self.hop.ifindex == own.ifindex
            && self.hop.mtu == own.mtu
            && self.hop.kind == own.kind
    }
}

/// The place for packets from `source` to `destination`, less than [`PLACES`].
#[inline(always)]
#[must_use]
pub fn place<A: Addr>(source: A, destination: A) -> u32 {
    // The byte that differs most among neighbours comes last in an address, and
    // must be the lowest here: in Fibonacci hashing the upper bits of the product
    // depend on those below them.
    let addresses =
        u64::from(u32::from_be(source.fold())) << 32 | u64::from(u32::from_be(destination.fold()));
    (addresses.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as u32
}

/// Whether a flow with these ports asks itself at `clock` (see
/// [`NextHop::checked`]): once in [`OWN_TURN`] times, and at the same moment
/// not all flows.
#[inline(always)]
#[must_use]
pub fn is_own_turn(source_port: u16, destination_port: u16, clock: u32) -> bool {
    let ports = u32::from(source_port) << 16 | u32::from(destination_port);
    let number = (ports.wrapping_mul(0x85eb_ca6b) ^ clock).wrapping_mul(0x9e37_79b9);
    // The upper bits, which depend on all of the clock's.
    number >> (u32::BITS - OWN_TURN.ilog2()) == 0
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, vec, vec::Vec};

    use super::*;
    use crate::abi::hop_kind;

    fn v4(last: u8) -> u32 {
        u32::from_ne_bytes([192, 0, 2, last])
    }

    fn told() -> NextHop {
        NextHop {
            destination: [2, 0, 0, 0, 0, 1],
            source: [2, 0, 0, 0, 0, 2],
            ifindex: 3,
            mtu: 1500,
            kind: hop_kind::ETHERNET,
            checked: 1000,
        }
    }

    #[test]
    fn the_same_answer_confirms_whenever_it_was_given() {
        let shared = SharedHop { source: v4(1), destination: v4(2), hop: told() };
        let own = NextHop { checked: 17, ..told() };
        assert!(shared.confirms(v4(1), v4(2), &own));
    }

    #[test]
    fn another_way_does_not() {
        let shared = SharedHop { source: v4(1), destination: v4(2), hop: told() };
        assert!(!shared.confirms(v4(3), v4(2), &told()));
        assert!(!shared.confirms(v4(1), v4(3), &told()));
        for own in [
            NextHop { destination: [9; 6], ..told() },
            NextHop { source: [9; 6], ..told() },
            NextHop { ifindex: 9, ..told() },
            NextHop { mtu: 9000, ..told() },
            NextHop { kind: hop_kind::ETHERNET_XDP, ..told() },
        ] {
            assert!(!shared.confirms(v4(1), v4(2), &own), "{own:?}");
        }
    }

    /// A place nobody has written to is no answer: its addresses are all zero,
    /// and so is the kind.
    #[test]
    fn an_empty_place_confirms_nothing() {
        assert!(!SharedHop::default().confirms(0_u32, 0, &told()));
    }

    #[test]
    fn places_are_spread() {
        let mut places = HashSet::new();
        for source in 0..16 {
            for destination in 0..16 {
                let place = place(v4(source), v4(destination));
                assert!(place < PLACES);
                places.insert(place);
            }
        }
        // Of 256 thrown at random into 1,024, some 30 would share one.
        assert!(places.len() > 200, "{} places", places.len());
    }

    /// Each flow's turn comes, about as often as it should, and flows take turns.
    #[test]
    fn every_flow_has_its_turn() {
        const TIMES: u32 = 1600;
        let mut by_time = vec![0; TIMES as usize];
        // At the start of a machine, after hours, after weeks.
        for start in [0, 13 << 20, 1 << 30] {
            for (port, other) in
                (0..200_u16).map(|n| (40_000 + n, if n < 100 { 80_u16 } else { 8080 }))
            {
                let (port, other) = (port.to_be(), other.to_be());
                // The age at which a flow asks, in the clock's unit.
                let turns: Vec<_> = (0..TIMES)
                    .filter(|time| is_own_turn(port, other, (start + time * 477) | 1))
                    .collect();
                assert!((50..=200).contains(&turns.len()), "{port:04x}: {} turns", turns.len());
                let longest = turns.windows(2).map(|pair| pair[1] - pair[0]).max();
                assert!(longest < Some(200), "{port:04x}: waits {longest:?} times");
                turns.iter().for_each(|&time| by_time[time as usize] += 1);
            }
        }
        let most = by_time.iter().max();
        assert!(most < Some(&200), "{most:?} of 600 at once");
    }
}
