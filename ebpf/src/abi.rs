//! The layout of every map key and value: what the programs and user space
//! agree on. Any change of it is a change of [`ABI_VERSION`].

mod address;
mod fragment;
#[cfg(feature = "user")]
mod pod;
mod slot;

pub use self::{
    address::Addr,
    fragment::{FragmentKey, Fragments, HELD_BYTES, HELD_FRAGMENTS, Held, HeldKey, fragment_state},
    slot::{Location, SlotCounters, SlotWord, Traffic, slot_state},
};

/// Version of all that is pinned. User space adopts maps of the same version
/// only.
pub const ABI_VERSION: u32 = 5;

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
    pub flags: u16,
    /// Not 0 from when XDP hands a packet to tc until tc has one: meanwhile XDP hands on
    /// those behind it too, which would overtake it.
    pub handed: u16,
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
    pub const TO_HOST: u16 = 1 << 0;
    /// A FIN was seen in this direction.
    pub const FIN: u16 = 1 << 1;
    /// A RST was seen in this direction.
    pub const RST: u16 = 1 << 2;
    /// Stays with its target whatever becomes of the redirect (`new-only`).
    pub const STAYS: u16 = 1 << 3;
    /// The host has answered; with TCP, [`super::Flow::handshake`] is set.
    pub const ANSWERED: u16 = 1 << 4;
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
