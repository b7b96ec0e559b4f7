//! Packets larger than the way on takes: told so, with the size that fits.

use redirectd::rule::Protocol;

use crate::{
    frame::{ACK, Frame},
    home::{Entry, Home, TABLES, at_entry, at_home, redirect},
    network::{FAMILIES, Family, NARROW_MTU},
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

/// "Fragmentation needed" or "packet too big" about `frame`.
fn too_big(frame: &Frame, mtu: u16) -> Frame {
    let v4 = frame.source.is_ipv4();
    let quoted = if v4 { 28 } else { 48 };
    Frame::icmp(frame.destination, frame.source, if v4 { (3, 4) } else { (2, 0) }, mtu.into())
        .macs(frame.macs.1, frame.macs.0)
        .class(if v4 { 0xc0 } else { 0 })
        .data(&frame.packet()[..quoted])
}

#[test]
fn the_sender_is_told_what_fits() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let talk = open(home, protocol, &family);
                let fits = usize::from(NARROW_MTU) - headers(&talk);
                let frame = |data: usize| flags(&talk, talk.from_peer()).data(&vec![9; data]);
                let told = |what: &str, frame: Frame| {
                    let message = too_big(&frame, NARROW_MTU);
                    Row::told(what, &frame, "too_big", &message)
                };
                home.table(&[
                    talk.to_host("fits", |f| flags(&talk, f).data(&vec![9; fits])).by_xdp(),
                    told("one byte too many", frame(fits + 1)),
                    told("the usual size", frame(1500 - headers(&talk))),
                    told("may be cut up, but not by us", frame(fits + 1).may_fragment()),
                    talk.to_peer("the way back is wider", |f| {
                        flags(&talk, f).data(&vec![9; 1500 - headers(&talk)])
                    })
                    .by_xdp(),
                ]);
                let long = flags(&talk, talk.from_host()).data(&vec![9; 1501 - headers(&talk)]);
                let message = too_big(&long, 1500);
                home.table(&[Row::told("longer than Ethernet takes", &long, "too_big", &message)]);
            }
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
            let message = too_big(&frame, NARROW_MTU);
            home.table(&[
                talk.to_host("fits", edit)
                    .arriving(batch(fits))
                    .counted_times(u64::from(3000_u32.div_ceil(fits))),
                Row::told("does not", &frame, "too_big", &message).arriving(batch(fits + 1)),
            ]);
        }
    });
}
