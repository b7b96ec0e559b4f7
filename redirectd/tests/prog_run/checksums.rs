//! Transport checksums, at their corners: none, all zeroes, all ones.

use redirectd::rule::Protocol;

use crate::{
    check,
    frame::{ACK, Frame},
    home::{Fate, Home, at_home, redirect},
    network::{FAMILIES, Family, V4},
    run::Arrival,
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

fn open(home: &mut Home, protocol: Protocol, family: &Family) -> Talk {
    home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
    let talk = Talk::new(protocol, family, 40_000);
    home.table(&talk.opening());
    talk
}

/// The transport checksum of a frame without tags, options and extensions.
fn field(talk: &Talk, frame: &Frame) -> u16 {
    let ip = if talk.peer.is_ipv4() { 20 } else { 40 };
    let at = 14 + ip + if talk.protocol == Protocol::Tcp { 16 } else { 6 };
    let bytes = frame.bytes();
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Data for which `frame` has `check` as its checksum: two bytes take up what
/// is between that and the checksum without them.
fn data_for(talk: &Talk, frame: &Frame, check: u16) -> [u8; 2] {
    let without = !field(talk, &frame.clone().data(&[0, 0]));
    // In ones' complement: what must be added to the sum.
    let difference = check::sum(&[&(!check).to_be_bytes(), &(!without).to_be_bytes()]);
    difference.to_be_bytes()
}

#[test]
fn udp_without_a_checksum_stays_without_in_ipv4() {
    at_home(|home| {
        let talk = open(home, Protocol::Udp, &V4);
        home.table(&[
            talk.reaches_host("to the host", |f| f.unsummed().data(b"abc")).by_xdp(),
            talk.reaches_peer("to the peer", |f| f.unsummed().data(b"abc")).by_xdp(),
        ]);
        let new = Talk::new(Protocol::Udp, &V4, 40_001);
        home.table(&[
            new.reaches_host("the first one", |f| f.unsummed().data(b"abc")),
            new.reaches_peer("its answer", |f| f.unsummed().data(b"abc")),
        ]);
    });
}

/// Around all ones and all zeroes, on both sides of the translation.
#[test]
fn corners() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let talk = open(home, protocol, &family);
                let with_flags = |frame: Frame| match protocol {
                    Protocol::Tcp => frame.flags(ACK).seq(101).ack(501),
                    Protocol::Udp => frame,
                };
                for check in [0x0000, 0x0001, 0x0002, 0xfffd, 0xfffe, 0xffff] {
                    let what = format!("{protocol}, {check:04x}");
                    let into = with_flags(talk.peer_sends());
                    let data = data_for(&talk, &into, check);
                    assert_checksum(&talk, &into.data(&data), check);
                    home.table(&[talk.reaches_host(&what, |f| with_flags(f).data(&data)).by_xdp()]);

                    let out = with_flags(talk.peer_gets());
                    let data = data_for(&talk, &out, check);
                    assert_checksum(&talk, &out.data(&data), check);
                    home.table(&[talk.reaches_peer(&what, |f| with_flags(f).data(&data)).by_xdp()]);
                }
            }
        }
    });
}

/// That the case is the one it is meant to be. A sum never comes out as all
/// zeroes, so TCP never has all ones; UDP has them in place of all zeroes.
fn assert_checksum(talk: &Talk, frame: &Frame, wanted: u16) {
    let found = field(talk, frame);
    let zero = [0, 0xffff];
    assert!(found == wanted || zero.contains(&found) && zero.contains(&wanted), "{found:04x}");
}

/// Drivers that sum packets themselves hand the sum along; the kernel checks
/// that it is still right.
#[test]
fn a_sum_that_the_driver_made_stays_right() {
    let summed = Arrival { summed: true, ..Arrival::default() };
    at_home(|home| {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
                let talk = Talk::new(protocol, &family, 40_000);
                let opening: Vec<_> =
                    talk.opening().into_iter().map(|row| row.arriving(summed)).collect();
                home.table(&opening);
                let with_flags = |frame: Frame| match protocol {
                    Protocol::Tcp => frame.flags(ACK).seq(101).ack(501),
                    Protocol::Udp => frame,
                };
                let edit = |frame: Frame| with_flags(frame).data(b"abc");
                let (error, out) = talk.port_unreachable(edit);
                home.table(&[
                    talk.reaches_host("to the host", edit).arriving(summed).by_xdp(),
                    talk.reaches_peer("to the peer", edit).arriving(summed).by_xdp(),
                    Row::sent("an ICMP error", &error, &out)
                        .counted_as("icmp_translated")
                        .arriving(summed),
                ]);
            }
        }
    });
}

/// A later fragment has no checksum in it that would balance what changes.
#[test]
fn the_sum_of_fragments_stays_right() {
    let summed = Arrival { summed: true, ..Arrival::default() };
    at_home(|home| {
        for family in FAMILIES {
            let talk = open(home, Protocol::Udp, &family);
            let fragments = talk.peer_sends().data(&[0xa5; 100]).id(7).fragments(56);
            for fragment in &fragments {
                let fate = home.receive_with(&fragment.bytes(), summed).fate;
                assert!(matches!(fate, Fate::Sent(_)), "{fate:?}");
            }
        }
    });
}
