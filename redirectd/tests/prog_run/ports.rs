//! Ports on the SNAT side: the peer's own where it is free, else one of the
//! range, never one for two flows.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
};

use etherparse::{SlicedPacket, TransportSlice};
use redirectd::rule::{PortRange, Protocol};

use crate::{
    frame::{ACK, Frame, SYN},
    home::{Entry, Fate, Home, SNAT_FIRST, TABLES, at_entry, at_home, redirect},
    network::{FAMILIES, Family},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

/// The source port of a frame.
fn source_port(frame: &[u8]) -> u16 {
    let packet = SlicedPacket::from_ethernet(frame).expect("a frame");
    match packet.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp.source_port(),
        Some(TransportSlice::Udp(udp)) => udp.source_port(),
        other => panic!("no ports in {other:?}"),
    }
}

/// The first packet of a flow.
fn opening(talk: &Talk) -> Frame {
    match talk.protocol {
        Protocol::Tcp => talk.from_peer().flags(SYN).seq(100),
        Protocol::Udp => talk.from_peer().data(b"a question"),
    }
}

/// Opens `talk` with whatever port home gives it, and says which.
fn open_anyhow(home: &mut Home, talk: &Talk) -> Talk {
    let outcome = home.receive(&opening(talk).bytes());
    let Fate::Sent(sent) = outcome.fate else { panic!("{talk:?}: {outcome:?}") };
    let talk = Talk { snat: (talk.snat.ip(), source_port(&sent)).into(), ..*talk };
    let mut expected = talk.opening();
    expected.remove(0);
    home.table(&expected);
    talk
}

fn add_both(home: &mut Home, family: &Family) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
    }
}

fn peer(family: &Family, number: u16) -> IpAddr {
    match family.peer {
        IpAddr::V4(peer) => {
            let [a, b, c, _] = peer.octets();
            Ipv4Addr::new(a, b, c, number as u8).into()
        }
        IpAddr::V6(peer) => {
            let mut segments = peer.segments();
            segments[7] = number;
            Ipv6Addr::from(segments).into()
        }
    }
}

#[test]
fn a_second_peer_with_the_same_port_gets_another() {
    at_home(|home| {
        for family in FAMILIES {
            add_both(home, &family);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let first = Talk::new(protocol, &family, 40_000);
                home.table(&first.opening());
                let second = Talk { peer: (family.other_peer, 40_000).into(), ..first };
                let second = open_anyhow(home, &second);
                assert!(second.snat.port() >= SNAT_FIRST, "{second:?}");
                let edit = |frame: Frame| match protocol {
                    Protocol::Tcp => frame.flags(ACK).seq(101).ack(501).data(b"x"),
                    Protocol::Udp => frame.data(b"x"),
                };
                home.table(&[
                    first.to_host("the first", edit).by_xdp(),
                    second.to_host("the second", edit).by_xdp(),
                    first.to_peer("to the first", edit).by_xdp(),
                    second.to_peer("to the second", edit).by_xdp(),
                ]);
            }
        }
    });
}

/// A host's port tells the flows apart as well.
#[test]
fn one_port_may_serve_flows_to_different_endpoints() {
    at_home(|home| {
        for family in FAMILIES {
            home.add(&redirect(Protocol::Tcp, (family.home, HOME_PORT), (family.host, HOST_PORT)));
            home.add(&redirect(Protocol::Tcp, (family.home, 81), (family.host, 8081)));
            home.add(&redirect(Protocol::Tcp, (family.home, 82), (family.second, HOST_PORT)));
            let talk = Talk::new(Protocol::Tcp, &family, 40_000);
            let other_port =
                Talk { home: (family.home, 81).into(), host: (family.host, 8081).into(), ..talk };
            let other_host = Talk {
                home: (family.home, 82).into(),
                host: (family.second, HOST_PORT).into(),
                ..talk
            };
            for talk in [talk, other_port, other_host] {
                home.table(&talk.opening());
            }
        }
    });
}

#[test]
fn no_two_flows_have_one_translation() {
    at_home(|home| {
        for family in FAMILIES {
            add_both(home, &family);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for number in 1..=200 {
                    let talk = Talk {
                        peer: (peer(&family, number), 40_000).into(),
                        ..Talk::new(protocol, &family, 40_000)
                    };
                    open_anyhow(home, &talk);
                }
            }
        }
        let flows = home.flows();
        assert_eq!(flows.len(), 800);
        let mut translations = BTreeMap::new();
        for flow in &flows {
            let translation = (flow.protocol, flow.home.0, flow.snat_port, flow.host);
            if let Some(other) = translations.insert(translation, flow) {
                panic!("one translation for {flow:?} and {other:?}");
            }
        }
    });
}

/// With one port in the range, the third peer with one port is the last.
#[test]
fn ports_run_out() {
    for entry in [Entry::Tc, Entry::XdpAndTc] {
        at_entry(entry, TABLES, |home| {
            home.options.snat_ports = PortRange::single(61_000).expect("a port");
            home.restart().expect("it adopts its own");
            for family in FAMILIES {
                add_both(home, &family);
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    let talk = |number| Talk {
                        peer: (peer(&family, number), 40_000).into(),
                        ..Talk::new(protocol, &family, 40_000)
                    };
                    home.table(&talk(1).opening());
                    let second = Talk { snat: (family.home, 61_000).into(), ..talk(2) };
                    home.table(&second.opening());
                    let refused = opening(&talk(3));
                    home.table(&[
                        Row::refused("the third", &refused, "ports_exhausted"),
                        Row::refused("again", &refused, "ports_exhausted"),
                    ]);
                    let free = Talk::new(protocol, &family, 40_001);
                    home.table(&free.opening());
                }
            }
            let counters = redirectd::dataplane::Dataplane::counters(&home.bpf, 1);
            let counters = counters.expect("they can be read");
            assert_eq!((counters.flows_opened, counters.flows_refused), (3, 2));
        });
    }
}

/// Sockets of home's own keep their ports: what is for them never becomes ours.
#[test]
fn ports_of_homes_own_sockets_are_left_alone() {
    at_home(|home| {
        for family in FAMILIES {
            add_both(home, &family);
            let bound = UdpSocket::bind((family.home, 40_000)).expect("home has its address");
            let any = if family.home.is_ipv4() { "0.0.0.0" } else { "::" };
            let wild = UdpSocket::bind((any, 40_001)).expect("a port");
            let listening = TcpListener::bind((family.home, 40_002)).expect("a port");
            for (protocol, port) in
                [(Protocol::Udp, 40_000), (Protocol::Udp, 40_001), (Protocol::Tcp, 40_002)]
            {
                let talk = open_anyhow(home, &Talk::new(protocol, &family, port));
                assert!(talk.snat.port() >= SNAT_FIRST, "{talk:?}");
            }
            drop((bound, wild, listening));
            let free = Talk::new(Protocol::Udp, &family, 40_003);
            home.table(&free.opening());
        }
    });
}

/// Home's own connection to the very endpoint on the host.
#[test]
fn a_connected_socket_of_homes_own() {
    at_home(|home| {
        for family in FAMILIES {
            add_both(home, &family);
            let socket = UdpSocket::bind((family.home, 40_000)).expect("home has its address");
            socket.connect((family.host, HOST_PORT)).expect("there is a way");
            let talk = open_anyhow(home, &Talk::new(Protocol::Udp, &family, 40_000));
            assert!(talk.snat.port() >= SNAT_FIRST, "{talk:?}");
            // The same port towards another host would be free.
            home.add(&redirect(Protocol::Udp, (family.home, 81), (family.second, HOST_PORT)));
            let other = Talk {
                home: (family.home, 81).into(),
                host: (family.second, HOST_PORT).into(),
                ..Talk::new(Protocol::Udp, &family, 40_000)
            };
            home.table(&other.opening());
        }
    });
}
