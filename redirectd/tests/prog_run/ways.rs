//! Where packets leave: by the kernel's routes and neighbours, as they change;
//! and peers and hosts that are closer than usual.

use std::{net::IpAddr, thread, time::Duration};

use redirectd::{
    dataplane::{Attach, Dataplane as _},
    rule::Protocol,
};

use crate::{
    frame::{ACK, Frame, SYN, TTL},
    home::{Entry, Fate, Home, TABLES, at_entry, at_home, redirect},
    network::{
        BACK, BACK_MAC, FAMILIES, FRONT_MAC, Family, GATEWAY_MAC, HOST_MAC, NO_MAC, SECOND_MAC,
        STRANGER_MAC, V4, V6, ip,
    },
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// How long a flow may go by a way that it has found before, and some.
const WAY_MAX_AGE: Duration = Duration::from_millis(600);

fn to(home: &mut Home, protocol: Protocol, family: &Family, host: IpAddr) -> Talk {
    home.add(&redirect(protocol, (family.home, HOME_PORT), (host, HOST_PORT)));
    Talk { host: (host, HOST_PORT).into(), ..Talk::new(protocol, family, 40_000) }
}

fn data(frame: Frame) -> Frame {
    frame.flags(ACK).seq(101).ack(501).data(b"x")
}

/// The kernel asks for the neighbour and sends the packet when it answers.
#[test]
fn a_host_whose_mac_address_is_not_known_yet() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = to(home, Protocol::Tcp, &family, family.unresolved);
            let syn = talk.peer_sends().flags(SYN).seq(100);
            let unaddressed = talk.host_gets().flags(SYN).seq(100).ttl(TTL - 1);
            let unaddressed = unaddressed.macs(FRONT_MAC, GATEWAY_MAC);
            home.table(&[Row::sent("SYN", &syn, &unaddressed)]);
            let address = family.unresolved;
            ip(&format!("neigh replace {address} lladdr 02:00:00:00:00:21 dev back nud permanent"));
            let addressed = unaddressed.macs(HOST_MAC, BACK_MAC);
            home.table(&[Row::sent("SYN again", &syn, &addressed)]);
        }
    });
}

/// After a look-up of the way, and not more than once a second, the kernel sends
/// the packet itself: that is how it comes to ask for the neighbour again.
#[test]
fn a_host_the_kernel_has_not_seen_a_packet_for() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = to(home, Protocol::Tcp, &family, family.host);
            home.table(&talk.opening());
            thread::sleep(WAY_MAX_AGE);
            home.neighbours_are_seen(1);
            let by_kernel = data(talk.host_gets()).macs(FRONT_MAC, GATEWAY_MAC).ttl(TTL - 1);
            home.table(&[
                Row::sent("the first", &data(talk.peer_sends()), &by_kernel),
                talk.reaches_host("the second", data).by_xdp(),
            ]);
            home.neighbours_are_seen(u64::MAX / 2);
        }
    });
}

#[test]
fn a_host_whose_mac_address_changes() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = to(home, Protocol::Tcp, &family, family.host);
            home.table(&talk.opening());
            let address = family.host;
            ip(&format!("neigh replace {address} lladdr 02:00:00:00:00:33 dev back nud permanent"));
            thread::sleep(WAY_MAX_AGE);
            let out = data(talk.host_gets()).macs(STRANGER_MAC, BACK_MAC).ttl(TTL - 1);
            home.table(&[Row::sent("data", &data(talk.peer_sends()), &out).by_xdp()]);
        }
    });
}

#[test]
fn a_route_that_changes() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = to(home, Protocol::Tcp, &family, family.host);
            home.table(&talk.opening());
            let (peer, bits, gateway) = match family.peer {
                IpAddr::V4(peer) => (peer.to_string(), 32, "10.1.0.4"),
                IpAddr::V6(peer) => (peer.to_string(), 128, "2001:db8:2::4"),
            };
            ip(&format!("route add {peer}/{bits} via {gateway} dev back"));
            thread::sleep(WAY_MAX_AGE);
            let out = data(talk.peer_gets()).macs(SECOND_MAC, BACK_MAC).ttl(TTL - 1);
            home.table(&[
                Row::sent("by another interface", &data(talk.host_sends()), &out).by_xdp(),
                talk.reaches_host("the other direction is as it was", data).by_xdp(),
            ]);
        }
    });
}

#[test]
fn no_way_at_all() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = to(home, Protocol::Tcp, &family, family.host);
            home.table(&talk.opening());
            let prefix = if family.home.is_ipv4() { "10.1.0.0/24" } else { "2001:db8:2::/64" };
            ip(&format!("route del {prefix} dev back"));
            thread::sleep(WAY_MAX_AGE);
            // Home's own IP stack knows what to answer.
            let out = data(talk.host_gets()).macs(NO_MAC, NO_MAC).ttl(TTL - 1);
            home.table(&[Row::sent("to the stack", &data(talk.peer_sends()), &out)]);
            ip(&format!("route add {prefix} dev back"));
            thread::sleep(WAY_MAX_AGE);
            home.table(&[talk.reaches_host("and by the old way again", data).by_xdp()]);
        }
    });
}

#[test]
fn routes_that_refuse() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = to(home, Protocol::Udp, &family, family.unreachable);
            let frame = talk.peer_sends().data(b"x");
            let to_stack = talk.host_gets().data(b"x").macs(NO_MAC, NO_MAC).ttl(TTL - 1);
            home.table(&[Row::sent("no route", &frame, &to_stack)]);
            let prefix = if family.home.is_ipv4() { "10.9.0.0/16" } else { "2001:db8:dead::/48" };
            for kind in ["unreachable", "prohibit"] {
                ip(&format!("route replace {kind} {prefix}"));
                thread::sleep(WAY_MAX_AGE);
                home.table(&[Row::sent(kind, &frame, &to_stack)]);
            }
            ip(&format!("route replace blackhole {prefix}"));
            thread::sleep(WAY_MAX_AGE);
            home.table(&[Row::dropped("blackhole", &frame, "no_route")]);
        }
    });
}

/// A peer on home itself: its packets come in and go out by `lo`.
#[test]
fn a_peer_on_home() {
    at_home(|home| {
        for family in FAMILIES {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let talk = to(home, protocol, &family, family.host);
                let talk = Talk { peer: (family.home, 40_000).into(), ..talk };
                home.table(&talk.opening());
            }
        }
    });
}

/// A peer on the very host: in and out by one interface.
#[test]
fn a_peer_on_the_host() {
    at_home(|home| {
        for family in FAMILIES {
            let talk = to(home, Protocol::Tcp, &family, family.host);
            let talk = Talk { peer: (family.host, 40_000).into(), ..talk };
            home.table(&talk.opening());
            home.table(&[
                talk.reaches_host("data", data).by_xdp(),
                talk.reaches_peer("data", data).by_xdp(),
            ]);
        }
    });
}

/// Sources that no peer can have: the kernel drops them by its own rules.
#[test]
fn strange_sources() {
    let v4 = ["127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "192.0.2.1"];
    let v6 = ["::1", "2001:db8:1::1"];
    at_home(|home| {
        for (family, sources) in [(V4, &v4[..]), (V6, &v6)] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let talk = to(home, protocol, &family, family.host);
                for source in sources {
                    let source: IpAddr = source.parse().expect("an address");
                    let peer = (source, 40_000).into();
                    let frame = Talk { peer, ..talk }.peer_sends().macs(FRONT_MAC, GATEWAY_MAC);
                    let frame = if protocol == Protocol::Tcp { frame.flags(SYN) } else { frame };
                    home.table(&[Row::passed(&source.to_string(), &frame, "strange_source")]);
                }
            }
        }
        assert!(home.flows().is_empty(), "{:?}", home.flows());
    });
}

/// Frames that came in by an interface with XDP and have to leave by one
/// without it are left to tc.
#[test]
fn xdp_on_one_interface_alone() {
    at_entry(Entry::XdpAndTc, TABLES, |home| {
        home.bpf.attach(BACK, Attach::Tc, false).expect("tc is there");
        for family in FAMILIES {
            let talk = to(home, Protocol::Tcp, &family, family.host);
            home.table(&talk.opening());
            let before = home.reasons();
            home.table(&[talk.reaches_host("data", data)]);
            let counted = home.counted_since(&before);
            assert_eq!(counted.get("handed_to_tc").map(|count| count.packets), Some(1));
        }
    });
}

/// A frame that XDP has handed to tc has yet to come there; those behind it would overtake
/// it by XDP.
#[test]
fn nothing_overtakes_what_xdp_has_handed_to_tc() {
    at_entry(Entry::XdpAndTc, TABLES, |home| {
        for family in FAMILIES {
            let talk = to(home, Protocol::Tcp, &family, family.host);
            home.table(&talk.opening());
            let next = data(talk.peer_sends()).bytes();
            let sent = home.xdp_alone(&next);
            assert!(matches!(sent, Fate::Sent(_)), "{sent:?}");
            // At the end of its life, which only tc tells the peer.
            let first = data(talk.peer_sends()).ttl(1).bytes();
            assert_eq!(home.xdp_alone(&first), Fate::Passed);
            assert_eq!(home.xdp_alone(&next), Fate::Passed, "it overtakes");
            let answer = data(talk.host_sends()).bytes();
            assert!(matches!(home.xdp_alone(&answer), Fate::Sent(_)), "it goes another way");

            let tc = home.front_entry();
            tc.receive(&first);
            assert_eq!(tc.receive(&next), sent);
            assert_eq!(home.xdp_alone(&next), sent, "none is on its way any more");
        }
    });
}

/// What comes in where no program of ours is attached is let go by XDP.
#[test]
fn xdp_on_an_interface_it_is_not_meant_for() {
    at_entry(Entry::XdpAndTc, TABLES, |home| {
        let talk = to(home, Protocol::Tcp, &V4, V4.host);
        home.table(&talk.opening());
        home.bpf.attach(BACK, Attach::Tc, false).expect("tc is there");
        let frame = data(talk.host_sends()).bytes();
        assert_eq!(home.xdp_at_loopback(&frame), Fate::Passed);
    });
}
