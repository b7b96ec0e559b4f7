//! Properties of the pure code, with bytes by chance: see [`invariants`].

mod invariants;

use proptest::{collection::vec, prelude::*};

/// Bytes as packets have them: by chance, or with many that are all zeroes or all
/// ones, around which checksums have their corners.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let corner = prop_oneof![Just(0_u8), Just(0xff), Just(1), Just(0xfe)];
    prop_oneof![vec(any::<u8>(), 0..300), vec(corner, 0..120)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn checksums_are_kept_right(bytes in bytes()) {
        invariants::checksum(&bytes);
    }

    #[test]
    fn a_packet_goes_there_and_back(bytes in bytes()) {
        invariants::there_and_back(&bytes);
    }

    #[test]
    fn a_quoted_packet_goes_there_and_back(bytes in bytes()) {
        invariants::quote_there_and_back(&bytes);
    }
}

/// What fuzzing starts from holds too.
#[test]
fn nothing_at_all() {
    invariants::checksum(&[]);
    invariants::there_and_back(&[]);
    invariants::quote_there_and_back(&[]);
}
