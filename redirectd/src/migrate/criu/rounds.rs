//! When to stop copying memory ahead; pure.

use std::fmt;

/// The most rounds there are. Each has a folder of one digit.
pub const MOST: usize = 9;
/// So little is soon copied while the processes are frozen, in bytes.
const LITTLE: u64 = 4 << 20;

/// Whether a further round is worth its while, and why not, if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another one.
    Round,
    /// None: what the last one copied is little.
    LittleIsLeft,
    /// None: the processes change their memory as fast as it is copied.
    NoLonger,
    /// None: there have been [`MOST`].
    Enough,
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Round => "another round would gain",
            Self::LittleIsLeft => "the last round copied little",
            Self::NoLonger => "the process changes its memory as fast as it is copied",
            Self::Enough => "there are no more rounds than this",
        })
    }
}

/// What is next after rounds that copied so many bytes each.
///
/// What a round copies was written to while the one before it went on, so it tells how
/// much the next one will have. One that copies more than three quarters of what the
/// one before did gains too little.
#[must_use]
pub fn next(copied: &[u64]) -> Next {
    match *copied {
        [] => Next::Round,
        [.., last] if last <= LITTLE => Next::LittleIsLeft,
        [.., before, last] if last > before / 4 * 3 => Next::NoLonger,
        [..] if copied.len() >= MOST => Next::Enough,
        [..] => Next::Round,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn rounds_go_on_while_they_gain() {
        for (copied, expected) in [
            (&[][..], Next::Round),
            (&[0], Next::LittleIsLeft),
            (&[4 * MIB], Next::LittleIsLeft),
            (&[200 * MIB], Next::Round),
            (&[200 * MIB, 20 * MIB], Next::Round),
            (&[200 * MIB, 20 * MIB, 3 * MIB], Next::LittleIsLeft),
            (&[200 * MIB, 151 * MIB], Next::NoLonger),
            (&[200 * MIB, 20 * MIB, 20 * MIB], Next::NoLonger),
            (&[200 * MIB, 20 * MIB, 300 * MIB], Next::NoLonger),
            (
                &[1 << 40, 1 << 39, 1 << 38, 1 << 37, 1 << 36, 1 << 35, 1 << 34, 1 << 33, 1 << 32],
                Next::Enough,
            ),
        ] {
            assert_eq!(next(copied), expected, "{copied:?}");
        }
    }

    proptest! {
        #[test]
        fn there_is_an_end_whatever_they_copy(sizes in prop::collection::vec(any::<u64>(), MOST)) {
            let rounds = (0..=MOST).find(|&rounds| next(&sizes[..rounds]) != Next::Round);
            prop_assert!(rounds.is_some());
        }
    }
}
