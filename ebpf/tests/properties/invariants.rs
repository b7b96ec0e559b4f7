//! What holds for `csum` and `nat` whatever the bytes are. The property tests
//! and the fuzz targets of `ebpf/fuzz` run the same functions.

use redirectd_ebpf::{
    abi::{Addr, Tuple},
    csum::{self, Check, Delta},
    nat::{self, Deltas},
    wire::{Ipv4, Ipv6, Ports, Tcp, Udp},
};

/// Takes values off the front of some bytes; behind the last one are zeroes.
struct Source<'b>(&'b [u8]);

impl Source<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let count = N.min(self.0.len());
        taken[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        taken
    }

    fn word(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }

    fn flag(&mut self) -> bool {
        self.take::<1>()[0] & 1 != 0
    }

    /// All that is left, at most `most` bytes of it.
    fn rest(&mut self, most: usize) -> Vec<u8> {
        self.0[..self.0.len().min(most)].to_vec()
    }
}

/// The checksum of all words, the slow way: by the definition of RFC 1071, in
/// network byte order.
fn full_check(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words =
        bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A checksum that is kept up to date while words change, by twos and alone,
/// stays the one that a sum from scratch gives; and taken back, each change
/// leaves the field as it was.
pub(crate) fn checksum(bytes: &[u8]) {
    let mut source = Source(bytes);
    let at = usize::from(source.take::<1>()[0]);
    let (new, long) = (source.word(), u32::from_ne_bytes(source.take()));
    // Never all zeroes, which no packet is: then the field could be 0xffff.
    let mut packet = [&[1][..], &source.rest(300)].concat();
    packet.resize(packet.len().max(6).next_multiple_of(2), 0);
    assert_eq!(!csum::sum(&packet), full_check(&[&packet]).to_be());

    let word = 2 + at * 2 % (packet.len() - 2);
    let read = |packet: &[u8]| u16::from_ne_bytes([packet[word], packet[word + 1]]);
    let (before, old) = (!csum::sum(&packet), read(&packet));
    packet[word..word + 2].copy_from_slice(&new.to_ne_bytes());
    let delta = Delta::word(old, new);
    let after = Check::after(before, delta);
    assert_eq!(after, full_check(&[&packet]).to_be());
    assert_eq!(Check::after(after, delta.undone()), before);

    let twice = 2 + at * 2 % (packet.len() - 4);
    let old = u32::from_ne_bytes(packet[twice..twice + 4].try_into().expect("four bytes"));
    packet[twice..twice + 4].copy_from_slice(&long.to_ne_bytes());
    let delta = Delta::long(old, long);
    let again = Check::after(after, delta);
    assert_eq!(again, full_check(&[&packet]).to_be());
    assert_eq!(Check::after(again, delta.undone()), after);
}

/// An address family, as far as these tests need it.
trait Family: Addr + std::fmt::Debug {
    const HEADER: usize;
    fn address(source: &mut Source<'_>) -> Self;
    fn bytes(self) -> Vec<u8>;
    /// A header without options for `payload` bytes.
    fn header(tuple: &Tuple<Self>, protocol: u8, ttl: u8, payload: usize) -> Vec<u8>;
    /// Gives the header at the start of `packet` other addresses.
    fn rewrite(packet: &mut [u8], to: &Tuple<Self>, delta: Delta);
    /// What of a change of addresses the sum over the whole header sees.
    fn visible(delta: Delta) -> Delta;
}

impl Family for u32 {
    const HEADER: usize = size_of::<Ipv4>();

    fn address(source: &mut Source<'_>) -> Self {
        Self::from_ne_bytes(source.take())
    }

    fn bytes(self) -> Vec<u8> {
        self.to_ne_bytes().to_vec()
    }

    fn header(tuple: &Tuple<Self>, protocol: u8, ttl: u8, payload: usize) -> Vec<u8> {
        let length = (Self::HEADER + payload) as u16;
        let mut header = vec![0x45, 0];
        header.extend(length.to_be_bytes());
        header.extend([0x12, 0x34, 0x40, 0, ttl, protocol, 0, 0]);
        header.extend(tuple.source.bytes());
        header.extend(tuple.destination.bytes());
        let check = full_check(&[&header]);
        header[10..12].copy_from_slice(&check.to_be_bytes());
        header
    }

    fn rewrite(packet: &mut [u8], to: &Tuple<Self>, delta: Delta) {
        edit(packet, 0, |header: &mut Ipv4| nat::ipv4(header, to.source, to.destination, delta));
    }

    fn visible(_: Delta) -> Delta {
        Delta::NONE
    }
}

impl Family for [u32; 4] {
    const HEADER: usize = size_of::<Ipv6>();

    fn address(source: &mut Source<'_>) -> Self {
        std::array::from_fn(|_| u32::from_ne_bytes(source.take()))
    }

    fn bytes(self) -> Vec<u8> {
        self.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn header(tuple: &Tuple<Self>, protocol: u8, ttl: u8, payload: usize) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((payload as u16).to_be_bytes());
        header.extend([protocol, ttl]);
        header.extend(tuple.source.bytes());
        header.extend(tuple.destination.bytes());
        header
    }

    fn rewrite(packet: &mut [u8], to: &Tuple<Self>, _: Delta) {
        edit(packet, 0, |header: &mut Ipv6| nat::ipv6(header, to.source, to.destination));
    }

    fn visible(delta: Delta) -> Delta {
        delta
    }
}

/// Copies a header out of a packet and, changed, in again: on the host it must
/// not be looked at where it lies, see `wire`.
fn edit<T: Copy>(packet: &mut [u8], at: usize, change: impl FnOnce(&mut T)) {
    let place = packet[at..at + size_of::<T>()].as_mut_ptr().cast::<T>();
    // SAFETY: as many bytes as `T` has, any of which are a valid header.
    unsafe {
        let mut header = place.read_unaligned();
        change(&mut header);
        place.write_unaligned(header);
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Where the checksum lies in the transport header.
fn check_offset(protocol: u8) -> usize {
    if protocol == TCP { Tcp::CHECK_OFFSET } else { Udp::CHECK_OFFSET }
}

/// A packet with all checksums right; with `unsummed` and UDP over IPv4, without
/// the transport's.
fn packet<A: Family>(
    tuple: &Tuple<A>,
    protocol: u8,
    ttl: u8,
    unsummed: bool,
    data: &[u8],
) -> Vec<u8> {
    let mut segment = tuple.source_port.to_ne_bytes().to_vec();
    segment.extend(tuple.destination_port.to_ne_bytes());
    if protocol == TCP {
        segment.extend([0, 0, 0, 9, 0, 0, 0, 7, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        segment.extend(((8 + data.len()) as u16).to_be_bytes());
        segment.extend([0, 0]);
    }
    segment.extend(data);
    if !(unsummed && protocol == UDP && A::HEADER == 20) {
        let check = match transport_check(tuple, protocol, &segment) {
            0 if protocol == UDP => 0xffff,
            check => check,
        };
        let at = check_offset(protocol);
        segment[at..at + 2].copy_from_slice(&check.to_be_bytes());
    }
    [A::header(tuple, protocol, ttl, segment.len()), segment].concat()
}

/// The transport's checksum over everything, the field itself included.
fn transport_check<A: Family>(tuple: &Tuple<A>, protocol: u8, segment: &[u8]) -> u16 {
    let length = (segment.len() as u32).to_be_bytes();
    let pseudo = [tuple.source.bytes(), tuple.destination.bytes()].concat();
    full_check(&[&pseudo, &length, &[0, 0, 0, protocol], segment])
}

fn assert_sound<A: Family>(packet: &[u8], tuple: &Tuple<A>, protocol: u8) {
    let (header, segment) = packet.split_at(A::HEADER);
    if A::HEADER == 20 {
        assert_eq!(full_check(&[header]), 0, "the IPv4 header of {packet:02x?}");
    }
    let at = check_offset(protocol);
    let none = protocol == UDP && segment[at..at + 2] == [0, 0];
    assert!(!none || A::HEADER == 20, "UDP over IPv6 without a checksum: {packet:02x?}");
    if !none {
        assert_eq!(transport_check(tuple, protocol, segment), 0, "the transport of {packet:02x?}");
    }
}

/// What the programs do to a packet of a flow, but for the time to live.
fn translate<A: Family>(packet: &mut [u8], to: &Tuple<A>, protocol: u8, deltas: &Deltas) {
    let l4 = A::HEADER;
    A::rewrite(packet, to, deltas.addresses);
    edit(packet, l4, |ports: &mut Ports| nat::ports(ports, to.source_port, to.destination_port));
    let change = deltas.transport();
    if protocol == TCP {
        edit(packet, l4, |header: &mut Tcp| nat::tcp_check(header, change));
    } else {
        edit(packet, l4, |header: &mut Udp| nat::udp_check(header, change));
    }
}

fn undone(deltas: &Deltas) -> Deltas {
    Deltas { addresses: deltas.addresses.undone(), ports: deltas.ports.undone() }
}

fn tuple<A: Family>(source: &mut Source<'_>) -> Tuple<A> {
    Tuple {
        source: A::address(source),
        destination: A::address(source),
        source_port: source.word(),
        destination_port: source.word(),
    }
}

/// Translated, a packet is the one that its new sender would have made; translated
/// back, it is the one that it was, to the bit.
pub(crate) fn there_and_back(bytes: &[u8]) {
    let mut source = Source(bytes);
    if source.flag() { packets::<[u32; 4]>(&mut source) } else { packets::<u32>(&mut source) }
}

fn packets<A: Family>(source: &mut Source<'_>) {
    let protocol = if source.flag() { TCP } else { UDP };
    let (unsummed, [ttl]) = (source.flag(), source.take());
    let (from, to) = (tuple::<A>(source), tuple::<A>(source));
    let data = source.rest(200);
    let original = packet(&from, protocol, ttl, unsummed, &data);
    let deltas = Deltas::between(&from, &to);

    let mut translated = original.clone();
    translate(&mut translated, &to, protocol, &deltas);
    assert_sound(&translated, &to, protocol);
    assert_eq!(translated, packet(&to, protocol, ttl, unsummed, &data));

    let mut back = translated.clone();
    translate(&mut back, &from, protocol, &undone(&deltas));
    assert_eq!(back, original, "by the change undone");
    translate(&mut translated, &from, protocol, &Deltas::between(&to, &from));
    assert_eq!(translated, original, "by the change the other way");

    hops::<A>(original);
}

/// A hop takes one off the time to live, and leaves IPv4's checksum right.
fn hops<A: Family>(mut packet: Vec<u8>) {
    if A::HEADER == 20 {
        let ttl = packet[8];
        edit(&mut packet, 0, nat::ipv4_hop);
        assert_eq!(packet[8], ttl.wrapping_sub(1));
        edit(&mut packet, 0, |header: &mut Ipv4| nat::ipv4_id(header, 0xbeef_u16.to_be()));
        assert_eq!(packet[4..6], [0xbe, 0xef]);
        assert_eq!(full_check(&[&packet[..20]]), 0);
    } else {
        let hop_limit = packet[7];
        edit(&mut packet, 0, nat::ipv6_hop);
        assert_eq!(packet[7], hop_limit.wrapping_sub(1));
    }
}

/// The packet quoted in an ICMP error, cut off anywhere behind its ports: its
/// translation leaves the message's checksum right, and undoes itself.
pub(crate) fn quote_there_and_back(bytes: &[u8]) {
    let mut source = Source(bytes);
    if source.flag() { quotes::<[u32; 4]>(&mut source) } else { quotes::<u32>(&mut source) }
}

fn quotes<A: Family>(source: &mut Source<'_>) {
    let protocol = if source.flag() { TCP } else { UDP };
    let (unsummed, [cut]) = (source.flag(), source.take());
    let (from, to) = (tuple::<A>(source), tuple::<A>(source));
    let data = source.rest(60);
    let whole = packet(&from, protocol, 60, unsummed, &data);
    let shortest = A::HEADER + 8;
    let length = shortest + usize::from(cut) % (whole.len() - shortest + 1);
    let message = Message::about(&whole[..length]);

    let mut translated = message.clone();
    translated.translate(&to, protocol, &Deltas::between(&from, &to));
    assert_eq!(translated.full_check(), 0, "{translated:02x?}");
    let has_check = length >= A::HEADER + check_offset(protocol) + 2;
    if has_check {
        let expected = packet(&to, protocol, 60, unsummed, &data);
        assert_eq!(translated.quote, expected[..length]);
    }
    translated.translate(&from, protocol, &Deltas::between(&to, &from));
    assert_eq!(translated, message);
}

/// The part of an ICMP message that its translation has to do with. The pseudo-
/// header that ICMPv6 sums as well is another matter: it changes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    check: u16,
    quote: Vec<u8>,
}

impl Message {
    /// "Port unreachable".
    const HEADER: [u8; 2] = [3, 3];

    fn about(quote: &[u8]) -> Self {
        let check = full_check(&[&Self::HEADER, quote]).to_be();
        Self { check, quote: quote.to_vec() }
    }

    fn full_check(&self) -> u16 {
        full_check(&[&Self::HEADER, &self.check.to_ne_bytes(), &self.quote])
    }

    /// The steps of the programs' `icmp.rs`.
    fn translate<A: Family>(&mut self, to: &Tuple<A>, protocol: u8, deltas: &Deltas) {
        let (quote, l4) = (&mut self.quote, A::HEADER);
        A::rewrite(quote, to, deltas.addresses);
        let (mut before, mut after) = (0, 0);
        let change = deltas.transport();
        if protocol == UDP {
            edit(quote, l4, |header: &mut Udp| {
                before = header.check;
                nat::udp_check(header, change);
                after = header.check;
            });
        } else if quote.len() >= l4 + Tcp::CHECK_OFFSET + 2 {
            edit(quote, l4 + Tcp::CHECK_OFFSET, |check: &mut u16| {
                before = *check;
                *check = Check::after(before, change);
                after = *check;
            });
        }
        edit(quote, l4, |ports: &mut Ports| nat::ports(ports, to.source_port, to.destination_port));
        let seen = nat::quote_delta(A::visible(deltas.addresses), deltas.ports, before, after);
        self.check = Check::after(self.check, seen);
    }
}
