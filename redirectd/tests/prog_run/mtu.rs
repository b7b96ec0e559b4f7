//! Packets larger than the way on takes: told so, with the size that fits.

use redirectd::rule::Protocol;

use crate::{
    frame::{ACK, Frame, TTL},
    home::{Entry, Home, TABLES, at_entry, at_home, redirect},
    network::{FAMILIES, Family, NARROW_MTU, NO_MAC, V4, V6},
    run::Arrival,
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// A flow to the host behind the narrow route.
fn open(home: &mut Home, protocol: Protocol, family: &Family) -> Talk {
    home.add(&redirect(protocol, (family.home, HOME_PORT), (family.narrow, HOST_PORT)));
    let talk =
        Talk { host: (family.narrow, HOST_PORT).into(), ..Talk::new(protocol, family, 40_000) };
    home.table(&talk.opening());
    talk
}

fn headers(talk: &Talk) -> usize {
    let ip = if talk.peer.is_ipv4() { 20 } else { 40 };
    ip + if talk.protocol == Protocol::Tcp { 20 } else { 8 }
}

fn flags(talk: &Talk, frame: Frame) -> Frame {
    match talk.protocol {
        Protocol::Tcp => frame.flags(ACK).seq(101).ack(501),
        Protocol::Udp => frame,
    }
}

/// "Fragmentation needed" or "packet too big".
fn told(what: &str, frame: &Frame, mtu: u16) -> Row {
    Row::told(what, frame, "too_big", &frame.complaint((3, 4), (2, 0), mtu.into()))
}

#[test]
fn the_sender_is_told_what_fits() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let talk = open(home, protocol, &family);
                let fits = usize::from(NARROW_MTU) - headers(&talk);
                let frame = |data: usize| flags(&talk, talk.from_peer()).data(&vec![9; data]);
                home.table(&[
                    talk.to_host("fits", |f| flags(&talk, f).data(&vec![9; fits])).by_xdp(),
                    told("one byte too many", &frame(fits + 1), NARROW_MTU),
                    told("the usual size", &frame(1500 - headers(&talk)), NARROW_MTU),
                    talk.to_peer("the way back is wider", |f| {
                        flags(&talk, f).data(&vec![9; 1500 - headers(&talk)])
                    })
                    .by_xdp(),
                ]);
                let long = flags(&talk, talk.from_host()).data(&vec![9; 1501 - headers(&talk)]);
                home.table(&[told("longer than Ethernet takes", &long, 1500)]);
            }
        }
    });
}

/// RFC 4787, REQ-13: what may be cut up is, by home's own IP stack behind `lo`.
#[test]
fn what_may_be_cut_up_is_left_to_the_stack() {
    at_home(|home| {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let talk = open(home, protocol, &V4);
            let edit = |frame: Frame| flags(&talk, frame).data(&[9; 1300]).may_fragment().id(77);
            let out = edit(talk.at_host()).macs(NO_MAC, NO_MAC).ttl(TTL - 1);
            home.table(&[Row::sent("too long", &edit(talk.from_peer()), &out)]);
            // IPv6 has no such leave: only the sender cuts up (RFC 8200, section 5).
            let talk = open(home, protocol, &V6);
            let frame = flags(&talk, talk.from_peer()).data(&[9; 1300]).may_fragment();
            home.table(&[told("too long", &frame, NARROW_MTU)]);
        }
    });
}

/// Batches of segments are cut up on the way out; each segment counts.
#[test]
fn segments_of_a_batch_count_one_by_one() {
    at_entry(Entry::Tc, TABLES, |home| {
        for family in FAMILIES {
            let talk = open(home, Protocol::Tcp, &family);
            let fits = u32::from(NARROW_MTU) - headers(&talk) as u32;
            let edit = |frame: Frame| flags(&talk, frame).data(&[9; 3000]);
            let batch = |size: u32| Arrival {
                segments: Some((size, 3000_u32.div_ceil(size))),
                ..Arrival::default()
            };
            let frame = edit(talk.from_peer());
            home.table(&[
                talk.to_host("fits", edit)
                    .arriving(batch(fits))
                    .counted_times(u64::from(3000_u32.div_ceil(fits))),
                told("does not", &frame, NARROW_MTU).arriving(batch(fits + 1)),
            ]);
        }
    });
}
