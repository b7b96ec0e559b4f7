//! Full tables and floods: established flows stay, new ones are refused and
//! counted, half-open ones are the first to go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use redirectd::{
    config::Tables,
    dataplane::{Dataplane as _, FlowState},
    rule::{PortRange, Protocol},
};

use crate::{
    frame::{ACK, FIN, Frame, SYN},
    home::{Entry, Fate, Home, TABLES, at_entry, redirect},
    network::{FAMILIES, Family},
    table::Row,
    talk::{HOME_PORT, HOST_PORT, Talk},
};

fn at_both(tables: Tables, test: impl Fn(&mut Home) + Sync) {
    for entry in [Entry::Tc, Entry::XdpAndTc] {
        at_entry(entry, tables, &test);
    }
}

fn add(home: &mut Home, protocol: Protocol, family: &Family) {
    home.add(&redirect(protocol, (family.home, HOME_PORT), (family.host, HOST_PORT)));
}

/// One of many peers, all behind the gateway.
fn peer(family: &Family, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    match family.peer {
        IpAddr::V4(_) if high == 0 => Ipv4Addr::new(198, 51, 100, low).into(),
        IpAddr::V4(_) => Ipv4Addr::new(203, 0, 113, low).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 1, number).into(),
    }
}

/// A SYN from one of many, to the bytes.
fn syn(family: &Family, number: u16, port: u16) -> Vec<u8> {
    let peer = (peer(family, number), port).into();
    let talk = Talk { peer, ..Talk::new(Protocol::Tcp, family, port) };
    talk.peer_sends().flags(SYN).seq(1).bytes()
}

fn data(frame: Frame) -> Frame {
    frame.flags(ACK).seq(101).ack(501).data(b"x")
}

#[test]
fn a_full_table_refuses_new_flows() {
    at_both(Tables { flows: 4, ..TABLES }, |home| {
        for family in FAMILIES {
            add(home, Protocol::Tcp, &family);
        }
        let talks: Vec<Talk> = (0..4_u16)
            .map(|n| {
                let family = &FAMILIES[usize::from(n % 2)];
                Talk::new(Protocol::Tcp, family, 40_000 + n)
            })
            .collect();
        for talk in &talks {
            home.table(&talk.opening());
        }
        for family in FAMILIES {
            let next = Talk::new(Protocol::Tcp, &family, 41_000);
            home.table(&[Row::refused(
                "one too many",
                &next.peer_sends().flags(SYN),
                "table_full",
            )]);
        }
        for talk in &talks {
            home.table(&[
                talk.reaches_host("open flows go on", data).by_xdp(),
                talk.reaches_peer("in both directions", data).by_xdp(),
            ]);
        }
        let refused: u64 = (1..=2)
            .map(|slot| home.bpf.counters(slot).expect("they can be read").flows_refused)
            .sum();
        assert_eq!(refused, 2);
        // One that ends makes room for itself, and only for itself.
        home.table(&[
            talks[0].reaches_host("FIN", |f| f.flags(FIN | ACK)).by_xdp(),
            talks[0].reaches_peer("FIN", |f| f.flags(FIN | ACK)).by_xdp(),
        ]);
        home.table(&talks[0].opening());
        assert_eq!(home.flows().len(), 4);
    });
}

/// More handshakes begin while there is room than can end in it.
#[test]
fn handshakes_that_end_in_a_full_table() {
    at_both(Tables { flows: 4, ..TABLES }, |home| {
        let family = &FAMILIES[0];
        add(home, Protocol::Tcp, family);
        let talks = [0, 1, 2, 3, 4, 5].map(|n| Talk::new(Protocol::Tcp, family, 40_000 + n));
        for talk in &talks {
            home.table(&talk.opening()[..2]);
        }
        for talk in &talks[..4] {
            home.table(&talk.opening()[2..]);
        }
        for talk in &talks[4..] {
            let last = talk.peer_sends().flags(ACK).seq(101).ack(501);
            home.table(&[Row::dropped("no room any more", &last, "table_full")]);
        }
        let established =
            home.flows().iter().filter(|flow| flow.state == FlowState::Established).count();
        assert_eq!(established, 4);
    });
}

/// What a flood can fill makes room for whoever completes a handshake.
#[test]
fn a_flood_of_openings_fills_nothing_that_matters() {
    at_both(Tables { flows: 64, half_open: 64, ..TABLES }, |home| {
        for family in FAMILIES {
            add(home, Protocol::Tcp, &family);
            let early = Talk::new(Protocol::Tcp, &family, 50_000);
            home.table(&early.opening());
            for number in 0..3_000_u16 {
                let frame = syn(&family, 1 + number % 200, 1_024 + number);
                let outcome = home.receive_uncounted(&frame);
                assert!(matches!(outcome, Fate::Sent(_)), "{number}: {outcome:?}");
            }
            home.table(&[
                early.reaches_host("an open flow goes on", data).by_xdp(),
                early.reaches_peer("in both directions", data).by_xdp(),
            ]);
            home.table(&Talk::new(Protocol::Tcp, &family, 50_001).opening());
            let established = home
                .flows()
                .iter()
                .filter(|flow| flow.state == FlowState::Established && flow.home.0 == family.home)
                .count();
            assert_eq!(established, 2);
        }
    });
}

/// The ports of half-open flows are taken away from them when there is no other
/// left; those of established flows never.
#[test]
fn a_flood_of_openings_does_not_use_the_ports_up() {
    at_both(TABLES, |home| {
        home.options.snat_ports = PortRange::new(61_000, 61_003).expect("a range");
        home.restart().expect("it adopts its own");
        for family in FAMILIES {
            add(home, Protocol::Tcp, &family);
            let kept = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&kept.opening());
            for number in 100..200 {
                let outcome = home.receive_uncounted(&syn(&family, number, 40_000));
                assert!(matches!(outcome, Fate::Sent(_)), "{number}: {outcome:?}");
            }
            home.table(&[
                kept.reaches_host("an open flow goes on", data).by_xdp(),
                kept.reaches_peer("in both directions", data).by_xdp(),
            ]);
        }
    });
}

/// A flow that lost its port to another is not completed by an old guess, and
/// opens anew by a SYN.
#[test]
fn a_flow_that_lost_its_port() {
    at_both(TABLES, |home| {
        home.options.snat_ports = PortRange::single(61_000).expect("a port");
        home.restart().expect("it adopts its own");
        for family in FAMILIES {
            add(home, Protocol::Tcp, &family);
            let kept = Talk::new(Protocol::Tcp, &family, 40_000);
            home.table(&kept.opening());
            let through = |number| Talk {
                peer: (peer(&family, number), 40_000).into(),
                snat: (family.home, 61_000).into(),
                ..kept
            };
            let (robbed, robber) = (through(1), through(2));
            home.table(&robbed.opening()[..2]);
            home.table(&robber.opening()[..1]);
            let late = robbed.peer_sends().flags(ACK).seq(101).ack(501);
            home.table(&[Row::dropped("the port is another's", &late, "not_answered")]);
            home.table(&robber.opening()[1..]);
            let again = robbed.peer_sends().flags(SYN).seq(100);
            home.table(&[Row::refused("established by now", &again, "ports_exhausted")]);
        }
    });
}
