use redirectd_ebpf::group::NOTED;

use super::*;

/// A frame as a stranger to this module makes it: with right checksums.
fn frame(v4: bool, tcp: bool, payload: &[u8]) -> Vec<u8> {
    use etherparse::PacketBuilder;
    let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let builder = if v4 {
        builder.ipv4([198, 51, 100, 7], [192, 0, 2, 1], 64)
    } else {
        let (mut peer, mut home) = ([0x20; 16], [0x20; 16]);
        (peer[15], home[15]) = (7, 1);
        builder.ipv6(peer, home, 64)
    };
    let mut bytes = Vec::new();
    let written = if tcp {
        builder.tcp(40_000, 80, 100, 500).write(&mut bytes, payload)
    } else {
        builder.udp(40_000, 80).write(&mut bytes, payload)
    };
    written.expect("a Vec takes everything");
    bytes
}

fn check(v4: bool, tcp: bool) -> usize {
    ETHERNET + if v4 { 20 } else { 40 } + if tcp { 16 } else { 6 }
}

fn numbers(header: [u8; OFFLOAD_BYTES]) -> [u16; 4] {
    [2, 4, 6, 8].map(|at| u16::from_ne_bytes([header[at], header[at + 1]]))
}

const KINDS: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

#[test]
fn a_complete_checksum_is_left_alone() {
    for (v4, tcp) in KINDS {
        let mut bytes = frame(v4, tcp, b"hello");
        let before = bytes.clone();
        assert_eq!(offload(&mut bytes, 0), [0; OFFLOAD_BYTES]);
        assert_eq!(bytes, before);
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    for (v4, tcp) in KINDS {
        let mut bytes = frame(v4, tcp, b"hello");
        let place = check(v4, tcp);
        bytes[place] ^= 0x55;
        let before = bytes.clone();
        assert_eq!(offload(&mut bytes, 0), [0; OFFLOAD_BYTES]);
        assert_eq!(bytes, before);
    }
}

/// What is partial is told so, and finishing it as hardware does gives what
/// was there.
#[test]
fn a_partial_checksum_is_told() {
    for (v4, tcp) in KINDS {
        let whole = frame(v4, tcp, b"hello, world");
        let place = check(v4, tcp);
        let mut bytes = whole.clone();
        let packet = ethernet(&bytes).expect("it is a packet");
        bytes[place..place + 2].copy_from_slice(&pseudo_sum(&packet).to_be_bytes());
        let header = offload(&mut bytes, 0);
        assert_eq!((header[0], header[1]), (NEEDS_CSUM, 0));
        let [_, size, start, offset] = numbers(header).map(usize::from);
        assert_eq!((size, start + offset), (0, place));
        let finished = !sum(&bytes[start..], 0);
        bytes[place..place + 2].copy_from_slice(&finished.to_be_bytes());
        assert_eq!(bytes, whole);
    }
}

#[test]
fn a_batch_is_told_with_its_segments() {
    for (v4, tcp) in KINDS {
        let mut bytes = frame(v4, tcp, &[1; 4_000]);
        let header = offload(&mut bytes, 1_400);
        let kind = match (v4, tcp) {
            (true, true) => GSO_TCPV4,
            (false, true) => GSO_TCPV6,
            (_, false) => GSO_UDP_L4,
        };
        assert_eq!((header[0], header[1]), (NEEDS_CSUM, kind));
        let headers = ETHERNET + if v4 { 20 } else { 40 } + if tcp { 20 } else { 8 };
        let [length, size, ..] = numbers(header);
        assert_eq!((usize::from(length), size), (headers, 1_400));
        let place = check(v4, tcp);
        let pseudo = pseudo_sum(&ethernet(&bytes).expect("it is a packet"));
        assert_eq!(word(&bytes, place), Some(pseudo));
    }
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut bytes = frame(true, false, b"hello");
    let place = check(true, false);
    bytes[place..place + 2].fill(0);
    assert_eq!(offload(&mut bytes, 0), [0; OFFLOAD_BYTES]);
    assert_eq!(word(&bytes, place), Some(0));
}

#[test]
fn a_flow_is_known_by_its_endpoints() {
    for (v4, tcp) in KINDS {
        let bytes = frame(v4, tcp, b"hello");
        let origin = origin(&bytes, 0).expect("it has one");
        assert_eq!(origin.protocol, if tcp { Protocol::Tcp } else { Protocol::Udp });
        assert_eq!((origin.peer.1, origin.home.1), (40_000, 80));
        assert_eq!(origin.peer.0.is_ipv4(), v4);
        assert!(!origin.error);
    }
}

/// The numbers that it takes are known from its headers alone, whatever tag is in
/// front of them, and whether or not hardware has padded it.
#[test]
fn the_sequence_numbers_of_a_segment_are_known() {
    for v4 in [true, false] {
        let mut bytes = frame(v4, true, &[7; 200]);
        let l4 = check(v4, true) - 16;
        bytes[l4 + 13] = SYN | FIN | PSH | 0x10;
        let expected =
            Segments { first: 100, data: 200, each: 1_000, syn: true, fin: true, push: true };
        let cut = bytes[..NOTED as usize].to_vec();
        let padded = [&bytes[..], &[0; 9]].concat();
        for frame in [&bytes, &cut, &padded, &tagged(&bytes, 0x8100_0064)] {
            assert_eq!(origin(frame, 1_000).expect("it has one").segments, Some(expected));
        }
        bytes[l4 + 13] = 0x10;
        let expected = Segments { first: 100, data: 200, ..Segments::default() };
        assert_eq!(origin(&bytes, 0).expect("it has one").segments, Some(expected));
        bytes[l4 + 13] |= RST;
        assert_eq!(origin(&bytes, 0).expect("it has one").segments, None, "a reset takes none");
        let udp = frame(v4, false, b"hello");
        assert_eq!(origin(&udp, 0).expect("it has one").segments, None);
    }
}

/// How long the segment is of which a fragment is the first is not in it.
#[test]
fn a_fragment_takes_no_numbers_that_are_known() {
    let mut bytes = frame(true, true, b"hello");
    bytes[ETHERNET + 6] |= 0x20;
    assert_eq!(origin(&bytes, 0).expect("it has one").segments, None);
}

#[test]
fn a_tag_is_put_back() {
    let bytes = frame(true, true, b"hello");
    let with = tagged(&bytes, 0x8100_0064);
    assert_eq!(with.len(), bytes.len() + 4);
    assert_eq!(with[12..16], [0x81, 0, 0, 0x64]);
    assert_eq!(origin(&with, 0), origin(&bytes, 0));
    assert_eq!(tagged(&bytes, 0), bytes);
}

#[test]
fn no_bytes_make_it_panic() {
    for (v4, tcp) in KINDS {
        let bytes = frame(v4, tcp, b"hello");
        for length in 0..bytes.len() {
            let mut cut = bytes[..length].to_vec();
            let _ = origin(&cut, 0);
            let _ = offload(&mut cut, 0);
            let _ = offload(&mut cut, 1_000);
        }
    }
}
