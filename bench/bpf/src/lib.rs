//! What the bench's BPF programs and its user space share: the shape of the
//! generated traffic and how it is summed, and what is sampled.
#![cfg_attr(target_arch = "bpf", no_std)]

/// Bytes of a generated frame, Ethernet header to payload, without the FCS:
/// what makes a 64-byte frame on a wire.
pub const FRAME: usize = 60;
/// Bytes of Ethernet, IPv4 (no options) and UDP headers together.
pub const HEADERS: usize = 42;
/// Value of the IPv4 total length field of a generated frame.
pub const IP_LENGTH: u16 = 46;
/// Value of the UDP length field of a generated frame.
pub const UDP_LENGTH: u16 = 26;
/// Hop count generated packets start with.
pub const TTL: u8 = 64;

/// Slots of the sinks' counters.
pub mod count {
    /// Packets that are what was expected.
    pub const EXPECTED: u32 = 0;
    /// Packets that are not, such as neighbour solicitations.
    pub const OTHER: u32 = 1;
    /// Expected packets with a wrong IPv4 or UDP checksum; counted by `reflect`
    /// and `returns` only, and not among the expected ones.
    pub const BAD_CHECKSUM: u32 = 2;
    /// How many slots there are.
    pub const SLOTS: u32 = 3;
}

/// The generated traffic. Flow `n` goes from peer address `n / per_target` and
/// port `n % per_target` (both counted from the first) to home port
/// `n / per_target`. Addresses and ports are in host byte order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// First peer address.
    pub peer: u32,
    /// Home's address.
    pub home: u32,
    /// Target ports in use, and with them peer addresses; at least 1.
    pub targets: u32,
    /// Flows to each target port; at least 1.
    pub per_target: u32,
    /// Sum of the IPv4 header's words, without the source address.
    pub ip_sum: u32,
    /// Sum of the words under the UDP checksum, without addresses and ports
    /// of the source, and without the destination port.
    pub udp_sum: u32,
    /// First source port.
    pub peer_port: u16,
    /// First destination port.
    pub home_port: u16,
    /// Destination of the frames.
    pub home_mac: [u8; 6],
    /// Source of the frames.
    pub peer_mac: [u8; 6],
}

/// Where the generator is. One generator runs at a time.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// The next packet's target.
    pub target: u32,
    /// The next packet's flow within that target.
    pub flow: u32,
    /// From one flow of a target to the next in turn; below the number of flows
    /// of a target, and without a common divisor with it. User space sets it.
    pub stride: u32,
    /// Zero.
    pub zero: u32,
    /// Packets made since user space last set this to 0.
    pub made: u64,
    /// Time at which the first of these was made, CLOCK_MONOTONIC, ns.
    pub first: u64,
    /// Time at which the last one that is a multiple of [`CLOCKED`] was made.
    pub last: u64,
}

/// The generator looks at the clock once in so many packets; a power of two.
pub const CLOCKED: u64 = 1024;

/// What a sink expects: UDP over IPv4 to (`sink`, `reflect`) or from
/// (`returns`) this address and these ports, in host byte order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// The address.
    pub addr: u32,
    /// First port.
    pub first: u16,
    /// Last port, included.
    pub last: u16,
}

/// What a witness has seen of numbered packets. The number is the first eight
/// bytes of the payload, in the byte order of the machine.
///
/// A *visit* begins with a packet that does not follow the one the witness saw
/// last: packets went elsewhere in between, or were lost.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Packets since it was attached.
    pub packets: u64,
    /// Visits since it was attached, the one under way included.
    pub visits: u64,
    /// Number of the first packet of the last visit.
    pub first: u64,
    /// When it came, CLOCK_MONOTONIC, ns.
    pub first_at: u64,
    /// Number of the last packet.
    pub last: u64,
    /// When it came, CLOCK_MONOTONIC, ns.
    pub last_at: u64,
}

/// Where in a frame the number is.
pub const NUMBER: usize = HEADERS;

/// The most frames of a stack that are noted; of deeper ones the innermost.
pub const MAX_FRAMES: usize = 64;

/// What a processor did at a tick of the sampling clock.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The process, or the kernel's own thread; 0 is the idle one.
    pub process: u32,
    /// Bytes of `frames` in use; none or negative when user space was running.
    pub bytes: i32,
    /// Addresses in the kernel, from the innermost outwards.
    pub frames: [u64; MAX_FRAMES],
}

/// MAC addresses of those between whom home bounces frames.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Home's own.
    pub home: [u8; 6],
    /// The peer's.
    pub peer: [u8; 6],
    /// The host's.
    pub host: [u8; 6],
}

/// Where `onward` sends every packet.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Onward {
    /// Index of the interface it leaves through.
    pub interface: u32,
    /// MAC address of the next hop.
    pub destination: [u8; 6],
    /// MAC address of the interface.
    pub source: [u8; 6],
}

/// Where the parts of a frame are that differ from flow to flow.
pub mod places {
    /// UDP over IPv4.
    pub const UDP4: u32 = 0;
    /// TCP over IPv4.
    pub const TCP4: u32 = 1;
    /// TCP over IPv6.
    pub const TCP6: u32 = 2;
    /// An ICMP error over IPv4 that quotes TCP from home to the peer.
    pub const ICMP4: u32 = 3;
    /// Bytes of the longest frame, and a few for the template's alignment.
    pub const LONGEST: usize = 80;

    /// Offsets in a frame, in bytes from its start.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Places {
        /// The frame's length.
        pub length: usize,
        /// The last two bytes of the peer's address.
        pub peer: usize,
        /// The peer's port.
        pub peer_port: usize,
        /// Home's port.
        pub home_port: usize,
        /// The checksum that the ports are in.
        pub check: usize,
        /// Whether the address is in it too, on its own.
        pub peer_in_sum: bool,
        /// The IPv4 header's checksum that the address is in; 0 for none.
        pub ip_check: usize,
    }

    /// By kind.
    pub const OF: [Places; 4] = [
        Places {
            length: 60,
            peer: 28,
            peer_port: 34,
            home_port: 36,
            check: 40,
            peer_in_sum: true,
            ip_check: 24,
        },
        Places {
            length: 60,
            peer: 28,
            peer_port: 34,
            home_port: 36,
            check: 50,
            peer_in_sum: true,
            ip_check: 24,
        },
        Places {
            length: 74,
            peer: 36,
            peer_port: 54,
            home_port: 56,
            check: 70,
            peer_in_sum: true,
            ip_check: 0,
        },
        // The quoted header's checksum takes up what the address changes, so that
        // the sum over the message stays as it is.
        Places {
            length: 70,
            peer: 60,
            peer_port: 64,
            home_port: 62,
            check: 36,
            peer_in_sum: false,
            ip_check: 52,
        },
    ];
}

/// The packets that a wrapper makes: that of the first flow, and what differs in
/// the others (see [`Stream`]). Numbers are in host byte order.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    /// The frame.
    pub frame: [u8; places::LONGEST],
    /// One of [`places`]'.
    pub kind: u32,
    /// Target ports in use, and with them peer addresses; at least 1.
    pub targets: u32,
    /// Flows to each target port; at least 1.
    pub per_target: u32,
    /// The last two bytes of the first peer's address.
    pub peer: u32,
    /// Sum of the words under the checksum, without ports and, if it is in there,
    /// without these two bytes.
    pub sum: u32,
    /// Sum of the words of the IPv4 header, without these two bytes.
    pub ip_sum: u32,
    /// First peer port.
    pub peer_port: u32,
    /// First home port.
    pub home_port: u32,
}

/// Key of the bare redirect's flows: a packet's 5-tuple, addresses and ports as
/// they lie in the packet.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BareKey {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port and destination port.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u32,
}

/// What the bare redirect makes of a packet; as [`BareKey`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BareFlow {
    /// New source address.
    pub source: u32,
    /// New destination address.
    pub destination: u32,
    /// New source port and destination port.
    pub ports: u32,
    /// Index of the interface it leaves through.
    pub interface: u32,
    /// MAC addresses, destination and source.
    pub macs: [u16; 6],
}

/// Folds a sum of 16-bit words to the one's complement sum (RFC 1071), not yet
/// inverted.
#[inline(always)]
#[must_use]
pub fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Both halves of an address, as a checksum adds them.
#[inline(always)]
#[must_use]
pub fn halves(addr: u32) -> u32 {
    (addr >> 16) + (addr & 0xffff)
}

// SAFETY: plain integers without padding between or after them (24 + 4 + 12 bytes).
#[cfg(feature = "user")]
unsafe impl aya::Pod for Stream {}
// SAFETY: plain integers without padding (4 × 4 + 3 × 8 bytes).
#[cfg(feature = "user")]
unsafe impl aya::Pod for Position {}
// SAFETY: plain integers without padding (4 + 2 + 2 bytes).
#[cfg(feature = "user")]
unsafe impl aya::Pod for Expect {}
// SAFETY: bytes only.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Ends {}
// SAFETY: plain integers of one size (6 × 8 bytes).
#[cfg(feature = "user")]
unsafe impl aya::Pod for Seen {}

// SAFETY: plain integers without padding (4 + 2 × 6 bytes).
#[cfg(feature = "user")]
unsafe impl aya::Pod for Onward {}

// SAFETY: plain integers without padding (80 + 8 × 4 bytes, a multiple of 8).
#[cfg(feature = "user")]
unsafe impl aya::Pod for Template {}
// SAFETY: plain integers without padding (4 × 4 bytes).
#[cfg(feature = "user")]
unsafe impl aya::Pod for BareKey {}
// SAFETY: plain integers without padding (4 × 4 + 12 bytes).
#[cfg(feature = "user")]
unsafe impl aya::Pod for BareFlow {}

const _: () = {
    assert!(NUMBER + 8 <= FRAME);
    assert!(size_of::<Seen>() == 48);
    assert!(size_of::<Stream>() == 40);
    assert!(size_of::<Position>() == 40);
    assert!(size_of::<Expect>() == 8);
    assert!(size_of::<Sample>() == 8 + 8 * MAX_FRAMES);
    assert!(size_of::<Ends>() == 18);
    assert!(size_of::<Onward>() == 16);
    assert!(size_of::<Template>() == 112);
    assert!(size_of::<BareKey>() == 16);
    assert!(size_of::<BareFlow>() == 28);
};
