//! Home as the router it is on the way: what it does with a packet whose time to
//! live runs out, and what it tells the sender.

use redirectd::rule::Protocol;

use crate::{
    extension::Extension,
    frame::{ACK, Frame, SYN},
    home::{Fate, Home, at_home, redirect},
    network::{FAMILIES, V4, V6},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

fn told(what: &str, frame: &Frame) -> Row {
    Row::told(what, frame, "ttl_expired", &frame.complaint((11, 0), (3, 0), 0))
}

fn add_redirects(home: &mut Home) {
    for family in FAMILIES {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
        }
    }
}

#[test]
fn the_sender_is_told() {
    at_home(|home| {
        add_redirects(home);
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let talk = Talk::new(protocol, &family, 40_000);
                home.table(&talk.opening());
                let flags = |frame: Frame| match protocol {
                    Protocol::Tcp => frame.flags(ACK).seq(101).ack(501),
                    Protocol::Udp => frame,
                };
                for ttl in [0, 1] {
                    let what = |who: &str| format!("{protocol} from the {who}, {ttl}");
                    let edit = |frame: Frame| flags(frame).data(b"12345").ttl(ttl);
                    home.table(&[
                        told(&what("peer"), &edit(talk.peer_sends())),
                        told(&what("host"), &edit(talk.host_sends())),
                    ]);
                }
                home.table(&[talk
                    .reaches_host("what follows", |f| flags(f).data(b"12345"))
                    .by_xdp()]);
            }
        }
    });
}

#[test]
fn a_first_packet_counts_like_any_other() {
    at_home(|home| {
        add_redirects(home);
        for family in FAMILIES {
            let tcp = Talk::new(Protocol::Tcp, &family, 40_000);
            let udp = Talk::new(Protocol::Udp, &family, 40_000);
            home.table(&[
                told("SYN", &tcp.peer_sends().flags(SYN).seq(100).ttl(1)),
                told("a first datagram", &udp.peer_sends().data(b"x").ttl(1)),
            ]);
            home.table(&tcp.opening());
        }
    });
}

#[test]
fn options_and_extension_headers_are_quoted() {
    at_home(|home| {
        add_redirects(home);
        let talk = Talk::new(Protocol::Udp, &V4, 40_000);
        home.table(&talk.opening());
        for options in [4, 12, 40] {
            let frame = talk.peer_sends().options(&vec![1; options]).data(b"x").ttl(1);
            home.table(&[told(&format!("{options} bytes of options"), &frame)]);
        }
        let talk = Talk::new(Protocol::Udp, &V6, 40_000);
        home.table(&talk.opening());
        for units in [1, 2, 4] {
            let extension = Extension::hop_by_hop(units);
            let frame = talk.peer_sends().extension(extension).data(b"x").ttl(1);
            home.table(&[told(&format!("{units} times 8 bytes of hop-by-hop options"), &frame)]);
        }
    });
}

/// The message has to go back into the VLAN that the packet came from.
#[test]
fn a_tagged_sender_is_told_with_its_tags() {
    at_home(|home| {
        add_redirects(home);
        for family in FAMILIES {
            let talk = Talk::new(Protocol::Udp, &family, 40_000);
            home.table(&talk.opening());
            let cases: [&[(u16, u16)]; 2] = [&[(0x8100, 7)], &[(0x88a8, 100), (0x8100, 7)]];
            for tags in cases {
                let frame =
                    tags.iter().fold(talk.peer_sends(), |frame, tag| frame.tag(tag.0, tag.1));
                home.table(&[told(&format!("{} tags", tags.len()), &frame.data(b"x").ttl(1))]);
            }
        }
    });
}

/// RFC 1812, section 4.3.2.8: there is a limit to how much home tells.
#[test]
fn there_is_a_limit() {
    at_home(|home| {
        add_redirects(home);
        let talk = Talk::new(Protocol::Udp, &V4, 40_000);
        home.table(&talk.opening());
        let frame = talk.peer_sends().data(b"x").ttl(1).bytes();
        let mut told = 0;
        let mut dropped = 0;
        let before = home.reasons();
        // Faster than the limit, on a busy machine too.
        for _ in 0..500 {
            match home.receive_uncounted(&frame) {
                Fate::Sent(_) => told += 1,
                Fate::Dropped => dropped += 1,
                Fate::Passed => panic!("passed"),
            }
        }
        assert_eq!(home.counted_since(&before)["ttl_expired"].packets, 500);
        assert!(told >= 50, "{told} told, {dropped} dropped");
        assert!(dropped > 0, "{told} told, {dropped} dropped");
    });
}
