//! The layout of every map key and value: what the programs and user space
//! agree on. Any change of it is a change of [`ABI_VERSION`].

use crate::csum::Delta;

/// Version of all that is pinned. User space adopts maps of the same version
/// only.
pub const ABI_VERSION: u32 = 3;

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

/// Source and destination of a packet. `A` is `u32` for IPv4 and `[u32; 4]` for
/// IPv6; everything is in network byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Tuple<A> {
    /// Source address.
    pub source: A,
    /// Destination address.
    pub destination: A,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl<A: Copy> Tuple<A> {
    /// The tuple of a packet that answers one with this tuple.
    #[inline(always)]
    #[must_use]
    pub const fn inverse(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// Key of the flow tables: the 5-tuple of a packet as it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct FlowKey<A> {
    /// Source and destination.
    pub tuple: Tuple<A>,
    /// IP protocol number; the upper bytes are zero.
    pub protocol: u32,
}

/// One direction of a flow: packets of one 5-tuple become packets of another.
///
/// The two directions of a flow are two entries. Each can be found from the
/// other: the key of the opposite entry is [`Tuple::inverse`] of `to`, and its
/// `to` is the inverse of this entry's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Flow<A> {
    /// What source and destination become.
    pub to: Tuple<A>,
    /// The redirect's slot.
    pub slot: u32,
    /// The slot's generation that `to` was made from.
    pub generation: u32,
    /// See [`flow_flags`].
    pub flags: u32,
    /// Half-open TCP, direction host → peer: the acknowledgement number that
    /// completes the handshake, host byte order.
    pub handshake: u32,
    /// What the change of addresses does to a checksum.
    pub addresses: u16,
    /// What the change of ports does to a checksum.
    pub ports: u16,
    /// Where packets go, as last looked up.
    pub hop: NextHop,
    /// Time of the last packet, in nanoseconds of the monotonic clock.
    pub last_seen: u64,
    /// Packets translated.
    pub packets: u64,
    /// Bytes translated, counted as IP length.
    pub bytes: u64,
}

/// Bits of [`Flow::flags`].
pub mod flow_flags {
    /// Direction peer → host; without it host → peer.
    pub const TO_HOST: u32 = 1 << 0;
    /// A FIN was seen in this direction.
    pub const FIN: u32 = 1 << 1;
    /// A RST was seen in this direction.
    pub const RST: u32 = 1 << 2;
    /// Stays with its target whatever becomes of the redirect (`new-only`).
    pub const STAYS: u32 = 1 << 3;
    /// The host has answered; with TCP, [`super::Flow::handshake`] is set.
    pub const ANSWERED: u32 = 1 << 4;
}

/// Where a packet leaves, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct NextHop {
    /// MAC address of the next hop.
    pub destination: [u8; 6],
    /// MAC address of the interface it leaves through.
    pub source: [u8; 6],
    /// Index of that interface.
    pub ifindex: u32,
    /// Largest IP packet the route takes, in bytes; 0 if not known.
    pub mtu: u16,
    /// See [`hop_kind`].
    pub kind: u16,
    /// When it was looked up, in units of 2^20 ns of the monotonic clock,
    /// wrapping; 0 is "never".
    pub checked: u32,
}

/// A neighbour, as far as the programs know one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Neighbour {
    /// Index of the interface.
    pub ifindex: u32,
    /// MAC address.
    pub mac: [u8; 6],
    /// Zero.
    pub zero: u16,
}

/// Values of [`NextHop::kind`].
pub mod hop_kind {
    /// Not looked up, or no route.
    pub const NONE: u16 = 0;
    /// Addresses are complete; the frame can be sent.
    pub const ETHERNET: u16 = 1;
    /// The interface is known, the neighbour is not resolved yet.
    pub const UNRESOLVED: u16 = 2;
    /// This node: a process on it, or a case for its own IP stack, which knows
    /// what to answer where there is no way.
    pub const LOCAL: u16 = 3;
    /// As [`ETHERNET`], through an interface that XDP may send to.
    pub const ETHERNET_XDP: u16 = 4;
}

/// Key of the redirects: a home endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Endpoint<A> {
    /// Home address, network byte order.
    pub address: A,
    /// Home port, network byte order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub zero: u8,
}

/// Value of the redirects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Entry {
    /// The slot for any peer; 0 if only some peers are redirected.
    pub slot: u32,
    /// 1 if there are entries for this endpoint among the peers' prefixes.
    pub peers: u32,
}

/// What the peers' prefixes are matched with: a whole endpoint, then the
/// peer's address, of which a prefix counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct PeerPrefix<A> {
    /// The home endpoint.
    pub endpoint: Endpoint<A>,
    /// The peer's address, network byte order.
    pub peer: A,
}

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
    /// [`flow_flags::TO_HOST`] or 0.
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

/// Longest name of a redirect or a host, in bytes.
pub const NAME_BYTES: usize = 63;

/// A redirect as user space finds it again after a restart. Its target is in
/// the slot's location and its peers are among the prefixes, so that each fact
/// stands in one place. The programs do not read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// Length of the name and the name.
    pub name: [u8; NAME_BYTES + 1],
    /// Length of the host's name, 0 for none, and the name.
    pub host: [u8; NAME_BYTES + 1],
    /// Home address, network byte order; IPv4 in the first word.
    pub home: [u32; 4],
    /// First home port, host byte order.
    pub first_port: u16,
    /// Last home port, host byte order.
    pub last_port: u16,
    /// 4 or 6.
    pub version: u8,
    /// Bit 0: TCP, bit 1: UDP.
    pub protocols: u8,
    /// Bit 0: open flows follow a change of target. Bit 1: for some peers only.
    pub flags: u8,
    /// 0: `nat`.
    pub mode: u8,
}

/// What user space tells the programs; one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Settings {
    /// Must be [`ABI_VERSION`]; 0 until the programs may run.
    pub abi_version: u32,
    /// First port for the SNAT side where the peer's own is taken, host byte order.
    pub snat_first: u16,
    /// Last port for the SNAT side, host byte order.
    pub snat_last: u16,
    /// Most flows at a time, over both address families.
    pub flows_max: u64,
    /// Most bytes of packets held at a time, over all groups.
    pub held_max: u64,
}

/// Indices into the array of counts. Of flows, two that only programs add to and one
/// that only user space writes, so that no update is lost.
pub mod count {
    /// Flows that entered the flow tables.
    pub const ESTABLISHED: u32 = 0;
    /// Flows that a program removed.
    pub const REMOVED: u32 = 1;
    /// Flows that user space removed.
    pub const EXPIRED: u32 = 2;
    /// Numbers for the identification of fragments.
    pub const FRAGMENT_ID: u32 = 3;
    /// Bytes of packets held; programs add.
    pub const HELD_BYTES: u32 = 4;
    /// Bytes of those that user space is done with; it writes.
    pub const DONE_BYTES: u32 = 5;
    /// Held packets that were received again and have found their end; programs
    /// add.
    pub const REPLAYED: u32 = 6;
    /// How many there are.
    pub const LEN: u32 = 7;
}

/// Interfaces that XDP can be used on have a lower index than this.
pub const XDP_INTERFACES: u32 = 4096;

/// An interface with the XDP program on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Station {
    /// Its MAC address, two bytes a word, as they lie in a frame.
    pub mac: [u16; 3],
    /// 1 if the program is on it, so that others may send out through it.
    pub on: u16,
}

const _: () = {
    // No padding anywhere: the kernel compares keys byte for byte.
    assert!(size_of::<FlowKey<u32>>() == 16);
    assert!(size_of::<FlowKey<[u32; 4]>>() == 40);
    assert!(size_of::<Flow<u32>>() == 80);
    assert!(size_of::<Flow<[u32; 4]>>() == 104);
    assert!(size_of::<NextHop>() == 24);
    assert!(size_of::<Endpoint<u32>>() == 8);
    assert!(size_of::<Endpoint<[u32; 4]>>() == 20);
    assert!(size_of::<PeerPrefix<u32>>() == 12);
    assert!(size_of::<PeerPrefix<[u32; 4]>>() == 36);
    assert!(size_of::<Location>() == 24);
    assert!(size_of::<FragmentKey<u32>>() == 16);
    assert!(size_of::<FragmentKey<[u32; 4]>>() == 40);
    assert!(size_of::<Fragments<u32>>() == 64);
    assert!(size_of::<Fragments<[u32; 4]>>() == 88);
    assert!(size_of::<HeldKey<u32>>() == 20);
    assert!(size_of::<HeldKey<[u32; 4]>>() == 44);
    assert!(size_of::<SlotCounters>() == 48);
    assert!(size_of::<Settings>() == 24);
    assert!(size_of::<Record>() == 152);
    assert!(size_of::<Station>() == 8);
    assert!(size_of::<Neighbour>() == 12);
};

#[cfg(feature = "user")]
mod pod {
    use aya::Pod;

    use super::*;
    use crate::group::{GroupCounts, GroupWord};

    macro_rules! pod {
        ($($t:ty),* $(,)?) => {$(
            // SAFETY: repr(C), Copy, 'static, without padding (asserted above)
            // and without invalid bit patterns.
            unsafe impl Pod for $t {}
        )*};
    }

    pod!(
        Neighbour,
        Station,
        Entry,
        SlotWord,
        Location,
        Traffic,
        SlotCounters,
        Settings,
        Record,
        GroupWord,
        GroupCounts
    );

    macro_rules! family_pod {
        ($($t:ident),* $(,)?) => {$(
            // SAFETY: as above, for both types of address there are.
            unsafe impl<A: Addr + Pod> Pod for $t<A> {}
        )*};
    }

    family_pod!(FlowKey, Flow, Endpoint, PeerPrefix);
}
