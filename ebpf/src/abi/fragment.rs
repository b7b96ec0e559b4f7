//! Fragmented datagrams: what is known of them, and fragments that wait for it.

use super::NextHop;

/// Key of the fragment table: the fragments of one datagram (RFC 791, RFC 8200).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct FragmentKey<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Identification as it lies in the packet; IPv4 has 16 bits of it.
    pub id: u32,
    /// IP protocol number.
    pub protocol: u32,
}

/// What is known of a fragmented datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Fragments<A> {
    /// What the addresses become.
    pub source: A,
    /// What the addresses become.
    pub destination: A,
    /// The identification on the way out: one that no other peer's fragments,
    /// now from the same source, can bear at the same time.
    pub id: u32,
    /// The redirect's slot.
    pub slot: u32,
    /// See [`fragment_state`].
    pub state: u32,
    /// [`flow_flags::TO_HOST`](super::flow_flags::TO_HOST) or 0.
    pub flags: u32,
    /// Where they go.
    pub hop: NextHop,
    /// How many fragments came before the first one and were copied.
    pub held: u64,
    /// When the entry was made, in nanoseconds of the monotonic clock.
    pub made: u64,
}

/// Values of [`Fragments::state`].
pub mod fragment_state {
    /// The first fragment, which has the ports, has not come yet.
    pub const WAITING: u32 = 0;
    /// The datagram belongs to a flow.
    pub const KNOWN: u32 = 1;
    /// The datagram is home's own.
    pub const OWN: u32 = 2;
}

/// Key of a fragment that came before the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct HeldKey<A> {
    /// Its datagram.
    pub datagram: FragmentKey<A>,
    /// The how manieth it was.
    pub index: u32,
}

/// Longest fragment that can be held, in bytes from its IP header on.
pub const HELD_BYTES: usize = 2048;

/// Most fragments held of one datagram: 65,535 bytes in pieces of 1,480.
pub const HELD_FRAGMENTS: u32 = 45;

/// A fragment that came before the first one.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Held {
    /// Bytes of `packet` that count.
    pub length: u32,
    /// From the IP header on.
    pub packet: [u8; HELD_BYTES],
}
