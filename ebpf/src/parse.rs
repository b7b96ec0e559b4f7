//! Bounds-checked headers: from a frame to what the packet path needs to know.

use redirectd_ebpf::{
    abi::{FlowKey, Tuple},
    reason::Reason,
    wire::{
        ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, Ethernet, Ipv4, Ipv6,
        Ipv6Extension, Ipv6Fragment, Ports, VlanTag, proto,
    },
};

use crate::maps;

/// Where a header may begin at most, in bytes from the frame's start. The
/// verifier wants a bound; this one leaves room for all IPv4 options and for far
/// more IPv6 extension headers than are met.
const DEEPEST: usize = 1023;

/// The bytes of a frame that can be reached directly.
pub trait Frame {
    /// Address of the first byte.
    fn start(&self) -> usize;
    /// Address behind the last one.
    fn end(&self) -> usize;

    /// A header at `offset`, if all of it is there.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Result<*mut T, Reason> {
        self.near(settled(offset))
    }

    /// The same, at less cost, for an offset that the compiler knows to be small, so
    /// that it compares nothing: those of the frame's first headers.
    #[inline(always)]
    fn near<T>(&self, offset: usize) -> Result<*mut T, Reason> {
        let start = self.start();
        if offset > DEEPEST || start + offset + size_of::<T>() > self.end() {
            return Err(Reason::Truncated);
        }
        Ok((start + offset) as *mut T)
    }
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment: it has the ports.
    First,
    /// A later fragment: it has none.
    Later,
}

/// A parsed packet.
pub struct Packet<A> {
    /// Where the IP header is, in bytes from the frame's start.
    pub l3: usize,
    /// Where the transport header is.
    pub l4: usize,
    /// Length of the IP packet in bytes.
    pub length: u32,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Which part of a datagram it is.
    pub part: Part,
    /// Whether a router may cut it up: IPv4 without the don't-fragment bit.
    pub may_cut: bool,
    /// Identification of a fragmented datagram, as it lies in the packet.
    pub id: u32,
    /// Where the IPv6 fragment header is; 0 without one.
    pub fragment_header: usize,
    /// Its 5-tuple; the ports are zero in a later fragment and in ICMP.
    pub key: FlowKey<A>,
}

impl<A> Packet<A> {
    /// The frame has lost `bytes` in front of its IP header.
    #[inline(always)]
    pub fn shift_down(&mut self, bytes: usize) {
        self.l3 -= bytes;
        self.l4 -= bytes;
        if self.fragment_header != 0 {
            self.fragment_header -= bytes;
        }
    }
}

/// The EtherType behind at most two tags, and where its header begins.
#[inline(always)]
pub fn ethernet(frame: &impl Frame) -> Result<(u16, usize), Reason> {
    // SAFETY: `at` has checked the bounds.
    let mut ethertype = unsafe { (*frame.near::<Ethernet>(0)?).ethertype };
    let mut offset = size_of::<Ethernet>();
    for _ in 0..2 {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        // SAFETY: `at` has checked the bounds.
        ethertype = unsafe { (*frame.near::<VlanTag>(offset)?).ethertype };
        offset += size_of::<VlanTag>();
    }
    match ethertype {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Ok((ethertype, offset)),
        _ => Err(Reason::NotIp),
    }
}

/// Parses IPv4 at `l3`.
#[inline(always)]
pub fn ipv4(frame: &impl Frame, l3: usize) -> Result<Packet<u32>, Reason> {
    // SAFETY: `at` has checked the bounds; see `wire` for the alignment.
    let header = unsafe { &*frame.near::<Ipv4>(l3)? };
    let words = header.version_ihl & 0x0f;
    if header.version_ihl >> 4 != 4 || words < 5 {
        return Err(Reason::BadHeader);
    }
    let length = u32::from(u16::from_be(header.total_length));
    if length < u32::from(words) * 4 {
        return Err(Reason::BadHeader);
    }
    let fragment = u16::from_be(header.fragment);
    let part = match (fragment & 0x1fff, fragment & 0x2000) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First,
        _ => Part::Later,
    };
    let mut packet = Packet {
        l3,
        l4: l3 + usize::from(words) * 4,
        length,
        ttl: header.ttl,
        part,
        may_cut: fragment & 0x4000 == 0,
        id: u32::from(header.id),
        fragment_header: 0,
        key: FlowKey {
            tuple: Tuple {
                source: header.source,
                destination: header.destination,
                source_port: 0,
                destination_port: 0,
            },
            protocol: u32::from(header.protocol),
        },
    };
    ports(frame, &mut packet)?;
    Ok(packet)
}

/// Parses IPv6 at `l3`, stepping over extension headers.
#[inline(always)]
pub fn ipv6(frame: &impl Frame, l3: usize) -> Result<Packet<[u32; 4]>, Reason> {
    // SAFETY: `at` has checked the bounds; see `wire` for the alignment.
    let header = unsafe { &*frame.near::<Ipv6>(l3)? };
    if u32::from_be(header.version_class_flow) >> 28 != 6 {
        return Err(Reason::BadHeader);
    }
    let mut packet = Packet {
        l3,
        l4: l3 + size_of::<Ipv6>(),
        length: u32::from(u16::from_be(header.payload_length)) + size_of::<Ipv6>() as u32,
        ttl: header.hop_limit,
        part: Part::Whole,
        may_cut: false,
        id: 0,
        fragment_header: 0,
        key: FlowKey {
            tuple: Tuple {
                source: header.source,
                destination: header.destination,
                source_port: 0,
                destination_port: 0,
            },
            protocol: u32::from(header.next_header),
        },
    };
    extensions(frame, &mut packet)?;
    ports(frame, &mut packet)?;
    Ok(packet)
}

/// Most extension headers that are stepped over. Senders rarely use more than
/// two; a limit is common among routers (RFC 9098).
const EXTENSIONS_MAX: usize = 6;

/// What is found behind IPv6 extension headers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Beyond {
    l4: u32,
    protocol: u32,
    part: u32,
    id: u32,
    fragment_header: u32,
}

/// Steps over IPv6 extension headers to the transport header.
#[inline(always)]
fn extensions(frame: &impl Frame, packet: &mut Packet<[u32; 4]>) -> Result<(), Reason> {
    if let proto::TCP | proto::UDP | proto::ICMPV6 = packet.key.protocol as u8 {
        return Ok(());
    }
    // By way of a map, so that the verifier forgets by which path it was found:
    // it would else follow each of them through all the rest of the program.
    let place = maps::BEYOND.get_ptr_mut(0).ok_or(Reason::NotReady)?;
    let found = step_over(frame, packet.l4, packet.key.protocol as u8)?;
    // SAFETY: this processor's own entry; volatile so that it is really read back.
    let found = unsafe {
        place.write_volatile(found);
        place.read_volatile()
    };
    packet.l4 = found.l4 as usize;
    packet.key.protocol = found.protocol & 0xff;
    packet.id = found.id;
    packet.fragment_header = found.fragment_header as usize;
    packet.part = match found.part {
        0 => Part::Whole,
        1 => Part::First,
        _ => Part::Later,
    };
    Ok(())
}

#[inline(always)]
fn step_over(frame: &impl Frame, l4: usize, next: u8) -> Result<Beyond, Reason> {
    let mut next = next;
    let mut beyond = Beyond { l4: l4 as u32, protocol: 0, part: 0, id: 0, fragment_header: 0 };
    for _ in 0..EXTENSIONS_MAX {
        let at = beyond.l4 as usize;
        beyond.protocol = u32::from(next);
        match next {
            proto::TCP | proto::UDP | proto::ICMPV6 => return Ok(beyond),
            proto::HOP_BY_HOP | proto::ROUTING | proto::DESTINATION => {
                // SAFETY: `at` has checked the bounds.
                let header = unsafe { &*frame.at::<Ipv6Extension>(at)? };
                // The destination in the IP header is not the last one, and the
                // checksum is over the last one (RFC 8200, section 8.1).
                if next == proto::ROUTING && header.segments_left != 0 {
                    return Err(Reason::ExtensionHeader);
                }
                next = header.next_header;
                beyond.l4 += (u32::from(header.length) + 1) * 8;
            }
            proto::FRAGMENT => {
                // SAFETY: `at` has checked the bounds.
                let header = unsafe { &*frame.at::<Ipv6Fragment>(at)? };
                if beyond.fragment_header != 0 {
                    return Err(Reason::ExtensionHeader);
                }
                beyond.fragment_header = at as u32;
                beyond.id = header.id;
                beyond.l4 += size_of::<Ipv6Fragment>() as u32;
                next = header.next_header;
                let offset = u16::from_be(header.offset);
                beyond.part = u32::from(offset & 1 != 0);
                if offset & 0xfff8 != 0 {
                    beyond.part = 2;
                    beyond.protocol = u32::from(next);
                    return Ok(beyond);
                }
            }
            _ => return Err(Reason::OtherProtocol),
        }
    }
    Err(Reason::ExtensionHeader)
}

/// Fills in the ports of TCP and UDP, where the packet has them.
#[inline(always)]
fn ports<A>(frame: &impl Frame, packet: &mut Packet<A>) -> Result<(), Reason> {
    let protocol = packet.key.protocol as u8;
    if packet.part == Part::Later || (protocol != proto::TCP && protocol != proto::UDP) {
        return Ok(());
    }
    // SAFETY: `at` has checked the bounds.
    let ports = unsafe { &*frame.at::<Ports>(packet.l4)? };
    packet.key.tuple.source_port = ports.source;
    packet.key.tuple.destination_port = ports.destination;
    Ok(())
}

/// A length of 1 to `MOST`, a power of two, in a form the verifier follows:
/// read back from memory and without a comparison, as the compiler would else
/// turn the checks into something only it understands.
#[inline(always)]
pub fn bounded<const MOST: u32>(length: &u32) -> u32 {
    const { assert!(MOST.is_power_of_two()) };
    // SAFETY: a reference.
    let length = unsafe { core::ptr::read_volatile(length) };
    (length.wrapping_sub(1) & (MOST - 1)) + 1
}

/// The same number, in a register of its own for what follows. The compiler would else
/// load one that it keeps on the stack anew for each use, and the verifier of kernels
/// before 6.8 forgets with each load what a comparison has told it.
#[inline(always)]
pub fn settled(number: usize) -> usize {
    let settled;
    // SAFETY: a copy of one register to another.
    unsafe {
        core::arch::asm!(
            "{settled} = {number}",
            settled = lateout(reg) settled,
            number = in(reg) number,
            options(pure, nomem, nostack),
        );
    }
    settled
}
