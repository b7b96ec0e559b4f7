//! Groups: redirects that move together, those of one process, and what their
//! packets meet meanwhile.
//!
//! A slot's word names the group that its redirect is in, and the group's own
//! word says how far the move has come. So one write of eight bytes parks,
//! commits or aborts, for any number of redirects at one moment. The packet path
//! asks for the group's word only if the slot's names a group: redirects that do
//! not move pay nothing.

use crate::abi::SlotWord;

/// How many groups there can be, the one that stands for "none" included.
pub const GROUPS: u32 = 1 << 10;

/// The mark of a held packet that user space sends to have it received again,
/// as the egress program meets it.
pub const REPLAY_OUT: u32 = 0x7265_6469;
/// The same on its way in, as the ingress programs meet it. Another number, so
/// that no packet can go round twice.
pub const REPLAY_IN: u32 = 0x7265_646a;

/// Values of [`GroupWord::gate`].
pub mod gate {
    /// Redirects lead where they led before the move.
    pub const OPEN: u8 = 0;
    /// Their packets are held.
    pub const PARKED: u8 = 1;
    /// They lead to their next location, after what is held.
    pub const NEXT_HELD: u8 = 2;
    /// They lead to their next location.
    pub const NEXT: u8 = 3;
    /// They lead where they led before, after what is held.
    pub const BACK_HELD: u8 = 4;
}

/// In place of how many held packets user space is done with: all packets are held,
/// until it says how many.
pub const NOT_YET: u64 = (1 << 56) - 1;

/// A group's word, written by user space alone, as one: a gate, and how many of
/// the held packets user space is done with, or [`NOT_YET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct GroupWord(pub u64);

impl GroupWord {
    /// Puts a word together; `done` has 56 bits.
    #[inline(always)]
    #[must_use]
    pub const fn new(gate: u8, done: u64) -> Self {
        Self(done << 8 | gate as u64)
    }

    /// See [`gate`].
    #[inline(always)]
    #[must_use]
    pub const fn gate(self) -> u8 {
        self.0 as u8
    }

    /// How many of the held packets were delivered or given up.
    #[inline(always)]
    #[must_use]
    pub const fn done(self) -> u64 {
        self.0 >> 8
    }

    /// What the word of one of the group's slots stands for: its own generation
    /// or, after the flip, the next one.
    #[inline(always)]
    #[must_use]
    pub const fn effective(self, word: SlotWord) -> SlotWord {
        match self.gate() {
            gate::NEXT_HELD | gate::NEXT => word.next(),
            _ => word,
        }
    }

    /// Whether a packet for one of the group's redirects is held. `held` is how
    /// many were held so far, and `replayed` tells that it was held already.
    ///
    /// After the decision a packet is held as long as one before it is: of two
    /// packets the first is delivered first.
    #[inline(always)]
    #[must_use]
    pub const fn holds(self, held: u64, replayed: bool) -> bool {
        match self.gate() {
            _ if replayed => false,
            gate::PARKED => true,
            gate::NEXT_HELD | gate::BACK_HELD => held != self.done(),
            _ => false,
        }
    }
}

/// What a group has held, counted by the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct GroupCounts {
    /// Packets held.
    pub packets: u64,
    /// Bytes of them, as frames.
    pub bytes: u64,
    /// Packets dropped for want of room.
    pub overflow_packets: u64,
    /// Bytes of them.
    pub overflow_bytes: u64,
}

/// What is noted in front of a held frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ParkedHeader {
    /// Its group.
    pub group: u32,
    /// Length of the frame in bytes.
    pub length: u32,
    /// Index of the interface it came in through.
    pub ifindex: u32,
    /// Payload of each segment, if the frame is a batch of them; else 0.
    pub segment: u32,
    /// The VLAN tag that was taken out of the frame: EtherType, then tag, host
    /// byte order; 0 without one.
    pub vlan: u32,
    /// Whether the frame was dropped for want of room, and is only noted: 1, or 0.
    pub dropped: u32,
}

/// So much of a frame that is dropped is noted at most, in bytes: all headers in
/// front of its data.
pub const NOTED: u32 = 128;

/// A held frame with what is noted of it, as user space receives it. `N` is the
/// most it can hold.
#[repr(C)]
pub struct Parked<const N: usize> {
    /// See there.
    pub header: ParkedHeader,
    /// The frame, and behind it what was there before.
    pub frame: [u8; N],
}

const _: () = {
    assert!(size_of::<GroupCounts>() == 32);
    assert!(size_of::<ParkedHeader>() == 24);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::slot_state;

    const WORD: SlotWord = SlotWord::new(7, slot_state::ACTIVE).in_group(3);

    fn word(gate: u8, done: u64) -> GroupWord {
        GroupWord::new(gate, done)
    }

    #[test]
    fn a_word_keeps_its_parts() {
        for gate in [gate::OPEN, gate::PARKED, gate::NEXT_HELD, gate::NEXT, gate::BACK_HELD] {
            for done in [0, 1, (1 << 56) - 1] {
                assert_eq!((word(gate, done).gate(), word(gate, done).done()), (gate, done));
            }
        }
    }

    #[test]
    fn only_the_flip_changes_where_redirects_lead() {
        for gate in [gate::OPEN, gate::PARKED, gate::BACK_HELD] {
            assert_eq!(word(gate, 0).effective(WORD), WORD);
        }
        for gate in [gate::NEXT_HELD, gate::NEXT] {
            let next = word(gate, 0).effective(WORD);
            assert_eq!(next.generation(), WORD.generation() + 1);
            assert_eq!((next.state(), next.group()), (WORD.state(), WORD.group()));
            assert_ne!(next.location(1), WORD.location(1));
        }
    }

    /// What settles a group changes nothing for packets.
    #[test]
    fn settled_words_lead_where_the_group_led() {
        let settled = WORD.next().in_group(0);
        assert_eq!(word(gate::NEXT, 0).effective(WORD).location(5), settled.location(5));
        assert_eq!(word(gate::NEXT, 0).effective(WORD).generation(), settled.generation());
        let settled = WORD.in_group(0);
        assert_eq!(word(gate::OPEN, 0).effective(WORD).location(5), settled.location(5));
    }

    #[test]
    fn everything_is_held_while_parked() {
        assert!(word(gate::PARKED, 0).holds(0, false));
        assert!(word(gate::PARKED, 9).holds(9, false));
    }

    #[test]
    fn nothing_is_held_while_open() {
        for gate in [gate::OPEN, gate::NEXT] {
            assert!(!word(gate, 0).holds(9, false));
        }
    }

    #[test]
    fn after_the_decision_packets_wait_for_those_before_them() {
        for gate in [gate::NEXT_HELD, gate::BACK_HELD] {
            assert!(!word(gate, 0).holds(0, false), "nothing was held");
            assert!(word(gate, 0).holds(3, false));
            assert!(word(gate, 2).holds(3, false));
            assert!(!word(gate, 3).holds(3, false));
            assert!(word(gate, 3).holds(4, false), "one came in between");
        }
    }

    #[test]
    fn after_the_decision_all_may_have_to_wait() {
        for gate in [gate::NEXT_HELD, gate::BACK_HELD] {
            for held in [0, 1, u64::from(u32::MAX)] {
                assert!(word(gate, NOT_YET).holds(held, false));
            }
            assert_eq!(word(gate, NOT_YET).gate(), gate);
        }
    }

    #[test]
    fn what_was_held_is_not_held_again() {
        for gate in [gate::OPEN, gate::PARKED, gate::NEXT_HELD, gate::NEXT, gate::BACK_HELD] {
            assert!(!word(gate, 0).holds(3, true));
        }
    }

    #[test]
    fn a_generation_that_comes_round_is_not_that_of_a_free_slot() {
        assert_eq!(SlotWord::new(u32::MAX, slot_state::ACTIVE).next().generation(), 1);
    }
}
