//! Protocol headers as they lie in a packet: in network byte order.
//!
//! Views, not parsed values: every bit pattern is valid. They have their natural
//! alignment although a packet does not keep to it: told otherwise, LLVM loads
//! every field byte by byte. In the programs that is sound, as BPF loads and
//! stores may be unaligned where the kernel says that the machine can; on the
//! host, copy a header in and out ([`core::ptr::read_unaligned`]).

/// EtherType of IPv4, as it lies in memory.
pub const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
/// EtherType of IPv6, as it lies in memory.
pub const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
/// Tag protocol identifier of an 802.1Q customer tag, as it lies in memory.
pub const ETHERTYPE_VLAN: u16 = 0x8100u16.to_be();
/// Tag protocol identifier of an 802.1ad service tag, as it lies in memory.
pub const ETHERTYPE_QINQ: u16 = 0x88a8u16.to_be();

/// IP protocol numbers (IANA) that the packet path tells apart.
pub mod proto {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION: u8 = 60;
}

/// Ethernet II.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Ethernet {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
    /// EtherType, network byte order.
    pub ethertype: u16,
}

/// What follows the EtherType of a tagged frame (802.1Q, 802.1ad).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct VlanTag {
    /// Priority, drop eligibility, VLAN identifier; network byte order.
    pub tci: u16,
    /// EtherType of what is tagged, network byte order.
    pub ethertype: u16,
}

/// IPv4 without its options (RFC 791).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Ipv4 {
    /// Version and header length in 32-bit words.
    pub version_ihl: u8,
    /// Differentiated services and ECN.
    pub tos: u8,
    /// Length of header and payload, network byte order.
    pub total_length: u16,
    /// Identification, network byte order.
    pub id: u16,
    /// Flags and fragment offset, network byte order.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Header checksum.
    pub check: u16,
    /// Source address, network byte order.
    pub source: u32,
    /// Destination address, network byte order.
    pub destination: u32,
}

/// IPv6 (RFC 8200).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Ipv6 {
    /// Version, traffic class, flow label; network byte order.
    pub version_class_flow: u32,
    /// Length of all that follows this header, network byte order.
    pub payload_length: u16,
    /// Protocol of the next header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address, network byte order.
    pub source: [u32; 4],
    /// Destination address, network byte order.
    pub destination: [u32; 4],
}

/// The first two bytes of most IPv6 extension headers.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Ipv6Extension {
    /// Protocol of the next header.
    pub next_header: u8,
    /// Length in 8-byte units, the first 8 bytes not counted.
    pub length: u8,
    /// For a routing header: its type.
    pub kind: u8,
    /// For a routing header: segments left.
    pub segments_left: u8,
}

/// The IPv6 fragment header (RFC 8200, section 4.5).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Ipv6Fragment {
    /// Protocol of the fragmented packet's next header.
    pub next_header: u8,
    /// Reserved.
    pub reserved: u8,
    /// Offset in 8-byte units, two reserved bits, more-fragments; network byte order.
    pub offset: u16,
    /// Identification, network byte order.
    pub id: u32,
}

/// TCP without its options (RFC 9293).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Tcp {
    /// Source port, network byte order.
    pub source: u16,
    /// Destination port, network byte order.
    pub destination: u16,
    /// Sequence number, network byte order.
    pub sequence: u32,
    /// Acknowledgement number, network byte order.
    pub acknowledgement: u32,
    /// Header length in 32-bit words, in the upper half.
    pub data_offset: u8,
    /// Control bits, see [`Tcp::FIN`] and the others.
    pub flags: u8,
    /// Window, network byte order.
    pub window: u16,
    /// Checksum over pseudo-header, header and data.
    pub check: u16,
    /// Urgent pointer, network byte order.
    pub urgent: u16,
}

impl Tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
    /// Where the checksum lies from the start of the header.
    pub const CHECK_OFFSET: usize = 16;
}

/// UDP (RFC 768).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Udp {
    /// Source port, network byte order.
    pub source: u16,
    /// Destination port, network byte order.
    pub destination: u16,
    /// Length of header and data, network byte order.
    pub length: u16,
    /// Checksum over pseudo-header, header and data; 0 for none (IPv4).
    pub check: u16,
}

impl Udp {
    /// Where the checksum lies from the start of the header.
    pub const CHECK_OFFSET: usize = 6;
}

/// The ports, which TCP and UDP have in the same place.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Ports {
    /// Source port, network byte order.
    pub source: u16,
    /// Destination port, network byte order.
    pub destination: u16,
}

/// ICMP and ICMPv6 (RFC 792, RFC 4443).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum; over the pseudo-header too in ICMPv6.
    pub check: u16,
    /// Depends on the type: for "fragmentation needed" the lower half is the
    /// next hop's MTU, for "packet too big" all of it; network byte order.
    pub rest: u32,
}

const _: () = {
    assert!(size_of::<Ethernet>() == 14);
    assert!(size_of::<VlanTag>() == 4);
    assert!(size_of::<Ipv4>() == 20);
    assert!(size_of::<Ipv6>() == 40);
    assert!(size_of::<Ipv6Extension>() == 4);
    assert!(size_of::<Ipv6Fragment>() == 8);
    assert!(size_of::<Tcp>() == 20);
    assert!(size_of::<Udp>() == 8);
    assert!(size_of::<Icmp>() == 8);
};
