//! What IPv4 and IPv6 do differently; everything else is written once, for a
//! [`Family`].

use aya_ebpf::maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray};
use redirectd_ebpf::{
    abi::{
        Addr, Endpoint, Entry, Flow, FlowKey, FragmentKey, Fragments, Held, HeldKey, Location,
        PeerPrefix,
    },
    csum::Delta,
    nat,
    reason::Reason,
    shared_hop::SharedHop,
    wire::{Ipv4, Ipv6, Ipv6Fragment, proto},
};

use crate::{
    maps::{self, Draft},
    parse::{self, Frame, Packet},
};

/// The maps of one address family.
pub struct Maps<A: 'static> {
    pub flows: &'static HashMap<FlowKey<A>, Flow<A>>,
    pub half_open: &'static LruHashMap<FlowKey<A>, Flow<A>>,
    pub redirects: &'static HashMap<Endpoint<A>, Entry>,
    pub peers: &'static LpmTrie<PeerPrefix<A>, u32>,
    pub fragments: &'static LruHashMap<FragmentKey<A>, Fragments<A>>,
    pub held: &'static LruHashMap<HeldKey<A>, Held>,
    pub draft: &'static PerCpuArray<Draft<A>>,
    pub hops: &'static PerCpuArray<SharedHop<A>>,
}

/// An address family.
pub trait Family: Sized + 'static {
    /// Its addresses.
    type Addr: Addr + 'static;
    /// Its header.
    type Header: 'static;
    /// `AF_INET` or `AF_INET6`.
    const AF: u8;
    /// Its ICMP.
    const ICMP: u8;
    /// What `bpf_l4_csum_replace` must be told besides: nothing, or `BPF_F_IPV6`.
    const L4_FLAGS: u64;

    /// Its maps.
    fn maps() -> Maps<Self::Addr>;

    /// A place to put an entry of a flow table together.
    #[inline(always)]
    fn draft() -> Result<&'static mut Draft<Self::Addr>, Reason> {
        let draft = Self::maps().draft.get_ptr_mut(0).ok_or(Reason::NotReady)?;
        // SAFETY: this processor's own, and no two users of it are at work at once.
        Ok(unsafe { &mut *draft })
    }

    /// Parses the packet whose header is at `l3`.
    fn parse(frame: &impl Frame, l3: usize) -> Result<Packet<Self::Addr>, Reason>;

    /// Writes new addresses.
    fn write(header: &mut Self::Header, source: Self::Addr, destination: Self::Addr, delta: Delta);

    /// Takes one off the time to live; returns what of that no checksum in the
    /// packet takes up again.
    fn age(header: &mut Self::Header) -> Delta;

    /// Writes another identification of a fragment: in the header at `l3`, or
    /// with IPv6 in the one at `fragment_header`.
    fn write_id(
        frame: &impl Frame,
        l3: usize,
        fragment_header: usize,
        id: u32,
    ) -> Result<(), Reason>;

    /// The address as four words, as the route look-up wants it.
    fn words(address: Self::Addr) -> [u32; 4];

    /// The address out of a location.
    fn address(location: &Location) -> Self::Addr;

    /// Whether it is of link scope only.
    fn is_link_local(address: Self::Addr) -> bool;

    /// Whether it can be nobody's: 0/8, multicast and above (RFC 6890); in IPv6
    /// the routes tell.
    fn is_reserved(address: Self::Addr) -> bool;

    /// What identifies the datagram that a fragment is of.
    fn fragment_key(packet: &Packet<Self::Addr>) -> FragmentKey<Self::Addr>;
}

/// IPv4.
pub struct V4;

impl Family for V4 {
    type Addr = u32;
    type Header = Ipv4;
    const AF: u8 = 2;
    const ICMP: u8 = proto::ICMP;
    const L4_FLAGS: u64 = 0;

    #[inline(always)]
    fn maps() -> Maps<u32> {
        Maps {
            flows: &maps::FLOWS4,
            half_open: &maps::HALF_OPEN4,
            redirects: &maps::REDIRECTS4,
            peers: &maps::PEERS4,
            fragments: &maps::FRAGMENTS4,
            held: &maps::HELD4,
            draft: &maps::DRAFT4,
            hops: &maps::HOPS4,
        }
    }

    #[inline(always)]
    fn parse(frame: &impl Frame, l3: usize) -> Result<Packet<u32>, Reason> {
        parse::ipv4(frame, l3)
    }

    #[inline(always)]
    fn write(header: &mut Ipv4, source: u32, destination: u32, delta: Delta) {
        nat::ipv4(header, source, destination, delta);
    }

    #[inline(always)]
    fn age(header: &mut Ipv4) -> Delta {
        nat::ipv4_hop(header);
        Delta::NONE
    }

    #[inline(always)]
    fn write_id(frame: &impl Frame, l3: usize, _: usize, id: u32) -> Result<(), Reason> {
        // SAFETY: `at` has checked the bounds; see `wire` for the alignment.
        nat::ipv4_id(unsafe { &mut *frame.at::<Ipv4>(l3)? }, id as u16);
        Ok(())
    }

    #[inline(always)]
    fn words(address: u32) -> [u32; 4] {
        [address, 0, 0, 0]
    }

    #[inline(always)]
    fn address(location: &Location) -> u32 {
        location.address[0]
    }

    #[inline(always)]
    fn is_link_local(_: u32) -> bool {
        // 169.254/16 needs no interface to be routed to, so it does no harm.
        false
    }

    #[inline(always)]
    fn is_reserved(address: u32) -> bool {
        let first = u32::from_be(address) >> 24;
        first == 0 || first >= 224
    }

    #[inline(always)]
    fn fragment_key(packet: &Packet<u32>) -> FragmentKey<u32> {
        FragmentKey {
            source: packet.key.tuple.source,
            destination: packet.key.tuple.destination,
            id: packet.id,
            protocol: packet.key.protocol,
        }
    }
}

/// IPv6.
pub struct V6;

impl Family for V6 {
    type Addr = [u32; 4];
    type Header = Ipv6;
    const AF: u8 = 10;
    const ICMP: u8 = proto::ICMPV6;
    /// `BPF_F_IPV6`, Linux 6.16 and its stable branches: a complete checksum of
    /// the whole packet must not be changed along, as no IPv6 header checksum
    /// balances the addresses.
    const L4_FLAGS: u64 = 1 << 7;

    #[inline(always)]
    fn maps() -> Maps<[u32; 4]> {
        Maps {
            flows: &maps::FLOWS6,
            half_open: &maps::HALF_OPEN6,
            redirects: &maps::REDIRECTS6,
            peers: &maps::PEERS6,
            fragments: &maps::FRAGMENTS6,
            held: &maps::HELD6,
            draft: &maps::DRAFT6,
            hops: &maps::HOPS6,
        }
    }

    #[inline(always)]
    fn parse(frame: &impl Frame, l3: usize) -> Result<Packet<[u32; 4]>, Reason> {
        parse::ipv6(frame, l3)
    }

    #[inline(always)]
    fn write(header: &mut Ipv6, source: [u32; 4], destination: [u32; 4], _: Delta) {
        nat::ipv6(header, source, destination);
    }

    #[inline(always)]
    fn age(header: &mut Ipv6) -> Delta {
        let word = |header: &Ipv6| u16::from_ne_bytes([header.next_header, header.hop_limit]);
        let old = word(header);
        nat::ipv6_hop(header);
        Delta::word(old, word(header))
    }

    #[inline(always)]
    fn write_id(
        frame: &impl Frame,
        _: usize,
        fragment_header: usize,
        id: u32,
    ) -> Result<(), Reason> {
        // SAFETY: `at` has checked the bounds; see `wire` for the alignment.
        unsafe { (*frame.at::<Ipv6Fragment>(fragment_header)?).id = id };
        Ok(())
    }

    #[inline(always)]
    fn words(address: [u32; 4]) -> [u32; 4] {
        address
    }

    #[inline(always)]
    fn address(location: &Location) -> [u32; 4] {
        location.address
    }

    #[inline(always)]
    fn is_link_local(address: [u32; 4]) -> bool {
        address[0] & 0xffc0_0000u32.to_be() == 0xfe80_0000u32.to_be()
    }

    #[inline(always)]
    fn is_reserved(_: [u32; 4]) -> bool {
        false
    }

    #[inline(always)]
    fn fragment_key(packet: &Packet<[u32; 4]>) -> FragmentKey<[u32; 4]> {
        FragmentKey {
            source: packet.key.tuple.source,
            destination: packet.key.tuple.destination,
            id: packet.id,
            // RFC 8200, section 4.5: the next header does not identify it.
            protocol: 0,
        }
    }
}
