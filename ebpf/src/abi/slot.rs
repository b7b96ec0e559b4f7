//! What a redirect's slot is made of: its word, where it leads, its counters.

/// A slot's word, written and read as one: what the redirect does, which of its
/// two [`Location`]s counts, and the [group](crate::group) it moves in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct SlotWord(pub u64);

impl SlotWord {
    /// Puts a word together.
    #[inline(always)]
    #[must_use]
    pub const fn new(generation: u32, state: u8) -> Self {
        Self((generation as u64) << 32 | state as u64)
    }

    /// How often the target was changed, plus one; 0 for a free slot.
    #[inline(always)]
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// See [`slot_state`].
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u8 {
        self.0 as u8
    }

    /// The group it moves in; 0 is none.
    #[inline(always)]
    #[must_use]
    pub const fn group(self) -> u32 {
        self.0 as u32 >> 8
    }

    /// The same in that group, or in none.
    #[inline(always)]
    #[must_use]
    pub const fn in_group(self, group: u32) -> Self {
        Self(self.0 & 0xffff_ffff_0000_00ff | ((group & 0xff_ffff) as u64) << 8)
    }

    /// The same, but that the other location counts.
    #[inline(always)]
    #[must_use]
    pub const fn next(self) -> Self {
        let next = self.generation().wrapping_add(1);
        let next = if next == 0 { 1 } else { next };
        Self(self.0 & 0xffff_ffff | (next as u64) << 32)
    }

    /// Whether flows of `generation` are up to date, and the redirect in no group.
    #[inline(always)]
    #[must_use]
    pub const fn is_settled(self, generation: u32) -> bool {
        self.0 >> 8 == (generation as u64) << 24
    }

    /// Index of the location that counts: the two of a slot take turns, so
    /// that the one in use is never written to.
    #[inline(always)]
    #[must_use]
    pub const fn location(self, slot: u32) -> u32 {
        slot * 2 + (self.generation() & 1)
    }
}

/// Values of [`SlotWord::state`].
pub mod slot_state {
    /// Free, or cut: flows that name it are void.
    pub const NONE: u8 = 0;
    /// Takes new flows.
    pub const ACTIVE: u8 = 1;
    /// Takes no new flows; open ones go on.
    pub const DRAINING: u8 = 2;
}

/// Where a redirect leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Location {
    /// The host's address; IPv4 in the first word, the others zero.
    pub address: [u32; 4],
    /// The target port for `home_port`, host byte order.
    pub port: u16,
    /// The redirect's first home port, host byte order.
    pub home_port: u16,
    /// Flows made at this generation or later follow to here, older ones stay.
    pub follow_from: u32,
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes: of what was translated the IP length, of what was passed or
    /// dropped the length of the frame, which need not be IP.
    pub bytes: u64,
}

/// Counters of a slot, one set for each processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct SlotCounters {
    /// Peer → host.
    pub to_host: Traffic,
    /// Host → peer.
    pub to_peer: Traffic,
    /// Flows taken.
    pub opened: u64,
    /// Flows refused.
    pub refused: u64,
}
