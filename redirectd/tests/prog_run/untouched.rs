//! What is none of ours: passed to the kernel as it came, with its reason.

use redirectd::rule::Protocol;

use crate::{
    extension::Extension,
    frame::{ACK, FIN, Frame, RST, SYN},
    home::{Home, at_home, redirect},
    network::{FAMILIES, FRONT_MAC, Family, GATEWAY_MAC, STRANGER_MAC, V4, V6},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// Redirects [`HOME_PORT`] in both families and protocols.
fn add_redirects(home: &mut Home) {
    for family in FAMILIES {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
        }
    }
}

/// A frame at home's door, from the gateway.
fn at_the_door(frame: Frame) -> Frame {
    frame.macs(FRONT_MAC, GATEWAY_MAC)
}

#[test]
fn homes_own_traffic() {
    at_home(|home| {
        add_redirects(home);
        for Family { home: address, peer, host, .. } in FAMILIES {
            let tcp = |from: u16, to: u16| Frame::tcp((peer, from).into(), (address, to).into());
            let udp = |from: u16, to: u16| Frame::udp((peer, from).into(), (address, to).into());
            let passed =
                |what: &str, frame: Frame| Row::passed(what, &at_the_door(frame), "no_redirect");
            home.table(&[
                passed("SYN to another port", tcp(40_000, 22).flags(SYN)),
                passed("data to another port", tcp(40_000, 22).flags(ACK).data(b"x")),
                passed("a datagram to another port", udp(40_000, 53).data(b"x")),
                passed("from the home port to another", udp(HOME_PORT, 53)),
                passed("from the target port to another", tcp(HOST_PORT, 22).flags(SYN)),
                passed("to the target's port at home", tcp(40_000, HOST_PORT).flags(SYN)),
                passed(
                    "the home port at another address",
                    Frame::tcp((peer, 40_000).into(), (host, HOME_PORT).into()).flags(SYN),
                ),
            ]);
        }
        assert!(home.flows().is_empty(), "{:?}", home.flows());
    });
}

#[test]
fn tcp_that_opens_nothing() {
    at_home(|home| {
        add_redirects(home);
        for family in FAMILIES {
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            let passed = |what: &str, flags: u8| {
                Row::passed(what, &talk.peer_sends().flags(flags), "not_an_opening")
            };
            home.table(&[
                passed("nothing set", 0),
                passed("ACK", ACK),
                passed("FIN", FIN),
                passed("FIN and ACK", FIN | ACK),
                passed("RST", RST),
                passed("SYN and ACK", SYN | ACK),
                passed("SYN and RST", SYN | RST),
                Row::passed("from the host, unasked", &talk.host_sends().flags(SYN), "no_redirect"),
                Row::passed(
                    "answer to nothing",
                    &talk.host_sends().flags(SYN | ACK),
                    "no_redirect",
                ),
            ]);
        }
        assert!(home.flows().is_empty(), "{:?}", home.flows());
    });
}

#[test]
fn frames_for_other_stations() {
    at_home(|home| {
        add_redirects(home);
        let all_nodes = [0x33, 0x33, 0, 0, 0, 1];
        for family in FAMILIES {
            let talk = Talk::new(Protocol::Udp, &family, 40_000);
            let rows = |when: &str| {
                let frame = |station| talk.peer_sends().macs(station, GATEWAY_MAC);
                let passed = |whom: &str, station| {
                    Row::passed(&format!("to {whom}, {when}"), &frame(station), "other_host")
                };
                [
                    passed("another station", STRANGER_MAC),
                    passed("all stations", [0xff; 6]),
                    passed("a group", all_nodes),
                ]
            };
            home.table(&rows("before there is a flow"));
            home.table(&talk.opening());
            home.table(&rows("of an established flow"));
        }
    });
}

#[test]
fn what_is_not_ip() {
    at_home(|home| {
        add_redirects(home);
        let syn = Talk::new(Protocol::Tcp, &V4, 40_000).peer_sends().flags(SYN);
        let with_type = |ether_type: u16| {
            let mut frame = syn.bytes();
            frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
            frame
        };
        let passed = |what: &str, frame| Row::bytes_passed(what, frame, "not_ip");
        home.table(&[
            passed("ARP", with_type(0x0806)),
            passed("LLDP", with_type(0x88cc)),
            passed("MPLS", with_type(0x8847)),
            passed("PPPoE", with_type(0x8864)),
            passed("IEEE 802.3 with a length", with_type(60)),
            passed("ARP with a tag", {
                let mut frame = syn.clone().tag(0x8100, 7).bytes();
                frame[16..18].copy_from_slice(&0x0806_u16.to_be_bytes());
                frame
            }),
            passed("three tags", syn.clone().tag(0x88a8, 1).tag(0x8100, 2).tag(0x8100, 3).bytes()),
        ]);
    });
}

#[test]
fn headers_that_contradict_themselves() {
    at_home(|home| {
        add_redirects(home);
        let v4 = Talk::new(Protocol::Tcp, &V4, 40_000).peer_sends().flags(SYN);
        let v6 = Talk::new(Protocol::Tcp, &V6, 40_000).peer_sends().flags(SYN);
        let changed = |frame: &Frame, at: usize, bytes: &[u8]| {
            let mut frame = frame.bytes();
            frame[14 + at..14 + at + bytes.len()].copy_from_slice(bytes);
            frame
        };
        let passed = |what: &str, frame| Row::bytes_passed(what, frame, "bad_header");
        home.table(&[
            passed("IPv4 of version 6", changed(&v4, 0, &[0x65])),
            passed("IPv4 with a header of 16 bytes", changed(&v4, 0, &[0x44])),
            passed("IPv4 with a header of none", changed(&v4, 0, &[0x40])),
            passed("IPv4 with a length of 19", changed(&v4, 2, &[0, 19])),
            passed("IPv4 with a length of none", changed(&v4, 2, &[0, 0])),
            passed("IPv4 shorter than its options", changed(&v4, 0, &[0x4f, 0, 0, 59])),
            passed("IPv6 of version 4", changed(&v6, 0, &[0x45])),
            passed("IPv6 of version 0", changed(&v6, 0, &[0x00])),
        ]);
    });
}

#[test]
fn other_protocols() {
    at_home(|home| {
        add_redirects(home);
        for Family { home: address, peer, .. } in FAMILIES {
            let row = |what: &str, protocol: u8| {
                let frame = Frame::other(peer, address, protocol, &[0; 32]);
                Row::passed(what, &at_the_door(frame), "other_protocol")
            };
            home.table(&[
                row("IGMP", 2),
                row("IP in IP", 4),
                row("IPv6 in IP", 41),
                row("GRE", 47),
                row("ESP", 50),
                row("OSPF", 89),
                row("SCTP", 132),
                row("UDP-Lite", 136),
                row("no next header", 59),
                row("an experiment", 253),
                row("the last number", 255),
            ]);
        }
    });
}

#[test]
fn icmp_that_is_no_error() {
    at_home(|home| {
        add_redirects(home);
        let message = |family: &Family, what: &str, kind: u8| {
            let frame = Frame::icmp(family.peer, family.home, (kind, 0), 0x1234_0001);
            Row::passed(what, &at_the_door(frame.data(&[0; 40])), "icmp_not_ours")
        };
        home.table(&[
            message(&V4, "echo request", 8),
            message(&V4, "echo reply", 0),
            message(&V4, "source quench", 4),
            message(&V4, "redirect", 5),
            message(&V4, "router advertisement", 9),
            message(&V4, "timestamp", 13),
            message(&V4, "ICMPv6's echo request in IPv4", 128),
            message(&V6, "echo request", 128),
            message(&V6, "echo reply", 129),
            message(&V6, "router solicitation", 133),
            message(&V6, "router advertisement", 134),
            message(&V6, "neighbour solicitation", 135),
            message(&V6, "neighbour advertisement", 136),
            message(&V6, "redirect", 137),
            message(&V6, "multicast listener report", 143),
            message(&V6, "reserved", 0),
            message(&V6, "private", 100),
        ]);
    });
}

#[test]
fn a_peer_of_link_scope() {
    at_home(|home| {
        add_redirects(home);
        let peer: std::net::IpAddr = "fe80::1:2".parse().expect("an address");
        let frame = |protocol| {
            let talk = Talk { peer: (peer, 40_000).into(), ..Talk::new(protocol, &V6, 0) };
            at_the_door(talk.peer_sends())
        };
        home.table(&[
            Row::passed("TCP", &frame(Protocol::Tcp).flags(SYN), "link_local_peer"),
            Row::passed("UDP", &frame(Protocol::Udp), "link_local_peer"),
        ]);
    });
}

#[test]
fn ipv6_extension_headers_that_hide_the_transport() {
    at_home(|home| {
        add_redirects(home);
        let frame = || Talk::new(Protocol::Udp, &V6, 40_000).peer_sends().data(b"x");
        let passed = |what: &str, reason, extension| {
            Row::passed(what, &frame().extension(extension), reason)
        };
        home.table(&[
            passed("authentication", "other_protocol", Extension::authentication()),
            passed("encryption", "other_protocol", Extension::encrypted()),
            passed("mobility", "other_protocol", Extension::mobility()),
            passed("segments left to go", "extension_header", Extension::routing(1)),
            passed("many segments left to go", "extension_header", Extension::routing(255)),
        ]);
        let many = (0..7).fold(frame(), |frame, _| frame.extension(Extension::destination(1)));
        let twice = frame()
            .extension(Extension::atomic_fragment(1))
            .extension(Extension::atomic_fragment(2));
        home.table(&[
            Row::passed("seven headers", &many, "extension_header"),
            Row::passed("two fragment headers", &twice, "extension_header"),
        ]);
        assert!(home.flows().is_empty(), "{:?}", home.flows());
    });
}
